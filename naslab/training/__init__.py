"""Evaluates architectures: trains a child from scratch and measures it, or measures it with shared weights."""

from naslab.training.children import TrainChild, TrainTextChild, finite
from naslab.training.images import DARTS, ENAS_MACRO, ENAS_MICRO, Recipe, accuracy, calibrate, train, train_step
from naslab.training.objectives import ImageObjective, TextObjective
from naslab.training.text import (
    DARTS_PTB,
    TextRecipe,
    bits,
    perplexity,
    train_text,
    train_text_step,
    unigram_perplexity,
)

__all__ = [
    "DARTS",
    "DARTS_PTB",
    "ENAS_MACRO",
    "ENAS_MICRO",
    "ImageObjective",
    "Recipe",
    "TextObjective",
    "TextRecipe",
    "TrainChild",
    "TrainTextChild",
    "accuracy",
    "bits",
    "calibrate",
    "finite",
    "perplexity",
    "train",
    "train_step",
    "train_text",
    "train_text_step",
    "unigram_perplexity",
]
