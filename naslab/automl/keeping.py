"""What a run keeps in its folder, the time that it has spent, and the time that is left."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any

from tqdm import tqdm

from naslab import checks, runs


def kept(path: Path, entry: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Returns what the file holds. If there is none, makes it and writes it, as a whole or not at all.

    Raises `ValueError` if it is damaged, or has no such entry.
    """
    if not path.exists():
        runs.replace(path, json.dumps(make(), indent=1).encode())
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict) or entry not in found:
        raise ValueError(f"{path}: damaged: remove the folder, and begin again")
    return found


class Watch:
    """The time that a run has spent in all its parts, kept in its folder."""

    def __init__(self, folder: Path, minutes: float, clock: Callable[[], float]) -> None:
        self.path, self.clock, self.start = folder / "spent.json", clock, clock()
        self.budget = 60 * minutes
        self.before = kept(self.path, "seconds", lambda: {"seconds": 0.0})["seconds"]
        checks.number(0, **{f"{self.path}: seconds": self.before})

    @property
    def spent(self) -> float:
        return self.before + self.clock() - self.start

    def save(self) -> None:
        runs.replace(self.path, json.dumps({"seconds": self.spent}).encode())

    @contextmanager
    def saved(self) -> Iterator[None]:
        """Saves at the end, also after an exception."""
        try:
            yield
        finally:
            self.save()


class Bar:
    """A progress bar for one part of a run. It also shows how many minutes the whole run still takes.

    `total` is the number of steps, and the part is cut after `limit` seconds. After it come `later` seconds, and
    `again` more parts that take as long as this one. NASLAB_PROGRESS=0 in the environment hides the bar.
    """

    def __init__(
        self,
        what: str,
        total: int,
        *,
        limit: float = inf,
        later: float = 0.0,
        again: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total, self.limit, self.later, self.again = total, limit, later, again
        self.clock, self.start = clock, clock()
        self.before: int | None = None  # steps of an earlier process
        hidden = os.environ.get("NASLAB_PROGRESS") == "0"
        self.bar = tqdm(desc=what, total=total, leave=False, disable=hidden)

    def left(self, done: int) -> float:
        """Seconds until the whole run ends if it goes on at this speed, after `done` steps."""
        if self.before is None:
            self.before = done - 1
        spent = self.clock() - self.start
        step = spent / (done - self.before)
        rest = min(step * (self.total - done), self.limit - spent)
        return max(rest, 0.0) + self.later + self.again * step * self.total

    def __call__(self, done: int) -> None:
        self.bar.set_postfix_str(f"whole run: {self.left(done) / 60:.1f} minutes left", refresh=False)
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        self.bar.close()
