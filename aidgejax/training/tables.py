"""Tables of text: .csv and .tsv files as columns of numbers, with or without a header.

columns, header, notes = read_table(path)      # {"x": f32[rows, features], "target": ...}, the features' names
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from ..errors import DataError

TARGETS = ("target", "targets", "y", "label", "labels", "class")
ROW_NUMBERS = ("", "unnamed: 0", "id", "index", "idx", "row", "row_id")


def read_table(path: Path) -> tuple[dict[str, np.ndarray], tuple[str, ...], tuple[str, ...]]:
    """(x and target, the features' names, what to say).

    The target is the column that is called target, y, label or class, else the only one that holds names, else the
    last; names stay strings here.  A first row of numbers is no header; a column of row numbers is left out.
    Columns are parted by commas, semicolons or tabs; beside semicolons and tabs 1,5 is a number.
    Raises DataError naming row and column, rows counted from 1 below the header.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as f:
            sign = _delimiter(path, f.readline())
            f.seek(0)
            rows = [r for r in csv.reader(f, delimiter=sign, skipinitialspace=True) if r]
    except (UnicodeDecodeError, csv.Error) as e:
        raise DataError(f"{str(path)!r} is no table of text that can be read: {e}") from None
    notes: list[str] = []
    body = [[c.strip() for c in r] for r in rows]
    header = _header(body, sign)
    if header is None:
        header = [f"column {k}" for k in range(len(body[0]))] if body else []
        notes.append(f"table: {path.name} has no header")
    else:
        body = body[1:]
    if not body:
        raise DataError(f"{str(path)!r} has {len(rows)} rows: expected a header and rows of numbers")
    for k, r in enumerate(body):
        if len(r) != len(header):
            raise DataError(f"{str(path)!r}, row {k + 1}: {len(r)} fields; the header has {len(header)}")
    target = _target(header, body, sign)
    if (number := _row_numbers(header, body, target)) is not None:
        notes.append(f"table: column {header[number]!r} counts the rows and is left out")
    features = [j for j in range(len(header)) if j not in (target, number)]
    x = [[_number(path, header, k + 1, j, r[j], sign) for j in features] for k, r in enumerate(body)]
    notes.append(f"table: {len(features)} features, the target is column {header[target]!r}")
    columns = {"x": np.array(x, np.float32), "target": _labels([r[target] for r in body], sign)}
    return columns, tuple(header[j] for j in features), tuple(notes)


def _delimiter(path: Path, line: str) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    return max(",;\t", key=line.count)


def _header(rows: list[list[str]], sign: str) -> list[str] | None:
    """The first row, where it is one; the names that pandas gives columns, 0, 1, 2, ..., are a header."""
    first = rows[0] if rows else []
    if first == [str(k) for k in range(len(first))] and len(first) > 1:
        return first
    numbers = [_parsed(c, sign) is not None for c in first]
    if all(numbers) or sum(numbers) == len(first) - 1 > 0:
        odd = next((k for k, n in enumerate(numbers) if not n), None)
        if odd is None or any(len(r) > odd and r[odd] == first[odd] for r in rows[1:]):
            return None
    return first


def _target(header: list[str], body: list[list[str]], sign: str) -> int:
    named = [k for k, h in enumerate(header) if h.lower() in TARGETS]
    if named:
        return named[0]
    names = [k for k in range(len(header)) if body[0][k] and _parsed(body[0][k], sign) is None]
    return names[0] if len(names) == 1 else len(header) - 1


def _row_numbers(header: list[str], body: list[list[str]], target: int) -> int | None:
    """The column that counts the rows and is called so."""
    for j, h in enumerate(header):
        if j != target and h.lower() in ROW_NUMBERS and body[0][j] in ("0", "1"):
            start = int(body[0][j])
            if len(body) > 1 and all(r[j] == str(start + k) for k, r in enumerate(body)):
                return j
    return None


def _labels(texts: list[str], sign: str) -> np.ndarray:
    numbers = [_parsed(t, sign) for t in texts]
    if any(n is None for n in numbers):
        if all(texts):
            return np.array(texts)  # names of classes
        raise DataError(f"row {texts.index('') + 1} has no target: leave the row out, or fill it in")
    whole = all("." not in t and "e" not in t.lower() and (sign == "," or "," not in t) for t in texts)
    return np.array(numbers).astype(np.int64 if whole else np.float32)


def _parsed(text: str, sign: str) -> float | None:
    try:
        return float(text if sign == "," else text.replace(",", "."))
    except ValueError:
        return None


def _number(path: Path, header: list[str], row: int, column: int, text: str, sign: str) -> float:
    number = _parsed(text, sign)
    if number is None or number != number:
        empty = text.lower() in ("", "na", "nan", "null", "none", "?", "-", "n/a")
        what = f"{text!r} is a missing value" if empty else f"{text!r} is no number"
        cure = "fill it in, or leave the row out" if empty else "only the target may be a name: encode it as numbers"
        raise DataError(f"{str(path)!r}, row {row}, column {header[column]!r}: {what}; {cure}")
    return number
