"""Random search: the baseline that every method must beat."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from naslab import checks
from naslab.spaces import Space, Tokens
from naslab.steps import Step, begin, keep, settle


@dataclass(frozen=True)
class Config:
    """Settings of the search. Like every `Config`, raises `ValueError` if a number is out of range."""

    updates: int = 100
    children: int = 1  # per update, evaluated together by map_fn

    def __post_init__(self) -> None:
        checks.whole(0, updates=self.updates)
        checks.whole(1, children=self.children)
        checks.plain_fields(self)


def search(
    space: Space,
    evaluate: Callable[[Tokens], float],
    config: Config,
    generator: torch.Generator,
    after: Step | None = None,
    map_fn: Callable = map,
) -> Iterator[Step]:
    """Draws strings uniformly, with replacement, and evaluates them.

    The reward of a failed child is 0.
    """
    first, _ = begin(after, "random_search", space, generator)
    for index in range(first, config.updates):
        children = tuple(space.sample(generator) for _ in range(config.children))
        rewards, failures = settle(map_fn(evaluate, children), config.children)
        state = keep("random_search", space, generator)
        yield Step(index, children, rewards, failures=failures, state=state)
