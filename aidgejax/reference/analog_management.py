"""Noise and bound management of analog products in NumPy, from aihwkit's formulas."""

import numpy as np

from ._definition import define
from .fake_quantize import round_to


@define("NoiseManagement")
def noise_management(z, *, management="ABS_MAX", threshold=0.0):
    rows = np.abs(z) if management == "ABS_MAX" else z
    nu = rows.max(axis=-1, keepdims=True)
    if threshold > 0:
        nu = np.minimum(nu, z.dtype.type(threshold))
    return np.where(nu > 0, nu, z.dtype.type(1))


@define("BoundManagement")
def bound_management(
    a,
    w,
    inp_noise=None,
    out_noise=None,
    divisor=None,
    *,
    inp_bound=1.0,
    inp_res=0.0,
    inp_asymmetry=0.0,
    out_bound=12.0,
    out_res=0.0,
    out_asymmetry=0.0,
    max_bm_factor=1000,
    max_bm_res=0.25,
    by_row=0,
    test_negative=1,
    nm_thres=0.0,
):
    coarsest = max_bm_res / (2 * inp_bound * inp_res) if inp_res > 0 else np.inf
    if by_row and out_noise is not None:
        out_noise = np.where(np.abs(out_noise) > out_bound / 2, 0, out_noise)

    def over(u, inp_noise, out_noise):
        if inp_res > 0:
            u = round_to(u, 2 * inp_bound * inp_res)
        if inp_bound > 0:
            u = np.clip(u, -inp_bound, inp_bound)
        if inp_noise is not None:
            u = u + inp_noise
        u = np.where(u < 0, u * (1 - inp_asymmetry), u)
        o = u @ w.T
        o = np.where(o < 0, o * (1 - out_asymmetry), o)
        if out_noise is not None:
            o = o + out_noise
        if out_res > 0:
            o = round_to(o, 2 * out_bound * out_res)
        return (np.abs(o) if test_negative else o).max() > out_bound

    def searched(a, inp_noise, out_noise, divisor):
        base, scale = 1.0, 1.0
        if divisor is not None and over(a, inp_noise, out_noise):
            z = a * divisor
            peak = np.abs(z).max() if nm_thres <= 0 else min(np.abs(z).max(), nm_thres)
            largest = min(max(z[z > 0].sum(), -z[z < 0].sum()) * 0.6 / out_bound, peak * coarsest)
            base = float(max(peak, largest) / divisor) or 1.0
        while scale <= min(max_bm_factor, coarsest) and over(a / a.dtype.type(base * scale), inp_noise, out_noise):
            scale *= 2
        return base * scale

    if not by_row:
        return np.asarray(searched(a, inp_noise, out_noise, None), a.dtype)
    found = np.ones((*a.shape[:-1], 1), a.dtype)
    for at in np.ndindex(a.shape[:-1]):
        mine = [
            None if v is None else np.broadcast_to(v, (*a.shape[:-1], v.shape[-1]))[at] for v in (inp_noise, out_noise)
        ]
        of = None if divisor is None else np.broadcast_to(divisor, found.shape)[at][0]
        found[at] = searched(a[at], *mine, of)
    return found
