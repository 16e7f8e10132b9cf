"""Any data that a path names, read and split."""

from dataclasses import replace
from pathlib import Path

import torch

from naslab.data import ImageTask, TextTask
from naslab.data.documents import read_text
from naslab.data.folders import Sample, read_folder, read_table


def read(
    path: Path | str,
    size: int | tuple[int, int] | None = None,
    *,
    seed: int = 0,
    skip_unreadable: bool = False,
    device: torch.device | str = "cpu",
) -> tuple[ImageTask | TextTask, Sample | None]:
    """Reads a folder of images, a table (`.csv`) of images, or a text (`.txt`).

    Returns the task on the device and, for images, the sample that it came from. `size` and `skip_unreadable` are those
    of `read_folder`; the split depends on `seed`. Raises `ValueError` for another kind of path, and for what the
    readers refuse.
    """
    path = Path(path)
    if path.suffix.lower() == ".txt" and path.is_file():
        return read_text(path).to(device), None
    if path.is_dir():
        sample = read_folder(path, size, skip_unreadable=skip_unreadable).split(seed=seed)
    elif path.suffix.lower() == ".csv" and path.is_file():
        sample = read_table(path, size, skip_unreadable=skip_unreadable).split(seed=seed)
    else:
        raise ValueError(f"data: got {str(path)!r}, expected a folder, or a file that ends in .csv or .txt")
    sample = replace(sample, task=sample.task.to(device))
    return sample.task, sample
