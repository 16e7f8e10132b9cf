"""Widgets: text and drawing change together, Python can move them as a reader does, and what they show is right."""

import base64
import io
import itertools
import math
import re
import xml.etree.ElementTree as ET

import matplotlib
import nbconvert
import nbformat
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread
from test_view import SPACES, SVG, edges, sample, texts

from naslab import genotypes, runs, spaces, view
from naslab.controller import Controller, policy_loss
from naslab.networks import MixedOp
from naslab.search import darts
from naslab.view import bandit, blender, landscape, picture, sharing
from naslab.view.controls import Pictured

torch.set_num_threads(1)


def controller_of(space, init=1.0):
    with runs.seeded(0):
        return Controller(space, init=init)


# The string explorer


@pytest.fixture
def explorer():
    return view.string_explorer(
        spaces.darts_conv(nodes=2), [0, 3, 1, 2, 1, 2, 2, 3] * 2, lambda t: 1000 * sum(t), seed=3
    )


def test_explorer_starts_at_the_string(explorer):
    space = spaces.darts_conv(nodes=2)
    tokens = (0, 3, 1, 2, 1, 2, 2, 3) * 2
    assert explorer.tokens == tokens
    assert list(explorer.sliders) == [d.name for d in space.decisions]
    assert "0 3 1 2 1 2 2 3 0 3" in explorer.text and "normal.2.0.op=sep_conv_3x3" in explorer.text
    assert f"{1000 * sum(tokens):,}" in explorer.text and f"{space.strings:,}" in explorer.text
    assert explorer.drawing.replace('style="max-width:100%;height:auto" ', "") == view.architecture(space, tokens).svg


def test_moving_any_slider_changes_string_count_and_drawing_together(explorer):
    for name in explorer.sliders:
        if not name.endswith(".op"):
            continue
        before = explorer.tokens, explorer.text, explorer.drawing
        slider = explorer.sliders[name]
        slider.value = (slider.value + 1) % len(slider.options)
        position = list(explorer.sliders).index(name)
        assert explorer.tokens[position] == slider.value != before[0][position]
        assert f"{1000 * sum(explorer.tokens):,}" in explorer.text
        assert f"{name}={slider.label}" in explorer.text and explorer.text != before[1]
        assert slider.label in explorer.drawing and explorer.drawing != before[2]


def test_an_invalid_combination_is_explained_and_can_be_left(explorer):
    explorer.sliders["normal.2.0.input"].value = 1
    assert "normal.2.0.input and normal.2.1.input are both 1, they must differ" in explorer.text
    assert "not a string of the space" in explorer.text and "parameters" not in explorer.text
    assert explorer.drawing == ""
    explorer.sliders["normal.2.1.input"].value = 0
    assert "differ" not in explorer.text and "<svg" in explorer.drawing and explorer.tokens[:4] == (1, 3, 0, 2)


def test_sample_is_the_spaces_and_draws_once(explorer, monkeypatch):
    drawn = []
    monkeypatch.setattr(view.explorer, "architecture", lambda *a: drawn.append(a) or view.architecture(*a))
    generator = torch.Generator().manual_seed(3)
    for k in range(1, 4):
        explorer.sample.click()
        assert explorer.tokens == spaces.darts_conv(nodes=2).sample(generator) and len(drawn) == k
    assert tuple(s.value for s in explorer.sliders.values()) == explorer.tokens


def test_explorer_can_be_set_from_python_and_refuses_what_is_no_string(explorer):
    explorer.tokens = (0, 0, 1, 0, 0, 0, 1, 0) * 2
    assert "0 0 1 0 0 0 1 0 0 0" in explorer.text
    with pytest.raises(ValueError, match=r"normal\.2\.1\.input: token 0 is taken by normal\.2\.0\.input"):
        explorer.tokens = (0,) * 16
    assert explorer.tokens == (0, 0, 1, 0, 0, 0, 1, 0) * 2


@pytest.mark.parametrize("name", sorted(SPACES))
def test_explorer_opens_every_space(name):
    space = SPACES[name]
    explorer = view.string_explorer(space, sample(space, 0), lambda t: len(t))
    choices = [d for d in space.decisions if len(d.options) > 1]
    assert list(explorer.sliders) == [d.name for d in choices]
    for decision, slider in zip(choices, explorer.sliders.values(), strict=True):
        assert slider.description == decision.name and [o for o, _ in slider.options] == [*map(str, decision.options)]
    assert explorer.tokens == sample(space, 0) and "<svg" in explorer.drawing


def test_explorers_plain_text_is_short_and_the_same_each_time(explorer):
    data, _ = explorer._repr_mimebundle_()
    assert data["text/plain"] == "string explorer: 16 sliders, 830,131,344 strings"


# Bandit: the mathematics of the policy sandbox

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


@pytest.mark.parametrize("baseline", [True, False])
def test_learners_equal_a_loop_written_out(baseline):
    rewards, m, lr, decay, updates, repeats = [0.1, 0.5, 0.9], 3, 0.3, 0.8, 6, 5
    got = bandit.learn(rewards, **settings_of(baseline=baseline))
    draws = torch.rand(updates, repeats, m, generator=torch.Generator().manual_seed(1), dtype=torch.float64).numpy()
    for n in range(repeats):
        theta, average = np.zeros(3), None
        for u in range(updates):
            p = np.exp(theta) / np.exp(theta).sum()
            assert got.expected[u, n].item() == pytest.approx(p @ rewards, abs=1e-12)
            b = 0.0 if average is None else average
            assert got.variances["b = moving average"][u, n].item() == pytest.approx(
                bandit.variance(torch.tensor(p), torch.tensor(rewards, dtype=torch.float64), b, m).item(), abs=1e-12
            )
            arms = [min(int((np.cumsum(p) <= x).sum()), 2) for x in draws[u, n]]
            step = sum((rewards[a] - (b if baseline else 0.0)) * (np.eye(3)[a] - p) for a in arms) / m
            mean = np.mean([rewards[a] for a in arms])
            average = mean if average is None else decay * average + (1 - decay) * mean
            theta = theta + lr * step
        p = np.exp(theta) / np.exp(theta).sum()
        assert got.expected[-1, n].item() == pytest.approx(p @ rewards, abs=1e-12)


def test_learners_first_steps_average_to_the_exact_gradient_and_variance():
    learned = bandit.learn([0.1, 0.5, 0.9], **settings_of(updates=2, repeats=20_000, lr=1e-3, m=2))
    p, rewards = torch.full((3,), 1 / 3, dtype=torch.float64), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    gain = (learned.expected[1] - learned.expected[0]) / 1e-3  # to first order g . grad J
    exact = bandit.gradient(p, rewards).square().sum()
    error = gain.std() / math.sqrt(20_000)
    assert abs(gain.mean() - exact) < 5 * error and error < 0.05 * exact


