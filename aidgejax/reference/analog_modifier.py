"""The weight modifiers of aihwkit's C++ tile and drift compensation in NumPy, from its formulas."""

import numpy as np

from ._definition import backward, define


@define("HeldWeightModifier")
def held_weight_modifier(
    w,
    draw,
    *,
    modifier="COPY",
    std_dev=0.0,
    res=0.0,
    rel_to_actual_wmax=1,
    assumed_wmax=1.0,
    dorefa_clip=0.6,
    sto_round=0,
    pdrop=0.0,
    copy_last_column=0,
    coeffs=(),
    g_max=25.0,
    enable_during_test=0,
    training_mode=0,
):
    if draw[1] == 0 or not (training_mode or enable_during_test):
        return w
    rng = np.random.default_rng([int(draw[0]), int(draw[1])])
    table = w.reshape(len(w), -1).astype(np.float64)
    considered = table[:, :-1] if copy_last_column else table
    largest = float(np.abs(considered).max()) if rel_to_actual_wmax else assumed_wmax
    largest = largest if largest > 0 else 1.0
    normal = rng.normal(size=table.shape)

    def to_steps(v):
        v = v / res + (rng.uniform(-0.5, 0.5, v.shape) if sto_round else 0)
        return np.copysign(np.floor(np.abs(v) + 0.5), v) * res

    power = sum((c * (np.abs(table) / largest) ** k for k, c in enumerate(coeffs)), np.zeros_like(table))
    coarse = largest * to_steps(table / largest) if res > 0 else table
    if modifier == "DISCRETIZE":
        out = coarse
    elif modifier == "DISCRETIZE_ADD_NORMAL":
        out = coarse + std_dev * largest * normal
    elif modifier == "DOREFA":
        out = to_steps(np.tanh(table) * dorefa_clip / np.tanh(largest)) if res > 0 else table
    elif modifier == "ADD_NORMAL":
        out = table + std_dev * largest * normal
    elif modifier == "MULT_NORMAL":
        out = table + std_dev * largest * table * normal
    elif modifier == "POLY":
        out = table + std_dev * largest * power * normal
    elif modifier == "PROG_NOISE":
        out = np.where(table < 0, -1, 1) * np.abs(table + std_dev / g_max * largest * power * normal)
    else:
        out = table.copy()
    if pdrop > 0:
        out = np.where(rng.uniform(size=table.shape) < pdrop, 0, out)
    if copy_last_column:
        out[:, -1] = table[:, -1]
    return out.reshape(w.shape).astype(w.dtype)


@backward("HeldWeightModifier")
def held_weight_modifier_backward(w, draw, y, dy, **settings):
    return dy, None


@define("DriftCompensation")
def drift_compensation(y, alpha, *, training_mode=0):
    return y if training_mode else y * alpha
