"""Who may look at whom in Attention: its mask, causality and windows; and the mask as runtimes take it."""

import math


def padded_mask(op, mask, total):
    """A mask that is shorter than the keys: what it does not mention is not attended."""
    short = total - mask.shape[-1] if isinstance(total, int) and isinstance(mask.shape[-1], int) else 0
    if short <= 0:
        return mask
    out = False if mask.dtype == "bool" else -math.inf
    return op.Pad(mask, (0, short), out, (-1,))


def allowed(op, q, k, mask, past, valid, *, is_causal, left_window_size, right_window_size):
    """Which query may look at which key, bool, broadcasting to [b, heads, l, s]; None: all at all."""
    length, total = (op.Squeeze(op.Shape(t, start=2, end=3), (0,)) for t in (q, k))
    rules = [] if mask is None or mask.dtype != "bool" else [mask]
    left, right = left_window_size, 0 if is_causal else right_window_size
    columns = None
    if valid is not None:
        valid = op.Reshape(op.Cast(valid, to=7), (-1, 1, 1, 1))
        columns = op.Range(0, total, 1)
        rules.append(op.Less(columns, valid))
    if left >= 0 or right >= 0:
        columns = op.Range(0, total, 1) if columns is None else columns
        here = op.Unsqueeze(op.Range(0, length, 1), (1,))  # where a query stands among the keys
        if past is not None:
            here = op.Add(here, op.Shape(past, start=2, end=3))
        elif valid is not None:
            here = op.Add(here, op.Sub(valid, length))
        if right >= 0:
            rules.append(op.LessOrEqual(columns, op.Add(here, right) if right else here))
        if left >= 0:
            rules.append(op.GreaterOrEqual(columns, op.Sub(here, left)))
    found = None
    for rule in rules:
        found = rule if found is None else op.And(found, rule)
    return found


def for_runtimes(op, Q, K, V, mask, past_key, past_value, valid, *, outputs, **attributes):
    """Attention whose mask has a row per query and a column per key, and which names the present keys and values where
    past ones come in.

    ONNX allows a mask to be broadcast along the queries and to be shorter than the keys; ONNX Runtime (1.32) executes
    neither, and no past without a present.
    """
    if mask is not None and mask.shape and None not in (Q.shape, K.shape):
        total, queries, rows = K.shape[-2], Q.shape[-2], mask.shape[-2:-1]
        if past_key is not None:
            past = (past_key.shape or (None,) * 4)[2]
            total = past + total if isinstance(past, int) and isinstance(total, int) else None
        mask = padded_mask(op, mask, total)
        if rows in ((), (1,)) and queries != 1:
            known = isinstance(queries, int)
            column = (queries, 1) if known else op.Concat(op.Shape(Q, start=-2, end=-1), (1,), axis=0)
            mask = op.Expand(mask, column)
    inputs = [Q, K, V, mask, past_key, past_value, valid]
    while inputs[-1] is None:
        inputs.pop()
    return op.Attention(*inputs, outputs=outputs if past_key is None else max(outputs, 3), **attributes)
