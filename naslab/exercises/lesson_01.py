"""Exercises of lesson 01, architectures as strings."""

import itertools
import math
from collections.abc import Callable, Sequence

from naslab import spaces
from naslab.exercises import Exercise, is_rounded, same, shown


def check_length(answer: Callable[[int], int]) -> str | None:
    for layers in (1, 2, 3, 6, 12):
        expected = len(spaces.ConvSpace(layers).decisions)
        if (got := answer(layers)) != expected:
            return f"For {layers} layers your function gives {shown(got)}, but the string has {expected} tokens."
    return None


def string_length(layers: int) -> int:
    return 5 * layers + layers * (layers - 1) // 2


def check_fraction(answer: Callable[[int, float], float]) -> str | None:
    for n, p in ((1, 0.5), (1, 0.9), (2, 0.75), (10, 0.5), (299, 0.95), (1000, 0.9)):
        q = answer(n, p)
        if not 0 < q < 1:
            return f"For n = {n} and p = {p} your function gives {shown(q)}; a fraction is between 0 and 1."
        found = 1 - (1 - q) ** n
        if not math.isclose(found, p, rel_tol=1e-3):
            than = "less" if found < p else "more"
            return f"{n} draws hit the best {q:.3%} with probability {found:.3f}, {than} than p = {p}."
    return None


def fraction_hit(n: int, p: float) -> float:
    # for large n nearly -log(1 - p) / n: twice as many draws, half the fraction
    return 1 - (1 - p) ** (1 / n)


def check_distinct(answer: Callable[[Sequence[float], int], float]) -> str | None:
    for values, draws in (
        ([3.0], 1),
        ([0.0, 1.0], 1),
        ([0.0, 1.0], 2),
        ([5.0, 1.0, 3.0], 2),
        ([1.0, 4.0, 1.0], 2),
        ([2.0, 7.0, 7.0, 1.0, 2.0], 3),
    ):
        sets = list(itertools.combinations(values, draws))
        expected = sum(map(max, sets)) / len(sets)
        got = answer(values, draws)
        if not same(got, expected):
            listed = f"the mean over all sets of entries is {expected:.4g}"
            return f"For {values} and {draws} draws your function gives {shown(got)}; {listed}."
    return None


def best_of_distinct(values: Sequence[float], draws: int) -> float:
    ordered, sets = sorted(values), math.comb(len(values), draws)
    # the highest place is k + 1: that entry, and draws - 1 of the k entries below it
    return sum(value * math.comb(k, draws - 1) / sets for k, value in enumerate(ordered))


def check_micro(answer: Callable[[int, int], int]) -> str | None:
    for sources, ops in ((2, 5), (3, 5), (6, 5), (1, 1), (2, 1)):
        got, pairs = answer(sources, ops), sources * ops
        expected = pairs * (pairs + 1) // 2
        if got == expected or is_rounded(got, expected):
            continue
        if got == pairs**2:
            return f"{got} counts the order: ((0, a), (1, b)) and ((1, b), (0, a)) are the same node."
        if got == pairs * (pairs - 1) // 2:
            return f"{got} leaves out the nodes whose two pairs are equal."
        if got == pairs**2 / 2:
            return f"{shown(got)} halves too much: a node with two equal pairs has only one order."
        if got == math.comb(sources, 2) * ops**2:
            return f"{got} is the count of DARTS, where the two sources differ."
        return f"For {sources} sources and {ops} ops you get {shown(got)}; count by hand for 2 sources and 1 op."
    return None


def micro_nodes(sources: int, ops: int) -> int:
    pairs = sources * ops
    return math.comb(pairs, 2) + pairs  # two different pairs, or the same pair twice


def check_lead(answer: float) -> str | None:
    if same(answer, 3.0):
        return None
    if same(answer, 6.0):
        return "Then none of the lead was luck. But the winner was chosen because its score was high."
    if same(answer, 0.0):
        return "Then all of the lead was luck. But architectures do differ, and a better one scores higher."
    if same(answer, 4.0):
        return "Subtracting one standard deviation does not answer it: the luck of a winner grows with its lead."
    if same(answer, 6 / math.sqrt(2)):
        return "Close: the share of the architecture is a ratio of variances, not of standard deviations."
    return "The score is a sum of two equally variable parts. Which share of a large sum do you expect from each?"


