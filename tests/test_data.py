import gzip
import hashlib
import io
import math
import os
import struct
import subprocess
import sys
import tarfile
import threading
import zlib
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from naslab import assets, data
from naslab.assets import make_fashion_mnist, make_pride_and_prejudice
from naslab.data import Images

ASSETS = Path(str(files("naslab.assets")))
SPLITS = ("train", "valid", "test")


@pytest.fixture(scope="module")
def fashion():
    return data.fashion()


@pytest.fixture(scope="module")
def novel():
    return data.pride_and_prejudice()


# --- the assets


def test_assets_are_whole_licensed_and_small():
    sums = dict(reversed(line.split("  ")) for line in (ASSETS / "SHA256SUMS").read_text().splitlines())
    kept = [p for p in ASSETS.iterdir() if p.is_file()]
    assert set(sums) == {p.name for p in kept if p.suffix in (".npz", ".txt")}
    for name, expected in sums.items():
        assert hashlib.sha256((ASSETS / name).read_bytes()).hexdigest() == expected, name
        stem = name.partition(".")[0]
        assert "ermi" in (ASSETS / f"{stem}.LICENSE").read_text() and (ASSETS / f"make_{stem}.py").is_file()
        assert name in (ASSETS / "README.md").read_text()
    assert sum(p.stat().st_size for p in kept) <= 6_000_000


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda raw: raw.replace(b"\n", b"\r\n"),
            "got Windows line endings, .*`git config --global core.autocrlf false",
        ),
        (lambda raw: raw[:-1], "got SHA-256 sum .*: the file is damaged; clone the repository again, or reinstall"),
        (lambda raw: raw.replace(b"truth", b"lies!"), "got SHA-256 sum .*: the file is damaged"),
    ],
)
def test_a_changed_asset_is_refused_with_a_remedy(tmp_path, monkeypatch, damage, message):
    for name in ("SHA256SUMS", "pride_and_prejudice.txt"):
        (tmp_path / name).write_bytes((ASSETS / name).read_bytes())
    monkeypatch.setattr(assets, "files", lambda package: tmp_path)
    assert len(data.pride_and_prejudice().vocabulary) == 75
    for name in ("SHA256SUMS", "pride_and_prejudice.txt"):  # both may have been changed by the same program
        path = tmp_path / name
        path.write_bytes(
            path.read_bytes().replace(b"\n", b"\r\n") if name == "SHA256SUMS" else damage(path.read_bytes())
        )
    with pytest.raises(ValueError, match=rf"pride_and_prejudice\.txt: {message}"):
        data.pride_and_prejudice()


def test_every_asset_is_read_through_its_checksum():
    """No module of the package opens a bundled file by itself."""
    package = ASSETS.parent
    sources = [p for p in package.rglob("*.py") if p.parent != ASSETS]
    assert sources and not [p for p in sources if "naslab.assets" in p.read_text(encoding="utf-8")]


def same_asset(made: Path, kept: Path) -> bool:
    if "ng" not in zlib.ZLIB_RUNTIME_VERSION:  # zlib-ng packs the same arrays into other bytes
        return made.read_bytes() == kept.read_bytes()
    with np.load(made) as a, np.load(kept) as b:
        return a.files == b.files and all(np.array_equal(a[name], b[name]) for name in a.files)


@pytest.mark.skipif(not Path(make_fashion_mnist.SOURCE).is_dir(), reason="needs Debian's dataset-fashion-mnist")
def test_images_are_made_anew(tmp_path):
    make_fashion_mnist.main(folder=str(tmp_path))
    assert same_asset(tmp_path / "fashion_mnist.npz", ASSETS / "fashion_mnist.npz")


@pytest.mark.skipif(not Path(make_pride_and_prejudice.SOURCE).is_dir(), reason="needs Debian's r-cran-janeaustenr")
def test_text_is_made_anew(tmp_path):
    make_pride_and_prejudice.main(folder=str(tmp_path))
    made = (tmp_path / "pride_and_prejudice.txt").read_bytes()
    assert made == (ASSETS / "pride_and_prejudice.txt").read_bytes()


