"""Equal blocks of a network, whose parameters go through a compiled epoch as one array of all blocks.

A program that executes equal blocks as a loop (make_program's scan_blocks) takes the parameters of a block by its
number.  Were they an array of each block, as the state has them, every step would stack them and cut their gradients
apart: copies, and code of its own for each place.  They are stacked once before the first step, and cut apart after the
last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..execution.program import Arrays, Program
from ..interpreter.repeats import Stacked
from ..ops.materialize import materialize
from .optim import Optimizer

Names = Mapping[str, tuple[str, ...]]


class StackedProgram:
    """A program whose wrt has the stacks of parameters in their place, and whose gradients are theirs.

    unstacked: the program with each parameter alone.
    """

    def __init__(self, program: Program, stacks: Names) -> None:
        self.unstacked = program
        trained = {k: names for k, names in stacks.items() if set(names) <= set(program.wrt)}
        apart = set(program.wrt).difference(*trained.values())
        self.wrt = (*(w for w in program.wrt if w in apart), *trained)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unstacked, name)


def stacks_of(step: Any, state: Any) -> Names:
    """{name: parameters, or buffers, that are to be one array in an epoch of this step and state}"""
    program, optimizer = getattr(step, "program", None), getattr(step, "optimizer", None)
    if not isinstance(program, Program) or not isinstance(optimizer, Optimizer):
        return {}
    if not optimizer.per_leaf or optimizer.post_update is not None:
        return {}
    arrays = {**state.params, **state.buffers}
    alike = lambda names: len({(jnp.shape(arrays[n]), jnp.result_type(arrays[n])) for n in names}) == 1
    return {k: names for k, names in program.block_stacks.items() if alike(names)}


def of_stacks(step: Any, stacks: Names) -> Callable:
    """The same step for states that are stacked like this."""
    return step.remake(StackedProgram(step.program, stacks))


def stacked(state: Any, stacks: Names) -> Any:
    """The state with the arrays of equal blocks stacked."""

    def joined(tree: Arrays, wrap: bool = True) -> Arrays:
        here = {k: names for k, names in stacks.items() if names[0] in tree}
        rest = set(tree).difference(*here.values())
        found = {n: v for n, v in tree.items() if n in rest}
        for k, names in here.items():
            whole = jax.tree.map(lambda *blocks: jnp.stack(blocks), *(tree[n] for n in names))
            found[k] = Stacked(whole) if wrap else whole
        return found

    return _with_trees(state, [joined(tree, tree is not state.opt) for tree in _trees(state)])


def unstacked(state: Any, stacks: Names) -> Any:
    """The state again with an array of each block.

    Blocks are taken by numbers that XLA does not know: a slice at a fixed place is other code for each place.
    """
    trees = _trees(state)
    whole = [{k: tree[k] for k in stacks if k in tree} for tree in trees]
    most = max(map(len, stacks.values()))
    after = lambda k, x: jnp.minimum(k + 1, jnp.maximum(x, most))
    k, blocks = jnp.int32(-1), []
    for _ in range(most):
        k = materialize(after, k, state.step.low.astype(jnp.int32))
        blocks.append(_block(whole, k))
    found = []
    for n, tree in enumerate(trees):
        found.append({k: v for k, v in tree.items() if k not in stacks})
        for stack in whole[n]:
            for k, name in enumerate(stacks[stack]):
                block = blocks[k][n][stack]
                found[n][name] = block.blocks if isinstance(block, Stacked) else block
    return _with_trees(state, found)


def _block(whole: Any, k: Any) -> Any:
    at = lambda a: jax.lax.dynamic_index_in_dim(a, k, keepdims=False, allow_negative_indices=False)
    return jax.tree.map(at, whole)


def _trees(state: Any) -> list[Arrays]:
    held = state.accumulator
    return [state.params, state.buffers, state.opt] + ([] if held is None else [held.grads])


def _with_trees(state: Any, trees: list[Arrays]) -> Any:
    params, buffers, opt, *grads = trees
    state = state._replace(params=params, buffers=buffers, opt=opt)
    return state._replace(accumulator=state.accumulator._replace(grads=grads[0])) if grads else state
