"""The stream of a search: one `Step` per update, and the readers that can be put into it.

    for step in tee(search(...), progress(100), jsonl("log.jsonl"), checkpoint("search.pt")): ...

Stop with `break`. Go on with `search(..., after=resume("search.pt"))`: the steps are as if it had never stopped.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from naslab import checks, runs
from naslab.spaces import Space, Tokens

Sink = Callable[["Step"], None]


@dataclass(frozen=True)
class Step:
    """One update of a searcher: what it tried, what came of it, and all that is needed to go on from here."""

    index: int
    children: tuple[Tokens, ...]
    rewards: tuple[float, ...]
    info: dict[str, float] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)  # children without a result, by place: the reason
    state: "dict[str, Any] | Live" = field(default_factory=dict, repr=False)  # plain values and tensors


class Live:
    """A state too large to be copied at every step, such as the weights of a supergraph: made when `state_of` asks.

    A search calls `expire` before it goes on, whereupon asking is a `ValueError`.
    """

    def __init__(self, make: Callable[[], dict[str, Any]]) -> None:
        self._make: Callable[[], dict[str, Any]] | None = make

    def __call__(self) -> dict[str, Any]:
        if self._make is None:
            raise ValueError(
                "state: the search has gone on since this step; use its last step, or checkpoint(path) as it goes"
            )
        return self._make()

    def expire(self) -> None:
        self._make = None


def state_of(step: Step) -> dict[str, Any]:
    """The state of a step. Raises `ValueError` if it is not kept and the search has gone on."""
    return step.state() if isinstance(step.state, Live) else step.state


def keep(search: str, space: Space, generator: torch.Generator, **more: Any) -> dict[str, Any]:
    """The state of a step: whose it is, where the generator stands, and whatever else the search needs."""
    return {"search": search, "space": repr(space), "generator": generator.get_state(), **more}


def begin(after: Step | None, search: str, space: Space, generator: torch.Generator) -> tuple[int, dict[str, Any]]:
    """The first index and the state to go on from: 0 and {} for a new search. Puts the generator where it was.

    Raises `ValueError` if the step is of another search or another space.
    """
    if after is None:
        return 0, {}
    if not isinstance(after, Step):
        raise ValueError(f"after: got {after!r}, expected a Step, such as resume(path) gives")
    state = state_of(after)
    for name, expected in (("search", search), ("space", repr(space))):
        if (found := state.get(name)) != expected:
            raise ValueError(f"after: got a step of {name} {found!r}, expected {expected!r}")
    generator.set_state(state["generator"])
    return after.index + 1, state


def snapshot(value: Any) -> Any:
    """A copy of nested dicts, lists and tuples that shares no tensor with them: for a state that is kept."""
    match value:
        case torch.Tensor():
            return value.detach().clone()
        case dict():
            return {key: snapshot(item) for key, item in value.items()}
        case list() | tuple():
            return type(value)(map(snapshot, value))
    return value


class Failed(float):
    """The reward of a child that has none: 0, with the reason."""

    def __new__(cls, reason: str) -> "Failed":
        failed = super().__new__(cls, 0.0)
        failed.reason = reason
        return failed

    reason: str


def settle(rewards: Iterable[float]) -> tuple[tuple[float, ...], dict[int, str]]:
    """The rewards as plain floats, and the failures by place: `Failed` ones and those that are no finite number."""
    rewards = list(rewards)
    for r in rewards:
        if not isinstance(r, int | float):
            raise ValueError(f"reward: got {r!r}, expected a number")
    settled = [r if isinstance(r, Failed) or isfinite(r) else Failed(f"reward is {r}") for r in rewards]
    failures = {k: r.reason for k, r in enumerate(settled) if isinstance(r, Failed)}
    return tuple(map(float, settled)), failures


def best(steps: Iterable[Step]) -> tuple[Tokens, float]:
    """The child with the highest reward, the first of equals, and its reward. Raises `ValueError` if there is none."""
    scored = [(t, r) for step in steps for t, r in zip(step.children, step.rewards, strict=True)]
    if not scored:
        raise ValueError("steps: got none with a child, expected at least one")
    return max(scored, key=lambda pair: pair[1])


def tee(steps: Iterable[Step], *sinks: Sink) -> Iterator[Step]:
    """The same steps, each shown to every sink before it is passed on."""
    for step in steps:
        for sink in sinks:
            sink(step)
        yield step


def progress(total: int) -> Sink:
    """A bar of `total` steps with the best reward so far. The environment variable NASLAB_PROGRESS=0 hides it."""
    bar = tqdm(total=total, disable=os.environ.get("NASLAB_PROGRESS") == "0")
    top = -float("inf")

    def show(step: Step) -> None:
        nonlocal top
        top = max(top, *step.rewards)
        bar.set_postfix(best=f"{top:.3f}", refresh=False)
        bar.update(step.index + 1 - bar.n)
        if step.index + 1 == total:
            bar.close()

    return show


def jsonl(path: str | Path) -> Sink:
    """A log of one line per step, without the state. After a resume, steps that are taken again are not there twice."""
    path = Path(path)
    opened = False

    def write(step: Step) -> None:
        nonlocal opened
        if not opened:
            kept = [line for line in _lines(path) if _index(path, line) < step.index]
            runs.replace(path, "".join(kept).encode())
            opened = True
        row = asdict(replace(step, state={}))
        del row["state"]
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    return write


def _index(path: Path, line: str) -> int:
    try:
        return int(json.loads(line)["index"])
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path.name}: got the line {line[:60]!r}, expected a log of steps") from None


def _lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [line for line in lines if line.endswith("\n")]  # a line cut short by a crash is not one


def checkpoint(path: str | Path, every: int = 1) -> Sink:
    """Saves every so many steps, atomically; the checkpoint before stays beside it as `<name>.previous`."""
    checks.whole(1, every=every)

    def write(step: Step) -> None:
        if (step.index + 1) % every == 0:
            runs.save(path, asdict(replace(step, state=state_of(step))))

    return write


def resume(path: str | Path) -> Step | None:
    """The last step saved by `checkpoint`, or None if there is none yet.

    Raises `ValueError` if the file is damaged or not a step; nothing is deleted.
    """
    if not Path(path).exists():
        return None
    content = runs.load(path)
    try:
        return Step(**content)
    except TypeError:
        raise ValueError(f"{Path(path).name}: got {sorted(content)}, expected the fields of a Step") from None
