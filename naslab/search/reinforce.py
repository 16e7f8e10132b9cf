"""NAS with reinforcement learning: a controller writes children, and their rewards train it (Zoph & Le 2017)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, is_dataclass, replace
from functools import partial
from math import inf
from typing import Any

import torch

from naslab import checks
from naslab.controller import Controller, moving_average, policy_loss
from naslab.spaces import Space, Tokens
from naslab.states import restore, snapshot
from naslab.steps import Live, Step, begin, finite, keep, live_state, settle, squares


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
        checks.plain_fields(self)


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

    With `grow_every` the string starts at `space` and gains `grow_by` layers every so many children. The state of a
    step is `Live`: it can be read until the search goes on. Raises `FloatingPointError` if the search diverges.
    """
    if config.grow_every:
        controller.grow(deeper(space, config.grow_by))  # an error now, if it will not fit
    controller.grow(space)
    optim = torch.optim.Adam(controller.parameters(), config.lr)
    learners: dict[str, Any] = {"controller": controller, "optim": optim}
    baseline = None
    at = partial(depth, space, config)
    first, state = begin(after, "reinforce", space, generator, needs=("baseline", *learners), written_in=at)
    if state:
        checks.number(-inf, **{"state.baseline": state["baseline"]})
        restore(learners, state)
        baseline = state["baseline"]

    live = live_state(after)
    for index in range(first, config.updates):
        controller.grow(at(index))
        tokens, log_prob, entropy = controller(config.children, generator)  # (m, D), (m,), (m,)
        finite(index, (), log_probability=log_prob.sum().item(), entropy=entropy.sum().item())
        children = tuple(map(tuple, tokens.tolist()))
        rewards, failures = settle(map_fn(evaluate, children), config.children)
        r = log_prob.new_tensor(rewards) ** config.power  # (m,)
        b = 0.0 if baseline is None else baseline
        optim.zero_grad()
        loss = policy_loss(log_prob, entropy, r, b, config.entropy_weight)  # section 3.2
        loss.backward()
        finite(index, rewards, loss=loss.item(), squared_gradient=squares(p.grad for p in controller.parameters()))
        live.expire()  # from here on the weights are those of this step
        optim.step()
        baseline = moving_average(baseline, r.mean().item(), config.baseline_decay)  # after use: b never sees r
        finite(index, rewards, baseline=baseline, squared_weights=squares(controller.parameters()))

        info = {"baseline": baseline, "entropy": entropy.mean().item()}
        kept = keep("reinforce", space, generator, baseline=baseline)  # now: others may draw from the generator

        def state_now(kept: dict[str, Any] = kept) -> dict[str, Any]:
            return {**kept, **snapshot({name: learner.state_dict() for name, learner in learners.items()})}

        live = Live(state_now)
        yield Step(index, children, rewards, info, failures, live)


def depth(space: Space, config: Config, index: int) -> Space:
    """The space of an update: `space`, deeper by `grow_by` layers for every `grow_every` children before it."""
    if not config.grow_every:
        return space
    return deeper(space, index * config.children // config.grow_every * config.grow_by)


def deeper(space: Space, by: int) -> Space:
    """The space with so many layers more. Raises `ValueError` for a space that has none."""
    if not is_dataclass(space) or not hasattr(space, "layers"):
        raise ValueError(f"grow_every: got the space {space!r}, expected one with layers: ConvSpace or MacroSpace")
    return replace(space, layers=space.layers + by)
