"""C99 for a deployed graph: static arrays, integers only, no library, one function for one row.

Each QuantizeLinear of the graph is one loop nest: the integers that feed it are summed in 32 bits, scaled by a
multiplier and a shift (a shift alone for steps that are powers of two), rounded halves to even, and cut to the levels.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace

import numpy as np

from ..errors import GraphError
from ..graph import Graph, Node
from .deploy import OnGrid
from .reading import grids_of

TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "uint16": "uint16_t", "int32": "int32_t"}
PRELUDE = """\
#include "{name}.h"

/* v * m / 2^s, halves to even. */
static int32_t scaled(int32_t v, int32_t m, int s) {{
    int64_t p = (int64_t)v * m;
    uint64_t a = p < 0 ? (uint64_t)-p : (uint64_t)p;
    if (s > 0) {{
        uint64_t half = (uint64_t)1 << (s - 1), rest = a & (((uint64_t)1 << s) - 1);
        a >>= s;
        if (rest > half || (rest == half && (a & 1))) a++;
    }}
    if (a > 0x3fffffff) a = 0x3fffffff;
    return p < 0 ? -(int32_t)a : (int32_t)a;
}}

static int32_t cut(int32_t v, int32_t low, int32_t high) {{ return v < low ? low : v > high ? high : v; }}
"""


@dataclass(frozen=True)
class Program:
    """source and header: C text.  flash: bytes of constants; ram: of the arena of activations; input, output: of one
    row, (tensor of integers, C type, count, step, zero point)."""

    source: str
    header: str
    flash: int
    ram: int
    input: tuple[str, str, int, float, int]
    output: tuple[str, str, int, float, int]


@dataclass
class Pending:
    """What is computed and not yet rounded: a node over integers, a rectifier's ends in real numbers, an added bias."""

    node: Node | None
    sources: list[OnGrid]
    low: float = -math.inf
    high: float = math.inf
    bias: OnGrid | None = None


@dataclass
class Array:
    name: str
    type: str
    count: int
    born: int
    dies: int = 0
    offset: int = 0


@dataclass
class _Text:
    constants: list[str] = field(default_factory=list)
    body: list[str] = field(default_factory=list)
    flash: int = 0


