"""Labelled images: the task, its construction from arrays, and batches."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from naslab.data.arrays import as_array, check_finite, check_range, check_tensors, distinct_names, stretches, whole

Labelled = tuple[Any, Any]  # pixels (N, C, H, W) or (N, H, W), labels (N,): arrays, tensors or lists
Arrays = tuple[np.ndarray, np.ndarray]  # after the checks: pixels (N, C, H, W), labels (N,) int64


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images: x (N, C, H, W) float32, normalised; y (N,) int64.

    Raises `ValueError` if the shapes do not fit. On the CPU also if a pixel is not finite or a label is below 0.
    """

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        check_tensors(x=self.x, y=self.y)
        if self.x.ndim != 4 or not self.x.is_floating_point():
            remedy = "; add a channel axis with x[:, None]" if self.x.ndim == 3 else ""
            raise ValueError(f"x: got {self.x.dtype} {tuple(self.x.shape)}, expected floats (N, C, H, W){remedy}")
        if self.y.shape != self.x.shape[:1] or self.y.dtype != torch.int64:
            raise ValueError(f"y: got {self.y.dtype} {tuple(self.y.shape)}, expected int64 ({len(self.x)},)")
        if self.x.device.type == "cpu" and self.x.numel():
            if not all(map(math.isfinite, torch.stack(self.x.aminmax()).tolist())):
                bad = int(self.x.isfinite().flatten(1).all(1).logical_not().nonzero()[0])
                raise ValueError(f"x: got a pixel that is not finite in image {bad}, expected finite numbers")
            if self.y.min() < 0:
                raise ValueError(f"y: got label {self.y.min()}, expected labels of at least 0")

    def __len__(self) -> int:
        return len(self.y)

    def head(self, n: int | None) -> "Images":
        """Returns the first n images; None means all."""
        n = len(self) if n is None else whole("n", n, 0, len(self))
        return Images(self.x[:n], self.y[:n])

    def to(self, device: torch.device | str) -> "Images":
        return Images(self.x.to(device), self.y.to(device))


