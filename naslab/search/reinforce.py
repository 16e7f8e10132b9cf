"""NAS with reinforcement learning: a controller writes children, and their rewards train it (Zoph & Le 2017)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from naslab import checks
from naslab.controller import Controller, moving_average, policy_loss
from naslab.spaces import Space, Tokens
from naslab.steps import Step, begin, keep, settle, snapshot


@dataclass(frozen=True)
class Config:
    """The settings of section 4.1; a few hundred children want a larger learning rate and an entropy bonus."""

    updates: int = 1600  # 12,800 children (section 4.1)
    children: int = 8  # m
    lr: float = 6e-4  # of Adam (section 4.1)
    baseline_decay: float = 0.95  # of the moving average; the paper gives no number
    entropy_weight: float = 0.0
    power: float = 1.0  # the policy sees reward ** power; 3 in section 4.1
    grow_every: int = 0  # children; 1,600 in section 4.1; 0: never
    grow_by: int = 2  # layers (section 4.1)

    def __post_init__(self) -> None:
        checks.whole(0, updates=self.updates, grow_every=self.grow_every, grow_by=self.grow_by)
        checks.whole(1, children=self.children)
        checks.positive(lr=self.lr, power=self.power)
        checks.number(0, entropy_weight=self.entropy_weight)
        checks.number(0, 1, baseline_decay=self.baseline_decay)


def search(
    space: Space,
    evaluate: Callable[[Tokens], float],
    controller: Controller,
    config: Config,
    generator: torch.Generator,
    after: Step | None = None,
    map_fn: Callable = map,
) -> Iterator[Step]:
    """Trains `controller` in place, one update a step. `Step.rewards` are `evaluate`'s; a failed child counts 0.

    With `grow_every` the string starts at `space` and gains `grow_by` layers every so many children.
    """
    optim = torch.optim.Adam(controller.parameters(), config.lr)
    baseline = None
    first, state = begin(after, "reinforce", space, generator)
    if state:
        controller.load_state_dict(state["controller"])
        optim.load_state_dict(snapshot(state["optim"]))  # it keeps the tensors that it is given
        baseline = state["baseline"]

    for index in range(first, config.updates):
        controller.grow(depth(space, config, index))
        tokens, log_prob, entropy = controller(config.children, generator)  # (m, D), (m,), (m,)
        children = tuple(map(tuple, tokens.tolist()))
        rewards, failures = settle(map_fn(evaluate, children))
        r = log_prob.new_tensor(rewards) ** config.power  # (m,)
        b = 0.0 if baseline is None else baseline
        optim.zero_grad()
        policy_loss(log_prob, entropy, r, b, config.entropy_weight).backward()  # section 3.2
        optim.step()
        baseline = moving_average(baseline, r.mean().item(), config.baseline_decay)  # after use: b never sees r

        info = {"baseline": baseline, "entropy": entropy.mean().item()}
        weights = snapshot({"controller": controller.state_dict(), "optim": optim.state_dict()})
        state = keep("reinforce", space, generator, baseline=baseline, **weights)
        yield Step(index, children, rewards, info, failures, state)


def depth(space: Space, config: Config, index: int) -> Space:
    """The space of an update: `space`, deeper by `grow_by` layers for every `grow_every` children before it."""
    if not config.grow_every:
        return space
    grown = index * config.children // config.grow_every * config.grow_by
    return replace(space, layers=space.layers + grown)  # type: ignore[type-var, attr-defined]
