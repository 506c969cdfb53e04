"""aidge_quantization.lsq: learned step size quantization (Esser et al. 2020)."""

from __future__ import annotations

from ..aidge_core.errors import GraphViewError
from ..aidge_core.graphview import GraphView
from .factories import LSQ
from .graphs import affine, insert
from .post_training import post_training_transform as transform

__all__ = ["post_training_transform", "setup_quantizers"]


def setup_quantizers(network: GraphView, nb_bits: int) -> None:
    """An LSQ in front of each layer's data (<layer>_lsq_i) and weight (<layer>_lsq_p).

    Signed of nb_bits, but unsigned where the data comes straight from a ReLU.  Steps are Producers, <quantizer>_ss,
    which the first forward sets and an optimizer trains: collect producers(graph) after this.
    """
    if isinstance(nb_bits, bool) or not isinstance(nb_bits, int) or nb_bits < 2:
        raise GraphViewError(f"setup_quantizers: nb_bits is {nb_bits!r}; expected 2 or more")
    signed = (-(2 ** (nb_bits - 1)), 2 ** (nb_bits - 1) - 1)
    layers = affine(network, "setup_quantizers")
    done = [n for n in layers for p in n.sources[:2] if p is not None and p.node.type() == "LSQ"]
    if done:
        raise GraphViewError(f"setup_quantizers: node {done[0].name()!r} has its quantizers already")
    for node in layers:
        above = node.sources[0]
        unsigned = above is not None and above.node.type() == "ReLU"
        insert(network, node, 0, LSQ(range=(0, 2**nb_bits - 1) if unsigned else signed, name=f"{node.name()}_lsq_i"))
        if node.sources[1] is not None:
            insert(network, node, 1, LSQ(range=signed, name=f"{node.name()}_lsq_p"))


def post_training_transform(network: GraphView, true_integers: bool) -> None:
    """The trained graph as one of integers: weights and biases whole numbers, Quantizers <layer>_lsq_i_quant.

    Each layer's sums are multiplied by (step of data) (step of weight): in the next Quantizer's factor, or by a Mul
    <layer>_Scaling.  Biases are rounded now, to that product, so outputs differ from the trained graph's by that.
    true_integers: tensors of integer types (int8, sums int32); else integers in float tensors.
    aidgejax.quant (to_integer, verify, write) gives a graph that computes what was trained.
    Raises OrderError where no LSQ is, or its step is not set yet.
    """
    transform(network, true_integers, "lsq.post_training_transform")