def test_more_children_less_variance_and_a_baseline_helps_rewards_far_from_zero():
    few, many = (bandit.learn((0.9, 0.95), **settings_of(lr=0.0, m=m)).variances for m in (2, 8))
    for name in ("b = 0", "b = best constant"):
        torch.testing.assert_close(few[name], 4 * many[name])
    assert (few["b = moving average"][1:] < few["b = 0"][1:] / 50).all()
    settings = settings_of(lr=5.0, updates=60, repeats=100)
    with_, without = (bandit.learn((0.9, 0.95), **settings | {"baseline": b}).expected[-1] for b in (True, False))
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
    changes = [("m", 8), ("lr", 10.0), ("decay", 0.0), ("baseline", False), ("baseline", True)]
    for name, value in changes:
        before = sandbox.text, sandbox.drawing
        getattr(sandbox, name).value = value
        assert sandbox.text != before[0] and sandbox.drawing != before[1], name
        assert ("with the baseline" in sandbox.text) == sandbox.baseline.value
        assert ("with the baseline" in sandbox.drawing) == sandbox.baseline.value
    picture = view.policy_picture(repeats=20, updates=12, m=8, lr=10.0, decay=0.0)
    assert sandbox.drawing.replace('style="max-width:100%;height:auto" ', "") == picture.svg


def test_sandbox_says_what_the_runs_came_to(sandbox):
    learned = bandit.learn(
        (0.90, 0.91, 0.93, 0.94, 0.86), baseline=True, m=4, lr=5.0, decay=0.9, updates=12, repeats=20, seed=0
    )
    assert f"with the baseline {learned.expected[-1].mean():.4f} ± {learned.expected[-1].std():.4f}" in sandbox.text
    assert f"{learned.variances['b = 0'][1].mean():.3g} with b = 0" in sandbox.text
    assert "Uniform policy 0.9080, best arm 0.9400" in sandbox.text
    assert sandbox._repr_mimebundle_()[0]["text/plain"] == "policy sandbox: 5 arms, 20 runs of 12 updates"
    labels = [c.description for c in (sandbox.baseline, sandbox.m, sandbox.lr, sandbox.decay)]
    assert labels == ["baseline", "m, children per update", "learning rate", "baseline decay"]


@pytest.mark.parametrize("setting", [{"rewards": (1.0, 1.0)}, {"lr": 50.0, "updates": 100}, {"rewards": (-3, 0, 1e4)}])
def test_sandbox_survives_the_extremes(setting):
    root = ET.fromstring(view.policy_picture(**{"repeats": 10, "updates": 5} | setting).svg)
    assert "nan" not in ET.tostring(root, encoding="unicode") and "inf" not in ET.tostring(root, encoding="unicode")


# The controller stepper

STEPPED = {name: SPACES[name] for name in ("conv", "conv_chain", "macro", "tree_2", "darts_conv", "nas_bench_201")}


@pytest.mark.parametrize("name", sorted(STEPPED))
def test_stepper_walks_through_the_string(name):
    space = STEPPED[name]
    controller = controller_of(space)
    tokens = sample(space, 0)
    stepper = view.controller_stepper(controller, tokens)
    trace = controller.trace(torch.tensor([tokens]))
    log_prob = 0.0
    for n, (decision, token, p) in enumerate(zip(space.decisions, tokens, trace, strict=True), start=1):
        assert stepper.decision == n
        log_prob += math.log(p[0, token].item())
        assert f"{n} of {len(tokens)}: {decision.name}, " in stepper.text
        assert f"{decision.options[token]} (token {token}), probability {p[0, token]:.4f}" in stepper.text
        assert f"{' '.join([*map(str, tokens[: n - 1]), f'[{token}]'])}" in stepper.text
        assert f"{log_prob:.4f} nats" in stepper.text
        for option, q in zip(decision.options, p[0].tolist(), strict=True):
            assert f">{option}</text>" in stepper.drawing and f"{q:.4f}" in stepper.drawing
        pictured = view.step_picture(controller, tokens, n)
        assert pictured.alt.endswith(view.architecture(space, tokens, n).alt)
        assert view.architecture(space, tokens, n).alt in stepper.drawing
        assert stepper.back.disabled == (n == 1) and stepper.next.disabled == (n == len(tokens))
        stepper.next.click()
    assert stepper.decision == len(tokens)
    assert log_prob == pytest.approx(controller.score(torch.tensor([tokens]))[0].item(), abs=1e-3)


def test_stepper_moves_by_buttons_slider_and_python():
    space = spaces.MacroSpace(layers=3)
    stepper = view.controller_stepper(controller_of(space), seed=5)
    stepper.next.click()
    stepper.next.click()
    stepper.back.click()
    assert stepper.decision == 2 and "2 of 6: 1.op" in stepper.text
    before = stepper.text, stepper.drawing
    stepper.slider.value = 3
    assert "3 of 6: 1.skip.0, sigmoid of the attention" in stepper.text
    assert stepper.text != before[0] and stepper.drawing != before[1]
    stepper.decision = 6
    for bad in (0, 7, "1", 2.0):
        with pytest.raises(ValueError, match="decision: got"):
            stepper.decision = bad
        with pytest.raises(ValueError, match="decision: got"):
            view.step_picture(controller_of(space), stepper.tokens, bad)
    assert stepper.decision == 6
    assert stepper._repr_mimebundle_()[0]["text/plain"] == "controller stepper: 6 decisions"


def test_stepper_draws_what_the_controller_draws():
    space = spaces.MacroSpace(layers=3)
    controller = controller_of(space, init=2.0)
    stepper = view.controller_stepper(controller, seed=5)
    generator = torch.Generator().manual_seed(5)
    for _ in range(3):
        assert stepper.tokens == tuple(controller(1, generator)[0][0].tolist())
        stepper.sample.click()
    stepper.tokens = (0, 1, 1, 2, 0, 1)
    stepper.decision = 6
    assert "0 1 1 2 0 [1]" in stepper.text
    with pytest.raises(ValueError, match=r"0\.op: token 9 is outside"):
        stepper.tokens = (9, 1, 1, 2, 0, 1)
    assert stepper.tokens == (0, 1, 1, 2, 0, 1)
    with pytest.raises(ValueError, match="the space has 6 decisions"):
        view.controller_stepper(controller, [0])


def test_distributions_are_told_apart_by_more_than_colour():
    space = spaces.nas_bench_201()
    controller = controller_of(space)
    pictured = view.step_picture(controller, [2] * 6, 1)
    assert sum(word.endswith("drawn") for word in texts(pictured)) == 1 and "drawn nor_conv_1x1." in pictured.alt


# The anchor map


