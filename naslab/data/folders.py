"""Your own images: a folder with a subfolder for each class, a table of paths and labels, or arrays.

    pictures = read_folder("flowers")              # PNG and JPEG files, flowers/rose/..., flowers/tulip/...
    sample = pictures.split(valid=0.2, test=0.2, seed=0)
    pictures.sources[sample.places["test"][0]]     # the file of the first test image

Reading decodes, turns, resizes and compares the images; `Pictures.split` splits and normalises. Nothing is left out
silently: `Pictures.skipped` and `Pictures.duplicates` name every source that is not in `sources`.
"""

import hashlib
import io
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageOps, UnidentifiedImageError

from naslab import checks
from naslab.data.arrays import distinct_names
from naslab.data.images import ImageTask, _moments, by_turns, image_task, labelled_arrays

SUFFIXES = (".png", ".jpg", ".jpeg")
SPLITS = ("train", "valid", "test")
MOST_PIXELS = 300_000_000  # of all images: 0.9 GB for three channels, before they become float32


@dataclass(frozen=True, eq=False)
class Pictures:
    """Different images x (N, C, H, W), of uint8 if they were read from files, and their labels y (N,) int64.

    `classes[k]` is the name of label k. `sources[i]` is the file of image i, or its index in the arrays. `skipped` has
    the files that could not be read and why, `duplicates` what has the same bytes as an earlier image of its class.
    """

    name: str
    classes: tuple[str, ...]
    x: np.ndarray
    y: np.ndarray
    sources: tuple[Path | int, ...]
    skipped: dict[Path, str]
    duplicates: dict[Path | int, Path | int]

    def split(self, valid: float = 0.15, test: float = 0.15, seed: int = 0) -> "Sample":
        """Splits every class at random.

        `valid` and `test` are fractions of each class, at least one image. The split depends on `seed` only. Raises
        `ValueError` if a class is too small to have an image in every split.
        """
        for what, fraction in (("valid", valid), ("test", test)):
            checks.positive(**{what: fraction})
            checks.number(0, 1, **{what: fraction})
        checks.whole(0, seed=seed)
        places: dict[str, list[int]] = {split: [] for split in SPLITS}
        for k, rng in enumerate(np.random.default_rng(seed).spawn(len(self.classes))):
            own = rng.permutation(np.flatnonzero(self.y == k))
            of_valid, of_test = (max(1, round(fraction * len(own))) for fraction in (valid, test))
            of_train = len(own) - of_valid - of_test
            if of_train < 1:
                sizes = f"{len(own)} images, which leave {of_train} for train"
                raise ValueError(f"class {self.classes[k]!r}: got {sizes}, expected at least 1 in each split")
            for split, part in zip(SPLITS, np.split(own, (of_train, of_train + of_valid)), strict=True):
                places[split].extend(part.tolist())
        found = {split: np.array(chosen) for split, chosen in places.items()}
        found = {split: chosen[by_turns(self.y[chosen])] for split, chosen in found.items()}
        sets = [(self.x[chosen], self.y[chosen]) for chosen in found.values()]
        task = image_task(self.name, self.classes, *sets)
        return Sample(task, found, *(each.ravel() for each in _moments(sets[0][0])))


@dataclass(frozen=True, eq=False)
class Sample:
    """A task, and how its images come from `Pictures`.

    `places[split]` (n,) are the images of a split in `Pictures.x`. Each channel c is (x - mean[c]) / deviation[c] with
    the mean and the standard deviation (C,) of train.
    """

    task: ImageTask
    places: dict[str, np.ndarray]
    mean: np.ndarray
    deviation: np.ndarray


def from_arrays(name: str, classes: Sequence[str], images: Any, labels: Any) -> Pictures:
    """Takes images (N, C, H, W) or (N, H, W) and labels (N,): arrays, tensors or lists.

    Images with the same bytes count once. Raises `ValueError` if two of them have different labels, if a class has no
    image, and for what `image_task` refuses.
    """
    known = distinct_names("classes", classes)
    x, y = labelled_arrays("images", (images, labels), len(known))
    kept: dict[bytes, int] = {}
    duplicates: dict[Path | int, Path | int] = {}
    for i, image in enumerate(x):
        first = kept.setdefault(hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest(), i)
        if first != i:
            duplicates[i] = first
            if y[first] != y[i]:
                both = f"images: {first} and {i} have the same bytes"
                raise ValueError(f"{both}, but the classes {known[y[first]]!r} and {known[y[i]]!r}")
    x, y = x[[*kept.values()]], y[[*kept.values()]]
    _check_classes(name, known, y)
    return Pictures(name, known, x, y, tuple(kept.values()), {}, duplicates)


