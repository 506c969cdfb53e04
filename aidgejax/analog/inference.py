"""Programming, drift and its compensation on the tiles of a graph: pure functions of keys and times.

    device = program_analog_weights(graph, params, buffers, key=key)
    params_t, buffers_t = drift_analog_weights(graph, device, t, params, buffers, key=other_key)
    figures = over_time(graph, evaluate, times, seeds=8, params=params, buffers=buffers)

`device` holds what each tile remembers of its programming, a pytree: drift starts from it at any time, in any order.
Times and keys may be traced: many of both are one jax.vmap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..dtypes import Arrays
from ..errors import GraphError
from ..execution.cache import PROGRAMS
from ..execution.program import Program, make_program
from ..graph import Graph
from .compensation import BaseDriftCompensation
from .conductance import as_array
from .convert import layers
from .errors import ConfigError
from .metadata import model_key
from .noise_model import BaseNoiseModel, draws
from .settings import Settings
from .tile import Linear, write_product


def program_tile(
    model: BaseNoiseModel, s: Settings, weight: Any, key: Any, out_noise_values: Any = None
) -> dict[str, Any]:
    """What a tile remembers when `weight` f[out, *k], as it is held (with an analog bias), has been programmed.

    {"reference": weight, "weight": what programming ended in, "coefficients": [of each conductance matrix],
    "baseline": f[1 or out], absent without drift compensation}
    """
    if not isinstance(model, BaseNoiseModel):
        raise ConfigError(f"noise_model is {model!r}: expected a noise model, such as PCMLikeNoiseModel()")
    noise, read = jax.random.split(key)
    flat = jnp.reshape(weight, (jnp.shape(weight)[0], -1))
    programmed, nus = model.program_weights(flat, draws(noise))
    device = {"reference": weight, "weight": jnp.reshape(programmed, jnp.shape(weight)), "coefficients": nus}
    if s.compensation is not None:
        device["baseline"] = baseline_of(s.compensation, s, flat, programmed, read, out_noise_values)
    return device


def baseline_of(
    compensation: BaseDriftCompensation,
    s: Settings,
    exact: Any,
    programmed: Any,
    key: Any,
    out_noise_values: Any = None,
) -> Any:
    """f[1 or out]: what the compensation reads of weights f[out, in] that are `programmed`; where it compares with
    those that were to be, of these, without converters and noise."""
    asked = as_array(compensation.get_readout_tensor(exact.shape[1]))
    answer = asked @ exact.T if compensation.exact else readout_of(s, programmed, key, asked, out_noise_values)
    return compensation.readout(answer)


def drift_tile(
    model: BaseNoiseModel, s: Settings, device: dict[str, Any], t: Any, key: Any, out_noise_values: Any = None
) -> tuple[Any, Any]:
    """(weight, alpha) of a programmed tile t seconds later; alpha f[1 or out], None without drift compensation."""
    noise, read = jax.random.split(key)
    flat = jnp.reshape(device["weight"], (jnp.shape(device["weight"])[0], -1))
    now = model.drift_weights(flat, device["coefficients"], t, draws(noise))
    alpha = None
    if s.compensation is not None:
        asked = as_array(s.compensation.get_readout_tensor(flat.shape[1]))
        found = s.compensation.apply(readout_of(s, now, read, asked, out_noise_values), device["baseline"])
        alpha = jnp.reshape(as_array(found), -1)  # a script's own may give a number
    return jnp.reshape(now, jnp.shape(device["weight"])), alpha


# ---- compiled, for who works tile by tile ---------------------------------------------------------------


def compiled_program_tile(model: BaseNoiseModel, s: Settings, *rest: Any) -> dict[str, Any]:
    """What program_tile gives, by one program for all tiles that are alike; a script's own models run as they are."""
    program = _programs(model, s)[0]
    return program_tile(model, s, *rest) if program is None else program(*rest)


def compiled_drift_tile(
    model: BaseNoiseModel, s: Settings, device: dict[str, Any], t: float, *rest: Any
) -> tuple[Any, Any]:
    """What drift_tile gives, likewise."""
    if not model.takes_any_time:
        return drift_tile(model, s, device, t, *rest)
    drift = _programs(model, s)[1]
    held = {k: v for k, v in device.items() if k in ("weight", "coefficients", "baseline")}
    return drift_tile(model, s, held, t, *rest) if drift is None else drift(held, float(t), *rest)


def _programs(model: Any, s: Settings) -> tuple[Any, Any]:
    compensations = () if s.compensation is None else (s.compensation,)
    key = model_key(model, *compensations) if isinstance(model, BaseNoiseModel) else None
    if key is None:
        return None, None
    return PROGRAMS.get(
        ("tile inference", key, s),
        lambda: (jax.jit(partial(program_tile, model, s)), jax.jit(partial(drift_tile, model, s))),
    )


