"""Exercises of lesson 12, your own data."""

import math
from collections.abc import Callable, Sequence

from naslab.exercises import Exercise, same

Z = 1.96


def check_at_least(answer: Callable[[int], float]) -> str | None:
    cases = (1, 10, 30, 1000)
    got, expected = [answer(n) for n in cases], [at_least(n) for n in cases]
    if same(got, expected):
        return None
    if same(got, [1.0 for _ in cases]):
        return "That is k/n. An accuracy a little below 1 also gives n right answers, with a high probability."
    if same(got, [1 - 3 / n for n in cases]) or same(got, [0.05 ** (1 / n) for n in cases]):
        return "That is a bound by another rule (p^n = 0.05). Solve Wilson's inequality with k = n."
    if same(got, [n / (n + Z) for n in cases]):
        return "Close: in the inequality z is squared."
    k = [same(a, b) for a, b in zip(got, expected, strict=True)].index(False)
    return f"n = {cases[k]}: you get {got[k]:.4f}, expected {expected[k]:.4f}."


def at_least(n: int) -> float:
    return n / (n + 1.96**2)


def check_enough(answer: Callable[[int, int], int]) -> str | None:
    cases = ((1, 2), (5, 100), (100, 15625), (1, 15625))
    got, expected = [answer(*case) for case in cases], [enough(*case) for case in cases]
    if same(got, expected):
        return None
    if same(got, [cells / better for better, cells in cases]) or same(
        got, [math.ceil(cells / better) for better, cells in cases]
    ):
        return "That is the mean number of draws until a better cell comes. In 37 % of searches none has come by then."
    if same(got, [math.ceil(0.95 * cells / better) for better, cells in cases]):
        return "Chances of several draws do not add up. First ask how likely it is that all n draws miss."
    k = [same(a, b) for a, b in zip(got, expected, strict=True)].index(False)
    better, cells = cases[k]
    return f"better = {better}, cells = {cells}: you get {got[k]}, expected {expected[k]}."


def enough(better: int, cells: int) -> int:
    return math.ceil(math.log(0.05) / math.log(1 - better / cells) - 1e-9)  # 19 of 20: exactly 1


def check_seen(answer: float) -> str | None:
    if 0.835 <= answer <= 0.845:
        return None
    if abs(answer - 0.6) < 0.005:
        return "That is the chance for one certain other image. There are two, and one of them is enough."
    if abs(answer - 0.36) < 0.005:
        return "That is the chance that both others are in train. One of them is enough."
    if abs(answer - 0.16) < 0.005:
        return "That is the fraction of test images of which no other image is in train."
    if abs(answer - 84) < 0.5:
        return "Answer with a fraction between 0 and 1."
    return "Each of the two other images is in train with probability 0.6. When is none of them there?"


def seen() -> float:
    return 1 - 0.4**2


Points = list[tuple[float, float]]


def check_front(answer: Callable[[Sequence[tuple[float, float]]], Points]) -> str | None:
    cases = (
        [(1.0, 90.0), (2.0, 95.0), (3.0, 97.0)],
        [(3.0, 97.0), (2.0, 98.0), (1.0, 90.0)],
        [(2.0, 95.0), (2.0, 96.0), (1.0, 96.0), (4.0, 96.0), (5.0, 97.0)],
        [(1.0, 80.0)],
    )
    for case in cases:
        got, expected = answer(list(case)), front(case)
        if same(got, expected):
            continue
        if same(sorted(got), expected):
            return "These are the right points. Sort them by time."
        if same(got, [max(case, key=lambda point: point[1])]):
            return "That is the most accurate point only. A faster one may be on the front, too."
        extra = [point for point in got if tuple(point) not in expected]
        if extra:
            faster = next((c for c in expected if c[0] <= extra[0][0] and c[1] >= extra[0][1]), expected[0])
            return f"Of {case} you keep {tuple(extra[0])}, but {faster} is as fast and as accurate, or better."
        missing = next(point for point in expected if point not in [tuple(each) for each in got])
        return f"Of {case} you leave out {missing}. No other point is as fast and as accurate."
    return None


def front(points: Sequence[tuple[float, float]]) -> Points:
    best, kept = -math.inf, []
    for time, accuracy in sorted(points, key=lambda point: (point[0], -point[1])):
        if accuracy > best:
            kept.append((time, accuracy))
            best = accuracy
    return kept


EXERCISES = (
    Exercise(
        id="12.1",
        statement=(
            "All n test images are right. Write `at_least(n)`: the lower end of Wilson's interval, with z = 1.96."
        ),
        hints=(
            "With k = n the left side of the inequality is (1 - p)^2, and the right side has a factor (1 - p), too.",
            "For p < 1 divide by 1 - p: 1 - p <= z^2 p / n.",
        ),
        check=check_at_least,
        solution=at_least,
        wrong=(
            (lambda n: 1.0, "a little below 1"),
            (lambda n: 1 - 3 / n, "another rule"),
            (lambda n: n / (n + Z), "squared"),
            (lambda n: 0.0, "expected 0.2065"),
        ),
    ),
    Exercise(
        id="12.2",
        statement=(
            "A search draws n of `cells` cells at random, with replacement. `better` of them are better than yours. "
            "Write `enough(better, cells)`: the smallest n with which it meets a better one with a probability of at "
            "least 95 %."
        ),
        hints=(
            "One draw misses with probability 1 - better / cells. How likely is it that n draws all miss?",
            "(1 - better / cells)^n <= 0.05. Take logarithms, and round up.",
        ),
        check=check_enough,
        solution=enough,
        wrong=(
            (lambda better, cells: math.ceil(cells / better), "mean number of draws"),
            (lambda better, cells: math.ceil(0.95 * cells / better), "do not add up"),
            (lambda better, cells: 0, "expected 5"),
        ),
    ),
    Exercise(
        id="12.3",
        statement=(
            "Each scene has three images, split at random: 60 % to train, 20 % to validate, 20 % to test. What "
            "fraction of the test images has another image of the same scene among the training images?"
        ),
        hints=(
            "A test image has two others of its scene. Each of them is in train with probability 0.6.",
            "Both miss train with probability 0.4 * 0.4.",
        ),
        check=check_seen,
        solution=seen,
        wrong=(
            (0.6, "one of them is enough"),
            (0.36, "both others"),
            (0.16, "no other image"),
            (84.0, "fraction"),
            (0.5, "none of them"),
        ),
    ),
    Exercise(
        id="12.4",
        statement=(
            "Write `front(points)`: the list of the points (milliseconds, accuracy) that are on the Pareto front, "
            "sorted by time. No two points are equal."
        ),
        hints=(
            "Sort by time. Of points with the same time take the most accurate one first.",
            "Go from fast to slow, and keep a point if it is more accurate than every point before it.",
        ),
        check=check_front,
        solution=front,
        wrong=(
            (lambda points: front(points)[::-1], "Sort them by time"),
            (lambda points: [max(points, key=lambda point: point[1])], "most accurate point only"),
            (lambda points: sorted(points), "you keep"),
            (lambda points: front(points)[1:], "you leave out"),
        ),
    ),
)
