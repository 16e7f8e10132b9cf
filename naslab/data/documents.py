"""Your own text: a file, or a string."""

from pathlib import Path

from naslab import checks
from naslab.data.text import TextTask, text_task

LEAST = 1000  # characters of a split: below, a perplexity says little


def read_text(path: Path | str, valid: float = 0.1, test: float = 0.1) -> TextTask:
    """Reads a text file in UTF-8 as characters. The end of the text is test, the part before it is valid.

    `valid` and `test` are fractions of the text, which is cut into three stretches, so that no sentence is in two of
    them. The vocabulary has all characters of the file. Raises `ValueError` if the file cannot be read or decoded, or
    if a split has fewer than 1,000 characters.
    """
    for name, fraction in (("valid", valid), ("test", test)):
        checks.positive(**{name: fraction})
        checks.number(0, 1, **{name: fraction})
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"path: got {str(path)!r} ({error}), expected a text file in UTF-8") from None
    first, second = (round(len(text) * share) for share in (1 - valid - test, 1 - test))
    parts = text[: max(first, 0)], text[max(first, 0) : second], text[second:]
    for name, part in zip(("train", "valid", "test"), parts, strict=True):
        if len(part) < LEAST:
            raise ValueError(f"{path}: got {len(part):,} characters for {name}, expected at least {LEAST:,}")
    return text_task(path.stem, *parts, sorted(set(text)))
