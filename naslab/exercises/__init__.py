"""Exercises: `check("01.2", answer)`, `hint("01.2")`, `solution("01.2")`.

The exercises of notebook NN are the `EXERCISES` of the module `lesson_NN` beside this file; exercise "NN.k" is found by
its id. A check never raises: whatever the answer does, the verdict says it in words, and Run All goes on.
"""

import dis
import functools
import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from IPython.display import Markdown


@dataclass(frozen=True)
class Exercise:
    """One task. `check(answer)` gives None if it is right, else the message that teaches what is not.

    `solution` is a value, a function that answers, or a function without parameters that shows how its value is found.
    `wrong` pairs typical wrong answers with a fragment of the message that each must get. The tests hold the check to
    the solution, to the wrong answers and to the stub.
    """

    id: str
    statement: str
    hints: tuple[str, ...]
    check: Callable[[Any], str | None]
    solution: Any
    wrong: tuple[tuple[Any, str], ...]

    @property
    def answer(self) -> Any:
        """The solution as `check` takes it."""
        by_itself = isinstance(self.solution, FunctionType) and not inspect.signature(self.solution).parameters
        return self.solution() if by_itself else self.solution


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


def check(id: str, answer: Any) -> Verdict:
    """The verdict on an answer: right, not yet, or not attempted yet (`...` is left in it).

    Raises `ValueError` only for an unknown id.
    """
    exercise = _find(id)
    try:
        message = exercise.check(_watched(_attempted(answer)))
    except _NotAttempted:
        return Verdict(False, f"{id}: not attempted yet. Hint: call `hint('{id}')`.")
    except Exception as error:
        text = " ".join(str(error).split())[:300].replace("`", "'")
        message = f"Your answer raised `{type(error).__name__}{': ' * bool(text)}{text}`."
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
    """The value itself, unless it is `...`, holds `...`, or is a function with nothing in it."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else (value,)
    if any(part is ... or (isinstance(part, FunctionType) and _body(part) == _body(_empty)) for part in parts):
        raise _NotAttempted
    return value


def _watched(answer: Any) -> Any:
    """A function that looks for the stub's `...` in what it returns to the check; other answers as they are."""
    if not isinstance(answer, FunctionType):
        return answer

    @functools.wraps(answer)
    def watched(*args: Any, **kwargs: Any) -> Any:
        try:
            return _attempted(answer(*args, **kwargs))
        except (TypeError, AttributeError) as error:
            if "ellipsis" in str(error):  # `...` met an operator half way
                raise _NotAttempted from error
            raise

    return watched


def _empty() -> None: ...


def _body(function: Callable) -> list[tuple[str, Any]]:
    """What a function does, without where its constants and lines are: `def f(): ...` equals `_empty`."""
    return [(i.opname, i.argval) for i in dis.get_instructions(function) if i.opname != "NOP"]