def c_program(integers: Graph, name: str = "net") -> Program:
    """The C program of a deployed graph with one input and one output.  Raises GraphError naming what C has not."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise GraphError(f"{name!r} is no name for a C function: small letters, digits and _")
    if len(integers.inputs) != 1 or len(integers.outputs) != 1:
        raise GraphError(
            f"graph {integers.name!r} has {len(integers.inputs)} inputs and {len(integers.outputs)} outputs: "
            f"form 'c' takes one of each"
        )
    return _Writer(integers, name).run()


class _Writer:
    def __init__(self, graph: Graph, name: str) -> None:
        self.graph, self.name = graph, name
        self.grids = grids_of(graph)
        self.values: dict[str, Pending | OnGrid] = {}
        self.arrays: dict[str, Array] = {}
        self.text = _Text()
        self.time = 0

    def run(self) -> Program:
        given = ""
        for node in self.graph.nodes:
            self.time += 1
            if node.op == "DequantizeLinear":
                self.values[node.output_names[0]] = self.grids[node.output_names[0]]
            elif node.op == "QuantizeLinear":
                source = node.inputs[0]
                if self._is_input(source):
                    given = node.output_names[0]
                    self._array(given)
                else:
                    self._emit(self._taken(node, source), node)
            elif not (node.op == "Clip" and self._is_input(node.inputs[0])):
                self._pend(node)
        last = self.values.get(self.graph.outputs[0])
        if not isinstance(last, OnGrid) or not given:
            raise GraphError(f"graph {self.graph.name!r}: input and output have to be quantized for form 'c'")
        self.arrays[last.integers].dies = self.time + 1
        ram = self._place(given, last.integers)
        ends = [self._end(given), self._end(last.integers)]
        return Program(self._source(given, last.integers, ram), self._header(*ends), self.text.flash, ram, *ends)

    def _is_input(self, tensor: str) -> bool:
        writer = self.graph.writer().get(tensor)
        return tensor in self.graph.inputs or (
            writer is not None and writer.op == "Clip" and writer.inputs[0] in self.graph.inputs
        )

    # ---- walking --------------------------------------------------------------------------------------

    def _taken(self, node: Node, tensor: str) -> Pending:
        value = self.values.get(tensor)
        if value is None:
            raise GraphError(
                f"node {node.name!r} ({node.op}) reads {tensor!r}, which is not in integers: form 'c' has none else"
            )
        return Pending(None, [value]) if isinstance(value, OnGrid) else value

    def _pend(self, node: Node) -> None:
        output = node.output_names[0]
        if node.op in ("Relu", "Clip"):
            before = self._taken(node, node.inputs[0])
            ends = [0.0, math.inf] if node.op == "Relu" else [self._number(node, k) for k in (1, 2)]
            self.values[output] = replace(before, low=max(before.low, ends[0]), high=min(before.high, ends[1]))
            return
        data = [i for i in node.input_names if i in self.values]
        if node.op == "Add" and len(data) == 2:
            first, second = (self.values[i] for i in data)
            for layer, bias in ((first, second), (second, first)):
                if isinstance(layer, Pending) and isinstance(bias, OnGrid) and bias.integers in self.graph.producers:
                    self.values[output] = replace(layer, bias=bias)
                    return
        sources = [self.values[i] for i in data]
        if not sources or not all(isinstance(s, OnGrid) for s in sources):
            what = node.op if sources else f"{node.op} of {node.inputs[0]!r}"
            raise GraphError(f"node {node.name!r}: {what} is not computed in integers, which is all that form 'c' has")
        pending = Pending(node, [s for s in sources if isinstance(s, OnGrid)])
        if node.op == "Identity":
            self.values[output] = pending.sources[0]
            return
        for o in node.output_names:
            self.values[o] = pending

    def _number(self, node: Node, k: int) -> float:
        i = node.inputs[k] if len(node.inputs) > k else None
        if i is None:
            return -math.inf if k == 1 else math.inf
        return float(self.graph.producers[i].data) if isinstance(i, str) else float(i)

    # ---- one tensor -----------------------------------------------------------------------------------

    def _shape(self, tensor: str) -> tuple[int, ...]:
        """Of one row."""
        shape = (self.graph.value(tensor).shape or (None,))[1:]
        if not all(isinstance(d, int) for d in shape):
            raise GraphError(f"{self.graph.value(tensor)} of graph {self.graph.name!r} has sizes that are not known")
        return tuple(d for d in shape if isinstance(d, int))

    def _array(self, ints: str) -> Array:
        if ints not in self.arrays:
            value = self.graph.value(ints)
            size = math.prod(self._shape(ints))
            self.arrays[ints] = Array(f"t{len(self.arrays)}", TYPES[value.dtype or "int8"], size, self.time, self.time)
        array = self.arrays[ints]
        array.dies = max(array.dies, self.time)
        return array

    def _constant(self, data: np.ndarray, kind: str) -> str:
        name = f"k{len(self.text.constants)}"
        numbers = data.reshape(-1).tolist()
        lines = [", ".join(map(str, numbers[a : a + 24])) for a in range(0, len(numbers), 24)]
        self.text.constants.append(
            f"static const {kind} {name}[{len(numbers)}] = {{\n    " + ",\n    ".join(lines) + "};"
        )
        self.text.flash += data.size * {"int8_t": 1, "uint8_t": 1, "int16_t": 2, "uint16_t": 2}.get(kind, 4)
        return name

    def _emit(self, p: Pending, quantize: Node) -> None:
        ints = quantize.output_names[0]
        step = float(self.graph.producers[quantize.inputs[1]].data)
        zero = int(self.graph.producers[quantize.inputs[2]].data)
        after = next((g for g in self.grids.values() if g.integers == ints), None)
        low, high = (after.low, after.high) if after else (-128, 127)
        level = lambda v: int(np.rint(np.float32(v) / np.float32(step))) + zero  # noqa: E731
        low = max(low, level(p.low)) if p.low > -math.inf else low
        high = min(high, level(p.high)) if p.high < math.inf else high
        sources = [self._array(s.integers) for s in p.sources if s.integers not in self.graph.producers]
        y = self._array(ints)
        node = p.node
        where = f"{quantize.name}" + (f": {node.op} {node.name}" if node is not None else "")
        self.text.body.append(f"    /* {_commented(where)} */")
        end = _End(self, y, step, zero, low, high)
        writers = {
            "Conv": self._conv, "ConvTranspose": self._conv, "Gemm": self._gemm, "MatMul": self._gemm, "Add": self._sum,
            "Sub": self._sum, "AveragePool": self._pool, "GlobalAveragePool": self._pool, "MaxPool": self._pool,
            "GlobalMaxPool": self._pool, "Concat": self._concat, "Transpose": self._transpose, "Pad": self._pad,
        }  # fmt: skip
        if node is None or node.op in ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"):
            x, s = sources[0], p.sources[0]
            self.text.body.append(
                f"    for (int i = 0; i < {y.count}; i++) {y.name}[i] = "
                f"{end.of(f'({x.name}[i] - ({int(s.zero)}))', np.asarray(s.step))};"
            )
        elif node.op in writers:
            writers[node.op](p, node, sources, end)
        else:
            raise GraphError(
                f"node {node.name!r}: {node.op} is not computed in integers, which is all that form 'c' has"
            )

    # ---- loops ----------------------------------------------------------------------------------------

    def _weight(self, p: Pending, node: Node) -> tuple[OnGrid, np.ndarray]:
        w = p.sources[1]
        if w.integers not in self.graph.producers:
            raise GraphError(f"node {node.name!r} ({node.op}): a product of two activations is not written in form 'c'")
        data = self.graph.producers[w.integers].data
        if w.zero.any():
            data = data.astype(np.int32) - w.zero
        if w.step.size > 1 and max(w.step.shape) != w.step.size:
            raise GraphError(f"node {node.name!r} ({node.op}): steps by blocks are not written in form 'c'")
        return w, data

    def _bias_text(self, p: Pending, at: str) -> str:
        bias = p.bias or (p.sources[2] if len(p.sources) > 2 else None)
        if bias is None:
            return "0"
        data = self.graph.producers[bias.integers].data.astype(np.int32)
        return f"{self._constant(data, 'int32_t')}[{at if data.size > 1 else 0}]"

    def _conv(self, p: Pending, node: Node, sources: list[Array], end: _End) -> None:
        w, data = self._weight(p, node)
        xs, ys = self._shape(node.inputs[0]), self._shape(node.output_names[0])
        if len(xs) > 3:
            raise GraphError(f"node {node.name!r} ({node.op}): form 'c' has images of 1 and 2 dimensions")
        rank = len(xs) - 1
        pad1 = lambda a, one: tuple(a) if rank == 2 else (one, *a)  # noqa: E731
        kernel = pad1(data.shape[2:], 1)
        strides = pad1(node.attrs.get("strides") or (1,) * rank, 1)
        dilations = pad1(node.attrs.get("dilations") or (1,) * rank, 1)
        top = self._begin(node, rank, xs[1:], ys[1:], kernel, strides, dilations)
        group = node.attrs.get("group", 1)
        (ih, iw), (oh, ow) = pad1(xs[1:], 1), pad1(ys[1:], 1)
        cin, cout = xs[0] // group, ys[0] // group
        x, k = sources[0], self._constant(data, TYPES[data.dtype.name])
        transposed = node.op == "ConvTranspose"
        if transposed:  # gathered: which inputs reach this output
            place = lambda axis, a, b, n: (  # noqa: E731
                f"int {a} = {axis} + {top[n]} - {b} * {dilations[n]}; if ({a} < 0 || {a} % {strides[n]}) continue; "
                f"{a} /= {strides[n]}; "
            )
            weight = f"((g * {cin} + c) * {cout} + o % {cout}) * {kernel[0] * kernel[1]} + ky * {kernel[1]} + kx"
        else:
            place = lambda axis, a, b, n: f"int {a} = {axis} * {strides[n]} - {top[n]} + {b} * {dilations[n]}; "  # noqa: E731
            weight = f"(o * {cin} + c) * {kernel[0] * kernel[1]} + ky * {kernel[1]} + kx"
        product = (
            f"s += ({x.name}[((g * {cin} + c) * {ih} + yy) * {iw} + xx] - ({int(p.sources[0].zero)})) * {k}[{weight}];"
        )
        scale = (
            np.asarray(p.sources[0].step) * w.step.reshape(-1)
            if w.step.size > 1
            else p.sources[0].step * w.step.reshape(())
        )
        self.text.body += [
            f"    for (int o = 0; o < {ys[0]}; o++)",
            f"    for (int y = 0; y < {oh}; y++)",
            f"    for (int x = 0; x < {ow}; x++) {{",
            f"        int g = o / {cout}; int32_t s = {self._bias_text(p, 'o')};",
            f"        for (int ky = 0; ky < {kernel[0]}; ky++) {{",
            f"            {place('y', 'yy', 'ky', 0)}if (yy < 0 || yy >= {ih}) continue;",
            f"            for (int kx = 0; kx < {kernel[1]}; kx++) {{",
            f"                {place('x', 'xx', 'kx', 1)}if (xx < 0 || xx >= {iw}) continue;",
            f"                for (int c = 0; c < {cin}; c++) {product}",
            "            }",
            "        }",
            f"        {end.array.name}[(o * {oh} + y) * {ow} + x] = {end.of('s', scale, 'o')};",
            "    }",
        ]

    def _begin(
        self,
        node: Node,
        rank: int,
        xs: tuple[int, ...],
        ys: tuple[int, ...],
        kernel: tuple,
        strides: tuple,
        dilations: tuple,
    ) -> tuple[int, int]:
        """Padding in front of each of the two axes."""
        auto = node.attrs.get("auto_pad", "NOTSET")
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            found = []
            for n, (a, b) in enumerate(zip(xs, ys, strict=True)):
                at = n + 2 - rank
                total = max((b - 1) * strides[at] + (kernel[at] - 1) * dilations[at] + 1 - a, 0)
                found.append(total // 2 if auto == "SAME_UPPER" else -(-total // 2))
        else:
            found = list((node.attrs.get("pads") or (0,) * 2 * rank)[:rank]) if auto == "NOTSET" else [0] * rank
        return (found[0], found[1]) if rank == 2 else (0, found[0])

    def _gemm(self, p: Pending, node: Node, sources: list[Array], end: _End) -> None:
        w, data = self._weight(p, node)
        if node.op == "Gemm" and node.attrs.get("transB", 0):
            data = data.T
        inner, outer = data.shape
        rows = math.prod(self._shape(node.output_names[0])) // outer
        x, k = sources[0], self._constant(np.ascontiguousarray(data.T), TYPES[data.dtype.name])
        scale = (
            np.asarray(p.sources[0].step) * w.step.reshape(-1)
            if w.step.size > 1
            else p.sources[0].step * w.step.reshape(())
        )
        self.text.body += [
            f"    for (int r = 0; r < {rows}; r++)",
            f"    for (int o = 0; o < {outer}; o++) {{",
            f"        int32_t s = {self._bias_text(p, 'o')};",
            f"        for (int i = 0; i < {inner}; i++) "
            f"s += ({x.name}[r * {inner} + i] - ({int(p.sources[0].zero)})) * {k}[o * {inner} + i];",
            f"        {end.array.name}[r * {outer} + o] = {end.of('s', scale, 'o')};",
            "    }",
        ]

    def _sum(self, p: Pending, node: Node, sources: list[Array], end: _End) -> None:
        a, b = p.sources
        x, y = (self._array(s.integers) for s in p.sources)
        if len({v.count for v in (x, y, end.array)}) > 1:
            raise GraphError(f"node {node.name!r} ({node.op}): form 'c' adds tensors of one shape")
        sign = "-" if node.op == "Sub" else "+"
        finer = np.minimum(a.step, b.step)
        weights = [float(s.step / finer) for s in p.sources]
        if any(v != round(v) for v in weights):
            raise GraphError(
                f"node {node.name!r} ({node.op}) adds steps of {a.step} and {b.step}: no multiple of each other"
            )
        left, right = (
            f"({v.name}[i] - ({int(s.zero)})) * {round(m)}" for v, s, m in zip((x, y), p.sources, weights, strict=True)
        )
        self.text.body.append(
            f"    for (int i = 0; i < {end.array.count}; i++) "
            f"{end.array.name}[i] = {end.of(f'{left} {sign} {right}', finer)};"
        )

    def _pool(self, p: Pending, node: Node, sources: list[Array], end: _End) -> None:
        xs, ys = self._shape(node.inputs[0]), self._shape(node.output_names[0])
        rank = len(xs) - 1
        if rank > 2 or node.attrs.get("ceil_mode", 0):
            raise GraphError(
                f"node {node.name!r} ({node.op}): form 'c' has pools of 1 and 2 dimensions without ceil_mode"
            )
        pad1 = lambda a, one: tuple(a) if rank == 2 else (one, *a)  # noqa: E731
        whole = node.op.startswith("Global")
        kernel = pad1(xs[1:] if whole else node.attrs["kernel_shape"], 1)
        strides = pad1((1,) * rank if whole else node.attrs.get("strides") or (1,) * rank, 1)
        dilations = pad1(node.attrs.get("dilations") or (1,) * rank, 1)
        top = self._begin(node, rank, xs[1:], ys[1:], kernel, strides, dilations)
        (ih, iw), (oh, ow) = pad1(xs[1:], 1), pad1(ys[1:], 1)
        x, zero = sources[0], int(p.sources[0].zero)
        most = "Max" in node.op
        count = math.prod(kernel)
        padded = any(node.attrs.get("pads") or ()) or node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
        if not most and padded and not node.attrs.get("count_include_pad", 0):
            raise GraphError(f"node {node.name!r} ({node.op}): form 'c' has no mean over a window that the border cuts")
        start = "-2147483647" if most else "0"
        taken = f"{x.name}[(c * {ih} + yy) * {iw} + xx] - ({zero})"
        update = f"{{ int32_t v = {taken}; if (v > s) s = v; }}" if most else f"s += {taken};"
        step = np.asarray(p.sources[0].step if most else np.float64(p.sources[0].step) / count)
        self.text.body += [
            f"    for (int c = 0; c < {ys[0]}; c++)",
            f"    for (int y = 0; y < {oh}; y++)",
            f"    for (int x = 0; x < {ow}; x++) {{",
            f"        int32_t s = {start};",
            f"        for (int ky = 0; ky < {kernel[0]}; ky++) {{",
            f"            int yy = y * {strides[0]} - {top[0]} + ky * {dilations[0]};",
            f"            if (yy < 0 || yy >= {ih}) continue;",
            f"            for (int kx = 0; kx < {kernel[1]}; kx++) {{",
            f"                int xx = x * {strides[1]} - {top[1]} + kx * {dilations[1]};",
            f"                if (xx < 0 || xx >= {iw}) continue;",
            f"                {update}",
            "            }",
            "        }",
            f"        {end.array.name}[(c * {oh} + y) * {ow} + x] = {end.of('s', step)};",
            "    }",
        ]

    def _concat(self, p: Pending, node: Node, sources: list[Array], end: _End) -> None:
        shape = self._shape(node.output_names[0])
        axis = node.attrs["axis"] % (len(shape) + 1) - 1
        if axis < 0:
            raise GraphError(f"node {node.name!r} (Concat) joins rows: form 'c' computes one")
        inner, at = math.prod(shape[axis + 1 :]), 0
        for s, t in zip(p.sources, node.input_names, strict=True):
            x, size = self._array(s.integers), self._shape(t)[axis] * inner
            self.text.body.append(
                f"    for (int i = 0; i < {x.count}; i++) "
                f"{end.array.name}[i / {size} * {shape[axis] * inner} + {at} + i % {size}] = "
                f"{end.of(f'({x.name}[i] - ({int(s.zero)}))', np.asarray(s.step))};"
            )
            at += size

    def _transpose(self, p: Pending, node: Node, sources: list[Array], end: _End) -> None:
        xs = self._shape(node.inputs[0])
        perm = tuple(node.attrs.get("perm") or range(len(xs), -1, -1))
        if perm[0] != 0:
            raise GraphError(f"node {node.name!r} (Transpose) moves the rows: form 'c' computes one")
        order = np.arange(math.prod(xs)).reshape(xs).transpose([a - 1 for a in perm[1:]])
        self._gathered(p, sources[0], order, end)

    def _pad(self, p: Pending, node: Node, sources: list[Array], end: _End) -> None:
        xs, ys = self._shape(node.inputs[0]), self._shape(node.output_names[0])
        pads = node.inputs[1] if len(node.inputs) > 1 else None
        held = (
            self.graph.producers[pads].data.tolist() if isinstance(pads, str) and pads in self.graph.producers else pads
        )
        if (
            held is None
            or len(held) != 2 * (len(xs) + 1)
            or (len(node.inputs) > 3 and node.inputs[3] is not None)
            or min(held) < 0
        ):
            raise GraphError(f"node {node.name!r} (Pad): form 'c' takes constant pads of every axis")
        order = np.full(ys, -1)
        order[tuple(slice(b, b + n) for b, n in zip(held[1 : len(xs) + 1], xs, strict=True))] = np.arange(
            math.prod(xs)
        ).reshape(xs)
        self._gathered(p, sources[0], order, end)

    def _gathered(self, p: Pending, x: Array, order: np.ndarray, end: _End) -> None:
        k = self._constant(order.astype(np.int32), "int32_t")
        value = f"({k}[i] < 0 ? 0 : {x.name}[{k}[i]] - ({int(p.sources[0].zero)}))"
        self.text.body.append(
            f"    for (int i = 0; i < {end.array.count}; i++) "
            f"{end.array.name}[i] = {end.of(value, np.asarray(p.sources[0].step))};"
        )

    # ---- the whole ------------------------------------------------------------------------------------

    def _place(self, given: str, last: str) -> int:
        """Offsets in the arena, so that arrays that live together do not overlap; the bytes that it takes."""
        placed: list[Array] = []
        size_of = lambda a: -(-a.count * {"int8_t": 1, "uint8_t": 1}.get(a.type, 2) // 4) * 4  # noqa: E731
        for key, a in self.arrays.items():
            if key in (given, last):
                continue
            a.offset = 0
            for b in sorted((b for b in placed if b.dies >= a.born and a.dies >= b.born), key=lambda b: b.offset):
                if a.offset + size_of(a) <= b.offset:
                    break
                a.offset = max(a.offset, b.offset + size_of(b))
            placed.append(a)
        return max((a.offset + size_of(a) for a in placed), default=0)

    def _end(self, ints: str) -> tuple[str, str, int, float, int]:
        a = self.arrays[ints]
        node = self.graph.writer()[ints]
        step, zero = (self.graph.producers[i].data for i in node.inputs[1:3])
        return ints, a.type, a.count, float(step), int(zero)

    def _header(self, first: tuple, last: tuple) -> str:
        says = lambda e: f"{e[2]} numbers, each (level - {e[4]}) * {e[3]!r}"  # noqa: E731
        guard = f"{self.name.upper()}_H"
        return (
            f"#ifndef {guard}\n#define {guard}\n#include <stdint.h>\n\n"
            f"/* x: {says(first)}.  y: {says(last)}. */\n"
            f"void {self.name}_run(const {first[1]} *x, {last[1]} *y);\n\n"
            f"#define {self.name.upper()}_INPUTS {first[2]}\n#define {self.name.upper()}_OUTPUTS {last[2]}\n"
            f"typedef {first[1]} {self.name}_input;\ntypedef {last[1]} {self.name}_output;\n#endif\n"
        )

    def _source(self, given: str, last: str, ram: int) -> str:
        declared = []
        for key, a in self.arrays.items():
            if key == given:
                declared.append(f"    const {a.type} *{a.name} = x;")
            elif key == last:
                declared.append(f"    {a.type} *{a.name} = y;")
            else:
                declared.append(f"    {a.type} *{a.name} = ({a.type} *)((char *)arena + {a.offset});")
        x, y = self.arrays[given].type, self.arrays[last].type
        return "\n".join(
            [
                PRELUDE.format(name=self.name),
                *self.text.constants,
                "",
                *([f"static int32_t arena[{ram // 4}];"] if ram else []),
                "",
                f"void {self.name}_run(const {x} *x, {y} *y) {{",
                *declared,
                *self.text.body,
                "}",
                "",
            ]
        )


class _End:
    """The rounding at the end of a loop nest."""

    def __init__(self, writer: _Writer, array: Array, step: float, zero: int, low: int, high: int) -> None:
        self.writer, self.array, self.step, self.zero, self.low, self.high = writer, array, step, zero, low, high

    def of(self, value: str, scale: np.ndarray, at: str = "0") -> str:
        """C for the level of `value` times `scale`; scale: one number, or one per `at`."""
        factor = np.asarray(scale, np.float64).reshape(-1) / self.step
        m, s = multipliers(factor)
        if np.all(factor == 1):
            scaled = f"({value})"
        elif factor.size == 1:
            scaled = f"scaled({value}, {m[0]}, {s[0]})"
        else:
            text = (
                self.writer._constant(m.astype(np.int32), "int32_t") + f"[{at}]"
                if len(set(m.tolist())) > 1
                else str(m[0])
            )
            shift = (
                self.writer._constant(s.astype(np.int8), "int8_t") + f"[{at}]"
                if len(set(s.tolist())) > 1
                else str(s[0])
            )
            scaled = f"scaled({value}, {text}, {shift})"
        return f"({self.array.type})cut({scaled} + ({self.zero}), {self.low}, {self.high})"


def multipliers(factor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(m, s) with m / 2^s nearest to each factor: m of 31 bits, or a power of two with the least shift."""
    fraction, exponent = np.frexp(factor)
    m = np.rint(fraction * 2.0**31).astype(np.int64)
    m, exponent = np.where(m == 2**31, 2**30, m), np.where(m == 2**31, exponent + 1, exponent)
    s = 31 - exponent
    while np.all(m % 2 == 0) and np.all(s > 0):
        m, s = m // 2, s - 1
    exact = fraction == 0.5
    if np.all(exact):  # 2^k: a shift to the right, or a small factor
        k = exponent - 1
        m, s = np.where(k > 0, 2.0 ** np.maximum(k, 0), 1).astype(np.int64), np.maximum(-k, 0)
    if np.any(s < 0) or np.any(s > 62) or np.any(m >= 2**31):
        raise GraphError(f"a scale of {float(factor.max())} steps is beyond what 32-bit multipliers and shifts can say")
    return m, s


def _commented(text: str) -> str:
    return re.sub(r"[^\w ./:-]", "_", text)
