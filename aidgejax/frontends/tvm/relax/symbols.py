"""The symbolic sizes of a text: names of the graph as identifiers, declared where they are first used."""

from __future__ import annotations

import ast
import keyword
import re


class Symbols:
    """Those of a module or function.  Printed: a line `n = TypeVar("n")` for each that a parameter or result has."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._declared: dict[str, None] = {}
        self._new: dict[str, None] = {}

    def text(self, size: str, declares: bool = False) -> str:
        """A symbol, or a formula of them, as it is written.  declares: in the annotation of a parameter or result."""
        try:
            tree = ast.parse(size, mode="eval").body
        except SyntaxError:
            return self._one(size, declares)
        if isinstance(tree, ast.Name):
            return self._one(size, declares)
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                node.id = self._one(node.id, declares)
        formula = ast.unparse(tree)
        return f'"{formula}"' if declares else formula

    def _one(self, name: str, declares: bool) -> str:
        if name not in self._names:
            stem = re.sub(r"\W", "_", name) or "n"
            stem = f"n{stem}" if stem[0].isdigit() or keyword.iskeyword(stem) else stem
            text, k = stem, 0
            while text in self._names.values():
                k += 1
                text = f"{stem}_{k}"
            self._names[name] = text
        text = self._names[name]
        if declares:
            self._declared[text] = None
            self._new.pop(text, None)
        elif text not in self._declared:
            self._new[text] = None
        return text

    def introduced(self) -> list[str]:
        """The symbols that a body has used and no annotation of a parameter or result; they are forgotten."""
        found, self._new = list(self._new), {}
        return found

    def __str__(self) -> str:
        return "".join(f'{n} = TypeVar("{n}")\n' for n in self._declared)
