"""RNN, GRU and LSTM in NumPy, one step after the other, forwards and back."""

import numpy as np

from ._definition import backward, define


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# {name: (f(x, alpha, beta), its slope(x, alpha, beta), default alpha, default beta)}
FUNCTIONS = {
    "Relu": (lambda x, a, b: np.maximum(x, 0), lambda x, a, b: x > 0, None, None),
    "Tanh": (lambda x, a, b: np.tanh(x), lambda x, a, b: 1 / np.cosh(x) ** 2, None, None),
    "Sigmoid": (lambda x, a, b: sigmoid(x), lambda x, a, b: sigmoid(x) * sigmoid(-x), None, None),
    "Affine": (lambda x, a, b: a * x + b, lambda x, a, b: a + 0 * x, 1.0, 0.0),
    "LeakyRelu": (lambda x, a, b: np.where(x >= 0, x, a * x), lambda x, a, b: np.where(x > 0, 1, a), 0.01, None),
    "ThresholdedRelu": (lambda x, a, b: np.where(x > a, x, 0), lambda x, a, b: x > a, 1.0, None),
    "ScaledTanh": (lambda x, a, b: a * np.tanh(b * x), lambda x, a, b: a * b / np.cosh(b * x) ** 2, 1.0, 1.0),
    "HardSigmoid": (
        lambda x, a, b: np.clip(a * x + b, 0, 1),
        lambda x, a, b: np.where((a * x + b > 0) & (a * x + b < 1), a, 0),
        0.2,
        0.5,
    ),
    "Elu": (
        lambda x, a, b: np.where(x >= 0, x, a * np.expm1(np.minimum(x, 0))),
        lambda x, a, b: np.where(x >= 0, 1, a * np.exp(np.minimum(x, 0))),
        1.0,
        None,
    ),
    "Softsign": (lambda x, a, b: x / (1 + np.abs(x)), lambda x, a, b: 1 / (1 + np.abs(x)) ** 2, None, None),
    "Softplus": (lambda x, a, b: np.logaddexp(0, x), lambda x, a, b: sigmoid(x), None, None),
}


class Function:
    """An activation with its numbers; what enters is cut to [-clip, clip]."""

    def __init__(self, name, alphas, betas, clip):
        self.f, self.slope, a, b = {k.lower(): v for k, v in FUNCTIONS.items()}[name.lower()]
        self.a = alphas.pop(0) if a is not None and alphas else a
        self.b = betas.pop(0) if b is not None and betas else b
        self.clip = np.inf if clip is None else clip

    def __call__(self, x):
        return self.f(np.clip(x, -self.clip, self.clip), self.a, self.b).astype(x.dtype)

    def back(self, x, dy):
        inside = np.abs(x) <= self.clip
        return (dy * inside * self.slope(np.clip(x, -self.clip, self.clip), self.a, self.b)).astype(x.dtype)


# ---- one step: (new states, what going back needs), and back again ------------------------------------


def rnn_step(x, states, w, r, wb, rb, p, functions, options):
    (h,), (f,) = states, functions
    z = x @ w.T + h @ r.T + wb + rb
    return (f(z),), (x, h, z)


def rnn_back(seen, d_states, w, r, wb, rb, p, functions, options):
    (x, h, z), (dh,), (f,) = seen, d_states, functions
    dz = f.back(z, dh)
    return dz @ w, dz.T @ x, dz.T @ h, dz.sum(axis=0), dz.sum(axis=0), (dz @ r,), 0 * p


def gru_step(x, states, w, r, wb, rb, p, functions, options):
    (h,), (f, g) = states, functions
    (wz, wr, wh), (rz, rr, rh) = np.split(w, 3), np.split(r, 3)
    (wbz, wbr, wbh), (rbz, rbr, rbh) = np.split(wb, 3), np.split(rb, 3)
    az = x @ wz.T + h @ rz.T + wbz + rbz
    ar = x @ wr.T + h @ rr.T + wbr + rbr
    z, reset = f(az), f(ar)
    if options["linear_before_reset"]:
        ah = x @ wh.T + reset * (h @ rh.T + rbh) + wbh
    else:
        ah = x @ wh.T + (reset * h) @ rh.T + rbh + wbh
    return ((1 - z) * g(ah) + z * h,), (x, h, az, ar, ah)


def gru_back(seen, d_states, w, r, wb, rb, p, functions, options):
    (x, h, az, ar, ah), (d,), (f, g) = seen, d_states, functions
    (rz, rr, rh), rbh = np.split(r, 3), np.split(rb, 3)[2]
    z, reset = f(az), f(ar)
    daz, dah = f.back(az, d * (h - g(ah))), g.back(ah, d * (1 - z))
    dh = d * z
    if options["linear_before_reset"]:
        d_product = dah * reset
        dar = f.back(ar, dah * (h @ rh.T + rbh))
        d_rh, d_rbh, dh = d_product.T @ h, d_product.sum(axis=0), dh + d_product @ rh
    else:
        d_tempered = dah @ rh
        dar = f.back(ar, d_tempered * h)
        d_rh, d_rbh, dh = dah.T @ (reset * h), dah.sum(axis=0), dh + d_tempered * reset
    dh = dh + daz @ rz + dar @ rr
    da = np.concatenate([daz, dar, dah], axis=1)
    d_r = np.concatenate([daz.T @ h, dar.T @ h, d_rh])
    d_rb = np.concatenate([daz.sum(axis=0), dar.sum(axis=0), d_rbh])
    return da @ w, da.T @ x, d_r, da.sum(axis=0), d_rb, (dh,), 0 * p


