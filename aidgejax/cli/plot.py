"""The picture of a run."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from ..training.fit import read_history


def plot(history: list[dict[str, Any]]) -> bytes:
    """A PNG image: loss, accuracy (where there is one) and learning rate against the step, one below the other.

    history: the records of `fit`.  Raises ImportError where matplotlib is missing.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [("loss", ["loss", "test_loss"])]
    panels += [("accuracy", ["accuracy", "test_accuracy"])] if "accuracy" in history[0] else []
    panels += [("learning rate", ["learning_rate"])]
    figure, axes = pyplot.subplots(len(panels), 1, sharex=True, figsize=(7, 2.4 * len(panels)), constrained_layout=True)
    for axis, (title, columns) in zip(axes, panels, strict=True):
        for column in columns:
            steps, values = read_history(history, column)
            test = column.startswith("test_")
            look: dict[str, Any] = (
                {"lw": 2, "label": "test"} if test else {"lw": 0.8, "alpha": 0.6, "label": "training"}
            )
            axis.plot(steps, values, **look)
        axis.set_ylabel(title)
        axis.grid(alpha=0.3)
        if len(columns) > 1:
            axis.legend(loc="best")
    if min(read_history(history, "loss")[1]) > 0:
        axes[0].set_yscale("log")
    axes[-1].set_xlabel("step")
    image = BytesIO()
    figure.savefig(image, dpi=110)
    pyplot.close(figure)
    return image.getvalue()