def test_subset_is_stratified_and_drops_duplicates():
    rng = np.random.default_rng(0)

    def official(per_class):
        return rng.integers(256, size=(10 * per_class, 2, 2), dtype=np.uint8), np.repeat(np.arange(10), per_class)

    train, test = official(5), official(2)
    train[0][0] = test[0][0]  # class 0: also in test
    train[0][6] = train[0][5]  # class 1: twice in train
    arrays = make_fashion_mnist.subset(train, test, (2, 1, 1))
    assert arrays["train_y"].tolist() == [*range(10)] * 2 and arrays["valid_y"].tolist() == [*range(10)]
    assert np.array_equal(arrays["test_x"], test[0][::2])
    assert [arrays["train_x"][k].tolist() for k in (0, 10)] == train[0][1:3].tolist()
    assert [arrays[s][k].tolist() for s, k in (("train_x", 1), ("train_x", 11), ("valid_x", 1))] == [
        train[0][place].tolist() for place in (5, 7, 8)
    ]


def test_r_database_is_read():
    def ints(*values):
        return struct.pack(f">{len(values)}i", *values)

    def chars(text):
        return ints(9, len(text)) + text

    def strings(*texts):
        return ints(16, len(texts)) + b"".join(map(chars, texts))

    head, end = b"X\n" + ints(2, 0x040202, 0x020300), ints(254)
    names = ints(0x402, 1) + chars(b"names")  # a pair list with a tag; the tag is a symbol
    again = ints(0x402, (1 << 8) | 255)  # the same symbol, by reference
    poem = head + strings(b"It is a truth", b"", b"universally acknowledged")
    packed = ints(len(poem)) + zlib.compress(poem)
    variables = ints(0x213, 1) + ints(13, 2, 3, len(packed)) + names + strings(b"novel") + end
    index = head + ints(0x213, 1) + variables + again + strings(b"variables") + end
    read = partial(make_pride_and_prejudice.lines, gzip.compress(index))
    assert read(b"---" + packed, "novel") == ["It is a truth", "", "universally acknowledged"]
    newer = b"X\n" + ints(3, 0x040202, 0x030500, 5) + b"UTF-8"
    assert make_pride_and_prejudice.unserialise(newer + strings("naïve".encode())) == ["naïve"]
    with pytest.raises(ValueError, match="R type: got 14"):
        make_pride_and_prejudice.unserialise(head + ints(14, 1) + bytes(8))
    with pytest.raises(ValueError, match="expected the binary XDR form"):
        make_pride_and_prejudice.unserialise(b"A\n")


# --- the tasks


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


def arrays(n=40, shape=(1, 6, 6), classes=4, seed=0):
    """Images and labels that a task can be made of."""
    return np.random.default_rng(seed).normal(3, 2, (n, *shape)), np.arange(n) % classes


def own(**splits):
    """A task whose splits are `arrays`, but for those that are given."""
    return data.image_task("own", "abcd", **({split: arrays() for split in SPLITS} | splits))


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


def spoilt(place, value, of=0):
    """The arrays with one pixel, or with `of` 1 one label, replaced."""
    found = [a.astype(np.float64) for a in arrays()]
    found[of][place] = value
    return tuple(found)


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


# --- texts


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


def test_novel_is_split_in_order_between_paragraphs(novel):
    text = (ASSETS / "pride_and_prejudice.txt").read_text(encoding="utf-8")
    parts = ["".join(novel.vocabulary[k] for k in getattr(novel, split).tolist()) for split in SPLITS]
    assert "".join(parts) == text
    assert all(part.endswith("\n\n") for part in parts[:2]) and not parts[2].startswith("\n")
    assert [len(part) / len(text) for part in parts] == pytest.approx([0.9, 0.05, 0.05], abs=0.002)
    assert len(novel.vocabulary) == len(set(text)) == 75
    assert (len(novel.train), len(novel.valid)) == (616_102, 33_442)
    assert novel.to("cpu").test.dtype == torch.int64


