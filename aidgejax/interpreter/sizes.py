"""Sizes as whole-number expressions in the symbols of a graph's inputs, each in one normal form.

A Size is a sum of products of symbols, quotients (rounded down) and minima.  What is equal is written alike where these
rules reach:

    (4*N+6)//2 = 2*N+3                      what divides comes out
    (6*H+4)//4 = (3*H)//2+1                 whole parts and common factors go
    ((H+a)//b+c)//d = (H+a+b*c)//(b*d)      floors collapse: all of a chain of strides
    (4*N*S)//S = 4*N                        what a Reshape leaves over

In a graph a size is a number or a string, and `parse` reads what `str` writes.  What is no expression is a symbol.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Union

from ..errors import GraphError

Factor = Union[str, "Quotient", "Least"]
Expression = Union[int, "Size"]
PLAIN = re.compile(r"[A-Za-z_][\w.]*(?:\[\d+\])?")
TOKEN = re.compile(r"\s*(?:(\d+)|(min)(?=\()|([A-Za-z_][\w.]*(?:\[\d+\])?)|`([^`]+)`|(//|[-+*/(),]))")
QUOTED = re.compile("`[^`]*`")
# "batch-size" and "encoder/length" are names to whoever wrote them, as "?5" is.
A_NAME = re.compile(r"[\w\]][-/][A-Za-z_]")


@dataclass(frozen=True)
class Quotient:
    """above // below."""

    above: Expression
    below: Expression

    def __str__(self) -> str:
        return f"{_bracketed(self.above)}//{_bracketed(self.below)}"


@dataclass(frozen=True)
class Least:
    """The smaller of two."""

    one: Expression
    other: Expression

    def __str__(self) -> str:
        return f"min({self.one},{self.other})"


@dataclass(frozen=True)
class Size:
    """terms: ((factors in order, coefficient), ...) in order; the constant has no factors."""

    terms: tuple[tuple[tuple[Factor, ...], int], ...]

    def __add__(self, other: Expression) -> Expression:
        return _sum([*self.terms, *_terms(other)])

    def __mul__(self, other: Expression) -> Expression:
        return _sum(
            [(tuple(sorted((*f, *g), key=str)), a * b) for f, a in self.terms for g, b in _terms(other)],
        )

    def __sub__(self, other: Expression) -> Expression:
        return self + other * -1

    def __rsub__(self, other: Expression) -> Expression:
        return self * -1 + other

    __radd__, __rmul__ = __add__, __mul__

    def __floordiv__(self, other: Expression) -> Expression:
        return divided(self, other)

    def __str__(self) -> str:
        shown = ""
        ordered = sorted(self.terms, key=lambda t: (not t[0], t[1] < 0))
        for factors, coefficient in ordered:
            bare = len(factors) == 1 and isinstance(factors[0], Quotient) and coefficient == 1
            text = str(factors[0]) if bare else "*".join(map(_factor, factors))
            if factors and abs(coefficient) != 1:
                text = f"{abs(coefficient)}*{text}"
            sign = "-" if coefficient < 0 else "+" if shown else ""
            # A name that follows a minus at once would be read as a part of it.
            space = " " if coefficient < 0 and shown and factors else ""
            shown += f"{space}{sign}{space}{text or abs(coefficient)}"
        return shown

    @property
    def symbols(self) -> tuple[str, ...]:
        return _symbols(self)


def _terms(x: Expression) -> tuple[tuple[tuple[Factor, ...], int], ...]:
    return x.terms if isinstance(x, Size) else (((), x),)


@cache
def _symbols(size: Size) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for factors, _ in size.terms:
        for f in factors:
            if isinstance(f, str):
                found[f] = None
            else:
                parts = (f.above, f.below) if isinstance(f, Quotient) else (f.one, f.other)
                found.update(dict.fromkeys(s for p in parts if isinstance(p, Size) for s in p.symbols))
    return tuple(found)


