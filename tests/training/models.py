"""The smallest models that can be trained, sets for them, and rewards."""

import torch
from torch import nn

from naslab import data, genotypes, spaces, training
from naslab.data import Images
from naslab.training import Recipe, TextRecipe, TrainChild, TrainTextChild

SPACE = spaces.nas_bench_201()
CONVS, NOTHING = (3, 0, 0, 0, 3, 0), (0, 0, 0, 0, 0, 0)
VOCABULARY = 7


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


class Bigram(nn.Module):
    """The smallest model with the signature of a recurrent child; its state counts the tokens it has read."""

    def __init__(self, logits=None):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(VOCABULARY, VOCABULARY) if logits is None else logits)
        self.seen = []

    def forward(self, tokens, state=None):
        count = torch.zeros(tokens.shape[1], 1) if state is None else state[0][0]
        self.seen.append((tokens, int(count[0]), self.training, count.requires_grad))
        count = count + len(tokens) + 0 * self.logits[0, 0].nan_to_num()
        return self.logits[tokens], [(count, count)]


def text(n=400, seed=0):
    """Each token is the one before plus 1 or 2: a bigram model needs 2 guesses."""
    steps = torch.randint(1, 3, (n,), generator=torch.Generator().manual_seed(seed))
    return steps.cumsum(0) % VOCABULARY


TASK = data.TextTask("steps", tuple("abcdefg"), text(4000), text(500, 1), text(500, 2))


def judge(**changes):
    arguments = {"recipe": Recipe(epochs=6, batch_size=32, lr=0.1), "channels": 4, "cells": 1, "seed": 0} | changes
    return TrainChild(**({"space": SPACE, "task": data.digits()} | arguments))


def text_judge(string=genotypes.NAS_CELL, **changes):
    arguments = {"recipe": TextRecipe(epochs=3, batch_size=16, bptt=10, lr=0.03), "units": 12, "seed": 0} | changes
    return TrainTextChild(string[0], TASK, **arguments)


def image_objective(size=10, seed=0):
    task = data.ImageTask("corner", tuple("abc"), images(40), images(35), images(5))
    return training.ImageObjective(task, size, seed)