# --- batches


def numbered(n):
    """Images whose pixel and label say which they are."""
    return Images(torch.arange(n, dtype=torch.float32).reshape(n, 1, 1, 1), torch.arange(n))


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


# --- the full sets


def idx(array):
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def fashion_folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in data.files.FASHION:
        n = 40 if name.startswith("train") else 20
        array = rng.integers(256, size=(n, 28, 28)) if "images" in name else np.arange(n) % 10
        (tmp_path / name).write_bytes(gzip.compress(idx(array.astype(np.uint8))))
    return tmp_path


def test_full_fashion_from_a_folder(fashion_folder):
    task = data.fashion_full(fashion_folder)
    assert [len(getattr(task, s)) for s in SPLITS] == [36, 4, 20] and task.shape == (1, 28, 28)
    pixels = data.read_idx(fashion_folder / "train-images-idx3-ubyte.gz")
    assert torch.unique(torch.cat([task.train.x, task.valid.x]).flatten(1), dim=0).shape == (40, 784)
    expected = (pixels[:36] - pixels[:36].mean()) / pixels[:36].std()
    assert np.allclose(task.train.x[:, 0], expected, atol=1e-4)


@pytest.mark.skipif(not data.files.DEBIAN_FASHION.is_dir(), reason="needs Debian's dataset-fashion-mnist")
def test_full_fashion_from_debian():
    published = {  # MD5 sums of the unpacked files
        "train-images-idx3-ubyte.gz": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte.gz": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte.gz": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte.gz": "15d484375f8d13e6eb1aabb0c3f46965",
    }
    for name, md5 in published.items():
        unpacked = gzip.decompress((data.files.DEBIAN_FASHION / name).read_bytes())
        assert hashlib.md5(unpacked, usedforsecurity=False).hexdigest() == md5
    task = data.fashion_full()
    assert [len(getattr(task, s)) for s in SPLITS] == [54000, 6000, 10000]
    assert (torch.bincount(task.valid.y) == 600).all() and (torch.bincount(task.train.y[:50]) == 5).all()
    images = [x.numpy().tobytes() for s in SPLITS for x in getattr(task, s).x]
    assert len(set(images)) == 70000


def test_damaged_idx_files_are_refused(tmp_path):
    array = np.arange(60, dtype=np.uint8).reshape(5, 4, 3)
    path, whole = tmp_path / "file.gz", gzip.compress(idx(array))
    path.write_bytes(whole)
    assert np.array_equal(data.read_idx(path), array)
    for cut in range(len(whole)):  # cut short anywhere
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"file\.gz: got .*, expected"):
            data.read_idx(path)
    for place in range(len(whole)):  # a byte changed anywhere: noticed, or of no consequence (the header's time)
        path.write_bytes(whole[:place] + bytes((whole[place] ^ 0x55,)) + whole[place + 1 :])
        try:
            assert np.array_equal(data.read_idx(path), array)
        except ValueError as error:
            assert "file.gz" in str(error)
    many = [bytes((0, 0, 8, n)) + struct.pack(f">{n}I", *(1,) * n) + b"!" for n in (0, 5, 33, 65, 255)]
    empty = [bytes((0, 0, 8, 3)) + struct.pack(">3I", *shape) for shape in ((0, 4, 3), (0, 2**32 - 1, 2**32 - 1))]
    for inner in (*many, *empty):
        path.write_bytes(gzip.compress(inner))
        with pytest.raises(ValueError, match=r"file\.gz: got \d+ axes"):
            data.read_idx(path)
    for inner in (idx(array)[:-1], idx(array) + b"!", idx(array)[:7], b"\0\0\x0d\1" + bytes(8), b"", b"\0\0\x08"):
        path.write_bytes(gzip.compress(inner))
        with pytest.raises(ValueError, match=r"file\.gz: got .*, expected|file\.gz: got \d+ bytes"):
            data.read_idx(path)


