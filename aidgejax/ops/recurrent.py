"""Recurrent layers: RNN, GRU, LSTM, with their gradients through time.

The input's projection of all steps is one product outside the loop; so are, going back, the gates (recomputed from the
outputs) and the gradients of the weights.  Inside the loops remain the products with the state.
"""

from ..errors import GraphError
from ._eager import EagerBuilder
from ._recurrence import DIRECTIONS, scanned, shares, unrolled, while_live
from ._registry import STEP_BY_STEP, operator

# ---- around a cell ------------------------------------------------------------------------------------


def check_sizes(X, W, R, B, sequence_lens, initial_h, initial_c, P, gates, direction, layout, hidden_size):
    if direction not in DIRECTIONS:
        raise GraphError(f"direction is {direction!r}, expected one of {', '.join(DIRECTIONS)}")
    if len(X.shape) != 3 or len(W.shape) != 3 or len(R.shape) != 3:
        raise GraphError(
            f"X, W and R have shapes {list(X.shape)}, {list(W.shape)} and {list(R.shape)}: each has 3 axes"
        )
    d, h, i = len(DIRECTIONS[direction]), R.shape[2], X.shape[2]
    n = X.shape[0 if layout else 1]
    state = (n, d, h) if layout else (d, n, h)
    wanted = {
        "W": (W, (d, gates * h, i)),
        "R": (R, (d, gates * h, h)),
        "B": (B, (d, 2 * gates * h)),
        "sequence_lens": (sequence_lens, (n,)),
        "initial_h": (initial_h, state),
        "initial_c": (initial_c, state),
        "P": (P, (d, 3 * h)),
    }
    for name, (tensor, shape) in wanted.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise GraphError(
                f"{name} has shape {list(tensor.shape)}: expected {list(shape)} for {gates} gate(s), "
                f"{d} direction(s), X of shape {list(X.shape)} and a hidden size of {h}"
            )
    if hidden_size not in (None, h):
        raise GraphError(f"hidden_size is {hidden_size}, but R has {h} columns")


def stacked(op, parts, axis):
    return op.Concat(*(op.Unsqueeze(p, (axis,)) for p in parts), axis=axis)


def forward(cell, X, W, R, B, sequence_lens, initial_h, initial_c, P, *, layout, hidden_size, direction, **setting):
    """(Y, Y_h, ...) by `cell.forward(op, loop, share) -> y, (h, ...)` of each direction."""
    check_sizes(X, W, R, B, sequence_lens, initial_h, initial_c, P, cell.gates, direction, layout, hidden_size)
    op, extra = EagerBuilder(), {k: setting.pop(k) for k in cell.settings}
    parts = shares(
        op,
        X,
        W,
        R,
        B,
        sequence_lens,
        initial_h,
        initial_c,
        P,
        cell.gates,
        cell.default,
        layout=layout,
        direction=direction,
        **setting,
    )
    ys, lasts = zip(*(cell.forward(op, scanned, s, **extra) for s in parts), strict=True)
    y = stacked(op, ys, 1)
    y = op.Transpose(y, perm=(2, 0, 1, 3)) if layout else y
    return y, *(stacked(op, last, 1 if layout else 0) for last in zip(*lasts, strict=True))


def backward(
    op,
    loop,
    cell,
    dY,
    d_lasts,
    X,
    W,
    R,
    B,
    sequence_lens,
    initial_h,
    initial_c,
    P,
    Y,
    *,
    layout,
    hidden_size,
    direction,
    **setting,
):
    """(dX, dW, dR, dB, d initial states ..., dP) by `cell.backward` of each direction."""
    extra = {k: setting.pop(k) for k in cell.settings}
    parts = shares(
        op,
        X,
        W,
        R,
        B,
        sequence_lens,
        initial_h,
        initial_c,
        P,
        cell.gates,
        cell.default,
        layout=layout,
        direction=direction,
        **setting,
    )
    along, across = (1, 2) if layout else (0, 1)  # the axes of directions in a state and in Y
    found = []
    for k, s in enumerate(parts):
        y, dy = (None if v is None else op.Gather(v, k, axis=across) for v in (Y, dY))
        if layout:
            y, dy = (None if v is None else op.Transpose(v, perm=(1, 0, 2)) for v in (y, dy))
        last = tuple(op.ZerosLike(s.h0) if d is None else op.Gather(d, k, axis=along) for d in d_lasts)
        found.append(cell.backward(op, loop, s, y, dy, last, **extra))
    dx = found[0][0] if len(found) == 1 else op.Add(found[0][0], found[1][0])
    dx = op.Transpose(dx, perm=(1, 0, 2)) if layout else dx
    d_w, d_r, d_b, d_first, d_p = zip(*(f[1:] for f in found), strict=True)
    weights = [stacked(op, v, 0) for v in (d_w, d_r, d_b)]
    states = [stacked(op, v, along) for v in zip(*d_first, strict=True)]
    return dx, *weights, *states, *([stacked(op, d_p, 0)] if cell.gates == 4 else [])