def by_hand(controller, tokens):
    """Section 3.3 written out: a walk of its own, and a sigmoid of v' tanh(W_prev h_j + W_curr h_i)."""
    x = controller.start[None]
    states = [(torch.zeros_like(x), torch.zeros_like(x)) for _ in controller.lstm]
    hidden, found, unread = {}, {}, None

    def read(x):
        for k, cell in enumerate(controller.lstm):
            states[k] = cell(x, states[k])
            x = states[k][0]
        return x

    decisions = zip(controller.space.decisions, tokens, strict=True)
    for i, group in itertools.groupby(decisions, key=lambda item: item[0].row[0]):
        layer = [*group]
        for decision, token in [item for item in layer if item[0].kind != "skip"]:
            h = read(x)
            if unread is not None:  # layer 0 has no bits: the next decision is the first to read it
                hidden[unread], unread = h, None
            x = controller.embedding[decision.kind].weight[token][None]
        bits = [(decision.row[1], token) for decision, token in layer if decision.kind == "skip"]
        if not bits:
            unread = i
            continue
        hidden[i] = h = read(x)
        for j, _ in bits:
            attention = controller.previous["skip"](hidden[j]) + controller.current["skip"](h)
            found[i, j] = torch.sigmoid(controller.v["skip"](attention.tanh())).item()
        x = sum(token * hidden[j] for j, token in bits) / (1 + sum(token for _, token in bits))
    return found


@pytest.mark.parametrize("space", [spaces.MacroSpace(layers=5), spaces.ConvSpace(layers=4)], ids=["macro", "conv"])
def test_skip_probabilities_are_those_of_section_3_3(space):
    controller = controller_of(space)
    tokens = sample(space, 3)
    matrix = view.skip_probabilities(controller, tokens)
    assert matrix.shape == (space.layers, space.layers)
    trace = controller.trace(torch.tensor([tokens]))
    for decision, p in zip(space.decisions, trace, strict=True):
        if decision.kind == "skip":
            assert matrix[decision.row].item() == p[0, 1].item()
    assert int(matrix.isfinite().sum()) == space.layers * (space.layers - 1) // 2
    assert matrix.triu().isnan().sum() == space.layers * (space.layers + 1) // 2
    hand = by_hand(controller, tokens)
    assert len(hand) == space.layers * (space.layers - 1) // 2
    for (i, j), p in hand.items():
        assert matrix[i, j].item() == pytest.approx(p, abs=1e-6)


@pytest.fixture
def anchors():
    return view.anchor_map(controller_of(MACRO), sample(MACRO, 1), 0.5)


MACRO = spaces.MacroSpace(layers=5)


def test_threshold_moves_text_heat_map_and_network_together(anchors):
    counts = []
    for threshold in (0.0, 0.25, 0.5, 0.75, 1.0):
        anchors.slider.value = threshold
        assert anchors.threshold == anchors.field.value == threshold
        chosen = int((anchors.matrix >= threshold).sum())
        assert f"{chosen} of 10 have a probability of at least {threshold:.2f}" in anchors.text
        assert anchors.drawing.count('fill="none" stroke="#D55E00" stroke-width="3"') == chosen  # the frames
        skips = [d.row for d, t in zip(MACRO.decisions, anchors.tokens, strict=True) if d.kind == "skip" and t]
        assert skips == [(i, j) for i in range(5) for j in range(i) if anchors.matrix[i, j] >= threshold]
        assert view.architecture(MACRO, anchors.tokens).alt in anchors.drawing
        counts.append(chosen)
    assert counts == sorted(counts, reverse=True) and counts[0] == 10 and 0 < counts[2] < 10
    anchors.threshold = 0.5
    pictured = view.anchor_picture(controller_of(MACRO), sample(MACRO, 1), 0.5)
    assert pictured.alt.split(" Network")[0] in anchors.drawing
    ops = [
        [t for d, t in zip(MACRO.decisions, s, strict=True) if d.kind == "op"]
        for s in (anchors.tokens, sample(MACRO, 1))
    ]
    assert ops[0] == ops[1]


def test_anchor_map_writes_every_probability_and_no_other(anchors):
    numbers = re.findall(r">(\.\d\d|1\.0)</text>", anchors.drawing)
    assert numbers == [f"{anchors.matrix[i, j]:.2f}"[1:] for i in range(5) for j in range(i)]
    assert anchors._repr_mimebundle_()[0]["text/plain"] == "anchor map: 5 layers, 10 skip bits"


def test_anchor_map_of_a_deep_network():
    space = spaces.MacroSpace(layers=24)
    controller, tokens = controller_of(space), sample(space, 1)
    pictured = view.anchor_picture(controller, tokens)
    assert float(ET.fromstring(pictured.svg).get("width").removesuffix("px")) < 1500
    assert f"; 23: {view.skip_probabilities(controller, tokens)[23, 0]:.2f} " in pictured.alt


def test_anchor_map_refuses_what_has_no_skips_and_what_is_no_probability():
    for space in (spaces.nas_bench_201(), spaces.ConvSpace(3, skips=False), spaces.MacroSpace(1)):
        for make in (view.anchor_map, view.anchor_picture, view.skip_probabilities):
            with pytest.raises(ValueError, match="expected a ConvSpace or MacroSpace with skip bits"):
                make(controller_of(space), sample(space, 0))
    controller = controller_of(MACRO)
    for bad in (-0.1, 1.1, math.nan, "half"):
        for make in (view.anchor_map, view.anchor_picture):
            with pytest.raises(ValueError, match="threshold: got"):
                make(controller, sample(MACRO, 0), bad)
    with pytest.raises(ValueError, match="the space has 15 decisions"):
        view.anchor_map(controller, [0])


# The tree assembler


@pytest.mark.parametrize("base", [1, 2, 8])
def test_every_choice_changes_string_tree_and_formula(base):
    space = spaces.TreeSpace(base)
    tree = view.tree_assembler(space, [0] * len(space.decisions))
    assert list(tree.choices) == [d.name for d in space.decisions]
    for position, decision in enumerate(space.decisions):
        if len(decision.options) == 1:
            continue
        before = tree.text, tree.drawing
        tree.choices[decision.name].value = 1
        assert tree.tokens[position] == 1
        assert f"{decision.name}={decision.options[1]}" in tree.text and tree.text != before[0]
        assert tree.drawing != before[1]
        assert tree.formula == genotypes.write_tree_latex(space, tree.tokens)
        assert tree.formula in tree._formula.value and tree._formula.value.startswith("$$")
        assert view.architecture(space, tree.tokens).alt in tree.drawing
    assert tree._repr_mimebundle_()[0]["text/plain"].startswith(f"tree assembler: base {base}, ")


def test_figure_5_is_one_press_away():
    tree = view.tree_assembler(spaces.TreeSpace(2), [0] * 10)
    tree.preset.click()
    assert tree.tokens == genotypes.FIGURE_5[1]
    for words in (
        "node 0 = tanh(add(x_t, h_(t-1)))",
        "node 1 = relu(elem_mult(x_t, h_(t-1)))",
        "node 2 = sigmoid(elem_mult(0, 1))",
        "c_(t-1) injected into node 0 = relu(add(0, c_(t-1)))",
        "c_t = node 1 before its activation",
    ):
        assert words in tree.drawing
    reordered = spaces.TreeSpace(2, ("max", "elem_mult", "add"), ("sin", "relu", "tanh", "sigmoid"))
    other = view.tree_assembler(reordered, [0] * 10)
    other.preset.click()
    assert other.drawing == tree.drawing and other.formula == tree.formula
    for space in (spaces.TreeSpace(3), spaces.TreeSpace(2, activation=("relu", "tanh"))):
        assert view.tree_assembler(space, [0] * len(space.decisions)).preset.disabled


