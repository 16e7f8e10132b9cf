"""The policy sandbox: its mathematics against enumeration, then the widget."""

import itertools
import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from naslab import view
from naslab.controller import policy_loss
from naslab.view import bandit

P = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
R = torch.tensor([0.5, -1.0, 2.0, 0.9], dtype=torch.float64)


def enumerated(p, m, b):
    """Mean and summed variance of the estimate over all k^m samples, with their probabilities."""
    total, square = torch.zeros_like(p), 0.0
    for arms in itertools.product(range(len(p)), repeat=m):
        probability = math.prod(p[a].item() for a in arms)
        counts = torch.bincount(torch.tensor(arms), minlength=len(p)).double()
        g = bandit.estimate(p, counts, R[: len(p)], b)
        total += probability * g
        square += probability * g.square().sum().item()
    return total, square - total.square().sum().item()


@pytest.mark.parametrize(("m", "b"), [(1, 0.0), (1, 0.7), (3, 0.0), (3, -2.0), (4, 0.4)])
def test_estimate_has_the_exact_gradient_as_its_mean_and_the_exact_variance(m, b):
    mean, variance = enumerated(P, m, b)
    theta = P.log().requires_grad_()
    (gradient,) = torch.autograd.grad(theta.softmax(-1) @ R, theta)
    torch.testing.assert_close(bandit.gradient(P, R), gradient, rtol=0, atol=1e-12)
    torch.testing.assert_close(mean, gradient, rtol=0, atol=1e-12)
    assert bandit.variance(P, R, b, m).item() == pytest.approx(variance, abs=1e-12)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.floats(-2, 2))
def test_estimate_is_the_gradient_of_the_courses_policy_loss(arms, b):
    theta = P.log().requires_grad_()
    log_prob = theta.log_softmax(-1)[arms]
    (gradient,) = torch.autograd.grad(
        -policy_loss(log_prob, torch.zeros(len(arms), dtype=torch.float64), R[arms], b), theta
    )
    counts = torch.bincount(torch.tensor(arms), minlength=4).double()
    torch.testing.assert_close(bandit.estimate(P, counts, R, b), gradient, rtol=0, atol=1e-12)


def test_best_baseline_has_the_least_variance_of_a_scan():
    best = bandit.best_baseline(P, R)
    scan = best + torch.linspace(-1, 1, 201, dtype=torch.float64)
    variances = torch.stack([bandit.variance(P, R, b, 2) for b in scan])
    assert variances.argmin() == 100 and (variances[:100].diff() < 0).all() and (variances[100:].diff() > 0).all()
    settled = torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    assert bandit.best_baseline(settled, R) == -1.0 and bandit.variance(settled, R, 5.0, 2) == 0


def settings_of(**changed):
    return {"baseline": True, "m": 3, "lr": 0.3, "decay": 0.8, "updates": 6, "repeats": 5, "seed": 1} | changed


def learn(rewards, *, baseline, **settings):
    (learned,) = bandit.learn(rewards, (baseline,), **settings)
    return learned


@pytest.mark.parametrize("baseline", [True, False])
def test_learners_equal_a_loop_written_out(baseline):
    rewards, m, lr, decay, updates, repeats = [0.1, 0.5, 0.9], 3, 0.3, 0.8, 6, 5
    got = learn(rewards, **settings_of(baseline=baseline))
    draws = torch.rand(updates, repeats, m, generator=torch.Generator().manual_seed(1), dtype=torch.float64).numpy()
    for n in range(repeats):
        theta, average = np.zeros(3), None
        for u in range(updates):
            p = np.exp(theta) / np.exp(theta).sum()
            assert got.expected[u, n].item() == pytest.approx(p @ rewards, abs=1e-12)
            b = 0.0 if average is None else average
            assert got.variances["moving average"][u, n].item() == pytest.approx(
                bandit.variance(torch.tensor(p), torch.tensor(rewards, dtype=torch.float64), b, m).item(), abs=1e-12
            )
            gradient = p * (np.array(rewards) - p @ rewards)
            assert got.lengths[u, n].item() == pytest.approx((gradient**2).sum(), abs=1e-12)
            arms = [min(int((np.cumsum(p) <= x).sum()), 2) for x in draws[u, n]]
            step = sum((rewards[a] - (b if baseline else 0.0)) * (np.eye(3)[a] - p) for a in arms) / m
            mean = np.mean([rewards[a] for a in arms])
            average = mean if average is None else decay * average + (1 - decay) * mean
            theta = theta + lr * step
        p = np.exp(theta) / np.exp(theta).sum()
        assert got.policies[-1, n].numpy() == pytest.approx(p, abs=1e-12)
        assert got.expected[-1, n].item() == pytest.approx(p @ rewards, abs=1e-12)


