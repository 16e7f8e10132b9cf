"""Exercises of lesson 09, DARTS from search to retrained cell."""

import itertools
import math
from collections.abc import Callable, Sequence

from naslab.exercises import Exercise, same
from naslab.genotypes import read_darts
from naslab.networks import count_parameters
from naslab.ops import CONV_OPS
from naslab.spaces import DARTS_OPS, NONE

OPS = sorted((op for op in DARTS_OPS if op != NONE), key=lambda op: op.startswith("sep"))  # harder ops last


def check_op_parameters(answer: Callable[[str, int], int]) -> str | None:
    for op, c in itertools.product(OPS, (4, 16)):
        got, expected = answer(op, c), count_parameters(CONV_OPS[op](c, 1))
        if got == expected:
            continue
        if not op.startswith(("sep", "dil")):
            return f"{op} learns nothing at stride 1, so it has 0 parameters. You get {got}."
        k, times = int(op[-1]), 2 if op.startswith("sep") else 1
        if got == 2 * expected:
            return f"{op}: a dilated convolution is applied once, only separable ones are applied twice."
        if got == expected // times:
            return f"{op}: that is one application. A separable convolution is applied twice."
        if got == times * (k * k * c + c * c):
            return f"{op}: the batch norms are missing. In a child each has a scale and a shift for every channel."
        if times == 2 and got == times * (k * k * c + c * c) + 2 * c:
            return f"{op}: you count one batch norm. Each of the two applications has its own."
        if got == times * (k * k * c + c * c + c):
            return f"{op}: a batch norm has *two* parameters for every channel, a scale and a shift."
        if got in (times * (k * k * c * c + 2 * c), times * (k * k * c * c + c * c + 2 * c)):
            return f"{op}: the {k}x{k} filters are depthwise, one for each channel; only the 1x1 ones mix channels."
        return f"{op} on {c} channels: you get {got}, expected {expected}."
    return None


def op_parameters(op: str, c: int) -> int:
    if not op.startswith(("sep", "dil")):
        return 0  # pools and identity
    k = int(op[-1])
    once = k * k * c + c * c + 2 * c  # depthwise, 1x1, batch norm
    return 2 * once if op.startswith("sep") else once


def _once(count: Callable[[int, int], int]) -> Callable[[str, int], int]:
    """Returns an answer to 09.1 that counts the parameters of one application with `count`."""
    times = {"sep": 2, "dil": 1}
    return lambda op, c: times[op[:3]] * count(int(op[-1]), c) if op[:3] in times else 0


def _genotype(normal: str, reduce: str) -> str:
    """Returns a genotype with cells of two nodes. Letters name the ops: s skip, c convolution, p pool."""
    names = {"s": "skip_connect", "c": "sep_conv_3x3", "p": "max_pool_3x3"}
    normal_pairs, reduce_pairs = ([(names[op], k % 2) for k, op in enumerate(cell)] for cell in (normal, reduce))
    return f"Genotype(normal={normal_pairs}, normal_concat=[2, 3], reduce={reduce_pairs}, reduce_concat=[2, 3])"


RECORDS = (
    [("cccc", "sssp"), ("cspc", "ssss"), *((normal, "cccc") for normal in ("cscc", "sscc", "sccs", "ssss", "sscc"))],
    [("cccc", "cccc"), ("scpc", "sscc"), ("cspp", "ssss")],
    [("cccs", "pppp"), ("sssc", "pppp"), ("sccc", "pppp"), ("sscc", "pppp")],
)


