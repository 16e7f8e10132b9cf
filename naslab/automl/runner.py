"""A whole run: a search, three trainings, a choice. It keeps to its minutes and goes on after any interruption."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from naslab import checks, runs
from naslab.automl.keeping import Bar, Watch, kept
from naslab.automl.plan import Plan
from naslab.automl.search import Search
from naslab.automl.work import Work, data_hash, of
from naslab.data import ImageTask, TextTask
from naslab.networks import count_parameters
from naslab.spaces import Tokens
from naslab.steps import checkpoint, jsonl, resume
from naslab.training import finite

SHARE = {False: 0.5, True: 0.35}  # of the budget, for the search at least; True: with shared weights
RESERVE = 0.1  # of the budget
NAMES = ("found", "by hand", "random")


@dataclass(frozen=True, eq=False)
class Trained:
    """A cell, its network after the last training, and the validation score: accuracy, or 80 / perplexity^2."""

    tokens: Tokens
    model: nn.Module
    parameters: int
    valid: float
    seconds: float
    failure: str | None = None


@dataclass(frozen=True, eq=False)
class Result:
    """What `run` returns. `best` names the network with the highest validation score: the one to export."""

    plan: Plan
    task: ImageTask | TextTask
    searched: list[tuple[Tokens, float]]  # each evaluated cell and its reward, in order; of ENAS, those of phase 1
    trained: dict[str, Trained]  # by the names of NAMES
    epochs: float  # of the three trainings
    seconds: float  # the whole run, over all its parts

    @property
    def best(self) -> str:
        return max(NAMES, key=lambda name: self.trained[name].valid)

    @property
    def model(self) -> nn.Module:
        return self.trained[self.best].model


def run(
    task: ImageTask | TextTask, plan: Plan, folder: Path | str, *, clock: Callable[[], float] = time.monotonic
) -> Result:
    """Carries out the plan and keeps everything in `folder`. Called again with the same arguments, it goes on.

    A kill loses what is being trained: a child, four of them in REINFORCE, up to 25 steps of shared weights, the
    candidates that they leave, or one of the three networks. The search ends early if the time is over that the
    trainings leave to it, and the last trainings get fewer epochs if the plan's do not fit into what is left.

    Only one process at a time may use a folder. Raises `ValueError` if it holds the run of another plan or other data.
    """
    work, folder = of(task, plan), Path(folder)
    begin(folder, plan, data_hash(task))
    watch = Watch(folder, plan.minutes, clock)
    with watch.saved():
        search = Search(work)
        chosen = kept(folder / "chosen.json", "cells", lambda: choose(search, folder, watch))
        cells = {name: tuple(tokens) for name, tokens in zip(NAMES, chosen["cells"], strict=True)}
        epochs = kept(folder / "epochs.json", "epochs", lambda: fitting(work, cells, watch))["epochs"]
        trained = {name: train(work, tokens, epochs, folder, name, watch) for name, tokens in cells.items()}
    rows = [json.loads(line) for line in (folder / "steps.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["info"].get("phase") != 0]
    pairs = [(tuple(c), r) for row in rows for c, r in zip(row["children"], row["rewards"], strict=True)]
    return Result(plan, task, pairs, trained, epochs, watch.spent)


def begin(folder: Path, plan: Plan, data: str) -> None:
    """Writes the plan into a new folder, or compares it with the folder's. Raises `ValueError` if they differ."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"folder: got {str(folder)!r}, a file, expected a folder")
    text = {**asdict(plan), "recipe": {"kind": type(plan.recipe).__name__, **asdict(plan.recipe)}, "data": data}
    del text["forecast"]
    found = kept(folder / "plan.json", "method", lambda: text)
    for name, value in json.loads(json.dumps(text)).items():
        if found.get(name) != value:
            got, there = checks.shown(value), checks.shown(found.get(name))
            raise ValueError(
                f"{folder}: got {name} {got}, but the run that is kept there has {there}: use a new folder"
            )