def test_learners_of_one_pass_equal_those_of_two():
    settings = {name: value for name, value in settings_of(m=4, updates=30).items() if name != "baseline"}
    for baseline, learned in zip((False, True), bandit.learn(R.tolist(), (False, True), **settings), strict=True):
        alone = learn(R.tolist(), baseline=baseline, **settings)
        torch.testing.assert_close(learned.policies, alone.policies, rtol=0, atol=1e-12)
        torch.testing.assert_close(learned.expected, alone.expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(learned.variances, alone.variances, rtol=0, atol=1e-12)
        torch.testing.assert_close(learned.lengths, alone.lengths, rtol=0, atol=1e-12)


def test_learners_first_steps_average_to_the_exact_gradient_and_variance():
    learned = learn([0.1, 0.5, 0.9], **settings_of(updates=2, repeats=20_000, lr=1e-3, m=2))
    p, rewards = torch.full((3,), 1 / 3, dtype=torch.float64), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    gain = (learned.expected[1] - learned.expected[0]) / 1e-3  # to first order g . grad J
    exact = bandit.gradient(p, rewards).square().sum()
    error = gain.std() / math.sqrt(20_000)
    assert abs(gain.mean() - exact) < 5 * error and error < 0.05 * exact


def test_more_children_less_variance_and_a_baseline_helps_rewards_far_from_zero():
    few, many = (learn((0.9, 0.95), **settings_of(lr=0.0, m=m)).variances for m in (2, 8))
    for name in ("b = 0", "best b"):
        torch.testing.assert_close(few[name], 4 * many[name])
    assert (few["moving average"][1:] < few["b = 0"][1:] / 50).all()
    settings = settings_of(lr=5.0, updates=60, repeats=100)
    with_, without = (learn((0.9, 0.95), **settings | {"baseline": b}).expected[-1] for b in (True, False))
    assert with_.mean() > without.mean() and with_.std() < without.std()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rewards": [1.0]}, "rewards: got"),
        ({"rewards": [1.0, math.nan]}, "rewards: got"),
        ({"rewards": ["a", "b"]}, "rewards: got"),
        ({"rewards": 3}, "rewards: got"),
        ({"lr": -1.0}, "lr: got -1.0"),
        ({"lr": math.inf}, "lr: got inf"),
        ({"decay": 1.0}, "decay: got 1.0"),
        ({"decay": "x"}, "decay: got 'x'"),
        ({"m": 0}, "m: got 0, expected an int of at least 1"),
        ({"m": 2.0}, "m: got 2.0"),
        ({"updates": 1}, "updates: got 1, expected an int of at least 2"),
        ({"repeats": True}, "repeats: got True"),
    ],
)
def test_settings_outside_their_range_are_refused(changed, message):
    for make in (view.policy_sandbox, view.policy_picture):
        with pytest.raises(ValueError, match=re.escape(message)):
            make(**changed)


# The policy sandbox


@pytest.fixture
def sandbox():
    return view.policy_sandbox(repeats=20, updates=12)


def test_sandbox_text_and_drawing_follow_every_control(sandbox):
    changes = [("m", 8), ("lr", 10.0), ("decay", 0.0), ("slider", 5), ("baseline", False), ("baseline", True)]
    for name, value in changes:
        before = sandbox.text, sandbox.drawing
        getattr(sandbox, name).value = value
        assert sandbox.text != before[0] and sandbox.drawing != before[1], name
        assert ("with the baseline" in sandbox.text) == sandbox.baseline.value
        assert ("with the baseline" in sandbox.drawing) == sandbox.baseline.value
    assert sandbox.picture == view.policy_picture(repeats=20, updates=12, m=8, lr=10.0, decay=0.0, update=5)
    for words in ("Expected reward: mean", "Policy of run 1 after update 5", "Variance of the estimate"):
        assert words in sandbox.drawing and words in sandbox.picture.svg