def check_stop_at(answer: Callable[[Sequence[str]], int]) -> str | None:
    for record in ([_genotype(*cells) for cells in record] for record in RECORDS):
        got, expected = answer(list(record)), stop_at(record)
        if got == expected:
            continue
        cells = [_skips(text) for text in record]
        say = f"With {', '.join(str(n) for n, _ in cells)} skips in the normal cells"
        if got is None or got == len(record):
            return f"{say} you get {got}: a search that never has two goes to its end; return the last index."
        if got == _first(record, lambda normal, reduce: normal + reduce >= 2):
            return f"{say} you get {got}: the rule looks at the normal cell alone, yours at the whole text."
        if got == _first(record, lambda normal, reduce: normal > 2):
            return f"{say} you get {got}: the rule stops at *two or more*, yours at more than two."
        if got == _first(record, lambda normal, reduce: normal == 2):
            return f"{say} you get {got}: the rule stops at *two or more*, yours at exactly two."
        if got == max((k for k, (n, _) in enumerate(cells) if n >= 2), default=len(record) - 1):
            return f"{say} you get {got}: that is the last such epoch. Stop at the first."
        if got == expected + 1:
            return f"{say} you get {got}: epochs are counted from 0 here."
        return f"{say} you get {got!r}, expected {expected}."
    return None


def _skips(text: str) -> tuple[int, int]:
    """Returns the number of skips in the normal and in the reduction cell."""
    space, tokens = read_darts(text)
    cells = ([op for node in nodes for _, op in node] for nodes in space.pairs(tokens).values())
    normal, reduce = (ops.count("skip_connect") for ops in cells)
    return normal, reduce


def _first(record: Sequence[str], stops: Callable[[int, int], bool]) -> int:
    """Returns the first epoch for which the rule `stops` holds, or the last epoch."""
    return next((k for k, text in enumerate(record) if stops(*_skips(text))), len(record) - 1)


def stop_at(record: Sequence[str]) -> int:
    for epoch, text in enumerate(record):
        normal = text.split("reduce=")[0]  # the text begins with the normal cell
        if normal.count("skip_connect") >= 2:
            return epoch
    return len(record) - 1


def check_passes(answer: tuple[int, int]) -> str | None:
    first, second = answer
    if (first, second) == (2, 5):
        return None
    if (first, second) == (1, 4):
        return "That is the step of alpha. The step of w belongs to algorithm 1, too."
    if first != 2:
        return f"First order: you get {first}. One gradient for alpha on validation, one for w on training data: 2."
    if second == 3:
        return "Second order: the two sides of the finite difference, w+ and w-, each need a gradient in alpha."
    if second == 4:
        return "Second order: you get 4. Look for the virtual step, L_valid at w', w+, w-, and the step of w."
    return f"Second order: you get {second}. Count the calls of `gradient` in `alpha_gradient`, and one for w."


def passes() -> tuple[int, int]:
    first = 1 + 1  # alpha on validation, w on training data
    second = 1 + 1 + 2 + 1  # virtual step, L_valid at w', w+ and w-, w
    return first, second


def check_best_of(answer: Callable[[Sequence[float], int], float]) -> str | None:
    for values, n in (([60.0, 70.0, 80.0, 95.0], 2), ([3.0, 1.0, 2.0], 1), ([5.0, 9.0, 7.0, 7.0, 1.0], 4)):
        got, expected = answer(values, n), best_of(values, n)
        if same(got, expected):
            continue
        say = f"The best of {n} of {values}"
        if same(got, max(values)):
            return f"{say} is {max(values)} only if the best is among the {n} drawn. Average over all draws."
        if same(got, sum(values) / len(values)):
            return f"{say}: you get the mean of all values. Take the maximum of each draw first, then the mean."
        if same(got, _with_replacement(values, n)):
            return f"{say}: you draw with replacement; {n} *different* searches are drawn here."
        if same(got, max(values[:n])):
            return f"{say}: you look at the first {n} only. Average over all draws of {n}."
        return f"{say}: you get {got:.4f}, expected {expected:.4f}."
    return None


def _with_replacement(values: Sequence[float], n: int) -> float:
    return math.fsum(map(max, itertools.product(values, repeat=n))) / len(values) ** n


def best_of(values: Sequence[float], n: int) -> float:
    draws = [max(draw) for draw in itertools.combinations(values, n)]
    return sum(draws) / len(draws)


