"""What a budget buys: measures a few steps on this machine, and plans the rest."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from naslab import checks, spaces
from naslab.automl.keeping import kept
from naslab.automl.plan import Plan
from naslab.automl.runner import RESERVE, SHARE, seconds_per_epoch, time_of_search
from naslab.automl.search import POLICY_STEPS, Search
from naslab.automl.work import Work, check_task, of
from naslab.data import ImageTask, TextTask
from naslab.search import darts, enas
from naslab.training import Recipe, TextRecipe

MOST_EPOCHS = 60.0  # of a training; more time buys more children
NUMBERS = ("width", "depth", "children", "epochs", "final_epochs", "finalists")  # of a plan, which may be changed
CHILDREN = 32  # a search that trains children has at least so many, if need be for less than an epoch each


def planned(
    task: ImageTask | TextTask,
    minutes: float,
    method: str = "random",
    *,
    seed: int = 0,
    folder: Path | str | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Plan:
    """Measures a few steps of training (a second or two) and returns a plan that fits into the minutes.

    If `folder` keeps a run with the same minutes, method and seed, its plan is returned, so that `run` goes on with it.

    The time of a child is that of the mean of three random cells, and of the three last trainings that of the slowest
    cell. Raises `ValueError` if the minutes are too few: a search needs 8 children of half an epoch.
    """
    checks.positive(minutes=minutes)
    check_task(task)
    plan = first(task, method, minutes, seed)
    if folder is not None and (earlier := numbers_of(Path(folder), plan)):
        return replace(plan, **earlier)
    work = of(task, plan)
    budget, rest = 60 * minutes, 1 - RESERVE - SHARE[plan.shares_weights]
    one = (1 - RESERVE) * budget - time_of_search(work, budget, clock)  # seconds, if the trainings have one epoch
    final = min(MOST_EPOCHS, rest * budget / one)
    search = (1 - RESERVE) * budget - final * one
    if plan.shares_weights:
        epoch = seconds_of_shared(work, clock)
        enough, children = min(final, search / epoch), 1
        epochs = rounded(min(MOST_EPOCHS, search / epoch))
    else:
        draw = torch.Generator().manual_seed(seed)
        drawn = [plan.space.sample(draw) for _ in range(3)]
        epoch = sum(seconds_per_epoch(work, tokens, clock) for tokens in drawn) / len(drawn)
        epochs = rounded(min(final / 2, search / epoch / CHILDREN))
        enough, children = min(final, search / epoch / epochs / 8), int(search / epoch / epochs)
    if enough < 1:
        needed = f"at least {1.1 * minutes / enough:.2g} for this data and machine"
        raise ValueError(f"minutes: got {minutes:g}, expected {needed}")
    final = rounded(final)
    forecast = {"search": epoch * epochs * children / 60, "trainings": one * final / 60}
    return replace(plan, children=children, epochs=epochs, final_epochs=final, forecast=forecast)


def numbers_of(folder: Path, plan: Plan) -> dict[str, Any]:
    """The numbers of the plan that a folder keeps, or nothing if there is none for the same budget."""
    if not (folder / "plan.json").exists():
        return {}
    found = kept(folder / "plan.json", "method", dict)
    if any(found.get(name) != getattr(plan, name) for name in ("method", "minutes", "seed")):
        return {}
    return {name: found[name] for name in NUMBERS if name in found}


def rounded(epochs: float) -> float:
    """Whole epochs, or half of one."""
    return float(int(epochs)) or 0.5


def first(task: ImageTask | TextTask, method: str, minutes: float, seed: int) -> Plan:
    """A plan with the right space, sizes and recipe, before anything is measured."""
    if isinstance(task, ImageTask):
        size = power_of_two(min(len(task.train) // 8, len(task.valid)))
        space, recipe = spaces.nas_bench_201(), Recipe(1, size, lr=0.1, nesterov=True, weight_decay=5e-4)
        return Plan(method, space, 8, 1, recipe, 1, 1.0, 1.0, minutes, seed=seed)
    steps = TextRecipe().bptt + 1
    text = TextRecipe(1, power_of_two(min(len(task.train) // 8, len(task.valid)) // steps))
    return Plan(method, spaces.darts_rnn(4), 64, 1, text, 1, 1.0, 1.0, minutes, seed=seed)


def power_of_two(most: int) -> int:
    """The batch size: at most 32 and at most `most`, but at least 2."""
    return max(2, min(32, 2 ** (max(most, 1).bit_length() - 1)))


def seconds_of_shared(work: Work, clock: Callable[[], float], steps: int = 4) -> float:
    """Seconds of an epoch of shared weights: all steps of w, and those of the policy or of alpha."""
    search = Search(work)
    batches, space, draw = search.objective.batches, work.plan.space, search.generator
    assert search.model is not None
    if work.plan.method == "darts":
        enough = replace(search.darts, epochs=steps + 1)  # at least so many steps, however few an epoch has
        stream = darts.search(space, search.model, search.objective, search.alpha, enough, draw)
        return batches * mean(stream, clock, steps)
    of_w = replace(search.enas, epochs=1, weight_steps=steps + 1, policy_steps=0)
    of_policy = replace(search.enas, epochs=1, weight_steps=1)
    first, second = (
        enas.search(space, search.model, search.objective, search.controller, config, draw)
        for config in (of_w, of_policy)
    )
    seconds = batches * mean(first, clock, steps)
    next(second)  # its one step of w
    return seconds + POLICY_STEPS * mean(second, clock, steps)


def mean(steps: Iterator[object], clock: Callable[[], float], number: int) -> float:
    """Seconds of a step, measured on `number` of them after the first."""
    next(steps)
    start = clock()
    for _ in islice(steps, number):
        pass
    return (clock() - start) / number