def _sum(terms: Iterable[tuple[tuple[Factor, ...], int]]) -> Expression:
    total: Counter[tuple[Factor, ...]] = Counter()
    for factors, coefficient in terms:
        total[factors] += coefficient
    kept = sorted(((f, c) for f, c in total.items() if c), key=lambda t: (len(t[0]), str(t[0])))
    if not any(f for f, _ in kept):
        return sum(c for _, c in kept)
    return Size(tuple(kept))


def _factor(f: Factor) -> str:
    if isinstance(f, str):
        return f if PLAIN.fullmatch(f) and f != "min" else f"`{f}`"
    return f"({f})" if isinstance(f, Quotient) else str(f)


def _bracketed(x: Expression) -> str:
    alone = not isinstance(x, Size) or (len(x.terms) == 1 and x.terms[0][1] == 1 and len(x.terms[0][0]) == 1)
    return str(x) if alone and not str(x).startswith("-") else f"({x})"


def symbol(name: str) -> Size:
    return Size((((name,), 1),))


def least(one: Expression, other: Expression) -> Expression:
    """min(one, other)."""
    if isinstance(one, int) and isinstance(other, int):
        return min(one, other)
    if one == other:
        return one
    first, second = sorted((one, other), key=lambda x: (isinstance(x, int), str(x)))
    return Size((((Least(first, second),), 1),))


