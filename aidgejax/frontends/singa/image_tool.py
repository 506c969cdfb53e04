"""singa.image_tool: pictures cut, resized, rotated, mirrored and coloured at random, for training on images.

    tool = image_tool.ImageTool()
    pictures = tool.load("a.jpg").resize_by_list([256]).crop3((224, 224)).flip(2).get()

Needs Pillow (`pip install aidgejax[images]`).  Random choices are those of Python's `random`.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ._errors import BadSetting, Unsupported

Picture = Any
FIVE = ("left_top", "left_bottom", "right_top", "right_bottom", "center")
THREE = ("left", "center", "right")


def _pillow(module: str = "Image") -> Any:
    try:
        return importlib.import_module(f"PIL.{module}")
    except ImportError:
        raise Unsupported('singa.image_tool needs pillow: pip install "aidgejax[images]"') from None


def load_img(path: str, grayscale: bool = False) -> Picture:
    """The picture of a file, as three channels of colour or as one of grey."""
    with _pillow().open(path) as found:
        return found.convert("L" if grayscale else "RGB")


def get_list_sample(l: Sequence[Any], sample_size: int) -> list[Any]:  # noqa: E741  (SINGA's name)
    """So many of a list, drawn without repetition, in the list's order."""
    if not 0 < sample_size <= len(l):
        raise BadSetting(f"{sample_size} of {len(l)} cannot be drawn")
    return [l[k] for k in sorted(random.sample(range(len(l)), sample_size))]


