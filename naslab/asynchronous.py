"""REINFORCE by many replicas in simulated time: every gradient is taken at the theta that its replica has pulled.

    report = fleet.simulate(machines, generator, updates=100)
    for step in asynchronous.search(space, evaluate, controller, config, report.gradients, generator): ...

The simulation says which theta each gradient has seen, and when; this module trains a controller accordingly. So the
effect of staleness can be measured without a cluster, on a table exactly.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy

import torch
from torch import Tensor

from naslab import checks
from naslab.controller import Controller, moving_average, policy_loss
from naslab.fleet import Gradient
from naslab.search.reinforce import Config
from naslab.spaces import Space, Tokens
from naslab.steps import Step, finite, settle, squares


def search(
    space: Space,
    evaluate: Callable[[Tokens], float],
    controller: Controller,
    config: Config,
    gradients: Sequence[Gradient],
    generator: torch.Generator,
    map_fn: Callable = map,
) -> Iterator[Step]:
    """Trains `controller` in place, one update per step, with a simulated fleet's gradients.

    `gradients` are those of `fleet.simulate`, in the order in which the server gets
    them. An update is the mean of all gradients that are pushed to one version. Each is
    computed from `config.children` children of the theta at its version `pulled`. The
    baseline is the server's when the rewards are in. With one replica all this is
    `reinforce.search`, to the last bit.

    `info` has the mean staleness and the simulated `seconds` beside the entries of
    `reinforce`. The steps have no state: a simulated search cannot resume. Raises
    `ValueError` if the versions do not fit together, if there are fewer than
    `config.updates`, or if the space grows; `FloatingPointError` if the search
    diverges.
    """
    groups = by_update(gradients, config)
    needed = last_uses(groups)
    controller.grow(space)
    replica = deepcopy(controller)
    optim = torch.optim.Adam(controller.parameters(), config.lr)
    thetas: dict[int, list[Tensor]] = {}  # version -> a copy of the parameters
    baseline = None
    for index, group in enumerate(groups):
        thetas[index] = [p.detach().clone() for p in controller.parameters()]
        optim.zero_grad()
        sampled: list[Tokens] = []
        rewards: list[float] = []
        failures: dict[int, str] = {}
        entropies = []
        for gradient in group:
            load(replica, thetas[gradient.pulled])
            tokens, log_prob, entropy = replica(config.children, generator)
            children = tuple(map(tuple, tokens.tolist()))
            found, failed = settle(map_fn(evaluate, children), config.children)
            r = log_prob.new_tensor(found) ** config.power  # (m,)
            b = 0.0 if baseline is None else baseline
            loss = policy_loss(log_prob, entropy, r, b, config.entropy_weight)
            add_gradient(controller, replica, loss / len(group))
            failures |= {len(rewards) + place: why for place, why in failed.items()}
            sampled += children
            rewards += found
            entropies.append(entropy.mean().item())
        finite(
            index,
            rewards,
            entropy=sum(entropies),
            squared_gradient=squares(p.grad for p in controller.parameters()),
        )
        optim.step()
        mean = log_prob.new_tensor(rewards) ** config.power
        # after use: b never sees these rewards
        baseline = moving_average(baseline, mean.mean().item(), config.baseline_decay)
        finite(
            index,
            rewards,
            baseline=baseline,
            squared_weights=squares(controller.parameters()),
        )
        for version in [v for v in thetas if needed.get(v, 0) <= index]:
            del thetas[version]  # no later gradient has pulled it
        info = {
            "baseline": baseline,
            "entropy": sum(entropies) / len(entropies),
            "staleness": sum(index - each.pulled for each in group) / len(group),
            "seconds": group[-1].end,
        }
        yield Step(index, tuple(sampled), tuple(rewards), info, failures)


def load(replica: Controller, theta: list[Tensor]) -> None:
    """A replica pulls: it gets the parameters of one version."""
    with torch.no_grad():
        for p, pulled in zip(replica.parameters(), theta, strict=True):
            p.copy_(pulled)


def add_gradient(controller: Controller, replica: Controller, loss: Tensor) -> None:
    """A replica pushes: the server adds the gradient of its loss to what it has."""
    replica.zero_grad()
    loss.backward()
    for p, pushed in zip(controller.parameters(), replica.parameters(), strict=True):
        if pushed.grad is not None:
            p.grad = pushed.grad.clone() if p.grad is None else p.grad + pushed.grad


def by_update(gradients: Sequence[Gradient], config: Config) -> list[list[Gradient]]:
    """Returns the gradients of every update. Raises `ValueError` if they are not those of `config.updates` updates."""
    checks.is_a(Config, config=config)
    if config.grow_every:
        raise ValueError(f"grow_every: got {config.grow_every}, expected 0: a simulated search does not grow")
    if not isinstance(gradients, Sequence) or not all(isinstance(each, Gradient) for each in gradients):
        raise ValueError(f"gradients: got {checks.shown(gradients)}, expected those of a fleet.Report")
    groups: list[list[Gradient]] = [[] for _ in range(config.updates)]
    last = 0
    for place, each in enumerate(gradients):
        if not 0 <= each.pulled <= each.pushed or not last <= each.pushed <= last + 1:
            raise ValueError(f"gradients[{place}]: got {each}, expected 0 <= pulled <= pushed = {last} or {last + 1}")
        last = each.pushed
        if last < config.updates:
            groups[last].append(each)
    have = sum(map(bool, groups))
    if have < config.updates:
        raise ValueError(f"gradients: got those of {have} updates, expected {config.updates}, as in config")
    return groups


def last_uses(groups: list[list[Gradient]]) -> dict[int, int]:
    """Returns for every version that is pulled the index of the last update that needs it."""
    return {each.pulled: index for index, group in enumerate(groups) for each in group}
