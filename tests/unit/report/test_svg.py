import xml.etree.ElementTree as ET

import pytest

from mschedx.report.charts import MOST_LABELLED, RED, Bars, Chart, short
from mschedx.report.svg import Scale, draw


def test_scale_maps_ends_and_middle():
    linear = Scale(0, 10, 100, 200)
    assert (linear(0), linear(5), linear(10)) == (100, 150, 200)
    log = Scale(1, 100, 200, 0, log=True)
    assert (log(1), log(10), log(100)) == (200, 100, 0)
    assert Scale(3, 3, 0, 100)(3) == 0


@pytest.mark.parametrize(
    ("low", "high", "log"),
    [(0, 64, False), (0, 5000, False), (0.2, 0.3, False), (1e-3, 40, True), (2.1, 2.6, True)],
)
def test_ticks_are_few_and_within_range(low, high, log):
    ticks = Scale(low, high, 0, 100, log).ticks()
    assert 2 <= len(ticks) <= 12
    assert all(low * 0.99 <= t <= high * 1.01 for t in ticks)
    assert ticks == sorted(ticks)


def test_chart_is_well_formed_whatever_the_labels_hold():
    chart = Chart((0, 10), (1, 100), "a < b & c", "y", "t", log_y=True)
    chart.points([1, 2], [3, 4], labels=["<script>", "b"])
    chart.steps([1, 5], [50, 20])
    chart.marks([3], labels=["crash & burn"])
    chart.text(5, 5, "<here>")
    chart.band([1, 5], [2, 3], [4, 5], "#123456")
    chart.key("this & that", "#123456")
    root = ET.fromstring(draw(chart))
    circles = [e for e in root.iter() if e.tag.endswith("circle")]
    assert len(circles) == 3, "the legend's key too"
    assert circles[1][0].text == "<script>"


@pytest.mark.parametrize(("count", "drawn"), [(MOST_LABELLED, MOST_LABELLED), (20_000, 3)])
def test_of_very_many_dots_and_strokes_equal_places_are_drawn_once(count, drawn):
    chart = Chart((0, 10), (1, 100), "x", "y", "t")
    xs, labels = [i % 3 for i in range(count)], [str(i) for i in range(count)]
    chart.points(xs, [50.0] * count, labels=labels)
    chart.marks(xs, labels=labels)
    root = ET.fromstring(draw(chart))
    circles = [e for e in root.iter() if e.tag.endswith("circle")]
    titles = [e for e in root.iter() if e.tag.endswith("title")]
    strokes = [e for e in root.iter() if e.attrib.get("stroke") == RED]
    assert len(circles) == len(strokes) == drawn
    assert len(titles) == (2 * count if drawn == count else 0)


def test_bars_are_proportional():
    root = ET.fromstring(draw(Bars([("a", 2.0, "x"), ("b", 1.0, "y"), ("c", 0.0, "z")], "t")))
    widths = [float(e.attrib["width"]) for e in root.iter() if e.tag.endswith("rect")]
    assert widths[0] == pytest.approx(2 * widths[1], rel=0.01)
    assert widths[2] == 1
    ET.fromstring(draw(Bars([], "empty")))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (10.0, "10"), (0.25, "0.25"), (1e6, "1e6"), (2.5e-5, "2.5e-5"), (1500, "1500")],
)
def test_short_numbers(value, text):
    assert short(value) == text
