"""The steps of a search: one `Step` per update, and sinks that read them, such as a progress bar and a checkpoint.

    for step in tee(search(...), progress(100), jsonl("log.jsonl"), checkpoint("search.pt")): ...

Stop with `break`. Resume with `search(..., after=resume("search.pt"))`: the steps equal those of an uninterrupted run.
"""

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import inf, isfinite
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from naslab import checks, runs
from naslab.spaces import Space, Tokens
from naslab.states import check_children

Sink = Callable[["Step"], None]


@dataclass(frozen=True)
class Step:
    """One update of a search: the children, their rewards, and the state from which the search can resume."""

    index: int
    children: tuple[Tokens, ...]
    rewards: tuple[float, ...]
    info: dict[str, float] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)  # place of a failed child among the children -> reason
    state: "dict[str, Any] | Live" = field(default_factory=dict, repr=False)  # plain values and tensors


class Live:
    """A state that is too large to copy at every step, such as the weights of a supergraph. `state_of` makes the copy.

    A search calls `expire` before it changes the weights. After that, `state_of` raises `ValueError`.
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


def live_state(after: Step | None) -> Live:
    """Returns the state that a search must expire first: the `Live` state of the step from which it resumes."""
    return after.state if after is not None and isinstance(after.state, Live) else Live(dict)


def state_of(step: Step) -> dict[str, Any]:
    """Returns the state of a step. Raises `ValueError` if the state is `Live` and the search has continued."""
    return step.state() if isinstance(step.state, Live) else step.state


def keep(search: str, space: Space, generator: torch.Generator, **more: Any) -> dict[str, Any]:
    """Returns the state of a step: the names of the search and the space, the generator's state, and `more`."""
    return {"search": search, "space": repr(space), "generator": generator.get_state(), **more}


def begin(
    after: Step | None,
    search: str,
    space: Space,
    generator: torch.Generator,
    needs: Collection[str] = (),
    written_in: Callable[[int], Space] | None = None,
) -> tuple[int, dict[str, Any]]:
    """Returns the first index and the state with which a search starts, and restores the generator's state.

    A new search, with `after` None, starts with 0 and {}. `needs` names the entries that the search itself put into the
    state with `keep`. `written_in` returns the space of the children at an index; the default is `space`. Raises
    `ValueError` if the step is from another search or another space, or if it is damaged. This does not check the
    entries in `needs`: the search checks them, those of modules and optimisers with `states.restore`.
    """
    if after is None:
        return 0, {}
    check(after)
    state = state_of(after)
    if not isinstance(state, dict):
        raise ValueError(f"state: got {checks.shown(state)}, expected a dict")
    for name, expected in (("search", search), ("space", repr(space))):
        if (found := state.get(name)) != expected:
            raise ValueError(f"after: got a step of {name} {checks.shown(found)}, expected {expected!r}")
    if missing := [name for name in ("generator", *needs) if name not in state]:
        raise ValueError(f"state: got no {', '.join(missing)}, expected the entries that {search} stores")
    check_children(written_in(after.index) if written_in else space, children=after.children)
    try:
        generator.set_state(state["generator"])
    except (RuntimeError, TypeError):
        raise ValueError(
            f"state.generator: got {checks.shown(state['generator'])}, expected the state of a torch.Generator"
        ) from None
    return after.index + 1, state


def check(step: Step) -> None:
    """Raises `ValueError` if a field of the step is invalid. Does not check the content of its state; `begin` does."""
    if not isinstance(step, Step):
        raise ValueError(f"after: got {checks.shown(step)}, expected a Step, such as resume(path) gives")
    checks.whole(0, index=step.index)
    if not isinstance(step.children, tuple) or not all(isinstance(child, tuple) for child in step.children):
        raise ValueError(f"children: got {checks.shown(step.children)}, expected a tuple of tuples of ints")
    for child in step.children:
        for token in child:
            checks.whole(0, children=token)
    if not isinstance(step.rewards, tuple) or len(step.rewards) != len(step.children):
        expected = f"a tuple of {len(step.children)} numbers, one per child"
        raise ValueError(f"rewards: got {checks.shown(step.rewards)}, expected {expected}")
    for reward in step.rewards:
        checks.number(-inf, rewards=reward)
    if not isinstance(step.info, dict) or not all(isinstance(name, str) for name in step.info):
        raise ValueError(f"info: got {checks.shown(step.info)}, expected a dict of numbers by name")
    for name, value in step.info.items():
        checks.number(-inf, **{f"info.{name}": value})
    if not isinstance(step.failures, dict) or not all(isinstance(reason, str) for reason in step.failures.values()):
        raise ValueError(f"failures: got {checks.shown(step.failures)}, expected a dict of reasons by place")
    for place in step.failures:
        checks.whole(0, len(step.children), failures=place)
    if not isinstance(step.state, dict | Live):
        raise ValueError(f"state: got {checks.shown(step.state)}, expected a dict")


