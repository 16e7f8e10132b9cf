"""The controller stepper: each decision with the controller's own probabilities."""

import math

import pytest
import torch
from cases import controller_of
from test_view import SPACES, sample, texts

from naslab import spaces, view

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


def test_sample_goes_back_to_the_first_decision_and_plays():
    stepper = view.controller_stepper(controller_of(spaces.MacroSpace(layers=3)), seed=5)
    assert not stepper.play.playing and (stepper.play.min, stepper.play.max) == (1, 6)
    assert stepper._link.source[0] is stepper.play and stepper._link.target == (stepper.slider, "value")
    stepper.decision = 6
    stepper.sample.click()
    assert stepper.decision == 1 and stepper.play.value == 1 and stepper.play.playing
    assert "1 of 6: 0.op" in stepper.text and f"[{stepper.tokens[0]}] · · · · ·" in stepper.text
    assert stepper.picture == view.step_picture(controller_of(spaces.MacroSpace(layers=3)), stepper.tokens, 1)


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
