"""Exercises: `check("01.2", answer)`, `hint("01.2")`, `solution("01.2")`.

The exercises of notebook NN are the `EXERCISES` of the module `lesson_NN` beside this file; exercise "NN.k" is found by
its id. A check never raises: whatever the answer does, the verdict says it in words, and Run All goes on.

Three things are done here for all exercises. An answer gets copies of its arguments, so it may change them. What it
returns is read into plain numbers (`answers.read`), so NaN is never right and float32 is. What comes from the answer
enters a message as a code span (`answers.shown`).
"""

import copy
import dis
import functools
import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any, get_type_hints

from IPython.display import Markdown

from naslab.exercises.answers import Unreadable, is_rounded, read, same, shown, span

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
    """One task. `check(answer)` gives None if the answer is right, else a message that teaches what is wrong.

    `solution` is a value, a function that answers, or a function without parameters that shows how its value is found.
    `wrong` pairs typical wrong answers with a fragment of the message that each must get. `form` describes what an
    answer is, or returns, as `answers.read` takes it; by default it is what the solution is, or is annotated to return.
    With `copies=False` the answer gets the check's own arguments, for a check that looks at what happened to them.
    The tests hold the check to the solution, to the wrong answers and to the stub.
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
        """The solution as `check` takes it."""
        return self.solution if self.asks_for_a_function or not callable(self.solution) else self.solution()

    @property
    def asks_for_a_function(self) -> bool:
        return callable(self.solution) and bool(inspect.signature(self.solution).parameters)

    @property
    def asked(self) -> Any:
        """The form of what an answer is, or returns."""
        if self.form is not None:
            return self.form
        return get_type_hints(self.solution).get("return", Any) if callable(self.solution) else type(self.solution)


@dataclass(frozen=True)
class Verdict:
    passed: bool
    message: str

    def __repr__(self) -> str:
        return self.message

    def _repr_markdown_(self) -> str:
        return self.message


class _NotAttempted(BaseException):
    """A stub was called. Not an `Exception`, so that no check takes it for an error it expects."""


class _Raised(Exception):
    """The answer raised `error`, which need not be an `Exception`: `sys.exit()` raises another."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(type(error)))
        self.error = error


def check(id: str, answer: Any) -> Verdict:
    """The verdict on an answer: right, not yet, or not attempted yet (`...` is left in it).

    Raises `ValueError` only for an unknown id, and lets an interrupt through.
    """
    exercise = _find(id)
    try:
        message = exercise.check(_prepared(exercise, _attempted(answer)))
    except _NotAttempted:
        return Verdict(False, f"{id}: not attempted yet. Hint: call `hint('{id}')`.")
    except Unreadable as odd:
        message = str(odd)
    except _Raised as raised:
        message = f"Your answer raised {span(_reason(raised.error))}."
    except Exception as error:
        message = f"The check cannot make sense of what your answer gives ({span(_reason(error))})."
    if message is None:
        return Verdict(True, f"{id}: correct. Compare it with `solution('{id}')`.")
    return Verdict(False, f"{id}: not yet. {message}")


def hint(id: str, n: int = 1) -> Markdown:
    """The n-th hint, from 1; each says more than the one before. Raises `ValueError` for an unknown id or n."""
    hints = _find(id).hints
    if n not in range(1, len(hints) + 1):
        raise ValueError(f"n: got {n!r}, exercise {id} has hints 1 to {len(hints)}")
    more = f" (`hint('{id}', {n + 1})` says more.)" if n < len(hints) else ""
    return Markdown(f"Hint {n} of {len(hints)}: {hints[n - 1]}{more}")


def solution(id: str) -> Markdown:
    """The statement and the source of its solution. Raises `ValueError` for an unknown id."""
    exercise = _find(id)
    answer = exercise.solution
    text = textwrap.dedent(inspect.getsource(answer)).strip() if callable(answer) else repr(answer)
    return Markdown(f"**{id}.** {exercise.statement}\n\n```python\n{text}\n```")


def lessons() -> tuple[str, ...]:
    """The numbers of the lessons that have exercises: ("00", "01", ...)."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name.removeprefix("lesson_") for name in names if name.startswith("lesson_")))


def exercises(lesson: str) -> tuple[Exercise, ...]:
    """The exercises of a lesson, "00" to "12". Raises `ValueError` for a lesson that has none."""
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
    """The value itself, unless it is `...`, holds `...`, or is a function with an empty body."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else (value,)
    if any(part is ... or (isinstance(part, FunctionType) and _body(part) == _body(_empty)) for part in parts):
        raise _NotAttempted
    return value


def _prepared(exercise: Exercise, answer: Any) -> Any:
    """The answer as the check takes it: a value that is read, or a function that gets copies and whose result is."""
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
                raise _NotAttempted from error  # `...` met an operator half way
            raise _Raised(error) from error
        return read(result, exercise.asked)

    return functools.wraps(answer)(prepared)


def _reason(error: BaseException) -> str:
    """The error's type and text, if it can tell them."""
    try:
        text = str(error)
    except Exception:  # of any type: the error may be the answer's
        text = ""
    return f"{type(error).__name__}{': ' * bool(text)}{text}"


def _empty() -> None: ...


def _body(function: Callable) -> list[tuple[str, Any]]:
    """The function's instructions without their line numbers: the body of `def f(): ...` equals that of `_empty`."""
    return [(i.opname, i.argval) for i in dis.get_instructions(function) if i.opname != "NOP"]
