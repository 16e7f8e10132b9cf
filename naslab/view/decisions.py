"""One decision of a controller: its distribution along a string, and the network that is decided so far."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from naslab.controller import Controller
from naslab.spaces import Decision, Space, Tokens
from naslab.view.canvas import beside, box, sheet, text
from naslab.view.graphs import architecture
from naslab.view.picture import BLUE, FAINT, INK, SKY, Picture

_TOP, _PITCH = 52, 28  # of the bars


@dataclass(frozen=True)
class Walk:
    """A string of a space, and the distribution (options,) of each decision along it, on the CPU."""

    space: Space
    tokens: Tokens
    trace: list[Tensor]

    def place(self, decision: int) -> int:
        """The decision, counted from 1. Raises `ValueError` if the string does not have it."""
        if not isinstance(decision, int) or not 1 <= decision <= len(self.tokens):
            raise ValueError(f"decision: got {decision!r}, expected 1 to {len(self.tokens)}")
        return decision

    def parts(self, n: int) -> tuple[Picture, Picture]:
        """The distribution of decision n, counted from 1, and the network after it."""
        bars = _bars(self.space.decisions[n - 1], self.tokens[n - 1], self.trace[n - 1])
        return bars, architecture(self.space, self.tokens, n)

    def picture(self, n: int) -> Picture:
        """The parts side by side."""
        name = self.space.decisions[n - 1].name
        return beside(f"Decision {n} of {len(self.tokens)}: {name}", *self.parts(n))


def walk(controller: Controller, tokens: Iterable[int]) -> Walk:
    """Runs a controller along a string. Raises `ValueError` for tokens that are not a string of its space."""
    tokens = controller.space.check(tokens)
    device = next(controller.parameters()).device
    with torch.no_grad():
        trace = controller.trace(torch.tensor([tokens], device=device))
    return Walk(controller.space, tokens, [p[0].cpu() for p in trace])


def step_picture(controller: Controller, tokens: Iterable[int], decision: int) -> Picture:
    """What `controller_stepper` draws at a `decision`, counted from 1."""
    walked = walk(controller, tokens)
    return walked.picture(walked.place(decision))


def bars_height(options: int) -> int:
    """How high the drawing of a distribution is, in pixels."""
    return _TOP + _PITCH * options + 14


def _bars(decision: Decision, token: int, p: Tensor) -> Picture:
    """A bar for the probability of each option, p (options,). The sampled one is darker, outlined and marked."""
    left, full, pitch, top = 110, 190, _PITCH, _TOP
    height = bars_height(len(p))
    pieces = [
        text(14, 20, f"{decision.name}: probabilities"),
        *(text(left + full * x, top - 12, f"{x:g}", anchor="middle", size=12, color=FAINT) for x in (0, 0.5, 1)),
    ]
    for k, (option, q) in enumerate(zip(decision.options, p.tolist(), strict=True)):
        y, drawn = top + pitch * (k + 0.5), k == token
        fill, line, weight = (BLUE, INK, 2) if drawn else (SKY, SKY, 1)
        pieces += [
            text(left - 8, y, str(option), anchor="end"),
            box(left, y - 9, full, 18, line="#C8C8C8", weight=1),
            box(left, y - 9, full * q, 18, fill=fill, line=line, weight=weight),
            text(left + full + 10, y, f"{q:.4f}" + ("  drawn" if drawn else "")),
        ]
    says = "; ".join(f"{option} {q:.4f}" for option, q in zip(decision.options, p.tolist(), strict=True))
    title = f"Distribution of {decision.name}"
    return sheet(left + full + 120, height, pieces, title, f"{title}: {says}; drawn {decision.options[token]}.")