def choose(search: Search, folder: Path, watch: Watch) -> dict[str, Any]:
    """Searches, and returns the cell that is found, the one made by hand and a random one of nearly the same size."""
    plan = search.plan
    every = 25 if plan.shares_weights else 1
    end = max(SHARE[plan.shares_weights] * watch.budget, time_of_search(search.work, watch.budget, watch.clock))
    later = (1 - RESERVE) * watch.budget - end
    bar = Bar(f"search ({plan.method})", search.number, limit=end - watch.before, later=later)
    log, save = jsonl(folder / "steps.jsonl"), checkpoint(folder / "search.pt", every)
    for step in search.steps(resume(folder / "search.pt")):
        log(step)  # before the checkpoint: what is searched again replaces its lines
        save(step)
        bar(step.index + 1)
        if (step.index + 1) % every == 0:
            watch.save()
        if watch.spent > end:
            break
    bar.close()
    lines = [json.loads(line) for line in (folder / "steps.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = [(tuple(map(tuple, row["children"])), tuple(row["rewards"])) for row in lines]
    candidates = search.candidates(steps)
    rewards = search.tried(candidates)
    found = candidates[rewards.index(max(rewards))]
    draw = torch.Generator().manual_seed(search.seeds[3])
    return {"cells": [found, search.work.by_hand, alike(search.work, found, draw)]}


def alike(work: Work, tokens: Tokens, generator: torch.Generator, draws: int = 100) -> Tokens:
    """Returns the one of `draws` random cells, other than `tokens`, whose network is nearest in parameters."""
    trainer = work.trainer(1, 0)

    def size(cell: Tokens) -> int:
        return count_parameters(trainer.build(cell))

    drawn = dict.fromkeys(work.plan.space.sample(generator) for _ in range(draws))
    drawn.pop(tokens, None)
    target = size(tokens)
    return min(drawn, key=lambda cell: abs(size(cell) - target))


def fitting(work: Work, cells: dict[str, Tokens], watch: Watch) -> dict[str, float]:
    """Returns the plan's number of epochs, or the smaller one that fits into the time that is left."""
    seconds = sum(seconds_per_epoch(work, tokens, watch.clock) for tokens in cells.values())
    left = watch.budget * (1 - RESERVE) - watch.spent
    return {"epochs": min(work.plan.final_epochs, max(left, 0) / max(seconds, 1e-9))}


def time_of_search(work: Work, budget: float, clock: Callable[[], float]) -> float:
    """Returns the seconds of the budget that the reserve and the plan's trainings leave, if all cells are the slowest.

    Cells that share weights are also trained alone before one is chosen.
    """
    plan = work.plan
    alone = plan.finalists / 5 if plan.shares_weights else 0.0
    return (1 - RESERVE) * budget - (3 + alone) * plan.final_epochs * seconds_per_epoch(work, largest(work), clock)


def largest(work: Work) -> Tokens:
    """The cell with the op of most work on each edge, or any recurrent cell: they all cost about the same."""
    space = work.plan.space
    if "nor_conv_3x3" not in space.ops:
        return work.by_hand
    return tuple(space.ops.index("nor_conv_3x3") for _ in space.decisions)


def seconds_per_epoch(work: Work, tokens: Tokens, clock: Callable[[], float], batches: int = 4) -> float:
    """Measured on a few batches, after a first one. It includes a twentieth for the evaluation."""
    model = work.trainer(1, 0).build(tokens)
    losses = work.losses(model, (batches + 1) / work.batches, 0)
    next(losses)
    start = clock()
    for _ in losses:
        pass
    return 1.05 * (clock() - start) / batches * work.batches


def train(work: Work, tokens: Tokens, epochs: float, folder: Path, name: str, watch: Watch) -> Trained:
    """Trains one of the three networks, or reads the one that the folder holds."""
    path, seed = folder / f"{name.replace(' ', '_')}.pt", runs.spawn(work.plan.seed, 5)[4]  # `Search` has the others
    model = work.trainer(epochs, seed).build(tokens)
    if not path.exists():
        start, failure = watch.clock(), None
        later = len(NAMES) - 1 - NAMES.index(name)
        bar = Bar(f"training ({name})", max(1, round(epochs * work.batches)), again=later)
        try:
            with runs.seeded(seed):
                for k, _ in enumerate(finite(work.losses(model, epochs, seed)), 1):
                    bar(k)
            score = work.measure(model)
        except FloatingPointError as error:
            score, failure = 0.0, str(error)
        bar.close()
        found = {"state": model.state_dict(), "valid": score, "seconds": watch.clock() - start, "failure": failure}
        runs.save(path, found)
        watch.save()
    content = runs.load(path)
    model.load_state_dict(content["state"])
    model.eval()
    size = count_parameters(model)
    return Trained(tokens, model, size, content["valid"], content["seconds"], content["failure"])
