"""How well a network does on test data that nothing was chosen by, and what it costs to use."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats
from torch import nn

from naslab import checks
from naslab.data import Images, TextTask
from naslab.statistics import Interval, interval


@dataclass(frozen=True, eq=False)
class Classified:
    """Probabilities (N, K) that a network gave to images, and their true labels (N,)."""

    probabilities: np.ndarray
    labels: np.ndarray

    @cached_property
    def predicted(self) -> np.ndarray:
        return self.probabilities.argmax(1)

    @property
    def accuracy(self) -> float:
        return float((self.predicted == self.labels).mean())

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The accuracy's interval by Wilson (1927). It assumes that the images were drawn independently."""
        right = int((self.predicted == self.labels).sum())
        found = stats.binomtest(right, len(self.labels)).proportion_ci(level, method="wilson")
        return float(found.low), float(found.high)

    @property
    def confusion(self) -> np.ndarray:
        """Counts (K, K): row k has the images of class k, column j those that were taken for class j."""
        classes = self.probabilities.shape[1]
        both = classes * self.labels + self.predicted
        return np.bincount(both, minlength=classes**2).reshape(classes, classes)

    @property
    def wrong(self) -> np.ndarray:
        """The images that were taken for another class, the most confident mistake first."""
        mistakes = np.flatnonzero(self.predicted != self.labels)
        return mistakes[np.argsort(-self.probabilities[mistakes].max(1), kind="stable")]


@torch.no_grad()
def classified(model: nn.Module, images: Images, batch_size: int = 500) -> Classified:
    """Classifies all images, in evaluation mode."""
    checks.whole(1, batch_size=batch_size)
    model.eval()
    found = torch.cat([model(x).softmax(-1) for x in images.x.split(batch_size)])
    return Classified(found.cpu().numpy(), images.y.cpu().numpy())


def pareto_front(costs: Sequence[float], scores: Sequence[float]) -> list[int]:
    """The points that no other one beats, by rising cost.

    A point is beaten if another one costs at most as much and scores at least as well, and one of the two is strict. Of
    equal points all are kept.
    """
    if len(costs) != len(scores):
        raise ValueError(f"scores: got {len(scores)}, expected {len(costs)}, as many as costs")
    pairs = [*zip(costs, scores, strict=True)]
    kept = [
        k
        for k, (cost, score) in enumerate(pairs)
        if not any(c <= cost and s >= score and (c, s) != (cost, score) for c, s in pairs)
    ]
    return sorted(kept, key=lambda k: pairs[k][0])


@torch.no_grad()
def bits_per_token(model: nn.Module, task: TextTask, split: str = "test", stretches: int = 16) -> Interval:
    """The mean number of bits per token, with an interval over equal stretches of the text.

    Each stretch is read from a hidden state of zeros. Neighbours are not quite independent, so the interval is a little
    too narrow. Raises `ValueError` if a stretch would have fewer than 2 tokens.
    """
    tokens = getattr(task, split)
    checks.whole(2, stretches=stretches)
    length = len(tokens) // stretches
    if length < 2:
        raise ValueError(f"stretches: got {stretches}, too many for {len(tokens)} tokens")
    text = tokens[: length * stretches].view(stretches, length).T  # (length, stretches)
    model.eval()
    nats, state = [], None
    for x, y in zip(text[:-1].split(100), text[1:].split(100), strict=True):
        logits, state = model(x, state)
        nats.append(F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view(y.shape))
    return interval((torch.cat(nats).double().mean(0) / np.log(2)).tolist())


def milliseconds(path: Path | str, batch: int = 1, seconds: float = 0.2) -> float:
    """The median time of an ONNX file for a batch of zeros, in one thread of this CPU, after three runs."""
    import onnxruntime  # needed here only, and slow to import

    checks.whole(1, batch=batch)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
    inputs = {
        each.name: np.zeros([n if isinstance(n, int) else batch for n in each.shape], kinds[each.type])
        for each in session.get_inputs()
    }
    for _ in range(3):
        session.run(None, inputs)
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while not taken or time.perf_counter() < end:
        start = time.perf_counter()
        session.run(None, inputs)
        taken.append(time.perf_counter() - start)
    return 1000 * float(np.median(taken))