class Failed(float):
    """The reward of a child that could not be evaluated: 0, with the reason."""

    def __new__(cls, reason: str) -> "Failed":
        failed = super().__new__(cls, 0.0)
        failed.reason = reason
        return failed

    reason: str


def settle(rewards: Iterable[Any], children: int | None = None) -> tuple[tuple[float, ...], dict[int, str]]:
    """Returns the rewards as floats, and the failures (place -> reason): rewards that are `Failed` or not finite.

    A reward may also be a NumPy number, or a tensor or array without dimensions. Raises `ValueError` for other types,
    and if the number of rewards is not `children`.
    """
    settled = [_reward(place, reward) for place, reward in enumerate(rewards)]
    if children is not None and len(settled) != children:
        raise ValueError(f"rewards: got {len(settled)}, expected {children}, one per child")
    failures = {k: r.reason for k, r in enumerate(settled) if isinstance(r, Failed)}
    return tuple(map(float, settled)), failures


def _reward(place: int, reward: Any) -> float:
    if isinstance(reward, Failed):
        return reward
    found = reward.item() if isinstance(reward, Tensor | np.ndarray) and reward.ndim == 0 else reward
    if not isinstance(found, Real):
        raise ValueError(f"reward: got {checks.shown(reward)} for child {place}, expected a number")
    try:
        found = float(found)
    except OverflowError:  # an int larger than every float
        found = inf
    return found if isfinite(found) else Failed(f"reward is {found}")


def finite(index: int, rewards: Sequence[float], **quantities: float) -> None:
    """Raises `FloatingPointError` if a quantity is not finite: the search has diverged and must stop."""
    for name, value in quantities.items():
        if not isfinite(value):
            raise FloatingPointError(f"diverged: step {index}: {name} is {value}; the rewards are {tuple(rewards)}")


def squares(tensors: Iterable[Tensor | None]) -> float:
    """Returns the sum of all squares, in the tensors' precision. It overflows if Adam's second moments would."""
    return sum(t.detach().square().sum().item() for t in tensors if t is not None)


def rewarded(step: Step) -> bool:
    """Returns whether `step.rewards` are rewards. In phase 0 of ENAS they are negative losses."""
    return step.info.get("phase") != 0


def best(steps: Iterable[Step]) -> tuple[Tokens, float]:
    """Returns the child with the highest reward, the first one in a tie, and its reward.

    Ignores phase 0 of ENAS, where rewards are negative losses. Raises `ValueError` if no child has a reward.
    """
    scored = [pair for step in steps if rewarded(step) for pair in zip(step.children, step.rewards, strict=True)]
    if not scored:
        raise ValueError("steps: got none with a rewarded child, expected at least one")
    return max(scored, key=lambda pair: pair[1])


def tee(steps: Iterable[Step], *sinks: Sink) -> Iterator[Step]:
    """Yields the steps unchanged, after it has passed each of them to every sink."""
    for step in steps:
        for sink in sinks:
            sink(step)
        yield step


def progress(total: int, value: str = "best reward") -> Sink:
    """A progress bar for `total` steps that shows the best reward so far under the name `value`.

    It closes after the last step. NASLAB_PROGRESS=0 in the environment hides it.
    """
    bar = tqdm(total=total, leave=False, disable=os.environ.get("NASLAB_PROGRESS") == "0")
    top = -inf

    def show(step: Step) -> None:
        nonlocal top
        if rewarded(step) and step.rewards:
            top = max(top, *step.rewards)
            bar.set_postfix({value: f"{top:.3f}"}, refresh=False)
        bar.update(step.index + 1 - bar.n)
        if step.index + 1 == total:
            bar.close()

    return show


def jsonl(path: str | Path) -> Sink:
    """Writes one line of JSON per step, without the state. After a resume it replaces the steps that run again."""
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
            file.write(json.dumps(row, default=checks.plain) + "\n")

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
    return [line for line in lines if line.endswith("\n")]  # drop a line that a crash cut off


def checkpoint(path: str | Path, every: int = 1) -> Sink:
    """Saves every `every`-th step atomically. The checkpoint before it is kept as `<name>.previous`.

    Raises `ValueError` for a step that `resume` would reject, before it writes anything.
    """
    checks.whole(1, every=every)

    def write(step: Step) -> None:
        if (step.index + 1) % every == 0:
            check(step)
            runs.save(path, {**vars(step), "state": state_of(step)})

    return write


def resume(path: str | Path) -> Step | None:
    """Returns the last step saved by `checkpoint`, or None if the file does not exist.

    Raises `ValueError` if the file is damaged or not a step. Deletes nothing.
    """
    if not Path(path).exists():
        return None
    content = runs.load(path)
    try:
        step = Step(**content)
    except TypeError:
        found = checks.shown(sorted(map(str, content)))
        raise ValueError(f"{Path(path).name}: got {found}, expected the fields of a Step") from None
    try:
        check(step)
    except ValueError as error:
        raise ValueError(f"{Path(path).name}: {error}") from None
    return step
