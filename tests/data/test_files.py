"""The full sets from files: whole, damaged, foreign."""

import gzip
import hashlib
import struct
import tarfile

import numpy as np
import pytest
import torch

from naslab import data

from .sets import SPLITS, cifar_archive, idx

# Fashion-MNIST


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


# CIFAR-10


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


# Penn Treebank


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


# Any of them


@pytest.mark.parametrize(
    ("load", "files"),
    [(data.fashion_full, data.files.FASHION), (data.cifar10, data.files.CIFAR10), (data.ptb, data.files.PTB)],
)
def test_a_missing_file_is_named(tmp_path, load, files):
    name = next(iter(files))
    with pytest.raises(ValueError, match=rf"folder: got no .*{name}; get it from https://"):
        load(tmp_path)
