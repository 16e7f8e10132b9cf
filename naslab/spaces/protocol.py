"""What every algorithm knows of a space: decisions, tokens, weights, and the protocol."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Tokens = tuple[int, ...]
Weights = dict[str, Tensor]
NONE = "none"  # the op that is no connection (DARTS calls it zero)


@dataclass(frozen=True)
class Decision:
    """One position of the string: a choice among `options`; a token is an index into them.

    `kind` names what is being chosen: a controller shares one embedding and one softmax head among all decisions of
    a kind. `anchors` are the positions of earlier decisions whose hidden states an attention reads: one per
    option for a pointer, one for a skip bit; -1 - k stands for the k-th input of a cell, which no decision made.
    `differs_from` are earlier positions whose tokens this one must not repeat. `row` is the place in the
    weight table named `kind` (unused by `CellSpace`, whose tables join inputs and ops).
    """

    name: str
    options: tuple[int | str, ...]
    kind: str
    row: tuple[int, ...] = ()
    anchors: tuple[int, ...] = ()
    differs_from: tuple[int, ...] = ()


class Space(Protocol):
    """What every algorithm knows of a space. All methods raise `ValueError` for what is not the space's."""

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The positions of the string, in order."""

    @property
    def tables(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the weight tables: name -> shape, whose last axis is a choice."""

    @property
    def size(self) -> int:
        """How many architectures there are."""

    @property
    def strings(self) -> int:
        """How many valid strings there are: what a controller can write."""

    def check(self, tokens: Iterable[int]) -> Tokens:
        """The tokens as a tuple of ints, if they are a string of the space."""

    def canonical(self, tokens: Iterable[int]) -> Tokens:
        """The one string that stands for all strings of the same architecture."""

    def sample(self, generator: torch.Generator) -> Tokens:
        """A uniformly random string."""

    def one_hot(self, tokens: Iterable[int], **like) -> Weights:
        """The corner that the tokens name, as tables; `like` passes on dtype and device."""

    def discretise(self, weights: Weights) -> Tokens:
        """The corner nearest to the weights, canonical. Weights are not alpha: `ValueError` without the softmax."""


def allowed(decision: Decision, tokens: Sequence[int]) -> Sequence[int]:
    """The tokens that `decision` may take after the earlier `tokens`, in order."""
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
    """Every valid string of a space, in lexicographic order. For small spaces: there are `space.strings` of them."""
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
