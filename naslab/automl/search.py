"""The search of a plan: its steps by one of the four methods, and the cell that it leaves."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import torch

from naslab import runs
from naslab.automl.work import TextWork, Work, device
from naslab.controller import Controller
from naslab.schedules import Decay, Restarts
from naslab.search import darts, enas, random_search, reinforce
from naslab.spaces import Tokens
from naslab.steps import Step

CHILDREN = 4  # of an update of REINFORCE
POLICY_STEPS = 30  # of the controller per epoch of ENAS
SAMPLES = 32  # that ENAS draws at its end, scored with the shared weights


class Search:
    """What a plan's method learns, and its steps. All of it depends on the plan and the task only."""

    def __init__(self, work: Work) -> None:
        self.work, self.plan = work, work.plan
        self.seeds = runs.spawn(
            work.plan.seed, 4
        )  # of learners, draws, children, candidates; the fifth trains the last three
        learner, draws, *_ = self.seeds
        self.generator = torch.Generator().manual_seed(draws)
        with runs.seeded(learner):
            self.controller = Controller(work.plan.space, units=35, layers=1).to(device(work.task))
        self.alpha = darts.start(work.plan.space, device=device(work.task))
        self.model = work.supergraph(learner) if work.plan.shares_weights else None
        self.objective = work.objective(learner)

    def steps(self, after: Step | None = None) -> Iterator[Step]:
        """Searches, or goes on after a step."""
        plan, space, generator = self.plan, self.plan.space, self.generator
        if plan.method == "random":
            judge = self.work.trainer(plan.epochs, self.seeds[2])
            return random_search.search(space, judge, random_search.Config(plan.children), generator, after)
        if plan.method == "reinforce":
            judge = self.work.trainer(plan.epochs, self.seeds[2])
            updates, decay = -(-plan.children // CHILDREN), 0.9
            settings = reinforce.Config(updates, CHILDREN, lr=0.02, baseline_decay=decay, entropy_weight=0.01)
            return reinforce.search(space, judge, self.controller, settings, generator, after)
        assert self.model is not None
        if plan.method == "enas":
            return enas.search(space, self.model, self.objective, self.controller, self.enas, generator, after)
        return darts.search(space, self.model, self.objective, self.alpha, self.darts, generator, after)

    @property
    def number(self) -> int:
        """The number of steps."""
        plan, epochs = self.plan, round(self.plan.epochs)
        if plan.method == "enas":
            return epochs * (self.objective.batches + POLICY_STEPS)
        if plan.method == "darts":
            return epochs * self.objective.batches
        return plan.children if plan.method == "random" else -(-plan.children // CHILDREN)

    @property
    def enas(self) -> enas.Config:
        settings: dict[str, Any] = {"policy_steps": POLICY_STEPS, "policy_children": 4, "policy_lr": 0.02}
        settings |= {"entropy_weight": 0.005, "baseline_decay": 0.9}
        text = isinstance(self.work, TextWork)
        epochs = max(1, round(self.plan.epochs))
        start = replace(enas.PTB, lr=Decay(5.0)) if text else enas.Config(lr=Restarts(first=epochs))
        return replace(start, epochs=epochs, **settings)

    @property
    def darts(self) -> darts.Config:
        """First order, with a rate of alpha that a short search needs."""
        text = isinstance(self.work, TextWork)
        start = replace(darts.PTB, lr=5.0, lr_min=5.0, alpha_lr=0.03) if text else darts.Config(lr=0.1, alpha_lr=0.03)
        return replace(start, epochs=max(1, round(self.plan.epochs)), xi=0.0)

    def candidates(self, steps: list[tuple[tuple[Tokens, ...], tuple[float, ...]]]) -> list[Tokens]:
        """The different cells that are tried alone, the most promising first. `steps`: children and rewards.

        One for a search that trained its children. DARTS: what it would leave after each quarter. The last cell alone
        would be a risk: a search may collapse (lesson 09). ENAS: the best of the cells that the controller draws at
        the end, scored with the shared weights on a validation batch.
        """
        if not self.plan.shares_weights:
            scored = [pair for children, rewards in steps for pair in zip(children, rewards, strict=True)]
            return [max(scored, key=lambda pair: pair[1])[0]]
        number = self.plan.finalists
        if self.plan.method == "darts":
            last = len(steps) - 1
            found = [steps[last - k * len(steps) // number][0][0] for k in range(number)]
        else:
            assert self.model is not None
            draw = torch.Generator().manual_seed(self.seeds[3])
            found = [
                child
                for child, _ in enas.derive(self.plan.space, self.model, self.objective, self.controller, SAMPLES, draw)
            ]
        return [*islice(dict.fromkeys(found), number)]

    def tried(self, candidates: list[Tokens]) -> list[float]:
        """The rewards of candidates that are trained alone. A single one is not trained: there is no choice."""
        if len(candidates) == 1:
            return [0.0]
        judge = self.work.trainer(self.plan.final_epochs / 5, self.seeds[3])
        return [float(judge(child)) for child in candidates]
