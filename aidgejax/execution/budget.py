"""Will it fit?  Asked before anything runs, since a failed allocation may take the process along."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..dtypes import DTYPES, bits
from ..errors import GraphError, SettingError
from ..graph import Graph, Value


def memory_budget() -> int:
    """Bytes that a computation may take: AIDGEJAX_MEMORY, or what the host, its limits and the device have free.

    Raises SettingError where AIDGEJAX_MEMORY is no whole number of bytes.
    """
    if given := os.environ.get("AIDGEJAX_MEMORY"):
        if not given.isdigit():
            raise SettingError(f"AIDGEJAX_MEMORY is {given!r}; expected a number of bytes")
        return int(given)
    return min(_host(), _process(), _device())


def _host() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return 1 << 40


def _process() -> int:
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    except (ImportError, OSError):  # not on Windows
        return 1 << 40
    return 1 << 40 if limit == resource.RLIM_INFINITY else limit


def _device() -> int:
    device = getattr(jax.config, "jax_default_device", None) or jax.devices()[0]
    stats = getattr(device, "memory_stats", lambda: None)() or {}
    return int(stats.get("bytes_limit", 1 << 40)) - int(stats.get("bytes_in_use", 0))


def check_memory(graph: Graph, feeds: Mapping[str, Any]) -> None:
    """Raise GraphError where one tensor of the graph is larger than memory_budget(), its sizes taken from the inputs.

    graph: shapes inferred.  feeds: {input: array}, which say what the symbolic sizes are.
    """
    sizes = {
        name: size
        for k, a in feeds.items()
        if k in graph.inputs and graph.inputs[k].shape is not None and hasattr(a, "shape")
        for name, size in zip(graph.inputs[k].shape or (), np.shape(a), strict=False)
        if isinstance(name, str)
    }
    budget: int | None = None
    for node in graph.nodes:
        for o in node.output_names:
            count = _bytes(graph.value(o), sizes)
            if count < 1 << 26:
                continue
            budget = memory_budget() if budget is None else budget
            if count > budget:
                raise GraphError(
                    f"node {node.name!r} ({node.op}) of graph {graph.name!r} would write {graph.value(o)}, {count:,} "
                    f"bytes; there are {budget:,}. Take a smaller batch or size, or set AIDGEJAX_MEMORY (bytes)"
                )


def _bytes(value: Value, sizes: Mapping[str, int]) -> int:
    """At least; 0 where a size is not known."""
    count = bits(value.dtype) if value.dtype in DTYPES else 32
    for d in value.shape or (0,):
        d = sizes.get(d, 0) if isinstance(d, str) else d
        count *= d or 0
    return count // 8
