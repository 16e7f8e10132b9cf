"""Texts of one's own, and their batches."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from naslab import data


def test_own_texts_become_a_task():
    task = data.text_task("own", "abca", "cb", "a")
    assert task.vocabulary == ("a", "b", "c") and task.train.tolist() == [0, 1, 2, 0] and task.valid.tolist() == [2, 1]
    words = data.text_task("own", ["a", "rose", "is", "a"], ("rose",), np.array(["is", "a"]))
    assert words.vocabulary == ("a", "is", "rose") and words.test.tolist() == [1, 0]
    known = data.text_task("own", "aa", "b", "ab", vocabulary="ba")
    assert known.vocabulary == ("b", "a") and known.test.tolist() == [1, 0]
    for numbers in ([0, 1], np.array([0, 1], np.uint8), torch.tensor([0, 1])):
        task = data.text_task("own", numbers, numbers, numbers, vocabulary=("x", "y"))
        assert task.train.tolist() == [0, 1] and task.train.dtype == torch.int64


@pytest.mark.parametrize(
    ("texts", "vocabulary", "message"),
    [
        (("ab", "abc", "a"), None, "valid: got 'c' at index 2, expected words of the vocabulary only"),
        (("ab", "a", "ab"), "a", "train: got 'b' at index 1"),
        (("ab", "", "ab"), None, "valid: got an empty text"),
        (([0, 1], [2], [1]), "ab", "valid: got token 2 at index 0, expected 0 to 1"),
        (([0, -1], [0], [1]), "ab", "train: got token -1 at index 1"),
        (([0, 1], [0], [1]), None, "vocabulary: got None, expected the words"),
        (([0.0, 1.0], [0], [1]), "ab", r"train: got float64 \(2,\), expected a string, or a sequence"),
        ((["a", 1], "a", "a"), None, "train: got words and others, expected a string"),
        ((None, "a", "a"), None, "train: got object"),
        (("ab", "a", "a"), "aab", "vocabulary: got aab, expected a sequence of different names"),
        (("ab", "a", "a"), (), "vocabulary: got"),
        (([[0], [1]], [0], [1]), "ab", r"train: got int64 \(2, 1\)"),
    ],
)
def test_bad_texts_are_refused_by_name(texts, vocabulary, message):
    with pytest.raises(ValueError, match=message):
        data.text_task("own", *texts, vocabulary=vocabulary)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(5), r"valid: got torch.float32 \(5,\), expected int64 \(N,\)"),
        (torch.zeros(5, 1, dtype=torch.int64), r"valid: got torch.int64 \(5, 1\)"),
        (torch.tensor([0, 3]), "valid: got token 3 at index 1, expected 0 to 2"),
        (torch.tensor([-1]), "valid: got token -1 at index 0"),
        ([0, 1], "valid: got list, expected a tensor"),
    ],
)
def test_text_tasks_of_tensors_are_checked(bad, message):
    good = torch.arange(3)
    with pytest.raises(ValueError, match=message):
        data.TextTask("own", ("a", "b", "c"), good, bad, good)


# Batches


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 7), st.integers(0, 99), st.integers(0, 2**40), st.data())
def test_text_batches_go_on_where_the_last_stopped(size, bptt, surplus, seed, draw):
    tokens = torch.arange((size + 1) * bptt + surplus)  # each token is its own place
    per_epoch = data.text_batches(tokens, size, bptt)
    epoch = draw.draw(st.integers(0, 10**6))
    batches = [data.text_batch(tokens, epoch * per_epoch + k, size, bptt, seed) for k in range(per_epoch)]
    for x, y in batches:
        assert x.shape == y.shape == (bptt, size) and torch.equal(y, x + 1)
    stream = torch.cat([x for x, _ in batches])  # (per_epoch * bptt, size)
    assert torch.equal(stream, stream[0] + torch.arange(per_epoch * bptt)[:, None])
    assert len(stream.unique()) == stream.numel()
    assert stream.min() < bptt and len(tokens) - stream.max() - 1 < (size + 1) * bptt


def test_text_starts_differ_by_epoch():
    tokens = torch.arange(1000)
    per_epoch = data.text_batches(tokens, 4, 10)
    starts = {int(data.text_batch(tokens, epoch * per_epoch, 4, 10, seed=3)[0][0, 0]) for epoch in range(100)}
    assert starts == set(range(10))
