"""DARTS: relaxes the mixing weights and learns them by the gradient of the validation loss (Liu et al. 2019).

The bilevel problem (eq. 3, 4): minimise L_valid(w*(alpha), alpha) over alpha, where w*(alpha) minimises
L_train(w, alpha). Algorithm 1 alternates a step of alpha and a step of w. The step of alpha approximates w* by one
step of w.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from naslab import checks, runs
from naslab.objective import Objective
from naslab.schedules import cosine
from naslab.spaces import Space, Weights
from naslab.states import check_hidden, check_tensors, restore, snapshot
from naslab.steps import Live, Step, begin, finite, keep, live_state, squares

Loss = Callable[[Weights, Any], Tensor]  # alpha and a batch -> (), at the current w
LossAt = Callable[[Sequence[Tensor], Weights, Any], Tensor]  # w, alpha and a batch -> ()


@dataclass(frozen=True)
class Config:
    """Settings of the search. The defaults are for CIFAR-10 (sections 3.1 and A.1); `PTB` is for Penn Treebank."""

    epochs: int = 50
    xi: float | None = None  # length of the virtual step; None: w's learning rate (section 2.3); 0: first order
    radius: float = 0.01  # epsilon times the norm of the gradient (section 2.3, footnote)
    momentum_ahead: bool = False  # the virtual step has momentum and decay, as in the authors' convolutional code
    lr: float = 0.025  # learning rate of w; falls to `lr_min` along a cosine
    lr_min: float = 0.0  # 0.001 in the authors' code
    momentum: float = 0.9
    weight_decay: float = 3e-4
    clip: float = 5.0  # largest norm of w's gradient
    alpha_lr: float = 3e-4  # learning rate of Adam
    alpha_betas: tuple[float, float] = (0.5, 0.999)
    alpha_weight_decay: float = 1e-3

    def __post_init__(self) -> None:
        checks.whole(0, epochs=self.epochs)
        checks.positive(radius=self.radius, lr=self.lr, clip=self.clip, alpha_lr=self.alpha_lr)
        rest = ("lr_min", "weight_decay", "alpha_weight_decay")
        checks.number(0, **{name: getattr(self, name) for name in rest})
        checks.number(0, 1, momentum=self.momentum)
        if not isinstance(self.alpha_betas, tuple) or len(self.alpha_betas) != 2:
            raise ValueError(f"alpha_betas: got {checks.shown(self.alpha_betas)}, expected a tuple of two numbers")
        for beta in self.alpha_betas:
            checks.number(0, 1, alpha_betas=beta)
        if self.xi is not None:
            checks.number(0, xi=self.xi)
        checks.flag(momentum_ahead=self.momentum_ahead)
        checks.plain_fields(self)


PTB = Config(lr=20.0, lr_min=20.0, momentum=0.0, weight_decay=5e-7, clip=0.25, alpha_lr=3e-3, alpha_betas=(0.9, 0.999))


def start(space: Space, **like: Any) -> Weights:
    """Returns alpha: trainable zeros for every table, so all options have equal weights. `like`: dtype and device."""
    return {table: torch.zeros(shape, **like).requires_grad_() for table, shape in space.tables.items()}


def relax(alpha: Weights) -> Weights:
    return {table: a.softmax(-1) for table, a in alpha.items()}  # eq. 2


def alpha_gradient(
    loss: Loss,
    w: list[Tensor],
    alpha: Weights,
    train: Any,
    valid: Any,
    xi: float,
    radius: float = 0.01,
    push: list[Tensor] | None = None,
) -> Weights:
    """d/d alpha of L_valid(w - xi dL_train/dw, alpha), by finite differences.

    Section 2.3, eq. 5 to 8. `loss(alpha, batch)` reads the current values of `w`. The
    function changes them in place and always restores them, also after an exception.
    The virtual step adds `push` to the gradient of w: in the authors' convolutional
    code it is the sum of momentum and weight decay.
    """
    tables = [*alpha.values()]
    if xi == 0:  # first order
        with frozen(w):
            return dict(zip(alpha, gradient(loss(alpha, valid), tables), strict=True))
    here = [p.detach().clone() for p in w]
    fixed = {table: a.detach() for table, a in alpha.items()}
    step = gradient(loss(fixed, train), w)
    try:
        with torch.no_grad():
            if push is not None:
                step = [*torch._foreach_add(step, push)]
            torch._foreach_add_(w, step, alpha=-xi)  # w'
        both = gradient(loss(alpha, valid), [*w, *tables])
        g_w, g_alpha = both[: len(w)], both[len(w) :]
        norm = torch.stack(torch._foreach_norm(g_w)).norm().item()
        eps = radius / norm if norm else radius  # norm 0: w+ = w- for every epsilon
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                torch._foreach_copy_(w, here)
                torch._foreach_add_(w, g_w, alpha=sign * eps)  # w+, w-
            with frozen(w):
                sides.append(gradient(loss(alpha, train), tables))
    finally:
        with torch.no_grad():
            torch._foreach_copy_(w, here)
    parts = zip(alpha, g_alpha, *sides, strict=True)
    return {t: g - xi * (up - down) / (2 * eps) for t, g, up, down in parts}  # eq. 7, 8


def exact_alpha_gradient(
    loss: LossAt,
    w: Sequence[Tensor],
    alpha: Weights,
    train: Any,
    valid: Any,
    xi: float,
    push: Sequence[Tensor] | None = None,
) -> Weights:
    """What `alpha_gradient` approximates, by autograd through the virtual step (eq. 6).

    `loss(w, alpha, batch)` must compute the network with the weights w that it gets,
    for example with `torch.func.functional_call`.
    """
    step = torch.autograd.grad(loss(w, alpha, train), w, create_graph=True)
    pushed = step if push is None else [g + p for g, p in zip(step, push, strict=True)]
    ahead = [p - xi * g for p, g in zip(w, pushed, strict=True)]  # w'
    found = gradient(loss(ahead, alpha, valid), [*alpha.values()])
    return dict(zip(alpha, found, strict=True))


@contextmanager
def frozen(w: Sequence[Tensor]) -> Iterator[None]:
    """Inside this context autograd computes no gradient of `w` and stores no activations for it."""
    before = [p.requires_grad for p in w]
    try:
        for p in w:
            p.requires_grad_(False)
        yield
    finally:
        for p, wanted in zip(w, before, strict=True):
            p.requires_grad_(wanted)


def gradient(loss: Tensor, of: Sequence[Tensor]) -> list[Tensor]:
    """Returns the gradients of the loss in the tensors `of`, and computes no others."""
    return [*torch.autograd.grad(loss, of, materialize_grads=True)]


def momentum_and_decay(optim: torch.optim.SGD) -> list[Tensor]:
    """Returns what SGD will add to each gradient, weight decay and momentum: `push` in the authors' code."""
    (group,) = optim.param_groups
    push = [group["weight_decay"] * p.detach() for p in group["params"]]
    for k, p in enumerate(group["params"]):
        if (buffer := optim.state[p].get("momentum_buffer")) is not None:
            push[k] += group["momentum"] * buffer
    return push


