"""Tables and self-contained pages as HTML."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Any

GENERATOR = '<meta name="generator" content="aidgejax">'  # by which a page of ours is known


def table(cells: Sequence[Sequence[str]], *, left: int = 1, names: str = "") -> str:
    """Rows of text as a table; the first row is its head.  left: how many columns are aligned left."""
    lines = [f'<table class="{escape(names)}">']
    look = "padding:1px 8px;white-space:nowrap;text-align"  # stated in each cell, as notebooks have no style of ours
    for k, row in enumerate(cells):
        tag = "td" if k else "th"
        opened = [f'<{tag} style="{look}:{"left" if c < left else "right"}">' for c in range(len(row))]
        lines.append("<tr>" + "".join(f"{a}{escape(t)}</{tag}>" for a, t in zip(opened, row, strict=True)) + "</tr>")
    return "\n".join([*lines, "</table>"])


def page(title: str, body: str, *, style: str = "", script: str = "", data: Any = None) -> str:
    """One HTML file that needs no network.  data: what the script finds as JSON in the element "data"."""
    lines = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        GENERATOR,
        '<link rel="icon" href="data:,">',  # else the browser asks a server for one
        f"<title>{escape(title)}</title>",
        f"<style>\n{style}</style></head><body>",
        body,
    ]
    if data is not None:
        # "</script>" in a name would end the element; JSON may write "<" as an escape.
        text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
        lines.append(f'<script type="application/json" id="data">{text}</script>')
    if script:
        lines.append(f"<script>\n{script}</script>")
    return "\n".join([*lines, "</body></html>", ""])
