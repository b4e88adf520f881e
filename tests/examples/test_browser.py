"""The page of examples/browser, used in Chromium: it answers what `tinybert ask` does."""

import functools
import shutil
import threading
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.browser import chromium, complaints, requests
from tinybert_jax.data import Example, WindowConfig, build_windows
from tinybert_jax.export import export
from tinybert_jax.inference import Answerer, QASettings, write_settings
from tinybert_jax.model import BertConfig, BertForQuestionAnswering, save_pretrained
from tinybert_jax.scoring import AnswerConfig

EXAMPLE = Path(__file__).parents[2] / "examples" / "browser"
SETTINGS = QASettings(WindowConfig(128, 16, 48), AnswerConfig(max_answer_len=12), temperature=2.5)
QUESTION = "Who is the mayor?"
PASSAGES = {
    "plain": "About 2400 families live in Old Harrow today. The mayor of the town is Karin Abbot.",
    "accents": "\U0001f30a Caf\u00e9\u0301s, na\u00efve D\u00fcrer; e\u0301te\u0301\u200b \u200e(x) \u4e2d\u6587 here.",
    "windows": "The town has a mayor, Karin Abbot (since 1998). " * 8,
}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer, random_params):
    """What a static server would serve: the page, its packages, and a model with settings of its own."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    if not (EXAMPLE / "node_modules").is_dir():
        pytest.skip("the page's packages are not installed: npm install --ignore-scripts in examples/browser")
    folder = tmp_path_factory.mktemp("served")
    for path in EXAMPLE.iterdir():
        (folder / path.name).symlink_to(path)
    config = BertConfig(len(tokenizer), 32, 2, 2, 64, max_position_embeddings=128)
    save_pretrained(folder / "own", config, random_params(BertForQuestionAnswering(config), seed=3), tokenizer)
    write_settings(folder / "own", SETTINGS)
    export(str(folder / "own"), folder / "exported", int8=True)
    return folder


@pytest.fixture(scope="module")
def page(folder):
    """The page with the model, and its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with chromium() as driver:
            yield driver, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def open_page(driver, address, model="exported", file="onnx/model_int8.onnx"):
    from selenium.webdriver.support.wait import WebDriverWait

    driver.get(f"{address}/index.html?model={model}&file={file}")
    WebDriverWait(driver, 60).until(lambda driver: "being loaded" not in driver.find_element("id", "status").text)


def ask(driver, question, passage):
    """The answer that the page shows, the probability, and the marked text with what is before it."""
    from selenium.webdriver.support.wait import WebDriverWait

    driver.execute_script("document.getElementById('passage').value = arguments[0]", passage)  # no keys for emoji
    field = driver.find_element("id", "question")
    field.clear()
    field.send_keys(question)
    driver.execute_script("document.getElementById('status').textContent = ''")
    driver.find_element("id", "ask").click()
    WebDriverWait(driver, 60).until(lambda driver: driver.find_element("id", "status").text)
    said = driver.find_element("id", "status").text
    assert said.startswith("probability "), said
    marked = driver.execute_script(
        "const m = document.querySelector('#place mark');"
        "return m ? [m.previousSibling?.textContent ?? '', m.textContent] : ['', ''];"
    )
    assert driver.execute_script("return document.getElementById('place').textContent") == passage
    return driver.find_element("id", "answer").text, float(said.split()[1].rstrip(",")), marked


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        *((kind, "onnx/model.onnx") for kind in PASSAGES),
        # The network has two answers to "accents" that are equally probable but for what eight bits round away.
        ("plain", "onnx/model_int8.onnx"),
        ("windows", "onnx/model_int8.onnx"),
    ],
)
def test_the_page_answers_as_ask_does(page, folder, kind, file):
    driver, address = page
    open_page(driver, address, file=file)
    answerer = Answerer.load(folder / "exported" / file)
    passage = PASSAGES[kind]
    expected = answerer(QUESTION, passage)
    answer, probability, (before, marked) = ask(driver, QUESTION, passage)
    assert marked == expected.text
    assert before == passage[: expected.start]
    assert answer == expected.text != ""
    assert probability == pytest.approx(expected.probability, abs=0.011)
    assert complaints(driver) == []


def test_no_answer_has_no_mark(page, folder):
    driver, address = page
    shutil.copytree(folder / "exported", folder / "silent")
    write_settings(folder / "silent", replace(SETTINGS, answers=replace(SETTINGS.answers, null_threshold=-1e6)))
    open_page(driver, address, model="silent")
    expected = Answerer.load(folder / "silent" / "onnx" / "model_int8.onnx")(QUESTION, PASSAGES["plain"])
    assert expected.text == ""
    answer, probability, marked = ask(driver, QUESTION, PASSAGES["plain"])
    assert (answer, marked) == ("(no answer)", ["", ""])
    assert probability == pytest.approx(expected.probability, abs=0.011)


@pytest.mark.parametrize("kind", PASSAGES)
def test_tokens_and_their_characters_are_ours(page, folder, tokenizer, kind):
    driver, address = page
    open_page(driver, address)
    passage = PASSAGES[kind]
    found = driver.execute_async_script(
        """
        const [passage, done] = arguments;
        Promise.all([import("./answerer.js"), import("./tokens.js")]).then(async ([{ load }, { tokenise }]) => {
          const { tokenizer } = await load("exported");
          done(tokenise(tokenizer, passage).map(({ id, begin, end }) => [id, passage.slice(begin, end)]));
        });
        """,
        passage,
    )
    windows = build_windows([Example("x", "?", passage, ())], tokenizer, WindowConfig(max_seq_len=1024))
    inside = slice(int(windows.context_begin[0]), -1)
    ours = zip(windows.tokens[inside].tolist(), windows.offsets[inside].tolist(), strict=True)
    assert found == [[token, passage[begin:end]] for token, (begin, end) in ours]


def test_the_page_asks_for_its_own_files_alone(page):
    driver, address = page
    requests(driver)
    open_page(driver, address)
    ask(driver, QUESTION, PASSAGES["plain"])
    assert all(url.startswith((address, "data:", "blob:")) for url in requests(driver))


def test_a_model_that_is_not_there_is_said_to_be_missing(page):
    driver, address = page
    open_page(driver, address, model="nowhere")
    assert "The model cannot be loaded: nowhere/" in driver.find_element("id", "status").text
    assert not driver.find_element("id", "ask").is_enabled()
    complaints(driver)  # the browser's own, of a file that is not there
