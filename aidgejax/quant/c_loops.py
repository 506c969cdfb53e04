"""The loop nests of a C program: one for each operator that ends in integers."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

import numpy as np

from ..errors import GraphError
from ..graph import Graph, Node
from .c_moves import MOVES, order_of
from .c_rounding import Array, End
from .deploy import OnGrid
from .reading import grids_of

TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "uint16": "uint16_t", "int32": "int32_t"}


@dataclass
class Pending:
    """What is computed and not yet rounded: a node over integers, a rectifier's ends in real numbers, an added bias.
    output: which of the node's outputs."""

    node: Node | None
    sources: list[OnGrid]
    low: float = -math.inf
    high: float = math.inf
    bias: OnGrid | None = None
    output: str = ""


@dataclass
class Text:
    constants: list[str] = field(default_factory=list)
    body: list[str] = field(default_factory=list)
    flash: int = 0


def product_step(p: Pending, w: OnGrid) -> np.ndarray:
    """The step of a product with a weight: one number, or one for each output channel."""
    step = p.sources[0].step
    return np.asarray(step) * w.step.reshape(-1) if w.step.size > 1 else step * w.step.reshape(())


class Loops:
    """The text of a C program as it grows, with the arrays that its loops read and write."""

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph, self.name = graph, name
        self.grids = grids_of(graph)
        self.values: dict[str, Pending | OnGrid] = {}
        self.arrays: dict[str, Array] = {}
        self.text = Text()
        self.time = 0

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
        level = lambda v: int(np.rint(np.float32(v) / np.float32(step))) + zero
        low = max(low, level(p.low)) if p.low > -math.inf else low
        high = min(high, level(p.high)) if p.high < math.inf else high
        sources = [self._array(s.integers) for s in p.sources if s.integers not in self.graph.producers]
        y = self._array(ints)
        node = p.node
        where = f"{quantize.name}" + (f": {node.op} {node.name}" if node is not None else "")
        self.text.body.append(f"    /* {_commented(where)} */")
        end = End(self._constant, y, step, zero, low, high)
        writers = {
            "Conv": self._conv, "ConvTranspose": self._conv, "Gemm": self._gemm, "MatMul": self._gemm, "Add": self._sum,
            "Sub": self._sum, "AveragePool": self._pool, "GlobalAveragePool": self._pool, "MaxPool": self._pool,
            "GlobalMaxPool": self._pool, "Concat": self._concat, "Max": self._sum, "Min": self._sum, "Mul": self._times,
            "ReduceMean": self._mean, **dict.fromkeys(MOVES, self._moved),
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

    def _conv(self, p: Pending, node: Node, sources: list[Array], end: End) -> None:
        w, data = self._weight(p, node)
        xs, ys = self._shape(node.inputs[0]), self._shape(node.output_names[0])
        if len(xs) > 3:
            raise GraphError(f"node {node.name!r} ({node.op}): form 'c' has images of 1 and 2 dimensions")
        rank = len(xs) - 1
        pad1 = lambda a, one: tuple(a) if rank == 2 else (one, *a)
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
            place = lambda axis, a, b, n: (
                f"int {a} = {axis} + {top[n]} - {b} * {dilations[n]}; if ({a} < 0 || {a} % {strides[n]}) continue; "
                f"{a} /= {strides[n]}; "
            )
            weight = f"((g * {cin} + c) * {cout} + o % {cout}) * {kernel[0] * kernel[1]} + ky * {kernel[1]} + kx"
        else:
            place = lambda axis, a, b, n: f"int {a} = {axis} * {strides[n]} - {top[n]} + {b} * {dilations[n]}; "
            weight = f"(o * {cin} + c) * {kernel[0] * kernel[1]} + ky * {kernel[1]} + kx"
        product = (
            f"s += ({x.name}[((g * {cin} + c) * {ih} + yy) * {iw} + xx] - ({int(p.sources[0].zero)})) * {k}[{weight}];"
        )
        scale = product_step(p, w)
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

    def _gemm(self, p: Pending, node: Node, sources: list[Array], end: End) -> None:
        if node.op == "MatMul" and p.sources[1].integers not in self.graph.producers:
            self._product(p, node, sources, end)
            return
        w, data = self._weight(p, node)
        if data.ndim != 2:
            raise GraphError(f"node {node.name!r} ({node.op}): form 'c' has weights that are matrices")
        if node.op == "Gemm" and node.attrs.get("transB", 0):
            data = data.T
        inner, outer = data.shape
        rows = math.prod(self._shape(node.output_names[0])) // outer
        x, k = sources[0], self._constant(np.ascontiguousarray(data.T), TYPES[data.dtype.name])
        scale = product_step(p, w)
        self.text.body += [
            f"    for (int r = 0; r < {rows}; r++)",
            f"    for (int o = 0; o < {outer}; o++) {{",
            f"        int32_t s = {self._bias_text(p, 'o')};",
            f"        for (int i = 0; i < {inner}; i++) "
            f"s += ({x.name}[r * {inner} + i] - ({int(p.sources[0].zero)})) * {k}[o * {inner} + i];",
            f"        {end.array.name}[r * {outer} + o] = {end.of('s', scale, 'o')};",
            "    }",
        ]

    def _product(self, p: Pending, node: Node, sources: list[Array], end: End) -> None:
        a, b = (self._shape(t) for t in node.input_names[:2])
        if len(a) < 2 or len(a) != len(b) or a[:-2] != b[:-2]:
            raise GraphError(f"node {node.name!r} (MatMul): form 'c' multiplies as many matrices with as many")
        (m, inner), n = a[-2:], b[-1]
        scale = np.asarray(p.sources[0].step * np.float64(p.sources[1].step))
        (x, y), (u, v) = sources[:2], (int(s.zero) for s in p.sources[:2])
        self.text.body += [
            f"    for (int r = 0; r < {math.prod(a[:-1])}; r++)",
            f"    for (int o = 0; o < {n}; o++) {{",
            "        int32_t s = 0;",
            f"        for (int i = 0; i < {inner}; i++) s += ({x.name}[r * {inner} + i] - ({u})) * "
            f"({y.name}[(r / {m} * {inner} + i) * {n} + o] - ({v}));",
            f"        {end.array.name}[r * {n} + o] = {end.of('s', scale)};",
            "    }",
        ]

    def _sum(self, p: Pending, node: Node, sources: list[Array], end: End) -> None:
        finer = min(s.step for s in p.sources)
        weights = [float(s.step / finer) for s in p.sources]
        if any(v != round(v) for v in weights):
            steps = " and ".join(f"{float(s.step):g}" for s in p.sources)
            raise GraphError(f"node {node.name!r} ({node.op}) joins steps of {steps}: no multiple of each other")
        first, *rest = (
            f"({self._element(node, k, p)} - ({int(s.zero)})) * {round(m)}"
            for k, (s, m) in enumerate(zip(p.sources, weights, strict=True))
        )
        update = {"Add": "s += v;", "Sub": "s -= v;", "Max": "if (v > s) s = v;", "Min": "if (v < s) s = v;"}[node.op]
        more = "".join(f" {{ int32_t v = {r}; {update} }}" for r in rest)
        self._each(end, f"int32_t s = {first};{more}", np.asarray(finer))

    def _times(self, p: Pending, node: Node, sources: list[Array], end: End) -> None:
        if len(p.sources) != 2 or any(s.integers in self.graph.producers for s in p.sources):
            raise GraphError(f"node {node.name!r} (Mul): form 'c' multiplies two quantized tensors")
        left, right = (f"({self._element(node, k, p)} - ({int(s.zero)}))" for k, s in enumerate(p.sources))
        self._each(end, f"int32_t s = {left} * {right};", np.float64(p.sources[0].step) * np.float64(p.sources[1].step))

    def _each(self, end: End, statements: str, scale: np.ndarray | np.float64) -> None:
        self.text.body.append(
            f"    for (int i = 0; i < {end.array.count}; i++) {{ {statements} {end.array.name}[i] = "
            f"{end.of('s', np.asarray(scale))}; }}"
        )

    def _element(self, node: Node, k: int, p: Pending) -> str:
        """C for the level of the k-th source that belongs to element i of the output, spread where it is smaller."""
        if p.sources[k].integers in self.graph.producers:
            raise GraphError(f"node {node.name!r} ({node.op}): form 'c' joins quantized tensors, not constants")
        x = self._array(p.sources[k].integers)
        xs, ys = self._shape(node.input_names[k]), self._shape(p.output)
        if xs == ys:
            return f"{x.name}[i]"
        if len(xs) != len(ys):
            raise GraphError(f"node {node.name!r} ({node.op}): form 'c' joins tensors of as many axes")
        spread = np.broadcast_to(np.arange(x.count).reshape(xs), ys)
        return f"{x.name}[{self._table(spread)}[i]]"

    def _table(self, positions: np.ndarray) -> str:
        kind = "int16_t" if positions.size == 0 or positions.max() < 2**15 else "int32_t"
        return self._constant(positions, kind)

    def _mean(self, p: Pending, node: Node, sources: list[Array], end: End) -> None:
        xs, x = self._shape(node.inputs[0]), sources[0]
        axes = node.attrs.get("axes") if len(node.inputs) < 2 else node.inputs[1]
        if isinstance(axes, str):
            axes = self.graph.producers[axes].data.tolist() if axes in self.graph.producers else None
        axes = [a % (len(xs) + 1) - 1 for a in axes or (0,)]
        if -1 in axes:
            raise GraphError(f"node {node.name!r} (ReduceMean) averages over rows: form 'c' computes one")
        order = np.moveaxis(np.arange(math.prod(xs)).reshape(xs), axes, range(-len(axes), 0))
        count = math.prod(xs[a] for a in axes)
        k = self._table(order.reshape(-1, count))
        term = f"{x.name}[{k}[i * {count} + j]] - ({int(p.sources[0].zero)})"
        self._each(
            end,
            f"int32_t s = 0; for (int j = 0; j < {count}; j++) s += {term};",
            np.float64(p.sources[0].step) / count,
        )

    def _pool(self, p: Pending, node: Node, sources: list[Array], end: End) -> None:
        xs, ys = self._shape(node.inputs[0]), self._shape(node.output_names[0])
        rank = len(xs) - 1
        if rank > 2 or node.attrs.get("ceil_mode", 0):
            raise GraphError(
                f"node {node.name!r} ({node.op}): form 'c' has pools of 1 and 2 dimensions without ceil_mode"
            )
        pad1 = lambda a, one: tuple(a) if rank == 2 else (one, *a)
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

    def _concat(self, p: Pending, node: Node, sources: list[Array], end: End) -> None:
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

    def _moved(self, p: Pending, node: Node, sources: list[Array], end: End) -> None:
        order = order_of(self.graph, node, p.output, self._shape(node.inputs[0]))
        x, k = sources[0], self._table(order)
        level = f"{x.name}[{k}[i]] - ({int(p.sources[0].zero)})"
        value = f"({k}[i] < 0 ? 0 : {level})" if order.size and order.min() < 0 else f"({level})"
        self.text.body.append(
            f"    for (int i = 0; i < {end.array.count}; i++) "
            f"{end.array.name}[i] = {end.of(value, np.asarray(p.sources[0].step))};"
        )


def _commented(text: str) -> str:
    return re.sub(r"[^\w ./:-]", "_", text)
