"""Networks as torch users write them, of full depth and structure; some are narrower than the originals.

Every entry of NETS makes (module, inputs, target, loss): the module in eval mode with seeded weights and statistics,
numpy inputs of `batch` rows by name, and what "cross_entropy" or "mse" compares the output with.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

NETS = {}


def net(name, loss="cross_entropy", deep=False):
    """Register a function: batch -> (module, inputs, target)."""

    def register(make):
        def build(batch):
            torch.manual_seed(0)
            module, inputs, target = make(batch, np.random.default_rng(batch))
            return lively(module).eval(), inputs, target, loss

        build.deep = deep
        NETS[name] = build
        return make

    return register


def lively(module):
    """Statistics, scales and shifts as after training: at their initial 0 and 1 mistakes would not show, and the
    TorchScript exporter would store equal ones once."""
    for m in module.modules():
        if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(m.running_mean, -0.2, 0.2)
            nn.init.uniform_(m.running_var, 0.5, 1.5)
        for name, p in m.named_parameters(recurse=False):
            if "bias" in name:
                nn.init.uniform_(p, -0.2, 0.2)
            elif p.ndim == 1:
                nn.init.uniform_(p, 0.6, 1.4)
    return module


def image(rng, batch, channels, *size):
    return {"x": rng.normal(size=(batch, channels, *size)).astype(np.float32)}


def conv(i, o, kernel=3, stride=1, groups=1, act=None):
    layers = [nn.Conv2d(i, o, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(o)]
    return nn.Sequential(*layers, *([act] if act else []))


# ---- MLPerf Tiny --------------------------------------------------------------------------------------


class Residual(nn.Module):
    """The basic block of ResNet-8, or the bottleneck of ResNet-50."""

    def __init__(self, i, o, stride, bottleneck=0):
        super().__init__()
        if bottleneck:
            self.body = nn.Sequential(
                conv(i, bottleneck, 1, act=nn.ReLU()),
                conv(bottleneck, bottleneck, 3, stride, act=nn.ReLU()),
                conv(bottleneck, o, 1),
            )
        else:
            self.body = nn.Sequential(conv(i, o, 3, stride, act=nn.ReLU()), conv(o, o, 3))
        self.shortcut = conv(i, o, 1, stride) if stride != 1 or i != o else nn.Identity()

    def forward(self, x):
        return F.relu(self.body(x) + self.shortcut(x))


@net("resnet8")
def resnet8(batch, rng):
    blocks = [Residual(16, 16, 1), Residual(16, 32, 2), Residual(32, 64, 2)]
    module = nn.Sequential(conv(3, 16, act=nn.ReLU()), *blocks, nn.AvgPool2d(8), nn.Flatten(), nn.Linear(64, 10))
    return module, image(rng, batch, 3, 32, 32), rng.integers(0, 10, batch)


@net("ds_cnn")
def ds_cnn(batch, rng):
    """Keyword spotting: a kernel of 10 x 4 on 49 x 10 features, four depthwise-separable blocks."""
    blocks = [m for _ in range(4) for m in (conv(64, 64, 3, groups=64, act=nn.ReLU()), conv(64, 64, 1, act=nn.ReLU()))]
    module = nn.Sequential(
        nn.Conv2d(1, 64, (10, 4), 2, (5, 1)),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.Dropout(0.2),
        *blocks,
        nn.Dropout(0.4),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 12),
    )
    return module, image(rng, batch, 1, 49, 10), rng.integers(0, 12, batch)


@net("mobilenet_v1")
def mobilenet_v1(batch, rng):
    """Visual wake words: width 0.25, 13 depthwise-separable blocks."""
    widths, strides = (8, 16, 32, 32, 64, 64, *[128] * 6, 256, 256), (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
    layers = [conv(3, 8, 3, 2, act=nn.ReLU())]
    for i, o, s in zip(widths[:-1], widths[1:], strides, strict=True):
        layers += [conv(i, i, 3, s, groups=i, act=nn.ReLU()), conv(i, o, 1, act=nn.ReLU())]
    module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 2))
    return module, image(rng, batch, 3, 96, 96), rng.integers(0, 2, batch)


@net("autoencoder", loss="mse")
def autoencoder(batch, rng):
    """Machine sounds: 640 - 128 x 4 - 8 - 128 x 4 - 640."""
    widths = (640, 128, 128, 128, 128, 8, 128, 128, 128, 128)
    layers = [
        m for i, o in zip(widths, widths[1:], strict=False) for m in (nn.Linear(i, o), nn.BatchNorm1d(o), nn.ReLU())
    ]
    x = rng.normal(size=(batch, 640)).astype(np.float32)
    return nn.Sequential(*layers, nn.Linear(128, 640)), {"x": x}, x


# ---- deeper images ------------------------------------------------------------------------------------


@net("resnet50", deep=True)
def resnet50(batch, rng):
    """A quarter of the width."""
    layers, i = [conv(3, 16, 7, 2, act=nn.ReLU()), nn.MaxPool2d(3, 2, 1)], 16
    for width, depth, stride in ((16, 3, 1), (32, 4, 2), (64, 6, 2), (128, 3, 2)):
        for k in range(depth):
            layers.append(Residual(i, 4 * width, stride if k == 0 else 1, width))
            i = 4 * width
    module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))
    return module, image(rng, batch, 3, 64, 64), rng.integers(0, 10, batch)


class InvertedResidual(nn.Module):
    """MobileNetV2's block; with `squeeze` and SiLU, EfficientNet's."""

    def __init__(self, i, o, stride, expand, kernel=3, squeeze=0, act=nn.ReLU6):
        super().__init__()
        wide = i * expand
        layers = [conv(i, wide, 1, act=act())] if expand != 1 else []
        layers.append(conv(wide, wide, kernel, stride, groups=wide, act=act()))
        layers += [SqueezeExcite(wide, max(1, i // squeeze))] if squeeze else []
        self.body, self.skip = nn.Sequential(*layers, conv(wide, o, 1)), stride == 1 and i == o

    def forward(self, x):
        return x + self.body(x) if self.skip else self.body(x)


class SqueezeExcite(nn.Module):
    def __init__(self, wide, narrow):
        super().__init__()
        self.down, self.up = nn.Conv2d(wide, narrow, 1), nn.Conv2d(narrow, wide, 1)

    def forward(self, x):
        s = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.up(F.silu(self.down(s))))


@net("mobilenet_v2", deep=True)
def mobilenet_v2(batch, rng):
    """Width 0.5."""
    layers, i = [conv(3, 16, 3, 2, act=nn.ReLU6())], 16
    for t, c, n, s in (
        (1, 8, 1, 1),
        (6, 12, 2, 2),
        (6, 16, 3, 2),
        (6, 32, 4, 2),
        (6, 48, 3, 1),
        (6, 80, 3, 2),
        (6, 160, 1, 1),
    ):
        for k in range(n):
            layers.append(InvertedResidual(i, c, s if k == 0 else 1, t))
            i = c
    module = nn.Sequential(
        *layers,
        conv(160, 320, 1, act=nn.ReLU6()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(320, 10),
    )
    return module, image(rng, batch, 3, 64, 64), rng.integers(0, 10, batch)


@net("efficientnet_b0", deep=True)
def efficientnet_b0(batch, rng):
    """Half the width."""
    layers, i = [conv(3, 16, 3, 2, act=nn.SiLU())], 16
    for t, c, n, s, k in (
        (1, 8, 1, 1, 3),
        (6, 12, 2, 2, 3),
        (6, 20, 2, 2, 5),
        (6, 40, 3, 2, 3),
        (6, 56, 3, 1, 5),
        (6, 96, 4, 2, 5),
        (6, 160, 1, 1, 3),
    ):
        for m in range(n):
            layers.append(InvertedResidual(i, c, s if m == 0 else 1, t, k, squeeze=4, act=nn.SiLU))
            i = c
    module = nn.Sequential(
        *layers,
        conv(160, 320, 1, act=nn.SiLU()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(320, 10),
    )
    return module, image(rng, batch, 3, 64, 64), rng.integers(0, 10, batch)


class UNet(nn.Module):
    """Three levels; one way up is a ConvTranspose, one a bilinear Resize, one a nearest one."""

    def __init__(self):
        super().__init__()
        double = lambda i, o: nn.Sequential(conv(i, o, act=nn.ReLU()), conv(o, o, act=nn.ReLU()))
        self.down1, self.down2, self.down3, self.bottom = double(1, 8), double(8, 16), double(16, 24), double(24, 32)
        self.up3, self.merge3 = nn.ConvTranspose2d(32, 24, 2, 2), double(48, 24)
        self.up2, self.merge2 = nn.Conv2d(24, 16, 1), double(32, 16)
        self.up1, self.merge1 = nn.Conv2d(16, 8, 1), double(16, 8)
        self.head = nn.Conv2d(8, 3, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        c = self.down3(F.max_pool2d(b, 2))
        y = self.up3(self.bottom(F.max_pool2d(c, 2)))
        y = self.merge3(torch.cat([y, c], 1))
        y = self.up2(F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False))
        y = self.merge2(torch.cat([y, b], 1))
        y = self.up1(F.interpolate(y, scale_factor=2, mode="nearest"))
        return self.head(self.merge1(torch.cat([y, a], 1)))


@net("unet")
def unet(batch, rng):
    return UNet(), image(rng, batch, 1, 32, 32), rng.integers(0, 3, (batch, 32, 32))


# ---- sequences ----------------------------------------------------------------------------------------


class SelfAttention(nn.Module):
    """Heads split and merged by view and transpose, with matmul and softmax or torch's fused attention."""

    def __init__(self, dim, heads, causal=False, fused=False):
        super().__init__()
        self.heads, self.causal, self.fused = heads, causal, fused
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x, mask=None):
        n, s, d = x.shape
        q, k, v = (t.view(n, s, self.heads, d // self.heads).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        else:
            scores = q @ k.transpose(-2, -1) / (d // self.heads) ** 0.5
            if mask is not None:
                scores = scores + (1.0 - mask[:, None, None, :].to(scores.dtype)) * -1e4
            y = scores.softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(n, s, d))


class Bert(nn.Module):
    """Post-norm encoder: word, position and token-type embeddings, padding mask, pooled first token."""

    def __init__(self, vocabulary=50, dim=32, heads=4, depth=3, longest=16):
        super().__init__()
        self.words, self.types = nn.Embedding(vocabulary, dim), nn.Embedding(2, dim)
        self.positions, self.norm = nn.Embedding(longest, dim), nn.LayerNorm(dim, 1e-12)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "attention": SelfAttention(dim, heads),
                    "norm1": nn.LayerNorm(dim, 1e-12),
                    "up": nn.Linear(dim, 4 * dim),
                    "down": nn.Linear(4 * dim, dim),
                    "norm2": nn.LayerNorm(dim, 1e-12),
                }
            )
            for _ in range(depth)
        )
        self.pooler, self.drop, self.head = nn.Linear(dim, dim), nn.Dropout(0.1), nn.Linear(dim, 5)

    def forward(self, tokens, types, mask):
        positions = torch.arange(tokens.shape[1])[None]
        x = self.drop(self.norm(self.words(tokens) + self.types(types) + self.positions(positions)))
        for b in self.blocks:
            x = b["norm1"](x + self.drop(b["attention"](x, mask)))
            x = b["norm2"](x + self.drop(b["down"](F.gelu(b["up"](x)))))
        return self.head(self.drop(torch.tanh(self.pooler(x[:, 0]))))