@dataclass(frozen=True, eq=False)
class ImageTask:
    """A classification task with three splits of images. Label k stands for `classes[k]`.

    The sets of this package are ordered so that every prefix of a split is stratified: the classes alternate. Raises
    `ValueError` if the splits' images differ in shape, or (checked on the CPU) if a label has no class.
    """

    name: str
    classes: tuple[str, ...]
    train: Images
    valid: Images
    test: Images

    def __post_init__(self) -> None:
        for split in ("train", "valid", "test"):
            images = getattr(self, split)
            if not isinstance(images, Images):
                raise ValueError(f"{split}: got {type(images).__name__}, expected Images; `image_task` takes arrays")
            if (shape := tuple(images.x.shape[1:])) != self.shape:
                raise ValueError(f"{split}: got images {shape}, expected {self.shape} as in train")
            if images.y.device.type == "cpu" and len(images) and images.y.max() >= len(self.classes):
                raise ValueError(f"{split}: got label {images.y.max()}, expected 0 to {len(self.classes) - 1}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image."""
        _, channels, height, width = self.train.x.shape
        return channels, height, width

    def head(self, train: int | None = None, valid: int | None = None, test: int | None = None) -> "ImageTask":
        """Returns a task with the first images of each split. Their normalisation does not change."""
        return replace(self, train=self.train.head(train), valid=self.valid.head(valid), test=self.test.head(test))

    def to(self, device: torch.device | str) -> "ImageTask":
        return replace(self, train=self.train.to(device), valid=self.valid.to(device), test=self.test.to(device))


def image_task(name: str, classes: Sequence[str], train: Labelled, valid: Labelled, test: Labelled) -> ImageTask:
    """Makes a task from arrays, tensors or lists.

    Pixels are (N, C, H, W), or (N, H, W) for one channel, of any real type. Labels (N,) are whole numbers from 0 to
    len(classes) - 1. Each channel is normalised in float64 with its mean and standard deviation in train. `split`
    divides one set into three splits. Raises `ValueError` with split, index and remedy for invalid data.
    """
    classes = distinct_names("classes", classes)
    splits = {
        split: labelled_arrays(split, labelled, len(classes))
        for split, labelled in (("train", train), ("valid", valid), ("test", test))
    }
    mean, deviation = _moments(splits["train"][0])

    def images(split: str, x: np.ndarray, y: np.ndarray) -> Images:
        if x.shape[1:] != (shape := splits["train"][0].shape[1:]):
            raise ValueError(f"{split}: got images {x.shape[1:]}, expected {shape} as in train")
        normalised = np.empty(x.shape, np.float32)
        with np.errstate(over="ignore"):
            for some in stretches(x):
                normalised[some] = (x[some] - mean) / deviation
        check_finite(split, normalised)
        return Images(torch.from_numpy(normalised), torch.from_numpy(y))

    return ImageTask(name, classes, *(images(split, x, y) for split, (x, y) in splits.items()))


def split(
    images: Any, labels: Any, valid: float = 0.1, test: float = 0.1, seed: int = 0
) -> tuple[Labelled, Labelled, Labelled]:
    """Splits one set at random, stratified by label, into train, valid and test for `image_task`:

        image_task("mine", ("cat", "dog"), *split(images, labels, valid=0.2, test=0.2, seed=0))

    `valid` and `test` are fractions of the set. The split depends on `seed` only.
    """
    for name, fraction in (("valid", valid), ("test", test)):
        if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 < fraction < 1:
            raise ValueError(f"{name}: got {fraction!r}, expected a fraction between 0 and 1")
    x, y = labelled_arrays("images", (images, labels))
    in_valid, in_test = round(valid * len(y)), round(test * len(y))
    in_train = len(y) - in_valid - in_test
    if min(in_train, in_valid, in_test) < 1:
        raise ValueError(
            f"valid, test: got {valid}, {test}, which leave {in_train}, {in_valid}, {in_test} of {len(y)} images "
            "for train, valid, test; expected at least 1 in each"
        )
    order = np.random.default_rng(whole("seed", seed, 0)).permutation(len(y))
    order = order[by_turns(y[order])]
    first, second, third = ((x[part], y[part]) for part in np.split(order, (in_train, in_train + in_valid)))
    return first, second, third


def labelled_arrays(where: str, labelled: Labelled, classes: float = math.inf) -> Arrays:
    """Returns pixels (N, C, H, W) and labels (N,) int64. Raises `ValueError` for invalid pixels or labels."""
    try:
        images, labels = labelled
    except (TypeError, ValueError):
        raise ValueError(f"{where}: got {type(labelled).__name__}, expected a pair (images, labels)") from None
    x, y = as_array(f"{where} images", images), as_array(f"{where} labels", labels)
    for name, array in (("images", x), ("labels", y)):
        if array.dtype.kind not in "buif":
            raise ValueError(f"{where}: got {name} of type {array.dtype}, expected real numbers")
    x = x[:, None] if x.ndim == 3 else x
    if x.ndim == 4 and x.shape[3] in (1, 3, 4) and min(x.shape[1:3]) > 4:  # channels last
        remedy = "transpose(0, 3, 1, 2)" if not isinstance(images, Tensor) else "permute(0, 3, 1, 2)"
        raise ValueError(
            f"{where}: got images of shape {x.shape}, expected (N, C, H, W); move the channels with images.{remedy}"
        )
    if x.ndim != 4 or not x.size or y.shape != x.shape[:1]:
        raise ValueError(f"{where}: got pixels {x.shape} and labels {y.shape}, expected (N, C, H, W) and (N,)")
    check_finite(where, x)
    if y.dtype.kind == "f" and not (whole := np.isfinite(y) & (y == np.floor(y))).all():
        bad = int(whole.argmin())
        raise ValueError(f"{where}: got label {y[bad]} at index {bad}, expected whole numbers from 0")
    check_range(where, y, "label", classes)
    return x, y.astype(np.int64)


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and standard deviation of every channel of x (N, C, H, W), both (1, C, 1, 1) float64.

    The standard deviation of a constant channel is set to 1. The second of two passes sums the deviations from the
    mean. For whole numbers it sums the deviations from the nearest whole number, which is exact and therefore the same
    on every machine.
    """
    over = (0, 2, 3)
    n = x.size // x.shape[1]
    least, most = x.min(over, keepdims=True), x.max(over, keepdims=True)
    constant = least == most
    with np.errstate(over="ignore", invalid="ignore"):
        mean = sum(x[some].sum(over, dtype=np.float64, keepdims=True) for some in stretches(x)) / n
        mean = np.where(constant, least, mean)
        near = np.rint(mean) if x.dtype.kind in "bui" else mean
        first, second = np.zeros_like(mean), np.zeros_like(mean)
        for some in stretches(x):
            d = x[some] - near
            first += d.sum(over, keepdims=True)
            second += np.square(d, out=d).sum(over, keepdims=True)
        deviation = np.sqrt(np.maximum(second / n - (first / n) ** 2, 0))
    deviation[constant] = 1
    if not np.isfinite(deviation).all() or not deviation.all():
        raise ValueError(
            f"train: got pixels from {x.min()} to {x.max()}: float64 cannot hold their squares; scale them"
        )
    return mean, deviation


@lru_cache(maxsize=8)
def _permutation(n: int, seed: int, epoch: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng((seed, epoch)).permutation(n))


def image_batches(images: Images, size: int) -> int:
    """Number of batches of `size` per epoch. Images that do not fill a batch are left out."""
    return len(images) // whole("size", size, 1, len(images))


def image_batch(images: Images, index: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Returns batch `index`, x (size, C, H, W) and y (size,). Depends on (seed, index) only.

    An epoch has `image_batches` batches; `index` counts on through all epochs. Each epoch uses a new permutation of the
    images, drawn from (seed, epoch).
    """
    epoch, place = divmod(whole("index", index, 0), image_batches(images, size))
    chosen = _permutation(len(images), whole("seed", seed, 0), epoch)[place * size : (place + 1) * size]
    chosen = chosen.to(images.x.device)
    return images.x[chosen], images.y[chosen]


def by_turns(y: np.ndarray) -> np.ndarray:
    """Returns an order of the labels y (N,) in which every stretch is stratified.

    Each class is spread evenly. Within a class the samples keep their order.
    """
    turn = np.empty(len(y))
    for label in np.unique(y):
        of_class = y == label
        turn[of_class] = (np.arange(of_class.sum()) + 0.5) / of_class.sum()
    return np.lexsort((y, turn))
