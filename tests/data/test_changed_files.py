"""Files that were changed at random; `NASLAB_FUZZ=5000` tries more of them."""

import gzip
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naslab import data

from .sets import cifar_archive, idx

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
