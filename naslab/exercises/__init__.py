"""Exercises: `check("01.2", answer)`, `hint("01.2")`, `solution("01.2")`.

The exercises of notebook NN are the `EXERCISES` of the module `lesson_NN` beside this file. The id "NN.k" finds
exercise k. A check never raises: the verdict describes an error of the answer in words, so Run All continues.

This module does three things for every exercise. It passes copies of the arguments to an answer, so the answer may
change them. It converts results to plain numbers (`answers.read`), so NaN is never correct and float32 is accepted. It
shows values of the answer in messages as code spans (`answers.shown`).
"""

import copy
import dis
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any, get_type_hints

from IPython.display import Markdown

from naslab.exercises.answers import Unreadable, is_rounded, read, same, shown, span
from naslab.exercises.listing import pasteable

__all__ = [
    "Exercise",
    "Verdict",
    "check",
    "exercises",
    "hint",
    "is_rounded",
    "lessons",
    "same",
    "shown",
    "solution",
]


@dataclass(frozen=True)
class Exercise:
    """One exercise. `check(answer)` returns None if the answer is correct, else a message that explains the mistake.

    `solution` is a value, a function that solves the exercise, or a function without parameters that computes the
    value. `wrong` has typical wrong answers, each with a part of the message that it must get. `form` is the type of an
    answer, or of its result, for `answers.read`; the default is the type of the solution, or its return annotation.
    With `copies=False` the answer gets the check's own arguments, for a check of what the answer does to them. The
    tests run the check on the solution, on the wrong answers and on the stub.
    """

    id: str
    statement: str
    hints: tuple[str, ...]
    check: Callable[[Any], str | None]
    solution: Any
    wrong: tuple[tuple[Any, str], ...]
    form: Any = None
    copies: bool = True

    @property
    def answer(self) -> Any:
        """The solution as an answer for `check`."""
        return self.solution if self.asks_for_a_function or not callable(self.solution) else self.solution()

    @property
    def asks_for_a_function(self) -> bool:
        return callable(self.solution) and bool(inspect.signature(self.solution).parameters)

    @property
    def asked(self) -> Any:
        """The type of an answer, or of its result if it is a function."""
        if self.form is not None:
            return self.form
        return get_type_hints(self.solution).get("return", Any) if callable(self.solution) else type(self.solution)


@dataclass(frozen=True)
class Verdict:
    """What `check` says about an answer: `passed` is None if there was no attempt.

    A notebook shows the hints and the solution folded below the message, each a click or a press of Enter away.
    """

    passed: bool | None
    message: str
    exercise: Exercise

    def __repr__(self) -> str:
        id = self.exercise.id
        more = f"Compare it with `solution('{id}')`." if self.passed else f"Hint: call `hint('{id}')`."
        return f"{self._said} {more}"

    def _repr_markdown_(self) -> str:
        hints = enumerate(self.exercise.hints, start=1)
        folded = [] if self.passed else [_folded(f"Hint {n}", text) for n, text in hints]
        return "\n\n".join([self._said, *folded, _folded("Solution", solution(self.exercise.id).data)])

    @property
    def _said(self) -> str:
        icon = {True: "✔", False: "✘", None: "☐"}[self.passed]
        return f"{icon} {self.message}"


def _folded(name: str, text: str) -> str:
    return f"<details><summary>{name}</summary>\n\n{text}\n\n</details>"


class _NotAttempted(BaseException):
    """A stub was called. A `BaseException`, so that no check handles it as an error that it expects."""