EXERCISES = (
    Exercise(
        id="01.1",
        statement="Write `string_length(layers)`: how many tokens does a `ConvSpace` string of so many layers have?",
        hints=(
            "Each layer has the same attributes. How many bits does the last layer have, and how many the first?",
            "Layer i, counted from 0, has 5 attributes and i bits. Add them up over all layers.",
        ),
        check=check_length,
        solution=string_length,
        wrong=(
            (lambda layers: 5 * layers, "For 2 layers"),
            (lambda layers: 5 * layers + layers**2, "For 1 layers"),
            (lambda layers: 5 * layers + layers * (layers + 1) // 2, "the string has 5 tokens"),
            (lambda layers: 5.5 * layers, "gives `5.5`"),
        ),
    ),
    Exercise(
        id="01.2",
        statement=(
            "Write `fraction_hit(n, p)`: the smallest fraction q such that, with probability at least p, one or more "
            "of n random draws are among the best q of the space."
        ),
        hints=(
            "Equation 1 says with which probability n draws hit the best q. Set it equal to p.",
            "1 - p = (1 - q)^n. Take the n-th root of both sides.",
        ),
        check=check_fraction,
        solution=fraction_hit,
        wrong=(
            (lambda n, p: 1 - (1 - p) ** n, "more than p"),
            (lambda n, p: p / n, "less than p"),
            (lambda n, p: math.ceil(math.log(1 - p) / math.log(1 - 1 / (n + 1))), "between 0 and 1"),
            (lambda n, p: 1 - p ** (1 / n), "with probability"),
        ),
    ),
    Exercise(
        id="01.3",
        statement=(
            "Write `best_of_distinct(values, draws)`: the expected maximum of `draws` different entries of the list "
            "`values`. Each set of so many entries is equally likely. Values may be equal."
        ),
        hints=(
            "Sort, and give every entry its own place 1 to N, also if values are equal. There are "
            "`math.comb(N, draws)` sets of entries. How many of them have only places of at most k?",
            "The highest place is at most k in comb(k, draws) of the comb(N, draws) sets. Subtract neighbours, as in "
            "equation 2.",
        ),
        check=check_distinct,
        solution=best_of_distinct,
        wrong=(
            (lambda values, draws: sum(values) / len(values), "[0.0, 1.0] and 2 draws"),
            (lambda values, draws: max(values), "all sets of entries is 0.5"),
            (
                lambda v, n: sum(
                    x * ((k / len(v)) ** n - ((k - 1) / len(v)) ** n) for k, x in enumerate(sorted(v), start=1)
                ),
                "[0.0, 1.0] and 2 draws",
            ),
            (lambda v, n: best_of_distinct(v[::-1], n) if v == sorted(v) else v[0], "[5.0, 1.0, 3.0] and 2 draws"),
            (
                lambda v, n: best_of_distinct([*set(v)], n) if len(set(v)) >= n else max(v),
                "[1.0, 4.0, 1.0] and 2 draws",
            ),
            (
                lambda v, n: sum(x * math.comb(sorted(v).index(x), n - 1) / math.comb(len(v), n) for x in v),
                "[1.0, 4.0, 1.0] and 2 draws",
            ),
        ),
    ),
    Exercise(
        id="01.4",
        statement=(
            "Write `micro_nodes(sources, ops)`: how many architectures has one ENAS micro node, which takes two pairs "
            "(source, op) in any order, which may be equal?"
        ),
        hints=(
            "First count the pairs (source, op). Call that number m.",
            "Count the nodes with two different pairs, in any order. Then add the nodes with two equal pairs.",
        ),
        check=check_micro,
        solution=micro_nodes,
        wrong=(
            (lambda s, o: (s * o) ** 2, "counts the order"),
            (lambda s, o: math.comb(s * o, 2), "two pairs are equal"),
            (lambda s, o: (s * o) ** 2 / 2, "halves too much"),
            (lambda s, o: math.comb(s, 2) * o**2, "the count of DARTS"),
            (lambda s, o: s * o, "count by hand"),
        ),
    ),
    Exercise(
        id="01.5",
        statement=(
            "Architectures have a standard deviation of 2 points, the noise of a training 2 points, too. The winner of "
            "many children leads their mean by 6 points. By how many points does it lead on average, trained again?"
        ),
        hints=(
            "The score is the sum of what the architecture is worth and of the noise. Only one of the two returns.",
            "Both parts vary equally, so nothing tells them apart: each explains the same share of a high score.",
        ),
        check=check_lead,
        solution=3.0,
        wrong=(
            (6, "none of the lead was luck"),
            (0, "all of the lead was luck"),
            (4, "one standard deviation"),
            (6 / 2**0.5, "ratio of variances"),
            (1.0, "two equally variable parts"),
        ),
    ),
)