def product_over_time(op, d, x):
    """The sum over steps and batch of d^T x: [t, n, g], [t, n, k] -> [g, k]."""
    return op.MatMul(op.Transpose(op.Flatten(d, axis=2), perm=(1, 0)), op.Flatten(x, axis=2))


def total(op, d):
    return op.ReduceSum(d, (0, 1), keepdims=0)


def plus(op, dh, dy):
    """What reaches a state: from the later steps, and from the output."""
    return dh if dy is None else op.Add(dh, dy)


# ---- RNN ----------------------------------------------------------------------------------------------


class Rnn:
    """h = f(x w^T + h r^T + wb + rb)"""

    gates, default, settings = 1, ("Tanh",), ()

    @staticmethod
    def forward(op, loop, s):
        r, (f,) = s.turned(op, s.r), s.activations

        def step(carry, now):
            (h,), (x, live) = carry, now
            new = f(op, op.Add(x, op.MatMul(h, r)))
            return (while_live(op, live, new, h),), (while_live(op, live, new, 0.0),)

        last, (y,) = loop(op, step, (s.h0,), (s.projected(op, s.wb, s.rb), s.live), s.reverse, s.steps)
        return y, last

    @staticmethod
    def backward(op, loop, s, y, dy, last):
        (f,), before = s.activations, s.states_before(op, y)
        z = op.Add(s.projected(op, s.wb, s.rb), op.MatMul(before, s.turned(op, s.r)))

        def step(carry, now):
            (dh,), (dy, live, z, h) = carry, now
            dz = while_live(op, live, f.back(op, z, h, plus(op, dh, dy)), 0.0)
            return (while_live(op, live, op.MatMul(dz, s.r), dh),), (dz,)

        first, (dz,) = loop(op, step, last, (dy, s.live, z, f(op, z)), not s.reverse, s.steps)
        d_b = total(op, dz)
        return (
            op.MatMul(dz, s.w),
            product_over_time(op, dz, s.x),
            product_over_time(op, dz, before),
            op.Concat(d_b, d_b, axis=0),
            first,
            None,
        )


# ---- GRU ----------------------------------------------------------------------------------------------


def thirds(op, x):
    return op.Split(x, axis=-1, num_outputs=3, outputs=3)


