"""Trains a child from scratch and computes its reward. Searches without shared weights call this evaluation."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any

from torch import nn

from naslab import checks, networks, runs
from naslab.data import ImageTask, TextTask, image_batches, text_batches
from naslab.networks import Dropouts, Matrices
from naslab.networks.cells import smallest_for_auxiliary
from naslab.networks.children import check_build, check_build_recurrent
from naslab.spaces import CellSpace, Space, Tokens, TreeSpace
from naslab.steps import Failed
from naslab.training.images import Recipe, accuracy, takes_drop_path, train
from naslab.training.text import TextRecipe, check_streams, perplexity, train_text


def finite(losses: Iterable[float]) -> Iterator[float]:
    """Yields the losses unchanged. Raises `FloatingPointError` at the first loss that is not finite (divergence)."""
    for index, loss in enumerate(losses):
        if not isfinite(loss):
            raise FloatingPointError(f"diverged: the loss of batch {index} is {loss}")
        yield loss


@dataclass(frozen=True)
class TrainChild:
    """tokens -> reward: trains the child from scratch and returns its validation accuracy (a fraction).

    Every child gets the same seed and the same batches, so children differ in architecture only. The reward of a child
    whose training diverges is `Failed`. The constructor raises `ValueError` if space, size, task and recipe do not fit
    together.
    """

    space: Space
    task: ImageTask
    recipe: Recipe
    channels: int | None = None  # None for a ConvSpace
    cells: int | None = None
    auxiliary: bool = False
    seed: int = 0
    plain: bool = False

    def __post_init__(self) -> None:
        checks.is_a(ImageTask, task=self.task)
        checks.is_a(Recipe, recipe=self.recipe)
        checks.whole(0, seed=self.seed)
        in_channels, height, width = self.task.shape
        size = (self.channels, self.cells, in_channels, len(self.task.classes), self.auxiliary, self.plain)
        kind = check_build(self.space, *size)
        image_batches(self.task.train, self.recipe.batch_size)
        if self.recipe.drop_path and not takes_drop_path(kind.forward):
            raise ValueError(f"drop_path: got {self.recipe.drop_path}, expected 0: a {kind.__name__} has no drop-path")
        weight, least = self.recipe.auxiliary_weight, smallest_for_auxiliary(self.cells)
        if (weight and not self.auxiliary) or (self.auxiliary and min(height, width) < least):
            raise ValueError(
                f"auxiliary: got {self.auxiliary}, with auxiliary_weight {weight} and images of {height}x{width}; "
                f"expected True, cells of kinds ('normal', 'reduce') and images of at least {least}x{least}, or, "
                "without an auxiliary head, False and dataclasses.replace(recipe, auxiliary_weight=0)"
            )

    def __call__(self, tokens: Tokens) -> float:
        try:
            return accuracy(self.trained(tokens), self.task.valid)
        except FloatingPointError as error:
            return Failed(str(error))

    def build(self, tokens: Tokens) -> nn.Module:
        """Returns the untrained child, on the device of the task's images."""
        with runs.seeded(self.seed):
            model = networks.build(
                self.space,
                tokens,
                channels=self.channels,
                cells=self.cells,
                in_channels=self.task.shape[0],
                classes=len(self.task.classes),
                auxiliary=self.auxiliary,
                plain=self.plain,
            )
        return model.to(self.task.train.x.device)

    def trained(self, tokens: Tokens) -> nn.Module:
        """Returns the trained child. Raises `FloatingPointError` if its training diverges."""
        model = self.build(tokens)
        with runs.seeded(self.seed):  # drop-path draws random numbers
            for _ in finite(train(model, self.task.train, self.recipe, self.seed)):
                pass
        return model


@dataclass(frozen=True)
class TrainTextChild:
    """tokens -> reward: trains the child from scratch and returns c / perplexity^2 (Zoph & Le 2017, section 3.4).

    The perplexity is that of the validation text, read as `recipe.batch_size` parallel streams. Every child gets the
    same seed and the same batches. The reward of a child whose training diverges is `Failed`. The constructor raises
    `ValueError` if space, size, task and recipe do not fit together.
    """

    space: TreeSpace | CellSpace
    task: TextTask
    recipe: TextRecipe
    units: int
    layers: int = 1
    dropout: float | Dropouts = 0.0
    seed: int = 0
    c: float = 80.0
    matrices: Matrices = "source"
    spread: float = 0.0  # initial weights are uniform in (-spread, spread); 0: PyTorch's initialisation

    def __post_init__(self) -> None:
        checks.is_a(TextTask, task=self.task)
        checks.is_a(TextRecipe, recipe=self.recipe)
        checks.whole(0, seed=self.seed)
        checks.positive(c=self.c)
        checks.number(0, spread=self.spread)
        words = len(self.task.vocabulary)
        check_build_recurrent(self.space, words, self.units, self.layers, self.dropout, self.matrices)
        text_batches(self.task.train, self.recipe.batch_size, self.recipe.bptt)
        check_streams(self.task.valid, self.recipe.batch_size)

    def __call__(self, tokens: Tokens) -> float:
        try:
            found = perplexity(self.trained(tokens), self.task.valid, self.recipe.batch_size)
        except FloatingPointError as error:
            return Failed(str(error))
        return self.c / (found * found) if isfinite(found) else Failed(f"diverged: the perplexity is {found}")

    def build(self, tokens: Tokens) -> nn.Module:
        """Returns the untrained child, on the device of the task's text."""
        size: dict[str, Any] = {"vocabulary": len(self.task.vocabulary), "units": self.units, "layers": self.layers}
        with runs.seeded(self.seed):
            model = networks.build_recurrent(self.space, tokens, **size, dropout=self.dropout, matrices=self.matrices)
            if self.spread:
                networks.start_within(self.spread, model)
        return model.to(self.task.train.device)

    def trained(self, tokens: Tokens) -> nn.Module:
        """Returns the trained child. Raises `FloatingPointError` if its training diverges."""
        model = self.build(tokens)
        with runs.seeded(self.seed):  # dropout draws random numbers
            for _ in finite(train_text(model, self.task.train, self.recipe, self.seed, self.task.valid)):
                pass
        return model
