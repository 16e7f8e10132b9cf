"""A controller watched at work: one decision at a time, its distribution, what was drawn, the network so far."""

from collections.abc import Iterable
from typing import Any

import torch
from ipywidgets import HTML, Button, HBox, IntSlider, Layout
from torch import Tensor

from naslab.controller import Controller
from naslab.spaces import Decision, Tokens
from naslab.view.canvas import beside, box, inline, sheet, text
from naslab.view.controls import Pictured, distributions, facts
from naslab.view.graphs import architecture
from naslab.view.picture import BLUE, FAINT, INK, SKY, Picture


class ControllerStepper(Pictured):
    """`decision`, from 1, is the place in the string `tokens`; `back`, `next`, `sample`, `slider` are the controls."""

    def __init__(self, controller: Controller, tokens: Iterable[int] | None, seed: int) -> None:
        self._controller = controller
        self._generator = torch.Generator().manual_seed(seed)
        self._text = HTML()
        self._bars, self._network = HTML(layout=Layout(width="45%")), HTML(layout=Layout(width="55%"))
        self.back = Button(description="Back", tooltip="To the decision before", layout=Layout(width="80px"))
        self.next = Button(description="Next", tooltip="To the next decision", layout=Layout(width="80px"))
        self.sample = Button(description="Sample", tooltip="Draw another string", layout=Layout(width="90px"))
        count = len(controller.space.decisions)
        self.slider = IntSlider(1, 1, count, description="decision", tooltip=f"decision 1 to {count} of the string")
        self.back.on_click(lambda button: self._go(-1))
        self.next.on_click(lambda button: self._go(+1))
        self.sample.on_click(lambda button: self._draw_a_string())
        row = HBox([self.back, self.next, self.slider, self.sample], layout=Layout(flex_flow="row wrap"))
        super().__init__([row, self._text, HBox([self._bars, self._network])])
        if tokens is None:
            self._draw_a_string()
        else:
            self.tokens = controller.space.check(tokens)
        self.slider.observe(self._show, "value")

    def __repr__(self) -> str:
        return f"controller stepper: {self.slider.max} decisions"

    @property
    def tokens(self) -> Tokens:
        return self._tokens

    @tokens.setter
    def tokens(self, tokens: Iterable[int]) -> None:
        self._tokens, self._trace = distributions(self._controller, tokens)
        self._show()

    @property
    def decision(self) -> int:
        return self.slider.value

    @decision.setter
    def decision(self, decision: int) -> None:
        self.slider.value = _place(decision, self.slider.max)

    @property
    def picture(self) -> Picture:
        return _beside(self._controller, self._tokens, self._trace, self.decision)

    @property
    def text(self) -> str:
        """The decision, what was drawn and the string so far, as HTML."""
        return self._text.value

    @property
    def drawing(self) -> str:
        """The distribution and the network so far, SVG after SVG."""
        return self._bars.value + self._network.value

    def _go(self, by: int) -> None:
        self.slider.value += by  # stays within its ends

    def _draw_a_string(self) -> None:
        with torch.no_grad():
            tokens, _, _ = self._controller(1, self._generator)
        self.tokens = tokens[0].tolist()

    def _show(self, change: Any = None) -> None:
        n = self.decision
        decision, token, p = self._controller.space.decisions[n - 1], self._tokens[n - 1], self._trace[n - 1]
        so_far = torch.tensor([q[t] for q, t in zip(self._trace[:n], self._tokens, strict=False)])
        later = ["·"] * (len(self._tokens) - n)
        self.back.disabled, self.next.disabled = n == 1, n == len(self._tokens)
        self._text.value = facts(
            {
                "decision": f"{n} of {len(self._tokens)}: {decision.name}, {_sort(decision)}",
                "drawn": f"{decision.options[token]} (token {token}), probability {p[token]:.4f}",
                "string so far": " ".join([*map(str, self._tokens[: n - 1]), f"[{token}]", *later]),
                "log-probability so far": f"{so_far.log().sum():.4f} nats",
            }
        )
        self._bars.value = inline(_bars(decision, token, p))
        self._network.value = inline(architecture(self._controller.space, self._tokens, n))


def controller_stepper(
    controller: Controller, tokens: Iterable[int] | None = None, *, seed: int = 0
) -> ControllerStepper:
    """Goes through a string decision by decision, with buttons or a slider; the controller draws it if it is not given.

    The button "Sample" draws another, with a generator of `seed`. Raises `ValueError` for tokens that are no string.
    """
    return ControllerStepper(controller, tokens, seed)


def step_picture(controller: Controller, tokens: Iterable[int], decision: int) -> Picture:
    """What `controller_stepper` draws at a `decision`, counted from 1."""
    tokens, trace = distributions(controller, tokens)
    return _beside(controller, tokens, trace, _place(decision, len(tokens)))


def _beside(controller: Controller, tokens: Tokens, trace: list[Tensor], n: int) -> Picture:
    """The distribution of decision n, counted from 1, and the network so far."""
    decision = controller.space.decisions[n - 1]
    bars = _bars(decision, tokens[n - 1], trace[n - 1])
    title = f"Decision {n} of {len(tokens)}: {decision.name}"
    return beside(title, bars, architecture(controller.space, tokens, n))


def _place(decision: int, count: int) -> int:
    if not isinstance(decision, int) or not 1 <= decision <= count:
        raise ValueError(f"decision: got {decision!r}, expected 1 to {count}")
    return decision


def _sort(decision: Decision) -> str:
    if not decision.anchors:
        return f"softmax over {len(decision.options)}"
    return "sigmoid of the attention" if len(decision.anchors) == 1 else "softmax of the attention over earlier steps"


def _bars(decision: Decision, token: int, p: Tensor) -> Picture:
    """A bar for each option's probability, p (options,); the drawn one is darker, outlined and marked."""
    left, full, pitch, top = 110, 190, 28, 52
    height = top + pitch * len(p) + 14
    pieces = [
        text(14, 20, f"{decision.name}: probabilities"),
        *(text(left + full * x, top - 12, f"{x:g}", anchor="middle", size=12, color=FAINT) for x in (0, 0.5, 1)),
    ]
    for k, (option, q) in enumerate(zip(decision.options, p.tolist(), strict=True)):
        y, drawn = top + pitch * (k + 0.5), k == token
        pieces += [
            text(left - 8, y, str(option), anchor="end"),
            box(left, y - 9, full, 18, line="#C8C8C8", weight=1),
            box(
                left,
                y - 9,
                full * q,
                18,
                fill=BLUE if drawn else SKY,
                line=INK if drawn else SKY,
                weight=2 if drawn else 1,
            ),
            text(left + full + 10, y, f"{q:.4f}" + ("  drawn" if drawn else "")),
        ]
    says = "; ".join(f"{option} {q:.4f}" for option, q in zip(decision.options, p.tolist(), strict=True))
    title = f"Distribution of {decision.name}"
    return sheet(left + full + 120, height, pieces, title, f"{title}: {says}; drawn {decision.options[token]}.")
