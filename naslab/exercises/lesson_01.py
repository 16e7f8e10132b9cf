"""Exercises of lesson 01, architectures as strings."""

import math
from collections.abc import Callable, Sequence

from naslab import spaces
from naslab.exercises import Exercise, same


def check_length(answer: Callable[[int], int]) -> str | None:
    for layers in (1, 2, 3, 6, 12):
        expected = len(spaces.ConvSpace(layers).decisions)
        if (got := answer(layers)) != expected:
            return f"For {layers} layers your function gives {got}, but the string has {expected} tokens."
    return None


def string_length(layers: int) -> int:
    return 5 * layers + layers * (layers - 1) // 2


def check_draws(answer: Callable[[float, float], int]) -> str | None:
    for q, p in ((0.01, 0.95), (0.05, 0.95), (0.5, 0.5), (0.001, 0.9)):
        n = answer(q, p)
        if n != int(n):
            return f"Your function gives {n!r}; a number of draws is a whole number, so round up."
        n = int(n)
        if n < 1:
            return f"Your function gives {n}; one needs at least one draw."
        if 1 - (1 - q) ** n < p - 1e-12:
            return f"{n} draws hit the best {q:.1%} with probability {1 - (1 - q) ** n:.3f}, less than {p}."
        if n > 1 and 1 - (1 - q) ** (n - 1) >= p:
            return f"{n} draws are enough for q = {q}, p = {p}, but so are {n - 1}."
    return None


def draws_needed(q: float, p: float) -> int:
    return math.ceil(math.log(1 - p) / math.log(1 - q))


def check_node(answer: Callable[[int, int], int]) -> str | None:
    for sources, ops in ((2, 7), (3, 7), (5, 7), (4, 2)):
        got, ordered = answer(sources, ops), sources * (sources - 1) * ops**2
        if got == (sources * ops) ** 2:
            return "This counts both pairs freely: it lets a node read the same source twice."
        if got == ordered:
            return f"{ordered} counts every unordered choice twice: (a, b) and (b, a) are the same node."
        if got != ordered // 2:
            return f"For {sources} sources and {ops} ops you get {got}; count by hand for 2 sources and 1 op."
    return None


def node_choices(sources: int, ops: int) -> int:
    return math.comb(sources, 2) * ops**2


def check_expected_best(answer: Callable[[Sequence[float], int], float]) -> str | None:
    for values, n, expected in (
        ([3.0], 4, 3.0),
        ([0.0, 1.0], 1, 0.5),
        ([0.0, 1.0], 2, 0.75),
        ([5.0, 1.0, 3.0], 1, 3.0),
        ([5.0, 1.0, 3.0], 2, 35 / 9),
        ([1.0, 4.0, 1.0], 2, 24 / 9),
    ):
        got = answer(values, n)
        if not same(got, expected):
            listed = f"listing all {len(values)}^{n} outcomes gives {expected:.4g}"
            return f"For {values} and {n} draws your function gives {got:.4g}; {listed}."
    return None


def expected_best(values: Sequence[float], draws: int) -> float:
    ordered, size = sorted(values), len(values)
    return sum(v * ((k / size) ** draws - ((k - 1) / size) ** draws) for k, v in enumerate(ordered, start=1))


EXERCISES = (
    Exercise(
        id="01.1",
        statement="Write `string_length(layers)`: how many tokens does a `ConvSpace` string of so many layers have?",
        hints=(
            "Layer i, counted from 0, has 5 attributes and a skip bit for each of the i layers before it.",
            "0 + 1 + ... + (L - 1) = L (L - 1) / 2.",
        ),
        check=check_length,
        solution=string_length,
        wrong=(
            (lambda layers: 5 * layers, "For 2 layers"),
            (lambda layers: 5 * layers + layers**2, "For 1 layers"),
            (lambda layers: 5 * layers + layers * (layers + 1) // 2, "the string has 5 tokens"),
        ),
    ),
    Exercise(
        id="01.2",
        statement=(
            "Write `node_choices(sources, ops)`: in how many ways can a DARTS node take two different sources, with an "
            "op on each edge?"
        ),
        hints=(
            "First choose the two sources; their order does not matter: `math.comb`.",
            "Then each of the two chosen edges carries one of the ops, independently.",
        ),
        check=check_node,
        solution=node_choices,
        wrong=(
            (lambda s, o: (s * o) ** 2, "same source twice"),
            (lambda s, o: s * (s - 1) * o**2, "every unordered choice twice"),
            (lambda s, o: math.comb(s, 2) * o, "count by hand"),
        ),
    ),
    Exercise(
        id="01.3",
        statement=(
            "Write `draws_needed(q, p)`: the smallest number of random architectures among which, with probability at "
            "least p, there is one of the best fraction q."
        ),
        hints=(
            "All n draws miss with probability (1 - q)^n.",
            "Solve 1 - (1 - q)^n >= p for n with logarithms, then `math.ceil`.",
        ),
        check=check_draws,
        solution=draws_needed,
        wrong=(
            (lambda q, p: math.log(1 - p) / math.log(1 - q), "round up"),
            (lambda q, p: math.ceil(p / q), "less than"),
            (lambda q, p: math.ceil(1 / q**2), "but so are"),
        ),
    ),
    Exercise(
        id="01.4",
        statement=(
            "Write `expected_best(values, draws)`: the mean of the best of so many draws, with replacement, from a "
            "list of values. (Section 4 has the formula.)"
        ),
        hints=(
            "Sort. The best of n draws is at most the k-th smallest value with probability (k / N)^n.",
            "It *is* the k-th with probability (k / N)^n - ((k - 1) / N)^n; sum value times probability.",
        ),
        check=check_expected_best,
        solution=expected_best,
        wrong=(
            (lambda values, draws: sum(values) / len(values), "listing all 2^2 outcomes"),
            (lambda values, draws: max(values), "listing all 2^1 outcomes gives 0.5"),
            (
                lambda v, n: sum(x * (((k + 1) / len(v)) ** n - (k / len(v)) ** n) for k, x in enumerate(v)),
                "gives 3.889",
            ),
            (lambda values, draws: expected_best([*set(values)], draws), "[1.0, 4.0, 1.0] and 2 draws"),
            (
                lambda v, n: sum(
                    x * (((sorted(v).index(x) + 1) / len(v)) ** n - (sorted(v).index(x) / len(v)) ** n) for x in v
                ),
                "[1.0, 4.0, 1.0] and 2 draws",
            ),
        ),
    ),
)
