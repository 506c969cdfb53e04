"""Databases of pictures that are read from local files, in the formats in which they are published."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np

from ..aidge_core.data import Database
from ..aidge_core.errors import ProviderError
from ..aidge_core.tensor import Tensor

IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_idx(path: Path) -> np.ndarray:
    """An IDX file, also with gzip: two zero bytes, the element type, the number of axes, the sizes, the elements."""
    raw = path.read_bytes()
    if path.suffix == ".gz":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError) as e:
            raise ProviderError(f"{path} is no gzip file, or a damaged one: {e}") from None
    rank = raw[3] if len(raw) > 3 else 0
    if raw[:2] != b"\0\0" or len(raw) < 4 + 4 * rank or raw[2] not in IDX_TYPES:
        raise ProviderError(f"{path} is no IDX file: it begins with {raw[:4].hex()}, expected 0000, a type and a rank")
    shape = np.frombuffer(raw, ">u4", rank, 4).astype(int)
    kind = np.dtype(IDX_TYPES[raw[2]])
    body = raw[4 + 4 * rank :]
    if len(body) != int(np.prod(shape)) * kind.itemsize:
        raise ProviderError(f"{path} says {shape.tolist()} of {kind.name}, but holds {len(body)} bytes of elements")
    return np.frombuffer(body, kind).reshape(shape).astype(kind.newbyteorder("="))


class _Pictures(Database):
    """Pictures u1[n, c, h, w] and labels u1[n]: item i is [Tensor [c, h, w], Tensor [1]]."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, where: Any) -> None:
        if len(images) != len(labels):
            raise ProviderError(f"{where}: {len(images)} pictures, but {len(labels)} labels")
        self._images, self._labels = images, labels

    def get_item(self, index: int) -> list[Tensor]:
        if not 0 <= index < len(self._images):
            raise ProviderError(f"item {index} of {len(self._images)} (0 to {len(self._images) - 1})")
        return [Tensor(self._images[index]), Tensor(self._labels[index : index + 1])]

    def len(self) -> int:
        return len(self._images)

    def get_nb_modalities(self) -> int:
        return 2


def _existing(folder: Path, *names: str) -> Path:
    for name in names:
        for found in (folder / name, folder / f"{name}.gz"):
            if found.is_file():
                return found
    raise ProviderError(f"there is no {' or '.join(names)} (nor .gz) in {str(folder)!r}; nothing is downloaded")


class MNIST(_Pictures):
    """MNIST(folder, train): the four IDX files of the handwritten digits, as published, with or without gzip.

    Pictures are uint8 [1, 28, 28], labels uint8 [1].  load_data_in_memory: they always are.
    """

    def __init__(self, data_path: Any, train: bool = True, load_data_in_memory: bool = False) -> None:
        folder, part = Path(data_path), "train" if train else "t10k"
        images = read_idx(_existing(folder, f"{part}-images-idx3-ubyte", f"{part}-images.idx3-ubyte"))
        labels = read_idx(_existing(folder, f"{part}-labels-idx1-ubyte", f"{part}-labels.idx1-ubyte"))
        if images.ndim != 3 or labels.ndim != 1:
            raise ProviderError(
                f"{folder}: pictures have {images.ndim} axes and labels {labels.ndim}; expected 3 and 1"
            )
        super().__init__(images[:, None], labels, folder)


class _Cifar(_Pictures):
    labels = 1
    files_train: tuple[str, ...] = ("data_batch_1.bin",)
    files_test: tuple[str, ...] = ("test_batch.bin",)

    def __init__(self, data_path: Any, train: bool = True, load_data_in_memory: bool = False) -> None:
        folder = Path(data_path)
        rows = []
        for name in self.files_train if train else self.files_test:
            path = _existing(folder, name)
            raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            width = self.labels + 3 * 32 * 32
            if not raw or len(raw) % width:
                raise ProviderError(f"{path} has {len(raw)} bytes, no multiple of {width}: is it the binary version?")
            rows.append(np.frombuffer(raw, "u1").reshape(-1, width))
        data = np.concatenate(rows)
        super().__init__(data[:, self.labels :].reshape(-1, 3, 32, 32), data[:, self.labels - 1], folder)


class CIFAR10(_Cifar):
    """CIFAR10(folder, train): the binary version.  Pictures are uint8 [3, 32, 32], labels uint8 [1]."""

    files_train = tuple(f"data_batch_{k}.bin" for k in range(1, 6))


class CIFAR100(_Cifar):
    """CIFAR100(folder, train): the binary version; labels are the fine ones."""

    labels = 2
    files_train = ("train.bin",)
    files_test = ("test.bin",)
