"""The exercise framework, and every exercise of every lesson against its solution, its stub and its wrong answers."""

import ast
import dataclasses
import functools
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from naslab import exercises, tables
from naslab.exercises import Exercise, Verdict, check, hint, lessons, solution

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"

FAKE = """
from naslab.exercises import Exercise


def check_double(answer):
    if (got := answer(3)) == 9:
        return "9 is 3 squared, not doubled."
    return None if got == 6 else f"got {got}"


def double(x):
    return 2 * x


def check_pair(answer):
    return None if answer == (1, 2) else "expected (1, 2)"


def check_strict(answer):
    try:
        answer(-1)
    except Exception:
        return None
    return "it must raise"


def strict(x):
    raise ValueError("negative")


EXERCISES = (
    Exercise("99.1", "Double.", ("Add.", "x + x."), check_double, double, ((lambda x: x**2, "squared"),)),
    Exercise("99.2", "A pair.", ("One.", "Two."), check_pair, (1, 2), (((2, 1), "expected"),)),
    Exercise("99.3", "Refuse.", ("Raise.", "What?"), check_strict, strict, ((abs, "must raise"),)),
)
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    (tmp_path / "lesson_99.py").write_text(textwrap.dedent(FAKE))
    monkeypatch.setattr(exercises, "__path__", [*exercises.__path__, str(tmp_path)])
    yield
    sys.modules.pop("naslab.exercises.lesson_99", None)
    vars(exercises).pop("lesson_99", None)


def stub(*args, **kwargs): ...


def documented_stub(*args, **kwargs):
    """What it should do."""
    ...


def two_line_stub(*args, **kwargs):
    ...
    pass


def returns_stub(*args, **kwargs):
    result = ...
    return result


def half_written(*args, **kwargs):
    part = ...
    return part + 1


STUBS = (
    ...,
    stub,
    documented_stub,
    two_line_stub,
    returns_stub,
    half_written,
    lambda *args, **kwargs: ...,
    (..., ...),
    {"a": ...},
)
VALUE_STUBS = (..., stub, documented_stub, two_line_stub, (..., ...), [1, ...])  # where no call is made


def not_attempted(number):
    return f"☐ {number}: not attempted yet. Hint: call `hint('{number}')`."


# Every exercise of every lesson


def test_every_notebook_has_three_exercises_and_uses_them_all():
    for notebook in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
        number, text = notebook.name[:2], notebook.read_text(encoding="utf-8")
        assert number in lessons(), f"{notebook.name} has no naslab/exercises/lesson_{number}.py"
        found = exercises.exercises(number)
        assert len(found) >= 3, f"lesson_{number} has {len(found)} exercises, expected at least 3"
        for exercise in found:
            assert re.search(rf"check\(\\?[\"']{re.escape(exercise.id)}\\?[\"']", text), f"{exercise.id} is not asked"


@pytest.mark.parametrize("number", lessons())
def test_ids_are_unique_and_name_their_lesson(number):
    ids = [e.id for e in exercises.exercises(number)]
    assert ids == [f"{number}.{k}" for k in range(1, len(ids) + 1)]


def prove(exercise: Exercise) -> None:
    assert exercise.statement and len(exercise.hints) >= 2 and len(exercise.wrong) >= 1
    verdict = check(exercise.id, exercise.answer)
    assert verdict.passed, verdict
    assert repr(verdict) == f"✔ {exercise.id}: correct. Compare it with `solution('{exercise.id}')`."
    for answer in STUBS if callable(exercise.answer) else VALUE_STUBS:
        verdict = check(exercise.id, answer)
        assert not verdict.passed and repr(verdict) == not_attempted(exercise.id), (answer, verdict)
    for answer, fragment in exercise.wrong:
        verdict = check(exercise.id, answer)
        assert not verdict.passed and verdict.message.startswith(f"{exercise.id}: not yet. "), (answer, verdict)
        assert fragment and fragment in verdict.message, (answer, fragment, verdict)
    assert "```python\n" in solution(exercise.id).data
    for n, text in enumerate(exercise.hints, start=1):
        assert text in hint(exercise.id, n).data


@pytest.mark.parametrize("exercise", [pytest.param(e, id=e.id) for n in lessons() for e in exercises.exercises(n)])
def test_check_knows_its_solution_the_stub_and_wrong_answers(exercise):
    prove(exercise)


@pytest.mark.parametrize("exercise", [pytest.param(e, id=e.id) for n in lessons() for e in exercises.exercises(n)])
def test_the_shown_solution_can_be_pasted(exercise):
    code = re.search(r"```python\n(.*)\n```", solution(exercise.id).data, re.DOTALL)[1]
    *body, last = ast.parse(code).body
    names = {}
    if isinstance(last, ast.Expr):
        exec(compile(ast.Module(body, []), "pasted", "exec"), names)
        answer = eval(compile(ast.Expression(last.value), "pasted", "eval"), names)
    else:
        exec(code, names)
        answer = names[last.name]
    assert check(exercise.id, answer).passed


def test_what_solutions_say_of_the_table_holds():
    table, (residual,) = tables.nas_bench_201("cifar10"), [e for e in exercises.exercises("00") if e.id == "00.2"]
    tokens = residual.solution()
    said = f"{table.accuracy(tokens):.2f} %, number {table.rank(tokens):,} of {table.space.strings:,}"
    assert said in solution("00.2").data


# The framework


@pytest.mark.parametrize("number", ["99.1", "99.2", "99.3"])
def test_the_proof_holds_for_the_fake_lesson(fake, number):
    prove(exercises._find(number))


@pytest.mark.parametrize(
    ("number", "change"),
    [
        ("99.1", {"solution": lambda x: x + 1}),
        ("99.1", {"wrong": ((lambda x: x * x, "cubed"),)}),
        ("99.1", {"wrong": ((lambda x: x + x, "squared"),)}),
        ("99.1", {"check": lambda answer: None}),
        ("99.1", {"hints": ("Only one.",)}),
        ("99.1", {"wrong": ()}),
        ("99.2", {"check": lambda answer: None if answer == (1, 2) else ""}),
    ],
)
def test_the_proof_fails_for_a_broken_exercise(fake, monkeypatch, number, change):
    broken = dataclasses.replace(exercises._find(number), **change)
    monkeypatch.setattr(exercises, "_find", lambda id: broken)
    with pytest.raises(AssertionError):
        prove(broken)


def test_an_answer_that_raises_gets_a_verdict(fake):
    verdict = check("99.1", lambda x: x / 0)
    message = "99.1: not yet. Your answer raised `ZeroDivisionError: division by zero`."
    assert verdict == Verdict(False, message, exercises._find("99.1"))
    assert check("99.1", None).message == "99.1: not yet. Got `None`; expected a function."

    def silent(x):
        raise RuntimeError

    assert check("99.1", silent).message == "99.1: not yet. Your answer raised `RuntimeError`."


def test_an_answer_that_exits_or_never_returns_gets_a_verdict_and_an_interrupt_comes_through(fake):
    def endless(x):
        return endless(x) + 1

    def interrupted(x):
        raise KeyboardInterrupt

    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    def mute(x):
        raise Mute

    assert check("99.1", lambda x: sys.exit()).message == "99.1: not yet. Your answer raised `SystemExit`."
    assert "Your answer raised `RecursionError: maximum recursion" in check("99.1", endless).message
    assert check("99.1", mute).message == "99.1: not yet. Your answer raised `Mute`."
    with pytest.raises(KeyboardInterrupt):
        check("99.1", interrupted)


def test_an_error_of_the_check_is_not_blamed_on_the_answer(fake, monkeypatch):
    exercise = dataclasses.replace(exercises._find("99.1"), check=lambda answer: f"got {answer(3):.3f}")
    monkeypatch.setattr(exercises, "_find", lambda id: exercise)
    message = check("99.1", lambda x: "six").message
    assert message.startswith("99.1: not yet. The check cannot make sense of what your answer gives (`ValueError: ")


def test_a_stub_is_not_taken_for_the_error_that_a_check_expects(fake):
    assert repr(check("99.3", lambda x: ...)) == not_attempted("99.3")


@pytest.mark.parametrize(
    ("answer", "icon", "hints"), [(lambda x: x + x, "✔", 0), (lambda x: x * x, "✘", 2), (..., "☐", 2)]
)
def test_a_verdict_has_an_icon_and_folds_hints_and_solution(fake, answer, icon, hints):
    verdict = check("99.1", answer)
    first, *folded = re.split(r"\n\n(?=<details>)", verdict._repr_markdown_())
    assert first == f"{icon} {verdict.message}" and repr(verdict).startswith(first)
    wanted = [(f"Hint {n}", text) for n, text in enumerate(exercises._find("99.1").hints[:hints], start=1)]
    wanted.append(("Solution", solution("99.1").data))
    assert folded == [f"<details><summary>{n}</summary>\n\n{text}\n\n</details>" for n, text in wanted]


def test_the_check_gets_a_function_like_the_answer_and_the_answer_gets_copies(fake):
    def named(x: list) -> int:
        """Documented."""
        x.append(0)
        return len(x)

    exercise, given = exercises._find("99.1"), [1, 2]
    prepared = exercises._prepared(exercise, named)
    assert prepared.__name__ == "named" and prepared.__doc__ == "Documented."
    assert prepared(given) == 3 and given == [1, 2]
    assert exercises._prepared(dataclasses.replace(exercise, copies=False), named)(given) == 3 and given == [1, 2, 0]
    assert exercises._prepared(exercise, functools.partial(max, 3))(5) == 5


def test_hints_and_solutions(fake):
    def statement(number):
        return next(e.statement for e in exercises.exercises("99") if e.id == number)

    assert hint("99.1").data == "Hint 1 of 2: Add. (`hint('99.1', 2)` says more.)"
    assert hint("99.1", 2).data == "Hint 2 of 2: x + x."
    assert solution("99.1").data == f"**99.1.** {statement('99.1')}\n\n```python\ndef double(x):\n    return 2 * x\n```"
    assert solution("99.2").data == f"**99.2.** {statement('99.2')}\n\n```python\n(1, 2)\n```"
    for n in (0, 3, -1, "1"):
        with pytest.raises(ValueError, match=r"n: got .*, exercise 99\.1 has hints 1 to 2"):
            hint("99.1", n)


@pytest.mark.parametrize("call", [hint, solution, lambda number: check(number, 1)])
@pytest.mark.parametrize("number", ["99.7", "98.1", "", "99", 99.1, None, "../x"])
def test_an_unknown_id_lists_the_known(fake, call, number):
    with pytest.raises(ValueError, match=r"id: got .*, known are .*99\.1, 99\.2, 99\.3$"):
        call(number)


def test_a_lesson_without_exercises():
    with pytest.raises(ValueError, match="lesson: got '77'"):
        exercises.exercises("77")


def test_needs_no_plotting_library():
    code = "import sys, naslab.exercises as e; e.lessons(); sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=NOTEBOOKS.parent).returncode == 0