class Gru:
    """h' = (1 - z) g + z h with the gates z and r, and g the proposed state, in which r tempers h."""

    gates, default, settings = 3, ("Sigmoid", "Tanh"), ("linear_before_reset",)

    @staticmethod
    def weights(op, s):
        """(r of the gates z and r, r of the proposal)"""
        return (op.Slice(s.r, (0,), (2 * s.hidden,), (0,)), op.Slice(s.r, (2 * s.hidden,), (3 * s.hidden,), (0,)))

    @staticmethod
    def inputs(op, s, linear_before_reset):
        return s.projected(op, s.wb) if linear_before_reset else s.projected(op, s.wb, s.rb)

    @staticmethod
    def cell(op, s, x, h, linear_before_reset):
        """(h', and what led to it): a.. before an activation; part: what r multiplies, or, before r, its product."""
        f, g = s.activations
        xz, xr, xh = thirds(op, x)
        if linear_before_reset:
            hz, hr, part = thirds(op, s_plus(op, op.MatMul(h, s.turned(op, s.r)), s.rb))
        else:
            r_gates, r_proposal = Gru.weights(op, s)
            hz, hr = op.Split(op.MatMul(h, s.turned(op, r_gates)), axis=-1, num_outputs=2, outputs=2)
            part = h
        az, ar = op.Add(xz, hz), op.Add(xr, hr)
        z, r = f(op, az), f(op, ar)
        tempered = op.Mul(r, part)
        ah = op.Add(xh, tempered if linear_before_reset else op.MatMul(tempered, s.turned(op, r_proposal)))
        new = g(op, ah)
        return op.Add(new, op.Mul(z, op.Sub(h, new))), (az, ar, ah, z, r, new, part, tempered)

    @staticmethod
    def forward(op, loop, s, *, linear_before_reset):
        def step(carry, now):
            (h,), (x, live) = carry, now
            new, _ = Gru.cell(op, s, x, h, linear_before_reset)
            return (while_live(op, live, new, h),), (while_live(op, live, new, 0.0),)

        last, (y,) = loop(op, step, (s.h0,), (Gru.inputs(op, s, linear_before_reset), s.live), s.reverse, s.steps)
        return y, last

    @staticmethod
    def backward(op, loop, s, y, dy, last, *, linear_before_reset):
        f, g = s.activations
        before = s.states_before(op, y)
        _, found = Gru.cell(op, s, Gru.inputs(op, s, linear_before_reset), before, linear_before_reset)
        r_gates, r_proposal = Gru.weights(op, s)

        def step(carry, now):
            (dh,), (dy, live, h, az, ar, ah, z, r, new, part, _) = carry, now
            d = plus(op, dh, dy)
            dah = g.back(op, ah, new, op.Mul(d, op.Sub(1.0, z)))
            tempered = dah if linear_before_reset else op.MatMul(dah, r_proposal)
            daz = f.back(op, az, z, op.Mul(d, op.Sub(h, new)))
            dar = f.back(op, ar, r, op.Mul(tempered, part))
            d_part = op.Mul(tempered, r)
            gates = op.Concat(daz, dar, axis=-1)
            if linear_before_reset:
                to_h = op.MatMul(op.Concat(gates, d_part, axis=-1), s.r)
            else:
                to_h = op.Add(op.MatMul(gates, r_gates), d_part)
            to_h = op.Add(op.Mul(d, z), to_h)
            out = (gates, dah, d_part)
            return (while_live(op, live, to_h, dh),), tuple(while_live(op, live, v, 0.0) for v in out)

        first, (gates, dah, d_part) = loop(op, step, last, (dy, s.live, before, *found), not s.reverse, s.steps)
        dx = op.Concat(gates, dah, axis=-1)  # what reaches x w^T + wb
        proposal, side = (d_part, before) if linear_before_reset else (dah, found[-1])
        d_r = op.Concat(product_over_time(op, gates, before), product_over_time(op, proposal, side), axis=0)
        d_b = op.Concat(total(op, dx), total(op, gates), total(op, proposal), axis=0)
        return op.MatMul(dx, s.w), product_over_time(op, dx, s.x), d_r, d_b, first, None


def s_plus(op, x, b):
    return x if b is None else op.Add(x, b)


# ---- LSTM ---------------------------------------------------------------------------------------------


