"""What the widgets share: their base, text made of facts, and controls for a string's decisions."""

import html
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from ipywidgets import DOMWidget, VBox
from torch import Tensor

from naslab.controller import Controller
from naslab.spaces import Space, Tokens
from naslab.view.picture import Picture


class Pictured(VBox):
    """A widget with a still picture of what it shows now, for viewers that run no widgets.

    The picture is in the widget's own display bundle. JupyterLab shows the widget; nbconvert, nbviewer and GitHub show
    the picture.
    """

    @property
    def picture(self) -> Picture | None:
        """What the widget shows now, or None if it shows no drawing."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        still, metadata = self.picture._repr_mimebundle_() if self.picture else ({}, {})
        return still | super()._repr_mimebundle_(**kwargs), metadata


def facts(rows: Mapping[str, str]) -> str:
    """A line for each name and value, as HTML."""
    lines = (f"<div><b>{html.escape(k)}:</b> <code>{html.escape(v)}</code></div>" for k, v in rows.items())
    return f'<div style="line-height:1.5;max-width:940px">{"".join(lines)}</div>'


def distributions(controller: Controller, tokens: Iterable[int]) -> tuple[Tokens, list[Tensor]]:
    """The string, checked, and along it the distribution of every decision (options,), on the CPU."""
    tokens = controller.space.check(tokens)
    device = next(controller.parameters()).device
    with torch.no_grad():
        return tokens, [p[0].cpu() for p in controller.trace(torch.tensor([tokens], device=device))]


class Choices:
    """Controls moved one at a time by the reader, all at once from Python.

    `tokens` is what the controls show, 0 for a decision that has none; `moved` is called after each change.
    """

    def __init__(self, space: Space, controls: Mapping[str, DOMWidget], moved: Callable[[], None]) -> None:
        self._space, self._controls, self._moved, self._moving = space, controls, moved, False
        for control in controls.values():
            control.observe(self._changed, "value")

    @property
    def tokens(self) -> Tokens:
        here = self._controls
        return tuple(int(here[d.name].value) if d.name in here else 0 for d in self._space.decisions)

    @tokens.setter
    def tokens(self, tokens: Iterable[int]) -> None:
        tokens = self._space.check(tokens)
        self._moving = True  # one drawing when all controls stand, not one for each
        try:
            for decision, token in zip(self._space.decisions, tokens, strict=True):
                if decision.name in self._controls:
                    self._controls[decision.name].value = token
        finally:
            self._moving = False
        self._moved()

    def _changed(self, change: Any) -> None:
        if not self._moving:
            self._moved()
