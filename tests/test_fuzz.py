"""Anything at all where a user puts something in: it is taken, or refused with a `ValueError` that names it.

NASLAB_FUZZ=5000 tries that many inputs in each test.
"""

import math
import os
from dataclasses import fields
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from naslab import checks, runs, spaces
from naslab.controller import Controller
from naslab.search import darts, enas, evolution, qlearning, random_search, reinforce
from naslab.steps import settle

FUZZ = settings(max_examples=int(os.environ.get("NASLAB_FUZZ", "100")))
HUGE = st.sampled_from([63, 400, 5000]).map(lambda n: 10**n)  # beyond int64, beyond floats, beyond what prints
NUMBERS = st.integers(-3, 3) | st.integers() | st.floats() | st.sampled_from([2**63, 0.5, 1e300]) | HUGE
SCALARS = st.sampled_from(
    [np.int64(3), np.uint8(2), np.float32(0.5), np.float64("nan"), np.bool_(True), np.array(2), np.array([1, 2]),
     np.longdouble(0.5), torch.tensor(2), torch.tensor([0.5, 0.5]), torch.tensor(1j), torch.zeros(1, device="meta"),
     Fraction(1, 3), 1j, int, len, object(), b"x", "cpu", range(3)]
)  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | SCALARS | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.integers(0, 2) | st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)


@FUZZ
@given(value=ANYTHING)
def test_a_check_takes_what_it_says_or_refuses_by_name(value):
    """Against what Python itself says of the value."""

    def taken(check, *limits):
        try:
            check(*limits, name=value)
        except ValueError as error:
            assert str(error).startswith("name: got ")
            return False
        return True

    try:
        real = not isinstance(value, str | bytes | bool | np.bool_ | np.ndarray | torch.Tensor) and float(value)
    except (TypeError, ValueError, OverflowError):
        real = False
    number = real is not False and math.isfinite(real)
    is_int = isinstance(value, int | np.integer) and not isinstance(value, bool)
    assert taken(checks.whole, 1) == (is_int and 1 <= int(value) < 2**63)
    assert taken(checks.whole, 0, 3) == (is_int and 0 <= int(value) < 3)
    assert taken(checks.number, 0.5) == (number and real >= 0.5)
    assert taken(checks.number, -1, 1) == (number and -1 <= real < 1)
    assert taken(checks.fraction) == (number and 0 <= real <= 1)
    assert taken(checks.positive) == (number and real > 0)


@FUZZ
@given(module=st.sampled_from([random_search, evolution, qlearning, reinforce, enas, darts]), data=st.data())
def test_a_config_is_built_or_refused_by_name(module, data):
    names = data.draw(st.lists(st.sampled_from([f.name for f in fields(module.Config)]), max_size=3, unique=True))
    settings = {name: data.draw(ANYTHING) for name in names}
    try:
        config = module.Config(**settings)
    except ValueError as error:
        assert str(error).startswith(tuple(names)), error
    else:
        for name in names:  # numbers that it takes are Python's, finite and no flags
            value = getattr(config, name)
            assert not isinstance(value, np.generic | bool) or name == "momentum_ahead"
            assert not isinstance(value, float) or math.isfinite(value)


@FUZZ
@given(data=st.data())
def test_a_controller_is_built_or_refused_by_name(data):
    small = st.integers(-1, 3) | ANYTHING.filter(lambda value: not isinstance(value, int | np.integer) or value < 4)
    options = {"units": small, "layers": small, **dict.fromkeys(("init", "temperature", "tanh_constant"), ANYTHING)}
    names = data.draw(st.lists(st.sampled_from([*options]), max_size=2, unique=True))
    try:
        controller = Controller(spaces.MacroSpace(2, ("a", "b")), **{name: data.draw(options[name]) for name in names})
    except ValueError as error:
        assert str(error).startswith(tuple(names)), error
    else:
        assert controller(2, torch.Generator())[0].shape == (2, 3)


@FUZZ
@given(rewards=st.lists(ANYTHING, max_size=3))
def test_rewards_are_finite_floats_or_refused(rewards):
    try:
        settled, failures = settle(rewards)
    except ValueError as error:
        assert str(error).startswith("reward: got ")
    else:
        assert all(type(r) is float and math.isfinite(r) for r in settled) and len(settled) == len(rewards)
        assert all(settled[k] == 0 and isinstance(reason, str) for k, reason in failures.items())


PROFILES = {name: {"children": 2, "lr": 0.1} for name in runs.PROFILES}
CELL = "profile: str = 'quick'\nseed: int = 0\ndevice: str = 'cpu'\nchildren: int = 0\nlr: float = 0.0"
SOURCES = st.text(max_size=12) | st.sampled_from(
    [CELL, "# Parameters\nchildren = 3\n", "# Parameters\nother = 3", "# Parameters\n(", "profile = 1", "\0",
     "(" * 3000, "profile, seed = 1, 2", "profile: int", "profile = seed = device = 1",
     "for profile in x: pass", "x.profile = 1"]
)  # fmt: skip


@FUZZ
@given(
    names=st.fixed_dictionaries(
        {},
        optional={
            "profile": st.sampled_from(["quick", "full", "gpu"]) | ANYTHING,
            "seed": st.integers(0, 9) | ANYTHING,
            "device": st.sampled_from(["auto", "cpu", "cuda", "cuda:-1", "cpu:99999999999", "cpu:0"]) | ANYTHING,
            "children": ANYTHING,
            "lr": ANYTHING,
            "In": st.lists(SOURCES, max_size=3) | st.lists(SOURCES | ANYTHING, max_size=3) | ANYTHING,
        },
    ),
    least=st.sampled_from([{}, {"children": 2}, {"lr": 0.2, "children": 1}]),
)
def test_a_run_starts_or_is_refused_by_name(names, least):
    try:
        run = runs.start(names, **PROFILES, least=least)
    except ValueError as error:
        assert str(error).startswith(("profile", "seed: ", "device: ", "children: ", "lr: ", "In: ", "parameters: "))
    else:
        assert run.profile in PROFILES and type(run.seed) is int and isinstance(run.device, torch.device)
        assert run.children >= least.get("children", 1) and run.lr >= least.get("lr", 0)
        assert torch.Generator().manual_seed(run.seed)


@FUZZ
@given(content=st.binary(max_size=300), cut=st.integers(0, 3000), put=st.integers(0, 3000), header=st.booleans())
def test_any_file_is_what_was_saved_or_refused(tmp_path_factory, content, cut, put, header):
    path = tmp_path_factory.mktemp("f") / "f.pt"
    runs.save(path, {"w": torch.arange(3)})
    good = path.read_bytes()
    changed = good[: put % len(good)] + content + good[(put + cut) % len(good) :]
    if header:  # as if somebody meant it
        changed = runs._header(changed) + changed
    path.write_bytes(changed)
    if changed == good:
        return
    with pytest.raises(ValueError, match=r"f\.pt: (damaged or not a naslab file|got a)"):
        runs.load(path)