class _Raised(Exception):
    """The answer raised `error`: any `BaseException`, such as the `SystemExit` of `sys.exit()`."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(type(error)))
        self.error = error


def check(id: str, answer: Any) -> Verdict:
    """Returns the verdict on an answer: correct, not yet, or not attempted yet (the answer still has `...`).

    Raises `ValueError` only for an unknown id. An interrupt passes through.
    """
    exercise = _find(id)
    try:
        message = exercise.check(_prepared(exercise, _attempted(answer)))
    except _NotAttempted:
        return Verdict(None, f"{id}: not attempted yet.", exercise)
    except Unreadable as odd:
        message = str(odd)
    except _Raised as raised:
        message = f"Your answer raised {span(_reason(raised.error))}."
    except Exception as error:
        message = f"The check cannot make sense of what your answer gives ({span(_reason(error))})."
    if message is None:
        return Verdict(True, f"{id}: correct.", exercise)
    return Verdict(False, f"{id}: not yet. {message}", exercise)


def hint(id: str, n: int = 1) -> Markdown:
    """Returns hint n, counted from 1. Each hint says more than the last. Raises `ValueError` for an unknown id or n."""
    hints = _find(id).hints
    if n not in range(1, len(hints) + 1):
        raise ValueError(f"n: got {n!r}, exercise {id} has hints 1 to {len(hints)}")
    more = f" (`hint('{id}', {n + 1})` says more.)" if n < len(hints) else ""
    return Markdown(f"Hint {n} of {len(hints)}: {hints[n - 1]}{more}")


def solution(id: str) -> Markdown:
    """Returns the statement and the source of the solution. Raises `ValueError` for an unknown id."""
    exercise = _find(id)
    answer = exercise.solution
    text = pasteable(answer) if callable(answer) else repr(answer)
    if callable(answer) and not exercise.asks_for_a_function:
        text += f"\n\n\n{answer.__name__}()"
    return Markdown(f"**{id}.** {exercise.statement}\n\n```python\n{text}\n```")


def lessons() -> tuple[str, ...]:
    """Returns the numbers of the lessons with exercises: ("00", "01", ...)."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name.removeprefix("lesson_") for name in names if name.startswith("lesson_")))


def exercises(lesson: str) -> tuple[Exercise, ...]:
    """Returns the exercises of a lesson, such as "00". Raises `ValueError` for a lesson without exercises."""
    if lesson not in lessons():
        raise ValueError(f"lesson: got {lesson!r}, those with exercises are {', '.join(lessons()) or 'none'}")
    return tuple(importlib.import_module(f"{__name__}.lesson_{lesson}").EXERCISES)


def _find(id: str) -> Exercise:
    near = [n for n in lessons() if str(id).split(".")[0] == n] or lessons()
    known = {exercise.id: exercise for number in near for exercise in exercises(number)}
    if id not in known:
        raise ValueError(f"id: got {id!r}, known are {', '.join(known) or 'none'}")
    return known[id]


def _attempted(value: Any) -> Any:
    """Returns the value. Raises `_NotAttempted` if it is or contains `...`, or is a function with an empty body."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else (value,)
    if any(part is ... or (isinstance(part, FunctionType) and _body(part) == _body(_empty)) for part in parts):
        raise _NotAttempted
    return value


def _prepared(exercise: Exercise, answer: Any) -> Any:
    """Returns the answer for the check. A value is converted by `read`.

    A function is wrapped: it gets copies of its arguments, `read` converts its result, and its errors become `_Raised`.
    """
    if not exercise.asks_for_a_function:
        return read(answer, exercise.asked)
    if not callable(answer):
        raise Unreadable(f"Got {shown(answer)}; expected a function.")

    def prepared(*args: Any, **kwargs: Any) -> Any:
        if exercise.copies:
            args, kwargs = copy.deepcopy((args, kwargs))
        try:
            result = _attempted(answer(*args, **kwargs))
        except (KeyboardInterrupt, _NotAttempted):
            raise
        except BaseException as error:  # of any type: the answer may even call `sys.exit()`
            if isinstance(error, TypeError | AttributeError) and "ellipsis" in _reason(error):
                raise _NotAttempted from error  # an operator was applied to a `...` in the answer
            raise _Raised(error) from error
        return read(result, exercise.asked)

    return functools.wraps(answer)(prepared)


def _reason(error: BaseException) -> str:
    """Returns the error's type and its text, if the error can be converted to text."""
    try:
        text = str(error)
    except Exception:  # of any type: the answer may define the error
        text = ""
    return f"{type(error).__name__}{': ' * bool(text)}{text}"


def _empty() -> None: ...


def _body(function: Callable) -> list[tuple[str, Any]]:
    """Returns the function's instructions without line numbers. Those of `def f(): ...` equal those of `_empty`."""
    return [(i.opname, i.argval) for i in dis.get_instructions(function) if i.opname != "NOP"]
