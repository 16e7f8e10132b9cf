"""With shared weights: batches, loss and reward of a task, as `objective.Objective` has them."""

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
    """That split of the task. Raises `ValueError` for a name that is none."""
    if split not in ("train", "valid", "test"):
        raise ValueError(f"split: got {split!r}, expected train, valid or test")
    return getattr(task, split)


@dataclass(frozen=True)
class ImageObjective:
    """Images in batches, a loss to train shared weights with, and the reward of an architecture on a minibatch.

    The DARTS authors' search augments the images of both splits: `shift` 4 and `flip` on CIFAR-10, without a cutout.
    Raises `ValueError` out of range, and for a batch larger than train or valid.
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
        """How many batches make a pass over the training images."""
        return image_batches(self.task.train, self.batch_size)

    def batch(self, split: str, index: int) -> tuple[Tensor, Tensor]:
        """Batch `index` of "train" or "valid": x (B, C, H, W), y (B,), a pure function of (seed, index)."""
        x, y = image_batch(of_split(self.task, split), index, self.batch_size, self.seed)
        return augmented(x, self.seed, index, self.shift, self.flip), y

    def loss(
        self, model: nn.Module, weights: Weights, batch: tuple[Tensor, Tensor], state: None = None
    ) -> tuple[Tensor, None]:
        """The cross-entropy () in nats; images carry no state from batch to batch."""
        x, y = batch
        return F.cross_entropy(model(x, weights), y), None

    @torch.no_grad()
    def reward(self, model: nn.Module, weights: Weights, batch: tuple[Tensor, Tensor]) -> float:
        """The accuracy on the batch, a fraction (Pham et al. 2018, "Training ENAS and Deriving Architectures")."""
        x, y = batch
        return (model(x, weights).argmax(-1) == y).double().mean().item()


@dataclass(frozen=True)
class TextObjective:
    """Text in batches; the loss carries the hidden state along, the reward is c / perplexity on a minibatch.

    Raises `ValueError` out of range, and for a batch that train or valid cannot fill.
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
        """How many batches make a pass over the training text."""
        return text_batches(self.task.train, self.batch_size, self.bptt)

    def batch(self, split: str, index: int) -> tuple[Tensor, Tensor]:
        """Batch `index` of "train" or "valid": x, y (bptt, B), a pure function of (seed, index)."""
        return text_batch(of_split(self.task, split), index, self.batch_size, self.bptt, self.seed)

    def loss(
        self, model: nn.Module, weights: Weights, batch: tuple[Tensor, Tensor], state: list[State] | None = None
    ) -> tuple[Tensor, list[State]]:
        """The cross-entropy () in nats per token from a hidden state, and the state after it, detached."""
        x, y = batch
        state = state and [(h.to(x.device), c.to(x.device)) for h, c in state]  # from a file it comes to the CPU
        logits, state = model(x, weights, state)
        return F.cross_entropy(logits.flatten(0, 1), y.flatten()), [(h.detach(), c.detach()) for h, c in state]

    @torch.no_grad()
    def reward(self, model: nn.Module, weights: Weights, batch: tuple[Tensor, Tensor]) -> float:
        """c / perplexity on the batch, read from a state of zeros and without dropout ("Training ENAS ...").

        Leaves the model in evaluation mode.
        """
        model.eval()
        loss, _ = self.loss(model, weights, batch)
        return self.c * (-loss).exp().item()
