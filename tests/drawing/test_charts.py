"""Charts as SVG: well-formed, with every number in its place."""

import math
from xml.etree import ElementTree

import numpy as np

from aidgejax.drawing.charts import (
    Line,
    Mark,
    bar_chart,
    histogram_chart,
    line_chart,
    matrix_chart,
    size_of,
    stacked,
)

SVG = "{http://www.w3.org/2000/svg}"


def texts(picture):
    return [t.text for t in ElementTree.fromstring(str(picture)).iter(f"{SVG}text")]


def points(picture):
    return [
        [tuple(map(float, p.split(","))) for p in line.attrib["points"].split()]
        for line in ElementTree.fromstring(str(picture)).iter(f"{SVG}polyline")
    ]


def test_a_line_keeps_the_order_of_its_numbers():
    ((a, b, c),) = points(line_chart([Line("loss", [0, 1, 2], [4.0, 2.0, 1.0])], y="loss"))
    assert a[0] < b[0] < c[0] and a[1] < b[1] < c[1]  # down the page is less
    assert math.isclose(c[1] - b[1], (b[1] - a[1]) / 2, rel_tol=0.02)
    ((a, b, c),) = points(line_chart([Line("loss", [0, 1, 2], [100.0, 10.0, 1.0])], log=True))
    assert math.isclose(c[1] - b[1], b[1] - a[1], rel_tol=0.02)  # decades are equally far apart


def test_what_is_not_finite_breaks_the_line_and_is_said():
    picture = line_chart([Line("loss", [0, 1, 2, 3], [1.0, math.nan, 2.0, 3.0])])
    assert "NaN at 1" in texts(picture) and len(points(picture)) == 1 and str(picture).count('class="nonfinite"') == 1
    assert "inf at 0" in texts(line_chart([Line("loss", [0], [math.inf])]))
    for values in ([1e30, 1e30], [-1.7e308, 1.7e308], [5e-324, 1e-300], [1e300, math.inf]):
        for log in (False, True):
            ElementTree.fromstring(str(line_chart([Line("far", [1e30, 2e30], values)], log=log)))
    assert texts(line_chart([])) and texts(line_chart([Line("flat", [3], [0.0])]))


def test_marks_and_names_are_written_and_escaped():
    shown = line_chart([Line("a<b", [0, 1], [0, 1]), Line("c", [0, 1], [1, 0])], marks=[Mark(1, 1, "best & last")])
    assert {"a<b", "c", "best & last"} <= set(texts(shown)) and 'class="mark"' in str(shown)


def test_bars_are_as_long_as_their_numbers():
    bars = [
        float(r.attrib["width"])
        for r in ElementTree.fromstring(str(bar_chart({"a": 1.0, "b": 4.0}))).iter(f"{SVG}rect")
    ]
    assert math.isclose(bars[1], 4 * bars[0], rel_tol=0.01)


def test_a_matrix_shows_its_counts_and_names():
    shown = texts(matrix_chart(np.array([[5, 1], [0, 7]]), names=["cat", "dog"]))
    assert {"5", "1", "7"} <= set(shown) and shown.count("cat") == 2 and "0" not in shown


def test_histograms_say_the_range_and_what_is_not_finite():
    shown = texts(histogram_chart({"w": np.array([-1.0, 0.5, np.nan]), "empty": np.array([])}))
    assert {"-1", "0.5", "1 not finite"} <= set(shown)


def test_pictures_stand_one_below_the_other(tmp_path):
    one = line_chart([Line("a", [0, 1], [0, 1])])
    both = stacked([one, one])
    assert size_of(both.svg)[1] == 2 * size_of(one.svg)[1]
    both.save(tmp_path / "both.svg")
    assert (tmp_path / "both.svg").read_text() == both._repr_svg_()
