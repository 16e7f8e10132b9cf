"""MetaQNN: Q-learning writes children, epsilon-greedily, and replays what it has seen (Baker et al. 2017).

A state remembers one choice. Where a reward depends on more, the values of early decisions cannot tell: the last two
decisions are learned from the reward itself, all others from the best that may follow.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from naslab import checks
from naslab.spaces import Space, Tokens, allowed
from naslab.steps import Step, begin, keep, settle

Q = dict[tuple[int, int], list[float]]  # state (position, the token before it) -> a value for every option

SCHEDULE = ((1500, 1.0), (100, 0.9), (100, 0.8), (100, 0.7), *((150, e / 10) for e in range(6, 0, -1)))


@dataclass(frozen=True)
class Config:
    """The paper's settings; `shrink` fits the schedule to fewer children."""

    updates: int = 2700  # as many as the schedule has children
    children: int = 1  # per update, evaluated together by map_fn
    schedule: tuple[tuple[int, float], ...] = SCHEDULE  # so many children at an epsilon; the last one stays (table 2)
    lr: float = 0.01  # alpha (section 4.3)
    gamma: float = 1.0  # (section 4.3)
    replay: int = 100  # strings learned from after every child (section 4.3)
    initial: float = 0.5  # of every Q-value, for rewards between 0 and 1 (appendix, algorithm 1)

    def __post_init__(self) -> None:
        checks.whole(0, updates=self.updates, replay=self.replay)
        checks.whole(1, children=self.children)
        checks.number(0, lr=self.lr, gamma=self.gamma)
        if not self.schedule:
            raise ValueError("schedule: got none, expected (children, epsilon) pairs")
        for children, epsilon in self.schedule:
            checks.whole(0, schedule=children)
            checks.number(0, 1 + 1e-9, schedule=epsilon)


def search(
    space: Space,
    evaluate: Callable[[Tokens], float],
    config: Config,
    generator: torch.Generator,
    after: Step | None = None,
    map_fn: Callable = map,
) -> Iterator[Step]:
    """Draws children, evaluates them, then learns from strings drawn from all so far. A failed child counts 0.

    The paper trains a string that comes again only once; here every child is evaluated, so that searches compare.
    """
    first, state = begin(after, "qlearning", space, generator)
    q: Q = {s: list(values) for s, values in state["q"].items()} if state else table(space, config.initial)
    memory: list[tuple[Tokens, float]] = list(state.get("memory", ()))
    for index in range(first, config.updates):
        epsilons = [epsilon(config.schedule, index * config.children + k) for k in range(config.children)]
        children = tuple(draw(space, q, e, generator) for e in epsilons)
        rewards, failures = settle(map_fn(evaluate, children))
        for child in zip(children, rewards, strict=True):
            memory.append(child)
            for replayed in torch.randint(len(memory), (config.replay,), generator=generator).tolist():
                tokens, reward = memory[replayed]
                learn(space, q, tokens, reward, config.lr, config.gamma)

        copies = {"q": {s: list(values) for s, values in q.items()}, "memory": list(memory)}
        state = keep("qlearning", space, generator, **copies)
        yield Step(index, children, rewards, {"epsilon": epsilons[-1]}, failures, state)


def table(space: Space, value: float) -> Q:
    """Every state's Q-values, all equal. The string starts in state (0, 0)."""
    before = (1, *(len(d.options) for d in space.decisions))
    return {(p, t): [value] * len(d.options) for p, d in enumerate(space.decisions) for t in range(before[p])}


def epsilon(schedule: tuple[tuple[int, float], ...], child: int) -> float:
    """The probability with which the decisions of child number `child`, from 0, are random."""
    for length, value in schedule:
        if child < length:
            return value
        child -= length
    return schedule[-1][1]


def shrink(schedule: tuple[tuple[int, float], ...], children: int) -> tuple[tuple[int, float], ...]:
    """The schedule with all its lengths in proportion, for so many children in all."""
    total = sum(length for length, _ in schedule)
    ends = [sum(length for length, _ in schedule[:k]) * children // total for k in range(len(schedule) + 1)]
    return tuple((b - a, e) for a, b, (_, e) in zip(ends, ends[1:], schedule, strict=False))


def draw(space: Space, q: Q, epsilon: float, generator: torch.Generator) -> Tokens:
    """A string: at every decision the allowed option of largest value, the first of equals, or a random one."""
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
    """Equation 3 in every state of a string, from the last to the first; only the last one's transition pays."""
    target = reward
    for p, d in reversed(list(enumerate(space.decisions))):
        values = q[p, tokens[p - 1] if p else 0]
        values[tokens[p]] += lr * (target - values[tokens[p]])
        target = gamma * max([values[t] for t in allowed(d, tokens)] if d.differs_from else values)