def test_images_and_labels_must_fit(fashion_folder):
    name = "train-labels-idx1-ubyte.gz"
    for labels, message in ((np.zeros(39), "labels \\(39,\\)"), (np.full(40, 10), "label 10 at index 0")):
        (fashion_folder / name).write_bytes(gzip.compress(idx(labels.astype(np.uint8))))
        with pytest.raises(ValueError, match=rf"train-images-idx3-ubyte\.gz: got .*{message}"):
            data.fashion_full(fashion_folder)


def cifar_archive(path, change=lambda members: None, folder="cifar-10-batches-bin/"):
    rng = np.random.default_rng(0)
    names = [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]
    members = {"batches.meta.txt": b"airplane\n"}
    for name in names:
        records = rng.integers(256, size=(4, 3073), dtype=np.uint8)
        records[:, 0] = rng.integers(10, size=4)
        members[name] = records.tobytes()
    change(members)
    with tarfile.open(path, "w:gz") as archive:
        for name, raw in members.items():
            info = tarfile.TarInfo(folder + name)
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    return members


def test_cifar_from_a_folder(tmp_path):
    members = cifar_archive(tmp_path / "cifar-10-binary.tar.gz")
    (x, y), (test_x, test_y) = data.read_cifar(tmp_path / "cifar-10-binary.tar.gz")
    assert x.shape == (20, 3, 32, 32) and test_x.shape == (4, 3, 32, 32)
    raw = members["data_batch_2.bin"]  # its second record is the sixth of train
    assert y[5] == raw[3073] and x[5, 1, 2, 3] == raw[3073 + 1 + 1024 + 2 * 32 + 3]
    assert test_y[3] == members["test_batch.bin"][3 * 3073] and test_x[3, 2, 31, 31] == members["test_batch.bin"][-1]
    task = data.cifar10(tmp_path)
    assert [len(getattr(task, s)) for s in SPLITS] == [18, 2, 4] and task.classes[0] == "airplane"
    assert task.train.x.mean((0, 2, 3)).abs().max() < 1e-5
    assert [p.name for p in tmp_path.iterdir()] == ["cifar-10-binary.tar.gz"]  # nothing was unpacked


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop("data_batch_3.bin"), "got no data_batch_3.bin, expected data_batch_1.bin, "),
        (lambda m: m.update({"test_batch.bin": bytes(3072)}), "test_batch.bin: got 3072 bytes, expected"),
        (lambda m: m.update({"test_batch.bin": b""}), "test_batch.bin: got 0 bytes"),
        (lambda m: m.update({"test_batch.bin": b"\x0a" * 3073}), "test_batch.bin: got label 10 at index 0"),
    ],
)
def test_foreign_cifar_archives_are_refused(tmp_path, change, message):
    cifar_archive(tmp_path / "cifar-10-binary.tar.gz", change)
    with pytest.raises(ValueError, match=rf"cifar-10-binary\.tar\.gz: {message}"):
        data.cifar10(tmp_path)


def test_damaged_cifar_archives_are_refused(tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    cifar_archive(path)
    whole = path.read_bytes()
    expected = data.read_cifar(path)
    for cut in [*range(0, len(whole), 2999), *range(len(whole) - 20, len(whole))]:
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"cifar-10-binary\.tar\.gz: got .*, expected"):
            data.read_cifar(path)
    for place in [*range(0, len(whole), 2999), *range(len(whole) - 20, len(whole))]:
        path.write_bytes(whole[:place] + bytes((whole[place] ^ 0x55,)) + whole[place + 1 :])
        try:
            found = data.read_cifar(path)
        except ValueError as error:
            assert "cifar-10-binary.tar.gz" in str(error)
        else:
            assert all(np.array_equal(a, b) for k in (0, 1) for a, b in zip(found[k], expected[k], strict=True))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_cifar_member_that_is_no_file_is_refused(tmp_path, kind):
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
        info.type, info.linkname = kind, "absent"
        archive.addfile(info)
    with pytest.raises(ValueError, match=r"cifar-10-binary\.tar\.gz: data_batch_1\.bin: got a link, folder or device"):
        data.read_cifar(path)


