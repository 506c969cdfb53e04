"""Running the graph that leads to a Connector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .building import generate_graph
from .errors import OrderError
from .execution import SequentialScheduler
from .implementation import late
from .node import Connector
from .tensor import Tensor


@late("run_behind")
def run_behind(connector: Connector, inputs: Sequence[Any]) -> list[Tensor]:
    """Connector.forward(inputs).  Nodes on no backend are put on that of the others, or on "cpu"."""
    if connector.node() is None:
        raise OrderError("an empty Connector has no graph behind it")
    view = generate_graph([connector])
    backends = [n.operator.backend_name for n in view.members]
    if None in backends:
        view.set_backend(next((b for b in backends if b), "cpu"))
    return SequentialScheduler(view).forward(data=list(inputs))
