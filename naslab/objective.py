"""The task interface that ENAS and DARTS need. `training` implements it for images and for text."""

from typing import Any, Protocol

from torch import Tensor, nn

from naslab.spaces import Weights


class Objective(Protocol):
    """Implemented by `training.ImageObjective` and `training.TextObjective`. Write a third class for your own task."""

    @property
    def batches(self) -> int:
        """Number of batches per epoch."""

    def batch(self, split: str, index: int) -> Any:
        """Returns batch `index` of "train" or "valid". The same arguments return the same batch."""

    def loss(self, model: nn.Module, weights: Weights, batch: Any, state: Any = None) -> tuple[Tensor, Any]:
        """Returns the loss () and the hidden state after the batch, detached."""

    def reward(self, model: nn.Module, weights: Weights, batch: Any) -> float:
        """Returns the reward of an architecture on a minibatch. Higher is better."""