def test_cifar_archive_writes_nowhere(tmp_path):
    (tmp_path / "in").mkdir()
    cifar_archive(tmp_path / "in" / "cifar-10-binary.tar.gz", folder="../")
    assert len(data.cifar10(tmp_path / "in").test) == 4
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def penn(folder, train=" a b <unk> \n c N \n", valid=" b \n", test=" c a \n"):
    for name, text in zip(data.files.PTB, (train, valid, test), strict=True):
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def test_penn_treebank_from_a_folder(tmp_path):
    penn(tmp_path)
    task = data.ptb(tmp_path)
    words = [[task.vocabulary[k] for k in getattr(task, split).tolist()] for split in SPLITS]
    assert words == [["a", "b", "<unk>", "<eos>", "c", "N", "<eos>"], ["b", "<eos>"], ["c", "a", "<eos>"]]
    assert task.vocabulary == tuple(sorted(set(words[0]))) and task.train.dtype == torch.int64


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"test": " c a \n zyzzyva \n"}, "ptb.test.txt: got 'zyzzyva', expected words of ptb.train.txt only"),
        ({"train": " a b c"}, "ptb.train.txt: got ' a b c' at the end, expected a whole line"),
        ({"valid": ""}, "ptb.valid.txt: got '' at the end"),
        ({"valid": b" a \xff \n"}, "ptb.valid.txt: got byte 0xff at 3, expected UTF-8"),
        *[
            ({"test": f" a b{character} \n"}, r"ptb.test.txt: got the control character '.*' at 4, expected text$")
            for character in "\0\a\t\x1c\x7f\x85\xa0"
        ],
        ({"train": " a \r\n"}, r"got the control character '\\r' at 3, .*; the line endings are those of Windows"),
    ],
)
def test_damaged_penn_treebank_is_refused(tmp_path, texts, message):
    penn(tmp_path, **texts)
    with pytest.raises(ValueError, match=message):
        data.ptb(tmp_path)


@pytest.mark.parametrize(
    ("load", "files"),
    [(data.fashion_full, data.files.FASHION), (data.cifar10, data.files.CIFAR10), (data.ptb, data.files.PTB)],
)
def test_a_missing_file_is_named(tmp_path, load, files):
    name = next(iter(files))
    with pytest.raises(ValueError, match=rf"folder: got no .*{name}; get it from https://"):
        load(tmp_path)


# --- files that were changed at random; `NASLAB_FUZZ=5000` tries more of them

FUZZ = int(os.environ.get("NASLAB_FUZZ", "40"))
CHANGES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 40), st.binary(max_size=40)), min_size=1, max_size=4)


def changed(raw, changes):
    """The bytes after stretches of them, each given by its place, were replaced by others."""
    for place, length, new in changes:
        at = round(place * len(raw))
        raw = raw[:at] + new + raw[at + length :]
    return raw


def only_value_errors(read, path, raw):
    """Reads the file; whatever is wrong with it, the reader says so with a `ValueError` that names the file."""
    path.write_bytes(raw)
    try:
        read(path)
    except ValueError as error:
        assert str(path) in str(error), repr(error)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzzed") / "file"


@settings(max_examples=FUZZ)
@given(st.sampled_from([(5, 4, 3), (7,), (2, 1, 1, 9)]), CHANGES, st.booleans())
def test_a_changed_idx_file_is_read_or_refused(fuzzed, shape, changes, packed):
    whole = idx(np.arange(np.prod(shape), dtype=np.uint8).reshape(shape))
    raw = changed(gzip.compress(whole), changes) if packed else gzip.compress(changed(whole, changes))
    only_value_errors(data.read_idx, fuzzed, raw)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "cifar.tar.gz"
    cifar_archive(path)
    return gzip.decompress(path.read_bytes())


HEADERS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 511), st.binary(min_size=1, max_size=40)), max_size=3)


