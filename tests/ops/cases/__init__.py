"""THE table: one file per family, a list CASES of situations.  ../test_cases.py asks every row every check."""

import importlib
import pkgutil

from .._case import Case

TABLE: list[Case] = []
for _module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
    TABLE += importlib.import_module(f"{__name__}.{_module}").CASES

for _case in {case.op: case for case in reversed(TABLE)}.values():
    _case.first = True
