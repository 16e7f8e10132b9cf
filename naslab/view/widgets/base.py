"""The base of the widgets: a text and drawings that follow the controls, and a still picture of what they show."""

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ipywidgets import HTML, Button, DOMWidget, HBox, Layout, Play, SelectionSlider, ToggleButtons, VBox

from naslab.spaces import Decision, Space, Tokens
from naslab.view.canvas import inline
from naslab.view.picture import Picture


class Pictured(VBox):
    """A widget whose text and drawings follow its controls. Subclasses define `_follow`.

    Its display bundle also holds a still picture of its state: JupyterLab shows the widget; nbconvert, nbviewer and
    GitHub, which run no widgets, show the picture.

    No moves queue up here: the page sends one change of a control at a time, and merges those made meanwhile.
    """

    def __init__(
        self,
        controls: Mapping[str, DOMWidget],
        top: Iterable[DOMWidget],
        drawings: Sequence[HTML],
        bottom: Iterable[DOMWidget] | None = None,
    ) -> None:
        """Puts `top` above the text and `bottom`, by default the drawings, below it. Redraws when a control changes."""
        self._controls, self._text, self._drawings, self._moving = controls, HTML(), drawings, False
        super().__init__([*top, self._text, *(drawings if bottom is None else bottom)])
        self._show()
        for control in controls.values():
            control.observe(self._changed, "value")

    @property
    def picture(self) -> Picture | None:
        """What the widget shows now as one picture. None if it shows no drawing."""
        return self._pictures[0]

    @property
    def text(self) -> str:
        """The text, as HTML."""
        return self._text.value

    @property
    def drawing(self) -> str:
        """The drawings, SVG after SVG. Empty if there is nothing to draw."""
        return "".join(drawing.value for drawing in self._drawings)

    def _follow(self) -> tuple[str, *tuple[Picture | None, ...]]:
        """Returns the text, as HTML, and a picture for each drawing, for the present values of the controls."""
        raise NotImplementedError

    def _show(self) -> None:
        text, *self._pictures = self._follow()
        self._text.value = text
        for drawing, picture in zip(self._drawings, self._pictures, strict=True):
            drawing.value = inline(picture) if picture else ""

    def _move(self, values: Mapping[str, Any]) -> None:
        """Sets several controls by name and redraws once."""
        self._moving = True
        try:
            for name, value in values.items():
                self._controls[name].value = value
        finally:
            self._moving = False
        self._show()

    def _changed(self, change: Any) -> None:
        if not self._moving:
            self._show()

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        picture = self.picture
        still, metadata = picture._repr_mimebundle_() if picture else ({}, {})
        return still | super()._repr_mimebundle_(**kwargs), metadata


class Choices:
    """Adds `tokens` to a `Pictured` widget that has a `_space` and a control for each decision, by the decision's name.

    A decision without a control has the token 0.
    """

    _space: Space
    _controls: Mapping[str, DOMWidget]
    _move: Callable[[Mapping[str, Any]], None]

    @property
    def tokens(self) -> Tokens:
        """The tokens that the controls show. Setting them moves the controls and redraws once.

        Raises `ValueError` when they are set to what is not a string of the space.
        """
        shown = self._controls
        return tuple(int(shown[d.name].value) if d.name in shown else 0 for d in self._space.decisions)

    @tokens.setter
    def tokens(self, tokens: Iterable[int]) -> None:
        named = zip(self._space.decisions, self._space.check(tokens), strict=True)
        self._move({d.name: token for d, token in named if d.name in self._controls})


def facts(rows: Mapping[str, str]) -> str:
    """A line of HTML for each name and value."""
    lines = (f"<b>{html.escape(k)}:</b> <code>{html.escape(v)}</code>" for k, v in rows.items())
    divs = "".join(f"<div>{line}</div>" for line in lines)
    return f'<div style="line-height:1.5;max-width:940px">{divs}</div>'


def row(*controls: DOMWidget) -> HBox:
    """Controls side by side. They wrap onto another line where the page is narrow."""
    return HBox(controls, layout=Layout(flex_flow="row wrap"))


def button(name: str, hint: str, press: Callable[[], Any], **look: Any) -> Button:
    """A button that calls `press` at each click. `hint` is its tooltip."""
    made = Button(description=name, tooltip=hint, **look)
    made.on_click(lambda _: press())
    return made


def toggles(decision: Decision, token: int, width: str) -> ToggleButtons:
    """A button for each option of a decision, beside its name, which has the given width. The value is the token."""
    options = [*map(str, decision.options)]
    return ToggleButtons(
        options=[(option, k) for k, option in enumerate(options)],
        value=token,
        description=decision.name,
        tooltips=[f"{decision.name}: {option}" for option in options],
        style={"description_width": width, "button_width": "40px" if max(map(len, options)) < 3 else "auto"},
        layout=beside_name(width),
    )


def beside_name(width: str) -> Layout:
    """Toggle buttons that wrap beside a name of this width."""
    columns = f"{width} minmax(0, 1fr)"
    return Layout(display="grid", grid_template_columns=columns, width="auto", height="auto", margin="2px")


def name_width(decisions: Iterable[Decision]) -> str:
    """A width in which the longest name fits."""
    return f"{8 * max((len(d.name) for d in decisions), default=0) + 8}px"


def player(first: int, last: int, at: int, seconds: float, slowest: int) -> Play:
    """Plays from `first` to `last` within so many seconds; a step takes at least 60 ms and at most `slowest`.

    `jslink` its value to that of a slider.
    """
    interval = int(min(slowest, max(60, 1000 * seconds / max(last - first, 1))))
    return Play(at, min=first, max=last, interval=interval, show_repeat=False)


def option_slider(decision: Decision, token: int, name_width: str, layout: Layout) -> SelectionSlider:
    """A slider over the options of a decision. Its value is the token."""
    return SelectionSlider(
        options=[(str(option), k) for k, option in enumerate(decision.options)],
        value=token,
        description=decision.name,
        tooltip=f"{decision.name}: one of {', '.join(map(str, decision.options))}",
        readout=False,  # the readout would cut off the longer names
        style={"description_width": name_width},
        layout=layout,
    )
