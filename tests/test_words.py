"""What an output says is compared, also where its numbers are not."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
import regenerate
from nbformat.v4 import new_code_cell, new_notebook
from words import masked, words

ROOT = Path(__file__).parent.parent


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