def readout_of(s: Settings, weight: Any, key: Any, asked: Any, out_noise_values: Any = None) -> Any:
    """f[n, out]: the outputs of asked f[n, in] through the tile's converters and noise; no range, no scales."""
    values = None if out_noise_values is None else tuple(jnp.shape(out_noise_values))
    program = _response_program(s, tuple(jnp.shape(weight)), values)
    buffers = {} if out_noise_values is None else {"out_noise_values": out_noise_values}
    inputs = {"x": jnp.asarray(asked, jnp.result_type(weight))}
    outputs, _, _ = program.forward({"weight": weight}, buffers, inputs, key, save=False)
    return outputs["y"]


@PROGRAMS.cached
def _response_program(s: Settings, shape: tuple[int, ...], values: tuple[int, ...] | None) -> Program:
    g = Graph("readout")
    x = g.input("x", ("N", shape[1]))
    g.parameter("weight", np.zeros(shape, np.float32))
    if values is not None:
        g.buffer("out_noise_values", np.zeros(values, np.float32))
    g.add("Identity", [write_product(g, x, "", s, Linear(2))], names=["y"])
    g.output("y")
    return make_program(g, wrt=[], seeds=[], training=False)


# ---- the tiles of a graph -----------------------------------------------------------------------------


def _tiles(graph: Graph, noise_model: BaseNoiseModel | None) -> list[tuple[str, Settings, BaseNoiseModel]]:
    found = [
        (part.prefix, layer.settings, layer.settings.noise_model if noise_model is None else noise_model)
        for layer in layers(graph)
        for part in layer.parts
    ]
    if not found:
        raise GraphError(f"graph {graph.name!r} has no analog layers to program: convert it with convert_to_analog")
    for prefix, _, model in found:
        if not isinstance(model, BaseNoiseModel):
            raise ConfigError(f"tile {prefix[:-1]!r}: its config's noise_model is {model!r}: pass noise_model=")
    return found


def program_analog_weights(
    graph: Graph,
    params: Arrays | None = None,
    buffers: Arrays | None = None,
    *,
    key: Any,
    noise_model: BaseNoiseModel | None = None,
) -> dict[str, dict[str, Any]]:
    """{tile: what it remembers of programming the weights of params}, by the configs' noise models or this one."""
    held = {**graph.params, **graph.buffers, **(params or {}), **(buffers or {})}
    device = {}
    for k, (prefix, s, model) in enumerate(_tiles(graph, noise_model)):
        values = held.get(f"{prefix}out_noise_values")
        device[prefix] = program_tile(
            model, s, jnp.asarray(held[f"{prefix}weight"]), jax.random.fold_in(key, k), values
        )
    return device


def drift_analog_weights(
    graph: Graph,
    device: dict[str, dict[str, Any]],
    t: Any = 0.0,
    params: Arrays | None = None,
    buffers: Arrays | None = None,
    *,
    key: Any,
    noise_model: BaseNoiseModel | None = None,
) -> tuple[Arrays, Arrays]:
    """(params, buffers) as they answer t seconds after programming: weights drifted and read, alpha set.

    For evaluation; training goes on from the params that were programmed.
    """
    params = {**graph.params, **(params or {})}
    buffers = {**graph.buffers, **(buffers or {})}
    for k, (prefix, s, model) in enumerate(_tiles(graph, noise_model)):
        values = buffers.get(f"{prefix}out_noise_values")
        weight, alpha = drift_tile(model, s, device[prefix], t, jax.random.fold_in(key, k), values)
        params[f"{prefix}weight"] = weight
        if alpha is not None:
            buffers[f"{prefix}alpha"] = alpha
    return params, buffers


def over_time(
    graph: Graph,
    evaluate: Callable[[Arrays, Arrays, Any], Any],
    times: Iterable[float],
    *,
    seeds: int = 5,
    key: Any = None,
    params: Arrays | None = None,
    buffers: Arrays | None = None,
    noise_model: BaseNoiseModel | None = None,
) -> list[dict[str, float]]:
    """A figure at several times after programming, over `seeds` devices: [{"t", "mean", "low", "high"}], for `picture`.

    evaluate(params, buffers, key) -> a number, traceable: it is one compiled call, a vmap over devices and times.
    """
    key = jax.random.key(0) if key is None else key
    times = [float(t) for t in times]

    def of_device(device_key: Any) -> Any:
        made, drawn = jax.random.split(device_key)
        device = program_analog_weights(graph, params, buffers, key=made, noise_model=noise_model)

        def at(t: Any, k: Any) -> Any:
            drift_key, evaluation_key = jax.random.split(k)
            now = drift_analog_weights(graph, device, t, params, buffers, key=drift_key, noise_model=noise_model)
            return evaluate(*now, evaluation_key)

        return jax.vmap(at)(jnp.asarray(times), jax.random.split(drawn, len(times)))

    figures = np.asarray(jax.jit(jax.vmap(of_device))(jax.random.split(key, seeds)))
    return [
        {"t": t, "mean": float(f.mean()), "low": float(f.min()), "high": float(f.max())}
        for t, f in zip(times, figures.T, strict=True)
    ]
