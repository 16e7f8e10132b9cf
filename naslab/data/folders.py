"""Your own images: a folder with a subfolder for each class, a table of paths and labels, or arrays.

    pictures = read_folder("flowers")              # PNG and JPEG files, flowers/rose/..., flowers/tulip/...
    sample = pictures.split(valid=0.2, test=0.2, seed=0)
    pictures.sources[sample.places["test"][0]]     # the file of the first test image

Reading decodes, turns, resizes and compares the images; `Pictures.split` splits and normalises. Nothing is left out
silently: `Pictures.skipped` and `Pictures.duplicates` name every source that is not in `sources`.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from naslab import checks
from naslab.data.arrays import distinct_names
from naslab.data.decoding import Unreadable, cut, decoded, height_and_width, pixels
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

    def split(self, valid: float = 0.15, test: float = 0.15, seed: int = 0, groups: Any = None) -> "Sample":
        """Splits every class at random.

        `valid` and `test` are fractions of each class, at least one image. `groups` (N,) has a whole number for each
        image: images with the same number are not separated, and the fractions are met as nearly as that allows. The
        split depends on `seed` and `groups` only. Raises `ValueError` if a split has no image of a class.
        """
        for what, fraction in (("valid", valid), ("test", test)):
            checks.positive(**{what: fraction})
            checks.number(0, 1, **{what: fraction})
        checks.whole(0, seed=seed)
        found = self._by_class(valid, test, seed) if groups is None else self._by_group(valid, test, seed, groups)
        found = {split: chosen[by_turns(self.y[chosen])] for split, chosen in found.items()}
        sets = [(self.x[chosen], self.y[chosen]) for chosen in found.values()]
        task = image_task(self.name, self.classes, *sets)
        return Sample(task, found, *(each.ravel() for each in _moments(sets[0][0])))

    def _by_class(self, valid: float, test: float, seed: int) -> dict[str, np.ndarray]:
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
        return {split: np.array(chosen) for split, chosen in places.items()}

    def _by_group(self, valid: float, test: float, seed: int, groups: Any) -> dict[str, np.ndarray]:
        """Puts each group into the split that lacks most of its classes: large ones first, equal ones at random."""
        of = np.asarray(groups)
        if of.shape != self.y.shape or of.dtype.kind not in "iu":
            got = f"{of.dtype} of shape {of.shape}"
            raise ValueError(f"groups: got {got}, expected whole numbers of shape {self.y.shape}")
        if valid + test >= 1:
            raise ValueError(f"test: got {test:g}, expected less than {1 - valid:g}, so that train has images")
        of = np.unique(of, return_inverse=True)[1]
        counts = np.zeros((of.max() + 1, len(self.classes)))
        np.add.at(counts, (of, self.y), 1)
        to_come = (counts > 0).sum(0)  # groups of each class
        for kind, number in zip(self.classes, to_come, strict=True):
            if number < len(SPLITS):
                raise ValueError(f"groups: got {number} for class {kind!r}, expected at least 1 in each split")
        order = np.random.default_rng(seed).permutation(len(counts))
        order = order[np.argsort(-np.log2(counts[order].sum(1)).round(), kind="stable")]  # twice as large: earlier
        fractions, have = np.array([[1 - valid - test], [valid], [test]]), np.zeros((len(SPLITS), len(self.classes)))
        chosen = np.zeros(len(counts), dtype=np.int64)
        for group in order:
            share = counts[group] / counts.sum(0)
            to_come = to_come - (share > 0)
            without = (have == 0).sum(0) - ((have == 0) & (share > 0))  # a row for each split it may go to
            unmet = np.maximum(without - to_come, 0).sum(1)
            error = (share * (2 * (have - fractions) + share) / fractions).sum(1)  # (have - f)^2 / f grows
            chosen[group] = np.lexsort((error, unmet))[0]
            have[chosen[group]] += share
        found = {split: np.flatnonzero(chosen[of] == k) for k, split in enumerate(SPLITS)}
        for split, places in found.items():
            for kind in np.setdiff1d(np.arange(len(self.classes)), self.y[places]):
                raise ValueError(f"groups: got too few: {split} has no image of class {self.classes[kind]!r}")
        return found


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

    def pixels(self, images: Any) -> np.ndarray:
        """Normalised images (N, C, H, W) of the task as they were before, float64 (N, C, H, W)."""
        x = np.asarray(images.detach().cpu() if isinstance(images, torch.Tensor) else images, np.float64)
        return x * self.deviation[:, None, None] + self.mean[:, None, None]


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
    shape = height_and_width(size)
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
                image = decoded(raw)
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
            images = [cut(each, shape) for each in images]
        images.append(cut(image, shape) if shape else image)
        kept[digest] = file, label
        _check_memory(name, len(paths), images[0])
    if skipped and not skip_unreadable:
        shown = "; ".join(f"{file} ({why})" for file, why in list(skipped.items())[:3])
        remedy = "mend or remove them, or pass skip_unreadable=True"
        raise ValueError(f"{name}: {len(skipped)} of {len(paths)} files cannot be read: {shown}; {remedy}")
    y = np.array([label for _, label in kept.values()], dtype=np.int64)
    _check_classes(name, classes, y)
    one = all(image.mode == "L" for image in images) if grey is None else grey
    x = np.stack([pixels(image, one) for image in images])
    return Pictures(name, tuple(classes), x, y, tuple(file for file, _ in kept.values()), skipped, duplicates)


def _check_classes(name: str, classes: Sequence[str], y: np.ndarray) -> None:
    for k, kind in enumerate(classes):
        if not (y == k).any():
            raise ValueError(f"{name}: got no readable image of class {kind!r}")


def _check_memory(name: str, files: int, image: Image.Image) -> None:
    width, height = image.size
    if (number := files * width * height) > MOST_PIXELS:
        got = f"{files:,} images of {height}x{width}, {number:,} pixels"
        raise ValueError(f"{name}: got {got}; expected at most {MOST_PIXELS:,}: pass a smaller size")


def _images_below(folder: Path) -> list[Path]:
    """The images of a folder and of the folders in it, by name. Links to folders are not followed."""
    found = []
    for here, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if not each.startswith(".")]
        found += [Path(here, each) for each in files if each.lower().endswith(SUFFIXES) and not each.startswith(".")]
    return sorted(found)
