"""What an output says is compared, also where its numbers are not."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import regenerate
from nbformat.v4 import new_code_cell, new_notebook
from words import marks, masked, words, written

from naslab import view
from naslab.view.chart import Line, chart

ROOT = Path(__file__).parent.parent
GIVEN = {  # the charts that are compared to the byte, by lesson and title, and what their coordinates are
    ("00", "Twenty training images"): "the pixels of the data",
    ("00", "One architecture: a corner"): "ones and zeros",
    ("00", "15,625 architectures, all of them trained"): "counts of a table that is given",
    ("00", "Your cell and its place"): "counts and accuracies of a table that is given",
    ("03", "8,192 networks, all of them trained"): "counts of a table that is given",
    ("05", "A path in the supergraph"): "counts of steps",
    ("07", "Two objectives that agree at the corners"): "a line and a parabola over given numbers",
    ("12", "What was read"): "the pixels of the data",
    ("12", "Which photo is it from?"): "the pixels of the data",
    ("10", "125 cells, all of them trained"): "counts of a table that is given; marks: their mean and their maximum",
}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("gain +5.16 ± 4.88 points", "gain -1.7 ± 10.02 points"),
        ("12.5% of 2,805", "100% of 1,000,000.5"),
        ("best at radius 3e-06", "best at radius 0.001"),
        ("      tau  from\na    0.27 -0.00", "       tau    from\na    10.271   0.0"),
        ("a | b\n---|---\n1 | 2", "a   | b\n----|----\n1.5 | 2"),
        ("7x1 filters, P .53", "13x13 filters, P 1"),
        ("1: dil_conv_3x3 (0), tanh", "2: skip_connect (1), relu"),
    ],
)
def test_numbers_ops_and_layout_are_masked(one: str, other: str) -> None:
    assert masked(one) == masked(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("+5.1 ± 4.9: above 0", "+5.1 ± 5.2: cannot be told from 0"),
        ("evolution 0.1\nREINFORCE 0.2", "REINFORCE 0.1\nevolution 0.2"),
        ("loss 0.3", "loss nan"),
        ("accuracy 3", "accuracy (3, 3)"),
        ("float32: 1", "float64: 1"),
        ("1\n2", "1"),
    ],
)
def test_words_order_and_what_is_no_number_are_not(one: str, other: str) -> None:
    assert masked(one) != masked(other)


def picture(*texts: str, alt: str = "bars") -> Any:
    drawing = "".join(f"<text><tspan>{text}</tspan></text>" for text in texts)
    data = {"image/svg+xml": f'<svg xmlns="http://www.w3.org/2000/svg"><style>*{{}}</style>{drawing}</svg>'}
    return nbformat.from_dict(
        {"output_type": "display_data", "data": data, "metadata": {"image/svg+xml": {"alt": alt}}}
    )


def test_a_picture_has_the_words_in_it_and_its_alternative_text() -> None:
    axis = picture("0", "5", "10", "the largest", "random")
    assert words([axis]) == words([picture("0", "20", "random", "the largest")])
    assert words([axis]) != words([picture("0", "5", "10", "the smallest", "random")])
    assert words([axis]) != words([picture("0", "5", "10", "the largest", "random", alt="curves")])
    assert words([axis]) != words([])


N, NOTHING = np.arange(20.0), np.full(20, np.nan)
LABELS = {"xlabel": "x", "ylabel": "y", "title": "t", "alt": "a"}


def curves(**series: Any) -> view.Picture:
    return view.curves(N, series, **LABELS)


def points(**series: Any) -> view.Picture:
    return view.points(series, **LABELS)


def lines(values: Any, around: Any) -> view.Picture:
    series = {"a": Line(0, N), "b": Line(1, values, around - 1, around + 1)}
    return chart(series, xlabel="x", title="t", alt="a", reference=("best", 3.0))


def shown(drawing: view.Picture) -> Any:
    data, metadata = drawing._repr_mimebundle_()
    return nbformat.from_dict({"output_type": "display_data", "data": data, "metadata": metadata})


BAND = (N, N - 1, N + 1)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda: curves(a=N), lambda: curves(a=NOTHING)),
        (lambda: curves(a=N, b=-N), lambda: curves(a=N, b=NOTHING)),
        (lambda: curves(a=BAND), lambda: curves(a=N)),
        (lambda: curves(a=BAND), lambda: curves(a=(N, NOTHING, NOTHING))),
        (lambda: points(a=(N, N), b=(N, -N)), lambda: points(a=(N, N), b=(N, NOTHING))),
        (lambda: points(a=(N, N), b=(N, -N)), lambda: points(a=(N, N))),
        (lambda: view.bars("ab", [1, 2], **LABELS), lambda: view.bars("ab", [1, np.nan], **LABELS)),
        (lambda: view.bars("ab", [1, 2], [1, 1], **LABELS), lambda: view.bars("ab", [1, 2], **LABELS)),
        (lambda: view.heatmap([[1, 2]], "r", "ab", **LABELS), lambda: view.heatmap([[1]], "r", "a", **LABELS)),
        (lambda: lines(N, N), lambda: lines(NOTHING, N)),
        (lambda: lines(N, N), lambda: lines(N, NOTHING)),
    ],
)
def test_what_vanishes_from_a_chart_is_seen(one: Any, other: Any) -> None:
    assert marks(one().svg) != marks(other().svg)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda: curves(a=N, b=-N), lambda: curves(a=N**3, b=0.01 * N)),
        (lambda: curves(a=BAND), lambda: curves(a=(N, N, N))),
        (lambda: points(a=(N, N), b=(N, -N)), lambda: points(a=(N[:7], N[:7]), b=(N, N**2))),
        (lambda: view.bars("ab", [1, 2], [1, 1], **LABELS), lambda: view.bars("ab", [-90, 0], [0, 7], **LABELS)),
        (lambda: view.heatmap([[1, 2]], "r", "ab", **LABELS), lambda: view.heatmap([[0, 0]], "r", "ab", **LABELS)),
        (lambda: lines(N, N), lambda: lines(N**3, N)),
    ],
)
def test_ticks_points_and_places_in_a_chart_do_not_count(one: Any, other: Any) -> None:
    assert marks(one().svg) == marks(other().svg) != {}


def test_marks_are_words_of_a_picture() -> None:
    missing = {*words([shown(curves(a=N, b=-N))])} - {*words([shown(curves(a=N, b=NOTHING))])}
    assert missing == {"line2d: 2 drawn"}


def computed(cells: list[Any]) -> set[str]:
    """The titles of the charts that are compared to the byte. A chart has marks, or fractions in its words."""
    compared = (cell for cell in cells if "nbval-ignore-output" not in cell.metadata.get("tags", ()))
    outputs = (output.get("data", {}) for cell in compared for output in cell.get("outputs", ()))
    drawings = [data["image/svg+xml"] for data in outputs if "image/svg+xml" in data]
    charts = (d for d in drawings if marks(d) or any(re.search(r"\d\.\d", text) for text in written(d)))
    return {re.search(r"<title.*?>(.*?)</title>", d)[1] for d in charts}


def test_only_charts_of_whole_and_given_numbers_are_compared_to_the_byte() -> None:
    paths = (ROOT / "notebooks").glob("*.ipynb")
    cells = {path.stem[:2]: nbformat.read(path, as_version=4).cells for path in paths}
    assert {(lesson, title) for lesson, these in cells.items() for title in computed(these)} == set(GIVEN)


def test_computed_charts_are_found() -> None:
    def cell(drawing: view.Picture, *tags: str) -> Any:
        return new_code_cell("draw()", outputs=[shown(drawing)], metadata={"tags": [*tags]})

    assert computed([cell(curves(a=N))]) == computed([cell(lines(N, N))]) == {"t"}
    assert computed([cell(curves(a=N), "nbval-ignore-output"), new_code_cell("1")]) == set()


@pytest.mark.slow
def test_a_flipped_verdict_in_a_cell_that_is_not_compared_is_seen(tmp_path: Path) -> None:
    tags = {"exempt": ["nbval-ignore-output"], "vary": ["nbval-ignore-output", "words-vary"]}
    sources = {"figure": "print('gain 0.5: above 0')", "verdict": "print('gain 0.5: above 0')", "compared": "'above 0'"}
    cells = [
        new_code_cell(source, metadata={"tags": tags["exempt"]} if name != "compared" else {})
        for name, source in sources.items()
    ]
    cells.append(new_code_cell(sources["verdict"], metadata={"tags": tags["vary"]}))
    cells.append(new_code_cell("raise ValueError('0.5')", metadata={"tags": [*tags["exempt"], "raises-exception"]}))
    cells.append(new_code_cell("1 / 0", metadata={"tags": tags["exempt"]}))
    for number, cell in enumerate(cells, start=1):
        cell.execution_count = number
        if cell.source.startswith("print"):
            cell.outputs = [nbformat.v4.new_output("stream", text="gain 0.5: above 0\n")]
    cells[0].outputs[0].text = "gain 0.7:  above 0\n"
    cells[1].outputs[0].text = cells[3].outputs[0].text = "gain 0.5: cannot be told from 0\n"
    cells[2].outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "'above 0'"}, execution_count=3)]
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": regenerate.KERNEL}), tmp_path / "a.ipynb")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "--nbval", "--nbval-current-env", "-p", "words", "a.ipynb"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "tools"), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    verdicts = {int(n): verdict for verdict, n in re.findall(r"^(PASSED|FAILED) \S*?::Cell (\d)", done.stdout, re.M)}
    passed = {0, 2, 3, 4}
    assert verdicts == {n: "PASSED" if n in passed else "FAILED" for n in range(6)}, done.stdout
    assert "-gain #: cannot be told from #\n+gain #: above #" in done.stdout
