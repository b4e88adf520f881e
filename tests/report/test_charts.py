"""Charts as parts of a page."""

import re
import xml.etree.ElementTree as ET

import pytest

from tinybert_jax.report.charts import group_chart, reliability_chart, threshold_chart
from tinybert_jax.report.figures import groups, reliability, threshold_curve


@pytest.fixture(scope="module")
def charts(examples, ours, theirs):
    curve = threshold_curve(examples, ours)
    return [
        threshold_chart(curve, 0.0, 0),
        threshold_chart(curve, None, 1),
        reliability_chart([reliability(theirs), reliability(ours)]),
        *(group_chart(rows, kind) for kind, rows in groups(examples, [ours, theirs]).items()),
    ]


def test_colours_are_the_page_s(charts):
    for chart in charts:
        ET.fromstring(chart.replace("xlink:", ""))
        assert not re.search(r"(fill|stroke): #", chart)
        assert "currentColor" in chart
    assert "var(--first)" in charts[0]
    assert "var(--second)" not in charts[0]
    assert "var(--first)" not in charts[1]
    assert "var(--second)" in charts[2]  # the first system has no probabilities


def test_the_threshold_in_use_is_marked(charts):
    assert ["in use" in chart for chart in charts[:2]] == [True, False]


def test_ids_are_a_chart_s_own_and_references_find_them(charts):
    seen = set()
    for chart in charts:
        ids = re.findall(r'\bid="([^"]+)"', chart)
        assert len(ids) == len(set(ids))
        assert not seen & set(ids)
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', chart)) <= set(ids)
        seen |= set(ids)


def test_groups_are_counted(charts):
    assert "what  (2)" in charts[3]
    assert "how much  (1)" in charts[3]
