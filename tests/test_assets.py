"""Bundled data: whole, licensed, and made again from their sources."""

import gzip
import hashlib
import struct
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from data.sets import ASSETS

from naslab import assets, data
from naslab.assets import make_fashion_mnist, make_pride_and_prejudice
from naslab.benchmarks import BENCHMARKS


def test_assets_are_whole_licensed_and_small():
    sums = dict(reversed(line.split("  ")) for line in (ASSETS / "SHA256SUMS").read_text().splitlines())
    kept = [p for p in ASSETS.iterdir() if p.is_file()]
    assert set(sums) == {p.name for p in kept if p.suffix in (".npz", ".txt")}
    for name, expected in sums.items():
        assert hashlib.sha256((ASSETS / name).read_bytes()).hexdigest() == expected, name
        stem = name.partition(".")[0]
        script = ASSETS / f"make_{stem}.py"
        if stem in BENCHMARKS:
            stem, script = "tables", ASSETS.parents[1] / "tools" / "make_tables.py"
        assert "ermi" in (ASSETS / f"{stem}.LICENSE").read_text() and script.is_file()
        assert name in (ASSETS / "README.md").read_text()
    assert sum(p.stat().st_size for p in kept) <= 6_500_000
    own = [ASSETS / f"{name}.npz" for name in BENCHMARKS if f"{name}.npz" in sums]
    assert sum(path.stat().st_size for path in own) <= 1_500_000


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
