"""Small sets of images, as arrays and as files."""

import io
import struct
import tarfile
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from naslab import data
from naslab.data import Images

ASSETS = Path(str(files("naslab.assets")))
SPLITS = ("train", "valid", "test")


def arrays(n=40, shape=(1, 6, 6), classes=4, seed=0):
    """Images and labels that a task can be made of."""
    return np.random.default_rng(seed).normal(3, 2, (n, *shape)), np.arange(n) % classes


def own(**splits):
    """A task whose splits are `arrays`, but for those that are given."""
    return data.image_task("own", "abcd", **({split: arrays() for split in SPLITS} | splits))


def spoilt(place, value, of=0):
    """The arrays with one pixel, or with `of` 1 one label, replaced."""
    found = [a.astype(np.float64) for a in arrays()]
    found[of][place] = value
    return tuple(found)


def numbered(n):
    """Images whose pixel and label say which they are."""
    return Images(torch.arange(n, dtype=torch.float32).reshape(n, 1, 1, 1), torch.arange(n))


def idx(array):
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def cifar_archive(path, change=lambda members: None, folder="cifar-10-batches-bin/"):
    rng = np.random.default_rng(0)
    names = [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]
    members = {"batches.meta.txt": b"airplane\n"}
    for name in names:
        records = rng.integers(256, size=(4, 3073), dtype=np.uint8)
        records[:, 0] = rng.integers(10, size=4)
        members[name] = records.tobytes()
    change(members)
    with tarfile.open(path, "w:gz") as archive:
        for name, raw in members.items():
            info = tarfile.TarInfo(folder + name)
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    return members
