"""The page, read and, where there is a Chromium, used."""

import re

import pytest

from tests.browser import chromium, complaints, requests
from tinybert_jax.data import Example, GoldAnswer
from tinybert_jax.report.page import labels, write_report
from tinybert_jax.report.questions import MOST_BYTES, pack
from tinybert_jax.report.systems import of_predictions


@pytest.fixture(scope="module")
def page(tmp_path_factory, examples, ours, theirs):
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report(path, "dev & <b>more</b>.json", examples, [ours, theirs])
    return path


def test_text_of_the_user_s_is_escaped(page):
    text = page.read_text()
    assert "dev &amp; &lt;b&gt;more&lt;/b&gt;.json" in text
    assert "runs/&lt;b&gt;x&lt;/b&gt;/export" in text
    assert text.count("</script>") == 2  # the page's own
    assert "<b>" not in text


def test_nothing_is_loaded_from_elsewhere(page):
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page.read_text())
    assert all(address.startswith(("#", "data:")) for address in addresses)
    assert "default-src 'none'" in page.read_text()


def test_the_same_page_again_is_the_same(page, tmp_path, examples, ours, theirs):
    write_report(tmp_path / "again.html", "dev & <b>more</b>.json", examples, [ours, theirs])
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_one_system_alone_is_compared_with_none(tmp_path, examples, ours, theirs):
    write_report(tmp_path / "page.html", "dev.json", examples, [ours])
    text = (tmp_path / "page.html").read_text()
    assert "difference" not in text.partition("<script")[0]
    assert "Highest F1: " in text
    write_report(tmp_path / "page.html", "dev.json", examples, [theirs])
    text = (tmp_path / "page.html").read_text()
    assert "Without odds of “no answer” there is no threshold to vary" in text
    assert 'id="reliability"' not in text


def test_a_model_that_never_says_no_answer(tmp_path, examples, ours):
    write_report(tmp_path / "page.html", "dev.json", examples, [ours._replace(threshold=None)])
    assert "“No answer” is never predicted here" in (tmp_path / "page.html").read_text()


def test_a_sample_is_said_to_be_one(tmp_path, examples, ours, monkeypatch):
    monkeypatch.setattr("tinybert_jax.report.page.MOST_BYTES", 400)
    write_report(tmp_path / "page.html", "dev.json", examples, [ours])
    assert re.search(r"A sample: the [023] questions", (tmp_path / "page.html").read_text())


def test_a_page_stays_below_two_megabytes_whatever_its_questions(page, examples, ours, theirs):
    rest = page.stat().st_size - len(pack(examples, [ours, theirs]).content)
    assert rest + MOST_BYTES < 2_000_000


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["runs/a/export", "runs/b/export"], ["a/export", "b/export"]),
        (["runs/a/export", "else/a/export"], ["runs/a/export", "else/a/export"]),
        (["owner/name@main", "x.json"], ["owner/name@main", "x.json"]),
    ],
)
def test_labels_are_short_and_differ(names, short):
    assert labels(names) == short


@pytest.fixture(scope="module")
def browser():
    with chromium() as driver:
        yield driver


@pytest.fixture
def opened(browser, page):
    """The page, its questions unpacked."""
    open_page(browser, page)
    yield browser
    assert complaints(browser) == []


def open_page(browser, page):
    from selenium.webdriver.support.wait import WebDriverWait

    browser.get(page.as_uri())
    WebDriverWait(browser, 20).until(lambda driver: driver.find_element("id", "count").text)


def shown(browser):
    return browser.find_element("id", "count").text, [
        card.find_element("css selector", ".id").text for card in browser.find_elements("css selector", "#list > li")
    ]


def choose(browser, label):
    (radio,) = [one for one in browser.find_elements("css selector", "#outcomes label") if label in one.text]
    radio.click()
    return radio.text


def test_filters_of_what_was_lost_and_gained(opened):
    assert shown(opened) == ("5 of 5 questions", ["q1", "q2", "q3", "q4", "q5"])
    assert choose(opened, "Lost it") == "Lost it: only the other is right (2)"
    assert shown(opened) == ("2 of 5 questions", ["q2", "q4"])
    choose(opened, "Gained it")
    assert shown(opened) == ("2 of 5 questions", ["q1", "q5"])
    choose(opened, "though it has one")
    assert shown(opened)[1] == ["q4"]
    choose(opened, "Both wrong")
    assert shown(opened) == ("0 of 5 questions", [])


def test_search_words_and_order(opened):
    search = opened.find_element("id", "search")
    search.send_keys("ADA")
    assert shown(opened)[1] == ["q1", "q2", "q3"]  # it is in their context
    search.clear()
    search.send_keys("milk")
    assert shown(opened)[1] == ["q5"]
    search.clear()
    search.send_keys(" ")  # clear() is no typing, of which the page would hear
    select = opened.find_element("id", "order")
    select.send_keys("surest")
    assert shown(opened)[1] == ["q5", "q3", "q1", "q4", "q2"]
    opened.find_element("id", "word").send_keys("what")
    assert shown(opened)[1] == ["q4", "q2"]


def test_answers_are_marked_where_they_are(opened):
    first, second = opened.find_elements("css selector", "#list > li")[:2]
    assert "</script><b>Old</b>" in first.text
    marks = [(mark.get_attribute("class"), mark.text) for mark in first.find_elements("tag name", "mark")]
    assert marks == [("gold first", "Ada")]
    marks = [(mark.get_attribute("class"), mark.text) for mark in second.find_elements("tag name", "mark")]
    assert marks == [("first", "Tarn"), ("gold", "in "), ("gold second", "1901")]
    assert opened.find_elements("css selector", "#list i, #list b") == []
    assert "probability 42%" in second.text


def test_nothing_is_asked_of_the_network(browser, page):
    requests(browser)
    open_page(browser, page)
    asked = requests(browser)
    assert asked
    assert all(url.startswith(("file:", "data:")) for url in asked), asked
    assert complaints(browser) == []


def test_pages_are_turned(browser, tmp_path, examples):
    many = [Example(f"{n}", "Who?", "It was Ada.", (GoldAnswer("Ada", 7),)) for n in range(45)]
    system = of_predictions("x", many, {str(n): "Ada" if n % 2 else "" for n in range(45)})
    write_report(tmp_path / "page.html", "many.json", many, [system])
    open_page(browser, tmp_path / "page.html")
    turn, page = browser.find_element("id", "next"), browser.find_element("id", "page")
    assert page.text == "page 1 of 3"
    turn.click()
    turn.click()
    assert (page.text, turn.is_enabled(), shown(browser)[1]) == ("page 3 of 3", False, ["40", "41", "42", "43", "44"])
    choose(browser, "Wrong (23)")
    assert page.text == "page 1 of 2"
    assert not browser.find_element("id", "order").is_displayed()  # without probabilities there is none
    assert complaints(browser) == []


def test_a_phone_needs_no_scrolling_sideways_and_dark_is_dark(opened):
    metrics = {"width": 360, "height": 780, "deviceScaleFactor": 1, "mobile": True}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = [{"name": "prefers-color-scheme", "value": "dark"}]
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    width, ground = opened.execute_script(
        "return [document.documentElement.scrollWidth, getComputedStyle(document.body).backgroundColor]"
    )
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert width == 360
    assert ground == "rgb(20, 22, 26)"