EXERCISES = (
    Exercise(
        id="09.1",
        statement=(
            "Write `op_parameters(op, c)`: how many parameters has an op of DARTS' space in a child, on an edge of "
            "stride 1 with `c` channels?"
        ),
        hints=(
            "Which ops learn nothing? For the others: depthwise filters, 1x1 filters, batch norm.",
            "Depthwise k k c, 1x1 c c, batch norm 2 c; a separable convolution does all of that twice; k is "
            "`int(op[-1])`.",
        ),
        check=check_op_parameters,
        solution=op_parameters,
        wrong=(
            (lambda op, c: op_parameters(op, c) or c, "learns nothing"),
            (lambda op, c: op_parameters(op, c) // (2 if op.startswith("sep") else 1), "applied twice"),
            (lambda op, c: op_parameters(op, c) * (2 if op.startswith("dil") else 1), "applied once"),
            (_once(lambda k, c: k * k * c + c * c), "norms are missing"),
            (_once(lambda k, c: k * k * c + c * c + c), "*two* parameters"),
            (lambda op, c: op_parameters(op, c) - 2 * c * op.startswith("sep"), "you count one batch norm"),
            (_once(lambda k, c: k * k * c * c + 2 * c), "depthwise"),
            (lambda op, c: 0, "you get 0"),
        ),
    ),
    Exercise(
        id="09.2",
        statement=(
            "How many gradients does one step of algorithm 1 take, forward and back through the supergraph? A pair: "
            "first order, second order."
        ),
        hints=(
            "A step is a step of alpha *and* a step of w.",
            "Second order: a gradient for the virtual step, one at w', one each at w+ and w-, and one for w.",
        ),
        check=check_passes,
        solution=passes,
        wrong=(
            ((1, 4), "step of w belongs"),
            ((1, 5), "First order"),
            ((2, 3), "each need a gradient"),
            ((2, 4), "Look for"),
            ((2, 6), "Count the calls"),
        ),
    ),
    Exercise(
        id="09.3",
        statement=(
            "Write `best_of(values, n)`: the best of `n` different ones of the `values`, on average over all ways to "
            "draw the `n`."
        ),
        hints=(
            "`itertools.combinations(values, n)` lists the draws.",
            "Take `max` of each draw, then the mean over the draws.",
        ),
        check=check_best_of,
        solution=best_of,
        wrong=(
            (lambda values, n: max(values), "only if the best"),
            (lambda values, n: sum(values) / len(values), "maximum of each draw first"),
            (_with_replacement, "with replacement"),
            (lambda values, n: max(values[:n]), "the first 2 only"),
            (lambda values, n: 0.0, "expected"),
        ),
    ),
    Exercise(
        id="09.4",
        statement=(
            "Write `stop_at(record)`: `record` lists the genotypes of a search, a text for each epoch. Return the "
            "index of the first epoch whose *normal* cell has two skip connections or more; if none has, of the last."
        ),
        hints=(
            "The text of a normal cell ends where `reduce=` begins.",
            "`text.split('reduce=')[0].count('skip_connect')` counts; go through `enumerate(record)` and return early.",
        ),
        check=check_stop_at,
        solution=stop_at,
        form=int | None,
        wrong=(
            (lambda record: _first(record, lambda normal, reduce: normal + reduce >= 2), "normal cell alone"),
            (lambda record: _first(record, lambda normal, reduce: normal > 2), "more than two"),
            (lambda record: _first(record, lambda normal, reduce: normal == 2), "exactly two"),
            (lambda record: next((k for k, t in enumerate(record) if _skips(t)[0] >= 2), None), "goes to its end"),
            (lambda record: len(record) - 1 - _first(record[::-1], lambda normal, reduce: normal >= 2), "the first"),
            (lambda record: stop_at(record) + 1, "counted from 0"),
            (lambda record: -1, "expected"),
        ),
    ),
)
