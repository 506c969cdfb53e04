"""aidge_quantization.sat: scale-adjusted training (Jin et al. 2019), with DoReFa weights and CGPACT activations."""

from __future__ import annotations

import numpy as np

from ..aidge_core.errors import GraphViewError
from ..aidge_core.graphview import GraphView
from ..aidge_core.node import Node
from ..aidge_core.operators.normalization import STATISTICS
from ..aidge_core.tensor import Tensor
from .factories import CGPACT, DoReFa, ScaleAdjust, TanhClamp
from .graphs import affine, insert, sources_above
from .operators import DoReFaMode
from .post_training import post_training_transform as transform

__all__ = [
    "insert_activ_quantizers", "insert_param_clamping", "insert_param_quantizers", "insert_param_scaling_adjust",
    "insert_sat_nodes", "post_training_transform",
]  # fmt: skip
INSERTED = ("TanhClamp", "DoReFa", "ScaleAdjust")


def insert_param_clamping(network: GraphView) -> None:
    """A TanhClamp behind each weight, <layer>_clamp.  (Aidge leaves these nodes without names.)"""
    for node in affine(network, "insert_param_clamping"):
        if node.sources[1] is not None:
            top = sources_above(node, 1, *INSERTED)
            insert(network, *((top[-1], 0) if top else (node, 1)), TanhClamp(name=f"{node.name()}_clamp"))


def insert_param_scaling_adjust(network: GraphView, use_batchnorms: bool = False) -> None:
    """A ScaleAdjust in front of each layer's weight, <layer>_adjust; with use_batchnorms not before a BatchNorm."""
    for node in affine(network, "insert_param_scaling_adjust"):
        if node.sources[1] is not None and not (use_batchnorms and _is_normalized(node)):
            insert(network, node, 1, ScaleAdjust(name=f"{node.name()}_adjust"))


def insert_sat_nodes(network: GraphView, use_batchnorms: bool = False) -> None:
    """insert_param_clamping and insert_param_scaling_adjust: what the first phase trains with."""
    insert_param_clamping(network)
    insert_param_scaling_adjust(network, use_batchnorms)


def _is_normalized(node: Node) -> bool:
    return any(r.node.type() in STATISTICS for r in node.readers[0])


def insert_param_quantizers(network: GraphView, nb_bits: int, mode: DoReFaMode = DoReFaMode.Default) -> None:
    """A DoReFa of 2^nb_bits - 1 steps right behind each TanhClamp, <layer>_dorefa."""
    steps = _steps("insert_param_quantizers", nb_bits)
    for node in affine(network, "insert_param_quantizers"):
        above = sources_above(node, 1, *INSERTED)
        clamps = [k for k, n in enumerate(above) if n.type() == "TanhClamp"]
        if clamps:
            at = clamps[0]
            consumer = (above[at - 1], 0) if at else (node, 1)
            insert(network, *consumer, DoReFa(range=steps, mode=mode, name=f"{node.name()}_dorefa"))


def insert_activ_quantizers(network: GraphView, nb_bits: int, init_alpha: float = 1.0) -> None:
    """A CGPACT in front of the data of each layer but the first, <layer>_cgpact; alpha is <layer>_cgpact_alpha."""
    steps = _steps("insert_activ_quantizers", nb_bits)
    for node in affine(network, "insert_activ_quantizers")[1:]:
        quantizer = CGPACT(range=steps, name=f"{node.name()}_cgpact")
        insert(network, node, 0, quantizer)
        alpha = quantizer.get_operator().get_input(1)
        if alpha is not None:
            alpha.copy_from(Tensor(np.full(alpha.cell.shape, init_alpha, alpha.cell.dtype)))


def _steps(call: str, nb_bits: int) -> int:
    if isinstance(nb_bits, bool) or not isinstance(nb_bits, int) or nb_bits < 1:
        raise GraphViewError(f"{call}: nb_bits is {nb_bits!r}; expected 1 or more")
    return 2**nb_bits - 1


def post_training_transform(network: GraphView, true_integers: bool) -> None:
    """The trained graph as one of integers, as lsq.post_training_transform; also with CGPACT, where Aidge raises."""
    transform(network, true_integers, "sat.post_training_transform")
