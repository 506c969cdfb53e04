"""Pictures for training: image_tool on small drawn ones, and batches of them by data.ImageBatchIter."""

import random

import numpy as np
import pytest

from aidgejax.errors import AidgeJaxError
from aidgejax.frontends.singa import data, image_tool

Image = pytest.importorskip("PIL.Image")


def picture(width, height):
    """Red tells the column, green the row."""
    rows, columns = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([columns, rows, 0 * rows], -1).astype(np.uint8))


def test_parts_and_sizes():
    wide = picture(20, 10)
    corner = np.asarray(image_tool.crop(wide, (4, 3), "right_bottom"))
    assert corner.shape == (3, 4, 3) and corner[0, 0].tolist() == [16, 7, 0]
    assert image_tool.crop(wide, (4, 3), "center").getpixel((0, 0)) == (8, 3, 0)
    assert image_tool.resize(wide, 5).size == (10, 5) and image_tool.scale(picture(6, 12), 3).size == (3, 6)
    assert image_tool.crop_and_resize(wide, (10, 10), "right").getpixel((0, 0)) == (10, 0, 0)
    with pytest.raises(AssertionError, match="does not fit"):
        image_tool.crop(wide, (21, 3), "left_top")
    with pytest.raises(AidgeJaxError, match="no position 'up'"):
        image_tool.crop(wide, (4, 3), "up")


def test_a_tool_makes_several_of_each(tmp_path):
    random.seed(1)
    picture(20, 16).save(tmp_path / "a.png")
    tool = image_tool.ImageTool().load(str(tmp_path / "a.png"))
    assert len(tool.crop5((8, 8), 5, inplace=False)) == 5 and len(tool.get()) == 1
    tool.resize_by_list([18]).crop3((8, 8), 3).flip(2)
    assert len(tool.get()) == tool.num_augmentation() == 6 and {p.size for p in tool.get()} == {(8, 8)}
    first, second = (np.asarray(p) for p in tool.get()[:2])
    np.testing.assert_array_equal(first[:, ::-1], second)
    for made in (
        *tool.rotate_by_range((0, 90), inplace=False), *tool.random_crop((4, 4), False),
        *tool.random_crop_resize((4, 4), False), *tool.color_cast(20, False), *tool.enhance(0.2, False),
        *tool.crop8((6, 6), 8, False), *tool.resize_by_range((8, 12), False),
    ):  # fmt: skip
        assert made.mode == "RGB"
    assert image_tool.load_img(str(tmp_path / "a.png"), grayscale=True).mode == "L"
    with pytest.raises(AssertionError, match="num_case"):
        tool.flip(3)


def test_batches_of_listed_images(tmp_path):
    for k in range(5):
        Image.fromarray(np.full((4, 6, 3), k, np.uint8)).save(tmp_path / f"{k}.png")
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{k}.png {k % 3}\n" for k in range(5)))
    batches = data.ImageBatchIter(
        str(listed), 2, lambda path: [image_tool.load_img(path)], shuffle=False, image_folder=str(tmp_path)
    )
    with pytest.raises(AssertionError, match="call start"):
        next(batches)
    batches.start()
    found = [next(batches) for _ in range(3)]
    assert batches.num_samples == 5 and found[0][0].shape == (2, 3, 4, 6) and found[0][0].dtype == np.float32
    assert [x[:, 0, 0, 0].tolist() for x, _ in found] == [[0, 1], [2, 3], [4, 0]]
    assert [y.tolist() for _, y in found] == [[0, 1], [2, 0], [1, 0]] and found[0][1].dtype == np.int32
    batches.end()
    listed.write_text("0.png,cat\n1.png,dog\n")
    named = data.ImageBatchIter(str(listed), 2, lambda p: [image_tool.load_img(p)], False, ",", str(tmp_path))
    named.start()
    assert next(named)[1] == ["cat", "dog"]
    listed.write_text("")
    with pytest.raises(AidgeJaxError, match="no image"):
        data.ImageBatchIter(str(listed), 2, list)
