"""Training on text by hand: steps, averaging, perplexity."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from fake_device import fake_gpu
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from naslab import data, genotypes, networks, training
from naslab.networks import Dropouts
from naslab.training import TextRecipe, perplexity, train_text, train_text_step
from naslab.training.text import stalled

from .models import TASK, VOCABULARY, Bigram, text, text_judge


def test_a_text_step_is_adam_with_clipping_by_hand():
    torch.manual_seed(0)
    model, recipe = Bigram(), TextRecipe(lr=0.3, clip=1e-3, weight_decay=0.1)
    optim = torch.optim.Adam(model.parameters(), recipe.lr, weight_decay=recipe.weight_decay)
    w = torch.zeros(VOCABULARY, VOCABULARY, requires_grad=True)
    m = v = torch.zeros_like(w)
    state = None
    for step in (1, 2):
        x = text().view(8, 50)[:, step * 10 : step * 10 + 5]
        y = text().view(8, 50)[:, step * 10 + 1 : step * 10 + 6]
        loss, state = train_text_step(model, optim, x, y, state, recipe)
        expected = F.cross_entropy(w[x].flatten(0, 1), y.flatten())
        (g,) = torch.autograd.grad(expected, w)
        assert g.norm() > recipe.clip
        g = g * (recipe.clip / g.norm()) + recipe.weight_decay * w.detach()
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        moved = (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
        w = (w.detach() - recipe.lr * moved).requires_grad_()
        assert loss.item() == pytest.approx(expected.item()) and not loss.requires_grad
        assert torch.allclose(model.logits, w, atol=1e-4)
        assert not state[0][0].requires_grad


def test_text_batches_states_and_rates(monkeypatch):
    rates = []
    real = torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda s: (rates.append(s.param_groups[0]["lr"]), real(s))[1])
    model, recipe = Bigram(), TextRecipe(epochs=2.5, batch_size=4, bptt=10, lr=0.5)
    losses = list(train_text(model, text(), recipe, seed=3))
    per_epoch = data.text_batches(text(), 4, 10)
    assert per_epoch == 9 and len(losses) == 22
    assert losses[0] == pytest.approx(math.log(VOCABULARY)) and losses[-1] < 0.8  # log 2 = 0.69 at best
    for index, (x, count, in_training, requires_grad) in enumerate(model.seen):
        assert torch.equal(x, data.text_batch(text(), index, 4, 10, 3)[0])
        assert count == 10 * (index % per_epoch)  # carried, and nothing at the start of an epoch
        assert in_training and not requires_grad
    assert rates == pytest.approx([0.5 * (1 + math.cos(math.pi * k / 22)) / 2 for k in range(22)])


def test_the_default_is_adam_along_a_cosine():
    recipe = TextRecipe(epochs=1.5, batch_size=4, bptt=10, lr=0.05, weight_decay=0.1)
    model, mine = Bigram().double(), Bigram().double()
    losses = list(train_text(model, text(), recipe, seed=3))
    optim = torch.optim.Adam(mine.parameters(), 0.05, weight_decay=0.1)
    for index, loss in enumerate(losses):
        optim.param_groups[0]["lr"] = 0.05 * (1 + math.cos(math.pi * (index / len(losses)))) / 2
        x, y = data.text_batch(text(), index, 4, 10, 3)
        found = F.cross_entropy(mine.logits[x].flatten(0, 1), y.flatten())
        optim.zero_grad()
        found.backward()
        nn.utils.clip_grad_norm_(mine.parameters(), 5.0)
        optim.step()
        assert loss == pytest.approx(found.item(), rel=1e-12)
    assert len(losses) == 14 and torch.allclose(model.logits, mine.logits, rtol=1e-12, atol=1e-12)


def test_the_recipe_of_darts_for_text():
    r = training.DARTS_PTB
    assert (r.batch_size, r.bptt, r.lr, r.weight_decay, r.clip) == (64, 35, 20.0, 8e-7, 0.25)
    assert (r.patience, r.slowness, r.epochs) == (5, 1e-3, 8000)
    assert (TextRecipe().patience, TextRecipe().slowness) == (0, 0)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"patience": -1}, "patience: got -1"),
        ({"patience": 0.5}, r"patience: got 0\.5"),
        ({"slowness": -1}, "slowness: got -1"),
        ({"slowness": math.nan}, "slowness: got nan"),
        ({"slowness": 1.0, "bptt": 1}, "bptt: got 1, expected an int of at least 2"),
    ],
)
def test_a_text_recipe_out_of_range_is_refused_by_name(numbers, message):
    with pytest.raises(ValueError, match=message):
        TextRecipe(**numbers)


def test_slowness_by_hand():
    """The gradient is that of the sum; the loss is the cross-entropy alone, with the same dropout in both."""
    space, tokens = genotypes.NAS_CELL
    x, y = data.text_batch(text(), 0, 4, 6, seed=0)
    torch.manual_seed(0)
    model = networks.build_recurrent(
        space, tokens, vocabulary=7, units=5, layers=2, dropout=Dropouts(hidden=0)
    ).double()
    outputs = []
    model.cells[1].register_forward_hook(lambda m, inputs, out: outputs.append(out[0]))
    torch.manual_seed(1)
    logits, _ = model.train()(x)
    loss = F.cross_entropy(logits.flatten(0, 1), y.flatten())
    slow = sum(((b - a) ** 2).mean() for a, b in itertools.pairwise(outputs)) / 5
    wanted = torch.autograd.grad(loss + 0.7 * slow, list(model.parameters()))
    torch.manual_seed(1)
    optim = torch.optim.SGD(model.parameters(), 1e-9)
    found, _ = train_text_step(model, optim, x, y, None, TextRecipe(slowness=0.7, clip=1e9))
    assert found.item() == pytest.approx(loss.item(), rel=1e-12)
    for p, g in zip(model.parameters(), wanted, strict=True):
        assert torch.allclose(p.grad, g, rtol=1e-9, atol=1e-12)


# NT-ASGD


@given(st.lists(st.floats(1, 9), max_size=12), st.integers(1, 4))
def test_the_trigger_by_hand(found, patience):
    """Merity et al. 2018, algorithm 1, line by line: logs has what was found before v, and t entries."""
    for t, v in enumerate(found):
        logs = found[:t]
        wanted = t > patience and v > min(logs[: t - patience])  # l from 0 to t - n - 1
        assert stalled(found[: t + 1], patience) == wanted


def test_the_trigger_looks_past_the_last_few():
    assert [stalled([5.0, 4, 3, 3.5, 3.4, 3.3][:k], 2) for k in range(7)] == [False] * 6 + [True]
    assert [stalled([5.0, 4, 3, 3.5, 3.4, 2.9][:k], 2) for k in range(7)] == [False] * 7
    assert not stalled([3.0, 3, 3, 3, 3], 1) and not stalled([3.0, 3, 3, 3, math.nan], 1)


PLANTED = (7.0, 9.0, 8.0, 6.0)  # with patience 1 the third is the first that is worse than the best before the last


def averaged(monkeypatch, epochs, patience, planted=PLANTED):
    """A model trained by NT-ASGD on planted perplexities, its losses, and how often it was measured."""
    asked = iter(planted)
    seen = []
    monkeypatch.setattr(training.text, "perplexity", lambda m, t, s: (seen.append((t, s)), next(asked))[1])
    model = Bigram(torch.zeros(VOCABULARY, VOCABULARY, dtype=torch.float64))
    recipe = TextRecipe(epochs, 4, 10, lr=2.0, weight_decay=0.01, clip=0.05, patience=patience)
    losses = list(train_text(model, text(), recipe, seed=3, valid=text(50, 1)))
    assert all(torch.equal(t, text(50, 1)) and s == 4 for t, s in seen)
    return model, losses, len(seen)


def sgd_by_hand(steps):
    """The weights after every step of plain SGD in float64, and the losses before."""
    w, path, losses = torch.zeros(VOCABULARY, VOCABULARY, dtype=torch.float64), [], []
    for index in range(steps):
        x, y = data.text_batch(text(), index, 4, 10, 3)
        w = w.requires_grad_()
        loss = -w[x].log_softmax(-1).gather(-1, y[..., None]).mean()
        (g,) = torch.autograd.grad(loss, w)
        g = g * min(1, 0.05 / (g.norm() + 1e-6)) + 0.01 * w.detach()
        w = w.detach() - 2.0 * g
        path.append(w)
        losses.append(loss.item())
    return path, losses


def test_nt_asgd_averages_every_step_since_the_trigger(monkeypatch):
    model, losses, asked = averaged(monkeypatch, 4.5, 1)
    path, wanted = sgd_by_hand(40)  # 9 batches an epoch
    assert asked == 3 and losses == pytest.approx(wanted, rel=1e-12)  # training goes on from what is not averaged
    mean = torch.stack(path[27:]).mean(0)
    assert torch.allclose(model.logits, mean, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(mean, torch.stack(path[26:]).mean(0), atol=1e-4)


def test_nt_asgd_without_a_trigger_is_sgd(monkeypatch):
    for epochs, patience, asked in ((2.5, 1, 2), (4, 4, 4)):
        model, losses, found = averaged(monkeypatch, epochs, patience)
        path, wanted = sgd_by_hand(round(epochs * 9))
        assert found == asked and losses == pytest.approx(wanted, rel=1e-12)
        assert torch.allclose(model.logits, path[-1], rtol=1e-12, atol=1e-12)


def test_nt_asgd_triggered_by_the_last_epoch_changes_nothing(monkeypatch):
    model, _, asked = averaged(monkeypatch, 3, 1)
    assert asked == 3 and torch.allclose(model.logits, sgd_by_hand(27)[0][-1], rtol=1e-12, atol=1e-12)


def test_nt_asgd_keeps_the_rate_and_the_tie(monkeypatch):
    rates, real = [], torch.optim.SGD.step
    monkeypatch.setattr(torch.optim.SGD, "step", lambda s: (rates.append(s.param_groups[0]["lr"]), real(s))[1])
    asked = iter((1.0, 1.0, 2.0))
    monkeypatch.setattr(training.text, "perplexity", lambda *a: next(asked))
    recipe = TextRecipe(4, 64, 10, lr=2.0, clip=0.25, patience=1)
    model = text_judge(recipe=recipe, spread=0.04, dropout=0.1).trained(genotypes.NAS_CELL[1])
    assert {*rates} == {2.0} and len(rates) == 4 * data.text_batches(TASK.train, 64, 10)
    assert model.decoder.weight is model.embedding.weight


def test_nt_asgd_needs_a_text_to_validate_on():
    with pytest.raises(ValueError, match="valid: got None, expected tokens: the recipe has patience 2"):
        next(train_text(Bigram(), text(), TextRecipe(patience=2), seed=0))


# Perplexity


def test_perplexity_by_hand_with_any_streams():
    torch.manual_seed(0)
    model, tokens = Bigram(torch.randn(VOCABULARY, VOCABULARY)), text(101)
    nats = -model.logits.log_softmax(-1)[tokens[:-1], tokens[1:]]
    for streams in (1, 2, 7, 64, 100):
        for steps in (1, 9, 1000):
            model.seen.clear()
            assert perplexity(model, tokens, streams, steps) == pytest.approx(nats.mean().exp().item(), rel=1e-5)
            read = torch.cat([x for x, *_ in model.seen])
            assert torch.equal(read.T.flatten()[:100], tokens[:-1])  # each once, in order
            assert [count for _, count, *_ in model.seen] == [steps * k for k in range(len(model.seen))]
            assert not any(training for *_, training, _ in model.seen)


def test_one_stream_of_a_recurrent_child_token_by_token():
    torch.manual_seed(0)
    model = networks.build_recurrent(*genotypes.NAS_CELL, vocabulary=VOCABULARY, units=4, dropout=0.3).eval()
    nats, state, tokens = 0.0, None, text(60)
    for k in range(59):
        logits, state = model(tokens[None, k : k + 1], state)
        nats -= logits[0, 0].log_softmax(-1)[tokens[k + 1]].item()
    assert perplexity(model.train(), tokens, steps=7) == pytest.approx(math.exp(nats / 59), rel=1e-5)


def test_perplexity_overflows_to_infinity_and_keeps_nan():
    certain = torch.full((VOCABULARY, VOCABULARY), -1e4).fill_diagonal_(0.0)  # of the same token again
    assert perplexity(Bigram(certain), text()) == math.inf
    assert math.isnan(perplexity(Bigram(certain * math.nan), text()))


@pytest.mark.parametrize(("streams", "steps"), [(0, 1), (-1, 1), (400, 1), (1, 0)])
def test_bad_streams(streams, steps):
    with pytest.raises(ValueError, match=rf"streams, steps: got {streams}, {steps}, expected 1 to 399"):
        perplexity(Bigram(), text(), streams, steps)


def test_the_unigram_bound_by_hand():
    train, test = torch.tensor([0, 0, 0, 1]), torch.tensor([2, 0, 1, 2, 0])
    p = [4 / 7, 2 / 7, 1 / 7]
    expected = math.prod([p[0], p[1], p[2], p[0]]) ** (-1 / 4)  # the first token is not predicted
    assert training.unigram_perplexity(train, test, 3) == pytest.approx(expected)
    constant = Bigram(torch.tensor([*p, 1e-9, 1e-9, 1e-9, 1e-9]).log().expand(VOCABULARY, -1).clone())
    assert perplexity(constant, test) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="vocabulary: got 2"):
        training.unigram_perplexity(train, test, 2)


def test_bits():
    assert training.bits(8.0) == 3.0


# Devices


def test_a_step_of_darts_ptb_leaves_no_tensor_on_the_wrong_device():
    with fake_gpu() as device:
        space, tokens = genotypes.read_darts(genotypes.DARTS_V2_RNN)
        size = {"vocabulary": 7, "units": 4, "dropout": Dropouts(words=0.1), "matrices": "node"}
        model = networks.build_recurrent(space, tokens, **size).to(device)
        optim = torch.optim.SGD(model.parameters(), 20.0)
        x, y = data.text_batch(torch.randint(0, 7, (400,), device=device), 0, 8, 3, seed=0)
        loss, state = train_text_step(model, optim, x, y, None, training.DARTS_PTB)
        loss, state = train_text_step(model, optim, x, y, state, training.DARTS_PTB)
        found = [loss, *(v for pair in state for v in pair), *model.parameters(), *(p.grad for p in model.parameters())]
        assert {t.device.type for t in found} == {"lazy"}


@pytest.mark.parametrize("cell", ["tree", "lstm"])
def test_a_text_step_leaves_no_tensor_on_the_wrong_device(cell):
    with fake_gpu() as device:
        if cell == "tree":
            model = networks.build_recurrent(*genotypes.FIGURE_5, vocabulary=7, units=4, layers=2, dropout=0.2)
        else:
            model = networks.RecurrentChild(lambda n: nn.LSTMCell(n, n), vocabulary=7, units=4)
        model = model.to(device)
        optim = torch.optim.Adam(model.parameters(), 0.1)
        tokens = torch.randint(0, 7, (400,), device=device)
        x, y = data.text_batch(tokens, 0, 8, 3, seed=0)
        loss, state = train_text_step(model, optim, x, y, None, TextRecipe())
        loss, state = train_text_step(model, optim, x, y, state, TextRecipe())
        perplexity(model, tokens, streams=100)
        moments = [v for s in optim.state.values() for k, v in s.items() if k != "step"]
        found = [loss, *(v for pair in state for v in pair), *model.parameters(), *moments]
        assert {t.device.type for t in found} == {"lazy"}