@net("bert")
def bert(batch, rng):
    lengths = rng.integers(5, 10, batch)
    mask = np.arange(9)[None] < lengths[:, None]
    inputs = {
        "tokens": rng.integers(0, 50, (batch, 9)),
        "types": rng.integers(0, 2, (batch, 9)),
        "mask": mask.astype(np.int64),
    }
    return Bert(), inputs, rng.integers(0, 5, batch)


class Gpt(nn.Module):
    """Pre-norm decoder with a causal mask; the output shares the embedding's weight."""

    def __init__(self, vocabulary=40, dim=32, heads=4, depth=3, longest=12):
        super().__init__()
        self.words, self.positions = nn.Embedding(vocabulary, dim), nn.Embedding(longest, dim)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm1": nn.LayerNorm(dim),
                    "attention": SelfAttention(dim, heads, causal=True, fused=True),
                    "norm2": nn.LayerNorm(dim),
                    "up": nn.Linear(dim, 4 * dim),
                    "down": nn.Linear(4 * dim, dim),
                }
            )
            for _ in range(depth)
        )
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, vocabulary, bias=False)
        self.head.weight = self.words.weight

    def forward(self, tokens):
        x = self.words(tokens) + self.positions(torch.arange(tokens.shape[1]))
        for b in self.blocks:
            x = x + b["attention"](b["norm1"](x))
            x = x + b["down"](F.gelu(b["up"](b["norm2"](x)), approximate="tanh"))
        return self.head(self.norm(x))


