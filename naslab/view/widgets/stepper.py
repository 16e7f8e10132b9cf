"""A controller at work, one decision at a time: the distribution, the sampled option and the network so far."""

from collections.abc import Iterable

import torch
from ipywidgets import HTML, IntSlider, Layout, jslink

from naslab.controller import Controller
from naslab.spaces import Decision, Tokens
from naslab.view.decisions import bars_height, walk
from naslab.view.picture import Picture
from naslab.view.widgets.base import Pictured, button, facts, player, row


class ControllerStepper(Pictured):
    """`decision`, from 1, is the place in the string `tokens`; `play`, `slider`, `back`, `next` move it.

    `sample` draws another string, and plays how the controller writes it.
    """

    def __init__(self, controller: Controller, tokens: Iterable[int] | None, seed: int) -> None:
        self._controller, self._generator = controller, torch.Generator().manual_seed(seed)
        self._walk = walk(controller, self._draw_a_string() if tokens is None else tokens)
        count = len(controller.space.decisions)
        self.back = button("Back", "To the decision before", lambda: self._go(-1), layout=Layout(width="80px"))
        self.next = button("Next", "To the next decision", lambda: self._go(+1), layout=Layout(width="80px"))
        self.slider = IntSlider(
            1,
            min=1,
            max=count,
            description="decision",
            tooltip=f"decision 1 to {count} of the string",
            style={"description_width": "initial"},
            layout=Layout(width="min(100%, 320px)"),
        )
        self.play = player(1, count, 1, seconds=12, slowest=700)
        self._link = jslink((self.play, "value"), (self.slider, "value"))
        self.sample = button(
            "Sample", "Draw another string and watch it being written", self._sample, layout=Layout(width="90px")
        )
        most = bars_height(max(len(d.options) for d in controller.space.decisions))  # nothing below jumps up and down
        drawings = [
            HTML(layout=Layout(flex="1 1 360px", min_height=f"{most}px")),
            HTML(layout=Layout(flex="1 1 420px")),
        ]
        controls = row(self.play, self.back, self.next, self.slider, self.sample)
        super().__init__({"decision": self.slider}, [controls], drawings, [row(*drawings)])

    def __repr__(self) -> str:
        return f"controller stepper: {self.slider.max} decisions"

    @property
    def tokens(self) -> Tokens:
        return self._walk.tokens

    @tokens.setter
    def tokens(self, tokens: Iterable[int]) -> None:
        self._walk = walk(self._controller, tokens)
        self._show()

    @property
    def decision(self) -> int:
        return self.slider.value

    @decision.setter
    def decision(self, decision: int) -> None:
        self.slider.value = self._walk.place(decision)

    @property
    def picture(self) -> Picture:
        """The distribution and the network so far, side by side."""
        return self._walk.picture(self.decision)

    def _go(self, by: int) -> None:
        self.slider.value += by  # the slider stops at its ends

    def _sample(self) -> None:
        self._walk = walk(self._controller, self._draw_a_string())
        self._move({"decision": 1})
        self.play.value, self.play.playing = 1, True

    def _draw_a_string(self) -> Iterable[int]:
        with torch.no_grad():
            tokens, _, _ = self._controller(1, self._generator)
        return tokens[0].tolist()

    def _follow(self) -> tuple[str, Picture, Picture]:
        n, tokens, trace = self.decision, self.tokens, self._walk.trace
        decision, token, p = self._walk.space.decisions[n - 1], tokens[n - 1], trace[n - 1]
        so_far = torch.tensor([q[t] for q, t in zip(trace[:n], tokens, strict=False)])
        later = ["·"] * (len(tokens) - n)
        self.back.disabled, self.next.disabled = n == 1, n == len(tokens)
        rows = {
            "decision": f"{n} of {len(tokens)}: {decision.name}, {_head(decision)}",
            "drawn": f"{decision.options[token]} (token {token}), probability {p[token]:.4f}",
            "string so far": " ".join([*map(str, tokens[: n - 1]), f"[{token}]", *later]),
            "log-probability so far": f"{so_far.log().sum():.4f} nats",
        }
        return facts(rows), *self._walk.parts(n)


def controller_stepper(
    controller: Controller, tokens: Iterable[int] | None = None, *, seed: int = 0
) -> ControllerStepper:
    """Goes through a string decision by decision. Without `tokens` the controller samples it.

    Play animates the writing. The button "Sample" samples another string with a generator of `seed`, and plays it.
    Raises `ValueError` for tokens that are not a string of the controller's space.
    """
    return ControllerStepper(controller, tokens, seed)


def _head(decision: Decision) -> str:
    """What the controller computes the probabilities with."""
    if not decision.anchors:
        return f"softmax over {len(decision.options)}"
    return "sigmoid of the attention" if len(decision.anchors) == 1 else "softmax of the attention over earlier steps"
