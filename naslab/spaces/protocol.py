"""The interface between spaces and algorithms: decisions, tokens, weights, and the protocol `Space`."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Tokens = tuple[int, ...]
Weights = dict[str, Tensor]
NONE = "none"  # the op that stands for "no connection" (DARTS calls it zero)


@dataclass(frozen=True)
class Decision:
    """One position of the string: a choice among `options`. The token at this position is an index into `options`.

    `kind`: what is chosen, such as an op. A controller has one embedding and one softmax head for each kind.
    `row`: the row of this decision in the weight table named `kind`. `CellSpace` does not use it: its tables combine
    inputs and ops.
    `anchors`: positions of the earlier decisions whose hidden states the attention reads. A pointer has one anchor per
    option, a skip bit has one. The anchor -1 - k stands for input k of a cell, which is not the result of a decision.
    `differs_from`: earlier positions. The token at this position must differ from the tokens there.
    """

    name: str
    options: tuple[int | str, ...]
    kind: str
    row: tuple[int, ...] = ()
    anchors: tuple[int, ...] = ()
    differs_from: tuple[int, ...] = ()


class Space(Protocol):
    """The methods of a space that algorithms use. All raise `ValueError` for arguments that do not fit the space."""

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The positions of the string, in order."""

    @property
    def tables(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the weight tables: name -> shape. The last axis of a table has one entry per option."""

    @property
    def size(self) -> int:
        """Number of architectures."""

    @property
    def strings(self) -> int:
        """Number of valid strings. Several strings may describe the same architecture."""

    def check(self, tokens: Iterable[int]) -> Tokens:
        """Returns the tokens as a tuple of ints. Raises `ValueError` if they are not a valid string."""

    def canonical(self, tokens: Iterable[int]) -> Tokens:
        """Returns the canonical string of the architecture: the same for all strings that describe it."""

    def sample(self, generator: torch.Generator) -> Tokens:
        """Returns a uniformly random string."""

    def one_hot(self, tokens: Iterable[int], **like) -> Weights:
        """Returns the tables of the architecture, a corner of the polytope. `like` sets dtype and device."""

    def discretise(self, weights: Weights) -> Tokens:
        """Returns the corner nearest to the weights, as a canonical string.

        Raises `ValueError` for alpha: take the softmax first.
        """


def allowed(decision: Decision, tokens: Sequence[int]) -> Sequence[int]:
    """Returns the tokens that are valid for `decision` after the earlier `tokens`, in increasing order."""
    if not isinstance(decision, Decision):
        raise ValueError(f"decision: got {decision!r}, expected a Decision")
    every = range(len(decision.options))
    if not decision.differs_from:
        return every
    try:
        taken = {tokens[p] for p in decision.differs_from}
    except (TypeError, LookupError):
        raise ValueError(f"tokens: got {tokens!r}, expected the tokens before {decision.name}") from None
    return tuple(t for t in every if t not in taken)


def all_strings(space: Space) -> Iterator[Tokens]:
    """Yields all `space.strings` valid strings in lexicographic order. For small spaces only."""
    decisions = getattr(space, "decisions", None)
    if not isinstance(decisions, tuple):
        raise ValueError(f"space: got {space!r}, expected a space")

    def longer(prefix: Tokens) -> Iterator[Tokens]:
        if len(prefix) == len(decisions):
            yield prefix
            return
        for token in allowed(decisions[len(prefix)], prefix):
            yield from longer((*prefix, token))

    return longer(())
