"""A pytest plugin beside nbval: the words of a cell that nbval does not compare must be the committed ones, too.

A cell tagged `nbval-ignore-output` may show other numbers on another processor, and other ops where a search chose
them. Its verdicts may not flip. Where the words themselves may differ (which children failed, which of two rows comes
first), the cell also carries the tag `words-vary`, and prose must not rely on them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import unified_diff
from functools import cache
from typing import Any
from xml.etree import ElementTree

import pytest
from nbval.plugin import IPyNbCell, coalesce_streams

NUMBER = r"(?<!\w)(?:\d+x\d+|[-+−]?(?:\d+(?:[.,]\d+)*|\.\d+)(?:e[-+]?\d+)?)"  # 7x1, +1,375.5, .53, 3e-06
RULE = r"[-=─|+:_]{2,}|\\$"  # of a table: as wide as its numbers


@cache
def patterns() -> list[tuple[re.Pattern[str], str]]:
    from naslab.ops import ACTIVATIONS, COMBINERS, CONV_OPS  # here, since torch takes a second

    ops = "|".join(sorted({*CONV_OPS, *ACTIVATIONS, *COMBINERS}, key=len, reverse=True))
    masks = {rf"(?<!\w)(?:{ops})(?!\w)": "op", NUMBER: "#", RULE: ""}
    return [(re.compile(pattern, re.M), mask) for pattern, mask in masks.items()]


def masked(text: str) -> str:
    """The text with # for every number and "op" for every op, without a table's rules and the space that aligns it."""
    for pattern, mask in patterns():
        text = pattern.sub(mask, text)
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def words(outputs: Iterable[Any]) -> list[str]:
    """The masked lines of a cell's outputs: text, the alternative text of pictures, and what is written in them.

    How often and in which order a picture shows its words, such as the ticks of an axis, does not count.
    """
    found: list[str] = []
    for output in outputs:
        data = output.get("data", {})
        drawing = data.get("image/svg+xml")
        texts = [output.get("text", ""), data.get("text/plain", "")]
        texts += [data.get("text/markdown", "")] if not drawing else []  # the same picture
        texts += [value.get("alt", "") for value in output.get("metadata", {}).values() if isinstance(value, dict)]
        found += (line for text in texts for line in masked(text).splitlines())
        if drawing:
            found += sorted({masked(text) for text in written(drawing)} - {""})
    return found


def written(drawing: str) -> Iterator[str]:
    for element in ElementTree.fromstring(drawing).iter():
        if isinstance(element.tag, str) and element.tag.rsplit("}")[-1] in ("text", "title", "desc"):
            yield "".join(element.itertext())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    yield
    if not isinstance(item, IPyNbCell) or item.options["check"]:
        return
    if "words-vary" not in item.cell.metadata.get("tags", ()):
        before, now = words(coalesce_streams(item.cell.outputs)), words(item.test_outputs)
        if difference := list(unified_diff(before, now, "committed", "now", n=0, lineterm="")):
            item.raise_cell_error("Words of the output differ (# is a number)", "\n".join(difference))
