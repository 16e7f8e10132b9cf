"""Losses and rewards of shared weights by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from naslab import data, networks, spaces, training
from naslab.training.augmentation import augmented

from .models import TASK, VOCABULARY, Bigram, image_objective

# Images


class Tilted(nn.Module):
    """The smallest model with the supergraphs' signature: the weights are added to the logits (B, 3)."""

    def forward(self, x, weights):
        return x.flatten(1)[:, :3] + weights["class"]


def test_an_image_objective_by_hand():
    objective = image_objective(seed=2)
    assert objective.batches == 4 and image_objective(size=12).batches == 3
    for split, index in (("train", 0), ("train", 9), ("valid", 4)):
        wanted = data.image_batch(getattr(objective.task, split), index, 10, 2)
        assert all(map(torch.equal, objective.batch(split, index), wanted))
    x, y = batch = objective.batch("valid", 1)
    level, tilted = ({"class": torch.tensor([0.0, b, 0.0])} for b in (0.0, 1.5))
    assert objective.reward(Tilted(), level, batch) == 1.0  # the label is the largest of three pixels
    right = [
        max(range(3), key=[a, b + 1.5, c].__getitem__) == k
        for (a, b, c, _), k in zip(x.flatten(1).tolist(), y, strict=True)
    ]
    assert objective.reward(Tilted(), tilted, batch) == sum(right) / 10 < 1
    loss, state = objective.loss(Tilted(), tilted, batch)
    nats = [math.log(sum(map(math.exp, row))) - row[k] for row, k in zip(Tilted()(x, tilted).tolist(), y, strict=True)]
    assert loss.item() == pytest.approx(sum(nats) / 10, rel=1e-6) and state is None


def test_an_image_objective_augments_both_splits():
    task = image_objective().task
    objective = training.ImageObjective(task, 10, 2, shift=1, flip=True)
    for split, index in (("train", 3), ("valid", 1)):
        x, y = data.image_batch(getattr(task, split), index, 10, 2)
        found, labels = objective.batch(split, index)
        assert torch.equal(found, augmented(x, 2, index, shift=1, flip=True)) and torch.equal(labels, y)
        assert not torch.equal(found, x)


# Text


class Lifted(Bigram):
    """A bigram model with the supergraphs' signature: the weights are added to its logits."""

    def forward(self, tokens, weights, state=None):
        logits, state = super().forward(tokens, state)
        return logits + weights["token"], state


def test_a_text_objective_by_hand():
    torch.manual_seed(0)
    objective, model = training.TextObjective(TASK, 8, 10, seed=4), Lifted(torch.randn(VOCABULARY, VOCABULARY))
    assert objective.batches == data.text_batches(TASK.train, 8, 10) == 49 and objective.c == 80
    for split, index in (("train", 0), ("train", 60), ("valid", 3)):
        wanted = data.text_batch(getattr(TASK, split), index, 8, 10, 4)
        assert all(map(torch.equal, objective.batch(split, index), wanted))
    x, y = batch = objective.batch("valid", 2)
    weights = {"token": torch.arange(7.0) / 7}
    nats = -(model.logits[x] + weights["token"]).log_softmax(-1).gather(-1, y[..., None]).mean()
    first, state = objective.loss(model, weights, batch)
    loss, after = objective.loss(model, weights, batch, state)
    assert first.item() == pytest.approx(nats.item(), rel=1e-6) and first.requires_grad
    assert loss.item() == first.item() and after[0][0][0] == 20 and not after[0][0].requires_grad
    assert objective.reward(model, weights, batch) == pytest.approx(80 / nats.exp().item(), rel=1e-6)
    assert [count for _, count, *_ in model.seen] == [0, 10, 0]  # the reward is read from a state of nothing
    assert training.TextObjective(TASK, 8, 10, 4, c=1.0).reward(model, weights, batch) == pytest.approx(
        1 / nats.exp().item(), rel=1e-6
    )


def test_a_uniform_model_is_worth_c_over_the_vocabulary_and_one_without_numbers_nan():
    objective, zeros = training.TextObjective(TASK, 8, 10), {"token": torch.zeros(7)}
    assert objective.reward(Lifted(), zeros, objective.batch("valid", 0)) == pytest.approx(80 / 7)
    for logits, check in ((torch.full((7, 7), math.nan), math.isnan), (torch.eye(7) * 1e4, lambda r: r == 0)):
        assert check(objective.reward(Lifted(logits), zeros, objective.batch("valid", 0)))


def test_a_text_reward_has_no_dropout_and_no_gradient():
    space = spaces.enas_rnn(2)
    objective = training.TextObjective(TASK, 8, 10)
    torch.manual_seed(0)
    model = networks.RecurrentNet(space, VOCABULARY, 6, dropout=0.5)
    weights, (x, y) = space.one_hot((0, 0, 1, 2)), objective.batch("valid", 0)
    losses = [objective.loss(model.train(), weights, (x, y))[0].item() for _ in range(3)]
    assert len(set(losses)) == 3
    reward = objective.reward(model.train(), weights, (x, y))
    with torch.no_grad():
        logits, _ = model.eval()(x, weights)
    assert reward == pytest.approx(80 / F.cross_entropy(logits.flatten(0, 1), y.flatten()).exp().item(), rel=1e-6)
    assert objective.reward(model.train(), weights, (x, y)) == reward
    assert all(p.grad is None for p in model.parameters())