def test_tree_assembler_can_be_set_from_python_and_refuses_what_is_no_string(monkeypatch):
    tree = view.tree_assembler(spaces.TreeSpace(2), [0] * 10)
    drawn = []
    monkeypatch.setattr(view.assembler, "architecture", lambda *a: drawn.append(a) or view.architecture(*a))
    tree.tokens = (1, 2, 0, 3, 1, 1, 0, 1, 2, 1)
    assert len(drawn) == 1 and "1 2 0 3 1 1 0 1 2 1" in tree.text
    assert tuple(c.value for c in tree.choices.values()) == tree.tokens
    with pytest.raises(ValueError, match=r"cell_index\.0: token 3 is outside"):
        tree.tokens = (1, 2, 0, 3, 1, 1, 0, 1, 3, 1)
    assert tree.tokens == (1, 2, 0, 3, 1, 1, 0, 1, 2, 1)
    with pytest.raises(ValueError, match="space: got CellSpace, expected TreeSpace"):
        view.tree_assembler(spaces.nas_bench_201(), [0] * 6)
    with pytest.raises(ValueError, match="the space has 10 decisions"):
        view.tree_assembler(spaces.TreeSpace(2), [0])


# The path explorer

SMALL = spaces.MacroSpace(layers=3, ops=("conv_3x3", "sep_conv_5x5", "max_pool_3x3"))
STRINGS = st.tuples(*(st.integers(0, len(d.options) - 1) for d in SMALL.decisions))


@given(st.lists(STRINGS, max_size=12), STRINGS)
def test_books_equal_a_recount_with_every_step_taken(children, child):
    shared, visitors, alone = {}, {}, {}  # what each step adds to, one set of weights after the other
    for number in children:
        for layer, token in ((0, number[0]), (1, number[1]), (2, number[3])):  # after an op come its layer's bits
            op = SMALL.ops[token]
            if op != "max_pool_3x3":
                shared[layer, op] = shared.get((layer, op), 0) + 1
                visitors.setdefault((layer, op), set()).add(number)
                alone[number, layer, op] = alone.get((number, layer, op), 0) + 1
    counts = sharing.Counts(SMALL, tuple(children))
    assert {(i, SMALL.ops[k]): n for (i, k), n in counts.steps.items()} == shared
    assert {(i, SMALL.ops[k]): n for (i, k), n in counts.sharers.items()} == {s: len(v) for s, v in visitors.items()}
    assert counts.copies == len(alone) and sum(alone.values()) == sum(shared.values())
    own = [(i, SMALL.ops[k]) for i, k in counts.own(child)]
    assert own == [(i, SMALL.ops[child[p]]) for i, p in enumerate((0, 1, 3)) if child[p] != 2]
    assert list(counts.together(child)) == [shared.get(s, 0) for s in own]
    assert all(alone.get((child, *s), 0) == counts.alone(child) for s in own)
    per_child = {}
    for number, layer, op in alone:
        per_child.setdefault(number, []).append(shared[layer, op])
    assert counts.equivalent == pytest.approx(sum(np.mean(n) for n in per_child.values()))
    rows = {name: values for name, *values in sharing.costs(counts, child)}
    assert rows["sets of op weights trained"] == [str(len(alone)), f"{len(shared)} of 6"]
    if own:
        mean = np.mean([shared.get(s, 0) for s in own])
        a, b = rows["mean steps of this child's sets"]
        assert a == str(children.count(child)) and b.startswith(f"{mean:,.1f}, from ")
    else:
        assert rows["mean steps of this child's sets"] == ["no weights"] * 2


def test_only_ops_with_parameters_have_weights():
    assert {op for op in spaces.MacroSpace().ops if not sharing.has_weights(op)} == {"avg_pool_3x3", "max_pool_3x3"}
    assert not sharing.has_weights("skip_connect") and sharing.has_weights("an op of one's own")


@pytest.fixture
def paths():
    return view.path_explorer(SMALL, seed=4)


def plain(explorer):
    return explorer.drawing.replace('style="max-width:100%;height:auto" ', "")


def test_path_explorer_obeys_its_buttons(paths):
    generator = torch.Generator().manual_seed(4)
    first = SMALL.sample(generator)
    begun = paths.tokens, paths.text, paths.drawing
    assert paths.tokens == first and plain(paths) == view.path_picture(SMALL, [], first).svg
    paths.train.click()
    paths.train.click()
    assert "<code>2 (1)</code>" in paths.text and "(a) 2; (b) 2.0, from 2 to 2" in paths.text
    paths.sample.click()
    second = SMALL.sample(generator)
    assert paths.tokens == second and paths.counts.children == (first, first)
    assert "<code>2 (1)</code>" in paths.text and "(a) 0; (b) " in paths.text
    paths.many.click()
    children = (first, first, *(SMALL.sample(generator) for _ in range(10)))
    assert paths.counts.children == children and paths.tokens == children[-1]
    assert f"<code>12 ({len(set(children))})</code>" in paths.text
    assert plain(paths) == view.path_picture(SMALL, children).svg
    paths.reset.click()
    assert (paths.tokens, paths.text, paths.drawing) == begun and paths.counts.children == ()
    paths.sample.click()
    assert paths.tokens == second


def test_path_explorer_obeys_its_controls_and_draws_once(paths, monkeypatch):
    assert list(paths.choices) == [d.name for d in SMALL.decisions]
    paths.tokens = (0, 0, 0, 0, 0, 0)
    before = paths.drawing
    paths.choices["1.op"].value = 2
    paths.choices["2.skip.0"].value = True
    assert paths.tokens == (0, 2, 0, 0, 1, 0) and paths.drawing != before
    assert (
        "<code>0 2 0 0 1 0</code>" in paths.text and "conv_3x3, max_pool_3x3, conv_3x3; skips: 0 to 2" in paths.drawing
    )
    labels = [paths.choices[name].description for name in ("0.op", "1.skip.0", "2.skip.1")]
    assert labels == ["0.op", "0→1", "1→2"]
    assert [label.value for label in paths._labels] == ["conv_3x3", "max_pool_3x3", "conv_3x3"]
    drawn, drawing = [], view.path_picture(SMALL, [])
    monkeypatch.setattr(view.paths, "supergraph", lambda *a: drawn.append(a) or drawing)
    for n, button in enumerate((paths.train, paths.sample, paths.many, paths.reset), start=1):
        button.click()
        assert len(drawn) == n
    with pytest.raises(ValueError, match=r"0\.op: token 9 is outside"):
        paths.tokens = (9, 0, 0, 0, 0, 0)
    assert paths._repr_mimebundle_()[0]["text/plain"] == "path explorer: 3 layers of 3 ops, 216 children"


