"""Pictures of a folder go into models with channels first or last, in color or in grey, without being told."""

import numpy as np
import pytest

from aidgejax.errors import DataError
from aidgejax.graph import Graph
from aidgejax.training.columns import columns_for, load_columns

RNG = np.random.default_rng(1)
PIXELS = RNG.integers(0, 255, (4, 5, 6, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Two classes with two pictures of 5 x 6 each."""
    for k, pixels in enumerate(PIXELS):
        place = tmp_path / "ab"[k // 2]
        place.mkdir(exist_ok=True)
        (place / f"{k}.ppm").write_bytes(b"P6\n6 5\n255\n" + pixels.tobytes())
    return tmp_path


def taken(folder, *shape, layout="NCHW"):
    g = Graph("g")
    g.output(g.op.Relu(g.input("image", ("N", *shape))))
    rows = columns_for(g, load_columns(folder)[0], layout=layout)
    return rows.columns["image"], [n for n in rows.notes if n.startswith("image")]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_channels_stand_where_the_model_has_them(folder, layout):
    want = PIXELS.astype(np.float32) / 255
    for shape in ((3, 5, 6), ("C", "H", "W")):
        found, said = taken(folder, *shape, layout=layout)
        np.testing.assert_array_equal(found, np.moveaxis(want, -1, 1))
        assert said == []
    for shape in ((5, 6, 3), ("H", "W", 3)):
        found, said = taken(folder, *shape, layout=layout)
        np.testing.assert_array_equal(found, want)
        assert said == ["image: pictures, channels last, as the model takes them"]


def test_one_channel_is_grey(folder):
    want = PIXELS.astype(np.float32) / 255 @ np.array([0.299, 0.587, 0.114])
    found, said = taken(folder, 1, 5, 6)
    np.testing.assert_allclose(found[:, 0], want, rtol=1e-5)
    assert said == ["image: pictures, in grey, as the model takes them"]
    np.testing.assert_allclose(taken(folder, 5, 6, 1)[0][..., 0], want, rtol=1e-5)


def test_other_sizes_are_named(folder):
    with pytest.raises(DataError, match=r"the pictures are 5 x 6 with 3 channels; resize them"):
        taken(folder, 3, 8, 8)
