import copy
import gc
import math
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fake_device import fake_gpu
from torch import nn
from torch._subclasses import fake_tensor
from torch.distributions import Bernoulli, Categorical, kl_divergence

from naslab import data, spaces
from naslab.controller import Controller, skip_divergence
from naslab.networks import MacroNet, RecurrentNet
from naslab.runs import seeded
from naslab.schedules import Restarts
from naslab.search import enas, evolution
from naslab.search.enas import PTB, Config, derive, policy_step, weight_step
from naslab.steps import Live, checkpoint, jsonl, resume, state_of, tee
from naslab.training import ImageObjective, TextObjective

MACRO, RNN = spaces.MacroSpace(3), spaces.enas_rnn(3)
NOISE = torch.Generator().manual_seed(0)
PICTURES = data.ImageTask(
    "noise",
    tuple("abc"),
    *(
        data.Images(torch.randn(64, 1, 8, 8, generator=NOISE), torch.randint(3, (64,), generator=NOISE))
        for _ in range(3)
    ),
)
LETTERS = data.TextTask("noise", tuple("abcdefg"), *torch.randint(7, (3, 120), generator=NOISE))


def image_loss(model, corner, split, index, hidden=None):
    x, y = data.image_batch(getattr(PICTURES, split), index, 16, seed=5)
    return F.cross_entropy(model(x.to(next(model.parameters())), corner), y), None


def image_reward(model, corner, index):
    x, y = data.image_batch(PICTURES.valid, index, 16, seed=5)
    with torch.no_grad():
        found = model(x.to(next(model.parameters())), corner).argmax(1).tolist()
        return sum(a == b for a, b in zip(found, y.tolist(), strict=True)) / 16


def text_loss(model, corner, split, index, hidden=None):
    x, y = data.text_batch(getattr(LETTERS, split), index, 4, 5, seed=5)
    logits, hidden = model(x, corner, hidden)
    return F.cross_entropy(logits.reshape(-1, 7), y.reshape(-1)), hidden


def text_reward(model, corner, index):
    with torch.no_grad():
        return 80 / math.exp(text_loss(model.eval(), corner, "valid", index)[0].item())


@dataclass(frozen=True)
class Case:
    """A supergraph and its task, as the package has them and as a few lines."""

    space: spaces.Space
    net: Callable
    objective: object
    loss: Callable
    reward: Callable
    batches: int


CASES = {
    "images": Case(
        MACRO, lambda: MacroNet(MACRO, 4, 1, 3), ImageObjective(PICTURES, 16, 5), image_loss, image_reward, 4
    ),
    "text": Case(
        RNN, lambda: RecurrentNet(RNN, 7, 8, dropout=0.3), TextObjective(LETTERS, 4, 5, 5), text_loss, text_reward, 5
    ),
}
SMALL = Config(
    epochs=2,
    weight_steps=3,  # less than a pass: the text goes on after the policy's phase
    policy_steps=2,
    children=2,
    policy_children=2,
    lr=Restarts(0.3, 0.05, 1),
    weight_decay=1e-2,
    clip=0.7,
    policy_lr=0.02,
    baseline_decay=0.7,
)
STEPS = 2 * (3 + 2)


@pytest.fixture(params=CASES)
def name(request):
    return request.param


def make(name, seed=0):
    """A supergraph and a controller."""
    with seeded(seed):
        return CASES[name].net(), Controller(CASES[name].space, 8, 1, init=0.8, temperature=5.0, tanh_constant=2.5)


def generator(seed=3):
    return torch.Generator().manual_seed(seed)


def search(name, learners, after=None, seed=3, objective=None, **settings):
    objective = objective or CASES[name].objective
    return enas.search(
        CASES[name].space, learners[0], objective, learners[1], replace(SMALL, **settings), generator(seed), after
    )


