"""The sets that ship with the package."""

from collections import Counter

import numpy as np
import pytest
import torch

from naslab import data

from .sets import ASSETS, SPLITS


def test_fashion_is_normalised(fashion):
    assert fashion.shape == (1, 28, 28) and len(fashion.classes) == 10
    assert [len(getattr(fashion, s)) for s in SPLITS] == [6000, 2000, 2000]
    assert fashion.train.x.dtype == torch.float32 and fashion.train.y.dtype == torch.int64
    x = fashion.train.x.double()
    assert abs(x.mean()) < 1e-5 and abs(x.std() - 1) < 1e-4
    with np.load(ASSETS / "fashion_mnist.npz") as arrays:  # one map for all splits
        train, test = (arrays[f"{split}_x"].astype(np.float64) for split in ("train", "test"))
    assert np.allclose(fashion.test.x[:, 0], (test - train.mean()) / train.std(), atol=1e-5)


@pytest.mark.parametrize("make", [data.fashion, data.digits])
def test_splits_share_no_image(make):
    task = make()
    images = [x.numpy().tobytes() for s in SPLITS for x in getattr(task, s).x]
    assert len(set(images)) == len(images)


def test_every_prefix_is_stratified(fashion):
    for split in SPLITS:
        labels = getattr(fashion, split).y.reshape(-1, 10)
        assert (labels.sort().values == torch.arange(10)).all()
    head = fashion.head(train=100, test=20)
    assert [len(getattr(head, s)) for s in SPLITS] == [100, 2000, 20]
    assert torch.equal(head.train.x, fashion.train.x[:100])
    with pytest.raises(ValueError, match="n: got 6001"):
        fashion.head(train=6001)


def test_low_resolution_is_the_pooled_image(fashion):
    small = data.fashion(resolution=14)
    assert small.shape == (1, 14, 14) and torch.equal(small.valid.y, fashion.valid.y)
    pooled = {s: torch.nn.functional.avg_pool2d(getattr(fashion, s).x, 2) for s in ("train", "test")}
    expected = (pooled["test"] - pooled["train"].mean()) / pooled["train"].std()
    assert torch.allclose(small.test.x, expected, atol=1e-3)
    with pytest.raises(ValueError, match="resolution: got 7, expected 28 or 14"):
        data.fashion(resolution=7)


def test_digits_are_whole():
    from sklearn.datasets import load_digits

    task, official = data.digits(), load_digits()
    assert task.shape == (1, 8, 8) and [len(getattr(task, s)) for s in SPLITS] == [1197, 300, 300]
    assert Counter(torch.cat([getattr(task, s).y for s in SPLITS]).tolist()) == Counter(official.target.tolist())
    for split in SPLITS:
        counts = torch.bincount(getattr(task, split).y, minlength=10)
        assert counts.max() - counts.min() <= 9 and (torch.bincount(getattr(task, split).y[:50]) >= 4).all()
    # the order changed, but each image still has its label
    label = {image.tobytes(): y for image, y in zip(official.images.astype(np.float32), official.target, strict=True)}
    scale = torch.as_tensor(official.images).std() / torch.cat([getattr(task, s).x for s in SPLITS]).double().std()
    least = task.train.x.min()
    for x, y in zip(task.test.x, task.test.y, strict=True):
        assert label[((x - least) * scale).round().numpy().astype(np.float32).tobytes()] == y


def test_novel_is_split_in_order_between_paragraphs(novel):
    text = (ASSETS / "pride_and_prejudice.txt").read_text(encoding="utf-8")
    parts = ["".join(novel.vocabulary[k] for k in getattr(novel, split).tolist()) for split in SPLITS]
    assert "".join(parts) == text
    assert all(part.endswith("\n\n") for part in parts[:2]) and not parts[2].startswith("\n")
    assert [len(part) / len(text) for part in parts] == pytest.approx([0.9, 0.05, 0.05], abs=0.002)
    assert len(novel.vocabulary) == len(set(text)) == 75
    assert (len(novel.train), len(novel.valid)) == (616_102, 33_442)
    assert novel.to("cpu").test.dtype == torch.int64