class Lstm:
    """c' = f c + i g, h' = o h(c'), with the gates i, o, f, which may look at c through the peepholes p."""

    gates, default, settings = 4, ("Sigmoid", "Tanh", "Tanh"), ("input_forget",)

    @staticmethod
    def peepholes(op, s):
        return (None, None, None) if s.p is None else op.Split(s.p, axis=0, num_outputs=3, outputs=3)

    @staticmethod
    def cell(op, s, z, c, input_forget):
        """(h', c', and what led to them); element by element, so that all steps can be done at once."""
        gate, inner, outer = s.activations
        pi, po, pf = Lstm.peepholes(op, s)
        look = lambda z, p, c: z if p is None else op.Add(z, op.Mul(c, p))  # noqa: E731
        zi, zo, zf, zg = op.Split(z, axis=-1, num_outputs=4, outputs=4)
        zi = look(zi, pi, c)
        i, g = gate(op, zi), inner(op, zg)
        zf = None if input_forget else look(zf, pf, c)
        f = op.Sub(1.0, i) if input_forget else gate(op, zf)
        new = op.Add(op.Mul(f, c), op.Mul(i, g))
        zo = look(zo, po, new)
        o, shown = gate(op, zo), outer(op, new)
        return op.Mul(o, shown), new, (zi, zo, zf, zg, i, o, f, g, c, new, shown)

    @staticmethod
    def forward(op, loop, s, *, input_forget):
        r = s.turned(op, s.r)

        def step(carry, now):
            (h, c), (x, live) = carry, now
            shown, new, _ = Lstm.cell(op, s, op.Add(x, op.MatMul(h, r)), c, input_forget)
            return ((while_live(op, live, shown, h), while_live(op, live, new, c)), (while_live(op, live, shown, 0.0),))

        last, (y,) = loop(op, step, (s.h0, s.c0), (s.projected(op, s.wb, s.rb), s.live), s.reverse, s.steps)
        return y, last

    @staticmethod
    def backward(op, loop, s, y, dy, last, *, input_forget):
        gate, inner, outer = s.activations
        pi, po, pf = Lstm.peepholes(op, s)
        before = s.states_before(op, y)
        z = op.Add(s.projected(op, s.wb, s.rb), op.MatMul(before, s.turned(op, s.r)))

        def remember(carry, now):  # the cells' states, which no output tells
            (c,), (z, live) = carry, now
            _, new, _ = Lstm.cell(op, s, z, c, input_forget)
            return (while_live(op, live, new, c),), (c,)

        _, (c_before,) = loop(op, remember, (s.c0,), (z, s.live), s.reverse, s.steps)
        _, _, found = Lstm.cell(op, s, z, c_before, input_forget)

        def step(carry, now):
            (dh, dc), (dy, live, zi, zo, zf, zg, i, o, f, g, c, new, shown) = carry, now
            d = plus(op, dh, dy)
            dzo = gate.back(op, zo, o, op.Mul(d, shown))
            d_new = op.Add(dc, outer.back(op, new, shown, op.Mul(d, o)))
            d_new = d_new if po is None else op.Add(d_new, op.Mul(dzo, po))
            di = op.Mul(d_new, op.Sub(g, c) if input_forget else g)
            dzi = gate.back(op, zi, i, di)
            dzf = op.ZerosLike(dzi) if input_forget else gate.back(op, zf, f, op.Mul(d_new, c))
            dzg = inner.back(op, zg, g, op.Mul(d_new, i))
            to_c = op.Mul(d_new, f)
            for dz, p in ((dzi, pi), (dzf, pf)):
                to_c = to_c if p is None else op.Add(to_c, op.Mul(dz, p))
            dz = while_live(op, live, op.Concat(dzi, dzo, dzf, dzg, axis=-1), 0.0)
            return (while_live(op, live, op.MatMul(dz, s.r), dh), while_live(op, live, to_c, dc)), (dz,)

        first, (dz,) = loop(op, step, last, (dy, s.live, *found), not s.reverse, s.steps)
        d_b = total(op, dz)
        dzi, dzo, dzf, _ = op.Split(dz, axis=-1, num_outputs=4, outputs=4)
        c, new = found[8], found[9]
        d_p = op.Concat(*(total(op, op.Mul(d, seen)) for d, seen in ((dzi, c), (dzo, new), (dzf, c))), axis=0)
        return (
            op.MatMul(dz, s.w),
            product_over_time(op, dz, s.x),
            product_over_time(op, dz, before),
            op.Concat(d_b, d_b, axis=0),
            first,
            d_p,
        )


# ---- the operators ------------------------------------------------------------------------------------


def rnn_vjp(op, X, W, R, B, sequence_lens, initial_h, Y, Y_h, dY, dY_h, **attributes):
    dx, dw, dr, db, dh = op.RNNGrad(dY, dY_h, X, W, R, B, sequence_lens, initial_h, Y, outputs=5, **attributes)
    return dx, dw, dr, db, None, dh


