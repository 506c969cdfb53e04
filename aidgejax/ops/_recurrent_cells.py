"""The cells of RNN, GRU and LSTM: one direction, forward and back through time, in a rule's words.

The input's projection of all steps is one product outside the loop; so are, going back, the gates (recomputed from the
outputs) and the gradients of the weights.  Inside the loops remain the products with the state.
"""

import jax
import jax.numpy as jnp

from ._recurrence import while_live
from ._rows import rows_are_split


def product_over_time(op, d, x):
    """The sum over steps and batch of d^T x: [t, n, g], [t, n, k] -> [g, k]."""
    if isinstance(d, jax.Array) and rows_are_split():  # as one axis, both would be gathered; on one device it is faster
        return jnp.einsum("tng,tnk->gk", d, x)
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
        r, (f,) = s.transposed(op, s.r), s.activations

        def step(carry, now):
            (h,), (x, live) = carry, now
            new = f(op, op.Add(x, op.MatMul(h, r)))
            return (while_live(op, live, new, h),), (while_live(op, live, new, 0.0),)

        last, (y,) = loop(op, step, (s.h0,), (s.projected(op, s.wb, s.rb), s.live), s.reverse, s.steps)
        return y, last

    @staticmethod
    def backward(op, loop, s, y, dy, last):
        (f,), before = s.activations, s.states_before(op, y)
        z = op.Add(s.projected(op, s.wb, s.rb), op.MatMul(before, s.transposed(op, s.r)))

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
            hz, hr, part = thirds(op, s_plus(op, op.MatMul(h, s.transposed(op, s.r)), s.rb))
        else:
            r_gates, r_proposal = Gru.weights(op, s)
            hz, hr = op.Split(op.MatMul(h, s.transposed(op, r_gates)), axis=-1, num_outputs=2, outputs=2)
            part = h
        az, ar = op.Add(xz, hz), op.Add(xr, hr)
        z, r = f(op, az), f(op, ar)
        tempered = op.Mul(r, part)
        ah = op.Add(xh, tempered if linear_before_reset else op.MatMul(tempered, s.transposed(op, r_proposal)))
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
        look = lambda z, p, c: z if p is None else op.Add(z, op.Mul(c, p))
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
        r = s.transposed(op, s.r)

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
        z = op.Add(s.projected(op, s.wb, s.rb), op.MatMul(before, s.transposed(op, s.r)))

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