def test_path_picture_shows_the_numbers_and_says_them():
    a, b, c = (0, 1, 1, 0, 0, 0), (0, 0, 0, 0, 0, 1), (1, 2, 0, 0, 0, 0)
    pictured = view.path_picture(SMALL, [a, a, b, c], a)
    assert "layer 0 conv_3x3 3 / 2, sep_conv_5x5 1 / 1; layer 1 conv_3x3 1 / 1, sep_conv_5x5 2 / 1; " in pictured.alt
    assert pictured.alt.endswith("layer 2 conv_3x3 4 / 3.")
    assert (
        "steps spent (different children): (a) 4 (3), (b) 4 (3); sets of op weights trained: (a) 8, (b) 5 of 6; "
        in (pictured.alt)
    )
    assert "mean steps of a set: (a) 1.4, (b) 2.2; mean steps of this child's sets: (a) 2, (b) 3.0, from 2 to 4; " in (
        pictured.alt
    )
    needed = (3 + 2 + 4) / 3 + (3 + 1 + 4) / 3 + (1 + 4) / 2  # 8.17
    assert f"steps to give each child as many as (b) does: (a) {needed:.0f}, (b) 4." in pictured.alt
    boxed = [word for word in texts(pictured) if " / " in word and ":" not in word]
    assert boxed.count("2 / 1") == 3 + 1 and sorted(boxed) == sorted(
        ["2 / 1"] * 4 + ["3 / 2", "4 / 3", "0 / 0"] + ["1 / 1"] * 2
    )
    assert len(edges(pictured)) == 2 * (4 + 1) and sum(bool(dash) for _, dash in edges(pictured)) == 2
    thick = [r for r in ET.fromstring(pictured.svg).iter(f"{SVG}rect") if r.get("stroke-width") == "3.5"]
    assert len(thick) == 2 * 3 and {r.get("stroke") for r in thick} == {picture.VERMILLION}


def test_path_picture_of_the_last_child_of_none_and_of_another():
    strings = [sample(SMALL, k) for k in range(4)]
    assert view.path_picture(SMALL, strings) == view.path_picture(SMALL, iter(strings), strings[-1])
    assert view.path_picture(SMALL, strings) != view.path_picture(SMALL, strings, strings[0])
    nothing = view.path_picture(SMALL, [])
    assert nothing.alt.startswith("No path is chosen.") and not edges(nothing) and "no child yet" in nothing.alt
    pools = view.path_picture(SMALL, [(2, 2, 0, 2, 0, 0)])
    assert "this child's sets: (a) no weights, (b) no weights" in pools.alt and "as (b) does: (a) 0, (b) 1" in pools.alt
    alone = view.path_explorer(spaces.MacroSpace(1, ("conv_3x3",)))
    alone.train.click()
    assert alone.choices == {} and alone.tokens == (0,) and "conv_3x3 1 / 1" in alone.drawing


def test_path_explorer_refuses_what_it_cannot_draw():
    for make in (view.path_explorer, lambda space: view.path_picture(space, [])):
        with pytest.raises(ValueError, match="space: got CellSpace, expected MacroSpace"):
            make(spaces.enas_micro())
    for children, current in (([(0,)], None), ([], (0,))):
        with pytest.raises(ValueError, match="the space has 6 decisions"):
            view.path_picture(SMALL, children, current)


def test_path_picture_of_a_deep_network_stays_inside():
    space = spaces.MacroSpace(layers=24)
    every = tuple(int(d.kind == "skip") for d in space.decisions)
    root = ET.fromstring(view.path_picture(space, [every] * 3).svg)
    panels = [e for e in root.iter(f"{SVG}svg") if e is not root]
    for panel in panels:
        width = float(panel.get("width").removesuffix("px"))
        curves = [p.get("d") for p in panel.iter(f"{SVG}path") if "C" in (p.get("d") or "")]
        assert len(curves) == 276 and width < 600
        for x, _, bend, *_ in ([float(n) for n in re.findall(r"[\d.]+", d)] for d in curves):
            assert x + 0.75 * (bend - x) < width


# The mixed-op blender


def of_an_edge(names=spaces.DARTS_OPS, channels=3):
    with runs.seeded(2):
        return MixedOp(names, channels, 1, affine=False, pool_norm=True), torch.randn(4, channels, 10, 12)


OPINION = (1.0, -2.0, 0.5, 0.0, 3.0, -0.3, 0.0, 2.0)


def blended(edge, x, alpha, temperature):
    """Weights, mixture and outputs, by numpy, from the ops themselves."""
    w = np.exp(np.array(alpha) / temperature)
    w /= w.sum()
    outputs = np.stack([op(x).detach().double().numpy() for op in edge.ops.values()])
    return w, sum(a * o for a, o in zip(w, outputs, strict=True)), outputs


@pytest.mark.parametrize(("alpha", "temperature"), [((0.0,) * 8, 1.0), (OPINION, 1.0), (OPINION, 0.2), (OPINION, 10.0)])
def test_blender_says_what_the_mixture_is_and_what_rounding_loses(alpha, temperature):
    edge, x = of_an_edge()
    w, mixture, outputs = blended(edge, x, alpha, temperature)
    kept = 1 + int(w[1:].argmax())  # "none" is the first
    lost = np.linalg.norm(mixture - outputs[kept]) / np.linalg.norm(mixture)
    cosine = (mixture * outputs[kept]).sum() / np.linalg.norm(mixture) / np.linalg.norm(outputs[kept])
    widget = view.mixed_op_blender(edge, x, alpha, temperature=temperature)
    found = widget.blend
    np.testing.assert_allclose(found.weights, w, rtol=1e-12)
    np.testing.assert_allclose(found.mixture, mixture, atol=1e-6)
    assert found.kept == kept and widget.alpha == alpha
    assert found.lost == pytest.approx(lost, rel=1e-5)
    assert found.lost_in_shape == pytest.approx(math.sqrt(1 - cosine**2), rel=1e-4)
    assert found.effective == pytest.approx(math.exp(-(w * np.log(w)).sum()))
    pictured = view.blend_picture(edge, x, alpha, temperature=temperature)
    assert plain(widget) == pictured.svg
    chosen = f"{edge.names[kept]}, weight {w[kept]:.1%}"
    for words in (chosen, f"{lost:.0%} of the mixture", f"{found.effective:.1f} ops"):
        assert words in pictured.alt and words in widget.text
    assert all(f"{name} {a:.1%}" in pictured.alt for name, a in zip(edge.names, w, strict=True))


