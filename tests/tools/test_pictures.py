"""Pictures of training and of arrays, by what is written in them."""

import math

import numpy as np
import pytest

import aidgejax as aj


def history(losses, scores):
    found = [{"step": k + 1, "loss": v, "learning_rate": 0.1} for k, v in enumerate(losses)]
    for k, s in enumerate(scores):
        found[k].update(accuracy=s, test_accuracy=s)
    return found


def test_history_marks_the_best_and_what_is_not_finite():
    text = str(aj.plot_history(history([1.0, 0.5, math.nan, 0.4], [0.1, 0.9, 0.8])))
    assert "best 0.9, step 2" in text and "NaN at 3" in text and "learning rate" in text
    assert "best 0.4, step 4" in str(aj.plot_history(history([1.0, 0.5, math.nan, 0.4], []), monitor="loss"))
    with pytest.raises(aj.DataError, match="records"):
        aj.plot_history([])


def test_a_long_history_is_thinned_but_keeps_each_nan():
    losses = np.linspace(2, 1, 30_000)
    losses[12_345] = math.nan
    text = str(aj.plot_history(history(losses.tolist(), [])))
    assert len(text) < 200_000 and "NaN at 12,346" in text


def test_confusion_counts_and_says_the_accuracy():
    text = str(aj.plot_confusion(np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]), [0, 1, 1], names=["cat", "dog"]))
    assert "accuracy 0.667" in text and text.count(">cat<") == 2


def test_weights_ranges_and_sweeps():
    graph = aj.zoo.mlp((4, 3, 2))
    assert all(f">{k}<" in str(aj.plot_weights(graph)) for k, a in graph.params.items() if a.ndim > 1)
    ranges = str(aj.plot_ranges(graph, {"x": np.ones((2, 4), np.float32)}))
    assert all(f">{n.output_names[0]}<" in ranges for n in graph.nodes)
    rows = [{"bits": b, "mean": 1 - 1 / b, "low": 1 - 2 / b, "high": 1.0} for b in (2, 4, 8)]
    sweep = str(aj.plot_sweep({"aware": rows, "plain": rows}))
    assert ">bits<" in sweep and ">aware<" in sweep and sweep.count("<polygon") == 2
    assert ">conv1<" in str(aj.plot_sensitivity({"conv1": 0.5, "fc": 0.1}))


def test_a_rate_that_never_changes_is_drawn_at_its_value():
    text = str(aj.plot_history([{"step": k, "loss": 1.0 / k, "learning_rate": 3e-3} for k in (1, 2, 3)]))
    assert ">0.003</text>" in text and ">-0.4</text>" not in text


def test_long_names_of_classes_do_not_overlap_in_a_confusion_matrix():
    names = ["jack_hammer", "street_music", "a name that is longer than twenty letters"]
    text = str(aj.plot_confusion(np.eye(3), [0, 1, 2], names=names))
    assert text.count("rotate(-45 ") == 3 and text.count("jack_hammer</text>") == 2 and names[2] not in text


def test_pictures_are_readable_on_a_dark_page():
    """Black on nothing would not be."""
    graph = aj.zoo.mlp((4, 2))
    for picture in (
        graph.to_svg(),
        aj.make_program(graph)._repr_html_(),
        aj.plot_weights(graph),
        aj.plot_history([{"step": 1, "loss": 1.0}]),
    ):
        assert 'style="background:#fff"' in str(picture)[:400]
