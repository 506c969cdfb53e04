"""Axes by what they mean: batch, head, query, key; followed through reshapes, transposes and broadcasting.

A layout says of each axis of a tensor which atoms it is made of, the slowest first: of [n * heads, t, d] with atoms
n, h, t, d it is ((n, h), (t,), (d,)).  An axis of one element, along which a tensor is broadcast, has no atoms.  Where
a Reshape cuts an atom in two, all layouts speak of the parts from then on (`leaves`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ..graph import Builder, Dim, Node, Value
from ..interpreter.sizes import Expression, divided, parse

Group = tuple[int, ...]
Layout = tuple[Group, ...]


@dataclass
class Axes:
    """The atoms of one search: their sizes (None: not known), and of those that were cut, the parts."""

    sizes: list[Expression | None] = field(default_factory=list)
    parts: dict[int, Group] = field(default_factory=dict)
    whole: set[int] = field(default_factory=set)  # those that must not be cut
    sources: dict[int, tuple[str, int]] = field(default_factory=dict)  # {atom: (a tensor, its axis of this atom alone)}

    def atom(self, size: Dim, whole: bool = False) -> int:
        """A new atom of this size."""
        self.sizes.append(None if size is None else parse(size))
        if whole:
            self.whole.add(len(self.sizes) - 1)
        return len(self.sizes) - 1

    def leaves(self, group: Iterable[int]) -> Group:
        """The atoms of a group, those that were cut as their parts."""
        return tuple(leaf for a in group for leaf in (self.leaves(self.parts[a]) if a in self.parts else (a,)))

    def settled(self, layout: Layout) -> Layout:
        """The layout by atoms that are not cut."""
        return tuple(self.leaves(g) for g in layout)

    def reshaped(self, layout: Layout, shape: Iterable[Dim] | None) -> Layout | None:
        """The layout of the same elements in this shape; None where atoms would have to be cut that may not be."""
        if shape is None:
            return None
        atoms = [a for g in self.settled(layout) for a in g]
        found: list[Group] = []
        for dim in reversed(tuple(shape)):
            group: list[int] = []
            if dim is None or not self._take(atoms, parse(dim), group):
                return None
            found.append(tuple(reversed(group)))
        return tuple(reversed(found)) if all(self.sizes[a] == 1 for a in atoms) else None

    def _take(self, atoms: list[int], need: Expression, group: list[int]) -> bool:
        """Move atoms of `need` elements together from the end of `atoms` to `group`."""
        if need == 1 and atoms and self.sizes[atoms[-1]] == 1:
            group.append(atoms.pop())
        while need != 1:
            size = self.sizes[atoms[-1]] if atoms else None
            if size is None:
                return False
            rest = _quotient(need, size)
            if rest is None:
                slow = _quotient(size, need)
                if slow is None or atoms[-1] in self.whole:
                    return False
                self.sizes += [slow, need]
                self.parts[atoms[-1]] = (len(self.sizes) - 2, len(self.sizes) - 1)
                atoms[-1:] = self.parts[atoms[-1]]
                rest = 1
            group.append(atoms.pop())
            need = rest
        return True

    def before(self, node: Node, layout: Layout, x: Value) -> Layout | None:
        """The layout of the tensor x that `node` rearranges or repeats, given that of what comes out of it."""
        if node.op == "Identity":
            return layout
        if node.op == "Transpose":
            perm = node.attrs.get("perm") or tuple(reversed(range(len(layout))))
            return tuple(layout[list(perm).index(k)] for k in range(len(layout)))
        if node.op in ("Reshape", "Squeeze", "Unsqueeze", "Flatten"):
            return self.reshaped(layout, x.shape)
        if node.op == "Tile" and x.shape is not None and len(x.shape) == len(layout):
            once = all(
                d == 1 or (d is not None and self.size(g) == parse(d)) for d, g in zip(x.shape, layout, strict=True)
            )
            return self.aligned(x.shape, layout) if once else None
        if node.op == "Expand" and x.shape is not None and len(x.shape) <= len(layout):
            return self.aligned(x.shape, layout)
        return None

    def after(self, node: Node, layout: Layout, y: Value) -> Layout | None:
        """The layout of the tensor y that `node` makes by rearranging one of this layout."""
        if node.op == "Identity":
            return layout
        if node.op == "Transpose":
            return tuple(layout[k] for k in node.attrs.get("perm") or reversed(range(len(layout))))
        if node.op in ("Reshape", "Squeeze", "Unsqueeze", "Flatten"):
            return self.reshaped(layout, y.shape)
        return None

    def aligned(self, shape: tuple[Dim, ...], layout: Layout) -> Layout:
        """The layout of a tensor of this shape, of no more axes, that is broadcast to `layout`."""
        behind = layout[len(layout) - len(shape) :]
        return tuple(() if d == 1 else g for d, g in zip(shape, behind, strict=True))

    # -- writing nodes

    def cost(self, have: Layout, want: Layout) -> int:
        """How many nodes `converted` writes, about."""
        have, want = self.settled(have), self.settled(want)
        if have == want:
            return 0
        order = [a for g in have for a in g]
        reshapes = 1 if _without_empty(have) == _without_empty(want) else 2
        return reshapes if order == [a for g in want for a in g if a in order] else 1 + reshapes

    def converted(self, op: Builder, x: Value, have: Layout, want: Layout, full: bool = False) -> Value | None:
        """x in another layout.  Where x lacks all atoms of an axis, the axis has size 1 (full: x is repeated along it);
        where it lacks some, it is repeated along those.  None where a size would be needed that is not known."""
        have, want = self.settled(have), self.settled(want)
        here = {a for g in have for a in g}
        want = want if full else tuple(g if here.intersection(g) else () for g in want)
        order = [a for g in want for a in g]
        if [a for g in have for a in g] != [a for a in order if a in here]:
            places = [[order.index(a) for a in g] for g in have]
            cut = have
            if any(p != list(range(p[0], p[0] + len(p))) for p in places if p):
                cut = tuple((a,) for g in have for a in g)
            single = self._in_shape(op, x, have, cut)
            if single is None:
                return None
            ordered = iter(sorted((k for k, g in enumerate(cut) if g), key=lambda k: order.index(cut[k][0])))
            perm = tuple(next(ordered) if g else k for k, g in enumerate(cut))  # axes of 1 stay where they are
            x, have = op.Transpose(single, perm=perm), tuple(cut[k] for k in perm)
        missing = [a for a in order if a not in here]
        if missing:
            apart = self._in_shape(op, x, have, tuple((a,) if a in here else () for a in order))
            shape = None if apart is None else self._repeats(op, order, here)
            if apart is None or shape is None:
                return None
            x = op.Expand(apart, shape)
            have = tuple((a,) for a in order)
        return self._in_shape(op, x, have, want)

    def known_from(self, tensor: str, layout: Layout) -> None:
        """Sizes that are not numbers can be read off this tensor."""
        for axis, group in enumerate(self.settled(layout)):
            if len(group) == 1:
                self.sources.setdefault(group[0], (tensor, axis))

    def _repeats(self, op: Builder, order: list[int], here: set[int]) -> Any:
        """The shape to expand to along the atoms that are not `here`; None where one's size is not known."""
        open_ = [a for a in order if a not in here and not isinstance(self.sizes[a], int)]
        if any(a not in self.sources for a in open_):
            return None
        parts: list[Any] = [(1 if a in here or a in open_ else self.sizes[a],) for a in order]
        if not open_:
            return tuple(n for (n,) in parts)
        for a in open_:
            tensor, axis = self.sources[a]
            parts[order.index(a)] = op.Shape(tensor, start=axis, end=axis + 1)
        return op.Concat(*parts, axis=0) if len(parts) > 1 else parts[0]

    def _in_shape(self, op: Builder, x: Value, have: Layout, want: Layout) -> Value | None:
        if have == want:
            return x
        if _without_empty(have) == _without_empty(want):  # axes of 1 come or go
            gone = tuple(k for k, g in enumerate(have) if not g)
            new = tuple(k for k, g in enumerate(want) if not g)
            x = op.Squeeze(x, gone) if gone else x
            return op.Unsqueeze(x, new) if new else x
        sizes = [self.size(g) for g in want]
        unknown = [k for k, n in enumerate(sizes) if not isinstance(n, int)]
        if len(unknown) > 1:
            return None
        return op.Reshape(x, tuple(-1 if k in unknown else n for k, n in enumerate(sizes)))

    def size(self, group: Group) -> Expression | None:
        """Elements along an axis of these atoms; None where one is not known."""
        total: Expression = 1
        for a in group:
            size = self.sizes[a]
            if size is None:
                return None
            total = size * total
        return total


def _without_empty(layout: Layout) -> Layout:
    return tuple(g for g in layout if g)


def _quotient(a: Expression, b: Expression) -> Expression | None:
    """a / b where it is exact."""
    if b == 0 or (isinstance(a, int) and not isinstance(b, int)):
        return None
    found = divided(a, b)
    return found if found * b == a else None