def test_blender_obeys_its_controls_and_draws_once(monkeypatch):
    edge, x = of_an_edge()
    widget = view.mixed_op_blender(edge, x)
    assert list(widget.sliders) == list(spaces.DARTS_OPS)
    seen = [(widget.text, widget.drawing)]
    for name, value in (("sep_conv_3x3", 2.5), ("none", 4.0), ("dil_conv_5x5", -4.0)):
        widget.sliders[name].value = value
        seen.append((widget.text, widget.drawing))
    widget.temperature.value = 0.5
    seen.append((widget.text, widget.drawing))
    assert all(len(set(column)) == len(seen) for column in zip(*seen, strict=True))
    text, drawing = widget.text, widget.drawing
    widget.channel.value = 2  # another map, the same numbers
    assert widget.text == text and widget.drawing != drawing and "channel 2" in widget.drawing
    drawn, draw = [], blender._draw
    monkeypatch.setattr(blender, "_draw", lambda *a: drawn.append(a) or draw(*a))
    widget.zero.click()
    assert widget.alpha == (0.0,) * 8 and len(drawn) == 1
    widget.alpha = OPINION
    assert widget.alpha == OPINION and len(drawn) == 2
    with pytest.raises(ValueError, match="alpha: got"):
        widget.alpha = (5.0,) * 8
    assert widget.alpha == OPINION and len(drawn) == 2
    assert widget._repr_mimebundle_()[0]["text/plain"] == "mixed-op blender: 8 ops on (4, 3, 10, 12)"


def test_raising_none_shrinks_the_mixture_and_leaves_its_shape():
    edge, x = of_an_edge()
    less, more = (view.mixed_op_blender(edge, x, (none, *OPINION[1:])).blend for none in (-4.0, 4.0))
    assert less.kept == more.kept and more.lost > 2 * less.lost
    assert more.lost_in_shape == pytest.approx(less.lost_in_shape, rel=1e-9)
    size = [blend.mixture.norm() for blend in (less, more)]
    assert size[1] < size[0] / 2 and torch.allclose(less.mixture / size[0], more.mixture / size[1])


def test_blend_picture_draws_the_maps_and_the_weights():
    edge, x = of_an_edge()
    w, mixture, outputs = blended(edge, x, OPINION, 1.0)
    root = ET.fromstring(view.blend_picture(edge, x, OPINION, channel=1).svg)
    pngs = [base64.b64decode(image.get("href").split(",")[1]) for image in root.iter(f"{SVG}image")]
    maps = [imread(io.BytesIO(png))[..., :3] for png in pngs]
    assert [m.shape for m in maps] == [(10, 12, 3)] * (8 + 4)
    limit = np.quantile(np.abs(outputs[:, 0, 1]), 0.995)
    kept = outputs[4]
    for found, values in zip(maps, (*outputs, x.numpy(), mixture, kept, mixture - kept), strict=True):
        expected = matplotlib.colormaps["PuOr_r"](np.clip(values[0, 1] / limit, -1, 1) / 2 + 0.5)[..., :3]
        np.testing.assert_allclose(found, expected, atol=0.02)
    fills = {picture.BLUE, picture.SKY}
    bars = [float(r.get("height")) for r in root.iter(f"{SVG}rect") if r.get("fill") in fills]
    np.testing.assert_allclose(np.array(bars) / sum(bars), w, atol=1e-4)
    framed = [r for r in root.iter(f"{SVG}rect") if r.get("stroke") == picture.VERMILLION]
    assert len(framed) == 2 and "kept: sep_conv_3x3" in "".join(root.itertext())


@pytest.mark.parametrize("names", [("skip_connect",), ("none", "max_pool_3x3"), ("nor_conv_1x1", *spaces.DARTS_OPS)])
def test_blend_picture_stays_inside_whatever_the_ops(names):
    edge, x = of_an_edge(names)
    pictured = view.blend_picture(edge, 0 * x if len(names) == 1 else x, temperature=0.1)
    assert "nan" not in pictured.svg and "inf" not in pictured.svg
    root = ET.fromstring(pictured.svg)
    width, height = (float(root.get(side).removesuffix("px")) for side in ("width", "height"))
    for piece in (*root.iter(f"{SVG}rect"), *root.iter(f"{SVG}image")):
        x, y, w, h = (float(piece.get(name)) for name in ("x", "y", "width", "height"))
        assert x >= 0 and y >= 0 and x + w <= width and y + h <= height


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"edge": torch.nn.ReLU()}, "edge: got ReLU, expected a MixedOp"),
        ({"edge": MixedOp(("none",), 3, 1, False)}, "expected a MixedOp with an op other than 'none'"),
        ({"x": torch.zeros(3, 10, 12)}, "x: got (3, 10, 12), expected maps (B, C, H, W)"),
        ({"alpha": [0.0] * 7}, "expected 8 numbers from -4 to 4"),
        ({"alpha": [math.nan] * 8}, "expected 8 numbers from -4 to 4"),
        ({"temperature": 0.0}, "temperature: got 0.0, expected a number from 0.1 to 10"),
        ({"channel": 3}, "channel: got 3, x has 3"),
        ({"channel": -1}, "channel: got -1"),
    ],
)
def test_blender_refuses_what_it_cannot_mix(changed, message):
    edge, x = of_an_edge()
    for make in (view.mixed_op_blender, view.blend_picture):
        with pytest.raises(ValueError, match=re.escape(message)):
            make(**{"edge": edge, "x": x} | changed)


# The toy landscape


def algorithm_1(start, xi, alpha_lr, w_lr, rounds):
    """By the gradient that a search uses, with its finite difference; (rounds + 1, 2)."""
    (a, w), points = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in start), [start]

    def loss(alpha, split):
        a = alpha["a"]
        return a * w - 2 * a + 1 if split == "valid" else (w - a) ** 2

    for _ in range(rounds):
        g = darts.alpha_gradient(loss, [w], {"a": a}, "train", "valid", xi)["a"]
        with torch.no_grad():
            a -= alpha_lr * g
            w -= w_lr * 2 * (w - a)
        points.append((a.item(), w.item()))
    return np.array(points)


SETTINGS = st.tuples(
    st.tuples(st.floats(-3, 3).filter(lambda a: abs(a) > 0.1), st.floats(-3, 3)),
    st.floats(0, 2),
    st.floats(0.05, 0.4),
    st.floats(0.05, 0.4),
)


@given(SETTINGS)
def test_landscapes_trajectory_is_algorithm_1_and_rests_where_the_formula_says(setting):
    found, expected = landscape.trajectory(*setting, 6), algorithm_1(*setting, 6)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    M, m = landscape.affine(*setting[1:])
    rest = np.linalg.solve(np.eye(2) - M, m)
    np.testing.assert_allclose(rest, 2 / (1 + 2 * setting[1]), rtol=1e-9)
    if np.abs(np.linalg.eigvals(M)).max() < 0.97:
        np.testing.assert_allclose(landscape.trajectory(*setting, 1000)[-1], rest, atol=1e-6)


def test_landscape_text_and_drawing_follow_every_slider():
    widget = view.toy_landscape()
    assert [s.description for s in widget.sliders.values()] == [
        "xi",
        "start: alpha",
        "start: w",
        "step of alpha",
        "step of w",
    ]
    assert "alpha = 1, w = 1, " in widget.text and "it converges" in widget.text
    for name, value in (("xi", 0.0), ("alpha", -1.5), ("w", 3.0), ("alpha_lr", 0.05), ("w_lr", 0.25)):
        before = widget.text, widget.drawing
        widget.sliders[name].value = value
        assert widget.drawing != before[1], name
        assert (widget.text == before[0]) == (name in {"alpha", "w"}), name  # the end depends on neither
    shown = view.landscape_picture(xi=0.0, start=(-1.5, 3.0), alpha_lr=0.05, w_lr=0.25)
    assert plain(widget) == shown.svg
    assert "alpha = w = 2 / (1 + 2 xi) = 2: validation loss 1; optimum 1: 0" in widget.text
    assert widget._repr_mimebundle_()[0]["text/plain"] == "toy landscape: 100 rounds of algorithm 1"


