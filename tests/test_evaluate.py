import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from naslab import data, evaluate, spaces
from naslab.data import Images
from naslab.evaluate import Recipe, TrainChild, accuracy, train, train_step

SPACE = spaces.nas_bench_201()
CONVS, NOTHING = (3, 0, 0, 0, 3, 0), (0, 0, 0, 0, 0, 0)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


class Linear(nn.Module):
    """The smallest model with the children's signature."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3, bias=False)
        self.seen = []

    def forward(self, x, drop_path=0.0):
        self.seen.append(drop_path)
        return self.linear(x.flatten(1))


def images(n=40):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(n, 1, 2, 2, generator=g)
    return Images(x, x.flatten(1)[:, :3].argmax(-1))


def test_a_step_is_sgd_with_momentum_decay_and_clipping_by_hand():
    torch.manual_seed(0)
    model, recipe = Linear(), Recipe(lr=0.3, momentum=0.8, weight_decay=0.01, clip=0.1)
    optim = torch.optim.SGD(model.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay)
    w = model.linear.weight.detach().clone().requires_grad_()
    v = torch.zeros_like(w)
    for start in (0, 10):
        x, y = images().x[start : start + 10], images().y[start : start + 10]
        loss = train_step(model, optim, x, y, recipe)
        expected = F.cross_entropy(x.flatten(1) @ w.T, y)
        (g,) = torch.autograd.grad(expected, w)
        assert g.norm() > recipe.clip
        v = recipe.momentum * v + g * (recipe.clip / g.norm()) + recipe.weight_decay * w.detach()
        w = (w.detach() - recipe.lr * v).requires_grad_()
        assert torch.allclose(loss, expected.detach()) and not loss.requires_grad
        assert torch.allclose(model.linear.weight, w, atol=1e-6)


def test_the_learning_rate_falls_along_a_cosine_and_drop_path_grows(monkeypatch):
    rates = []
    real = torch.optim.SGD.step
    monkeypatch.setattr(torch.optim.SGD, "step", lambda self: (rates.append(self.param_groups[0]["lr"]), real(self))[1])
    model = Linear()
    losses = list(train(model, images(), Recipe(epochs=2, batch_size=10, lr=0.5, drop_path=0.4), seed=0))
    assert len(losses) == 8 and losses[-1] < losses[0]
    assert rates == pytest.approx([0.5 * (1 + math.cos(math.pi * k / 8)) / 2 for k in range(8)])
    assert model.seen == pytest.approx([0.4 * k / 8 for k in range(8)])


def test_the_auxiliary_loss_is_weighted():
    class TwoHeads(Linear):
        def forward_auxiliary(self, x, drop_path=0.0):
            return self(x), 2 * self(x)

    model, x, y = TwoHeads(), images().x, images().y
    optim = torch.optim.SGD(model.parameters(), 0.0)
    loss = train_step(model, optim, x, y, Recipe(auxiliary_weight=0.4))
    logits = x.flatten(1) @ model.linear.weight.T
    assert loss.item() == pytest.approx((F.cross_entropy(logits, y) + 0.4 * F.cross_entropy(2 * logits, y)).item())


def test_accuracy_counts_and_does_not_depend_on_the_batch_size():
    class Copy(nn.Module):
        def forward(self, x):
            assert not self.training
            return x.flatten(1)[:, :3]

    part = images()
    wrong = Images(part.x, torch.where(torch.arange(40) < 10, (part.y + 1) % 3, part.y))
    assert accuracy(Copy(), part) == 1.0
    assert [accuracy(Copy(), wrong, batch_size=b) for b in (1, 7, 40, 100)] == [0.75] * 4


def judge(**changes):
    arguments = {"recipe": Recipe(epochs=6, batch_size=32, lr=0.1), "channels": 4, "cells": 1, "seed": 0} | changes
    return TrainChild(SPACE, data.digits(), **arguments)


def test_a_child_learns_and_a_constant_one_does_not():
    assert judge()(CONVS) > 0.8
    constant = judge()(NOTHING)  # no path from input to output
    assert constant == pytest.approx(max(torch.bincount(data.digits().valid.y)).item() / 300, abs=0.02)


def test_the_reward_repeats_and_leaves_the_global_random_numbers_alone():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    short = judge(recipe=Recipe(epochs=1, batch_size=32, lr=0.1))
    assert short(CONVS) == short(CONVS)
    assert torch.equal(torch.random.get_rng_state(), before)
    other = judge(recipe=Recipe(epochs=1, batch_size=32, lr=0.1), seed=1)
    assert not torch.equal(other.build(CONVS).classifier.weight, short.build(CONVS).classifier.weight)


def test_drop_path_needs_a_child_that_has_it():
    task = data.digits()
    macro = TrainChild(spaces.MacroSpace(2), task, Recipe(drop_path=0.2), channels=4)
    with pytest.raises(ValueError, match="drop_path"):
        macro((0, 1, 0))


def test_default_recipe_is_darts():
    r = evaluate.Recipe()
    assert (r.batch_size, r.lr, r.momentum, r.weight_decay, r.clip) == (96, 0.025, 0.9, 3e-4, 5.0)