@net("gpt")
def gpt(batch, rng):
    tokens = rng.integers(0, 40, (batch, 10))
    return Gpt(), {"tokens": tokens[:, :-1].copy()}, tokens[:, 1:].copy()


class ViT(nn.Module):
    """ViT-tiny's twelve blocks of three heads over patches, a class token, torch's own attention module."""

    def __init__(self, dim=48, heads=3, depth=12):
        super().__init__()
        self.patches = nn.Conv2d(3, dim, 8, 8)
        self.token, self.positions = nn.Parameter(torch.randn(1, 1, dim)), nn.Parameter(torch.randn(1, 17, dim) / 5)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm1": nn.LayerNorm(dim, 1e-6),
                    "attention": nn.MultiheadAttention(dim, heads, batch_first=True),
                    "norm2": nn.LayerNorm(dim, 1e-6),
                    "up": nn.Linear(dim, 4 * dim),
                    "down": nn.Linear(4 * dim, dim),
                }
            )
            for _ in range(depth)
        )
        self.norm, self.head = nn.LayerNorm(dim, 1e-6), nn.Linear(dim, 10)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        for b in self.blocks:
            y = b["norm1"](x)
            x = x + b["attention"](y, y, y, need_weights=False)[0]
            x = x + b["down"](F.gelu(b["up"](b["norm2"](x))))
        return self.head(self.norm(x)[:, 0])


@net("vit")
def vit(batch, rng):
    return ViT(), image(rng, batch, 3, 32, 32), rng.integers(0, 10, batch)


class Tagger(nn.Module):
    """Two bidirectional LSTM layers; a tag per token."""

    def __init__(self, vocabulary=30, dim=12, tags=6):
        super().__init__()
        self.words, self.lstm = nn.Embedding(vocabulary, dim), nn.LSTM(dim, 10, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(20, tags)

    def forward(self, tokens):
        return self.head(self.lstm(self.words(tokens))[0])


@net("lstm_tagger")
def lstm_tagger(batch, rng):
    return Tagger(), {"tokens": rng.integers(0, 30, (batch, 7))}, rng.integers(0, 6, (batch, 7))