def test_landscape_marks_are_where_they_belong_and_differ_in_shape():
    pictured = view.landscape_picture(xi=0.5, start=(2.0, -2.0))
    assert {"start", "end", "optimum", "w = w*(alpha)"} <= set(texts(pictured))
    assert pictured.alt.startswith("From alpha = 2, w = -2, xi = 0.5; after 100 rounds: alpha = 1, w = 1, ")
    frame = next(e for e in ET.fromstring(pictured.svg).iter(f"{SVG}svg") if e.get("viewBox") == "0 0 350 350")
    path = [e for e in frame.iter(f"{SVG}polyline") if e.get("stroke") == picture.BLUE]
    (route,) = ([tuple(map(float, p.split(","))) for p in e.get("points").split()] for e in path)
    assert route[0] == (275, 275) and route[-1] == (225, 125) and len(route) == 101  # 50 pixels a unit, y downwards
    start, end = (e.get("points") for e in frame.iter(f"{SVG}polygon"))
    assert len(start.split()) == 4 and len(end.split()) == 3
    (ring,) = [e for e in frame.iter(f"{SVG}circle") if e.get("r") == "7.5"]
    assert (ring.get("cx"), ring.get("cy")) == ("225", "125")
    (feasible,) = [e for e in frame.iter(f"{SVG}polyline") if e.get("stroke-dasharray")]
    assert feasible.get("points") == "0,350 350,0"


def test_contours_have_one_loss_along_each_line_and_say_it():
    def loss_at(x, y):
        alpha, w = np.array(x) / 50 - 3.5, 3.5 - np.array(y) / 50
        return alpha * w - 2 * alpha + 1

    drawing = landscape._contours()
    lines = re.findall(r'<polyline points="([^"]+)"/>', drawing)
    losses = [loss_at(*zip(*(map(float, p.split(",")) for p in line.split()), strict=True)) for line in lines]
    assert {round(loss.mean()) for loss in losses} == set(range(-13, 16, 2))
    assert max(np.ptp(loss) for loss in losses) < 0.05
    labels = re.findall(r'<text x="([\d.]+)" y="([\d.]+)"[^>]*>(-?\d+)<', drawing)
    assert len(labels) == 15
    for x, y, label in labels:
        assert loss_at(float(x), float(y) - 0.35 * 11) == pytest.approx(int(label), abs=0.05)


@pytest.mark.parametrize(
    ("setting", "verdict"),
    [
        ({"w_lr": 1.2, "alpha_lr": 1.2}, "it diverges; followed until round 6 only"),
        ({"w_lr": 1.0, "alpha_lr": 1.0}, "multiplied by 1.000 in each round: it neither nears nor flees"),
        ({"xi": 2.0, "start": (-3.0, 3.0)}, "alpha = 0.4, w = 0.4, validation loss 0.36"),
        ({"start": (0.0, 0.0)}, "it converges"),
        ({"w_lr": 1.45, "alpha_lr": 1e-3}, "it diverges"),
    ],
)
def test_landscape_says_when_there_is_no_end(setting, verdict):
    pictured = view.landscape_picture(**setting)
    assert verdict in pictured.alt and "nan" not in pictured.svg and "inf" not in pictured.svg


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"xi": -0.1}, "xi: got -0.1"),
        ({"start": (4.0, 0.0)}, "start: got (4.0, 0.0), expected (alpha, w), each from -3.5 to 3.5"),
        ({"start": (1.0,)}, "start: got (1.0,)"),
        ({"alpha_lr": 0.0}, "alpha_lr: got 0.0"),
        ({"w_lr": math.nan}, "w_lr: got nan"),
        ({"rounds": 0}, "rounds: got 0"),
    ],
)
def test_landscape_refuses_settings_outside_their_range(changed, message):
    for make in (view.toy_landscape, view.landscape_picture):
        with pytest.raises(ValueError, match=re.escape(message)):
            make(**changed)


# The search scrubber


def recorded(space, count=12, seed=0):
    """A search that wanders: frames at steps 0, 3, 6, ..."""
    generator = torch.Generator().manual_seed(seed)
    alpha = {table: torch.zeros(shape) for table, shape in space.tables.items()}
    frames = []
    for k in range(count):
        frames.append(view.Frame(3 * k, {t: a.softmax(-1) for t, a in alpha.items()}, 2.3 * 0.9**k))
        for a in alpha.values():
            a += torch.randn(a.shape, generator=generator)
    return frames


@pytest.mark.parametrize("space", [spaces.darts_conv(2), spaces.darts_rnn(4), spaces.nas_bench_201()], ids=str)
def test_scrubber_shows_weights_cell_and_loss_of_every_frame(space):
    frames = recorded(space)
    scrubber = view.search_scrubber(space, iter(frames), "loss here")
    for k, frame in enumerate(frames):
        scrubber.frame = k
        assert scrubber.slider.label == str(frame.step) and scrubber.frame == k
        assert f"<code>{frame.step} (frame {k + 1} of 12)</code>" in scrubber.text
        assert f"<b>loss here:</b> <code>{frame.value:.3f}</code>" in scrubber.text
        kept = space.discretise(frame.weights)
        assert scrubber.cell == view.canvas.inline(view.architecture(space, kept))
        shown = ET.fromstring(scrubber.tables)
        numbers = [e.text for e in shown.iter(f"{SVG}text") if re.fullmatch(r"[01]\.\d\d", e.text or "")]
        expected = [f"{w:.2f}" for table in frame.weights.values() for w in table.flatten().tolist()]
        assert numbers == expected
        framed = [r for r in shown.iter(f"{SVG}rect") if r.get("stroke") == picture.VERMILLION]
        assert len(framed) == sum(len(node) for nodes in space.pairs(kept).values() for node in nodes)
        pictured = view.search_picture(space, frames, k, "loss here")
        assert (
            pictured.alt.endswith(view.architecture(space, kept).alt) and f"is {frame.value:.3f} here" in pictured.alt
        )
        (cursor,) = [e for e in shown.iter(f"{SVG}circle") if e.get("r") == "5"]
        curve, legend = [
            e.get("points").split() for e in shown.iter(f"{SVG}polyline") if e.get("stroke") == picture.BLUE
        ]
        assert len(curve) == len(frames) and len(legend) == 2
        assert curve[k] == f"{cursor.get('cx')},{cursor.get('cy')}"