@settings(max_examples=FUZZ)
@given(HEADERS, CHANGES, st.sampled_from(["header", "anywhere", "packed"]), st.booleans())
def test_a_changed_cifar_archive_is_read_or_refused(fuzzed, archive, headers, changes, where, valid):
    raw = archive
    if where == "header":
        starts = [at for at in range(0, len(raw), 512) if raw[at + 257 : at + 262] == b"ustar"]
        for member, place, new in headers:
            at = starts[member % len(starts)]
            block = bytearray(raw[at : at + 512])
            block[place : place + len(new)] = new[: 512 - place]
            if valid:  # with the checksum that tar asks for
                block[148:156] = b" " * 8
                block[148:156] = b"%06o\0 " % sum(block)
            raw = raw[:at] + bytes(block) + raw[at + 512 :]
    elif where == "anywhere":
        raw = changed(raw, changes)
    packed = gzip.compress(raw, 1)
    only_value_errors(data.read_cifar, fuzzed, changed(packed, changes) if where == "packed" else packed)


@settings(max_examples=FUZZ)
@given(CHANGES)
def test_a_changed_text_is_read_or_refused(fuzzed, changes):
    only_value_errors(data.read_words, fuzzed, changed(" a b <unk> naïve \n c N \n".encode() * 4, changes))


# --- downloads, from a server on this machine


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "ptb.train.txt").write_bytes(b" a b \n" * 1000)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def send_header(self, name, value):  # lie about the length of one file: the connection breaks half-way
            if name.lower() == "content-length" and self.path.endswith("broken.txt"):
                value = str(10 * int(value))
            super().send_header(name, value)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "served"))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", tmp_path / "served", tmp_path / "cache"
        server.shutdown()
        thread.join()


def md5(raw):
    return hashlib.md5(raw, usedforsecurity=False).hexdigest()


def test_download_is_cached(server, capfd):
    url, served, cache = server
    raw = (served / "ptb.train.txt").read_bytes()
    wanted = {"ptb.train.txt": md5(raw)}
    (path,) = data.fetch(url, wanted, cache=cache)
    assert path.read_bytes() == raw and path.parent == cache
    assert "100%" in capfd.readouterr().err  # the progress bar
    (served / "ptb.train.txt").unlink()
    assert data.fetch(url, wanted, cache=cache) == [path]  # no need of the server any more


def test_damaged_cache_is_downloaded_again(server):
    url, served, cache = server
    raw = (served / "ptb.train.txt").read_bytes()
    (path,) = data.fetch(url, {"ptb.train.txt": md5(raw)}, cache=cache)
    path.write_bytes(raw[:100])
    assert data.fetch(url, {"ptb.train.txt": md5(raw)}, cache=cache)[0].read_bytes() == raw


def test_failed_downloads_leave_nothing_and_say_what_to_do(server):
    url, served, cache = server
    raw = (served / "ptb.train.txt").read_bytes()
    (served / "broken.txt").write_bytes(raw)
    remedy = f"by hand and put it into {cache}, or pass folder="
    for kind, name, where in (
        (ValueError, "ptb.train.txt", url),  # another file than expected
        (ConnectionError, "absent.txt", url),  # 404
        (ConnectionError, "broken.txt", url),  # cut off
        (ConnectionError, "ptb.train.txt", "http://127.0.0.1:9/"),  # nobody listens
        (ConnectionError, "ptb.train.txt", "http://no-such-host.invalid/"),
    ):
        expected = md5(b"other") if kind is ValueError else md5(raw)
        with pytest.raises(kind) as caught:
            data.fetch(where, {name: expected}, cache=cache)
        message = str(caught.value)
        assert message.startswith(name) and remedy in message and where + name in message and "\n" not in message
        assert not [*cache.glob("*")], "something is left in the cache"


def test_bfloat16_pixels_are_pixels():
    images = torch.arange(8 * 16.0).reshape(8, 1, 4, 4)
    both = [data.image_task("own", "a", *[(x, [0] * 8)] * 3) for x in (images, images.bfloat16())]
    assert torch.allclose(both[0].train.x, both[1].train.x, atol=0.02)
