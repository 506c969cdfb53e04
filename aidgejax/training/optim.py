"""Optimizers: what one update does to one array, lifted over all parameters once, by `per_leaf`.

    optimizer = adamw(weight_decay=0.01)
    state = optimizer.init(params)
    params, state = optimizer.update(params, grads, state, lr)

Params, gradients and state are pytrees; everything is pure.  A convention in which systems differ (what the first
update does, where epsilon stands) is a named option.  Parameters keep their dtype; those of 16 bits have a
float32 master in the optimizer's state, which is what the rule moves, so that no update is rounded away.

A hyper-parameter given as a number is checked and compiled in; given as an array, traced or not, it is an input.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..errors import GraphError
from ..interpreter.repeats import Stacked
from ..passes.gradient_norm import global_norm, scaled_to_norm
from .optimizer_arguments import aligned, choice, named, setting
from .recipes import Recipe, reproducible, same_recipe

__all__ = [
    "Optimizer",
    "adagrad",
    "adam",
    "adamw",
    "clip_by_global_norm",
    "clipped",
    "global_norm",
    "per_leaf",
    "rmsprop",
    "sgd",
]


@dataclass(frozen=True, eq=False)
class Optimizer:
    """init(params) -> state;  update(params, grads, state, lr) -> (params, state).

    state: the pytree of params with a NamedTuple in place of each array.  Its `seen` counts the updates: a fresh `init`
    starts momentum and moments anew.  A gradient of None leaves its parameter, and its state, as they are.
    post_update(params, buffers) -> (params, buffers): what follows each update of all parameters, if anything does:
    weights that are clipped, say (see aidgejax.analog.with_post_update).
    recipe: which function made it, of what: by it optimizers are pickled, and equal.
    elementwise: each number is moved by its own gradient and state alone, whatever array it stands in.
    together: names of parameters that are updated as one vector (joined_update.py).
    per_leaf: its state is one of each parameter, moved by a rule for one array; it takes a Stacked parameter too.
    """

    init: Callable[[Any], Any]
    update: Callable[[Any, Any, Any, Any], tuple[Any, Any]]
    post_update: Callable[[Any, Any], tuple[Any, Any]] | None = None
    recipe: Recipe | None = field(default=None, repr=False)
    elementwise: bool = field(default=False, repr=False)
    together: frozenset[str] = field(default=frozenset(), repr=False)
    per_leaf: bool = field(default=False, repr=False)

    def __reduce__(self) -> Any:
        if self.recipe is None:
            return type(self), (self.init, self.update, self.post_update)
        return self.recipe.made, ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Optimizer) and same_recipe(self, other)

    def __hash__(self) -> int:
        return hash(self.recipe) if self.recipe is not None else id(self)


class Momentum(NamedTuple):
    """velocity: None where momentum is 0, when nobody reads it."""

    velocity: Any
    seen: Any


class Moments(NamedTuple):
    """Running means of g and g**2.  powers: beta1**seen and beta2**seen where they are kept as products, else None."""

    mean: Any
    square: Any
    seen: Any
    powers: Any


class Squares(NamedTuple):
    """Running mean (RMSProp) or sum (AdaGrad) of g**2."""

    square: Any
    seen: Any


class Master(NamedTuple):
    """The state of a parameter of 16 bits: its value in float32, and what the rule keeps."""

    weights: Any
    state: Any


# ---- rules for one array ------------------------------------------------------------------------------


@reproducible
def sgd(
    momentum: Any = 0.0,
    dampening: Any = 0.0,
    weight_decay: Any = 0.0,
    nesterov: bool = False,
    *,
    first: str = "whole",
    dampen_always: bool = False,
) -> Optimizer:
    """Stochastic gradient descent with momentum.

        g <- g + weight_decay * p
        v <- momentum * v + (1 - dampening) * g
        p <- p - lr * v                               nesterov: p - lr * (g + momentum * v)

    first: the first update takes v <- g ("whole", torch), follows the rule from v = 0 ("dampened", TVM and SINGA),
        or takes v <- g before weight_decay is added ("bare", Aidge).
    dampen_always: dampening acts even when momentum is 0 (Aidge, TVM's MomentumSGD).
    """
    momentum = setting("sgd", "momentum", momentum, 0, math.inf)
    dampening = setting("sgd", "dampening", dampening, -math.inf, math.inf)
    weight_decay = setting("sgd", "weight_decay", weight_decay, 0, math.inf)
    choice("sgd", "first", first, ("whole", "dampened", "bare"))
    remembers = not (isinstance(momentum, float) and momentum == 0)
    whole_already = isinstance(dampening, float) and dampening == 0  # the first v is momentum * 0 + g

    def init(p: Any) -> Any:
        return Momentum(jnp.zeros_like(p) if remembers else None, jnp.int32(0))

    def update(p: Any, g: Any, s: Any, lr: Any) -> Any:
        decayed = _decayed(g, p, weight_decay)
        v = (1 - dampening * (dampen_always or momentum != 0)) * decayed
        if remembers:
            v = momentum * s.velocity + v
        if first == "bare" or first == "whole" and not whole_already:
            v = jnp.where(s.seen == 0, g if first == "bare" else decayed, v)
        step = decayed + momentum * v if nesterov else v
        return p - lr * step, Momentum(v if remembers else None, _one_more(s.seen))

    return per_leaf(init, update, elementwise=True)


@reproducible
def adam(
    beta1: Any = 0.9,
    beta2: Any = 0.999,
    epsilon: Any = 1e-8,
    weight_decay: Any = 0.0,
    *,
    bias_correction: str = "moments",
) -> Optimizer:
    """Adam; weight_decay is L2, added to the gradient.

        m <- beta1 * m + (1 - beta1) * g
        v <- beta2 * v + (1 - beta2) * g**2           t: updates, this one included
        p <- p - lr * m' / (sqrt(v') + epsilon)

    bias_correction: "moments": m' = m / (1 - beta1**t), v' = v / (1 - beta2**t) (torch, Aidge, SINGA);
        "products": the same with the powers kept as running products (TVM);
        "rate": lr * sqrt(1 - beta2**t) / (1 - beta1**t) with m and v as they are, so that epsilon is not corrected
        (ONNX Runtime, Hugging Face);  "none".
    """
    weight_decay = setting("adam", "weight_decay", weight_decay, 0, math.inf)
    descend, init = _adam("adam", beta1, beta2, epsilon, bias_correction)

    def update(p: Any, g: Any, s: Any, lr: Any) -> Any:
        step, s = descend(_decayed(g, p, weight_decay), s, lr)
        return p - step, s

    return per_leaf(init, update, elementwise=True)


@reproducible
def adamw(
    beta1: Any = 0.9,
    beta2: Any = 0.999,
    epsilon: Any = 1e-8,
    weight_decay: Any = 0.01,
    *,
    decay: str = "before",
    bias_correction: Any = None,
) -> Optimizer:
    """Adam with decoupled decay: p <- p - lr * weight_decay * p, apart from the moments.

    decay: "before" Adam's step, with bias_correction "moments" (torch), or "after" it, on the parameter already moved,
        with bias_correction "rate" (ONNX Runtime, Hugging Face; theirs have epsilon=1e-6, weight_decay=0 by default).
    bias_correction: one of adam's, if it is to be another than the one that belongs to `decay`.
    """
    weight_decay = setting("adamw", "weight_decay", weight_decay, 0, math.inf)
    choice("adamw", "decay", decay, ("before", "after"))
    correction = bias_correction or {"before": "moments", "after": "rate"}[decay]
    descend, init = _adam("adamw", beta1, beta2, epsilon, correction)

    def update(p: Any, g: Any, s: Any, lr: Any) -> Any:
        step, s = descend(g, s, lr)
        if decay == "before":
            return p * (1 - lr * weight_decay) - step, s
        return (p - step) * (1 - lr * weight_decay), s

    return per_leaf(init, update, elementwise=True)


@reproducible
def rmsprop(rho: Any = 0.99, epsilon: Any = 1e-8, weight_decay: Any = 0.0, *, epsilon_at: str = "outside") -> Optimizer:
    """r <- rho * r + (1 - rho) * g**2;  p <- p - lr * g / (sqrt(r) + epsilon), and g includes weight_decay * p.

    epsilon_at: "outside" the root, as written (torch), or "inside": sqrt(r + epsilon) (SINGA, whose rho is 0.9).
    """
    rho = setting("rmsprop", "rho", rho, 0, 1)

    def average(square: Any, g: Any) -> Any:
        return rho * square + (1 - rho) * g * g

    return _squares("rmsprop", average, 0.0, epsilon, weight_decay, epsilon_at)


@reproducible
def adagrad(
    epsilon: Any = 1e-10, weight_decay: Any = 0.0, *, initial: Any = 0.0, epsilon_at: str = "outside"
) -> Optimizer:
    """h <- h + g**2, from h = initial;  p <- p - lr * g / (sqrt(h) + epsilon), and g includes weight_decay * p.

    epsilon_at: "outside" the root, as written (torch), or "inside": sqrt(h + epsilon) (SINGA, whose epsilon is 1e-8).
    """
    initial = setting("adagrad", "initial", initial, 0, math.inf)
    return _squares("adagrad", lambda square, g: square + g * g, initial, epsilon, weight_decay, epsilon_at)


def _decayed(g: Any, p: Any, weight_decay: Any) -> Any:
    """g + weight_decay * p; without decay p is not read."""
    return g if isinstance(weight_decay, float) and weight_decay == 0 else g + weight_decay * p


def _adam(rule: Any, beta1: Any, beta2: Any, epsilon: Any, correction: Any) -> Any:
    """(descend, init): descend(g, state, lr) -> (what to subtract from p, state)."""
    beta1 = setting(rule, "beta1", beta1, 0, 1, below=True)
    beta2 = setting(rule, "beta2", beta2, 0, 1, below=True)
    epsilon = setting(rule, "epsilon", epsilon, 0, math.inf)
    choice(rule, "bias_correction", correction, ("moments", "products", "rate", "none"))

    def init(p: Any) -> Any:
        one = jnp.ones((), p.dtype)
        return Moments(
            jnp.zeros_like(p), jnp.zeros_like(p), jnp.int32(0), (one, one) if correction == "products" else None
        )

    def descend(g: Any, s: Any, lr: Any) -> Any:
        t, powers = _one_more(s.seen), s.powers
        m = beta1 * s.mean + (1 - beta1) * g
        v = beta2 * s.square + (1 - beta2) * g * g
        if correction == "products":
            powers = (powers[0] * beta1, powers[1] * beta2)
            missing1, missing2 = 1 - powers[0], 1 - powers[1]
        else:
            missing1, missing2 = _missing(beta1, t, g.dtype), _missing(beta2, t, g.dtype)
        if correction == "none":
            step = lr * m / (jnp.sqrt(v) + epsilon)
        elif correction == "rate":
            step = lr * jnp.sqrt(missing2) / missing1 * m / (jnp.sqrt(v) + epsilon)
        else:
            step = lr * (m / missing1) / (jnp.sqrt(v / missing2) + epsilon)
        return step, Moments(m, v, t, powers)

    return descend, init


def _one_more(seen: Any) -> Any:
    """The count after this update; it stands still at its largest value, where nothing depends on it any more."""
    return jnp.minimum(seen, jnp.iinfo(seen.dtype).max - 1) + 1


def _missing(beta: Any, t: Any, dtype: Any) -> Any:
    """1 - beta**t, the share of a running mean that has been filled; expm1 keeps its digits when t is small."""
    if isinstance(beta, float):
        return jnp.ones((), dtype) if beta == 0 else -jnp.expm1(t.astype(dtype) * math.log(beta))
    return 1 - jnp.power(beta, t.astype(dtype))


def _squares(rule: Any, accumulate: Any, initial: Any, epsilon: Any, weight_decay: Any, epsilon_at: Any) -> Optimizer:
    epsilon = setting(rule, "epsilon", epsilon, 0, math.inf)
    weight_decay = setting(rule, "weight_decay", weight_decay, 0, math.inf)
    choice(rule, "epsilon_at", epsilon_at, ("inside", "outside"))

    def init(p: Any) -> Any:
        return Squares(jnp.full_like(p, initial), jnp.int32(0))

    def update(p: Any, g: Any, s: Any, lr: Any) -> Any:
        g = _decayed(g, p, weight_decay)
        square = accumulate(s.square, g)
        root = jnp.sqrt(square + epsilon) if epsilon_at == "inside" else jnp.sqrt(square) + epsilon
        return p - lr * g / root, Squares(square, _one_more(s.seen))

    return per_leaf(init, update, elementwise=True)


# ---- over all parameters ------------------------------------------------------------------------------


def per_leaf(init: Any, update: Any, *, elementwise: bool = False) -> Optimizer:
    """Lift a rule for one array, init(p) -> s and update(p, g, s, lr) -> (p, s), over a pytree of parameters.

    The rule sees float32 or wider: of a narrower parameter the Master, where that still rounds to the parameter; where
    somebody else has changed the parameter since, the parameter holds.  Results return to the dtypes that went in, so
    that a scan can carry them.  elementwise: the rule moves each number by itself, and takes a vector of counts where
    its state has one (see joined_update.py).
    """

    def init_all(params: Any) -> Any:
        for path, p in jax.tree_util.tree_leaves_with_path(params):
            if not jnp.issubdtype(jnp.result_type(p), jnp.floating):
                raise GraphError(
                    f"parameter {named(path)} has dtype {jnp.result_type(p)}: only floating-point "
                    f"parameters can be trained. Leave it out of the parameters, or freeze it"
                )
        return jax.tree.map(lambda p: _started(init, p), params)

    def update_all(params: Any, grads: Any, state: Any, lr: Any) -> Any:
        paths: Any
        tree: Any
        paths, tree = jax.tree_util.tree_flatten_with_path(params, is_leaf=lambda p: isinstance(p, Stacked))
        grads = aligned(tree, grads, "gradients", params)
        states = aligned(tree, state, "optimizer state", params)
        traced = any(isinstance(p, jax.core.Tracer) for _, p in paths)
        rule = jax.jit(update) if traced else update  # traced once for all parameters of one shape
        results = [_update_one(rule, path, p, g, s, lr) for (path, p), g, s in zip(paths, grads, states, strict=True)]
        return tree.unflatten(p for p, _ in results), tree.unflatten(s for _, s in results)

    return Optimizer(init_all, update_all, elementwise=elementwise, per_leaf=True)


@reproducible
def clipped(optimizer: Any, max_norm: Any) -> Optimizer:
    """The same optimizer, whose gradients pass `clip_by_global_norm` first."""

    def update(params: Any, grads: Any, state: Any, lr: Any) -> Any:
        return optimizer.update(params, clip_by_global_norm(grads, max_norm), state, lr)

    return Optimizer(optimizer.init, update, optimizer.post_update, per_leaf=getattr(optimizer, "per_leaf", False))


@reproducible
def clipped_by_value(optimizer: Optimizer, most: float) -> Optimizer:
    """The same optimizer, whose gradients are held within -most and most, each number for itself."""
    most = setting("clipped_by_value", "most", most, 0, math.inf, above=True)

    def update(params: Any, grads: Any, state: Any, lr: Any) -> Any:
        return optimizer.update(params, jax.tree.map(lambda g: jnp.clip(g, -most, most), grads), state, lr)

    elementwise, leaves = optimizer.elementwise, optimizer.per_leaf
    return Optimizer(optimizer.init, update, optimizer.post_update, elementwise=elementwise, per_leaf=leaves)


def clip_by_global_norm(grads: Any, max_norm: Any) -> Any:
    """grads * min(1, max_norm / (norm + 1e-6)), and norm is that of all gradients together.

    NaN in one gradient makes all of them NaN.  Source: torch.nn.utils.clip_grad_norm_, ONNX Runtime's ClipGradNorm.
    """
    max_norm = setting("clip_by_global_norm", "max_norm", max_norm, 0, math.inf, above=True)
    return scaled_to_norm(grads, max_norm)


# ---- inside -------------------------------------------------------------------------------------------


def _update_one(update: Any, path: Any, p: Any, g: Any, s: Any, lr: Any) -> Any:
    if g is None:
        return p, s
    if isinstance(p, Stacked):
        one = lambda p, g, s: _update_one(update, path, p, g, s, lr)
        blocks, s = jax.vmap(one)(p.blocks, g.blocks, s)
        return Stacked(blocks), s
    if jnp.shape(g) != jnp.shape(p):
        raise GraphError(f"parameter {named(path)} has shape {jnp.shape(p)}, but its gradient has {jnp.shape(g)}")
    wide, kept = _wide(p), s
    if isinstance(s, Master):
        wide, kept = jnp.where(s.weights.astype(p.dtype) == p, s.weights, wide), s.state
    new, state = update(wide, jnp.asarray(g, wide.dtype), kept, jnp.asarray(lr, wide.dtype))
    state = jax.tree.map(lambda new, old: new.astype(old.dtype), state, kept)
    return new.astype(p.dtype), Master(new, state) if isinstance(s, Master) else state


def _started(init: Any, p: Any) -> Any:
    wide = _wide(p)
    return init(wide) if wide.dtype == jnp.result_type(p) else Master(wide, init(wide))


def _wide(p: Any) -> Any:
    p = jnp.asarray(p)
    return p.astype(jnp.promote_types(p.dtype, jnp.float32))