def test_scrubber_frames_stand_on_what_rounding_keeps():
    space, tokens = spaces.darts_conv(2), (0, 3, 1, 2, 1, 2, 2, 3) * 2
    weights = {t: (0.1 + w) / (0.1 + w).sum(-1, keepdim=True) for t, w in space.one_hot(tokens).items()}
    shown = ET.fromstring(view.search_picture(space, [view.Frame(7, weights, 1.0)]).svg)
    boxes = [r for r in shown.iter(f"{SVG}rect") if r.get("width") == "58" and r.get("fill") != "none"]
    assert len(boxes) == 2 * 5 * 8
    places = {(r.get("x"), r.get("y")) for r in shown.iter(f"{SVG}rect") if r.get("fill") == "none"}
    expected = {k for k, w in enumerate(torch.cat([*space.one_hot(tokens).values()]).flatten()) if w}
    assert {k for k, r in enumerate(boxes) if (r.get("x"), r.get("y")) in places} == expected


def test_scrubber_draws_each_cell_once(monkeypatch):
    space, drawn = spaces.darts_conv(2), []
    frames = recorded(space, 4)
    frames += [view.Frame(100 + k, frames[-1].weights, 0.5) for k in range(20)]
    monkeypatch.setattr(view.scrubber, "architecture", lambda *a: drawn.append(a[1]) or view.architecture(*a))
    scrubber = view.search_scrubber(space, frames)
    for k in [*range(24), *reversed(range(24))]:
        scrubber.slider.value = k
    assert len(drawn) == len(set(drawn)) == len({space.discretise(f.weights) for f in frames})
    for frame in (-1, -2, 3):
        scrubber.frame = frame
        assert "this cell since:</b> <code>step 9; cells so far: 4" in scrubber.text
    scrubber.frame = -1
    assert scrubber._repr_mimebundle_()[0]["text/plain"] == "search scrubber: 24 frames, steps 0 to 119"


def test_a_recording_is_what_it_was_when_it_was_made():
    space = spaces.darts_rnn(2)
    frames = [view.Frame(f.step, {t: w.double() for t, w in f.weights.items()}, f.value) for f in recorded(space, 2)]
    scrubber = view.search_scrubber(space, frames)
    before = scrubber.tables
    with torch.no_grad():
        frames[0].weights["recurrent"].zero_()
    scrubber.frame = 1
    assert scrubber.tables != before
    scrubber.frame = 0
    assert scrubber.tables == before
    alone = view.search_picture(space, frames[1:], 0)  # one frame, of a constant
    assert "nan" not in alone.svg and view.search_picture(space, frames[1:]) == alone


def test_scrubber_refuses_what_is_no_recording():
    space = spaces.darts_rnn(2)
    first, second = recorded(space, 2)
    raw = {"recurrent": torch.zeros(space.tables["recurrent"])}
    for frames, message in (
        ([], "frames: got none"),
        ([second, first], "frames: got step 0 after 3, expected rising steps"),
        (
            [first, view.Frame(3, raw, 1.0)],
            "step 3 has rows of recurrent that do not add up to 1, expected mixing weigh",
        ),
        ([view.Frame(3, {}, 1.0)], "weights: got []"),
        ([view.Frame(3, first.weights, math.nan)], "step 3 has the value nan"),
    ):
        for make in (view.search_scrubber, view.search_picture):
            with pytest.raises(ValueError, match=re.escape(message)):
                make(space, frames)
    with pytest.raises(ValueError, match="space: got MacroSpace, expected CellSpace"):
        view.search_scrubber(spaces.MacroSpace(2), [first])
    scrubber = view.search_scrubber(space, [first, second])
    for bad in (2, -3, "1", 0.5):
        with pytest.raises(ValueError, match=r"frame: got .*, expected -2 to 1"):
            scrubber.frame = bad
    assert scrubber.frame == 0


# The still picture in every widget's display bundle

VIEW = "application/vnd.jupyter.widget-view+json"


def all_widgets():
    """Each widget in a state that it did not start in, with the still picture of that state."""
    macro, tree = spaces.MacroSpace(layers=3), spaces.TreeSpace(base=2)
    controller, edge = controller_of(macro), MixedOp(spaces.DARTS_OPS, 2, 1, affine=False, pool_norm=True)
    one, other = sample(macro, 0), sample(macro, 1)
    widget = view.string_explorer(macro, one, len)
    widget.tokens = other
    yield widget, view.architecture(macro, other)
    widget = view.tree_assembler(tree, sample(tree, 0))
    widget.tokens = sample(tree, 1)
    yield widget, view.architecture(tree, sample(tree, 1))
    widget = view.controller_stepper(controller, one)
    widget.decision = 3
    yield widget, view.step_picture(controller, one, 3)
    widget = view.anchor_map(controller, one)
    widget.threshold = 0.2
    yield widget, view.anchor_picture(controller, one, 0.2)
    widget = view.path_explorer(macro)
    widget.tokens = one
    widget.train.click()
    yield widget, view.path_picture(macro, [one])
    widget = view.policy_sandbox(repeats=20, updates=12)
    widget.m.value = 2
    yield widget, view.policy_picture(repeats=20, updates=12, m=2)
    x = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    widget = view.mixed_op_blender(edge, x)
    widget.channel.value = 1
    yield widget, view.blend_picture(edge, x, channel=1)
    widget = view.toy_landscape(rounds=20)
    widget.sliders["xi"].value = 0.0
    yield widget, view.landscape_picture(rounds=20, xi=0.0)
    frames = recorded(spaces.darts_conv(2), count=3)
    widget = view.search_scrubber(spaces.darts_conv(2), frames)
    widget.frame = 1
    yield widget, view.search_picture(spaces.darts_conv(2), frames, 1)


def test_every_widget_has_the_still_picture_of_its_state_in_its_bundle():
    kinds = set()
    for widget, still in all_widgets():
        data, metadata = widget._repr_mimebundle_()
        assert widget.picture == still
        assert data == still._repr_mimebundle_()[0] | {"text/plain": repr(widget), VIEW: data[VIEW]}
        assert metadata == {"image/svg+xml": {"alt": still.alt}} and data[VIEW]["model_id"] == widget.model_id
        kinds.add(type(widget))
    assert kinds == {*Pictured.__subclasses__()}


def test_a_widget_without_a_drawing_has_no_picture(explorer):
    names = list(explorer.sliders)
    explorer.sliders[names[0]].value = explorer.sliders[names[2]].value = 0  # both inputs of a node
    assert explorer.picture is None and explorer.drawing == ""
    data, metadata = explorer._repr_mimebundle_()
    assert sorted(data) == [VIEW, "text/plain"] and metadata == {}


def test_a_static_page_shows_the_picture():
    """nbconvert, of a notebook whose widgets' state is not stored, which is how ours are."""
    for widget, still in all_widgets():
        data, metadata = widget._repr_mimebundle_()
        output = nbformat.v4.new_output("display_data", data, metadata=metadata)
        cell = nbformat.v4.new_code_cell("widget", outputs=[output])
        page, _ = nbconvert.HTMLExporter().from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
        assert still.svg in page or base64.b64encode(still.svg.encode()).decode() in page
        assert repr(widget) not in page
