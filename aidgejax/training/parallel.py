"""Several devices: where parameters, optimizer state and rows lie.  The program of an epoch stays one, as it was.

    placement = data_parallel()                     # rows split over all devices, the state whole on each
    placement = sharded()                           # the state is split too; a parameter is gathered where it is used
    placement = sharded({"*.up.weight": (None, "model")}, {"data": 2, "model": 4})
    state, history = fit(program, optimizer, schedule, data, epochs=3, batch_size=64, placement=placement)

All of it is jax.sharding: a mesh of devices, an axis of it for every axis of an array.  XLA writes the communication,
so loss, metrics, norms, batch statistics and random draws are those of the whole batch, whatever the number of devices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ..errors import SettingError
from ..execution.program import Arrays
from ..ops import lookup, rows_split_over
from .placed_arrays import put
from .rows_in_file import padded

ROWS = "data"
WHOLE = 0.005  # of all bytes: so much of the smallest parameters is not split, which would cost more than it saves
# XLA on CPU joins the sums of all gradients into one, before which all of them have to be there in full size.
SPLIT_ON_CPU = {
    "xla_disable_hlo_passes": "cpu-all-reduce-combiner",
    "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
}
Axis = str | tuple[str, ...] | None
Rules = Mapping[str, Sequence[Axis] | None]


@dataclass(frozen=True)
class Placement:
    """A mesh of devices, and what is split over which of its axes.  Made by data_parallel, sharded and replicated.

    rules: (pattern of a parameter's name, the mesh axis of each of its axes; None: whole), the first that fits holds.
    splits: whether parameters that no rule names are split over the axis of the rows.
    rows: whether batches and resident data are.
    """

    mesh: Mesh
    rules: tuple[tuple[str, tuple[Axis, ...] | None], ...] = ()
    splits: bool = False
    rows: bool = True

    def __str__(self) -> str:
        axes = " x ".join(f"{n} {k}" for k, n in self.mesh.shape.items())
        what = "parameters split" if self.splits or self.rules else "parameters whole on each"
        return f"{self.mesh.size} devices ({axes}), {what}, {'rows split' if self.rows else 'rows whole on each'}"

    # ---- what lies where ------------------------------------------------------------------------------

    def parameter_shardings(self, params: Mapping[str, Any]) -> dict[str, NamedSharding]:
        """{parameter: over which axes of the mesh each of its axes is split}.

        params: arrays, or anything else with shape and dtype.  Raises SettingError where a rule splits an axis whose
        size its devices do not divide, or names what is not there.
        """
        ruled = {name: self._ruled(name, a.shape) for name, a in params.items()}
        unmatched = [p for p, _ in self.rules if not any(fnmatchcase(name, p) for name in params)]
        if unmatched:
            raise SettingError(
                f"no parameter fits the rule {unmatched[0]!r}; there are {', '.join(map(repr, list(params)[:6]))}"
            )
        whole = self._small(params) if self.splits else set(params)
        return {
            name: self._on(spec) if spec is not None else self.everywhere if name in whole else self._split(a.shape)
            for (name, spec), a in zip(ruled.items(), params.values(), strict=True)
        }

    def uneven(self, params: Mapping[str, Any]) -> str:
        """What to say where a device holds more than 1.05 times its share of the parameters: of which; or ""."""
        if not self.splits or self.rules:
            return ""
        excess, ways = {}, self.mesh.shape[ROWS]
        for name, where in self.parameter_shardings(params).items():
            of_device = jax.ShapeDtypeStruct(where.shard_shape(params[name].shape), params[name].dtype)
            excess[name] = _bytes(of_device) * ways - _bytes(params[name])
        shares = 1 + sum(excess.values()) / max(1, sum(map(_bytes, params.values())))
        if shares <= 1.05:
            return ""
        most = [k for k in sorted(excess, key=lambda k: -excess[k]) if excess[k]]
        named = ", ".join(f"{k!r} {list(params[k].shape)}" for k in most[:3]) + (" and more" if len(most) > 3 else "")
        return f"each device holds {shares:.2f} times 1/{ways} of the parameters: {ways} does not divide {named}"

    def shardings(self, state: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Where each array of a training state lies: what has a parameter's name and shape lies as that does; of the
        rest of the optimizer's state, such as many parameters joined to one, what is large is split as they are."""
        params = state.params if params is None else params
        found = self.parameter_shardings(params)
        least = WHOLE / 8 * sum(map(_bytes, params.values()))

        def place(path: Any, x: Any) -> NamedSharding:
            for entry in path:
                name = getattr(entry, "key", None)
                if name in found and jnp.shape(x) == jnp.shape(params[name]):
                    return found[name]
            of_optimizer = bool(path) and getattr(path[0], "name", None) == "opt"
            return self._split(jnp.shape(x)) if self.splits and of_optimizer and _bytes(x) > least else self.everywhere

        return jax.tree_util.tree_map_with_path(place, state)

    @property
    def everywhere(self) -> NamedSharding:
        """Whole on each device."""
        return self._on(PartitionSpec())

    def by_rows(self, before: int = 0) -> NamedSharding:
        """Split over the devices by axis `before`, that of the rows."""
        return self._on(PartitionSpec(*[None] * before, ROWS) if self.rows else PartitionSpec())

    # ---- putting it there -----------------------------------------------------------------------------

    def place(self, state: Any) -> Any:
        """The same state on the devices of the mesh, wherever it was; every process gives the same one."""
        return jax.tree.map(put, state, self.shardings(state))

    def place_rows(self, columns: Mapping[str, np.ndarray]) -> Arrays:
        """A resident data set, each device holding a share of its rows, of which every process gives all; of rows in a
        file it reads its own.

        Rows of zeros, which no batch names, are added where the number of devices does not divide theirs.
        """
        return {k: put(padded(v, self.split_by), self.by_rows()) for k, v in columns.items()}

    def place_batches(self, batches: Any) -> Any:
        """Batches [steps, rows, ...], for make_epoch: of several processes each gives the rows of its own devices, in
        the order of the processes; what comes out is the batches of all.  Also the `place` of data.prefetch."""

        def one(x: Any) -> Any:
            x = np.asarray(x)
            rows = x.shape[1] * jax.process_count() if self.rows else x.shape[1]
            self.check_batch(rows)
            return jax.make_array_from_process_local_data(self.by_rows(1), x, (x.shape[0], rows, *x.shape[2:]))

        return jax.tree.map(one, batches)

    # ---- sizes ----------------------------------------------------------------------------------------

    @property
    def split_by(self) -> int:
        """Over how many devices the rows of a batch are split."""
        return self.mesh.shape[ROWS] if self.rows else 1

    def check_batch(self, batch_size: int) -> None:
        """Raise SettingError, with the nearest sizes, where the devices do not divide the batch."""
        if batch_size % self.split_by:
            raise SettingError(
                f"a batch of {batch_size} rows cannot be split over {self.split_by} devices: "
                f"take {nearest(batch_size, self.split_by)} rows"
            )

    def next_batch(self, rows: int) -> int:
        """The smallest number of rows, `rows` or more, that the devices divide."""
        return -(-rows // self.split_by) * self.split_by

    # ---- inside a compiled program --------------------------------------------------------------------

    def constrained(self, state: Any) -> Any:
        """The same state, of which XLA is told where it lies."""
        return jax.lax.with_sharding_constraint(state, self.shardings(state))

    def constrained_rows(self, batch: Any) -> Any:
        """A batch, each array split by its rows."""
        return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, self.by_rows()), batch)

    def compiler_options(self) -> dict[str, str]:
        """What a program needs in which parameters are gathered where they are used."""
        split = self.splits or any(ROWS in _axes(spec or ()) for _, spec in self.rules)
        return dict(SPLIT_ON_CPU) if split and self.mesh.devices.flat[0].platform == "cpu" else {}

    def rows_apart(self) -> AbstractContextManager[None]:
        """Around what is traced for these devices: forms that would gather a batch have each device do its rows."""
        return rows_split_over(self.mesh, ROWS) if self.rows else nullcontext()

    def gathering(self, own: NamedSharding) -> Callable[[Any, Any, Any], Any] | None:
        """f(parameter, after, node) -> the parameter as a node reads it, gathered over "data" once `after` is there;
        None where it is not split so.  Else XLA gathers all parameters first, and once for forward and backward, so
        that all lie there in full size."""
        if not _gathered(own):
            return None
        axes = (tuple(a for a in _axes((axis,)) if not _is_of_rows(a)) or None for axis in own.spec)
        kept = NamedSharding(own.mesh, PartitionSpec(*axes))
        wait = lookup("Barrier").forward
        constrained = jax.lax.with_sharding_constraint
        return lambda x, after, node: constrained(constrained(wait(x, after), own), kept)

    def own_share(self, grad: Any, own: NamedSharding) -> Any:
        """The share of a gradient, taken at once: left to the update, the whole gradient is kept up to there."""
        grad = jax.lax.with_sharding_constraint(grad, own)
        return jax.lax.with_sharding_constraint(lookup("Barrier").forward(grad), own) if _gathered(own) else grad

    # ---- inside ---------------------------------------------------------------------------------------

    def _ruled(self, name: str, shape: tuple[int, ...]) -> PartitionSpec | None:
        for pattern, axes in self.rules:
            if not fnmatchcase(name, pattern):
                continue
            axes = axes or ()
            if len(axes) > len(shape):
                raise SettingError(f"the rule {pattern!r} has {len(axes)} axes, but {name!r} is {list(shape)}")
            for k, axis in enumerate(axes):
                ways = math.prod(self.mesh.shape[a] for a in _axes((axis,)))
                if shape[k] % ways:
                    raise SettingError(
                        f"the rule {pattern!r} splits axis {k} of {name!r} {list(shape)} over {ways} devices, which do "
                        f"not divide its {shape[k]} (heads, channels): the nearest sizes are {nearest(shape[k], ways)}"
                    )
            return PartitionSpec(*axes)
        return None

    def _split(self, shape: tuple[int, ...]) -> NamedSharding:
        """By its longest axis that the devices divide, the first of equals; where there is none, by several axes, over
        as many of the devices as the factors of their number divide them."""
        ways = self.mesh.shape[ROWS]
        fitting = [k for k, n in enumerate(shape) if n and n % ways == 0]
        if fitting:
            at = max(fitting, key=lambda k: (shape[k], -k))
            return self._on(PartitionSpec(*[None] * at, ROWS))
        left = list(shape)
        axes: list[tuple[str, ...]] = [()] * len(shape)
        for name in self._parts:
            factor = self._fine.shape[name]
            if fitting := [k for k, n in enumerate(left) if n and n % factor == 0]:
                at = max(fitting, key=lambda k: (left[k], -k))
                axes[at] = (*axes[at], name)
                left[at] //= factor
        return self._on(PartitionSpec(*(a or None for a in axes)) if any(axes) else PartitionSpec())

    def _on(self, spec: PartitionSpec) -> NamedSharding:
        """The sharding of a spec that names axes of the mesh, or parts of "data"."""
        axes = (tuple(p for a in _axes((axis,)) for p in (self._parts if a == ROWS else (a,))) for axis in spec)
        return NamedSharding(self._fine, PartitionSpec(*(a if len(a) > 1 else a[0] if a else None for a in axes)))

    @cached_property
    def _parts(self) -> tuple[str, ...]:
        """What "data" is called in the finer mesh: an axis for each prime factor of its devices."""
        return tuple(a for a in self._fine.shape if _is_of_rows(a))

    @cached_property
    def _fine(self) -> Mesh:
        """The mesh, in which "data" is an axis for each prime factor of its devices: a size that they do not divide may
        be divided by some of these."""
        factors = _prime_factors(self.mesh.shape[ROWS])
        if len(factors) == 1:
            return self.mesh
        shape: dict[str, int] = {}
        for name, n in self.mesh.shape.items():
            shape |= {f"{ROWS}.{k}": p for k, p in enumerate(factors)} if name == ROWS else {name: n}
        devices = self.mesh.devices.reshape(tuple(shape.values()))
        return Mesh(devices, tuple(shape), axis_types=(AxisType.Auto,) * len(shape))

    def _small(self, params: Mapping[str, Any]) -> set[str]:
        """The smallest parameters, as many as make WHOLE of all bytes, those first that cannot be split."""
        sizes = {k: _bytes(a) for k, a in params.items()}
        order = sorted(sizes, key=lambda k: (self._split(params[k].shape) != self.everywhere, sizes[k]))
        left, whole = WHOLE * sum(sizes.values()), set()
        for name in order:
            left -= sizes[name]
            if left < 0:
                break
            whole.add(name)
        return whole


