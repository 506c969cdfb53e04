"""Our graphs as a torch user writes them, with the same numbers, and the fastest way to train them by hand.

`peer(graph)` computes the mean loss of a graph of benchmarks/gpu.py by torch's own functions; a `CapturedStep` is one
whole step of it (forward, backward, fused optimizer), compiled by torch.compile and captured as one CUDA graph.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import nn

torch.set_float32_matmul_precision("high")  # TF32, as JAX has it by default
torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True

RATE, MOMENTUM = 0.001, 0.9


class Peer(nn.Module):
    """f(x, target) -> the mean cross entropy of the graph's logits; everything starts as in the graph."""

    def __init__(self, graph, *, channels_last=False):
        super().__init__()
        self.nodes = [n for n in graph.nodes if n.op != "SoftmaxCrossEntropyLoss"]
        self.names = {name: name.replace(".", "_") for name in (*graph.params, *graph.buffers)}
        for name, array in graph.params.items():
            value = torch.tensor(array)
            value = value.contiguous(memory_format=torch.channels_last) if channels_last and value.ndim == 4 else value
            self.register_parameter(self.names[name], nn.Parameter(value))
        for name, array in graph.buffers.items():
            self.register_buffer(self.names[name], torch.tensor(array))

    def forward(self, x, target):
        known = {name: getattr(self, own) for name, own in self.names.items()} | {"x": x}
        for node in self.nodes:
            known[node.outputs[0]] = node_in_torch(node, [known.get(i) for i in node.inputs])
        return F.cross_entropy(known["logits"].float(), target)


def node_in_torch(node, a):
    at = node.attrs
    if node.op == "Conv":
        top, left, bottom, right = at.get("pads") or (0, 0, 0, 0)
        assert (top, left) == (bottom, right), "this benchmark pads both sides alike"
        bias = a[2] if len(a) > 2 else None
        return F.conv2d(a[0], a[1], bias, tuple(at.get("strides") or (1, 1)), (top, left), 1, at.get("group", 1))
    if node.op == "BatchNormalization":
        x, weight, bias, mean, var = a
        return F.batch_norm(x, mean, var, weight, bias, True, 1 - at.get("momentum", 0.9), at.get("epsilon", 1e-5))
    if node.op == "MaxPool":
        return F.max_pool2d(a[0], at["kernel_shape"], at["strides"], (at.get("pads") or (0,))[0])
    if node.op == "Gemm":
        return F.linear(a[0], a[1], a[2])
    if node.op == "GlobalAveragePool":
        return a[0].mean((2, 3), keepdim=True)
    simple = {"Relu": F.relu, "Add": torch.add, "Flatten": lambda x: x.flatten(1)}
    return simple[node.op](*a)


class Encoder(nn.Module):
    """zoo.transformer_encoder as a torch user writes it: queries, keys and values by one product, torch's attention."""

    def __init__(self, graph, *, heads, depth):
        super().__init__()
        p = {name: torch.tensor(array) for name, array in graph.params.items()}
        self.heads, self.depth = heads, depth
        self.embedding = nn.Parameter(p["embedding.weight"])
        self.position = nn.Parameter(p["position.weight"])
        self.blocks = nn.ModuleList(_Block(p, f"block{k}", heads) for k in range(1, depth + 1))
        self.norm = _norm(p, "norm")
        self.fc = nn.Linear(*p["fc.weight"].shape[::-1])
        _fill(self.fc, p["fc.weight"], p["fc.bias"])

    def forward(self, x, target):
        x = F.embedding(x, self.embedding) + self.position
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(self.fc(self.norm(x).mean(1)).float(), target)


class _Block(nn.Module):
    def __init__(self, p, name, heads):
        super().__init__()
        width = p[f"{name}.norm1.weight"].shape[0]
        self.heads = heads
        self.norm1, self.norm2 = _norm(p, f"{name}.norm1"), _norm(p, f"{name}.norm2")
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        parts = [f"{name}.attention.{which}" for which in ("query", "key", "value")]
        _fill(
            self.qkv,
            torch.cat([p[f"{part}.weight"].T for part in parts]),
            torch.cat([p[f"{part}.bias"] for part in parts]),
        )
        for layer, part in ((self.out, "attention.out"), (self.up, "up"), (self.down, "down")):
            _fill(layer, p[f"{name}.{part}.weight"].T, p[f"{name}.{part}.bias"])

    def forward(self, x):
        rows, length, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(rows, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(rows, length, width)
        x = x + self.out(mixed)
        return x + self.down(F.gelu(self.up(self.norm2(x))))


def _norm(p, name):
    norm = nn.LayerNorm(p[f"{name}.weight"].shape[0])
    _fill(norm, p[f"{name}.weight"], p[f"{name}.bias"])
    return norm


def _fill(layer, weight, bias):
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)


def peer(graph, *, heads=0, depth=0, channels_last=False):
    """The torch module of a graph; heads and depth are an encoder's."""
    return Encoder(graph, heads=heads, depth=depth) if heads else Peer(graph, channels_last=channels_last)


class CapturedStep:
    """A whole training step as one CUDA graph.  run(xs, ys) -> losses f[steps], after one replay for each step.

    kind: "float32", "autocast" (bfloat16 where torch has it so, parameters float32) or "bfloat16" (parameters too).
    compiled: by torch.compile first.
    """

    def __init__(self, module, x, y, *, kind="float32", compiled=True, channels_last=False):
        self.module = module.cuda().to(torch.bfloat16) if kind == "bfloat16" else module.cuda()
        self.kind = kind
        forward = torch.compile(self.module) if compiled else self.module
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=RATE, momentum=MOMENTUM, fused=True)
        self.first = {k: v.clone() for k, v in self.module.state_dict().items()}
        self.x, self.y = self.cast(x).clone(), y.clone()
        if channels_last:
            self.x = self.x.contiguous(memory_format=torch.channels_last)
        self.loss = None

        def step():
            context = torch.autocast("cuda", torch.bfloat16) if kind == "autocast" else nullcontext()
            with context:
                self.loss = forward(self.x, self.y)
            self.loss.backward()
            self.optimizer.step()

        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.optimizer.zero_grad(set_to_none=True)
                step()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)
        torch.cuda.reset_peak_memory_stats()
        with torch.cuda.graph(self.graph):
            step()
        self.restart()

    def restart(self):
        """Parameters and statistics as they were, momentum zero."""
        self.module.load_state_dict(self.first)
        for held in self.optimizer.state.values():
            held["momentum_buffer"].zero_()

    def cast(self, x):
        return x.to(torch.bfloat16) if self.kind == "bfloat16" and x.is_floating_point() else x

    @torch.no_grad()
    def run(self, xs, ys):
        losses = torch.empty(len(xs), device="cuda")
        for k, (x, y) in enumerate(zip(xs, ys, strict=True)):
            self.x.copy_(x)
            self.y.copy_(y)
            self.graph.replay()
            losses[k] = self.loss
        torch.cuda.synchronize()
        return losses
