"""MetaQNN: epsilon-greedy Q-learning with experience replay (Baker et al. 2017).

A state has the position in the string and the previous token only. So a Q-value of the last decision estimates the
reward given the last two tokens. Earlier decisions learn from the largest Q-value of the next decision; their Q-values
are inaccurate if the reward depends on more tokens.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf
from typing import Any

import torch

from naslab import checks
from naslab.spaces import Space, Tokens, allowed
from naslab.states import check_scored
from naslab.steps import Live, Step, begin, finite, keep, live_state, settle

Q = dict[tuple[int, int], list[float]]  # state (position, previous token) -> a value for every option

SCHEDULE = ((1500, 1.0), (100, 0.9), (100, 0.8), (100, 0.7), *((150, e / 10) for e in range(6, 0, -1)))


@dataclass(frozen=True)
class Config:
    """Settings of the search. The defaults are the paper's; `shrink` adapts the schedule to fewer children."""

    updates: int = 2700  # the number of children in the schedule
    children: int = 1  # per update, evaluated together by map_fn
    schedule: tuple[tuple[int, float], ...] = SCHEDULE  # (children, epsilon); the last epsilon stays (table 2)
    lr: float = 0.01  # alpha (section 4.3)
    gamma: float = 1.0  # discount factor (section 4.3)
    replay: int = 100  # strings replayed after every child (section 4.3)
    initial: float = 0.5  # initial Q-values, for rewards between 0 and 1 (appendix, algorithm 1)

    def __post_init__(self) -> None:
        checks.whole(0, updates=self.updates, replay=self.replay)
        checks.whole(1, children=self.children)
        checks.fraction(lr=self.lr, gamma=self.gamma)
        checks.number(-inf, initial=self.initial)
        pairs = self.schedule if isinstance(self.schedule, tuple | list) else ()
        if not pairs or not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
            raise ValueError(f"schedule: got {checks.shown(self.schedule)}, expected (children, epsilon) pairs")
        for children, epsilon in pairs:
            checks.whole(0, schedule=children)
            checks.fraction(schedule=epsilon)
        checks.plain_fields(self)


def search(
    space: Space,
    evaluate: Callable[[Tokens], float],
    config: Config,
    generator: torch.Generator,
    after: Step | None = None,
    map_fn: Callable = map,
) -> Iterator[Step]:
    """Draws children, evaluates them, then learns from a random sample of all strings so far.

    The reward of a failed child is 0. The state of a step is `Live`: it can be read until the search continues. Raises
    `FloatingPointError` if a Q-value is not finite.

    In the paper a repeated string is not trained again. Here every child is evaluated, so that searches with the same
    number of children are comparable.
    """
    first, state = begin(after, "qlearning", space, generator, needs=("q", "memory"))
    q, memory = table(space, config.initial), []  # type: Q, list[tuple[Tokens, float]]
    if state:
        check_scored(space, memory=state["memory"])
        if (size := len(state["memory"])) != (seen := first * config.children):
            raise ValueError(f"memory: got {size} strings, expected {seen}, the children of {first} updates")
        check_table(q, state["q"])
        q, memory = copies(state["q"], state["memory"])
    live = live_state(after)
    for index in range(first, config.updates):
        epsilons = [epsilon(config.schedule, index * config.children + k) for k in range(config.children)]
        children = tuple(draw(space, q, e, generator) for e in epsilons)
        rewards, failures = settle(map_fn(evaluate, children), config.children)
        live.expire()  # from here on memory and Q-values change
        for child in zip(children, rewards, strict=True):
            memory.append(child)
            for replayed in torch.randint(len(memory), (config.replay,), generator=generator).tolist():
                tokens, reward = memory[replayed]
                learn(space, q, tokens, reward, config.lr, config.gamma)
        for values in q.values():
            finite(index, rewards, **{"a Q-value": sum(values)})

        kept = keep("qlearning", space, generator)  # keep it now: other code may draw from the generator

        def state_now(kept: dict[str, Any] = kept) -> dict[str, Any]:
            values, seen = copies(q, memory)
            return {**kept, "q": values, "memory": seen}

        live = Live(state_now)
        yield Step(index, children, rewards, {"epsilon": epsilons[-1]}, failures, live)


def copies(q: Q, memory: list[tuple[Tokens, float]]) -> tuple[Q, list[tuple[Tokens, float]]]:
    return {state: list(values) for state, values in q.items()}, list(memory)


def check_table(expected: Q, found: Any) -> None:
    """Raises `ValueError` unless `found` has the states and options of `expected`, and finite values."""
    if not isinstance(found, dict) or found.keys() != expected.keys():
        raise ValueError(f"q: got {checks.shown(found)}, expected the values of {len(expected)} states")
    for state, values in found.items():
        if not isinstance(values, list) or len(values) != len(expected[state]):
            raise ValueError(f"q: got {checks.shown(values)} in state {state}, expected {len(expected[state])} values")
        for value in values:
            checks.number(-inf, q=value)


def table(space: Space, value: float) -> Q:
    """Returns the Q-values of every state, all equal to `value`. The string starts in state (0, 0)."""
    before = (1, *(len(d.options) for d in space.decisions))
    return {(p, t): [value] * len(d.options) for p, d in enumerate(space.decisions) for t in range(before[p])}


def epsilon(schedule: tuple[tuple[int, float], ...], child: int) -> float:
    """Returns the probability that a decision of child number `child`, counted from 0, is random."""
    for length, value in schedule:
        if child < length:
            return value
        child -= length
    return schedule[-1][1]


def shrink(schedule: tuple[tuple[int, float], ...], children: int) -> tuple[tuple[int, float], ...]:
    """Scales the lengths of the schedule proportionally, so that they add up to `children`."""
    total = sum(length for length, _ in schedule)
    ends = [sum(length for length, _ in schedule[:k]) * children // total for k in range(len(schedule) + 1)]
    return tuple((b - a, e) for a, b, (_, e) in zip(ends, ends[1:], schedule, strict=False))


def draw(space: Space, q: Q, epsilon: float, generator: torch.Generator) -> Tokens:
    """Draws a string. With probability `epsilon` a decision takes a random valid option, else the one of largest value.

    In a tie it takes the first.
    """
    explore = (torch.rand(len(space.decisions), generator=generator) < epsilon).tolist()
    tokens: Tokens = ()
    for p, d in enumerate(space.decisions):
        choices = allowed(d, tokens)
        if explore[p]:
            token = choices[int(torch.randint(len(choices), (), generator=generator))]
        else:
            token = max(choices, key=q[p, tokens[-1] if tokens else 0].__getitem__)
        tokens += (token,)
    return tokens


def learn(space: Space, q: Q, tokens: Tokens, reward: float, lr: float, gamma: float) -> None:
    """Applies equation 3 to every state of a string, from last to first. Only the last decision gets the reward."""
    target = reward
    for p, d in reversed(list(enumerate(space.decisions))):
        values = q[p, tokens[p - 1] if p else 0]
        values[tokens[p]] += lr * (target - values[tokens[p]])
        target = gamma * max([values[t] for t in allowed(d, tokens)] if d.differs_from else values)
