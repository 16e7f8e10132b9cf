"""Prose does not tell what only this run showed: another processor, seed or version of the code may show another thing.

The rule holds for Markdown after a cell whose numbers are not compared (`nbval-ignore-output`), up to the next heading
of level 2. There, a repetition may not be named ("seed 3"), and a figure needs an assertion of the section with that
number, or a citation in its sentence. What an interval says about 0 must be printed in words, which are compared.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from words import words

from naslab.ops import CONV_OPS

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)

COUNT = r"(?:one|two|three|four|five|six|seven|eight|nine|ten|\d+)"
REPETITION = re.compile(
    r"\b(?:seed|search|number|run|repetition)s? \d\d?\b"
    r"|\b(?:first|second|third|fourth|fifth|last) (?:seed|run|repetition)\b",
    re.I,
)
FIGURE = re.compile(
    r"\d+\.\d+"
    r"|\d[\d,]*(?: ?%| (?:percent|points?|ms|s|seconds?|minutes?|MB|bits?|nats?|times)\b)"
    rf"|\b{COUNT} (?:\w+ )?of (?:the |all )?{COUNT}\b",
    re.I,
)
VERDICT = re.compile(
    r"\bintervals?\b.*\b(?:zero|0)\b|\bzero\b.*\binterval|\b(?:not|cannot|be) be told (?:apart|from)", re.I
)
SAID = re.compile(r"above 0|below 0|# is (?:in|out)side|above #|below #|cannot be told")  # words as they are printed
CITATION = re.compile(r"\b(?:19|20)\d\d\b|\b(?:papers?|articles?|authors?|publish\w+|report\w*)\b", re.I)
PLACE = re.compile(r"\b(?:sections?|tables?|figures?|equations?|lessons?) [\d.]+(?:(?:,| and| to) [\d.]+)*", re.I)
LEVEL = re.compile(r"\b9[059] ?%(?= (?:confidence )?interval)|\b[01]\d\.\d\b")  # of an interval; an exercise's name
NO_PROSE = re.compile(
    r"```.*?```|\$\$.*?\$\$|^    .*?$|^#.*?$|^\*\*(?:Your turn|Predict first).*?(?:\n\n|\Z)", re.S | re.M
)
OPS = re.compile(rf"\b(?:{'|'.join(name for name in CONV_OPS if '_' in name)})\b")


def sentences(text: str) -> Iterator[str]:
    """The sentences of Markdown, without formulas, code and headings; a single word in code counts as a word."""
    text = re.sub(r"`(\w+)`", r"\1", NO_PROSE.sub("\n\n", text))
    text = re.sub(r"\$[^$]*\$|`[^`]*`|(?<=\])\([^)]*\)", "", text)
    for sentence in re.split(r"(?<=[.!?])[*)\"]*\s+|\n\s*\n|\n(?=[-*|>])", text):
        if sentence.strip():
            yield " ".join(sentence.split())


def sections(cells: list[Any]) -> Iterator[list[tuple[int, Any]]]:
    """The numbered cells between two headings of level 2; a cell of Markdown with such headings is divided."""
    section: list[tuple[int, Any]] = []
    for number, cell in enumerate(cells):
        parts = re.split(r"^(?=## )", cell.source, flags=re.M) if cell.cell_type == "markdown" else []
        for part in filter(None, parts):
            if part.startswith("## "):
                yield section
                section = []
            section.append((number, new_markdown_cell(part)))
        if cell.cell_type == "code":
            section.append((number, cell))
    yield section


def asserted(source: str) -> set[float]:
    """The numbers in the assertions of a cell, also as percentages."""
    tests = (node.test for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert))
    nodes = (node for test in tests for node in ast.walk(test) if isinstance(node, ast.Constant))
    numbers = [float(node.value) for node in nodes if type(node.value) in (int, float)]
    return {round(number * factor, 9) for number in numbers for factor in (1, 100)}


def unbacked(cells: list[Any]) -> list[str]:
    """Every claim that breaks the rule: "cell 88: 'number 4': the sentence"."""
    found = []
    for section in sections(cells):
        code = [cell for _, cell in section if cell.cell_type == "code"]
        known = set().union(*(asserted(cell.source) for cell in code))
        said = any(SAID.search(line) for cell in code for line in words(cell.outputs))
        exempt, vary = False, False
        for number, cell in section:
            tags = cell.metadata.get("tags", ())
            exempt, vary = exempt or "nbval-ignore-output" in tags, vary or "words-vary" in tags
            if cell.cell_type == "code" or not exempt:
                continue
            for sentence in sentences(cell.source):
                plain = LEVEL.sub("", PLACE.sub("", sentence))
                claims = [match[0] for match in REPETITION.finditer(plain)]
                if not CITATION.search(plain):
                    figures = (match[0] for match in FIGURE.finditer(plain))
                    claims += [figure for figure in figures if not numbers(figure) or not numbers(figure) <= known]
                    claims += [match[0] for match in VERDICT.finditer(plain) if not said]
                    claims += [match[0] for match in OPS.finditer(plain) if vary]
                found += [f"cell {number}: {claim!r}: {sentence}" for claim in claims]
    return found


def numbers(figure: str) -> set[float]:
    return {float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?:\.\d+)?", figure)}


def section(prose: str, assertion: str = "assert gain > 0", printed: str = "gain +5.1 ± 4.9", *tags: str) -> list[Any]:
    """A lesson whose section 9 runs something, asserts something, then says something."""
    output = new_output("stream", text=printed)
    return [
        new_markdown_cell("## 8. Before\n\nSearch 3 found 7.25 %."),
        new_code_cell("x = 1"),
        new_markdown_cell("## 9. Derive"),
        new_code_cell("print(gain)", outputs=[output], metadata={"tags": ["nbval-ignore-output", *tags]}),
        new_code_cell(assertion),
        new_markdown_cell(f"{prose}\n\n## Recap\n\nSearch 3 found 7.25 %."),
    ]


@pytest.mark.parametrize(
    ("prose", "claim"),
    [
        ("And a search may fail: number 4 settled on two pools, and is worse.", "number 4"),
        ("What this run says. But the interval reaches down to about zero: five can barely rule out luck.", "interval"),
        ("Train again. The loser's mean is 62.2 %, far below.", "62.2"),
        ("Here seed 3 diverged.", "seed 3"),
        ("We ran it with `seed` 1, too: the sign changed.", "seed 1"),
        ("Only the third run got there.", "third run"),
        ("It is ahead by 5 points.", "5 points"),
        ("The mixture reads four digits of five.", "four digits of five"),
        ("It won in 4 of 5 searches.", "4 of 5"),
        ("It takes 12 minutes.", "12 minutes"),
        ("They cannot be told apart.", "be told apart"),
        ("As in section 3, the mean is 5.4 (section 3).", "5.4"),
    ],
)
def test_what_only_the_run_shows_is_refused(prose: str, claim: str) -> None:
    (found,) = unbacked(section(prose))
    assert found.startswith("cell 5: ") and claim in found.split(": ")[1]


@pytest.mark.parametrize(
    "prose",
    [
        "The difference has a 95 % interval; see sections 2.3 and 3.1, and equation 1.",
        "The paper reports 2.76 ± 0.09 % test error.",
        "Li & Talwalkar (2019) found 2.85 %, with the interval above 0.",
        "**Your turn (05.5, ★).** Take 0.3 and 0.7.\n\nThen compare.",
        "With learning rate $0.025$ and `rate=0.1` nothing changes:\n\n    run --rate 0.5\n\n```\n0.25\n```",
        "Five searches, each with ten children, are a small sample; one of them may fail.",
        "Your answer to 09.2 was right.",
    ],
)
def test_what_is_cited_or_no_result_passes(prose: str) -> None:
    assert unbacked(section(prose)) == []


def test_an_assertion_with_the_number_backs_a_figure() -> None:
    assert unbacked(section("It gains more than 2.5 points.", "assert gain.low > 2.5")) == []
    assert unbacked(section("It keeps 40 % of them.", "assert kept >= 0.4")) == []
    assert unbacked(section("It gains more than 2.5 points.", "limit = 2.5\nassert gain.low > 2"))
    assert unbacked(section("It gains more than 2.5 points.", "x = 1") + section("", "assert gain > 2.5"))


def test_a_printed_verdict_backs_what_is_said_of_an_interval() -> None:
    prose = "The interval contains 0: they cannot be told apart."
    assert unbacked(section(prose, printed="gain +5.1 [-1, 2]: cannot be told from 0")) == []
    assert unbacked(section(prose))


def test_words_that_vary_are_not_told() -> None:
    prose = "It found `sep_conv_3x3` on every edge."
    assert unbacked(section(prose, "assert gain > 0", "sep_conv_3x3", "words-vary"))
    assert unbacked(section(prose)) == []


HOMEMADE = {
    r"\bseed\s*[+*]|[+*]\s*(?:run\.)?seed\b|\brange\((?:run\.)?seed\b|\b\d+ \+ s\b": "runs.spawn makes the seeds",
    r"\b1\.96\b|\bdef interval\b": "naslab.statistics makes the intervals",
    r"\bassert (?:.* )?run\.\w+ (?:>=?|<=?) \d": "runs.start(least=...) bounds a parameter before anything runs",
}


def homemade(cells: list[Any]) -> list[str]:
    """What a lesson makes by itself, though the package has it: "cell 24: 'seed +': runs.spawn makes the seeds"."""
    code = [(number, cell.source) for number, cell in enumerate(cells) if cell.cell_type == "code"]
    return [
        f"cell {number}: {match[0]!r}: {instead}"
        for number, source in code
        for pattern, instead in HOMEMADE.items()
        for match in re.finditer(pattern, source)
    ]


@pytest.mark.parametrize(
    "source",
    [
        "[search(run.seed + k) for k in range(5)]",
        "g.manual_seed(1000 + s)",
        "for s in range(run.seed, run.seed + 5): pass",
        "for s in range(seed, 10): pass",
        "torch.manual_seed(1000 * seed)",
        "half = 1.96 * error",
        "def interval(values): ...",
        "assert run.seeds >= 30, 'too few'",
        "assert run.layers >= 2 and run.seeds > 1",
    ],
)
def test_homemade_seeds_and_intervals_are_found(source: str) -> None:
    assert homemade([new_markdown_cell("1.96"), new_code_cell(source)])[0].startswith("cell 1: ")


@pytest.mark.parametrize(
    "source",
    [
        "seeds = runs.spawn(run.seed, 5)",
        "for s in seeds: g.manual_seed(s)",
        "statistics.interval(values)",
        "seed=seed",
        "assert len(steps) == run.updates and gain > 0",
    ],
)
def test_spawned_seeds_and_the_package_s_intervals_pass(source: str) -> None:
    assert homemade([new_code_cell(source)]) == []


@each_notebook
def test_lessons_tell_only_what_is_backed(path: Path) -> None:
    assert unbacked(nbformat.read(path, as_version=4).cells) == []


@each_notebook
def test_lessons_spawn_their_seeds_and_take_the_package_s_intervals(path: Path) -> None:
    assert homemade(nbformat.read(path, as_version=4).cells) == []