def read_folder(
    folder: Path | str,
    size: int | tuple[int, int] | None = None,
    *,
    grey: bool | None = None,
    skip_unreadable: bool = False,
) -> Pictures:
    """Reads the PNG and JPEG files of a folder with one subfolder for each class, in the order of their names.

    Files in deeper folders belong to the subfolder's class. Hidden files and files of other types are not read. For
    `size` and `grey` see `read_files`. Raises `ValueError` if there are fewer than two classes, if a class has no
    image, or if a file cannot be read.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ValueError(f"folder: got {str(root)!r}, expected a folder with one subfolder for each class")
    kinds = sorted(each for each in root.iterdir() if each.is_dir() and not each.name.startswith("."))
    if len(kinds) < 2:
        got = f"{len(kinds)} subfolders" if len(kinds) != 1 else f"one subfolder, {kinds[0].name!r}"
        raise ValueError(f"{root}: got {got}, expected at least two, one for each class")
    files = {kind.name: _images_below(kind) for kind in kinds}
    for name, found in files.items():
        if not found:
            raise ValueError(f"{root / name}: got no image, expected files that end in {', '.join(SUFFIXES)}")
    labels = [label for label, name in enumerate(files) for _ in files[name]]
    paths = [path for found in files.values() for path in found]
    return read_files(root.name, paths, labels, list(files), size, grey=grey, skip_unreadable=skip_unreadable)


def read_table(
    table: Path | str,
    size: int | tuple[int, int] | None = None,
    *,
    path: str = "path",
    label: str = "label",
    grey: bool | None = None,
    skip_unreadable: bool = False,
) -> Pictures:
    """Reads the images that a CSV file names: a column of paths, relative to the file, and a column of class names.

    For `size` and `grey` see `read_files`. Raises `ValueError` if a column is missing, if a value is empty, if there
    are fewer than two classes, or if a file cannot be read.
    """
    try:
        rows = pd.read_csv(table, dtype=str, keep_default_na=False)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"table: got {str(table)!r} ({error}), expected a CSV file") from None
    for column in (path, label):
        if column not in rows:
            raise ValueError(f"{table}: got columns {', '.join(map(repr, rows.columns))}, expected {column!r}")
        if (empty := rows[column].str.strip() == "").any():
            raise ValueError(f"{table}: got no {column} in row {int(empty.to_numpy().argmax()) + 2}")
    names = sorted(set(rows[label]))
    if len(names) < 2:
        raise ValueError(f"{table}: got the class {names[0]!r} only" if names else f"{table}: got no row")
    paths = [Path(table).parent / each for each in rows[path]]
    labels = [names.index(each) for each in rows[label]]
    return read_files(Path(table).stem, paths, labels, names, size, grey=grey, skip_unreadable=skip_unreadable)


def read_files(
    name: str,
    paths: Sequence[Path],
    labels: Sequence[int],
    classes: Sequence[str],
    size: int | tuple[int, int] | None = None,
    *,
    grey: bool | None = None,
    skip_unreadable: bool = False,
) -> Pictures:
    """Reads image files. Label k stands for `classes[k]`.

    Images are turned as their camera says. If they differ in size, or if `size` is given, they are cut to the shape of
    `size` (height, width; one number: a square) around the centre, and resized; None means the size of all images, or
    32 if they differ. `grey` chooses one channel (True) or three (False); None means one if no image has colours.
    Transparent pixels become white.

    Files with the same bytes count once. Raises `ValueError` if two of them have different labels, or if a file cannot
    be read and `skip_unreadable` is False.
    """
    checks.flag(skip_unreadable=skip_unreadable)
    shape = _shape(size)
    if grey is not None:
        checks.flag(grey=grey)
    images: list[Image.Image] = []
    kept: dict[bytes, tuple[Path, int]] = {}  # by the hash of the file
    skipped: dict[Path, str] = {}
    duplicates: dict[Path | int, Path | int] = {}
    for file, label in zip(paths, labels, strict=True):
        try:
            raw = file.read_bytes()
            digest = hashlib.sha256(raw).digest()
            if digest not in kept:
                image = _decoded(raw)
        except (OSError, Unreadable) as error:
            skipped[file] = "there is no such file" if isinstance(error, FileNotFoundError) else str(error)
            continue
        if digest in kept:
            duplicates[file], other = kept[digest]
            if other != label:
                same = f"{duplicates[file]} and {file} have the same bytes"
                raise ValueError(f"{same}, but the classes {classes[other]!r} and {classes[label]!r}")
            continue
        if shape is None and images and image.size != images[0].size:
            shape = (32, 32)
            images = [_cut(each, shape) for each in images]
        images.append(_cut(image, shape) if shape else image)
        kept[digest] = file, label
        _check_memory(name, len(paths), images[0])
    if skipped and not skip_unreadable:
        shown = "; ".join(f"{file} ({why})" for file, why in list(skipped.items())[:3])
        remedy = "mend or remove them, or pass skip_unreadable=True"
        raise ValueError(f"{name}: {len(skipped)} of {len(paths)} files cannot be read: {shown}; {remedy}")
    y = np.array([label for _, label in kept.values()], dtype=np.int64)
    _check_classes(name, classes, y)
    one = all(image.mode == "L" for image in images) if grey is None else grey
    x = np.stack([_pixels(image, one) for image in images])
    return Pictures(name, tuple(classes), x, y, tuple(file for file, _ in kept.values()), skipped, duplicates)


class Unreadable(Exception):
    """A file is not an image that Pillow can decode. The message says why."""


def _check_classes(name: str, classes: Sequence[str], y: np.ndarray) -> None:
    for k, kind in enumerate(classes):
        if not (y == k).any():
            raise ValueError(f"{name}: got no readable image of class {kind!r}")


def _check_memory(name: str, files: int, image: Image.Image) -> None:
    width, height = image.size
    if (pixels := files * width * height) > MOST_PIXELS:
        got = f"{files:,} images of {height}x{width}, {pixels:,} pixels"
        raise ValueError(f"{name}: got {got}; expected at most {MOST_PIXELS:,}: pass a smaller size")


def _images_below(folder: Path) -> list[Path]:
    """The images of a folder and of the folders in it, by name. Links to folders are not followed."""
    found = []
    for here, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if not each.startswith(".")]
        found += [Path(here, each) for each in files if each.lower().endswith(SUFFIXES) and not each.startswith(".")]
    return sorted(found)


def _shape(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """(height, width)."""
    if size is None:
        return None
    height, width = size if isinstance(size, tuple) and len(size) == 2 else (size, size)
    checks.whole(4, 1025, **{"size (height)": height, "size (width)": width})
    return int(height), int(width)


def _decoded(raw: bytes) -> Image.Image:
    """The image, upright, in mode L or RGB. Raises `Unreadable`."""
    if not raw:
        raise Unreadable("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(raw), formats=("PNG", "JPEG")) as opened:
                opened.load()
                image = ImageOps.exif_transpose(opened)
    except UnidentifiedImageError:
        raise Unreadable("neither PNG nor JPEG") from None
    except Exception as error:  # of any type: decoders of damaged files raise many
        raise Unreadable(str(error).partition("\n")[0] or type(error).__name__) from None
    if image.mode.startswith("I"):  # 16 bits
        return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode in ("LA", "RGBA") or "transparency" in image.info:
        colours, over = image.mode not in ("L", "LA"), image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over)
        return image.convert("RGB" if colours else "L")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _cut(image: Image.Image, shape: tuple[int, int]) -> Image.Image:
    """The largest centred part with the proportions of `shape`, resized to it."""
    height, width = shape
    return ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)


def _pixels(image: Image.Image, grey: bool) -> np.ndarray:
    """(C, H, W) uint8."""
    pixels = np.asarray(image.convert("L" if grey else "RGB"))
    return pixels[None] if grey else pixels.transpose(2, 0, 1)
