"""Tables of text as people have them."""

import numpy as np
import pytest

import aidgejax as aj
from aidgejax.errors import DataError
from aidgejax.training.columns import columns_for, load_columns
from aidgejax.training.tables import read_table

ROWS = [["1.5", "2", "ant"], ["3", "-4e1", "bee"], ["5", "6", "ant"]]
X = np.array([[1.5, 2], [3, -40], [5, 6]], np.float32)


def table(tmp_path, header, rows, sign=",", name="d.csv"):
    lines = ([header] if header else []) + rows
    path = tmp_path / name
    path.write_text("\n".join(sign.join(r) for r in lines) + "\n\n")
    return path


LAYOUTS = {
    "the target last": (["a", "b", "kind"], ROWS, ",", ("a", "b")),
    "the target by name": (["Class", "a", "b"], [[r[2], *r[:2]] for r in ROWS], ",", ("a", "b")),
    "the only names": (["kind", "a", "b"], [[r[2], *r[:2]] for r in ROWS], ",", ("a", "b")),
    "row numbers of pandas": (["", "a", "b", "y"], [[str(k), *r] for k, r in enumerate(ROWS)], ",", ("a", "b")),
    "an id": (["ID", "a", "b", "y"], [[str(k + 1), *r] for k, r in enumerate(ROWS)], ",", ("a", "b")),
    "no header": (None, ROWS, ",", ("column 0", "column 1")),
    "semicolons": (["a", "b", "y"], ROWS, ";", ("a", "b")),
    "decimal commas": (["a", "b", "y"], [[c.replace(".", ",") for c in r] for r in ROWS], ";", ("a", "b")),
    "spaces": (["a", "b", "y"], ROWS, " , ", ("a", "b")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_features_and_names_of_classes_are_found(layout, tmp_path):
    header, rows, sign, names = LAYOUTS[layout]
    path = table(tmp_path, header, rows, sign)
    columns, found, notes = read_table(path)
    assert np.array_equal(columns["x"], X) and columns["target"].tolist() == ["ant", "bee", "ant"] and found == names
    assert notes[-1].startswith("table: 2 features, the target is column")
    data, test = aj.load_columns(path)
    assert test is None and data.class_names == ("ant", "bee") and data.columns["target"].tolist() == [0, 1, 0]


def test_the_header_of_pandas_defaults_is_one(tmp_path):
    columns, names, _ = read_table(table(tmp_path, ["0", "1", "2"], [["4", "5", "1"], ["6", "7", "0"]]))
    assert columns["x"].tolist() == [[4, 5], [6, 7]] and columns["target"].dtype == np.int64 and names == ("0", "1")


MISTAKES = [
    (["a", "b", "y"], [["1", "", "0"]], r"row 1, column 'b': '' is a missing value; fill it in"),
    (["a", "b", "y"], [["1", "2", "0"], ["NaN", "2", "0"]], "row 2, column 'a': 'NaN' is a missing value"),
    (["a", "b", "y"], [["1", "red", "0"]], "'red' is no number; only the target may be a name: encode it"),
    (["a", "b", "y"], [["1", "2"]], "row 1: 2 fields; the header has 3"),
    (["a", "b", "y"], [["1", "2", "x"], ["1", "2", ""]], "row 2 has no target"),
    (["a", "b", "y"], [], "expected a header and rows"),
]


@pytest.mark.parametrize(("header", "rows", "message"), MISTAKES)
def test_a_mistake_names_its_row_and_column(header, rows, message, tmp_path):
    if "red" in message:
        rows = [*rows, ["2", "blue", "zero"]]
    with pytest.raises(DataError, match=message):
        read_table(table(tmp_path, header, rows))


def test_a_label_too_many_is_named_by_its_row_in_the_file_after_rows_were_shuffled(tmp_path):
    """Tables are counted from 1 below the header, arrays from 0; names of classes are listed."""
    net = aj.zoo.mlp((2, 2))
    lines = [f"{k},{k},{'cat' if k % 2 else 'dog'}" for k in range(20)]
    lines[13] = "13,13,fog"
    (tmp_path / "t.csv").write_text("\n".join(["a,b,y", *lines]))
    rows = columns_for(net, load_columns(tmp_path / "t.csv")[0])
    classes = np.arange(20) % 2
    classes[13] = 2
    for data, row in ((rows[::-1], 14), (aj.Dataset(x=rows.columns["x"], target=classes)[::-1], 13)):
        with pytest.raises(DataError) as e:
            aj.train(net, data, epochs=1, loss="cross_entropy")
        assert f"column 'target', row {row}: label" in str(e.value)
        assert ("the data has 3: cat, dog, fog" in str(e.value)) == (row == 14)


def test_a_table_of_the_wrong_width_names_its_columns(tmp_path):
    (tmp_path / "t.csv").write_text("time,a,b,y\n" + "\n".join(f"{k},{k},{k},{k % 2}" for k in range(20)))
    with pytest.raises(
        DataError, match=r"shape \[20, 3\]; the columns of '.*t.csv' beside the target are time, a, b"
    ) as e:
        aj.train(aj.zoo.mlp((2, 2)), tmp_path / "t.csv", epochs=1)
    assert e.value.topic == "input-shape"