def same(a, b):
    """Two states, to the last bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def told(steps):
    return [(s.index, s.children, s.rewards, s.info, s.failures) for s in steps]


def parameters(model):
    return {n: p.detach().clone() for n, p in model.named_parameters()}


class Spy:
    """An objective that writes down what it is asked."""

    def __init__(self, objective):
        self.objective, self.asked = objective, []

    @property
    def batches(self):
        return self.objective.batches

    def batch(self, split, index):
        self.asked.append((split, index))
        return self.objective.batch(split, index)

    def loss(self, model, weights, batch, state=None):
        self.asked.append(("loss", state is None, model.training))
        return self.objective.loss(model, weights, batch, state)

    def reward(self, model, weights, batch):
        self.asked.append(("reward",))
        return self.objective.reward(model, weights, batch)


def doubled(objective):
    """The same objective with images in float64."""
    splits = {s: getattr(objective.task, s) for s in ("train", "valid", "test")}
    task = replace(objective.task, **{s: data.Images(images.x.double(), images.y) for s, images in splits.items()})
    return replace(objective, task=task)


# Section 2.2


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_search_is_section_2_2(name, m, momentum):
    """Side by side with a literal rewriting, in float64, after every step.

    It shares the random numbers, the controller's strings, the supergraph and torch's optimisers.
    """
    case = CASES[name]
    searched, (model, controller) = ([learner.double() for learner in make(name)] for _ in range(2))
    objective = doubled(case.objective) if name == "images" else case.objective
    steps = search(name, searched, objective=objective, children=m, policy_children=m, momentum=momentum)
    g, average, trained, rewarded = generator(), None, 0, 0
    w = torch.optim.SGD(model.parameters(), lr=0.3, momentum=momentum, nesterov=momentum > 0, weight_decay=1e-2)
    theta = torch.optim.Adam(controller.parameters(), lr=0.02)

    def check(step, phase, tokens, values):
        assert step.info["phase"] == phase and step.children == tuple(map(tuple, tokens.tolist()))
        assert step.rewards == pytest.approx(values, rel=1e-9)
        for mine, other in zip((model, controller), searched, strict=True):
            torch.testing.assert_close(parameters(mine), parameters(other), rtol=1e-9, atol=1e-12)

    for epoch in range(2):
        for place in range(3):  # w, with theta fixed
            step = next(steps)
            tokens, *_ = controller(m, g)
            if trained % case.batches == 0:
                hidden = [None] * m
            losses, grads = [], []
            model.train()
            drawn = int(np.random.SeedSequence((3, step.index)).generate_state(1, np.uint64)[0]) >> 1
            torch.manual_seed(drawn)  # dropout
            for k, child in enumerate(tokens.tolist()):
                loss, hidden[k] = case.loss(model, case.space.one_hot(child), "train", trained, hidden[k])
                hidden[k] = hidden[k] and [(h.detach(), c.detach()) for h, c in hidden[k]]
                losses.append(loss.item())
                grads.append(torch.autograd.grad(loss, [*model.parameters()], allow_unused=True))
            for p, *of_children in zip(model.parameters(), *grads, strict=True):
                used = [grad for grad in of_children if grad is not None]
                p.grad = sum(used) / m if used else None  # equation 1
            nn.utils.clip_grad_norm_(model.parameters(), 0.7)
            lr = 0.05 + 0.25 * (1 + math.cos(math.pi * [place / 3, (epoch + place / 3 - 1) / 2][epoch])) / 2
            assert step.info["lr"] == pytest.approx(lr, rel=1e-12)
            w.param_groups[0]["lr"] = step.info["lr"]
            w.step()
            check(step, 0.0, tokens, [-loss for loss in losses])
            trained += 1

        for _ in range(2):  # theta, with w fixed
            step = next(steps)
            tokens, log_p = controller.draw(m, g)
            log_prob, entropy = controller.summed(tokens, log_p)
            found = [case.reward(model, case.space.one_hot(child), rewarded) for child in tokens.tolist()]
            # the average of rewards that came before these
            advantage = torch.tensor(step.rewards, dtype=torch.float64) - (average or 0.0)
            loss = -(log_prob * advantage + 0.1 * entropy).sum() / m
            loss = loss + 0.8 * skip_divergence(case.space, log_p, 0.4).sum() / m
            theta.zero_grad()
            loss.backward()
            theta.step()
            mean = sum(step.rewards) / m
            average = mean if average is None else 0.7 * average + (1 - 0.7) * mean
            check(step, 1.0, tokens, found)
            assert step.info["baseline"] == pytest.approx(average, rel=1e-12)
            assert step.info["entropy"] == pytest.approx(entropy.mean().item(), rel=1e-9)
            rewarded += 1
    assert next(steps, None) is None


def test_phases_batches_and_hidden_states(name):
    spy = Spy(CASES[name].objective)
    steps = list(search(name, make(name), objective=spy, epochs=3))
    assert [s.info["phase"] for s in steps] == ([0.0] * 3 + [1.0] * 2) * 3
    assert [s.index for s in steps] == list(range(15))
    wanted, trained, rewarded = [], 0, 0
    for _ in range(3):
        for _ in range(3):
            anew = name == "images" or trained % 5 == 0
            wanted += [("train", trained)] + [("loss", anew, True)] * 2  # the same batch for all
            trained += 1
        for _ in range(2):
            wanted += [("valid", rewarded)] + [("reward",)] * 2
            rewarded += 1
    assert spy.asked == wanted


def test_no_number_of_steps_is_a_pass_over_the_training_data(name):
    spy = Spy(CASES[name].objective)
    steps = list(search(name, make(name), objective=spy, weight_steps=0))
    n = CASES[name].batches
    assert [s.info["phase"] for s in steps] == ([0.0] * n + [1.0] * 2) * 2
    assert [index for split, index, *_ in (a for a in spy.asked if a[0] == "train")] == list(range(2 * n))
    anew = [a[1] for a in spy.asked if a[0] == "loss"][::2]
    assert anew == ([True] * 2 * n if name == "images" else ([True] + [False] * (n - 1)) * 2)
    assert list(search(name, make(name), epochs=0)) == []


def test_the_learning_rate_is_that_of_the_epoch_and_its_part(name, monkeypatch):
    rates, real = [], torch.optim.SGD.step
    monkeypatch.setattr(torch.optim.SGD, "step", lambda s: (rates.append(s.param_groups[0]["lr"]), real(s))[1])
    steps = list(search(name, make(name), epochs=3, lr=lambda epoch: 0.01 * (1 + epoch)))
    assert rates == pytest.approx([0.01 * (1 + k / 3) for k in range(9)])
    assert rates == [s.info["lr"] for s in steps if s.info["phase"] == 0]


def test_a_phase_leaves_the_other_s_learner_alone(name):
    learners = make(name)
    before = [parameters(learner) for learner in learners]
    for step in search(name, learners):
        now = [parameters(learner) for learner in learners]
        moved = [not same(a, b) for a, b in zip(before, now, strict=True)]
        assert moved == [step.info["phase"] == 0, step.info["phase"] == 1]
        before = now


def test_what_no_child_uses_is_not_moved_by_momentum_or_decay():
    learners = make("images")
    before, seen = parameters(learners[0]), set()
    for step in search("images", learners, children=1, epochs=4, policy_steps=1, weight_decay=0.1):
        now = parameters(learners[0])
        moved = {n for n, p in now.items() if not torch.equal(p, before[n])}
        if step.info["phase"] == 0:
            (tokens,) = step.children
            chosen, bits = MACRO.one_hot(tokens)["op"].argmax(1).tolist(), {1: tokens[2:3], 2: tokens[4:6]}
            for n in now:
                part, layer, *rest = n.split(".")
                if part == "layers":
                    assert (n in moved) == (rest[1] == MACRO.ops[chosen[int(layer)]]), n
                if part == "projections" and rest[:2] == ["conv", "blocks"] and int(rest[2]) > 0:
                    assert (n in moved) == (bits[int(layer)][int(rest[2]) - 1] == 1), n
                if part == "projections" and rest[0] == "norm":
                    assert (n in moved) == (1 in bits.get(int(layer), ())), n
        else:
            assert not moved
        before, seen = now, seen | moved
    assert len(seen & {n for n in before if n.startswith("layers")}) > 10  # they were moved in their time


def test_the_random_numbers_outside_go_on_as_if_nothing_had_happened(name):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first = told(search(name, make(name)))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(4)
    assert told(search(name, make(name))) == first != told(search(name, make(name), seed=4))


def test_the_papers_settings():
    c = Config()
    assert (c.epochs, c.policy_steps, c.children, c.momentum, c.weight_decay) == (310, 2000, 1, 0.9, 1e-4)
    assert (c.policy_lr, c.entropy_weight, c.skip_target) == (3.5e-4, 0.1, 0.4)
    assert (PTB.epochs, PTB.clip, PTB.weight_decay, PTB.entropy_weight, PTB.momentum) == (150, 0.25, 1e-7, 1e-4, 0)


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        *((n, b) for n in ("epochs", "weight_steps", "policy_steps") for b in (-1, 1.0, None, True)),
        *((n, 0) for n in ("children", "policy_children", "clip", "policy_lr", "skip_target")),
        *((n, -0.1) for n in ("momentum", "weight_decay", "entropy_weight", "skip_weight", "baseline_decay")),
        *((n, 1.0) for n in ("baseline_decay", "skip_target", "momentum")),
        *((n, math.nan) for n in ("clip", "momentum", "entropy_weight", "skip_weight", "skip_target")),
    ],
)
def test_settings_out_of_range_are_refused_by_name(field, bad):
    with pytest.raises(ValueError, match=f"{field}: got {bad}, expected"):
        Config(**{field: bad})


def test_a_learning_rate_is_a_function_of_the_epoch():
    with pytest.raises(ValueError, match=r"lr: got 0\.1, expected a function of the epoch"):
        Config(lr=0.1)


@pytest.mark.parametrize("bad", [math.nan, -0.1, math.inf])
def test_a_learning_rate_that_is_none_is_refused_before_w_moves(name, bad):
    learners = make(name)
    before = parameters(learners[0])
    with pytest.raises(ValueError, match=f"lr: got {bad}, expected a number of at least 0"):
        next(search(name, learners, lr=lambda epoch: bad))
    assert same(before, parameters(learners[0]))


def test_numbers_of_numpy_are_settings_and_can_be_logged(tmp_path):
    config = {
        "epochs": np.int64(1),
        "clip": np.float32(0.7),
        "lr": Restarts(np.float32(0.1), np.float64(0), np.int64(1)),
    }
    for _ in tee(search("text", make("text"), **config), jsonl(tmp_path / "log"), checkpoint(tmp_path / "s.pt")):
        pass
    assert resume(tmp_path / "s.pt").index == 4 and len((tmp_path / "log").read_text().splitlines()) == 5
    with_lambda = search("text", make("text"), lr=lambda epoch: np.float32(0.1))
    assert type(next(with_lambda).info["lr"]) is float


# Going on


@cache
def whole(name):
    """The steps of a search that nothing stops, each with a copy of its state, made while it goes on."""
    return [replace(step, state=state_of(step)) for step in search(name, make(name))]


@pytest.mark.parametrize("way", ["the same objects", "new objects", "a file"])
def test_interrupted_after_every_step_equals_uninterrupted(name, way, tmp_path):
    found, learners, after = [], make(name), None
    for _ in range(STEPS):
        step = next(search(name, learners, after, seed=3 if after is None else 99))
        found.append(step)
        after = step
        if way != "the same objects":
            learners = make(name, seed=99)  # their weights are not the ones to go on from
        if way == "a file":
            checkpoint(tmp_path / "s.pt")(step)
            after = resume(tmp_path / "s.pt")
    assert told(found) == told(whole(name))
    assert same(state_of(after), state_of(whole(name)[-1]))


def test_resumed_after_any_step_the_rest_is_as_if_uninterrupted(name):
    steps = whole(name)
    assert len(steps) == STEPS
    end = copy.deepcopy(state_of(steps[-1]))
    for stop in range(1, STEPS):
        learners = make(name, seed=99)
        rest = list(search(name, learners, steps[stop - 1], seed=99))
        assert told(rest) == told(steps[stop:])
        assert same(state_of(rest[-1]), end)
        assert same(dict(learners[0].state_dict()), end["model"])
        assert same(dict(learners[1].state_dict()), end["controller"])


def test_the_state_has_all_that_learns(name):
    state = state_of(list(search(name, make(name)))[-1])
    assert state.keys() == {"search", "space", "generator", "model", "controller", "w", "theta", "hidden", "baseline"}
    momenta = [s["momentum_buffer"] for s in state["w"]["state"].values()]
    assert all(t.any() for t in momenta if t is not None)
    assert all(s["step"] == 4 for s in state["theta"]["state"].values())
    assert state["hidden"] == [None, None] if name == "images" else state["hidden"][1][0][0].shape == (4, 8)


def go_on(path):
    """What the process that is killed does, and another after it; prints a line for every step."""
    torch.set_num_threads(1)
    learners = make("text", seed=0)
    for step in tee(search("text", learners, resume(path), epochs=4), checkpoint(path)):
        print(step.index, flush=True)


def test_killed_and_resumed_equals_uninterrupted(tmp_path):
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_enas; test_enas.go_on({{!r}})"
    path = tmp_path / "broken.pt"

    with subprocess.Popen([sys.executable, "-c", code.format(str(path))], stdout=subprocess.PIPE) as process:
        while int(process.stdout.readline()) != 8:  # the next step but one is of the other phase
            pass
        process.kill()
    assert process.returncode == -signal.SIGKILL and 7 <= resume(path).index < 19
    go_on(path)
    for _ in tee(search("text", make("text"), epochs=4), checkpoint(tmp_path / "whole.pt")):
        pass
    found, wanted = (asdict(resume(p)) for p in (path, tmp_path / "whole.pt"))
    assert wanted["index"] == 19 and same(found, wanted)


def test_the_state_of_the_last_step_can_be_read_and_no_other(name):
    steps = list(search(name, make(name)))
    assert all(isinstance(s.state, Live) for s in steps)
    for step in steps[:-1]:
        with pytest.raises(ValueError, match="state: the search has gone on since this step; use its last step"):
            state_of(step)
        with pytest.raises(ValueError, match="state: the search has gone on"):
            list(search(name, make(name), step))
    assert same(state_of(steps[-1]), state_of(steps[-1]))


def test_the_state_of_a_step_is_gone_when_a_resumed_search_has_gone_on(name):
    learners = make(name)
    *_, last = search(name, learners)
    assert same(state_of(last)["model"], dict(learners[0].state_dict()))
    next(search(name, learners, last, epochs=3))
    with pytest.raises(ValueError, match="state: the search has gone on"):
        state_of(last)


def test_who_draws_from_the_generator_in_between_changes_nothing(name):
    case, learners, g = CASES[name], make(name), generator()
    *_, last = enas.search(case.space, learners[0], case.objective, learners[1], SMALL, g)
    derive(case.space, learners[0], case.objective, learners[1], 3, g)
    more = told(search(name, make(name), epochs=3))
    assert told(search(name, learners, last, epochs=3)) == more[STEPS:]


def test_a_state_that_was_read_does_not_change_as_the_search_goes_on(name):
    steps = search(name, make(name))
    state = [state_of(step) for step in islice(steps, 4)][-1]
    kept = copy.deepcopy(state)
    list(steps)
    assert same(state, kept)


def test_steps_that_are_kept_hold_no_weights_and_no_hidden_states(name):
    def held():
        """How many numbers there are in all tensors, and how many hidden states."""
        gc.collect()
        floats = [t for t in gc.get_objects() if type(t) in (torch.Tensor, nn.Parameter) and t.is_floating_point()]
        return sum(t.numel() for t in floats), sum(t.shape == (4, 8) for t in floats)

    learners = make(name)
    steps = search(name, learners, epochs=9)
    kept = list(islice(steps, 2 * 5))  # all that is made once has been made
    before = held()
    kept += list(islice(steps, 6 * 5))
    numbers, states = (b - a for a, b in zip(before, held(), strict=True))
    assert numbers < sum(p.numel() for p in learners[0].parameters()) and states == 0


def test_nothing_is_copied_unless_somebody_asks(name, monkeypatch):
    copied, real = [], enas.snapshot
    monkeypatch.setattr(enas, "snapshot", lambda value: (copied.append(1), real(value))[1])
    *_, last = search(name, make(name))
    assert not copied
    state_of(last)
    assert copied


def test_a_log_of_the_search_has_no_state(name, tmp_path):
    list(tee(search(name, make(name)), jsonl(tmp_path / "log.jsonl")))
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert len(lines) == STEPS and not any("state" in line for line in lines)


@pytest.mark.parametrize(
    ("entry", "bad"),
    [
        ("baseline", "much"),
        ("baseline", math.nan),
        ("hidden", None),
        ("hidden", [None]),
        ("hidden", ["x", None]),
        ("hidden", [[(torch.tensor(math.nan),)], None]),
        ("controller", {}),
        ("w", None),
        ("theta", {"state": {0: {"step": 1}}}),
    ],
)
def test_a_state_that_is_not_one_is_refused_and_nothing_is_touched(entry, bad):
    last = list(islice(search("text", make("text")), 4))[-1]
    learners = make("text", seed=9)
    before = [parameters(learner) for learner in learners]
    with pytest.raises(ValueError, match=rf"^state\.{entry}"):
        next(search("text", learners, replace(last, state={**state_of(last), entry: bad})))
    assert same(before, [parameters(learner) for learner in learners])


def test_a_resumed_search_has_the_settings_that_it_is_given():
    """Not those of the step, which are gone; a step of theta moves every weight by about its learning rate."""
    last = list(islice(search("images", make("images")), 4))[-1]
    moved = []
    for lr in (0.02, 0.0002):
        learners = make("images", seed=9)
        steps = search("images", learners, replace(last, state=state_of(last)), policy_lr=lr, momentum=0.5)
        learners[1].load_state_dict(state_of(last)["controller"])
        before = learners[1].start.detach().clone()
        next(steps)
        moved.append((learners[1].start - before).abs().max().item())
    assert moved[0] == pytest.approx(100 * moved[1], rel=0.05)
    assert (
        state_of(next(search("images", make("images"), last, momentum=0.5)))["w"]["param_groups"][0]["momentum"] == 0.5
    )


def test_a_step_of_another_search_or_space_is_refused_and_nothing_is_touched():
    (foreign,) = evolution.search(
        MACRO, lambda tokens: 1.0, evolution.Config(updates=1, population=1, sample=1), generator()
    )
    *_, text = search("text", make("text"))
    learners = make("images")
    before = [parameters(learner) for learner in learners]
    for after, message in (
        (foreign, "search 'evolution', expected 'enas'"),
        (text, "space .CellSpace.*, expected .Macro"),
    ):
        with pytest.raises(ValueError, match=f"after: got a step of {message}"):
            list(search("images", learners, after))
    assert same(before, [parameters(learner) for learner in learners])


# The policy


TINY = spaces.MacroSpace(2, ("a", "b"))  # 8 strings


def flat_gradient(model):
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in model.parameters()])


def of_the_policy(controller, config, m, seed, baseline, score):
    """What a step of theta draws and its gradient (parameters,)."""
    theta = torch.optim.SGD(controller.parameters(), 0.0)
    children, rewards, _ = policy_step(
        controller, score, baseline, theta, replace(config, policy_children=m), generator(seed)
    )
    assert rewards == list(map(score, children))
    return children, flat_gradient(controller)


def score_tiny(tokens):
    return math.sin(3.0 * sum(t * (k + 1) for k, t in enumerate(tokens))) + 0.2


@pytest.fixture
def tiny():
    with seeded(1):
        return Controller(TINY, 4, 1, init=0.9).double()


def exact_gradients(controller):
    """By enumeration: of J = E[R], and the means of the gradients of the entropy and of the divergence."""
    strings = torch.tensor(list(spaces.all_strings(TINY)))
    p_each = controller.trace(strings)
    p = torch.stack([q[range(8), strings[:, k]] for k, q in enumerate(p_each)]).prod(0)  # (8,)
    entropy = sum(Categorical(q).entropy() for q in p_each)
    divergence = kl_divergence(Bernoulli(p_each[2][:, 1]), Bernoulli(torch.tensor(0.4, dtype=torch.float64)))
    rewards = torch.tensor([score_tiny(s) for s in strings.tolist()], dtype=torch.float64)
    values = (p @ rewards, p.detach() @ entropy, p.detach() @ divergence)
    found = []
    for value in values:
        controller.zero_grad()
        value.backward(retain_graph=True)
        found.append(flat_gradient(controller))
    return p.detach(), found


@pytest.mark.parametrize("baseline", [0.0, 0.6])
def test_a_step_of_theta_follows_the_enumerated_gradient_on_average(tiny, baseline):
    config = Config(entropy_weight=0.3, skip_weight=0.7, skip_target=0.4)
    p, (reward, entropy, divergence) = exact_gradients(tiny)
    estimates, seed = {}, 0
    while len(estimates) < 8:  # until every string was drawn
        (child,), estimate = of_the_policy(tiny, config, 1, seed, baseline, score_tiny)
        estimates.setdefault(child, estimate)
        seed += 1
    average = sum(q * estimates[child] for q, child in zip(p, spaces.all_strings(TINY), strict=True))
    torch.testing.assert_close(average, -reward - 0.3 * entropy + 0.7 * divergence, rtol=0, atol=1e-12)
    assert min(g.norm() for g in (reward, entropy, divergence)) > 1e-3

    children, together = of_the_policy(tiny, config, 5, 0, baseline, score_tiny)
    assert len(set(children)) > 1
    torch.testing.assert_close(together, sum(estimates[c] for c in children) / 5, rtol=0, atol=1e-12)


class Share:
    """An objective without a network: an architecture is worth the share of its layers that have an op."""

    batches = 1

    def __init__(self, op):
        self.op = op

    def batch(self, split, index):
        return None

    def loss(self, model, weights, batch, state=None):
        return sum(p.square().sum() for p in model.parameters()), None

    def reward(self, model, weights, batch):
        return weights["op"][:, self.op].mean().item()


def drawn(controller, space=MACRO):
    """The corners of a thousand strings: the shares of the ops (K,) and of the skips that are there."""
    with torch.no_grad():
        tokens = controller(1000, generator(0))[0].tolist()
    corners = [space.one_hot(t) for t in tokens]
    skip = [bit for t in tokens for bit, d in zip(t, space.decisions, strict=True) if d.kind == "skip"]
    return torch.stack([c["op"] for c in corners]).mean((0, 1)), sum(skip) / len(skip)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_counting_reward_is_learned_and_the_skips_go_to_their_target(seed):
    with seeded(seed):
        controller = Controller(MACRO, 12, 1)
    op, chance = (seed + 1) % 6, drawn(controller)
    assert abs(chance[0][op] - 1 / 6) < 0.05 and abs(chance[1] - 0.5) < 0.05
    config = Config(
        epochs=1,
        weight_steps=1,
        policy_steps=120,
        policy_children=8,
        policy_lr=0.03,
        entropy_weight=0.01,
        skip_weight=3.0,
    )
    steps = list(enas.search(MACRO, nn.Linear(1, 1), Share(op), controller, config, generator(seed)))
    assert steps[-1].info["baseline"] > 0.5 > steps[1].info["baseline"]
    ops, skips = drawn(controller)
    assert ops[op] > 0.97 and abs(skips - 0.4) < 0.06


# What goes wrong


class Bad(Spy):
    """An objective that has no number to give for the k-th child that is asked for."""

    def __init__(self, objective, bad, loss=None, reward=None):
        super().__init__(objective)
        self.bad, self.at = bad, {"loss": loss, "reward": reward}

    def spoiled(self, kind):
        return sum(a[0] == kind for a in self.asked) - 1 == self.at[kind]

    def loss(self, *arguments):
        loss, state = super().loss(*arguments)
        return loss * self.bad if self.spoiled("loss") else loss, state

    def reward(self, *arguments):
        reward = super().reward(*arguments)
        return self.bad if self.spoiled("reward") else reward


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_the_search_before_it_is_learned_from(name, bad):
    learners, seen = make(name), []
    with pytest.raises(FloatingPointError, match=r"diverged: step 2: training loss of child 1 is (nan|inf)"):
        for step in search(name, learners, objective=Bad(CASES[name].objective, bad, loss=5)):
            seen.append((step.index, parameters(learners[0])))
    assert [index for index, _ in seen] == [0, 1]  # of two children each
    assert same(parameters(learners[0]), seen[-1][1])


@pytest.mark.parametrize(
    ("settings", "quantity"),
    [({"entropy_weight": 1e300}, "loss of theta is -inf"), ({"policy_lr": 1e30}, "squares of theta is inf")],
)
def test_a_controller_that_leaves_the_numbers_stops_the_search(name, settings, quantity):
    """Step 3 is the first of theta. Without the check the search goes on to the end, with theta nan."""
    seen = []
    with pytest.raises(FloatingPointError, match=rf"diverged: step 3: {quantity}; the rewards are \(.+\)"):
        for step in search(name, make(name), **settings):
            seen.append(step.index)
    assert seen == [0, 1, 2]


@pytest.mark.parametrize(("bad", "quantity"), [(1e25, "squared gradient of theta"), (1.5e308, "loss of theta")])
def test_a_reward_beyond_what_theta_can_hold_stops_the_search(name, bad, quantity):
    """Adam squares the gradient in float32: that of a reward of 1e25 is inf, and theta would stand still for ever."""
    with pytest.raises(FloatingPointError, match=rf"step 3: {quantity} is (inf|nan)"):
        list(search(name, make(name), objective=Bad(CASES[name].objective, bad, reward=1)))


def test_a_gradient_of_w_beyond_the_numbers_stops_the_search_before_w_moves(name):
    learners = make(name)
    before = parameters(learners[0])
    objective = Bad(CASES[name].objective, 1e38, loss=0)
    with pytest.raises(FloatingPointError, match=r"step 0: norm of the gradient of w is (inf|nan)"):
        list(search(name, learners, objective=objective))
    assert same(parameters(learners[0]), before)


def test_two_seeds_of_the_generator_drop_differently():
    losses = []
    for seed in (3, 4):
        learners = make("text")
        learners[1].draw = lambda m, generator: (torch.tensor([[0, 0, 0, 2, 1, 1]] * m), None)  # the same children
        losses.append(next(search("text", learners, seed=seed)).rewards)
    assert losses[0] != losses[1]


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_a_reward_that_is_no_number_is_0(name, bad):
    steps = list(search(name, make(name), objective=Bad(CASES[name].objective, bad, reward=1)))
    assert steps[3].rewards[1] == 0
    assert told(steps) == told(search(name, make(name), objective=Bad(CASES[name].objective, 0.0, reward=1)))


# Deriving


def test_derived_are_the_controller_s_strings_best_first_on_one_batch(name):
    case, (model, controller) = CASES[name], make(name)
    before, spy = parameters(model), Spy(case.objective)
    found = derive(case.space, model, spy, controller, 12, generator())
    assert spy.asked == [("valid", 0)] + [("reward",)] * 12
    tokens, *_ = controller(12, generator())
    assert sorted(t for t, _ in found) == sorted(map(tuple, tokens.tolist()))
    for child, reward in found:
        assert reward == pytest.approx(case.reward(model, case.space.one_hot(child), 0), rel=1e-5)
    rewards = [reward for _, reward in found]
    assert rewards == sorted(rewards, reverse=True) and len(set(rewards)) > 1
    assert found == derive(case.space, model, case.objective, controller, 12, generator())
    assert same(before, parameters(model)) and all(p.grad is None for p in controller.parameters())


def test_a_derived_child_without_a_number_comes_last(name):
    case, (model, controller) = CASES[name], make(name)
    found = derive(case.space, model, Bad(case.objective, math.nan, reward=0), controller, 5, generator())
    first = tuple(controller(5, generator())[0][0].tolist())
    assert (first, 0.0) in found and [r for _, r in found] == sorted((r for _, r in found), reverse=True)


@pytest.mark.parametrize("n", [0, -1, 2.0, None])
def test_as_many_as_are_derived_is_a_number(n):
    case, (model, controller) = CASES["images"], make("images")
    with pytest.raises(ValueError, match=f"n: got {n}, expected an int of at least 1"):
        derive(case.space, model, case.objective, controller, n, generator())


# Another device


def numbers(space, m):
    """The corners of a few strings as lists, which have their numbers on any device."""
    return [{t: w.tolist() for t, w in space.one_hot(space.sample(generator(k))).items()} for k in range(m)]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_step_of_w_leaves_no_tensor_on_the_wrong_device(name, momentum, monkeypatch):
    case, lists = CASES[name], numbers(CASES[name].space, 2)
    monkeypatch.setattr(fake_tensor, "CONSTANT_NUMEL_LIMIT", 10**6)  # the tables keep their numbers
    monkeypatch.setattr(enas, "finite", lambda index, rewards, **quantities: None)  # a loss has none
    with fake_gpu() as device:
        model = case.net().to(device)
        corners = [{t: torch.tensor(w) for t, w in corner.items()} for corner in lists]
        x = torch.randn(16, 1, 8, 8, device=device) if name == "images" else torch.randint(7, (5, 4), device=device)
        batch = (x, torch.randint(3, (16,) if name == "images" else (5, 4), device=device))
        w = torch.optim.SGD(model.parameters(), 0.1, momentum, nesterov=momentum > 0)
        hidden = [None, None]
        for _ in range(2):
            losses, hidden = weight_step(model, case.objective, corners, batch, hidden, w, 1.0)
            hidden = [state and [(h.cpu(), c.cpu()) for h, c in state] for state in hidden]  # as from a file
        _, hidden = weight_step(model, case.objective, corners, batch, hidden, w, 1.0)
        case.objective.reward(model, corners[0], batch)
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        momenta = [s["momentum_buffer"] for s in w.state.values() if momentum]
        carried = [t for state in hidden if state for pair in state for t in pair]
        assert len(losses) == 2 and len(carried) == (4 if name == "text" else 0)
        found = [*model.state_dict().values(), *gradients, *momenta, *carried]
        assert {t.device.type for t in found} == {"lazy"}


def test_a_step_of_theta_leaves_no_tensor_on_the_wrong_device(name, monkeypatch):
    space = CASES[name].space
    children = tuple(space.sample(generator(k)) for k in range(2))
    monkeypatch.setattr(enas, "strings", lambda tokens: children)  # those that are drawn have no numbers
    monkeypatch.setattr(enas, "finite", lambda index, rewards, **quantities: None)  # nor has a loss
    with fake_gpu() as device:
        controller = Controller(space, 8, 1, tanh_constant=2.5).to(torch.device(device.type, 0))
        theta = torch.optim.Adam(controller.parameters(), 0.1)
        found, rewards, _ = policy_step(controller, partial(score, 0.5), 0.1, theta, SMALL, torch.Generator())
        assert found == children and rewards == [0.5, 0.5]
        moments = [v for s in theta.state.values() for k, v in s.items() if k != "step"]
        gradients = [p.grad for p in controller.parameters() if p.grad is not None]
        assert {t.device.type for t in [*controller.parameters(), *gradients, *moments]} == {"lazy"}


def score(value, child):
    return value
