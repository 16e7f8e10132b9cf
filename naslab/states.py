"""The state of a search that its steps store: copied when it is stored, checked when it is restored."""

from collections.abc import Mapping
from math import inf
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from naslab import checks
from naslab.spaces import Space

MOMENTS = {torch.optim.SGD: {"momentum_buffer"}, torch.optim.Adam: {"step", "exp_avg", "exp_avg_sq"}}


def snapshot(value: Any) -> Any:
    """Returns a copy of nested dicts, lists and tuples with copies of their tensors."""
    match value:
        case torch.Tensor():
            return value.detach().clone()
        case dict():
            return {key: snapshot(item) for key, item in value.items()}
        case list() | tuple():
            return type(value)(map(snapshot, value))
    return value


def check_children(space: Space, **strings: Any) -> None:
    """Raises `ValueError` unless every value is a list or tuple of strings of the space."""
    for name, values in strings.items():
        if not isinstance(values, list | tuple):
            raise ValueError(f"{name}: got {checks.shown(values)}, expected strings of the space")
        for child in values:
            try:
                right = space.check(child) == child
            except ValueError as error:
                raise ValueError(f"{name}: got {checks.shown(child)}; {error}") from None
            if not right:
                raise ValueError(f"{name}: got {checks.shown(child)}, expected a tuple of ints")


def check_scored(space: Space, **members: Any) -> None:
    """Raises `ValueError` unless every value is a list of pairs (string of the space, finite reward)."""
    for name, values in members.items():
        if not isinstance(values, list) or not all(isinstance(v, tuple) and len(v) == 2 for v in values):
            raise ValueError(f"{name}: got {checks.shown(values)}, expected a list of (child, reward) pairs")
        check_children(space, **{name: [child for child, _ in values]})
        for _, reward in values:
            checks.number(-inf, **{name: reward})


def restore(learners: Mapping[str, nn.Module | Optimizer], state: Mapping[str, Any]) -> None:
    """Restores each module and optimiser from the entry of its name in `state`, which `snapshot` copied.

    An optimiser gets its moments back. It keeps the learning rate and other settings that it was built with. All
    entries are checked before anything changes. Raises `ValueError` with the entry's name if names, shapes or dtypes
    differ from the learner's, or if a number is not finite.
    """
    for name, learner in learners.items():
        found = state.get(name)
        if isinstance(learner, nn.Module):
            check_tensors(found, learner.state_dict(), f"state.{name}")
        else:
            _check_moments(found, learner, f"state.{name}")
    for name, learner in learners.items():
        content = snapshot(state[name])  # a copy, because an optimiser keeps these tensors
        if isinstance(learner, Optimizer):
            content["param_groups"] = learner.state_dict()["param_groups"]
        learner.load_state_dict(content)


def check_hidden(found: Any, like: dict[str, Any] | list[Any]) -> None:
    """Raises `ValueError` unless `found` has the same keys (or length) as `like`, and hidden states as values.

    A hidden state is a finite tensor, a nested list or tuple of them, or None at the start of an epoch.
    """
    alike = isinstance(found, type(like)) and len(found) == len(like)
    if not alike or (isinstance(found, dict) and isinstance(like, dict) and found.keys() != like.keys()):
        places = f"those of {', '.join(like)}" if isinstance(like, dict) else len(like)
        raise ValueError(f"state.hidden: got {checks.shown(found)}, expected hidden states: {places}")

    def check(value: Any) -> None:
        if isinstance(value, list | tuple):
            for item in value:
                check(item)
        elif value is not None and not (isinstance(value, Tensor) and value.isfinite().all()):
            raise ValueError(f"state.hidden: got {checks.shown(value)}, expected finite tensors")

    check([*found.values()] if isinstance(found, dict) else found)


def check_tensors(found: Any, expected: Mapping[str, Any], name: str) -> None:
    """Raises `ValueError` unless `found` has finite tensors with the names, shapes and dtypes of `expected`."""
    if not isinstance(found, dict) or found.keys() != expected.keys():
        shown = checks.shown(sorted(map(str, found))) if isinstance(found, dict) else checks.shown(found)
        raise ValueError(f"{name}: got {shown}, expected {checks.shown(sorted(expected))}")
    for key, like in expected.items():
        if not isinstance(like, Tensor):  # the result of a module's `get_extra_state`
            continue
        _check_tensor(found[key], like.shape, like.dtype, f"{name}.{key}")


def _check_tensor(found: Any, shape: torch.Size, dtype: torch.dtype, name: str) -> None:
    if not isinstance(found, Tensor) or found.shape != shape or found.dtype != dtype:
        got = f"{found.dtype} of {tuple(found.shape)}" if isinstance(found, Tensor) else checks.shown(found)
        raise ValueError(f"{name}: got {got}, expected {dtype} of {tuple(shape)}")
    if not found.isfinite().all():
        raise ValueError(f"{name}: got numbers that are not finite")


def _check_moments(found: Any, optim: Optimizer, name: str) -> None:
    moments = found.get("state") if isinstance(found, dict) else None
    if not isinstance(moments, dict):
        raise ValueError(f"{name}: got {checks.shown(found)}, expected the state_dict of {type(optim).__name__}")
    parameters = [p for group in optim.param_groups for p in group["params"]]
    keys = MOMENTS.get(type(optim))
    for index, entries in moments.items():
        checks.whole(0, len(parameters), **{f"{name}.state": index})
        if isinstance(optim, torch.optim.SGD) and entries == {}:
            continue  # without momentum
        if not isinstance(entries, dict) or (keys is not None and entries.keys() != keys):
            shown = checks.shown(list(entries) if isinstance(entries, dict) else entries)
            raise ValueError(f"{name}.{index}: got {shown}, expected {sorted(keys or ())}")
        p = parameters[index]
        for key, value in entries.items():
            if value is None and key == "momentum_buffer":
                continue  # SGD without momentum
            shape, dtype = (torch.Size(), torch.float32) if key == "step" else (p.shape, p.dtype)
            _check_tensor(value, shape, dtype, f"{name}.{index}.{key}")