# ---- the placements -----------------------------------------------------------------------------------


def data_parallel(devices: int | Iterable[Any] | None = None) -> Placement:
    """The rows of each batch are split over the devices; parameters and optimizer state lie on each.

    devices: JAX devices, or how many of those there are (all).  Raises SettingError where there are fewer.
    """
    return Placement(mesh_of(devices))


def sharded(
    rules: Rules | None = None, mesh: Mesh | Mapping[str, int] | int | Iterable[Any] | None = None
) -> Placement:
    """Parameters and their optimizer state are split too, and gathered layer by layer where they are used.

    rules: {pattern of a parameter's name: the mesh axis of each of its axes}; None in place of these leaves it whole.
        What no rule names is split over "data" by its longest axis that divides, the smallest parameters apart.
        A parameter that is split over an axis other than "data" is not gathered: XLA splits what is computed from it
        (tensor parallel).
    mesh: {axis: number of devices}, of which "data" splits the rows; or devices, as for data_parallel; or a Mesh.
    Raises SettingError for a mesh that is larger than what there is, and for axes that it does not have.
    """
    if rules is not None and not isinstance(rules, Mapping):
        raise SettingError(f"rules is a {type(rules).__name__}: expected {{pattern: axes}}; devices go into mesh=")
    whole = mesh_of(mesh)
    for pattern, axes in (rules or {}).items():
        for axis in _axes(axes or ()):
            if axis not in whole.shape:
                raise SettingError(
                    f"the rule {pattern!r} names the mesh axis {axis!r}; there are {', '.join(map(repr, whole.shape))}"
                )
    kept = tuple((p, None if a is None else tuple(a)) for p, a in (rules or {}).items())
    return Placement(whole, kept, splits=True)


