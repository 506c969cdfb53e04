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

from functools import partial as _partial

from . import aidge_core, connector_forward, random, recipes, show_graphview
from .absent import absent as _absent
from .attributes import (
    Attributes,
    DynamicAttributes,
    test_DynamicAttributes_binding,
    test_DynamicAttributes_binding_check,
)
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
from .dtypes import (
    aidge_to_numpy_dtype,
    dformat,
    dtype,
    dtype_bit_width,
    finfo,
    get_datatype_range,
    get_range,
    iinfo,
    is_floating_point,
    is_integer,
    is_unsigned,
    numpy_to_aidge_dtype,
)
from .enums import Interpolation, PaddingMode, RoundingMode, aspect_ratio
from .errors import AidgeError
from .execution import ParallelScheduler, Scheduler, SequentialScheduler
from .factories import *  # noqa: F403
from .factories import __all__ as _factories
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
from .generic import GenericOperator, GenericOperatorOp
from .graph_json import gview_to_json
from .graphview import GraphView
from .implementation import OperatorImpl
from .implementation import register as _register
from .implementation import registered as _registered
from .live import from_aidge, to_aidge
from .log import Level, Log
from .matching import MatchingResult, SinglePassGraphMatching, init_producer
from .meta import MetaOperatorOp, meta_operator
from .node import Connector, Node, Port
from .operator import InputCategory, Operator, OperatorTensor
from .operators import CLASSES as _CLASSES
from .operators.recurrent import leaky_reset
from .quantizers import Dequantizer, Quantizer
from .recipes import *  # noqa: F403
from .recipes import __all__ as _recipes
from .saving import (
    load_model,
    load_model_folder,
    load_model_from_bytes,
    save_model,
    save_model_folder,
    save_model_to_bytes,
)
from .scheduling import SchedulingElement, SchedulingPolicy
from .static_analysis import StaticAnalysis
from .tensor import Tensor
from .tensor_functions import (
    all,
    approx_eq,
    asarray,
    astype,
    equal,
    greater,
    isfinite,
    isnan,
    ones,
    ones_like,
    reshape,
    zeros,
    zeros_like,
)
from .tensor_layout import (
    batch_idx,
    channel_idx,
    depth_idx,
    get_permutation_mapping,
    get_transposed_data_format,
    height_idx,
    width_idx,
)
from .version import get_git_hash, get_project_version, show_version

# Aidge has the members of these at hand without their class, too.
_MEMBERS = {m.name: m for e in (SchedulingPolicy, VarianceNorm, leaky_reset, aspect_ratio) for m in e}
globals().update(_MEMBERS)

__all__ = [
    "Interpolation", "PaddingMode", "RoundingMode", "SchedulingPolicy", "aspect_ratio", *_MEMBERS, "batch_idx",
    "channel_idx", "depth_idx",
    "get_permutation_mapping", "get_transposed_data_format", "height_idx", "width_idx", "AidgeError",
    "connector_forward", "Attributes", "Connector", "DataProvider", "Database", "Dequantizer", "DynamicAttributes",
    "GenericOperator", "GenericOperatorOp", "GraphView", "InputCategory", "Level", "Log", "MatchingResult",
    "MetaOperatorOp", "Node", "Operator", "OperatorImpl", "OperatorTensor", "ParallelScheduler", "Port",
    "Quantizer", "Scheduler", "SchedulingElement", "SequentialScheduler", "SinglePassGraphMatching",
    "StaticAnalysis", "Tensor", "VarianceNorm", "aidge_to_numpy_dtype", "all", "approx_eq", "asarray", "astype",
    "constant_filler", "dformat", "dtype", "dtype_bit_width", "equal", "finfo", "generate_graph",
    "get_connected_graph_view", "get_datatype_range", "get_git_hash", "get_project_version", "get_range", "greater",
    "he_filler", "ibp_normal_filler", "iinfo", "init_producer", "is_floating_point", "is_integer", "is_unsigned",
    "isfinite", "isnan", "leaky_reset", "meta_operator", "normal_filler", "numpy_to_aidge_dtype", "ones",
    "ones_like", "parallel", "producers", "random", "reshape", "residual", "sequential", "set_producers_constant",
    "from_aidge", "to_aidge",
    "show_version", "uniform_filler", "xavier_normal_filler", "xavier_uniform_filler", "recipes", "gview_to_json",
    "load_model", "load_model_folder", "load_model_from_bytes", "save_model", "save_model_folder",
    "aidge_core", "save_model_to_bytes", "show_graphview", "test_DynamicAttributes_binding",
    "test_DynamicAttributes_binding_check", "zeros", "zeros_like", *_factories, *_recipes,
]  # fmt: skip


def __getattr__(name: str) -> object:
    """register_<type>Op(backend, class) and get_keys_<type>Op() of every operator; other names are refused."""
    for prefix, function in (("register_", _register), ("get_keys_", _registered)):
        kind = name.removeprefix(prefix).removesuffix("Op")
        if name == f"{prefix}{kind}Op" and (kind in _CLASSES or kind == "GenericOperator"):
            return _partial(function, kind)
    raise _absent(name)