def lstm_gates(x, h, c, w, r, wb, rb, p, functions, options):
    f, g, _ = functions
    zi, zo, zf, zg = np.split(x @ w.T + h @ r.T + wb + rb, 4, axis=1)
    pi, po, pf = np.split(p, 3)
    zi, zf = zi + pi * c, zf + pf * c
    i = f(zi)
    forget = 1 - i if options["input_forget"] else f(zf)
    new = forget * c + i * g(zg)
    return zi, zo + po * new, zf, zg, i, forget, new


def lstm_step(x, states, w, r, wb, rb, p, functions, options):
    h, c = states
    _, zo, _, _, _, _, new = lstm_gates(x, h, c, w, r, wb, rb, p, functions, options)
    return (functions[0](zo) * functions[2](new), new), (x, h, c)


def lstm_back(seen, d_states, w, r, wb, rb, p, functions, options):
    (x, h, c), (dh, dc), (f, g, shown) = seen, d_states, functions
    zi, zo, zf, zg, i, forget, new = lstm_gates(x, h, c, w, r, wb, rb, p, functions, options)
    pi, po, pf = np.split(p, 3)
    dzo = f.back(zo, dh * shown(new))
    d_new = dc + shown.back(new, dh * f(zo)) + dzo * po
    d_forget, di, dzg = d_new * c, d_new * g(zg), g.back(zg, d_new * i)
    if options["input_forget"]:
        di, dzf = di - d_forget, np.zeros_like(zf)
    else:
        dzf = f.back(zf, d_forget)
    dzi = f.back(zi, di)
    dz = np.concatenate([dzi, dzo, dzf, dzg], axis=1)
    dp = np.concatenate([(dzi * c).sum(axis=0), (dzo * new).sum(axis=0), (dzf * c).sum(axis=0)])
    dc = d_new * forget + dzi * pi + dzf * pf
    return dz @ w, dz.T @ x, dz.T @ h, dz.sum(axis=0), dz.sum(axis=0), (dz @ r, dc), dp


KINDS = {
    "RNN": (rnn_step, rnn_back, ("Tanh",)),
    "GRU": (gru_step, gru_back, ("Sigmoid", "Tanh")),
    "LSTM": (lstm_step, lstm_back, ("Sigmoid", "Tanh", "Tanh")),
}


# ---- all steps, all directions ------------------------------------------------------------------------


