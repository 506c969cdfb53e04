"""aidge_core: graphs of nodes, tensors, fillers, queries, schedulers and data, with Aidge 0.10.1's names.

    model = sequential([FC(784, 128, name="fc1"), ReLU(), FC(128, 10, name="fc2")])
    model.set_backend("cpu")
    init_producer(model, "Producer-1>FC", he_filler)
    pred = SequentialScheduler(model).forward(data=[Tensor(images)])[0]

Where it differs from Aidge on purpose (Aidge's side in specs/aidge.md):

* What crashes or hangs Aidge raises an exception here; gradients that Aidge has wrong or not at all are right.
* FC, convolutions and pools with 1, 2 or 3 axes all have gradients; BatchNorm's training_mode trains.
* `producers()` has a fixed order.  BatchNorm's running statistics are in it, but no optimizer changes them.
* backward() twice after one forward doubles every gradient, also behind several layers.
* forward_dims raises where shapes do not fit, instead of returning False; fillers take weights of 3 and 5 axes.
* uniform_filler takes integer bounds for a floating tensor.  Losses take class indices too.
* dtypes below 8 bits are names only.  A node inside the graph computes its output when somebody looks at it.
"""

from . import random
from .attributes import Attributes, DynamicAttributes
from .building import (
    generate_graph,
    get_connected_graph_view,
    parallel,
    producers,
    residual,
    sequential,
    set_producers_constant,
)
from .data import Database, DataProvider
from .dtypes import aidge_to_numpy_dtype, dformat, dtype, numpy_to_aidge_dtype
from .errors import AidgeError
from .execution import ParallelScheduler, Scheduler, SequentialScheduler
from .factories import *  # noqa: F403
from .factories import __all__ as _factories
from .factories import absent as _absent
from .fillers import (
    VarianceNorm,
    constant_filler,
    he_filler,
    ibp_normal_filler,
    normal_filler,
    uniform_filler,
    xavier_normal_filler,
    xavier_uniform_filler,
)
from .graphview import GraphView
from .matching import MatchingResult, SinglePassGraphMatching, init_producer
from .node import Connector, Node, Port
from .operator import InputCategory, Operator, OperatorTensor
from .tensor import Tensor

__all__ = [
    "AidgeError", "Attributes", "Connector", "DataProvider", "Database", "DynamicAttributes", "GraphView",
    "InputCategory", "MatchingResult", "Node", "Operator", "OperatorTensor", "ParallelScheduler", "Port", "Scheduler",
    "SequentialScheduler",
    "SinglePassGraphMatching", "Tensor", "VarianceNorm", "aidge_to_numpy_dtype", "constant_filler", "dformat", "dtype",
    "generate_graph", "get_connected_graph_view", "he_filler", "ibp_normal_filler", "init_producer", "normal_filler",
    "numpy_to_aidge_dtype", "parallel", "producers", "random", "residual", "sequential", "set_producers_constant",
    "uniform_filler", "xavier_normal_filler", "xavier_uniform_filler", *_factories,
]  # fmt: skip


def __getattr__(name: str):
    raise _absent(name)
