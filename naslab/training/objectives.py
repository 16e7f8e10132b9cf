"""The tasks that ENAS and DARTS can search on. Both classes implement `objective.Objective`."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from naslab import checks
from naslab.data import ImageTask, TextTask, image_batch, image_batches, text_batch, text_batches
from naslab.networks import State
from naslab.spaces import Weights
from naslab.training.augmentation import augmented, check_augmentation

SEARCHED = ("train", "valid")  # the splits that a search reads


def of_split(task: Any, split: str) -> Any:
    """Returns the split of the task. Raises `ValueError` for an unknown name."""
    if split not in ("train", "valid", "test"):
        raise ValueError(f"split: got {split!r}, expected train, valid or test")
    return getattr(task, split)


@dataclass(frozen=True)
class ImageObjective:
    """Batches of images, the loss of the shared weights, and the reward of an architecture on a minibatch.

    The DARTS authors' search augments the images of both splits: `shift` 4 and `flip` on CIFAR-10, without cutout.
    Raises `ValueError` if a value is out of range or a batch is larger than train or valid.
    """

    task: ImageTask
    batch_size: int
    seed: int = 0
    shift: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        checks.is_a(ImageTask, task=self.task)
        checks.whole(0, seed=self.seed)
        check_augmentation(self.shift, self.flip)
        for split in SEARCHED:
            image_batches(getattr(self.task, split), self.batch_size)

    @property
    def batches(self) -> int:
        """Number of batches per epoch of the training images."""
        return image_batches(self.task.train, self.batch_size)

    def batch(self, split: str, index: int) -> tuple[Tensor, Tensor]:
        """Returns batch `index` of "train" or "valid", x (B, C, H, W) and y (B,). Depends on (seed, index) only."""
        x, y = image_batch(of_split(self.task, split), index, self.batch_size, self.seed)
        return augmented(x, self.seed, index, self.shift, self.flip), y

    def loss(
        self, model: nn.Module, weights: Weights, batch: tuple[Tensor, Tensor], state: None = None
    ) -> tuple[Tensor, None]:
        """Returns the cross-entropy () in nats, and None: image networks have no hidden state."""
        x, y = batch
        return F.cross_entropy(model(x, weights), y), None

    @torch.no_grad()
    def reward(self, model: nn.Module, weights: Weights, batch: tuple[Tensor, Tensor]) -> float:
        """Returns the accuracy on the batch (a fraction).

        Pham et al. 2018, "Training ENAS and Deriving Architectures".
        """
        x, y = batch
        return (model(x, weights).argmax(-1) == y).double().mean().item()


@dataclass(frozen=True)
class TextObjective:
    """Batches of text, the loss of the shared weights, and the reward c / perplexity on a minibatch.

    The loss takes and returns the hidden state, which continues from batch to batch. Raises `ValueError` if a value is
    out of range or if train or valid is too short for one batch.
    """

    task: TextTask
    batch_size: int
    bptt: int
    seed: int = 0
    c: float = 80.0  # Pham et al. 2018, on Penn Treebank

    def __post_init__(self) -> None:
        checks.is_a(TextTask, task=self.task)
        checks.whole(0, seed=self.seed)
        checks.positive(c=self.c)
        for split in SEARCHED:
            text_batches(getattr(self.task, split), self.batch_size, self.bptt)

    @property
    def batches(self) -> int:
        """Number of batches per epoch of the training text."""
        return text_batches(self.task.train, self.batch_size, self.bptt)

    def batch(self, split: str, index: int) -> tuple[Tensor, Tensor]:
        """Returns batch `index` of "train" or "valid", x and y (bptt, B). Depends on (seed, index) only."""
        return text_batch(of_split(self.task, split), index, self.batch_size, self.bptt, self.seed)

    def loss(
        self, model: nn.Module, weights: Weights, batch: tuple[Tensor, Tensor], state: list[State] | None = None
    ) -> tuple[Tensor, list[State]]:
        """Returns the cross-entropy () in nats per token, and the hidden state after the batch, detached.

        `state` is the hidden state before the batch; None means zeros.
        """
        x, y = batch
        state = state and [(h.to(x.device), c.to(x.device)) for h, c in state]  # a checkpoint's state is on the CPU
        logits, state = model(x, weights, state)
        return F.cross_entropy(logits.flatten(0, 1), y.flatten()), [(h.detach(), c.detach()) for h, c in state]

    @torch.no_grad()
    def reward(self, model: nn.Module, weights: Weights, batch: tuple[Tensor, Tensor]) -> float:
        """Returns c / perplexity on the batch, starting from a hidden state of zeros and without dropout.

        Pham et al. 2018, "Training ENAS and Deriving Architectures". Sets evaluation mode.
        """
        model.eval()
        loss, _ = self.loss(model, weights, batch)
        return self.c * (-loss).exp().item()
