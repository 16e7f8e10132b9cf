"""Makes fashion_mnist.npz from Debian's package dataset-fashion-mnist.

    python -m naslab.assets.make_fashion_mnist [/usr/share/datasets/fashion-mnist]

The file has 6,000 training and 2,000 validation images of the official training set, and 2,000 test images of the
official test set. They are the first images of each class in the official order, without duplicates. The classes
alternate, so the first 10 k images have k images of each class.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from naslab.data import Labelled, read_idx
from naslab.data.files import FASHION

SOURCE = "/usr/share/datasets/fashion-mnist"
CLASSES = 10


def first_of_each(x: np.ndarray, y: np.ndarray, per_class: int, seen: set[bytes]) -> np.ndarray:
    """Returns the positions (per_class * CLASSES,) of the first images of each class, with alternating classes.

    Skips images whose pixels are in `seen`, and adds those of the others to it.
    """
    found: list[list[int]] = [[] for _ in range(CLASSES)]
    for place, label in enumerate(y):
        pixels = x[place].tobytes()
        if len(found[label]) < per_class and pixels not in seen:
            found[label].append(place)
            seen.add(pixels)
    return np.array(found).T.ravel()


def subset(train: Labelled, test: Labelled, counts: tuple[int, int, int] = (600, 200, 200)) -> dict[str, Any]:
    """Returns the arrays to store, from the official (images, labels). `counts`: per class in train, valid, test."""
    seen: set[bytes] = set()
    held_out = first_of_each(*test, counts[2], seen)
    chosen = first_of_each(*train, counts[0] + counts[1], seen)
    places = {"train": chosen[: counts[0] * CLASSES], "valid": chosen[counts[0] * CLASSES :], "test": held_out}
    arrays: dict[str, Any] = {}
    for split, place in places.items():
        x, y = test if split == "test" else train
        arrays |= {f"{split}_x": x[place], f"{split}_y": y[place]}
    return arrays


def main(source: str = SOURCE, folder: str = str(Path(__file__).parent)) -> None:
    train_x, train_y, test_x, test_y = (read_idx(Path(source) / name) for name in FASHION)
    np.savez_compressed(Path(folder) / "fashion_mnist.npz", **subset((train_x, train_y), (test_x, test_y)))


if __name__ == "__main__":
    main(*sys.argv[1:])