def replicated(devices: int | Iterable[Any] | None = None) -> Placement:
    """Everything whole on each device, the rows too: each computes the same."""
    return Placement(mesh_of(devices), rows=False)


def mesh_of(devices: Mesh | Mapping[str, int] | int | Iterable[Any] | None = None) -> Mesh:
    """A mesh with the axis "data".  devices: as for `sharded`.  Raises SettingError."""
    if isinstance(devices, Mesh):
        if ROWS not in devices.shape:
            raise SettingError(f"a mesh needs an axis {ROWS!r} for the rows; it has {', '.join(devices.shape)}")
        return devices
    there = jax.devices()
    if isinstance(devices, Mapping):
        shape = {ROWS: 1} | {str(k): int(n) for k, n in devices.items()}
    else:
        if devices is not None and not isinstance(devices, int):
            there = list(devices)
        shape = {ROWS: devices if isinstance(devices, int) else len(there)}
    wanted = math.prod(shape.values())
    if min(shape.values()) < 1 or wanted > len(there):
        raise SettingError(
            f"{wanted} devices were asked for; JAX has {len(there)} here ({there[0].platform}). On a CPU, "
            f'jax.config.update("jax_num_cpu_devices", {max(wanted, 1)}) before JAX is used makes as many'
        )
    if jax.process_count() > 1 and wanted < len(there):
        raise SettingError(
            f"{wanted} devices were asked for; with {jax.process_count()} processes all {len(there)} are used"
        )
    chosen = np.array(there[:wanted]).reshape(tuple(shape.values()))
    return Mesh(chosen, tuple(shape), axis_types=(AxisType.Auto,) * len(shape))


def _bytes(x: Any) -> int:
    return math.prod(jnp.shape(x)) * jnp.result_type(x).itemsize


def _axes(spec: Iterable[Axis]) -> tuple[str, ...]:
    """The mesh axes that a spec names."""
    return tuple(a for axis in spec if axis is not None for a in ((axis,) if isinstance(axis, str) else axis))


def _is_of_rows(axis: str) -> bool:
    """Is it the mesh axis "data", or a part of it?"""
    return axis == ROWS or axis.startswith(f"{ROWS}.")


def _gathered(own: NamedSharding) -> bool:
    """Is a parameter that lies so gathered where it is used?"""
    return any(map(_is_of_rows, _axes(own.spec)))


def _prime_factors(n: int) -> list[int]:
    for p in range(2, math.isqrt(n) + 1):
        if n % p == 0:
            return [p, *_prime_factors(n // p)]
    return [n]


def nearest(size: int, ways: int) -> str:
    """The multiples of `ways` next to a size, in words."""
    below = size // ways * ways
    return f"{below} or {below + ways}" if below else str(ways)