@operator(
    "RNN",
    onnx=("", 14),
    weights=("W", "R", "B"),
    settings=("initial_h",),
    gradient_exports=STEP_BY_STEP,
    vjp=rnn_vjp,
    outputs=2,
    residual_outputs=(0,),
)
def rnn(
    X,
    W,
    R,
    B=None,
    sequence_lens=None,
    initial_h=None,
    *,
    activation_alpha=None,
    activation_beta=None,
    activations=None,
    clip=None,
    direction="forward",
    hidden_size=None,
    layout=0,
):
    """h <- f(W x + R h + Wb + Rb) through time.  f[t, n, i], f[d, h, i], f[d, h, h], f[d, 2 h] -> f[t, d, n, h],
    f[d, n, h]: every step's h, and the last.  sequence_lens: i32[n], beyond which outputs are 0.
    layout 1: f[n, t, i] -> f[n, t, d, h], f[n, d, h].  ONNX RNN-14."""
    return forward(
        Rnn,
        X,
        W,
        R,
        B,
        sequence_lens,
        initial_h,
        None,
        None,
        activation_alpha=activation_alpha,
        activation_beta=activation_beta,
        activations=activations,
        clip=clip,
        direction=direction,
        hidden_size=hidden_size,
        layout=layout,
    )


def rnn_grad_onnx(op, dY, dY_h, X, W, R, B, sequence_lens, initial_h, Y, **attributes):
    return backward(op, unrolled, Rnn, dY, (dY_h,), X, W, R, B, sequence_lens, initial_h, None, None, Y, **attributes)


@operator("RNNGrad", decompose=rnn_grad_onnx, outputs=5)
def rnn_grad(
    dY,
    dY_h,
    X,
    W,
    R,
    B,
    sequence_lens,
    initial_h,
    Y,
    *,
    activation_alpha=None,
    activation_beta=None,
    activations=None,
    clip=None,
    direction="forward",
    hidden_size=None,
    layout=0,
):
    """(dX, dW, dR, dB, d initial_h) of RNN, back through time; in a file, step by step."""
    return backward(
        EagerBuilder(),
        scanned,
        Rnn,
        dY,
        (dY_h,),
        X,
        W,
        R,
        B,
        sequence_lens,
        initial_h,
        None,
        None,
        Y,
        activation_alpha=activation_alpha,
        activation_beta=activation_beta,
        activations=activations,
        clip=clip,
        direction=direction,
        hidden_size=hidden_size,
        layout=layout,
    )


def gru_vjp(op, X, W, R, B, sequence_lens, initial_h, Y, Y_h, dY, dY_h, **attributes):
    dx, dw, dr, db, dh = op.GRUGrad(dY, dY_h, X, W, R, B, sequence_lens, initial_h, Y, outputs=5, **attributes)
    return dx, dw, dr, db, None, dh


@operator(
    "GRU",
    onnx=("", 14),
    weights=("W", "R", "B"),
    settings=("initial_h",),
    gradient_exports=STEP_BY_STEP,
    vjp=gru_vjp,
    outputs=2,
    residual_outputs=(0,),
)
def gru(
    X,
    W,
    R,
    B=None,
    sequence_lens=None,
    initial_h=None,
    *,
    activation_alpha=None,
    activation_beta=None,
    activations=None,
    clip=None,
    direction="forward",
    hidden_size=None,
    layout=0,
    linear_before_reset=0,
):
    """h <- (1 - z) g + z h, where g = tanh(W x + R (r h)), z and r gates.  Shapes as in RNN, the rows of W, R and B
    being the gates z, r and the proposal g.  linear_before_reset: g = tanh(W x + r (R h + Rb)), as torch has it.
    ONNX GRU-14."""
    return forward(
        Gru,
        X,
        W,
        R,
        B,
        sequence_lens,
        initial_h,
        None,
        None,
        activation_alpha=activation_alpha,
        activation_beta=activation_beta,
        activations=activations,
        clip=clip,
        direction=direction,
        hidden_size=hidden_size,
        layout=layout,
        linear_before_reset=linear_before_reset,
    )


def gru_grad_onnx(op, dY, dY_h, X, W, R, B, sequence_lens, initial_h, Y, **attributes):
    return backward(op, unrolled, Gru, dY, (dY_h,), X, W, R, B, sequence_lens, initial_h, None, None, Y, **attributes)