def test_play_moves_the_bars_from_the_uniform_policy_and_learns_nothing_anew(sandbox, monkeypatch):
    monkeypatch.setattr(view.widgets.sandbox, "compare", None)
    assert (sandbox.play.min, sandbox.play.max, sandbox.slider.value) == (0, 12, 12)
    assert sandbox._link.source[0] is sandbox.play and sandbox._link.target == (sandbox.slider, "value")
    drawn = set()
    for update in range(13):
        sandbox.slider.value = update
        assert f"<code>{update} of 12</code>" in sandbox.text
        drawn.add(sandbox._drawings[1].value)
    assert len(drawn) == 13
    sandbox.slider.value = 0
    assert sandbox._drawings[1].value.count(">0.20</text>") == 10
    assert "best arm in run 1:</b> <code>with the baseline: 0.20; with b = 0: 0.20" in sandbox.text


def test_another_run_is_drawn_beside_the_same_mean(sandbox):
    learned = learn(REWARDS, **SETTINGS)
    for run in [*range(20), 0]:
        assert sandbox.run == run and f"run {run + 1}:" in sandbox.text
        chances = [f"{p:.2f}" for p in learned.policies[12, run]]
        shown = re.findall(r'font-size="12" [^>]*>(\d\.\d\d)</text>', sandbox._drawings[1].value)
        assert shown[::2] == chances and len(shown) == 2 * len(REWARDS)
        mean = sandbox._drawings[0].value.count('stroke-width="1"')
        means = re.findall(r'<polyline [^>]*stroke="#0072B2" stroke-width="2"/>', sandbox._drawings[0].value)
        assert mean > 2 and len({*means}) == 2  # the mean and its key
        sandbox.another.click()
    pictures = [view.policy_picture(repeats=20, updates=12, run=run) for run in (0, 1)]
    assert sandbox.picture == pictures[1] != pictures[0]
    for bad in ({"run": 20}, {"run": -1}, {"update": 13}, {"update": 0.5}):
        with pytest.raises(ValueError, match="expected an int of at least 0"):
            view.policy_picture(repeats=20, updates=12, **bad)


def test_settings_between_the_steps_of_a_slider_are_kept():
    sandbox = view.policy_sandbox(m=5, lr=0.0, decay=0.995, repeats=5, updates=3)
    assert (sandbox.m.value, sandbox.lr.value, sandbox.decay.value) == (5, 0.0, 0.995)
    sandbox = view.policy_sandbox(m=100, lr=3.3, repeats=5, updates=3)
    assert (sandbox.m.label, sandbox.lr.label) == ("100", "3.3")
    assert [name for name, _ in sandbox.lr.options] == sorted((name for name, _ in sandbox.lr.options), key=float)


REWARDS = (0.90, 0.91, 0.93, 0.94, 0.86)
SETTINGS = {"baseline": True, "m": 4, "lr": 5.0, "decay": 0.9, "updates": 12, "repeats": 20, "seed": 0}


def test_sandbox_says_what_the_runs_came_to(sandbox):
    learned = learn(REWARDS, **SETTINGS)
    assert f"with the baseline: {learned.expected[-1].mean():.4f} ± {learned.expected[-1].std():.4f}" in sandbox.text
    assert f"{learned.variances['b = 0'][1].mean():.3g} with b = 0" in sandbox.picture.alt
    assert f"|∇J|² is {learned.lengths[1].mean():.3g}." in sandbox.picture.alt
    assert f"run 1:</b> <code>with the baseline: {learned.policies[-1, 0, 3]:.2f}; " in sandbox.text
    assert sandbox._repr_mimebundle_()[0]["text/plain"] == "policy sandbox: 5 arms, 20 runs of 12 updates"
    labels = [c.description for c in (sandbox.baseline, sandbox.m, sandbox.lr, sandbox.decay)]
    assert labels == ["baseline", "children m", "learning rate", "baseline decay"]


@pytest.mark.parametrize("setting", [{"rewards": (1.0, 1.0)}, {"lr": 50.0, "updates": 100}, {"rewards": (-3, 0, 1e4)}])
def test_sandbox_survives_the_extremes(setting):
    root = ET.fromstring(view.policy_picture(**{"repeats": 10, "updates": 5} | setting).svg)
    assert "nan" not in ET.tostring(root, encoding="unicode") and "inf" not in ET.tostring(root, encoding="unicode")
