"""All judges of a row one after the other, so that what the row compiled can be dropped before the next."""

import jax
import pytest

ROWS_KEPT = 40
_seen: list = []


def pytest_collection_modifyitems(items):
    rows = {}
    for item in items:
        case = getattr(item, "callspec", None) and item.callspec.params.get("case")
        if case is not None:
            rows.setdefault(id(case), len(rows))
    at = {i for i, item in enumerate(items) if _row(item) in rows}
    ordered = iter(sorted((items[i] for i in sorted(at)), key=lambda item: rows[_row(item)]))
    items[:] = [next(ordered) if i in at else item for i, item in enumerate(items)]


def _row(item):
    spec = getattr(item, "callspec", None)
    return id(spec.params["case"]) if spec and "case" in spec.params else None


@pytest.fixture(autouse=True)
def forget_old_rows(request):
    """Compiled programs are kept for some rows only; thousands of them fill the memory."""
    case = getattr(request.node, "callspec", None) and request.node.callspec.params.get("case")
    if case is not None and (not _seen or _seen[-1] is not case):
        _seen.append(case)
        if len(_seen) > ROWS_KEPT:
            for old in _seen[:-1]:
                old.__dict__.pop("in_float64", None)
            del _seen[:-1]
            jax.clear_caches()
    yield
