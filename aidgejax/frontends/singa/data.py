"""singa.data: batches of images that a list names, made by a function of the path."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ._errors import BadSetting


class ImageBatchIter:
    """Batches without end of the images that a file lists, one per line: <path><delimiter><label>.

        batches = ImageBatchIter("train.txt", 32, transform, image_folder="images")
        batches.start()
        for _ in range(batches.num_samples // 32):
            x, y = next(batches)
        batches.end()

    image_transform(path) gives a list of pictures (of Pillow, or arrays).  x: f[batch_size, channels, height, width];
    y: i32[batch_size] where all labels are numbers, else a list of what follows the path.  capacity: accepted; batches
    are made when they are asked for.
    Raises BadSetting where batch_size is below 1, the list is empty, an image gives more pictures than a batch holds,
    or the pictures of a batch differ in size.
    """

    def __init__(
        self,
        img_list_file: str,
        batch_size: int,
        image_transform: Callable[[str], list[Any]],
        shuffle: bool = True,
        delimiter: str = " ",
        image_folder: str | None = None,
        capacity: int = 10,
    ) -> None:
        if batch_size < 1:
            raise BadSetting(f"batch_size is {batch_size}; expected 1 or more")
        self.img_list_file, self.batch_size, self.image_transform = img_list_file, batch_size, image_transform
        self.shuffle, self.delimiter, self.image_folder = shuffle, delimiter, image_folder or ""
        with open(img_list_file, encoding="utf-8") as f:
            lines = [line.strip() for line in f if line.strip()]
        self.samples = [tuple(line.split(delimiter, 1)) for line in lines]
        self.num_samples = len(self.samples)
        if not self.samples:
            raise BadSetting(f"{img_list_file!r} lists no image")
        self._batches: Iterator[tuple[np.ndarray, Any]] | None = None

    def start(self) -> None:
        self._batches = self._made()

    def end(self) -> None:
        self._batches = None

    def __iter__(self) -> ImageBatchIter:
        return self

    def __next__(self) -> tuple[np.ndarray, Any]:
        if self._batches is None:
            raise BadSetting("call start before next")
        return next(self._batches)

    next = __next__

    def _made(self) -> Iterator[tuple[np.ndarray, Any]]:
        pictures: list[np.ndarray] = []
        labels: list[str] = []
        while True:
            for sample in random.sample(self.samples, self.num_samples) if self.shuffle else self.samples:
                path = os.path.join(self.image_folder, sample[0])
                found = [_channels_first(p) for p in self.image_transform(path)]
                if len(found) > self.batch_size:
                    raise BadSetting(f"{path!r} gives {len(found)} pictures, a batch holds {self.batch_size}")
                if len(pictures) + len(found) > self.batch_size:
                    found = found[: self.batch_size - len(pictures)]
                pictures += found
                labels += [sample[1] if len(sample) > 1 else ""] * len(found)
                if len(pictures) == self.batch_size:
                    yield _stacked(pictures), _as_numbers(labels)
                    pictures, labels = [], []


def _channels_first(picture: Any) -> np.ndarray:
    array = np.asarray(picture, np.float32)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def _stacked(pictures: list[np.ndarray]) -> np.ndarray:
    sizes = {p.shape for p in pictures}
    if len(sizes) > 1:
        raise BadSetting(f"the pictures of a batch differ in size: {sorted(sizes)}; let image_transform resize them")
    return np.stack(pictures)


def _as_numbers(labels: list[str]) -> Any:
    return np.array(labels, np.int32) if all(s.isdigit() for s in labels) else labels
