"""Compiled programs kept between processes, so that a resumed one compiles nothing again.

Each start marks the folder and takes the mark away at the end; a mark of a process that died in between means that its
entries may be to blame: they are removed, not trusted.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

LARGEST = 1 << 30  # bytes in all
MARK = ".in-use-"
FAILED = re.compile(r"Error (reading|writing) persistent compilation cache")


def default_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "aidgejax"


@contextmanager
def compile_cache(where: str | None) -> Iterator[None]:
    """JAX's persistent cache in this folder; None: default_folder(); "off": none.  A folder that fails is one line."""
    if where == "off":
        yield
        return
    folder = Path(where) if where else default_folder()
    settings = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.2,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {k: getattr(jax.config, k) for k in settings}
    mark = folder / f"{MARK}{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(_died(m) for m in folder.glob(f"{MARK}*")):
            _empty(folder)
        _shrink(folder)
        mark.touch()
    except OSError as e:
        print(f"no cache of compiled programs in {str(folder)!r}: {e.strerror or e}", file=sys.stderr)
        yield
        return
    from jax.experimental.compilation_cache import compilation_cache

    for k, v in settings.items():
        jax.config.update(k, v)
    compilation_cache.reset_cache()
    failed: list[str] = []
    try:
        with _one_line(str(folder), failed):
            yield
    finally:
        for k, v in before.items():
            jax.config.update(k, v)
        compilation_cache.reset_cache()
        if failed:  # what a full disk cut short would be read again and again
            _empty(folder)
        mark.unlink(missing_ok=True)


@contextmanager
def _one_line(folder: str, failed: list[str]) -> Iterator[None]:
    """JAX's warnings of entries that cannot be read or written as one line of ours; they are added to `failed`."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Any, *args: Any, **more: Any) -> None:
            if not FAILED.match(str(message)):
                shown(message, *args, **more)
                return
            if not failed:
                print(f"note: compiled programs are not kept in {folder!r}: {message}"[:300], file=sys.stderr)
            failed.append(str(message))

        warnings.filterwarnings("always", message=FAILED.pattern)
        warnings.showwarning = show
        yield


def _died(mark: Path) -> bool:
    """Whether the process of this mark is gone; the mark goes too, where it is."""
    try:
        os.kill(int(mark.name.removeprefix(MARK)), 0)
        return False
    except (ValueError, ProcessLookupError):
        mark.unlink(missing_ok=True)
        return True
    except PermissionError:
        return False


def _entries(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if p.name.startswith("jit_") or p.name.endswith(("-cache", "-atime"))]


def _empty(folder: Path) -> None:
    for p in _entries(folder):
        shutil.rmtree(p, ignore_errors=True) if p.is_dir() else p.unlink(missing_ok=True)


def _shrink(folder: Path) -> None:
    """Remove the oldest entries above LARGEST bytes."""
    found = sorted(((p.stat().st_mtime, p.stat().st_size, p) for p in _entries(folder)), reverse=True)
    total = 0
    for _, size, p in found:
        total += size
        if total > LARGEST:
            p.unlink(missing_ok=True)