@operator("GRUGrad", decompose=gru_grad_onnx, outputs=5)
def gru_grad(
    dY,
    dY_h,
    X,
    W,
    R,
    B,
    sequence_lens,
    initial_h,
    Y,
    *,
    activation_alpha=None,
    activation_beta=None,
    activations=None,
    clip=None,
    direction="forward",
    hidden_size=None,
    layout=0,
    linear_before_reset=0,
):
    """(dX, dW, dR, dB, d initial_h) of GRU, back through time; in a file, step by step."""
    return backward(
        EagerBuilder(),
        scanned,
        Gru,
        dY,
        (dY_h,),
        X,
        W,
        R,
        B,
        sequence_lens,
        initial_h,
        None,
        None,
        Y,
        activation_alpha=activation_alpha,
        activation_beta=activation_beta,
        activations=activations,
        clip=clip,
        direction=direction,
        hidden_size=hidden_size,
        layout=layout,
        linear_before_reset=linear_before_reset,
    )


def lstm_vjp(op, X, W, R, B, sequence_lens, initial_h, initial_c, P, Y, Y_h, Y_c, dY, dY_h, dY_c, **attributes):
    dx, dw, dr, db, dh, dc, dp = op.LSTMGrad(
        dY, dY_h, dY_c, X, W, R, B, sequence_lens, initial_h, initial_c, P, Y, outputs=7, **attributes
    )
    return dx, dw, dr, db, None, dh, dc, dp


@operator(
    "LSTM",
    onnx=("", 14),
    weights=("W", "R", "B", "P"),
    settings=("initial_h", "initial_c"),
    gradient_exports=STEP_BY_STEP,
    vjp=lstm_vjp,
    outputs=3,
    residual_outputs=(0,),
)
def lstm(
    X,
    W,
    R,
    B=None,
    sequence_lens=None,
    initial_h=None,
    initial_c=None,
    P=None,
    *,
    activation_alpha=None,
    activation_beta=None,
    activations=None,
    clip=None,
    direction="forward",
    hidden_size=None,
    input_forget=0,
    layout=0,
):
    """c <- f c + i g, h <- o tanh(c), with gates i, o, f and the proposal g = tanh(W x + R h).  Shapes as in RNN, the
    rows of W, R and B being i, o, f, g; and the last c, f[d, n, h].  P: f[d, 3 h], by which i, o, f look at c.
    input_forget: f = 1 - i.  clip: bounds what enters f and g.  ONNX LSTM-14."""
    return forward(
        Lstm,
        X,
        W,
        R,
        B,
        sequence_lens,
        initial_h,
        initial_c,
        P,
        activation_alpha=activation_alpha,
        activation_beta=activation_beta,
        activations=activations,
        clip=clip,
        direction=direction,
        hidden_size=hidden_size,
        layout=layout,
        input_forget=input_forget,
    )


def lstm_grad_onnx(op, dY, dY_h, dY_c, X, W, R, B, sequence_lens, initial_h, initial_c, P, Y, **attributes):
    return backward(
        op, unrolled, Lstm, dY, (dY_h, dY_c), X, W, R, B, sequence_lens, initial_h, initial_c, P, Y, **attributes
    )


@operator("LSTMGrad", decompose=lstm_grad_onnx, outputs=7)
def lstm_grad(
    dY,
    dY_h,
    dY_c,
    X,
    W,
    R,
    B,
    sequence_lens,
    initial_h,
    initial_c,
    P,
    Y,
    *,
    activation_alpha=None,
    activation_beta=None,
    activations=None,
    clip=None,
    direction="forward",
    hidden_size=None,
    input_forget=0,
    layout=0,
):
    """(dX, dW, dR, dB, d initial_h, d initial_c, dP) of LSTM, back through time; in a file, step by step."""
    return backward(
        EagerBuilder(),
        scanned,
        Lstm,
        dY,
        (dY_h, dY_c),
        X,
        W,
        R,
        B,
        sequence_lens,
        initial_h,
        initial_c,
        P,
        Y,
        activation_alpha=activation_alpha,
        activation_beta=activation_beta,
        activations=activations,
        clip=clip,
        direction=direction,
        hidden_size=hidden_size,
        layout=layout,
        input_forget=input_forget,
    )