def crop(img: Picture, patch: Sequence[int], position: str) -> Picture:
    """The part of size patch = (width, height) at left_top, left_bottom, right_top, right_bottom or center."""
    (width, height), (w, h) = img.size, patch
    if w > width or h > height:
        raise BadSetting(f"a patch of {w} x {h} does not fit into a picture of {width} x {height}")
    places = {
        "left_top": (0, 0), "left_bottom": (0, height - h), "right_top": (width - w, 0),
        "right_bottom": (width - w, height - h), "center": ((width - w) // 2, (height - h) // 2),
    }  # fmt: skip
    return img.crop(_box(places, position, w, h))


def crop_and_resize(img: Picture, patch: Sequence[int], position: str) -> Picture:
    """The largest square at left, center or right (of a tall picture: top, middle or bottom), resized to patch."""
    width, height = img.size
    side = min(width, height)
    rest_x, rest_y = width - side, height - side
    places = {"left": (0, 0), "center": (rest_x // 2, rest_y // 2), "right": (rest_x, rest_y)}
    places |= {"top": places["left"], "middle": places["center"], "bottom": places["right"]}
    return img.crop(_box(places, position, side, side)).resize(tuple(patch), _pillow().Resampling.BILINEAR)


def _box(places: dict[str, tuple[int, int]], position: str, w: int, h: int) -> tuple[int, int, int, int]:
    if position not in places:
        raise BadSetting(f"there is no position {position!r}; there are {', '.join(places)}")
    x, y = places[position]
    return x, y, x + w, y + h


def resize(img: Picture, small_size: int) -> Picture:
    """The smaller side becomes so long; the other keeps the proportions."""
    width, height = img.size
    factor = small_size / min(width, height)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return img.resize(size, _pillow().Resampling.BILINEAR)


def scale(img: Picture, small_size: int) -> Picture:
    """As resize."""
    return resize(img, small_size)


def _rotated(img: Picture, angle: float) -> Picture:
    return img.rotate(angle)


def color_cast(img: Picture, offset: int) -> Picture:
    """Each channel brighter or darker by an amount of its own of at most `offset`, or left as it is."""
    shifts = [random.randint(-offset, offset) if random.random() < 0.5 else 0 for _ in img.getbands()]
    bands = [b.point(lambda v, s=s: min(255, max(0, v + s))) for b, s in zip(img.split(), shifts, strict=True)]
    return _pillow().merge(img.mode, bands)


def enhance(img: Picture, scale: float) -> Picture:
    """Colour, brightness, contrast and sharpness, each by a factor of its own in 1 - scale to 1 + scale."""
    changes = _pillow("ImageEnhance")
    for kind in ("Color", "Brightness", "Contrast", "Sharpness"):
        img = getattr(changes, kind)(img).enhance(random.uniform(1 - scale, 1 + scale))
    return img


class ImageTool:
    """Pictures, and ways to make more of them.  Each way changes what the tool holds and returns the tool; with
    inplace=False it returns the new pictures and leaves the tool alone.

    num_case: how many of the possible results are drawn per picture.
    """

    def __init__(self) -> None:
        self.imgs: list[Picture] = []
        self._cases = 1

    def load(self, path: str, grayscale: bool = False) -> ImageTool:
        return self.set([load_img(path, grayscale)])

    def set(self, imgs: Sequence[Picture]) -> ImageTool:
        self.imgs, self._cases = list(imgs), 1
        return self

    def append(self, img: Picture) -> ImageTool:
        self.imgs.append(img)
        return self

    def get(self) -> list[Picture]:
        return self.imgs

    def num_augmentation(self) -> int:
        """How many pictures each loaded one has become."""
        return self._cases

    def _made(self, ways: Sequence[Callable[[Picture], Picture]], num_case: int, inplace: bool) -> Any:
        if not 1 <= num_case <= len(ways):
            raise BadSetting(f"num_case is {num_case}; expected 1 to {len(ways)}")
        found = [way(img) for img in self.imgs for way in get_list_sample(ways, num_case)]
        if not inplace:
            return found
        self.imgs, self._cases = found, self._cases * num_case
        return self

    def resize_by_range(self, rng: Sequence[int], inplace: bool = True) -> Any:
        """The smaller side gets a length in rng[0] to rng[1] - 1."""
        size = random.randint(int(rng[0]), int(rng[1]) - 1)
        return self.resize_by_list([size], 1, inplace)

    def resize_by_list(self, size_list: Sequence[int], num_case: int = 1, inplace: bool = True) -> Any:
        return self._made([partial(resize, small_size=s) for s in size_list], num_case, inplace)

    scale_by_range = resize_by_range
    scale_by_list = resize_by_list

    def rotate_by_range(self, rng: Sequence[int], inplace: bool = True) -> Any:
        """By an angle of rng[0] to rng[1] - 1 degrees."""
        return self.rotate_by_list([random.randint(int(rng[0]), int(rng[1]) - 1)], 1, inplace)

    def rotate_by_list(self, angle_list: Sequence[float], num_case: int = 1, inplace: bool = True) -> Any:
        return self._made([partial(_rotated, angle=a) for a in angle_list], num_case, inplace)

    def crop5(self, patch: Sequence[int], num_case: int = 1, inplace: bool = True) -> Any:
        """At the four corners and in the middle."""
        return self._made([partial(crop, patch=patch, position=p) for p in FIVE], num_case, inplace)

    def crop3(self, patch: Sequence[int], num_case: int = 1, inplace: bool = True) -> Any:
        """The largest squares at both ends and in the middle, resized to patch."""
        return self._made([partial(crop_and_resize, patch=patch, position=p) for p in THREE], num_case, inplace)

    def crop8(self, patch: Sequence[int], num_case: int = 1, inplace: bool = True) -> Any:
        """Those of crop5 and of crop3."""
        ways: list[Callable[[Picture], Picture]] = [partial(crop, patch=patch, position=p) for p in FIVE]
        ways += [partial(crop_and_resize, patch=patch, position=p) for p in THREE]
        return self._made(ways, num_case, inplace)

    def random_crop(self, patch: Sequence[int], inplace: bool = True) -> Any:
        """Anywhere."""

        def cut(img: Picture) -> Picture:
            rest = [side - p for side, p in zip(img.size, patch, strict=True)]
            if min(rest) < 0:
                raise BadSetting(f"a patch of {patch[0]} x {patch[1]} does not fit into a picture of {img.size}")
            x, y = (random.randint(0, r) for r in rest)
            return img.crop((x, y, x + patch[0], y + patch[1]))

        return self._made([cut], 1, inplace)

    def random_crop_resize(self, patch: Sequence[int], inplace: bool = True) -> Any:
        """A part of 8 to 100 percent of the area, of proportions 3:4 to 4:3, resized to patch."""

        def cut(img: Picture) -> Picture:
            width, height = img.size
            for _ in range(10):
                area, ratio = random.uniform(0.08, 1) * width * height, random.uniform(3 / 4, 4 / 3)
                w, h = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
                if 0 < w <= width and 0 < h <= height:
                    x, y = random.randint(0, width - w), random.randint(0, height - h)
                    part = img.crop((x, y, x + w, y + h))
                    return part.resize(tuple(patch), _pillow().Resampling.BILINEAR)
            return crop_and_resize(img, patch, "center")

        return self._made([cut], 1, inplace)

    def flip(self, num_case: int = 1, inplace: bool = True) -> Any:
        """As it is, or left and right swapped."""
        mirrored = lambda img: img.transpose(_pillow().Transpose.FLIP_LEFT_RIGHT)  # noqa: E731
        return self._made([lambda img: img, mirrored], num_case, inplace)

    def color_cast(self, offset: int = 20, inplace: bool = True) -> Any:
        if not 0 <= offset <= 255:
            raise BadSetting(f"offset is {offset}; expected 0 to 255")
        return self._made([lambda img: color_cast(img, offset)], 1, inplace)

    def enhance(self, scale: float = 0.2, inplace: bool = True) -> Any:
        if not 0 <= scale < 1:
            raise BadSetting(f"scale is {scale}; expected 0 or more, less than 1")
        return self._made([lambda img: enhance(img, scale)], 1, inplace)