class Layer:
    """The tensors of a layer with everything filled in and time first; `directions` are the orders of time."""

    def __init__(
        self,
        kind,
        x,
        w,
        r,
        b,
        lens,
        states,
        p,
        activation_alpha=None,
        activation_beta=None,
        activations=None,
        clip=None,
        direction="forward",
        hidden_size=None,
        layout=0,
        **options,
    ):
        self.step, self.back, default = KINDS[kind]
        self.layout, self.options = layout, options
        self.x = x.swapaxes(0, 1) if layout else x
        t, n, _ = self.x.shape
        d, _, hidden = r.shape
        self.w, self.r = w, r
        self.wb, self.rb = np.split(np.zeros((d, 2 * r.shape[1]), x.dtype) if b is None else b, 2, axis=1)
        self.p = np.zeros((d, 3 * hidden), x.dtype) if p is None else p
        self.lens = np.full(n, t) if lens is None else lens
        self.states = [
            np.zeros((d, n, hidden), x.dtype) if s is None else s.swapaxes(0, 1) if layout else s for s in states
        ]
        names = list(activations or default * d)
        alphas, betas = list(activation_alpha or ()), list(activation_beta or ())
        # The cell's state enters h uncut, as in ONNX Runtime.
        made = [
            Function(name, alphas, betas, None if k % len(default) == 2 else clip)
            for k, name in enumerate(names[: len(default) * d])
        ]
        self.functions = [made[k : k + len(default)] for k in range(0, len(made), len(default))]
        forwards = range(t)
        self.orders = {"forward": [forwards], "reverse": [forwards[::-1]], "bidirectional": [forwards, forwards[::-1]]}[
            direction
        ]

    def weights(self, k):
        return self.w[k], self.r[k], self.wb[k], self.rb[k], self.p[k], self.functions[k], self.options

    def outward(self, state):
        return state.swapaxes(0, 1) if self.layout else state

    def forward(self):
        """(y, last states, {(direction, step): what going back needs})"""
        t, n, _ = self.x.shape
        y = np.zeros((t, len(self.orders), n, self.r.shape[2]), self.x.dtype)
        lasts, seen = [s.copy() for s in self.states], {}
        for k, order in enumerate(self.orders):
            states = tuple(s[k] for s in self.states)
            for step in order:
                alive = (step < self.lens)[:, None]
                new, seen[k, step] = self.step(self.x[step], states, *self.weights(k))
                states = tuple(np.where(alive, a, b) for a, b in zip(new, states, strict=True))
                y[step, k] = np.where(alive, new[0], 0)
            for last, s in zip(lasts, states, strict=True):
                last[k] = s
        return y, lasts, seen

    def result(self):
        y, lasts, _ = self.forward()
        return y.transpose(2, 0, 1, 3) if self.layout else y, *(self.outward(s) for s in lasts)

    def gradient(self, dy, d_lasts):
        _, _, seen = self.forward()
        dx, dw, dr, dp = (np.zeros_like(v) for v in (self.x, self.w, self.r, self.p))
        dwb, drb = np.zeros_like(self.wb), np.zeros_like(self.rb)
        firsts = [np.zeros_like(s) for s in self.states]
        if dy is not None and self.layout:
            dy = dy.transpose(1, 2, 0, 3)
        for k, order in enumerate(self.orders):
            d_states = [
                np.zeros_like(s[k]) if d is None else self.outward(d)[k]
                for s, d in zip(self.states, d_lasts, strict=True)
            ]
            for step in order[::-1]:
                alive = (step < self.lens)[:, None]
                arriving = [d * alive for d in d_states]
                if dy is not None:
                    arriving[0] = arriving[0] + dy[step, k] * alive
                x, w, r, wb, rb, states, p = self.back(seen[k, step], arriving, *self.weights(k))
                for share, to in ((w, dw), (r, dr), (wb, dwb), (rb, drb), (p, dp)):
                    to[k] += share
                dx[step] += x
                d_states = [np.where(alive, new, old) for new, old in zip(states, d_states, strict=True)]
            for first, d in zip(firsts, d_states, strict=True):
                first[k] = d
        db = np.concatenate([dwb, drb], axis=1)
        dx = dx.swapaxes(0, 1) if self.layout else dx
        return dx, dw, dr, db, *(self.outward(f) for f in firsts), dp


@define("RNN")
def rnn(x, w, r, b=None, lens=None, h0=None, **attributes):
    return Layer("RNN", x, w, r, b, lens, [h0], None, **attributes).result()


@define("RNNGrad")
def rnn_grad(dy, dh, x, w, r, b, lens, h0, y, **attributes):
    return Layer("RNN", x, w, r, b, lens, [h0], None, **attributes).gradient(dy, [dh])[:5]


@backward("RNN")
def rnn_backward(x, w, r, b, lens, h0, y, y_h, dy, dh, **attributes):
    dx, dw, dr, db, dh0 = rnn_grad(dy, dh, x, w, r, b, lens, h0, y, **attributes)
    return dx, dw, dr, db, None, dh0


@define("GRU")
def gru(x, w, r, b=None, lens=None, h0=None, *, linear_before_reset=0, **attributes):
    return Layer("GRU", x, w, r, b, lens, [h0], None, linear_before_reset=linear_before_reset, **attributes).result()


@define("GRUGrad")
def gru_grad(dy, dh, x, w, r, b, lens, h0, y, *, linear_before_reset=0, **attributes):
    layer = Layer("GRU", x, w, r, b, lens, [h0], None, linear_before_reset=linear_before_reset, **attributes)
    return layer.gradient(dy, [dh])[:5]


@backward("GRU")
def gru_backward(x, w, r, b, lens, h0, y, y_h, dy, dh, **attributes):
    dx, dw, dr, db, dh0 = gru_grad(dy, dh, x, w, r, b, lens, h0, y, **attributes)
    return dx, dw, dr, db, None, dh0


@define("LSTM")
def lstm(x, w, r, b=None, lens=None, h0=None, c0=None, p=None, *, input_forget=0, **attributes):
    return Layer("LSTM", x, w, r, b, lens, [h0, c0], p, input_forget=input_forget, **attributes).result()


@define("LSTMGrad")
def lstm_grad(dy, dh, dc, x, w, r, b, lens, h0, c0, p, y, *, input_forget=0, **attributes):
    layer = Layer("LSTM", x, w, r, b, lens, [h0, c0], p, input_forget=input_forget, **attributes)
    return layer.gradient(dy, [dh, dc])


@backward("LSTM")
def lstm_backward(x, w, r, b, lens, h0, c0, p, y, y_h, y_c, dy, dh, dc, **attributes):
    dx, dw, dr, db, dh0, dc0, dp = lstm_grad(dy, dh, dc, x, w, r, b, lens, h0, c0, p, y, **attributes)
    return dx, dw, dr, db, None, dh0, dc0, dp