def divided(a: Expression, b: Expression) -> Expression:
    """a // b."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    if a == b:
        return 1
    if isinstance(b, Size):
        whole = _cancelled(a, b)
        return Size((((Quotient(a, b),), 1),)) if whole is None else whole
    if b == 1 or a == 0:
        return a
    out: list[tuple[tuple[Factor, ...], int]] = []
    rest: list[tuple[tuple[Factor, ...], int]] = []
    for factors, c in _terms(a):
        if c % b == 0:
            out.append((factors, c // b))
        elif not factors:
            out.append((factors, c // b))
            rest.append((factors, c % b))
        else:
            rest.append((factors, c))
    within = _sum(rest)
    if isinstance(within, int):
        return _sum([*out, *_terms(within // b)])
    common = math.gcd(b, *(c for f, c in within.terms if f))
    if common > 1:
        b //= common
        within = _sum([(f, c // common) for f, c in within.terms])
        return _sum([*out, *_terms(divided(within, b))])
    floors = [(f, c) for f, c in within.terms if f]
    if len(floors) == 1 and floors[0][1] == 1 and len(floors[0][0]) == 1 and isinstance(floors[0][0][0], Quotient):
        inner = floors[0][0][0]
        offset = sum(c for f, c in within.terms if not f)
        if isinstance(inner.below, int):
            return _sum([*out, *_terms(divided(inner.above + inner.below * offset, inner.below * b))])
    return _sum([*out, ((Quotient(within, b),), 1)])


def _cancelled(a: Expression, b: Size) -> Expression | None:
    """a / b where b is a product that is in every term, or a number of times b; else None."""
    if len(b.terms) == 1:
        (below, divisor), result = b.terms[0], []
        for factors, c in _terms(a):
            left = Counter(factors)
            left.subtract(below)
            if min(left.values(), default=0) < 0 or c % divisor:
                return None
            result.append((tuple(sorted(left.elements(), key=str)), c // divisor))
        return _sum(result)
    ratio = {c // d for (_, c), (_, d) in zip(_terms(a), b.terms, strict=False) if d}
    if len(ratio) == 1 and b * (k := ratio.pop()) == a:
        return k
    for factor in dict.fromkeys(f for f, _ in _terms(a) if f):  # (H+1)*N over H+1
        for k in range(len(factor)):
            rest = Size(((factor[:k] + factor[k + 1 :], 1),)) if len(factor) > 1 else 1
            if rest * b == a:
                return rest
    return None


def value(x: Expression, numbers: Mapping[str, int]) -> int:
    """The number that an expression is where its symbols have these; KeyError for one that is not there."""
    if isinstance(x, int):
        return x
    total = 0
    for factors, coefficient in x.terms:
        product = coefficient
        for f in factors:
            if isinstance(f, str):
                product *= numbers[f]
            elif isinstance(f, Quotient):
                below = value(f.below, numbers)
                product *= value(f.above, numbers) // below if below else 0
            else:
                product *= min(value(f.one, numbers), value(f.other, numbers))
        total += product
    return total


def put(x: Expression, by: Mapping[str, Expression]) -> Expression:
    """The expression with other expressions in the place of symbols."""
    if isinstance(x, int) or not set(x.symbols).intersection(by):
        return x
    total: Expression = 0
    for factors, coefficient in x.terms:
        product: Expression = coefficient
        for f in factors:
            if isinstance(f, str):
                new: Expression = by.get(f, symbol(f))
            elif isinstance(f, Quotient):
                new = divided(put(f.above, by), put(f.below, by))
            else:
                new = least(put(f.one, by), put(f.other, by))
            product = new * product
        total = product + total
    return total


def written(x: Expression) -> int | str:
    """As a graph has it: a number or a string."""
    if isinstance(x, int):
        return x
    plain = len(x.terms) == 1 and x.terms[0][1] == 1 and len(x.terms[0][0]) == 1
    name = x.terms[0][0][0] if plain else None
    return name if isinstance(name, str) else str(x)


def parse(size: int | str) -> Expression:
    """What `written` writes, and what exporters write ("P + S", "N/2"); any other string is a symbol of its own."""
    return size if isinstance(size, int) else _parsed(size)


@cache
def _parsed(text: str) -> Expression:
    if PLAIN.fullmatch(text) or A_NAME.search(QUOTED.sub("", text)):
        return symbol(text)
    tokens, at = [], 0
    while at < len(text.rstrip()):
        found = TOKEN.match(text, at)
        if found is None:
            return symbol(text)
        tokens.append(found)
        at = found.end()
    try:
        size, rest = _added(tokens)
    except (_NoExpression, ZeroDivisionError, RecursionError):
        return symbol(text)
    return symbol(text) if rest or not isinstance(size, Size) else size


class _NoExpression(GraphError):
    """A string that is a name."""


def _mark(tokens: list, *wanted: str) -> str | None:
    return tokens[0].group(5) if tokens and tokens[0].group(5) in wanted else None


def _added(tokens: list) -> tuple[Expression, list]:
    total, tokens = _multiplied(tokens)
    while sign := _mark(tokens, "+", "-"):
        term, tokens = _multiplied(tokens[1:])
        total = total + (term if sign == "+" else term * -1)
    return total, tokens


def _multiplied(tokens: list) -> tuple[Expression, list]:
    product, tokens = _atom(tokens)
    while sign := _mark(tokens, "*", "/", "//"):
        factor, tokens = _atom(tokens[1:])
        product = product * factor if sign == "*" else divided(product, factor)
    return product, tokens


def _atom(tokens: list) -> tuple[Expression, list]:
    if not tokens:
        raise _NoExpression("it ends too early")
    number, minimum, name, quoted, mark = tokens[0].groups()
    if number:
        return int(number), tokens[1:]
    if name or quoted:
        return symbol(name or quoted), tokens[1:]
    if mark == "-":
        inner, rest = _atom(tokens[1:])
        return inner * -1, rest
    if minimum:
        one, rest = _added(tokens[2:])
        if _mark(rest, ",") is None:
            raise _NoExpression("a minimum is of two")
        other, rest = _added(rest[1:])
        inner = least(one, other)
    elif mark == "(":
        inner, rest = _added(tokens[1:])
    else:
        raise _NoExpression("a number, a name or a bracket was expected")
    if _mark(rest, ")") is None:
        raise _NoExpression("a bracket is left open")
    return inner, rest[1:]
