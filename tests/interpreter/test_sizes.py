"""Sizes as expressions: one normal form for what is equal, and read back as they are written."""

import itertools

import pytest

from aidgejax.interpreter.sizes import divided, least, parse, put, symbol, value, written

SPELLED = {
    "(4*N+6)//2": "2*N+3",
    "(6*H + 4)//4": "(3*H)//2+1",
    "((H+1)//2+1)//2": "(H+3)//4",
    "(((H+1)//2+1)//2+1)//2": "(H+7)//8",
    "(4*N*S)//S": "4*N",
    "P + S": "P+S",
    "N/2": "N//2",
    "N + N": "2*N",
    "min(S,100)": "min(S,100)",
    "N - M": "N - M",
    "-3+N": "N-3",
    "(N+1)*M//(N+1)": "M",
    "2*y[2]": "2*y[2]",
    "8*((H+7)//8)": "8*((H+7)//8)",
}


@pytest.mark.parametrize("text", SPELLED)
def test_an_expression_has_one_normal_form(text):
    assert written(parse(text)) == SPELLED[text]
    assert parse(SPELLED[text]) == parse(text)


@pytest.mark.parametrize("name", ["unk::1", "batch-size", "?33", "a/b", "x.1", "batch size", "2N", "min", "(N", "N+"])
def test_what_is_no_expression_is_a_name(name):
    assert written(parse(name)) == name and value(parse(name), {name: 5}) == 5
    twice = symbol(name) * 2 + 1
    assert parse(str(written(twice))) == twice


def test_rules_change_no_value():
    """Every sum, product, quotient and minimum of small expressions, at many numbers."""
    parts = ["N", "2*N+1", "(H+1)//2", "min(N,H)", "N*H", "3"]
    for (a, b), n, h in itertools.product(itertools.product(parts, repeat=2), (1, 2, 7), (1, 4, 9)):
        x, y, at = parse(a), parse(b), {"N": n, "H": h}
        x, y = 3 if a == "3" else x, 3 if b == "3" else y
        p, q = value(x, at), value(y, at)
        assert [value(e, at) for e in (x + y, x - y, x * y, divided(x, y), least(x, y))] == [
            p + q, p - q, p * q, p // q, min(p, q)
        ]  # fmt: skip


def test_symbols_are_replaced_inside():
    assert written(put(parse("2*((H+1)//2)+min(S,H)"), {"H": 9, "S": symbol("T")})) == "min(T,9)+10"
