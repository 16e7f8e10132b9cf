"""Tests of a network on test data: against counts by hand, and against perplexity."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from naslab.automl.evaluation import Classified, bits_per_token, classified, pareto_front
from naslab.data import text_task
from naslab.networks import build_recurrent
from naslab.spaces import darts_rnn
from naslab.training import perplexity
from tests.automl.tasks import IMAGES

LABELS = np.array([0, 0, 1, 1, 2])
PROBABILITIES = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.3, 0.4, 0.3], [0.1, 0.0, 0.9], [0.0, 0.1, 0.9]])


def test_counts_by_hand():
    found = Classified(PROBABILITIES, LABELS)
    assert found.accuracy == 3 / 5
    assert found.confusion.tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert found.wrong.tolist() == [3, 1]  # the most confident mistake first


def test_the_interval_is_wilsons():
    low, high = Classified(PROBABILITIES, LABELS).interval()
    z, n, p = 1.959963984540054, 5, 0.6
    centre, half = p + z**2 / (2 * n), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert (low, high) == pytest.approx(((centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)))
    assert Classified(np.eye(3), np.arange(3)).interval()[1] == 1


def test_all_images_are_classified_in_evaluation_mode():
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 3))
    found = [classified(model, IMAGES.test, size) for size in (4, 500)]
    with torch.no_grad():
        expected = model.eval()(IMAGES.test.x).softmax(-1).numpy()
    for each in found:
        assert np.abs(each.probabilities - expected).max() < 1e-6
        assert each.labels.tolist() == IMAGES.test.y.tolist()


def test_bits_are_those_of_the_perplexity_of_each_stretch():
    text = "to be or not to be " * 40
    task = text_task("be", text, text, text[:323])
    model = build_recurrent(darts_rnn(2), (0, 0, 0, 0), vocabulary=len(task.vocabulary), units=8)
    found = bits_per_token(model, task, stretches=8)
    expected = [math.log2(perplexity(model, part)) for part in task.test[:320].split(40)]
    assert found.values == pytest.approx(expected, rel=1e-5) and found.n == 8
    with pytest.raises(ValueError, match="stretches: got 200, too many for 323 tokens"):
        bits_per_token(model, task, stretches=200)


COORDINATES = st.integers(-3, 3)  # few values, so that many are equal


@given(st.lists(st.tuples(COORDINATES, COORDINATES), max_size=12))
@settings(deadline=None)
def test_the_front_has_exactly_the_points_that_no_other_beats(points):
    costs, scores = [c for c, _ in points], [s for _, s in points]
    found = pareto_front(costs, scores)
    for k, (cost, score) in enumerate(points):
        cheaper = [s for c, s in points if c < cost]  # these must score less
        as_cheap = [s for c, s in points if c == cost]  # these may score as much
        assert (k in found) == (score > max(cheaper, default=-math.inf) and score == max(as_cheap))
    assert len({*found}) == len(found)
    assert [costs[k] for k in found] == sorted(costs[k] for k in found)
    assert [scores[k] for k in found] == sorted(scores[k] for k in found)
    assert pareto_front(np.array(costs), np.array(scores)) == found


def test_equal_points_are_all_on_the_front_in_their_order():
    assert pareto_front([2, 1, 2, 2, 1], [5, 3, 5, 4, 3]) == [1, 4, 0, 2]
    assert pareto_front([], []) == [] and pareto_front([0.5], [-1.0]) == [0]


def test_a_front_needs_a_score_for_each_cost():
    with pytest.raises(ValueError, match="scores: got 1, expected 2, as many as costs"):
        pareto_front([1, 2], [1])
