"""Shared by all readers of text forms: a parser with a position, and lists of numbers."""

import re
from collections.abc import Callable
from typing import TypeVar

from naslab.spaces import Space

T = TypeVar("T")


class Reader:
    """A text and the position that has been read so far."""

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise ValueError(f"text: got {type(text).__name__}, expected str")
        self.text = text
        self.at = 0

    def maybe(self, pattern: str) -> str | None:
        """Skips white space. If the pattern matches there, moves past it and returns the match; otherwise None."""
        space = re.compile(r"\s*").match(self.text, self.at)
        self.at = space.end() if space else self.at
        found = re.compile(pattern).match(self.text, self.at)
        self.at = found.end() if found else self.at
        return found[0] if found else None

    def take(self, pattern: str, expected: str) -> str:
        """Like `maybe`, but raises `ValueError` with the position if the pattern does not match."""
        if (found := self.maybe(pattern)) is None:
            got = repr(self.text[self.at : self.at + 20]) if self.at < len(self.text) else "the end"
            raise ValueError(f"character {self.at}: got {got}, expected {expected}")
        return found

    def number(self) -> int:
        return int(self.take(r"[0-9]{1,9}(?![0-9])", "a number"))

    def listed(self, item: Callable[[], T]) -> list[T]:
        """Reads [item, item, ...]. A comma after the last item is allowed."""
        self.take(r"\[", "'['")
        found: list[T] = []
        while self.maybe(r"\]") is None:
            found.append(item())
            if self.maybe(",") is None:
                self.take(r"\]", "',' or ']'")
                break
        return found

    def end(self) -> None:
        self.take(r"\Z", "the end")


def read_numbers(text: str) -> list[int]:
    """Reads numbers separated by white space or commas, with or without brackets, as Python and NumPy print them."""
    reader = Reader(text)
    found: list[int] = []
    depth = 0
    while reader.maybe(r"\Z") is None:
        if reader.maybe(r"\["):
            depth += 1
        elif depth and reader.maybe(r"\],?"):
            depth -= 1
        else:
            found.append(int(reader.take(r"[0-9]{1,9}(?![^\s,\]])", "a number")))
            reader.maybe(",")
    if depth:
        reader.take(r"\]", "']'")
    return found


def require(space: object, *published: Space) -> None:
    if space not in published:
        raise ValueError(f"space: got {space!r}, expected {' or '.join(map(repr, published))}")
