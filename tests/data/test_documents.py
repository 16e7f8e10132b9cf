"""A text file: where it is cut, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naslab.data.documents import read_text


def written(task, split):
    return "".join(task.vocabulary[k] for k in getattr(task, split))


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1, max_size=60), st.floats(0.1, 0.4))
def test_the_splits_are_the_text(tmp_path_factory, words, valid):
    path = tmp_path_factory.mktemp("text") / "mine.txt"
    text = "".join(map(str, range(3000))) + words
    path.write_text(text, encoding="utf-8", newline="")
    task = read_text(path, valid=valid, test=0.2)
    parts = [written(task, split) for split in ("train", "valid", "test")]
    assert "".join(parts) == text.removeprefix("\ufeff") and task.name == "mine"
    assert len(parts[1]) == pytest.approx(valid * len(text), abs=1) and len(parts[2]) == pytest.approx(
        0.2 * len(text), abs=1
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got 0 characters for train, expected at least 1,000"),
        (b"a" * 5000, "got 500 characters for valid"),
        (b"\xff\xfe" * 5000, "expected a text file in UTF-8"),
        (None, "No such file"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, content, message):
    path = tmp_path / "mine.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_text(path)


@pytest.mark.parametrize("settings", [{"valid": 0}, {"test": 1}, {"valid": 0.6, "test": 0.6}])
def test_bad_fractions(tmp_path, settings):
    path = tmp_path / "mine.txt"
    path.write_text("a" * 10_000)
    with pytest.raises(ValueError, match=r"valid: got|test: got|for train"):
        read_text(path, **settings)
