"""C99 for a deployed graph: static arrays, integers only, no library, one function for one row.

Each QuantizeLinear of the graph is one loop nest: the integers that feed it are summed in 32 bits, scaled by a
multiplier and a shift (a shift alone for steps that are powers of two), rounded halves to even, and cut to the levels.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from ..arguments import checked_call
from ..errors import GraphError
from ..graph import Graph, Node
from .c_loops import Array, Loops, Pending
from .c_moves import left_to_the_host
from .deploy import OnGrid

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


@checked_call
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


class _Writer(Loops):
    def run(self) -> Program:
        given, self.host = "", left_to_the_host(self.graph)
        end = self.host[0].input_names[0] if self.host else self.graph.outputs[0]
        for node in self.graph.nodes:
            if node in self.host:
                continue
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
        last = self.values.get(end)
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
            self.values[o] = replace(pending, output=o)

    def _number(self, node: Node, k: int) -> float:
        i = node.inputs[k] if len(node.inputs) > k else None
        if i is None:
            return -math.inf if k == 1 else math.inf
        return float(self.graph.producers[i].data) if isinstance(i, str) else float(i)

    # ---- the whole ------------------------------------------------------------------------------------

    def _place(self, given: str, last: str) -> int:
        """Offsets in the arena, so that arrays that live together do not overlap; the bytes that it takes."""
        placed: list[Array] = []
        size_of = lambda a: -(-a.count * {"int8_t": 1, "uint8_t": 1}.get(a.type, 2) // 4) * 4
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
        says = lambda e: f"{e[2]} numbers, each (level - {e[4]}) * {e[3]!r}"
        left = ", then ".join(f"{n.op} (axis {n.attrs['axis']})" if "axis" in n.attrs else n.op for n in self.host)
        host = f"\n   Left to the host, in floating point: {left}." if left else ""
        guard = f"{self.name.upper()}_H"
        return (
            f"#ifndef {guard}\n#define {guard}\n#include <stdint.h>\n\n"
            f"/* x: {says(first)}.  y: {says(last)}.{host} */\n"
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
