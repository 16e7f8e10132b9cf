"""A trained network as a file that runs without naslab: ONNX, and torch.export.

The network that is written takes what the reader has: images as they were measured, not normalised, or characters. It
returns probabilities. Names, normalisation and provenance are inside the file.
"""

import copy
import json
import logging
import platform
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from naslab.automl.runner import Result
from naslab.automl.work import data_hash, labels_of
from naslab.data import ImageTask
from naslab.data.folders import Sample

CLOSE = 1e-4  # largest difference of an output between the file and torch
Use = Callable[[dict[str, Tensor]], Sequence[np.ndarray]]  # a batch -> outputs


class FromPixels(nn.Module):
    """Pixels (N, C, H, W) float32, as the image file has them -> probabilities (N, classes)."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, model: nn.Module, mean: np.ndarray, deviation: np.ndarray) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation, dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model((pixels - self.mean) / self.deviation).softmax(-1)


class NextToken(nn.Module):
    """Tokens (N,) int64 and the states h and c (layers, N, units) -> probabilities (N, vocabulary), and new states."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, token: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, state = self.model(token[None], list(zip(h, c, strict=True)))
        h, c = (torch.stack(part) for part in zip(*state, strict=True))
        return logits[0].softmax(-1), h, c


@dataclass(frozen=True, eq=False)
class Deployment:
    """A network, inputs for it (a batch of two), the names of its inputs and outputs, and what is written beside it.

    `batch` is the axis of each input that may have any length.
    """

    network: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    batch: tuple[int, ...]
    info: dict[str, Any]


def deployment(result: Result, sample: Sample | None = None) -> Deployment:
    """Returns the best network of a run, ready to be written. Images need the sample that the task came from.

    Raises `ValueError` if the sample is missing or is not that of the run.
    """
    task, model = result.task, copy.deepcopy(result.model).cpu()  # the run's own stays on its device
    info = {"names": labels_of(task), "plan": str(result.plan), **provenance(result)}
    if not isinstance(task, ImageTask):
        state = torch.zeros(result.plan.depth, 2, result.plan.width)
        inputs = {"token": task.valid[:2].cpu(), "h": state, "c": state.clone()}
        return Deployment(NextToken(model), inputs, ("probabilities", "h_next", "c_next"), (0, 1, 1), info)
    if sample is None or sample.task is not task:
        raise ValueError("sample: got none or another one, expected the Sample whose task was searched")
    info |= {"mean": sample.mean.tolist(), "deviation": sample.deviation.tolist(), "shape": task.shape}
    network = FromPixels(model, sample.mean, sample.deviation)
    pixels = task.valid.x[:2].cpu() * network.deviation + network.mean
    return Deployment(network.eval(), {"pixels": pixels}, ("probabilities",), (0,), info)


def provenance(result: Result) -> dict[str, Any]:
    """What tells where a network comes from: data, plan, cell, score, seed, versions."""
    best = result.trained[result.best]
    packages = ("naslab", "torch", "numpy")
    return {
        "data": {"name": result.task.name, "sha256": data_hash(result.task)},
        "network": result.best,
        "cell": json.dumps({name: nodes for name, nodes in result.plan.space.pairs(best.tokens).items()}),
        "parameters": best.parameters,
        "valid": best.valid,
        "epochs": result.epochs,
        "seed": result.plan.seed,
        "minutes": result.seconds / 60,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }


def export(what: Deployment, path: Path | str) -> float:
    """Writes an ONNX file (`.onnx`) or an archive of `torch.export` (`.pt2`), and returns how far it is from torch.

    The file takes batches of any size. It holds `info`: ONNX in its metadata, each value as JSON; `torch.export` in the
    extra file "info.json". The difference is the largest one of any output, in batches of 1, 2 and 5. If it is above
    1e-4, nothing is written and the error is `RuntimeError`. Raises `ValueError` for another ending of `path`, and
    `ImportError` if onnx, onnxscript or onnxruntime is missing.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise ValueError(f"path: got {str(path)!r}, expected a name that ends in {' or '.join(FORMATS)}")
    write, load = FORMATS[path.suffix]
    part = path.with_name(f"part-of-{path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        what.network.eval()
        write(what, part)
        use = load(part)
        worst = max(difference(what.network, resized(what, size), use) for size in (1, 2, 5))
        if not worst <= CLOSE:
            raise RuntimeError(f"{path}: differs from torch by {worst:.2g}, allowed is {CLOSE:g}")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return worst


def write_onnx(what: Deployment, path: Path) -> None:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        program = torch.onnx.export(
            what.network,
            tuple(what.inputs.values()),
            dynamo=True,
            verbose=False,
            input_names=[*what.inputs],
            output_names=[*what.outputs],
            dynamic_shapes=shapes(what),
        )
    assert program is not None
    program.model.metadata_props.update({name: json.dumps(value) for name, value in what.info.items()})
    program.save(path)


def load_onnx(path: Path) -> Use:
    import onnxruntime  # needed here only, and slow to import

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {name: value.numpy() for name, value in batch.items()})


def write_torch(what: Deployment, path: Path) -> None:
    program = torch.export.export(what.network, tuple(what.inputs.values()), dynamic_shapes=shapes(what))
    torch.export.save(program, path, extra_files={"info.json": json.dumps(what.info)})


def load_torch(path: Path) -> Use:
    network = torch.export.load(path).module()
    return lambda batch: [each.detach().numpy() for each in outputs(network(*batch.values()))]


FORMATS: dict[str, tuple[Callable[[Deployment, Path], None], Callable[[Path], Use]]] = {
    ".onnx": (write_onnx, load_onnx),
    ".pt2": (write_torch, load_torch),
}


def shapes(what: Deployment) -> tuple[dict[int, Any], ...]:
    batch = torch.export.Dim("batch")
    return tuple({axis: batch} for axis in what.batch)


def resized(what: Deployment, size: int) -> dict[str, Tensor]:
    """The inputs with another number of samples: the first one again and again, each time a tenth smaller."""
    found = {}
    for (name, value), axis in zip(what.inputs.items(), what.batch, strict=True):
        one = value.narrow(axis, 0, 1)
        found[name] = torch.cat([one * (1 - 0.1 * k) if one.is_floating_point() else one for k in range(size)], axis)
    return found


@torch.no_grad()
def difference(network: nn.Module, batch: dict[str, Tensor], use: Use) -> float:
    pairs = zip(outputs(network(*batch.values())), use(batch), strict=True)
    return max(float(np.abs(expected.numpy() - found).max()) for expected, found in pairs)


def outputs(found: Any) -> tuple[Tensor, ...]:
    return found if isinstance(found, tuple) else (found,)
