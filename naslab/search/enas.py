"""ENAS: children share the weights of a supergraph, and a controller learns to sample good children (Pham et al. 2018).

Each epoch has two phases (Training ENAS and Deriving Architectures). Phase 0 trains the shared weights w on sampled
children, with the policy fixed. Phase 1 trains the controller's parameters theta by REINFORCE, with w fixed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf, isfinite
from typing import Any

import torch
from torch import Tensor, nn

from naslab import checks, runs
from naslab.controller import Controller, moving_average, policy_loss, skip_divergence
from naslab.objective import Objective
from naslab.schedules import Decay, Restarts
from naslab.spaces import Space, Tokens, Weights
from naslab.states import check_hidden, restore, snapshot
from naslab.steps import Live, Step, begin, finite, keep, live_state, squares


@dataclass(frozen=True)
class Config:
    """Settings of the search. The defaults are for CIFAR-10 (section 3.2); `PTB` has those of section 3.1.

    `clip`, `skip_weight` and `baseline_decay` come from the authors' code; the paper does not state them.
    """

    epochs: int = 310  # each has a phase of w and a phase of theta
    weight_steps: int = 0  # steps of w per epoch; 0: one pass over the training data, as in the paper
    policy_steps: int = 2000  # steps of theta per epoch
    children: int = 1  # M, the number of children per step of w; their losses are averaged (eq. 1)
    policy_children: int = 1  # the number of children per step of theta
    lr: Callable[[float], float] = field(default=Restarts())  # epoch -> learning rate of w
    momentum: float = 0.9  # Nesterov momentum
    weight_decay: float = 1e-4
    clip: float = 5.0  # largest norm of w's gradient
    policy_lr: float = 3.5e-4  # learning rate of Adam
    baseline_decay: float = 0.99
    entropy_weight: float = 0.1
    skip_weight: float = 0.8  # weight of KL(P(skip) || skip_target), which is 0 in spaces without skips
    skip_target: float = 0.4

    def __post_init__(self) -> None:
        checks.whole(0, epochs=self.epochs, weight_steps=self.weight_steps, policy_steps=self.policy_steps)
        checks.whole(1, children=self.children, policy_children=self.policy_children)
        checks.positive(clip=self.clip, policy_lr=self.policy_lr, skip_target=self.skip_target)
        rest = ("weight_decay", "entropy_weight", "skip_weight")
        checks.number(0, **{name: getattr(self, name) for name in rest})
        checks.number(0, 1, momentum=self.momentum, baseline_decay=self.baseline_decay, skip_target=self.skip_target)
        checks.plain_fields(self)
        if not callable(self.lr):
            raise ValueError(f"lr: got {checks.shown(self.lr)}, expected a function of the epoch, such as Restarts()")


PTB = Config(150, lr=Decay(), momentum=0.0, weight_decay=1e-7, clip=0.25, entropy_weight=1e-4, baseline_decay=0.999)


def search(
    space: Space,
    model: nn.Module,
    objective: Objective,
    controller: Controller,
    config: Config,
    generator: torch.Generator,
    after: Step | None = None,
) -> Iterator[Step]:
    """Trains `model`, a supergraph, and `controller` in place. Each Step takes one step of w or one step of theta.

    In a step of w, `info["phase"]` is 0 and `rewards` holds the negative loss of each child on a training batch. In a
    step of theta, `info["phase"]` is 1 and `rewards` holds the reward of each child on a validation batch. The state is
    `Live`. The seed of `generator` and the step's index seed dropout; `generator` itself draws the children. Raises
    `FloatingPointError` if w or theta diverges.
    """
    w = torch.optim.SGD(
        model.parameters(), 1.0, config.momentum, weight_decay=config.weight_decay, nesterov=config.momentum > 0
    )
    theta = torch.optim.Adam(controller.parameters(), config.policy_lr)
    learners: dict[str, Any] = {"model": model, "controller": controller, "w": w, "theta": theta}
    hidden, baseline = [None] * config.children, None  # the children's hidden states; the moving average of rewards
    first, state = begin(after, "enas", space, generator, needs=("baseline", "hidden", *learners))
    if state:
        if state["baseline"] is not None:
            checks.number(-inf, **{"state.baseline": state["baseline"]})
        check_hidden(state["hidden"], hidden)
        restore(learners, state)
        hidden, baseline = snapshot(state["hidden"]), state["baseline"]

    weight_steps = config.weight_steps or objective.batches
    live = live_state(after)
    for index in range(first, config.epochs * (weight_steps + config.policy_steps)):
        live.expire()
        epoch, place = divmod(index, weight_steps + config.policy_steps)
        # set in steps of theta, too: a search that is resumed there then has the same state as one that never stopped
        lr = float(config.lr(epoch + min(place, weight_steps - 1) / weight_steps))
        checks.number(0, lr=lr)
        w.param_groups[0]["lr"] = lr
        if place < weight_steps:
            step = epoch * weight_steps + place
            if step % objective.batches == 0:
                hidden = [None] * config.children  # a new epoch: the text restarts
            with torch.no_grad():
                children = strings(controller.draw(config.children, generator)[0])
            with runs.seeded(generator.initial_seed(), index):
                corners, batch = [space.one_hot(child) for child in children], objective.batch("train", step)
                losses, hidden = weight_step(model, objective, corners, batch, hidden, w, config.clip, index)
            rewards, info = [-loss for loss in losses], {"phase": 0.0, "lr": lr}
        else:
            batch = objective.batch("valid", epoch * config.policy_steps + place - weight_steps)
            score = partial(shared_reward, space, model, objective, batch)
            b = baseline or 0.0
            children, rewards, entropy = policy_step(controller, score, b, theta, config, generator, index)
            baseline = moving_average(baseline, sum(rewards) / len(rewards), config.baseline_decay)
            finite(index, rewards, baseline=baseline)
            info = {"phase": 1.0, "baseline": baseline, "entropy": entropy}

        kept = keep("enas", space, generator, baseline=baseline)  # keep it now: other code may draw from the generator

        def state_now(kept=kept, hidden=hidden) -> dict[str, Any]:
            learned = {name: learner.state_dict() for name, learner in learners.items()}
            return {**kept, **snapshot({**learned, "hidden": hidden})}

        live = Live(state_now)
        yield Step(index, children, tuple(rewards), info, state=live)


def weight_step(
    model: nn.Module,
    objective: Objective,
    corners: Sequence[Weights],
    batch: Any,
    hidden: Sequence[Any],
    w: torch.optim.Optimizer,
    clip: float,
    index: int = 0,
) -> tuple[list[float], list[Any]]:
    """Takes a step of w with the mean gradient of M children (weights: `corners`).

    Returns the loss of each child and its hidden state after the batch. Raises
    `FloatingPointError` with the step `index` if a loss or the gradient is not finite,
    before w changes.
    """
    model.train()
    w.zero_grad()
    losses, after = [], []
    for k, (weights, before) in enumerate(zip(corners, hidden, strict=True)):
        loss, carried = objective.loss(model, weights, batch, before)
        losses.append(loss.item())
        finite(index, (), **{f"training loss of child {k}": losses[-1]})
        (loss / len(corners)).backward()  # eq. 1
        after.append(carried)
    norm = nn.utils.clip_grad_norm_(model.parameters(), clip)
    finite(index, (), **{"norm of the gradient of w": norm.item()})
    w.step()
    return losses, after


def policy_step(
    controller: Controller,
    score: Callable[[Tokens], float],
    baseline: float,
    theta: torch.optim.Optimizer,
    config: Config,
    generator: torch.Generator,
    index: int = 0,
) -> tuple[tuple[Tokens, ...], list[float], float]:
    """Takes a step of theta by REINFORCE.

    Returns the sampled children, their scores and the mean entropy of their strings.
    Raises `FloatingPointError` with the step `index` if the loss, theta or its
    gradient is not finite.
    """
    tokens, log_p = controller.draw(config.policy_children, generator)
    log_prob, entropy = controller.summed(tokens, log_p)  # (m,)
    rewards = [score(child) for child in strings(tokens)]
    r = log_prob.new_tensor(rewards)
    loss = policy_loss(log_prob, entropy, r, baseline, config.entropy_weight)
    divergence = skip_divergence(controller.space, log_p, config.skip_target)  # (m,)
    loss = loss + config.skip_weight * divergence.mean()
    theta.zero_grad()
    loss.backward()
    slope = squares(p.grad for p in controller.parameters())
    numbers = {"loss of theta": loss.item(), "squared gradient of theta": slope}
    finite(index, rewards, **numbers)
    theta.step()
    finite(index, rewards, **{"squares of theta": squares(controller.parameters())})
    return strings(tokens), rewards, entropy.mean().item()


def shared_reward(space: Space, model: nn.Module, objective: Objective, batch: Any, child: Tokens) -> float:
    """Returns the reward of a child on a batch with the shared weights; 0 if it is not finite."""
    reward = float(objective.reward(model, space.one_hot(child), batch))
    return reward if isfinite(reward) else 0.0


def strings(tokens: Tensor) -> tuple[Tokens, ...]:
    return tuple(map(tuple, tokens.tolist()))


def derive(
    space: Space,
    model: nn.Module,
    objective: Objective,
    controller: Controller,
    n: int,
    generator: torch.Generator,
) -> list[tuple[Tokens, float]]:
    """Samples n children and scores them with the shared weights on a validation batch.

    Returns them with their scores, best first (Pham et al. 2018, Training ENAS and
    Deriving Architectures). The first is the result of the search. It is then trained
    from scratch.
    """
    checks.whole(1, n=n)
    with torch.no_grad():
        children = strings(controller.draw(n, generator)[0])
    score = partial(shared_reward, space, model, objective, objective.batch("valid", 0))
    pairs = [(child, score(child)) for child in children]
    return sorted(pairs, key=lambda pair: -pair[1])
