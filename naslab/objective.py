"""What a search with shared weights knows of a task. `training` has it for images and for text."""

from typing import Any, Protocol

from torch import Tensor, nn

from naslab.spaces import Weights


class Objective(Protocol):
    """`training.ImageObjective` and `training.TextObjective` are two; a task of your own is a third."""

    @property
    def batches(self) -> int:
        """How many batches make a pass over the training data."""

    def batch(self, split: str, index: int) -> Any:
        """Batch `index` of "train" or "valid", a pure function of its arguments."""

    def loss(self, model: nn.Module, weights: Weights, batch: Any, state: Any = None) -> tuple[Tensor, Any]:
        """The loss () and the hidden state to go on from, detached."""

    def reward(self, model: nn.Module, weights: Weights, batch: Any) -> float:
        """What an architecture is worth on a minibatch."""
