"""Regularised evolution: tournament selection that removes the oldest member (Real et al. 2019, algorithm 1)."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from naslab import checks
from naslab.spaces import Space, Tokens, allowed
from naslab.states import check_scored
from naslab.steps import Step, begin, keep, settle


@dataclass(frozen=True)
class Config:
    """Settings of the search. The defaults are those of section 3. For few evaluations use a smaller population."""

    updates: int = 20_000  # total number of evaluations, with those of the first population (section 3)
    population: int = 100  # P
    sample: int = 25  # S, the size of a tournament

    def __post_init__(self) -> None:
        checks.whole(0, updates=self.updates)
        checks.whole(1, population=self.population, sample=self.sample)
        checks.plain_fields(self)


def search(
    space: Space,
    evaluate: Callable[[Tokens], float],
    config: Config,
    generator: torch.Generator,
    after: Step | None = None,
) -> Iterator[Step]:
    """Evaluates one child per step.

    Children are random until the population is full. Then a child is a mutation of the
    winner of a tournament. The reward of a failed child is 0.
    """
    first, state = begin(after, "evolution", space, generator, needs=("population",))
    population, size = restored(space, config, first, state), config.population
    for index in range(first, config.updates):
        if len(population) < size:
            child = space.sample(generator)
        else:
            drawn = torch.randint(size, (config.sample,), generator=generator).tolist()
            tournament = [population[i] for i in drawn]
            parent, _ = max(tournament, key=lambda member: member[1])
            child = mutate(space, parent, generator)
        rewards, failures = settle([evaluate(child)])
        population.append((child, rewards[0]))  # removes the oldest if it is full
        state = keep("evolution", space, generator, population=list(population))
        yield Step(index, (child,), rewards, failures=failures, state=state)


def restored(space: Space, config: Config, first: int, state: dict[str, Any]) -> deque[tuple[Tokens, float]]:
    """Returns the population of a state, which is empty for a new search.

    A full population removes its oldest member when a child is appended. Raises `ValueError` if the state is damaged.
    """
    if state:
        check_scored(space, population=state["population"])
        if (size := len(state["population"])) != (alive := min(first, config.population)):
            raise ValueError(f"population: got {size} members, expected {alive} after {first} steps")
    return deque(state.get("population", ()), maxlen=config.population)


def mutate(space: Space, tokens: Tokens, generator: torch.Generator) -> Tokens:
    """Changes one random decision of the string, among those that can change, to a random other valid option."""
    options = [(p, others) for p in range(len(tokens)) if (others := alternatives(space, tokens, p))]
    if not options:
        raise ValueError(f"space: got one with no decision to change in {tokens}")
    position, others = options[int(torch.randint(len(options), (), generator=generator))]
    token = others[int(torch.randint(len(others), (), generator=generator))]
    return (*tokens[:position], token, *tokens[position + 1 :])


def alternatives(space: Space, tokens: Tokens, position: int) -> tuple[int, ...]:
    """Returns the other tokens that are valid at `position` if all other tokens stay the same."""
    later = {tokens[p] for p, d in enumerate(space.decisions) if position in d.differs_from}
    return tuple(t for t in allowed(space.decisions[position], tokens) if t != tokens[position] and t not in later)
