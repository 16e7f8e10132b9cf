"""NAS with reinforcement learning: a controller samples children and learns from their rewards (Zoph & Le 2017)."""

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
    """Settings of the search. The defaults are those of section 4.1.

    A search with a few hundred children needs a larger learning rate and an entropy bonus.
    """

    updates: int = 1600  # 12,800 children (section 4.1)
    children: int = 8  # m, children per update
    lr: float = 6e-4  # learning rate of Adam (section 4.1)
    baseline_decay: float = 0.95  # decay of the moving average; the paper does not state it
    entropy_weight: float = 0.0
    power: float = 1.0  # the policy gradient uses reward ** power; section 4.1 has 3
    grow_every: int = 0  # number of children before the space grows; section 4.1 has 1,600; 0: never
    grow_by: int = 2  # layers added each time (section 4.1)

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
    """Trains `controller` in place, one update per step.

    `Step.rewards` are those of `evaluate`; the reward of a failed child is 0. With
    `grow_every` the search starts in `space`, which gains `grow_by` layers after every
    `grow_every` children. The state of a step is `Live`: it can be read until the
    search continues. Raises `FloatingPointError` if the search diverges.
    """
    if config.grow_every:  # fail now if a grown space does not fit
        controller.grow(deeper(space, config.grow_by))
    controller.grow(space)
    optim = torch.optim.Adam(controller.parameters(), config.lr)
    learners: dict[str, Any] = {"controller": controller, "optim": optim}
    baseline = None
    at = partial(depth, space, config)
    first, state = begin(
        after,
        "reinforce",
        space,
        generator,
        needs=("baseline", *learners),
        written_in=at,
    )
    if state:
        checks.number(-inf, **{"state.baseline": state["baseline"]})
        restore(learners, state)
        baseline = state["baseline"]

    live = live_state(after)
    for index in range(first, config.updates):
        controller.grow(at(index))
        # (m, D), (m,), (m,)
        tokens, log_prob, entropy = controller(config.children, generator)
        finite(
            index,
            (),
            log_probability=log_prob.sum().item(),
            entropy=entropy.sum().item(),
        )
        children = tuple(map(tuple, tokens.tolist()))
        rewards, failures = settle(map_fn(evaluate, children), config.children)
        r = log_prob.new_tensor(rewards) ** config.power  # (m,)
        b = 0.0 if baseline is None else baseline
        optim.zero_grad()
        # section 3.2
        loss = policy_loss(log_prob, entropy, r, b, config.entropy_weight)
        loss.backward()
        finite(
            index,
            rewards,
            loss=loss.item(),
            squared_gradient=squares(p.grad for p in controller.parameters()),
        )
        live.expire()  # from here on the weights change
        optim.step()
        # after use: b never sees r
        baseline = moving_average(baseline, r.mean().item(), config.baseline_decay)
        finite(
            index,
            rewards,
            baseline=baseline,
            squared_weights=squares(controller.parameters()),
        )

        info = {"baseline": baseline, "entropy": entropy.mean().item()}
        # keep it now: other code may use the generator
        kept = keep("reinforce", space, generator, baseline=baseline)

        def state_now(kept: dict[str, Any] = kept) -> dict[str, Any]:
            return {
                **kept,
                **snapshot(
                    {name: learner.state_dict() for name, learner in learners.items()},
                ),
            }

        live = Live(state_now)
        yield Step(index, children, rewards, info, failures, live)


def depth(space: Space, config: Config, index: int) -> Space:
    """Returns the space of an update: `space` plus `grow_by` layers for every `grow_every` earlier children."""
    if not config.grow_every:
        return space
    return deeper(space, index * config.children // config.grow_every * config.grow_by)


def deeper(space: Space, by: int) -> Space:
    """Returns the space with `by` more layers. Raises `ValueError` for a space without layers."""
    if not is_dataclass(space) or not hasattr(space, "layers"):
        raise ValueError(f"grow_every: got the space {space!r}, expected one with layers: ConvSpace or MacroSpace")
    return replace(space, layers=space.layers + by)
