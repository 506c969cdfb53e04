"""Attribute dictionaries: an operator's own (fixed names), and a node's annotations (any names, nested by dots)."""

from __future__ import annotations

from typing import Any

from .errors import AttributeTaken, MissingKey, TensorTypeError

edits = 0  # counts every change that may alter what a graph computes; what was derived from a graph compares it


def edited() -> None:
    global edits
    edits += 1


def current_edits() -> int:
    return edits


class _Group(dict):
    """Attributes that were set below a name as a whole, which is how they are shown."""

    def __repr__(self) -> str:
        return _shown(self)


class Attributes:
    """op.attr: attr.axis, attr.axis = 1, attr.dict().  Unknown names are refused."""

    _values: dict[str, Any]

    def __init__(self, values: dict[str, Any]) -> None:
        object.__setattr__(self, "_values", dict(values))

    def dict(self) -> dict[str, Any]:
        return dict(self._values)

    def has_attr(self, name: str) -> bool:
        return name in self._values

    def get_attr(self, name: str) -> Any:
        if name not in self._values:
            raise MissingKey(f'attribute "{name}" not found; there are {", ".join(self._values) or "none"}')
        return self._values[name]

    def set_attr(self, name: str, value: Any) -> None:
        self.get_attr(name)
        self._values[name] = value
        edited()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.get_attr(name)

    def __setattr__(self, name: str, value: Any) -> None:
        self.set_attr(name, value)

    def __repr__(self) -> str:
        return _shown(self._values)


def _shown(values: dict[str, Any]) -> str:
    return f"AttrDict({dict.__repr__(values)})"


class DynamicAttributes(Attributes):
    """node.annotations(): any name may be added; "grad.no_reset" stands nested, as {"grad": {"no_reset": True}}."""

    def __init__(self, values: dict[str, Any] | None = None) -> None:
        super().__init__(values or {})

    def _walk(self, name: str, create: bool = False) -> tuple[dict, str]:
        """(the dictionary that holds the last part of a dotted name, that part); an empty one where there is none."""
        *path, last = name.split(".")
        level = self._values
        for step in path:
            if step not in level or not isinstance(level[step], dict):
                if not create:
                    return {}, last
                level[step] = {}
            level = level[step]
        return level, last

    def has_attr(self, name: str) -> bool:
        level, last = self._walk(name)
        return last in level

    def copy(self) -> DynamicAttributes:
        """The same names and values; nested dictionaries are copied, too."""
        return DynamicAttributes(_copied(self._values))

    def get_attr(self, name: str) -> Any:
        level, last = self._walk(name)
        if last not in level:
            raise MissingKey(f'attribute "{name}" not found; there are {", ".join(self._values) or "none"}')
        found = level[last]
        return _Nested(self, name) if isinstance(found, dict) else found

    def set_attr(self, name: str, value: Any) -> None:
        level, last = self._walk(name, create=True)
        level[last] = _Group(value.dict()) if isinstance(value, Attributes) else value
        edited()

    def add_attr(self, name: str, value: Any) -> None:
        """A new attribute.  Raises AttributeTaken (a RuntimeError) where there is one of this name already."""
        if self.has_attr(name):
            raise AttributeTaken(f'attribute "{name}" already exists; set_attr changes it')
        self.set_attr(name, value)

    def del_attr(self, name: str) -> None:
        """Without the attribute, if there is one."""
        level, last = self._walk(name)
        level.pop(last, None)
        edited()


def _copied(values: dict[str, Any]) -> dict[str, Any]:
    return {k: _copied(v) if isinstance(v, dict) else v for k, v in values.items()}


class _Nested(DynamicAttributes):
    """annotations().grad: the attributes below a name."""

    def __init__(self, whole: DynamicAttributes, name: str) -> None:
        level, last = whole._walk(name)
        object.__setattr__(self, "_values", level[last])

    def __eq__(self, other: Any) -> bool:
        return self._values == (other._values if isinstance(other, Attributes) else other)

    def __hash__(self) -> int:
        raise TensorTypeError("attributes change, so they have no hash")


def test_DynamicAttributes_binding() -> DynamicAttributes:  # noqa: N802
    """Attributes of every kind, some of them nested, for trying the interface."""
    values = {"a": 42, "b": "test", "c": [True, False, True]}
    return DynamicAttributes({**values, "mem": {"a": 1, "data": {"b": 1.0}}, "impl": {"c": "test"}})


def test_DynamicAttributes_binding_check(attrs: DynamicAttributes) -> float:  # noqa: N802
    """The attribute "d" of these."""
    return float(attrs.get_attr("d"))
