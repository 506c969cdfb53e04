"""How docstrings become pages: a line that begins with an argument's name and a colon is an entry of a list."""

from __future__ import annotations

import re
from typing import Any

import griffe

ENTRY = re.compile(r"^((?:\w+|\*\*?\w+)(?:, (?:\w+|\*\*?\w+))*): (?=\S)")


class Arguments(griffe.Extension):
    """Loaded by mkdocs.yml."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = as_list(obj.docstring.value, {p.name for p in getattr(obj, "parameters", ())})


def as_list(text: str, names: set[str]) -> str:
    """The text with `name: what it is` as list entries, for arguments among the names."""
    text = re.sub(r"(?<=\S)  (\w+)(?=: )", lambda m: f"\n{m[1]}" if m[1] in names else m[0], text)
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        entry = ENTRY.match(line)
        if entry and {n.strip("* ") for n in entry[1].split(",")} <= names:
            lines += [] if inside else [""]
            lines.append(f"* `{entry[1]}`: {line[entry.end() :]}")
            inside = True
        elif inside and line.strip() and not line.startswith("    "):
            lines += ["", line]
            inside = False
        else:
            lines.append(line)
    return "\n".join(lines)
