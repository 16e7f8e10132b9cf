"""What an architecture is worth: train a child from scratch and measure it."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import cos, pi

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from naslab import child, runs
from naslab.data import Images, ImageTask, image_batch
from naslab.spaces import Space, Tokens


@dataclass(frozen=True)
class Recipe:
    """How a child is trained: SGD with momentum, the learning rate falling to 0 along a cosine.

    The defaults are those of Liu et al. 2019, section A.2, but for the epochs.
    """

    epochs: float = 1.0
    batch_size: int = 96
    lr: float = 0.025
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 3e-4
    clip: float = 5.0  # of the gradient's norm
    drop_path: float = 0.0  # at the end; grows linearly
    auxiliary_weight: float = 0.0  # of the auxiliary head's loss


def train(model: nn.Module, images: Images, recipe: Recipe, seed: int) -> Iterator[float]:
    """Trains in place and yields the training loss (nats) of every batch. Batches are a function of (seed, index)."""
    optim = torch.optim.SGD(
        model.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=recipe.nesterov
    )
    batches = round(recipe.epochs * (len(images) // recipe.batch_size))
    for index in range(batches):
        done = index / batches
        for group in optim.param_groups:
            group["lr"] = recipe.lr * (1 + cos(pi * done)) / 2
        x, y = image_batch(images, index, recipe.batch_size, seed)
        yield train_step(model, optim, x, y, recipe, drop_path=recipe.drop_path * done).item()


def train_step(
    model: nn.Module, optim: torch.optim.Optimizer, x: Tensor, y: Tensor, recipe: Recipe, drop_path: float = 0.0
) -> Tensor:
    """One step on a batch x (B, C, H, W), y (B,); returns the loss (), detached."""
    model.train()
    if recipe.auxiliary_weight:
        logits, auxiliary = model.forward_auxiliary(x, drop_path)  # type: ignore[operator]
        loss = F.cross_entropy(logits, y) + recipe.auxiliary_weight * F.cross_entropy(auxiliary, y)
    else:
        loss = F.cross_entropy(model(x, drop_path), y)
    optim.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
    optim.step()
    return loss.detach()


@torch.no_grad()
def accuracy(model: nn.Module, images: Images, batch_size: int = 500) -> float:
    """The fraction of images that the model classifies right, in evaluation mode."""
    model.eval()
    parts = zip(images.x.split(batch_size), images.y.split(batch_size), strict=True)
    right = torch.stack([(model(x).argmax(-1) == y).sum() for x, y in parts])
    return right.sum().item() / len(images)


@dataclass(frozen=True)
class TrainChild:
    """tokens -> reward: the validation accuracy (a fraction) of the child trained from scratch.

    Every child sees the same batches and starts from the same seed, so that children differ by architecture alone.
    """

    space: Space
    task: ImageTask
    recipe: Recipe
    channels: int
    cells: int | None = None
    auxiliary: bool = False
    seed: int = 0

    def __call__(self, tokens: Tokens) -> float:
        return accuracy(self.trained(tokens), self.task.valid)

    def build(self, tokens: Tokens) -> nn.Module:
        """The untrained child, where the task's images are."""
        with runs.seeded(self.seed):
            model = child.build(
                self.space,
                tokens,
                channels=self.channels,
                cells=self.cells,
                in_channels=self.task.shape[0],
                classes=len(self.task.classes),
                auxiliary=self.auxiliary,
            )
        return model.to(self.task.train.x.device)

    def trained(self, tokens: Tokens) -> nn.Module:
        """The trained child."""
        model = self.build(tokens)
        with runs.seeded(self.seed):  # drop-path draws
            for _ in train(model, self.task.train, self.recipe, self.seed):
                pass
        return model
