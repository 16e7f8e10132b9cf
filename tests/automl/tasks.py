"""Small tasks and plans that the tests of this folder share."""

import numpy as np

from naslab import data, spaces
from naslab.automl import Plan
from naslab.data.folders import from_arrays
from naslab.training import Recipe, TextRecipe


def pictures(n=90, seed=0, classes=3):
    """Noise whose brightest quarter tells the class."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    x = rng.integers(0, 100, (n, 1, 8, 8), np.uint8)
    for k, image in zip(y, x, strict=True):
        image[0, 4 * (k // 2) : 4 * (k // 2) + 4, 4 * (k % 2) : 4 * (k % 2) + 4] += 150
    return from_arrays("quarters", "abcd"[:classes], x, y)


SENTENCE = "the quick brown fox jumps over the lazy dog. "
IMAGES = pictures().split(seed=0).task
TEXT = data.text_task("foxes", SENTENCE * 40, SENTENCE * 10, SENTENCE * 10)
FOR_IMAGES = Plan("random", spaces.nas_bench_201(2), 4, 1, Recipe(1, 8, lr=0.1), 5, 1.0, 2.0, 10.0, finalists=2)
FOR_TEXT = Plan("random", spaces.darts_rnn(2), 8, 1, TextRecipe(1, 4, 10), 5, 1.0, 2.0, 10.0, finalists=2)


def stopped():
    """A clock that stands: nothing is late."""
    return 0.0
