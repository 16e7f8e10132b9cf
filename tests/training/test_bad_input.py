"""What recipes, measures and rewards refuse by name."""

import dataclasses
import math

import pytest

from naslab import genotypes, spaces, training
from naslab.networks import Dropouts
from naslab.training import Recipe, TextRecipe, accuracy, perplexity
from naslab.training.augmentation import augmented

from .models import SPACE, TASK, Bigram, Linear, image_objective, images, judge, text, text_judge


@pytest.mark.parametrize("recipe", [Recipe, training.TextRecipe])
@pytest.mark.parametrize("numbers", [{"batch_size": 0}, {"epochs": math.nan}, {"epochs": -1}, {"lr": 0}, {"clip": -1}])
def test_a_recipe_out_of_range_is_refused_by_name(recipe, numbers):
    (name,) = numbers
    with pytest.raises(ValueError, match=f"{name}: got .*, expected"):
        recipe(**numbers)


OBJECTIVES = [image_objective(), training.TextObjective(TASK, 8, 10)]
JUDGES = [judge(), text_judge(), text_judge(genotypes.FIGURE_5)]


@pytest.mark.parametrize(
    ("made", "name", "bad", "message"),
    [
        *[(one, "seed", bad, "seed: got") for one in OBJECTIVES + JUDGES for bad in (-1, 0.5)],
        *[(one, "task", bad, "task: got") for one in OBJECTIVES + JUDGES for bad in (None, [1], object())],
        *[(one, "batch_size", bad, "size: got") for one in OBJECTIVES for bad in (0, -1, 2.5, None, "8", True)],
        (OBJECTIVES[0], "task", TASK, "task: got TextTask, expected ImageTask"),
        (OBJECTIVES[0], "batch_size", 41, "size: got 41, expected a whole number from 1 to 40"),
        (OBJECTIVES[0], "batch_size", 36, "size: got 36, expected a whole number from 1 to 35"),  # valid has 35
        (OBJECTIVES[1], "batch_size", 100, "size, bptt: got 100, 10, too much for 500 tokens"),
        *[(OBJECTIVES[1], "bptt", bad, "bptt: got") for bad in (0, 2.5, None, 5000)],
        *[(one, "c", bad, "c: got") for one in (OBJECTIVES[1], *JUDGES[1:]) for bad in (0, -1, math.nan, "80")],
        *[(one, "recipe", bad, "recipe: got") for one in JUDGES for bad in (None, {"epochs": 1})],
        *[(one, "space", bad, "space: got") for one in JUDGES for bad in (None, "bench", spaces.enas_rnn)],
        (JUDGES[0], "recipe", TextRecipe(), "recipe: got TextRecipe, expected Recipe"),
        (JUDGES[0], "recipe", Recipe(batch_size=5000), "size: got 5000, expected a whole number from 1 to 1197"),
        *[(JUDGES[0], "channels", bad, "channels: got") for bad in (None, 0, 1, 2.5)],
        *[(JUDGES[0], "cells", bad, "cells: got") for bad in (0, -1, 1.5)],
        *[(JUDGES[0], "auxiliary", bad, "auxiliary: got") for bad in (True, 1, None)],
        *[(one, "units", bad, "units: got") for one in JUDGES[1:] for bad in (0, -1, 1.5)],
        *[(one, "layers", bad, "layers: got") for one in JUDGES[1:] for bad in (0, -1, 1.5)],
        *[(one, "dropout", bad, "dropout: got") for one in JUDGES[1:] for bad in (-0.1, 1, math.nan, None)],
        *[(one, "spread", bad, "spread: got") for one in JUDGES[1:] for bad in (-1, math.nan, None)],
        (JUDGES[1], "dropout", Dropouts(), r"hidden: got 0\.25, expected 0: a TreeCell takes no mask"),
        (JUDGES[1], "space", spaces.TreeSpace(2, combine=("add", "power")), r"combine: got \['power'\]"),
        (JUDGES[1], "space", SPACE, "space: got"),
        (JUDGES[1], "recipe", TextRecipe(batch_size=600), "streams, steps|size, bptt: got 600"),
        (JUDGES[1], "recipe", TextRecipe(batch_size=4, bptt=3000), "size, bptt: got 4, 3000"),
        (JUDGES[1], "recipe", Recipe(), "recipe: got Recipe, expected TextRecipe"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_when_it_is_made(made, name, bad, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(made, **{name: bad})


def test_a_split_that_is_none_is_refused_by_name():
    for objective in OBJECTIVES:
        with pytest.raises(ValueError, match="split: got 'tests', expected train, valid or test"):
            objective.batch("tests", 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: accuracy(Linear(), images(), batch_size=0), "batch_size: got 0"),
        (lambda: accuracy(Linear(), images().head(0)), "images: got none, expected at least 1"),
        (lambda: perplexity(Bigram(), text(), 1.5), "streams, steps: got 1.5"),
        (lambda: perplexity(Bigram(), text().float()), r"tokens: got torch.float32 \(400,\), expected int64"),
        (lambda: perplexity(Bigram(), text()[:1]), "streams, steps: got 1, 100, expected 1 to 0"),
        (lambda: training.bits(0), "perplexity: got 0, expected a number above 0"),
        (lambda: training.unigram_perplexity(text()[:0], text(), 7), "train, test: got 0, 400 tokens"),
        (lambda: training.unigram_perplexity(text(), text()[:1], 7), "train, test: got 400, 1 tokens"),
        (lambda: augmented(images().x, 0, 0, shift=-1), "shift: got -1"),
        (lambda: Recipe(momentum=7), "momentum: got 7, expected a number of at least 0 and below 1"),
        (lambda: Recipe(momentum=0, nesterov=True), "momentum: got 0, expected a number above 0 for nesterov"),
        (lambda: Recipe(nesterov=1), "nesterov: got 1, expected True or False"),
    ],
)
def test_bad_calls_are_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
