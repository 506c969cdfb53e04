"""A model as one HTML page that needs no network.

python -m aidgejax view m.onnx --compare --profile
"""

from __future__ import annotations

import argparse
import os
import sys
import webbrowser
from pathlib import Path

from ... import onnxio
from ...drawing.html import GENERATOR
from ...errors import SettingError
from ...execution.program import make_program
from ...files import write_atomically
from ...tools.compare import compare, random_batch
from ...tools.page import graph_page
from ...tools.profile import profile
from ...training.data import load_npz

HELP = "write a model and its gradient as one HTML page: drawn, searched, collapsed, with its numbers"
EXAMPLES = (
    "view m.onnx",
    "view m.onnx --compare --profile --no-open --out m.html",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="M.onnx", help="an ONNX file")
    add("--out", metavar="P.html", help="default: the model's name with .html, in this folder")
    add("--data", metavar="D.npz", help="a batch for --compare and --profile: the model's inputs (default: random)")
    add("--compare", action="store_true", help="the differences between JAX and NumPy, node by node")
    add("--profile", action="store_true", help="the time of every node")
    add("--no-gradient", action="store_true", help="the forward graph alone")
    add("--no-open", action="store_true", help="write the page and open no browser")
    add("--force", action="store_true", help="replace a file that is no such page")


def run(args: argparse.Namespace) -> None:
    graph = onnxio.read(args.model)
    out = Path(args.out or Path(args.model).with_suffix(".html").name)
    if not args.force and _is_other(out):
        raise SettingError(
            f"{str(out)!r} is there and is no page of aidgejax: give another --out, or take it with --force"
        )
    batch = None
    if args.compare or args.profile:
        columns = load_npz(args.data).columns if args.data else random_batch(graph)
        if missing := [k for k in graph.inputs if k not in columns]:
            raise SettingError(f"{args.data} lacks {', '.join(map(repr, missing))}, inputs of the model")
        batch = {k: columns[k] for k in graph.inputs}
    compared = compare(graph, batch=batch, steps=1) if args.compare else None
    profiled = profile(make_program(graph), batch) if args.profile and batch is not None else None
    page = graph_page(
        graph, gradient=not args.no_gradient, compared=compared, profiled=profiled, title=Path(args.model).name
    )
    try:
        write_atomically(page.encode(), str(out))
    except OSError as e:
        raise SettingError(f"cannot write {str(out)!r}: {e.strerror or e}") from None
    print(f"{out}: {len(graph.nodes)} nodes, {len(page) // 1024} KiB")
    if not args.no_open and _has_screen():
        webbrowser.open(out.resolve().as_uri())


def _is_other(path: Path) -> bool:
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return GENERATOR not in f.read(2000)
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _has_screen() -> bool:
    """Whether a browser would be seen; one in a terminal would take that over."""
    if not sys.stdout.isatty():
        return False
    return sys.platform in ("win32", "darwin") or any(os.environ.get(k) for k in ("DISPLAY", "WAYLAND_DISPLAY"))
