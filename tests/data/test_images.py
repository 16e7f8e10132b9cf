"""Images of one's own: normalised, checked, split, and given out in batches."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from naslab import data
from naslab.data import Images

from .sets import SPLITS, arrays, numbered, own, spoilt


def test_own_arrays_become_a_task():
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (40, 2, 4, 4))
    x[:, 1] = 7  # a constant channel
    y = np.arange(40) % 4
    task = data.image_task("own", "abcd", (x[:20], y[:20]), (x[20:30], y[20:30]), (x[30:], y[30:]))
    assert task.shape == (2, 4, 4) and task.classes == ("a", "b", "c", "d")
    expected = (x[30:, 0] - x[:20, 0].mean()) / x[:20, 0].std()
    assert np.allclose(task.test.x[:, 0], expected, atol=1e-5) and not task.train.x[:, 1].any()
    assert task.to("cpu").train.x.device.type == "cpu"
    with pytest.raises(ValueError, match="valid: got label 3 at index 3, expected 0 to 2"):
        data.image_task("own", "abc", (x[:3], y[:3]), (x, y), (x, y))
    with pytest.raises(ValueError, match=r"test: got pixels \(40, 2, 4, 4\) and labels \(39,\)"):
        data.image_task("own", "abcd", (x, y), (x, y), (x, y[1:]))
    with pytest.raises(ValueError, match="x: got torch"):
        Images(torch.zeros(2, 1, 3, 3, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="y: got torch"):
        Images(torch.zeros(2, 1, 3, 3), torch.zeros(2))


@given(
    st.sampled_from(["int64", "int32", "uint32", "float64"]),
    st.sampled_from([0, 1, 1000, 10**6, 10**9]),
    st.integers(1, 1000),
    st.integers(0, 2**32),
)
def test_normalisation_is_stable_under_any_offset(dtype, offset, scale, seed):
    x = np.random.default_rng(seed).integers(0, 2 * scale + 1, size=(40, 2, 6, 5)) + offset
    exact = [[int(v) for v in x[:, c].flat] for c in range(2)]  # Python's whole numbers: no rounding
    task = own(**{split: (x.astype(dtype), np.arange(40) % 4) for split in SPLITS})
    for c, values in enumerate(exact):
        n, total, squares = len(values), sum(values), sum(v * v for v in values)
        if deviation := math.sqrt(n * squares - total * total) / n:
            expected = [(n * v - total) / n / deviation for v in values]
            assert np.allclose(task.test.x[:, c].flatten(), expected, rtol=1e-6, atol=1e-6)


def test_a_large_offset_leaves_the_deviation_at_one():
    x = 1_000_000 + np.random.default_rng(0).integers(-3, 4, size=(40, 1, 6, 6))
    assert own(train=(x, arrays()[1])).train.x.double().std() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("constant", [0.1, 7, 1e30, -1 / 3])
def test_a_constant_channel_becomes_zero(constant):
    assert not own(train=(np.full((40, 1, 6, 6), constant), arrays()[1])).train.x.any()


def test_large_sets_are_normalised_in_chunks():
    x, y = arrays(3000, (1, 20, 20))
    assert len(list(data.arrays.stretches(x))) > 1
    expected = (x - x.mean()) / x.std()
    assert np.allclose(data.image_task("own", "abcd", (x, y), (x, y), (x, y)).valid.x, expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "uint8", "int8", "int64", "uint64", "bool"])
@pytest.mark.parametrize("form", [np.asarray, np.ndarray.tolist, torch.as_tensor])
@pytest.mark.parametrize("label", ["uint8", "int16", "uint64", "float32"])
def test_arrays_tensors_and_lists_are_the_same_task(kind, form, label):
    x, y = arrays()
    x = np.clip(x, 0, 7).astype(kind)
    expected = own(train=(x.astype(np.float64), y)).train
    found = own(train=(form(x), form(y.astype(label)))).train
    assert np.allclose(found.x, expected.x, atol=1e-6) and torch.equal(found.y, expected.y)


def test_bfloat16_pixels_are_pixels():
    images = torch.arange(8 * 16.0).reshape(8, 1, 4, 4)
    both = [data.image_task("own", "a", *[(x, [0] * 8)] * 3) for x in (images, images.bfloat16())]
    assert torch.allclose(both[0].train.x, both[1].train.x, atol=0.02)


# Bad input


BAD_SPLITS = [
    *[(spoilt((7, 0, 2, 3), v), "a pixel that is not finite in image 7, expected") for v in (math.nan, math.inf)],
    *[(spoilt(5, v, 1), f"label {v} at index 5, expected whole numbers") for v in (math.nan, 0.5, math.inf)],
    (spoilt(5, -1, 1), "label -1.0 at index 5, expected 0 to 3"),
    (spoilt(5, 4, 1), "label 4.0 at index 5, expected 0 to 3"),
    ((arrays()[0], np.full(40, 2**64 - 1, np.uint64)), "label 18446744073709551615 at index 0"),
    (arrays(shape=(6, 6, 3)), r"shape \(40, 6, 6, 3\), expected \(N, C, H, W\); .* images.transpose\(0, 3, 1, 2\)"),
    (arrays(shape=(6, 7, 1)), r"\(N, C, H, W\); move the channels with images.transpose"),
    ((torch.zeros(40, 6, 6, 3), arrays()[1]), r"images.permute\(0, 3, 1, 2\)"),
    (arrays(shape=(2, 6, 6)), r"images \(2, 6, 6\), expected \(1, 6, 6\) as in train"),
    (arrays(shape=(1, 5, 5)), r"images \(1, 5, 5\), expected \(1, 6, 6\) as in train"),
    (arrays(shape=(36,)), r"pixels \(40, 36\) and labels \(40,\), expected"),
    ((arrays()[0], np.eye(4)[arrays()[1]]), r"labels \(40, 4\), expected"),
    ((arrays()[0], list("abcd" * 10)), "labels of type <U1, expected real numbers"),
    ((arrays()[0].astype(complex), arrays()[1]), "images of type complex128"),
    ((arrays()[0].astype(str), arrays()[1]), "images of type <U"),
    ((arrays()[0], [None] * 40), "labels of type object"),
    (([[1, 2], [3]], [0, 1]), "images: got list, expected an array"),
    ((np.zeros((0, 1, 6, 6)), []), "pixels"),
    (arrays()[0], "got ndarray, expected a pair"),
    (None, "got NoneType, expected a pair"),
    (data.Images(torch.zeros(2, 1, 6, 6), torch.zeros(2, dtype=torch.int64)), "got Images, expected a pair"),
    (([1e300 * v for v in (arrays()[0])], arrays()[1]), "not finite in image 0"),
]  # fmt: skip


@pytest.mark.parametrize("split", ["valid", "test"])
@pytest.mark.parametrize(("arrays", "message"), BAD_SPLITS)
def test_a_bad_split_is_refused_by_name(split, arrays, message):
    with pytest.raises(ValueError, match=f"{split}( images)?: (got )?{message}|{split}.*{message}"):
        own(**{split: arrays})


def test_train_is_refused_for_the_same_and_for_numbers_that_have_no_squares():
    for bad, message in BAD_SPLITS[:-1]:
        if "as in train" not in message:
            with pytest.raises(ValueError, match=f"train.*{message}"):
                own(train=bad)
    for scale in (1e300, 1e-300):
        with pytest.raises(
            ValueError, match=r"train: got pixels from .*: float64 cannot hold their squares; scale them"
        ):
            own(train=(arrays()[0] * scale, arrays()[1]))


@pytest.mark.parametrize("classes", [(), 4, None, ("a", "a", "b", "c"), (0, 1, 2, 3)])
def test_bad_classes_are_refused(classes):
    with pytest.raises(ValueError, match=r"classes: got .*, expected a sequence of different names"):
        data.image_task("own", classes, arrays(), arrays(), arrays())


def test_tasks_of_tensors_are_checked_too():
    y = torch.arange(4)
    good = Images(torch.randn(4, 1, 3, 3), y)
    for bad in (math.nan, math.inf):
        x = good.x.clone()
        x[2, 0, 1, 1] = bad
        with pytest.raises(ValueError, match="x: got a pixel that is not finite in image 2, expected finite numbers"):
            Images(x, y)
    with pytest.raises(ValueError, match=r"expected floats \(N, C, H, W\); add a channel axis with x\[:, None\]"):
        Images(good.x[:, 0], y)
    with pytest.raises(ValueError, match="y: got label -1, expected labels of at least 0"):
        Images(good.x, y - 1)
    with pytest.raises(ValueError, match="x: got ndarray, expected a tensor"):
        Images(good.x.numpy(), y)
    with pytest.raises(ValueError, match="valid: got label 3, expected 0 to 2"):
        data.ImageTask("own", ("a", "b", "c"), good.head(3), good, good)
    with pytest.raises(ValueError, match=r"test: got images \(1, 2, 3\), expected \(1, 3, 3\) as in train"):
        data.ImageTask("own", tuple("abcd"), good, good, Images(good.x[:, :, 1:], y))
    with pytest.raises(ValueError, match="valid: got ndarray, expected Images; `image_task` takes arrays"):
        data.ImageTask("own", tuple("abcd"), good, good.x.numpy(), good)
    assert len(good.head(0)) == 0


# Splits


@given(st.lists(st.integers(0, 3), min_size=12, max_size=200), st.sampled_from([0.1, 0.2, 0.35]), st.integers(0, 2**40))
def test_split_takes_every_image_once_and_is_stratified(labels, fraction, seed):
    x, y = np.arange(len(labels), dtype=float).reshape(-1, 1, 1, 1), np.array(labels)
    splits = data.split(x, labels, valid=fraction, test=fraction, seed=seed)
    assert [len(y) for _, y in splits[1:]] == [round(fraction * len(labels))] * 2
    assert sorted(np.concatenate([x.flatten() for x, _ in splits])) == [*range(len(labels))]
    for images, found in splits:
        assert np.array_equal(y[images.flatten().astype(int)], found)
        expected = np.bincount(y, minlength=4) * len(found) / len(y)
        assert np.abs(np.bincount(found, minlength=4) - expected).max() <= 2  # one of each class at either end
    again = data.split(x, labels, valid=fraction, test=fraction, seed=seed)
    assert all(
        np.array_equal(a, b) for one, two in zip(splits, again, strict=True) for a, b in zip(one, two, strict=True)
    )


def test_a_set_without_splits_becomes_a_task():
    x, y = arrays(100)
    task = data.image_task("own", "abcd", *data.split(x, y, valid=0.2, test=0.1, seed=3))
    assert [len(getattr(task, split)) for split in SPLITS] == [70, 20, 10]
    assert not np.array_equal(data.split(x, y, seed=0)[0][0], data.split(x, y, seed=1)[0][0])
    for arguments, message in (
        ({"valid": 0}, "valid: got 0, expected a fraction between 0 and 1"),
        ({"test": 5}, "test: got 5, expected a fraction"),
        ({"valid": math.nan}, "valid: got nan"),
        ({"valid": 0.5, "test": 0.5}, "valid, test: got 0.5, 0.5, which leave 0, 50, 50 of 100 images"),
        ({"valid": 0.001}, "which leave 90, 0, 10 of 100"),
        ({"seed": -1}, "seed: got -1"),
        ({"images": spoilt((7, 0, 2, 3), math.nan)[0], "labels": y[:40]}, "images: got a pixel .* in image 7"),
        ({"labels": y - 1}, "images: got label -1 at index 0, expected at least 0"),
    ):
        with pytest.raises(ValueError, match=message):
            data.split(**({"images": x, "labels": y} | arguments))


# Batches


@given(st.integers(1, 40), st.data(), st.integers(0, 2**40))
def test_an_epoch_takes_each_image_at_most_once(n, draw, seed):
    size = draw.draw(st.integers(1, n))
    images, per_epoch = numbered(n), n // size
    assert data.image_batches(images, size) == per_epoch
    epoch = draw.draw(st.integers(0, 10**6))
    order = draw.draw(st.permutations(range(epoch * per_epoch, (epoch + 1) * per_epoch)))
    batches = {index: data.image_batch(images, index, size, seed) for index in order}
    assert all(len(y) == size and torch.equal(x.flatten().long(), y) for x, y in batches.values())
    assert len({int(k) for _, y in batches.values() for k in y}) == per_epoch * size


def test_epochs_and_seeds_differ():
    images = numbered(100)
    drawn = [data.image_batch(images, index, 100, seed)[1].tolist() for seed in (0, 1) for index in (0, 1)]
    assert len({tuple(d) for d in drawn}) == 4 and all(sorted(d) == [*range(100)] for d in drawn)
