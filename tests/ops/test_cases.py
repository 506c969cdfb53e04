"""Every row of the table against every check, and the table itself."""

import inspect
from collections import Counter
from dataclasses import replace

import jax
import numpy as np
import pytest

from aidgejax.ops import OPERATORS
from aidgejax.reference._definition import BACKWARDS, DEFINITIONS

from ._checks import CHECKS, difference_quotients
from .cases import TABLE

ROWS_TOGETHER = 4
ROWS_COMPILED = 120
_since_cleared = 0


@pytest.fixture
def forget_compiled():
    """What a row compiled is dropped with it; thousands of programs fill the memory."""
    yield
    global _since_cleared
    _since_cleared += 1
    if _since_cleared % ROWS_COMPILED == 0:
        jax.clear_caches()


def first_rows(check, n):
    """The rows that a check is asked of: the first n of each operator and those with an excuse."""
    seen = Counter()
    for case in filter(CHECKS[check].applies, TABLE):
        seen[case.op] += 1
        if seen[case.op] <= n or check in case.skip:
            yield case


# A second and a third program for a row, so the others of an operator are asked among the slow tests; every formula is
# asked in float64 of every row.
IN_FLOAT32, IN_A_LOOP = list(first_rows("float32", 2)), list(first_rows("scan", 1))
ASKED_APART = {"float32": IN_FLOAT32, "scan": IN_A_LOOP}


def compile_together(dtype, rows):
    for k in range(0, len(rows), ROWS_TOGETHER):
        for case in rows[k : k + ROWS_TOGETHER]:
            case.beside[dtype] = rows[k : k + ROWS_TOGETHER]


compile_together(np.float64, TABLE)
for first in (True, False):  # an operator's first row is compiled with other options
    compile_together(np.float32, [case for case in IN_FLOAT32 if case.first == first])
for case in IN_A_LOOP:
    case.loops = True


@pytest.mark.parametrize("case", TABLE, ids=repr)
def test_case(case, subtests, forget_compiled):
    """One test asks all the checks, which share what the row compiles; each failure is reported by its check's name."""
    failures = {}
    for check in CHECKS.values():
        if check.applies(case) and case in ASKED_APART.get(check.name, [case]):
            try:
                ask(check, case)
            except Exception as error:
                failures[check.name] = error
    case.forget()
    for name, error in failures.items():
        with subtests.test(name):
            raise error


@pytest.mark.slow
@pytest.mark.parametrize("check", ASKED_APART)
@pytest.mark.parametrize("case", TABLE, ids=repr)
def test_every_row(case, check, forget_compiled):
    """What test_case asks of an operator's first rows alone."""
    if CHECKS[check].applies(case) and case not in ASKED_APART[check]:
        ask(CHECKS[check], case)
    case.forget()


def ask(check, case):
    """Strict: a check that a row skips must fail there, or its excuse is one too many."""
    reason = case.skip.get(check.name)
    if reason is None:
        return check.ask(case)
    try:
        check.ask(case)
    except Exception:
        return None
    raise AssertionError(f"{case!r} passes {check.name}, which it skips because {reason!r}: remove the excuse")


# ---- the table itself ---------------------------------------------------------------------------------


def test_every_operator_has_a_row():
    assert set(OPERATORS) == {c.op for c in TABLE}


def test_every_operator_has_a_definition_in_numpy():
    assert set(OPERATORS) == set(DEFINITIONS)


def test_every_operator_can_be_written_in_onnx():
    assert [o.name for o in OPERATORS.values() if o.onnx is None and o.decompose is None] == []


def test_every_row_has_a_name_of_its_own():
    names = [repr(c) for c in TABLE]
    assert sorted(names) == sorted(set(names))


def test_skips_name_a_check_that_applies_and_give_a_reason():
    for case in TABLE:
        for name, reason in case.skip.items():
            assert name in CHECKS and CHECKS[name].applies(case), f"{case!r} skips {name}, which is not asked"
            assert len(reason) > 5, f"{case!r} skips {name} without a reason"


# ---- the tester is tested -----------------------------------------------------------------------------

RULES = sorted(name for name, o in OPERATORS.items() if o.vjp)


def caught(case, k, monkeypatch):
    """Does the check by differences notice that the k-th returned gradient of the rule is off by 1e-4?"""
    operator = OPERATORS[case.op]

    def wrong(op, *args, **attrs):
        shares = list(operator.vjp(op, *args, **attrs))
        if k < len(shares) and shares[k] is not None:
            shares[k] = op.Mul(shares[k], 1 + 1e-4)
        return tuple(shares)

    wrong.__signature__ = inspect.signature(operator.vjp)
    right = case.program(np.float64)
    feeds = case.feeds(np.float64)
    outputs = case.reference_outputs(right, feeds, np.float64)
    dy = case.cotangents({s: outputs[s] for s in right.seeds})
    slopes = difference_quotients(case, {"program": right, "dy": dy})
    monkeypatch.setitem(OPERATORS, case.op, replace(operator, vjp=wrong))
    grads = case.reference_gradients(case.program(np.float64), feeds, dy)
    monkeypatch.undo()
    return any(
        not np.isclose(np.sum(v * grads[w]), slope, rtol=2e-6, atol=1e-8 * size)
        for w, (v, slope, size) in slopes.items()
    )


def mutants(cases):
    return [
        pytest.param(c, n, id=f"{c!r} input {n}") for c in cases for n, a in enumerate(c.inputs) if c._name(n) in c.wrt
    ]


def checked_by_differences(name):
    return [c for c in TABLE if c.op == name and c.wrt and "differences" not in c.skip and not c.insensitive]


SMALLEST = [min(rows, key=lambda c: c.size) for rows in map(checked_by_differences, RULES) if rows]


@pytest.mark.parametrize("case, k", mutants(SMALLEST))
def test_a_wrong_rule_is_caught(case, k, monkeypatch):
    assert caught(case, k, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("case, k", mutants([c for n in RULES for c in checked_by_differences(n)]))
def test_a_wrong_rule_is_caught_by_every_row(case, k, monkeypatch):
    assert caught(case, k, monkeypatch)


def test_every_rule_is_checked_by_differences_or_a_plain_backward():
    """The latter where the rule is not a derivative."""
    differentiable = {c.op for c in TABLE if c.wrt}
    unchecked = [n for n in RULES if n in differentiable and not checked_by_differences(n) and n not in BACKWARDS]
    assert unchecked == []
