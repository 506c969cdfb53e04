"""Recurrent layers: RNN, GRU, LSTM, with their gradients through time (the cells are in _recurrent_cells.py)."""

from ..errors import GraphError
from ._eager import EagerBuilder
from ._recurrence import DIRECTIONS, directions, scanned, unrolled
from ._recurrent_cells import Gru, Lstm, Rnn
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
    """(Y, Y_h, ...) by `cell.forward(op, loop, direction) -> y, (h, ...)` of each direction."""
    check_sizes(X, W, R, B, sequence_lens, initial_h, initial_c, P, cell.gates, direction, layout, hidden_size)
    op, extra = EagerBuilder(), {k: setting.pop(k) for k in cell.settings}
    tensors = (X, W, R, B, sequence_lens, initial_h, initial_c, P)
    parts = directions(op, *tensors, cell.gates, cell.default, layout=layout, direction=direction, **setting)
    ys, lasts = zip(*(cell.forward(op, scanned, s, **extra) for s in parts), strict=True)
    y = stacked(op, ys, 1)
    y = op.Transpose(y, perm=(2, 0, 1, 3)) if layout else y
    return y, *(stacked(op, last, 1 if layout else 0) for last in zip(*lasts, strict=True))


def backward(op, loop, cell, dY, d_lasts, *tensors, layout, hidden_size, direction, **setting):
    """(dX, dW, dR, dB, d initial states ..., dP) by `cell.backward` of each direction; tensors: the inputs and Y."""
    *tensors, Y = tensors
    extra = {k: setting.pop(k) for k in cell.settings}
    parts = directions(op, *tensors, cell.gates, cell.default, layout=layout, direction=direction, **setting)
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
