"""THE table: one file per family, a list CASES of situations.  The judges in ../test_judges.py ask every row."""

import importlib
import pkgutil

from .._case import Case

TABLE: list[Case] = []
for _module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
    TABLE += importlib.import_module(f"{__name__}.{_module}").CASES
