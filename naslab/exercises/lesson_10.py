"""Exercises of lesson 10, ground truth."""

from collections.abc import Callable, Sequence
from itertools import count

import numpy as np
from scipy.stats import t

from naslab import spaces, tables
from naslab.exercises import Exercise, same

OPS = spaces.nas_bench_201().ops


def check_order(answer: Sequence[str]) -> str | None:
    if sorted(answer) != sorted(OPS):
        return f"Name all five ops, each once: {', '.join(OPS)}."
    expected = op_order()
    if answer[-1] != expected[-1]:
        return "With one op on every edge nothing passes at all. That cell guesses: 10 %."
    if answer[0] != expected[0]:
        return (
            "The rest of the network sees single pixels and pools. Which op can find an edge or a corner in an image?"
        )
    if list(answer) != expected:
        return (
            "One op mixes channels, one passes its input on, and one blurs it. Neither passing nor blurring learns "
            "anything; only one of the two keeps the details."
        )
    return None


def op_order() -> list[str]:
    """The ops, best first: by the accuracy of the cell with this op on all three edges."""
    table = tables.cells()
    ops = spaces.nas_bench_201().ops
    return sorted(ops, key=lambda op: -table.accuracy((ops.index(op),) * 3))


def check_half_sure(answer: Callable[[Sequence[float], int, float], float]) -> str | None:
    rng = np.random.default_rng(0)
    cases = [(rng.uniform(10, 80, 5**n).tolist(), n, p) for n, p in ((1, 0.5), (2, 0.5), (3, 0.5), (3, 0.9))]
    got, expected = [answer(*case) for case in cases], [half_sure(*case) for case in cases]
    if same(got, expected):
        return None
    for power in (lambda edges: 1, lambda edges: edges):
        if same(got, [p ** power(n) * max(a) + (1 - p ** power(n)) * sum(a) / len(a) for a, n, p in cases]):
            return (
                "All edges must have the right op, so the best cell has the probability p^edges. The other cells are "
                "not equally probable: a cell that differs on one edge is likelier than one that differs on all."
            )
    k = [same(one, other) for one, other in zip(got, expected, strict=True)].index(False)
    _, edges, p = cases[k]
    return f"edges = {edges}, p = {p}: you get {got[k]:.4f} for some accuracies, expected {expected[k]:.4f}."


def half_sure(accuracies: Sequence[float], edges: int, p: float) -> float:
    truth = np.array(accuracies).reshape((5,) * edges)
    best = np.unravel_index(truth.argmax(), truth.shape)
    for op in best[::-1]:
        weights = np.full(5, (1 - p) / 4)
        weights[op] = p
        truth = truth @ weights
    return float(truth)


def check_optimism(answer: Callable[[Sequence[Sequence[float]]], float]) -> str | None:
    rng = np.random.default_rng(1)
    for trainings, cells in ((2, 5), (3, 40), (5, 8)):
        valid = (rng.normal(70, 3, cells) + rng.normal(0, 2, (trainings, cells))).tolist()
        got, expected = answer(valid), optimism(valid)
        if same(got, expected):
            continue
        rows = np.array(valid)
        if same(got, -expected):
            return "The sign is turned: what the search reports minus what the cell is worth."
        if same(got, float(np.mean([row.max() - rows.mean(0)[row.argmax()] for row in rows]))):
            return "The mean must leave out the training that chose the cell: that one is lucky by selection."
        if same(got, float(rows.max() - rows.mean(0).max())):
            return "Each training makes its own choice. Take the mean over the choices."
        return f"For {trainings} trainings of {cells} cells the optimism is {expected:.4f}; you get {got:.4f}."
    return None


def optimism(valid: Sequence[Sequence[float]]) -> float:
    rows = np.array(valid)
    found = []
    for k, row in enumerate(rows):
        chosen = row.argmax()
        found.append(row[chosen] - np.delete(rows, k, 0)[:, chosen].mean())
    return float(np.mean(found))


def enough(sd: float, effect: float) -> int:
    return next(n for n in count(2) if t.ppf(0.975, n - 1) * sd / n**0.5 < effect)


def _enough(quantile: Callable[[int], float]) -> Callable[[float, float], int]:
    """Returns an answer to 10.4 that uses another quantile."""
    return lambda sd, effect: next(n for n in count(2) if quantile(n) * sd / n**0.5 < effect)


KNOWN, ONE_SIDED, N_DEGREES = map(
    _enough, (lambda n: 1.96, lambda n: float(t.ppf(0.95, n - 1)), lambda n: float(t.ppf(0.975, n)))
)


