"""Charts as SVG: lines, bars, a matrix of counts, histograms.  What is not finite is marked, never left out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np

from ..files import write_atomically

COLOURS = ("#1f77b4", "#d95f02", "#2a9d4a", "#a6318f", "#7a6a00", "#c0392b", "#34697f", "#555555")
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 28, 40


@dataclass(frozen=True)
class Picture:
    """An SVG that notebooks show.  str() is its text, `save` writes it."""

    svg: str

    def __str__(self) -> str:
        return self.svg

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: str | Path) -> None:
        """Write the picture to a file, or nothing of it."""
        write_atomically(self.svg.encode(), str(path))


@dataclass(frozen=True)
class Line:
    """A named series.  band: (lower, upper) of each point; thin: drawn behind the others."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    band: tuple[Sequence[float], Sequence[float]] | None = None
    thin: bool = False


@dataclass(frozen=True)
class Mark:
    """A point that is pointed out, with a word."""

    x: float
    y: float
    text: str


@dataclass
class _Axis:
    """Numbers to pixels, linear or by decades."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    ticks: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.log:
            a, b = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            self.low, self.high = 10.0**a, 10.0 ** max(b, a + 1)
            step = max(1, (b - a) // 6)
            self.ticks = [10.0**k for k in range(a, max(b, a + 1) + 1, step)]
            return
        if not self.high > self.low:
            pad = abs(self.low) / 2 or 0.5
            self.low, self.high = self.low - pad, self.high + pad
        raw = self.high / 5 - self.low / 5
        size = 10.0 ** math.floor(math.log10(raw))
        step_size = next(m * size for m in (1, 2, 5, 10) if m * size >= raw)
        first = math.ceil(self.low / step_size - 1e-9)
        count = math.floor(self.high / step_size + 1e-9) - first
        self.ticks = [(first + k) * step_size for k in range(count + 1)]

    def __call__(self, v: float) -> float:
        a, b, v = (
            (math.log10(max(t, 1e-300)) for t in (self.low, self.high, v)) if self.log else (self.low, self.high, v)
        )
        return self.start + (v / 2 - a / 2) / (b / 2 - a / 2) * (self.end - self.start)


def line_chart(
    lines: Iterable[Line],
    *,
    title: str = "",
    x: str = "",
    y: str = "",
    log: bool = False,
    marks: Iterable[Mark] = (),
    ticks: Sequence[float] = (),
    width: int = 640,
    height: int = 240,
) -> Picture:
    """Lines over one x axis.  log: y by decades, where all is positive.  ticks: of x, in place of round numbers.

    Where a line is not finite, its x is marked by a red stroke with what was met there: NaN or inf.
    """
    lines, marks = list(lines), list(marks)
    points = [(float(a), float(b)) for one in lines for a, b in zip(one.x, one.y, strict=True)]
    finite = [b for _, b in points if math.isfinite(b)]
    edges = [float(v) for one in lines for side in one.band or () for v in side if math.isfinite(v)]
    values = [*finite, *edges] or [0.0, 1.0]
    log = log and min(values) > 1e-290
    across = _Axis(min((a for a, _ in points), default=0), max((a for a, _ in points), default=1), LEFT, width - RIGHT)
    up = _Axis(min(values), max(values), height - BOTTOM, TOP, log)
    across.ticks = list(ticks) or across.ticks
    parts = _frame(across, up, title, x, y, width, height)
    for k, one in enumerate(lines):
        colour = COLOURS[k % len(COLOURS)]
        if one.band:
            there = [*zip(one.x, one.band[1], strict=True), *reversed(list(zip(one.x, one.band[0], strict=True)))]
            shape = " ".join(f"{across(a):.1f},{up(b):.1f}" for a, b in there if math.isfinite(b))
            parts.append(f'<polygon points="{shape}" fill="{colour}" opacity="0.15"/>')
        look = f'stroke="{colour}" stroke-width="{0.8 if one.thin else 2}"'
        for run in _finite_runs(one):
            shape = " ".join(f"{across(a):.1f},{up(b):.1f}" for a, b in run)
            if len(run) == 1:
                parts.append(f'<circle cx="{across(run[0][0]):.1f}" cy="{up(run[0][1]):.1f}" r="2" fill="{colour}"/>')
            else:
                parts.append(f'<polyline points="{shape}" fill="none" {look}/>')
        parts += _legend(k, one.name, colour) if len(lines) > 1 else []
    bad = [(a, b) for a, b in points if not math.isfinite(b)]
    for k, (a, b) in enumerate(bad[:200]):
        at = across(a)
        parts.append(
            f'<line class="nonfinite" x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{height - BOTTOM}" stroke="#c00"/>'
        )
        if k == 0:
            word = f"{'NaN' if math.isnan(b) else 'inf'} at {_number(a)}"
            parts.append(_text(min(at, width - 90), TOP + 10, word, "start", fill="#c00"))
    for m in marks:
        if math.isfinite(m.y):
            at = across(m.x)
            parts.append(f'<circle class="mark" cx="{at:.1f}" cy="{up(m.y):.1f}" r="4" fill="none" stroke="#000"/>')
            side, shift = ("end", -7) if at > width / 2 else ("start", 7)
            parts.append(_text(at + shift, up(m.y) - 6, m.text, side, halo=True))
    return _picture(parts, width, height, title or y)


def bar_chart(rows: Mapping[str, float], *, title: str = "", unit: str = "", width: int = 640) -> Picture:
    """A horizontal bar for every entry, with its number."""
    height = TOP + 18 * len(rows) + 8
    names = min(260, 12 + 7 * max(map(len, rows), default=0))
    largest = max((v for v in rows.values() if math.isfinite(v)), default=0) or 1
    parts = [_text(width / 2, 16, title, "middle", bold=True)]
    for k, (name, v) in enumerate(rows.items()):
        y = TOP + 18 * k
        wide = (width - names - 90) * (v / largest if math.isfinite(v) else 0)
        parts.append(_text(names - 6, y + 11, _cut(name, (names - 12) // 7), "end"))
        parts.append(f'<rect x="{names}" y="{y}" width="{max(wide, 0):.1f}" height="14" fill="{COLOURS[0]}"/>')
        parts.append(_text(names + max(wide, 0) + 5, y + 11, f"{v:,.4g} {unit}".strip(), "start"))
    return _picture(parts, width, height, title)


def matrix_chart(
    counts: np.ndarray,
    *,
    names: Sequence[str] | None = None,
    title: str = "",
    rows: str = "true",
    columns: str = "predicted",
) -> Picture:
    """A square matrix of counts, each cell shaded by its share of the row, which stands in it."""
    counts = np.asarray(counts)
    names = [str(k) for k in range(len(counts))] if names is None else list(names)
    names = [_cut(name, 20) for name in names]
    side = 36 if len(counts) <= 24 else max(6, 864 // len(counts))
    long = 7 * max(map(len, names), default=1)  # of a name, in pixels
    left, slanted = 40 + long, long > side
    width, height = left + side * len(counts) + 12, TOP + side * len(counts) + 44 + (0.7 * long if slanted else 0)
    parts = [_text(width / 2, 16, title, "middle", bold=True)]
    for i, row in enumerate(counts):
        total = row.sum() or 1
        for j, n in enumerate(row):
            x, y, share = left + side * j, TOP + side * i, float(n) / float(total)
            colour = "31,119,180" if i == j else "192,57,43"
            parts.append(
                f'<rect x="{x}" y="{y}" width="{side}" height="{side}" stroke="#ddd" '
                f'fill="rgba({colour},{share:.3f})"/>'
            )
            if side >= 24 and n:
                fill = "#fff" if share > 0.6 else "#000"
                parts.append(_text(x + side / 2, y + side / 2 + 4, _number(float(n)), "middle", fill=fill))
        if side >= 12:
            parts.append(_text(left - 6, TOP + side * i + side / 2 + 4, names[i], "end"))
            across, down = left + side * i + side / 2, TOP + side * len(counts) + 14
            turn = f'transform="rotate(-45 {across:.0f} {down:.0f})"' if slanted else ""
            parts.append(_text(across, down, names[i], "end" if slanted else "middle", more=turn))
    parts.append(_text(left + side * len(counts) / 2, height - 8, columns, "middle"))
    middle = TOP + side * len(counts) / 2
    parts.append(_text(12, middle, rows, "middle", more=f'transform="rotate(-90 12 {middle:.0f})"'))
    return _picture(parts, width, height, title)


def histogram_chart(arrays: Mapping[str, np.ndarray], *, bins: int = 41, columns: int = 3) -> Picture:
    """A histogram for every array, with its range; how many of its numbers are not finite is said in red."""
    wide, high = 230, 110
    parts = []
    for k, (name, array) in enumerate(arrays.items()):
        x0, y0 = wide * (k % columns), high * (k // columns)
        a = np.asarray(array, np.float64).ravel()
        good = a[np.isfinite(a)]
        parts.append(_text(x0 + wide / 2, y0 + 14, _cut(name, 30), "middle", bold=True))
        if good.size:
            counts, edges = np.histogram(good, bins)
            for n, left, right in zip(counts, edges, edges[1:], strict=False):
                tall = 64 * n / counts.max()
                a0, a1 = (x0 + 12 + (wide - 24) * (e - edges[0]) / (edges[-1] - edges[0]) for e in (left, right))
                parts.append(
                    f'<rect x="{a0:.1f}" y="{y0 + 86 - tall:.1f}" width="{a1 - a0:.2f}" height="{tall:.1f}" '
                    f'fill="{COLOURS[0]}"/>'
                )
            parts.append(_text(x0 + 12, y0 + 100, f"{good.min():.3g}", "start"))
            parts.append(_text(x0 + wide - 12, y0 + 100, f"{good.max():.3g}", "end"))
        if good.size < a.size:
            parts.append(_text(x0 + wide / 2, y0 + 100, f"{a.size - good.size} not finite", "middle", fill="#c00"))
    rows = -(-len(arrays) // columns)
    return _picture(parts, wide * min(columns, max(1, len(arrays))), high * max(rows, 1) + 6, "histograms")


def range_chart(ranges: Mapping[str, tuple[float, float]], *, title: str = "", width: int = 640) -> Picture:
    """A bar from the smallest to the largest number of every entry, over one axis on which zero is marked."""
    names = min(260, 12 + 7 * max(map(len, ranges), default=0))
    ends = [v for pair in ranges.values() for v in pair if math.isfinite(v)]
    across = _Axis(min(ends, default=0.0), max(ends, default=1.0), names, width - 90)
    height = TOP + 18 * len(ranges) + 8
    parts = [_text(width / 2, 16, title, "middle", bold=True)]
    if across.low <= 0 <= across.high:
        parts.append(f'<path d="M{across(0):.1f} {TOP}V{height}" stroke="#888"/>')
    for k, (name, (low, high)) in enumerate(ranges.items()):
        y = TOP + 18 * k
        parts.append(_text(names - 6, y + 11, _cut(name, (names - 12) // 7), "end"))
        if math.isfinite(low) and math.isfinite(high):
            wide = max(1.0, across(high) - across(low))
            parts.append(f'<rect x="{across(low):.1f}" y="{y}" width="{wide:.1f}" height="14" fill="{COLOURS[0]}"/>')
            parts.append(_text(width - 86, y + 11, f"{low:.3g} to {high:.3g}", "start"))
        else:
            parts.append(_text(names, y + 11, "not finite", "start", fill="#c00"))
    return _picture(parts, width, height, title)


def stacked(pictures: Iterable[Picture]) -> Picture:
    """Pictures one below the other."""
    y, width, inner = 0.0, 0.0, []
    for picture in pictures:
        wide, high = size_of(picture.svg)
        inner.append(picture.svg.replace("<svg ", f'<svg y="{y:.0f}" ', 1))
        y, width = y + high, max(width, wide)
    return _picture(inner, width, y, "")


def size_of(svg: str) -> tuple[float, float]:
    """(width, height) of a picture by its first tag."""
    head = svg.split(">", 1)[0]
    width, height = (float(head.split(f' {name}="', 1)[1].split('"', 1)[0]) for name in ("width", "height"))
    return width, height


def _finite_runs(line: Line) -> list[list[tuple[float, float]]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for a, b in zip(line.x, line.y, strict=True):
        if math.isfinite(b):
            runs[-1].append((a, b))
        elif runs[-1]:
            runs.append([])
    return [r for r in runs if r]


def _frame(across: _Axis, up: _Axis, title: str, x: str, y: str, width: int, height: int) -> list[str]:
    parts = [_text(width / 2, 16, title, "middle", bold=True), _text((LEFT + width) / 2, height - 6, x, "middle")]
    middle = (height - BOTTOM + TOP) / 2
    parts.append(_text(12, middle, y, "middle", more=f'transform="rotate(-90 12 {middle:.0f})"'))
    for t in up.ticks:
        parts.append(f'<line x1="{LEFT}" y1="{up(t):.1f}" x2="{width - RIGHT}" y2="{up(t):.1f}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 6, up(t) + 4, _number(t), "end"))
    for t in across.ticks:
        parts.append(f'<path d="M{across(t):.1f} {height - BOTTOM}v4" stroke="#444"/>')
        parts.append(_text(across(t), height - BOTTOM + 16, _number(t), "middle"))
    parts.append(f'<path d="M{LEFT} {TOP}V{height - BOTTOM}H{width - RIGHT}" fill="none" stroke="#444"/>')
    return parts


def _legend(k: int, name: str, colour: str) -> list[str]:
    y = TOP + 12 + 15 * k
    return [
        f'<line x1="{LEFT + 10}" y1="{y - 4}" x2="{LEFT + 28}" y2="{y - 4}" stroke="{colour}" stroke-width="2"/>',
        _text(LEFT + 33, y, name, "start", halo=True),
    ]


def _picture(parts: list[str], width: float, height: float, title: str) -> Picture:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" font-family="sans-serif" font-size="11" role="img" style="background:#fff">'
    )
    return Picture("\n".join([head, f"<title>{escape(title)}</title>", *filter(None, parts), "</svg>", ""]))


def _text(
    x: float,
    y: float,
    text: str,
    anchor: str,
    *,
    bold: bool = False,
    fill: str = "#222",
    halo: bool = False,
    more: str = "",
) -> str:
    if not text:
        return ""
    look = f'fill="{fill}"' + (' font-weight="bold"' if bold else "") + (f" {more}" if more else "")
    if halo:
        look += ' stroke="#fff" stroke-width="3" paint-order="stroke"'
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {look}>{escape(text)}</text>'


def _number(v: float) -> str:
    return f"{v:,.0f}" if v == round(v) and abs(v) < 1e6 else f"{v:.3g}"


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest // 2 - 1] + "…" + text[-(longest - longest // 2) :]
