"""A slider through a recorded search: its mixing weights, the cell that rounding would keep, the validation loss."""

from collections.abc import Iterable

from ipywidgets import HTML, Layout, SelectionSlider

from naslab.spaces import CellSpace
from naslab.view.picture import Picture
from naslab.view.recording import Frame, Recording
from naslab.view.widgets.base import Pictured, facts, row


class SearchScrubber(Pictured):
    """`slider` moves through the frames. `frame` is the place of the one that is shown, from 0."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self.slider = SelectionSlider(
            options=[(str(frame.step), k) for k, frame in enumerate(recording.frames)],
            description="step",
            tooltip="A step of the search that was recorded",
            layout=Layout(width="min(100%, 640px)"),
        )
        drawings = [HTML(), HTML()]  # the tables left, the cell right; below each other where the page is narrow
        super().__init__({"frame": self.slider}, [self.slider], drawings, [row(*drawings)])

    def __repr__(self) -> str:
        frames = self._recording.frames
        return f"search scrubber: {len(frames)} frames, steps {frames[0].step} to {frames[-1].step}"

    @property
    def frame(self) -> int:
        return self.slider.value

    @frame.setter
    def frame(self, frame: int) -> None:
        self.slider.value = self._recording.place(frame)

    @property
    def picture(self) -> Picture:
        """The weights and the curve above the cell."""
        return self._recording.picture(self.frame)

    @property
    def tables(self) -> str:
        """The weights and the curve, SVG."""
        return self._drawings[0].value

    @property
    def cell(self) -> str:
        """The cell that rounding would keep, SVG."""
        return self._drawings[1].value

    def _follow(self) -> tuple[str, Picture, Picture]:
        recording, at = self._recording, self.frame
        return facts(recording.said(at)), recording.tables(at), recording.cell(at)


def search_scrubber(space: CellSpace, frames: Iterable[Frame], label: str = "validation loss") -> SearchScrubber:
    """Moves through a recorded search. `label` names the frames' value.

    Raises `ValueError` for another kind of space, for no frame, for steps that do not rise, and for tables that are
    not the space's or whose rows do not add up to 1.
    """
    return SearchScrubber(Recording(space, tuple(frames), label))