def check_enough(answer: Callable[[float, float], int]) -> str | None:
    cases = ((2.0, 1.0), (2.0, 4.0), (5.0, 1.0), (0.5, 10.0))
    got, expected = [answer(*case) for case in cases], [enough(*case) for case in cases]
    if got == expected:
        return None
    if got == [KNOWN(*case) for case in cases]:
        return (
            "1.96 is for a standard deviation that is known. Here it is estimated: use t with n - 1 degrees of freedom."
        )
    if got == [ONE_SIDED(*case) for case in cases]:
        return "An interval of 95 % leaves 2.5 % on each side: the quantile is 0.975."
    if got == [N_DEGREES(*case) for case in cases]:
        return "With n differences t has n - 1 degrees of freedom, not n."
    k = [one == other for one, other in zip(got, expected, strict=True)].index(False)
    say = f"sd = {cases[k][0]:g}, effect = {cases[k][1]:g}: you get {got[k]}"
    if got[k] == expected[k] - 1:
        return f"{say}. There the interval is still too wide. Return the first n at which it is narrow enough."
    return f"{say}, expected {expected[k]}. Try n = 2, 3, 4, ... until the condition holds."


EXERCISES = (
    Exercise(
        id="10.1",
        statement="Order the five ops by the accuracy of the cell that has this op on all three edges, best first.",
        hints=(
            "Which op looks at neighbouring pixels *and* learns? Which one learns, but looks at one pixel?",
            "Two of the other three learn nothing: one passes the image on as it is, one blurs it. The last one passes "
            "nothing on.",
        ),
        check=check_order,
        solution=op_order,
        wrong=(
            (["nor_conv_3x3", "nor_conv_1x1", "skip_connect", "avg_pool_3x3"], "each once"),
            (["none", "skip_connect", "avg_pool_3x3", "nor_conv_1x1", "nor_conv_3x3"], "nothing passes"),
            (["nor_conv_1x1", "nor_conv_3x3", "skip_connect", "avg_pool_3x3", "none"], "an edge or a corner"),
            (["nor_conv_3x3", "skip_connect", "nor_conv_1x1", "avg_pool_3x3", "none"], "mixes channels"),
            (["nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3", "skip_connect", "none"], "keeps the details"),
        ),
    ),
    Exercise(
        id="10.2",
        statement=(
            "Write `half_sure(accuracies, edges, p)`: the expected accuracy if each edge has the op of the best cell "
            "with probability p, and each of the other four with (1 - p) / 4. `accuracies` has 5^edges numbers; the "
            "last edge changes fastest."
        ),
        hints=(
            "`np.reshape(accuracies, (5,) * edges)` has an axis for each edge. `np.unravel_index` finds the best cell.",
            "Each edge has a row of five probabilities, and the probability of a cell is their product. Multiply the "
            "array by the row of the last edge and sum, and so on for the other edges.",
        ),
        check=check_half_sure,
        solution=half_sure,
        wrong=(
            (lambda a, edges, p: p * max(a) + (1 - p) * sum(a) / len(a), "p^edges"),
            (lambda a, edges, p: p**edges * max(a) + (1 - p**edges) * sum(a) / len(a), "not equally probable"),
            (lambda a, edges, p: max(a), "expected"),
        ),
    ),
    Exercise(
        id="10.3",
        statement=(
            "Write `optimism(valid)`: in each training (a row) pick the cell with the largest accuracy, and subtract "
            "the mean of the other trainings of that cell. Return the mean over the trainings."
        ),
        hints=(
            "Begin with `valid = np.array(valid)`. Then `row.argmax()` picks the cell of a row, and "
            "`np.delete(valid, k, 0)` is the table without row k.",
            "The mean over k of `valid[k, best] - np.delete(valid, k, 0)[:, best].mean()`.",
        ),
        check=check_optimism,
        solution=optimism,
        wrong=(
            (lambda valid: -optimism(valid), "sign is turned"),
            (
                lambda valid: float(
                    np.mean([row.max() - np.mean(valid, 0)[np.argmax(row)] for row in np.array(valid)])
                ),
                "lucky by selection",
            ),
            (lambda valid: float(np.max(valid) - np.mean(valid, 0).max()), "makes its own choice"),
            (lambda valid: 0.0, "the optimism is"),
        ),
    ),
    Exercise(
        id="10.4",
        statement=(
            "Write `enough(sd, effect)`: the smallest n of at least 2 with t(0.975, n - 1) sd / sqrt(n) < effect. With "
            "so many pairs of searches half of the 95 % interval is smaller than `effect`. `sd` is the standard "
            "deviation of the differences."
        ),
        hints=(
            "`scipy.stats.t.ppf(0.975, n - 1)` is the quantile. It depends on n, so try n = 2, 3, ...",
            "`next(n for n in itertools.count(2) if t.ppf(0.975, n - 1) * sd / n**0.5 < effect)`",
        ),
        check=check_enough,
        solution=enough,
        wrong=(
            (KNOWN, "estimated"),
            (ONE_SIDED, "2.5 % on each side"),
            (N_DEGREES, "not n"),
            (lambda sd, effect: enough(sd, effect) - 1, "still too wide"),
            (lambda sd, effect: 100, "until the condition holds"),
        ),
    ),
)
