"""The devices that JAX finds here."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax

from ..errors import BackendError, SettingError

MOST_CPU_DEVICES = 64


def available_platforms() -> list[str]:
    """The platforms on which JAX can run here, e.g. ["cpu", "cuda"]."""
    known: Iterable[str] = ("cpu", "cuda", "rocm", "tpu", "METAL")
    there = []
    for name in known:
        try:
            if jax.devices(name):
                there.append(name)
        except RuntimeError:
            continue
    return there


def make_cpu_devices(number: int) -> None:
    """Let JAX show so many CPU devices; nothing, where it has been used in this process before.

    Raises SettingError for more than MOST_CPU_DEVICES: they are threads, which wait for each other, and where these are
    many more than cores, JAX ends the process.
    """
    if number > MOST_CPU_DEVICES:
        raise SettingError(f"{number} devices: a CPU is made into at most {MOST_CPU_DEVICES}")
    try:
        jax.config.update("jax_num_cpu_devices", max(1, number))
    except RuntimeError:
        pass


def device(name: str) -> Any:
    """The first JAX device of this process and platform ("cpu", "gpu", "cuda", "tpu"; "auto": JAX's own choice).

    Raises BackendError naming the platforms there are, and why a GPU of this machine is not among them.
    """
    if name == "auto":
        return jax.local_devices()[0]
    try:
        return jax.local_devices(backend=name)[0]
    except RuntimeError as e:
        why = no_gpu() if name in ("gpu", "cuda", "rocm") else None
        error = str(e).splitlines()[0] if "failed to initialize" in str(e) else ""
        reason = "".join(f"; {part}" for part in (why, error) if part)
        raise BackendError(
            f"there is no device {name!r} here; there are {', '.join(available_platforms())}{reason}"
        ) from None


def no_gpu() -> str:
    """Why there is no GPU to use here, and what to do; for a front end whose GPU was asked for."""
    return unused_gpu() or (
        "this machine shows no NVIDIA GPU (on one that has it: pip install '.[cuda13]'); everything runs on the CPU too"
    )


def found(place: Any) -> str:
    """A device in words: its platform and its kind."""
    kind = place.device_kind
    return place.platform if kind == place.platform else f"{place.platform} ({kind})"


def unused_gpu(root: str = "/") -> str | None:
    """Why JAX does not use the NVIDIA GPU of this machine; None where it does, or where there is none.

    root: where the files of the driver are looked for.
    """
    driver = Path(root, "proc/driver/nvidia/version")
    cards = sorted(str(p) for p in Path(root, "dev").glob("nvidia[0-9]*"))
    if "cuda" in available_platforms() or not (driver.exists() or cards):
        return None
    card = cards[0] if cards else str(driver)
    if (chosen := os.environ.get("JAX_PLATFORMS", "")) and not {"cuda", "gpu"} & set(chosen.split(",")):
        why = f"JAX_PLATFORMS={chosen} keeps JAX from it"
    elif not cards:
        why = "its driver shows no device to this process"
    elif not any(find_spec(f"jax_cuda{n}_plugin") for n in (12, 13)):
        why = "JAX's plugin for CUDA is not installed: pip install '.[cuda13]'"
    else:
        why = "JAX's plugin for CUDA is installed and does not start; JAX's own warnings at import say why"
    return f"this machine has an NVIDIA GPU ({card}) that JAX does not use: {why}"


def brought_to(home: Any, tree: Any) -> Any:
    """The tree, with arrays that are bound to another device on that to which the tree `home` is bound.

    Where a computation runs is decided by the parameters, not by where its data was made; where they are bound to none,
    the first bound array of the tree decides.
    """

    def bound(x: Any) -> bool:
        return isinstance(x, jax.Array) and not isinstance(x, jax.core.Tracer) and x.committed

    place = next((x.sharding for x in jax.tree.leaves((home, tree)) if bound(x)), None)
    if place is None or len(place.device_set) != 1:
        return tree
    apart = lambda x: bound(x) and len(x.sharding.device_set) == 1 and x.sharding.device_set != place.device_set
    if not any(map(apart, jax.tree.leaves(tree))):
        return tree
    return jax.tree.map(lambda x: jax.device_put(x, place) if apart(x) else x, tree)
