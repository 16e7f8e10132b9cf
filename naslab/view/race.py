"""A race: several searches on one `tables.Table`, each with the same number of look-ups, and the regret of each.

A look-up stands for training a child once: it reads one of the table's trainings at random. So a search sees noisy
accuracies. The regret is that of the child that the search believes best, by the table's mean accuracies. A race of
seconds is recorded first, and any moment of it is then drawn in milliseconds.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from types import MappingProxyType

import numpy as np
import torch

from naslab import checks, runs
from naslab.controller import Controller
from naslab.search import evolution, qlearning, random_search, reinforce
from naslab.spaces import Space, Tokens
from naslab.steps import Step
from naslab.tables import Table
from naslab.view import scoreboard
from naslab.view.canvas import above, beside
from naslab.view.picture import Picture

Evaluate = Callable[[Tokens], float]
Method = Callable[[Space, Evaluate, int, int], Iterator[Step]]  # space, evaluate, look-ups, seed


def _random_search(space: Space, evaluate: Evaluate, lookups: int, seed: int) -> Iterator[Step]:
    return random_search.search(space, evaluate, random_search.Config(lookups), _generator(seed))


def _evolution(space: Space, evaluate: Evaluate, lookups: int, seed: int) -> Iterator[Step]:
    config = evolution.Config(lookups, population=10, sample=3)
    return evolution.search(space, evaluate, config, _generator(seed))


def _qlearning(space: Space, evaluate: Evaluate, lookups: int, seed: int) -> Iterator[Step]:
    schedule = ((lookups // 5, 1.0), *((lookups * 4 // 45, e / 10) for e in range(9, 0, -1)))
    config = qlearning.Config(lookups, schedule=schedule, lr=0.1)
    return qlearning.search(space, evaluate, config, _generator(seed))


def _reinforce(space: Space, evaluate: Evaluate, lookups: int, seed: int) -> Iterator[Step]:
    with runs.seeded(seed):
        controller = Controller(space)
    updates = -(-lookups // 8)
    config = reinforce.Config(updates, children=8, lr=0.02, baseline_decay=0.9, entropy_weight=0.01)
    return reinforce.search(space, evaluate, controller, config, _generator(seed))


# For about 200 children. Learning rates, entropy bonus and Q-learning's schedule are those of lesson 02, which has more
# children. The population, m and the baseline's decay are smaller.
METHODS: Mapping[str, Method] = MappingProxyType(
    {"random search": _random_search, "evolution": _evolution, "Q-learning": _qlearning, "REINFORCE": _reinforce}
)


@dataclass(frozen=True, eq=False)
class Run:
    """What one search did in n look-ups."""

    children: tuple[Tokens, ...]  # n
    measured: np.ndarray  # (n,), the accuracy of each child that the search saw, percent
    leader: np.ndarray  # (n,), after each look-up the place of the child with the largest of them so far
    regret: np.ndarray  # (n,), of that child by the table's mean accuracies, percentage points


@dataclass(frozen=True, eq=False)
class Race:
    """The runs of all methods, by name, each with the same number of look-ups."""

    table: Table
    runs: Mapping[str, Run]
    lookups: int
    seed: int


def record(table: Table, methods: Mapping[str, Method] | None = None, lookups: int = 200, seed: int = 0) -> Race:
    """Runs each method once on the table's truth. `methods` are 1 to 6 searches by name, by default `METHODS`.

    A method gets the space, a function that returns the accuracy of one training as a fraction, the number of look-ups
    and a seed, and returns the steps of a search (`steps.Step`). The methods' seeds are spawned from `seed` in the
    order of the methods, so a method that is added at the end changes no other run. An update that exceeds the look-ups
    is cut.

    Raises `ValueError` for another kind of table, for names that are not 1 to 24 letters long, for less than one
    look-up, for a negative seed, and for a method that stops early.
    """
    methods = METHODS if methods is None else methods
    checks.is_a(Table, table=table)
    checks.is_a(Mapping, methods=methods)
    if not 1 <= len(methods) <= len(scoreboard.LOOKS):
        raise ValueError(f"methods: got {len(methods)}, expected 1 to {len(scoreboard.LOOKS)}")
    for name in methods:
        if not isinstance(name, str) or not 1 <= len(name) <= 24:
            raise ValueError(f"methods: got the name {checks.shown(name)}, expected 1 to 24 letters")
    checks.whole(1, lookups=lookups)
    checks.whole(0, seed=seed)
    seeds = runs.spawn(seed, len(methods))
    done = {name: _run(table, name, methods[name], lookups, s) for name, s in zip(methods, seeds, strict=True)}
    return Race(table, done, lookups, seed)


def _run(table: Table, name: str, method: Method, lookups: int, seed: int) -> Run:
    searching, measuring = runs.spawn(seed, 2)
    noise = _generator(measuring)

    def evaluate(tokens: Tokens) -> float:
        return table.trained(tokens, int(torch.randint(len(table.valid), (), generator=noise))) / 100

    steps = method(table.space, evaluate, lookups, searching)
    seen = [*islice(chain.from_iterable(zip(s.children, s.rewards, strict=True) for s in steps), lookups)]
    if len(seen) < lookups:
        raise ValueError(f"methods: {name} stopped after {len(seen)} look-ups, expected {lookups}")
    children, rewards = zip(*seen, strict=True)
    measured = 100 * np.array(rewards)
    record_so_far = np.maximum.accumulate(measured)
    new = np.append(True, record_so_far[1:] > record_so_far[:-1])  # in a tie the first one leads
    leader = np.maximum.accumulate(np.where(new, np.arange(lookups), 0))
    return Run(children, measured, leader, np.array([table.regret(children[k]) for k in leader]))


def race_picture(race: Race, at: int | None = None, shown: Collection[str] | None = None) -> Picture:
    """Draws the race after `at` look-ups, by default all: the curves of regret, and each method's best architecture.

    `shown` are the names of the methods to draw, by default all. Raises `ValueError` for `at` outside 1 to the number
    of look-ups and for a name that is not in the race.
    """
    shown = race.runs if shown is None else shown
    for name in shown:
        if name not in race.runs:
            raise ValueError(f"shown: got {checks.shown(name)}, expected names of {', '.join(race.runs)}")
    at = race.lookups if at is None else at
    checks.whole(1, race.lookups + 1, at=at)
    drawn = [card(race, name, at) for name in race.runs if name in shown]
    if not drawn:
        return curves(race, at, shown)
    pairs = [beside("Two methods", *drawn[k : k + 2]) for k in range(0, len(drawn), 2)]
    return beside(title(race), curves(race, at, shown), above("Best architectures", *pairs))


def title(race: Race) -> str:
    return f"One race on {race.table.name}, seed {race.seed}"


def curves(race: Race, at: int, shown: Collection[str]) -> Picture:
    """The regret of the methods that are shown, up to look-up `at`."""
    said = "; ".join(f"{name} {regret:.2f}" for name, regret in standings(race, at, shown).items())
    alt = (
        f"{title(race)}: regret after {at} of {race.lookups} look-ups, in percentage points, best first: "
        f"{said or 'no method is chosen'}."
    )
    regret = {name: run.regret for name, run in race.runs.items()}
    return scoreboard.curves(regret, at, shown, title(race), alt)


def card(race: Race, name: str, at: int) -> Picture:
    """The architecture that the method believes best after `at` look-ups, and what the table knows about it."""
    run, table = race.runs[name], race.table
    place = int(run.leader[at - 1])
    tokens = run.children[place]
    lines = (
        f"rank {table.rank(tokens):,} of {table.space.strings:,}",
        f"measured {run.measured[place]:.1f} %, mean {table.accuracy(tokens):.1f} %",
        f"first seen at look-up {place + 1}",
    )
    return scoreboard.card([*race.runs].index(name), name, lines, table.space, tokens)


def standings(race: Race, at: int, shown: Collection[str]) -> dict[str, float]:
    """The regret after `at` look-ups by method, the smallest first."""
    regret = {name: float(run.regret[at - 1]) for name, run in race.runs.items() if name in shown}
    return dict(sorted(regret.items(), key=lambda item: item[1]))


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
