"""A pytest plugin for nbval: compares the words of cells whose outputs nbval does not compare.

On another processor a cell tagged `nbval-ignore-output` may show other numbers, and other ops if a search chose them.
Its verdicts must not change. If the words themselves may differ (which children failed, which of two rows comes first),
the cell also has the tag `words-vary`, and prose must not rely on them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from difflib import unified_diff
from functools import cache
from typing import Any
from xml.etree import ElementTree

import pytest
from nbval.plugin import IPyNbCell, coalesce_streams

NUMBER = r"(?<!\w)(?:\d+x\d+|[-+−]?(?:\d+(?:[.,]\d+)*|\.\d+)(?:e[-+]?\d+)?)"  # 7x1, +1,375.5, .53, 3e-06
RULE = r"[-=─|+:_]{2,}|\\$"  # rules of a table: their width depends on its numbers


@cache
def patterns() -> list[tuple[re.Pattern[str], str]]:
    from naslab.ops import ACTIVATIONS, COMBINERS, CONV_OPS  # imported here because torch takes a second

    ops = "|".join(sorted({*CONV_OPS, *ACTIVATIONS, *COMBINERS}, key=len, reverse=True))
    masks = {rf"(?<!\w)(?:{ops})(?!\w)": "op", NUMBER: "#", RULE: ""}
    return [(re.compile(pattern, re.M), mask) for pattern, mask in masks.items()]


def masked(text: str) -> str:
    """Replaces every number by # and every op by "op". Removes the rules of tables and the spaces that align them."""
    for pattern, mask in patterns():
        text = pattern.sub(mask, text)
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def words(outputs: Iterable[Any]) -> list[str]:
    """Returns the masked lines of a cell's outputs: text, and the alternative text, words and marks of pictures.

    The number and the order of a picture's words, such as the ticks of an axis, do not count. The number of its curves
    and other `marks` counts.
    """
    found: list[str] = []
    for output in outputs:
        data = output.get("data", {})
        drawing = data.get("image/svg+xml")
        texts = [output.get("text", ""), data.get("text/plain", "")]
        texts += [data.get("text/markdown", "")] if not drawing else []  # Markdown of a drawing repeats it
        texts += [value.get("alt", "") for value in output.get("metadata", {}).values() if isinstance(value, dict)]
        found += (line for text in texts for line in masked(text).splitlines())
        if drawing:
            found += sorted({masked(text) for text in written(drawing)} - {""})
            found += [f"{kind}: {count} drawn" for kind, count in sorted(marks(drawing).items())]
    return found


def written(drawing: str) -> Iterator[str]:
    for element in ElementTree.fromstring(drawing).iter():
        if name(element) in ("text", "title", "desc"):
            yield "".join(element.itertext())


def marks(drawing: str) -> Counter[str]:
    """Counts the elements of a chart by kind: those in the axes of a plot, and lines and bands of other charts.

    Ticks, markers and points do not count, because their number depends on the data. An element without coordinates
    (NaN) is not drawn and does not count.
    """
    found: Counter[str] = Counter()
    for element in ElementTree.fromstring(re.sub(r"<defs>.*?</defs>", "", drawing, flags=re.S)).iter():
        points = element.get("points", "")
        if re.match(r"axes_\d", element.get("id", "")):
            children = (child for child in element if any(map(is_drawn, child.iter())))
            found.update(child.get("id", "image").rstrip("_0123456789") for child in children)
        elif len(points.split()) > 5 and "nan" not in points:  # fewer: a marker, an arrow head, the background
            found[name(element)] += 1
    return found


def is_drawn(element: ElementTree.Element) -> bool:
    return name(element) in ("use", "text", "image") or bool(re.search("[LC]", element.get("d", "")))


def name(element: ElementTree.Element) -> str:
    return element.tag.rsplit("}")[-1]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    yield
    if not isinstance(item, IPyNbCell) or item.options["check"]:
        return
    if "words-vary" not in item.cell.metadata.get("tags", ()):
        before, now = words(coalesce_streams(item.cell.outputs)), words(item.test_outputs)
        if difference := list(unified_diff(before, now, "committed", "now", n=0, lineterm="")):
            item.raise_cell_error("Words of the output differ (# is a number)", "\n".join(difference))
