"""What batches of images and of text have in common."""

import subprocess
import sys

import pytest
import torch

from naslab import data

from .sets import ASSETS, numbered


def test_batches_are_the_same_in_a_fresh_process(fashion, novel):
    calls = "\n".join(
        [
            "import hashlib; from naslab.data import *",
            "images, tokens = fashion().train, pride_and_prejudice().train",
            "found = [image_batch(images, i, 64, seed=5) for i in (1000, 3, 94, 0)]",
            "found += [text_batch(tokens, i, 16, 35, seed=5) for i in (5000, 7, 0)]",
            "digest = hashlib.sha256(b''.join(t.numpy().tobytes() for xy in found for t in xy)).hexdigest()",
        ]
    )
    there = subprocess.run(
        [sys.executable, "-c", calls + "\nprint(digest)"], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(ASSETS.parents[1]), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    here: dict = {}
    data.image_batch(fashion.train, 5, 10, seed=1)  # a past that should not matter
    exec(calls, here)
    assert there.stdout.strip() == here["digest"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: data.image_batch(numbered(5), 0, 6, 0), "size: got 6, expected a whole number from 1 to 5"),
        (lambda: data.image_batch(numbered(5), 0, 0, 0), "size: got 0"),
        (lambda: data.image_batch(numbered(5), -1, 2, 0), "index: got -1"),
        (lambda: data.image_batch(numbered(5), 0, 2, -1), "seed: got -1"),
        (lambda: data.image_batch(numbered(5), 0.5, 2, 0), "index: got 0.5"),
        (lambda: data.image_batch(numbered(5), 0, 2, "0"), "seed: got '0'"),
        (lambda: data.text_batch(torch.arange(20), 0, 4, 5, 0), "got 4, 5, too much for 20 tokens"),
        (lambda: data.text_batch(torch.arange(3), 0, 1, 5, 0), "got 1, 5, too much for 3 tokens"),
        (lambda: data.text_batch(torch.arange(20), 0, 0, 5, 0), "size: got 0"),
        (lambda: data.text_batch(torch.arange(20), 0, 2, 0, 0), "bptt: got 0"),
        (lambda: data.text_batch(torch.arange(20), -1, 2, 5, 0), "index: got -1"),
        (lambda: data.text_batch(torch.arange(20), 0, 2, 5, None), "seed: got None"),
    ],
)
def test_bad_batches_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