def search(
    space: Space,
    model: nn.Module,
    objective: Objective,
    alpha: Weights,
    config: Config,
    generator: torch.Generator,
    after: Step | None = None,
) -> Iterator[Step]:
    """Trains `model`, a supergraph, and `alpha` in place. Each Step takes one step of alpha and one of w (algorithm 1).

    The child of a Step is the architecture that alpha discretises to. `info["valid_loss"]` is the validation loss at w
    and alpha before the step, in both orders; the reward is its negative. The state is `Live`. The seed of `generator`
    and the step's index seed dropout; nothing else is random. Raises `FloatingPointError` if the search diverges.
    """
    w: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
    w_optim = torch.optim.SGD(w, config.lr, config.momentum, weight_decay=config.weight_decay)
    alpha_optim = torch.optim.Adam(
        alpha.values(), config.alpha_lr, config.alpha_betas, weight_decay=config.alpha_weight_decay
    )
    learners: dict[str, Any] = {"model": model, "w": w_optim, "alpha_optim": alpha_optim}
    hidden: dict[str, Any] = {"train": None, "valid": None}
    first, state = begin(after, "darts", space, generator, needs=("alpha", "hidden", *learners))
    if state:
        check_tensors(state["alpha"], alpha, "state.alpha")
        check_hidden(state["hidden"], hidden)
        restore(learners, state)
        with torch.no_grad():
            for table, a in alpha.items():
                a.copy_(state["alpha"][table])
        hidden = snapshot(state["hidden"])

    live = live_state(after)
    steps = config.epochs * objective.batches
    for index in range(first, steps):
        live.expire()
        if index % objective.batches == 0:
            hidden = {"train": None, "valid": None}  # a new epoch: the texts restart
        batches = {split: objective.batch(split, index) for split in hidden}
        losses: dict[str, list[float]] = {"train": [], "valid": []}
        carried: dict[str, Any] = {}

        def loss(alpha: Weights, split: str) -> Tensor:
            # all losses of a step use the same dropout masks, because eq. 8 takes their difference
            with runs.seeded(generator.initial_seed(), index):  # noqa: B023
                found, carried[split] = objective.loss(model, relax(alpha), batches[split], hidden[split])  # noqa: B023
            value = found.item()
            finite(index, (), **{f"{split} loss": value})  # noqa: B023
            losses[split].append(value)  # noqa: B023
            return found

        model.train()
        w_optim.param_groups[0]["lr"] = lr = cosine(index / steps, config.lr, config.lr_min)
        xi = lr if config.xi is None else config.xi
        if xi:  # in first order `alpha_gradient` computes it at w
            with torch.no_grad():
                loss(alpha, "valid")
        push = momentum_and_decay(w_optim) if config.momentum_ahead and xi else None
        g_alpha = alpha_gradient(loss, w, alpha, "train", "valid", xi, config.radius, push)
        rewards = (-losses["valid"][0],)
        finite(index, rewards, **{f"squared gradient of alpha.{t}": squares([g]) for t, g in g_alpha.items()})
        for table, a in alpha.items():
            a.grad = g_alpha[table]
        alpha_optim.step()
        finite(index, rewards, **{f"squares of alpha.{table}": squares([a]) for table, a in alpha.items()})

        fixed = {table: a.detach() for table, a in alpha.items()}
        w_optim.zero_grad()
        loss(fixed, "train").backward()
        norm = nn.utils.clip_grad_norm_(w, config.clip)
        finite(index, rewards, **{"norm of the gradient of w": norm.item()})
        w_optim.step()
        hidden = carried

        kept = keep("darts", space, generator)  # keep it now: other code may draw from the generator

        def state_now(kept: dict[str, Any] = kept, hidden: dict[str, Any] = hidden) -> dict[str, Any]:
            learned = {name: learner.state_dict() for name, learner in learners.items()}
            return {**kept, **snapshot({**learned, "alpha": alpha, "hidden": hidden})}

        live = Live(state_now)
        info = {"loss": losses["train"][-1], "valid_loss": losses["valid"][0], "lr": lr}
        child = space.discretise(relax(fixed))
        yield Step(index, (child,), rewards, info, state=live)
