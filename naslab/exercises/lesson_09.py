"""Exercises of lesson 09, DARTS from search to retrained cell.

The tables of wrong answers have functions like the answer, each with the words that diagnose it.
"""

import itertools
from collections.abc import Callable, Sequence
from math import exp
from typing import Any

import numpy as np

from naslab.exercises import Exercise, same, shown
from naslab.networks import count_parameters
from naslab.ops import CONV_OPS
from naslab.spaces import DARTS_OPS, NONE

Edges = Sequence[tuple[int, int, str]]  # source, target, op
Wrong = tuple[tuple[Callable[..., Any], str], ...]


def _softmax(alpha: Callable[[np.ndarray, float], np.ndarray]) -> Callable[[Sequence[float], float], list[float]]:
    """Returns an answer to 09.1 that has the weights of the alphas `alpha(slopes, lr)`."""

    def weights(slopes: Sequence[float], lr: float) -> list[float]:
        found = np.exp(alpha(np.array(slopes), lr))
        return (found / found.sum()).tolist()

    return weights


STEPS: Wrong = (
    (lambda g, lr: (-lr * np.sign(g)).tolist(), "Those are the alphas. The weights are their softmax"),
    (_softmax(lambda g, lr: lr * np.sign(g)), "The sign. A step goes against the slope: a negative one raises alpha"),
    (_softmax(lambda g, lr: -lr * g), "That is plain gradient descent. Adam divides each entry by its own size"),
    (
        _softmax(lambda g, lr: -lr * g / np.linalg.norm(g)),
        "You divide by the length of the gradient. Adam divides each entry by its own size",
    ),
    (
        _softmax(lambda g, lr: -lr * 0.5 / 0.001**0.5 * np.sign(g)),
        "The bias corrections are missing. Both means start at 0",
    ),
    (_softmax(lambda g, lr: -lr * 0.5 * np.sign(g)), "The mean of the slope needs its bias correction, too"),
    (_softmax(lambda g, lr: 0 * g), "That is before the step"),
)


def check_after_one_step(answer: Callable[[Sequence[float], float], list[float]]) -> str | None:
    for slopes, lr in (([0.3, -0.1, -0.2], 0.5), ([0.02, 0.01, -0.03], 0.1), ([2.0, -1.2, -0.5, -0.25, -0.05], 0.03)):
        got, expected = answer(slopes, lr), after_one_step(slopes, lr)
        if same(got, expected):
            continue
        where = f"slopes = {slopes}, lr = {lr:g}"
        if len(got) != len(slopes):
            return f"{len(slopes)} ops have {len(slopes)} weights, and you give {len(got)}."
        for wrong, words in STEPS:
            if same(got, wrong(slopes, lr)):
                return f"{words} ({where})."
        return f"For {where} the weights are {shown([round(p, 4) for p in expected])}, not {shown(got)}."
    return None


def after_one_step(slopes: Sequence[float], lr: float) -> list[float]:
    alpha = [lr if g < 0 else -lr for g in slopes]
    total = sum(exp(a) for a in alpha)
    return [exp(a) / total for a in alpha]


SKIP, POOL, CONV = "skip_connect", "avg_pool_3x3", "nor_conv_3x3"
CELLS = (
    ("A convolution and a skip follow each other on a path", [CONV, NONE, SKIP]),
    ("No edge has a convolution", [SKIP, POOL, SKIP]),
    ("The convolution is on a path from the input, but not to the output", [CONV, SKIP, NONE]),
    ("The convolution's source never gets anything from the input", [NONE, SKIP, CONV]),
    ("A 1x1 convolution learns, too", [SKIP, SKIP, "nor_conv_1x1"]),
    ("Nothing that leaves the convolution's node reaches the output", [CONV, SKIP, NONE, POOL, NONE, SKIP]),
    ("The convolution is the middle edge of a path of three", [SKIP, NONE, CONV, SKIP, POOL, SKIP]),
    ("Both convolutions start where nothing arrives", [NONE, NONE, CONV, SKIP, CONV, SKIP]),
    ("All six edges are skips", [SKIP] * 6),
    ("The edge from input to output is a path", [NONE, NONE, NONE, CONV, NONE, NONE]),
)


def check_learns(answer: Callable[[Edges], bool]) -> str | None:
    for words, ops in CELLS:
        ends = [(source, target) for target in range(1, 4) for source in range(target)]
        edges = [(*end, op) for end, op in zip(ends, ops, strict=False)]
        got, expected = answer(edges), learns(edges)
        if got != expected:
            return f"{words}, so the answer is {expected}, not {got}. The edges: {shown(edges)}."
    return None


def learns(edges: Edges) -> bool:
    reached, convolved = {0}, set()  # nodes that a path leads to, and those with a convolution on such a path
    for source, target, op in sorted(edges):  # all edges into a node come before those out of it
        if op != "none" and source in reached:
            reached.add(target)
            if op.startswith("nor_conv") or source in convolved:
                convolved.add(target)
    return max(target for _, target, _ in edges) in convolved


def _ends(edges: Edges) -> bool:
    """A wrong answer to 09.2: asks for a convolution that leads to the last node, from wherever."""
    return learns([*edges, *((0, source, SKIP) for source, _, op in edges if source and "conv" in op)])


ARRIVALS: Wrong = (
    (lambda p, s, n: arriving(p, s, 1), "That is one layer. Each layer multiplies"),
    (lambda p, s, n: n * arriving(p, s, 1), "Layers follow each other: multiply their factors, do not add them"),
    (lambda p, s, n: (p + (1 - p) * s) ** (2 * n), "You add lengths. The mean of h . W h is 0, so squares add up"),
    (lambda p, s, n: arriving(p, s, n) ** 0.5, "That is a length. Asked is the mean *squared* length"),
    (lambda p, s, n: (p + (1 - p) * s**2) ** n, "The shares are squared, too: p h has p^2 times the squared length"),
    (lambda p, s, n: (p**2 + (1 - p) ** 2 * s) ** n, "Sigma is squared: W h has sigma^2 times the squared length"),
    (lambda p, s, n: (p**2 * s**2 + (1 - p) ** 2) ** n, "p is the share of the skip, and 1 - p that of W h"),
)


def check_arriving(answer: Callable[[float, float, int], float]) -> str | None:
    for case in ((0.3, 0.8, 3), (0.5, 1.0, 8), (0.9, 1.5, 2), (1.0, 0.5, 4), (0.0, 2.0, 5)):
        got, expected = answer(*case), arriving(*case)
        if same(got / expected, 1.0):
            continue
        where = "p = {:g}, sigma = {:g}, {} layers".format(*case)
        for wrong, words in ARRIVALS:
            if same(got / expected, wrong(*case) / expected):
                return f"{words} ({where})."
        return f"For {where} the part {expected:.5g} arrives, not {got:.5g}."
    return None


def arriving(p: float, sigma: float, layers: int) -> float:
    return (p**2 + (1 - p) ** 2 * sigma**2) ** layers


def _keep(
    series: Sequence[float],
    back: int = 5,
    smooth: int = 5,
    apart: int = 5,
    whole: bool = True,
    sign: int = 1,
    pick: int = 0,
    never: int | None = -1,
) -> int | None:
    """A wrong answer to 09.4. `whole=False`: a mean is over the epochs that there are, at first fewer than five."""
    m = [np.mean(series[max(0, i - smooth + 1) : i + 1]) for i in range(len(series))]
    ratios = {i: (m[i - apart] / m[i]) ** sign for i in range(apart + (smooth - 1) * whole, len(m))}
    stops = [i for i, ratio in ratios.items() if ratio < 0.75]
    return stops[pick] - back if stops else len(series) - 1 if never == -1 else never


SERIES = (
    [0.16, 0.1, 0.09, 0.11, 0.1, 0.16, 0.2, 0.26, 0.77, 0.71, 0.51, 0.34, 0.24, 0.32, 0.47, 0.28, 0.3, 0.34],
    [0.22, 0.22, 0.32, 0.38, 0.28, 0.27, 0.16, 0.18, 0.19, 0.12, 0.15, 0.18, 0.35, 0.29, 0.35, 0.36, 0.71, 1.11],
    [0.25] * 16,
    [0.4] * 7 + [0.2] * 9,
)
STOPS: Wrong = (
    (lambda series: _keep(series, never=None), "The rule never stops this search. Then keep the last epoch"),
    (lambda series: _keep(series, back=0), "There the rule stops the search. Keep the epoch five before"),
    (lambda series: _keep(series, smooth=1), "You compare single eigenvalues. Compare means over five epochs"),
    (lambda series: _keep(series, sign=-1), "You stop when the eigenvalue has fallen. Stop when it has *grown*"),
    (lambda series: _keep(series, apart=1), "You compare with the epoch before. Compare means five epochs apart"),
    (lambda series: _keep(series, pick=-1), "There the rule holds for the last time. Stop at the first"),
    (lambda series: _keep(series, whole=False), "The first mean over five epochs is that of epoch 4, not earlier"),
    (lambda series: keep_epoch(series) + 1, "Epochs are counted from 0"),
)


def check_keep_epoch(answer: Callable[[Sequence[float]], int | None]) -> str | None:
    for series in SERIES:
        got, expected = answer(series), keep_epoch(series)
        if got == expected:
            continue
        for wrong, words in STOPS:
            if got == wrong(series):
                return f"For the eigenvalues {series} you get {got}. {words}."
        return f"For the eigenvalues {series} the epoch to keep is {expected}, not {shown(got)}."
    return None


def keep_epoch(eigenvalues: Sequence[float]) -> int:
    for i in range(9, len(eigenvalues)):
        before, now = sum(eigenvalues[i - 9 : i - 4]), sum(eigenvalues[i - 4 : i + 1])
        if before / now < 0.75:
            return i - 5
    return len(eigenvalues) - 1


PRICES: Wrong = (
    (lambda c: 2.5, "You count five passes against two as if all cost the same. With w frozen a pass costs 2"),
    (lambda c: 10 + 3 * c, "That is the cost of the second order. Divide by that of the first"),
    (lambda c: 6 + 2 * c, "That is the difference. Asked is how many *times* as long"),
    (lambda c: (4 + c) / (10 + 3 * c), "That is the first order over the second. Asked is the other way round"),
    (lambda c: 4 + c, "That is the step of alpha alone. The step of w belongs to algorithm 1, too"),
    (lambda c: (10 + 3 * c) / (4 + 2 * c), "In the first order the step of alpha freezes w: it costs 2"),
    (lambda c: (10 + 5 * c) / (4 + c), "At w+ and w- only the gradient in alpha is needed: each costs 2"),
    (lambda c: (10 + 2 * c) / (4 + c), "At w' the gradient in w is needed, too: it is the direction of w+ and w-"),
    (lambda c: (8 + 3 * c) / (4 + c), "w+ and w- are two passes of cost 2"),
)


def check_price(answer: Callable[[float], float]) -> str | None:
    for c in (1.0, 0.5, 2.0, 0.0):
        got, expected = answer(c), price(c)
        if same(got, expected):
            continue
        for wrong, words in PRICES:
            if same(got, float(wrong(c))):
                return f"For c = {c:g} you get {got:.4g}. {words}."
        return f"For c = {c:g} a step takes {expected:.4g} times as long, not {got:.4g}."
    return None


def price(c: float) -> float:
    frozen, full = 2, 2 + c
    first = frozen + full  # alpha, w
    second = full + full + 2 * frozen + full  # virtual step, at w', w+ and w-, w
    return second / first


def _once(count: Callable[[int, int], int]) -> Callable[[str, int, int], int]:
    """Returns an answer to 09.6 that counts the parameters of one application with `count`."""
    times = {"sep": 2, "dil": 1}
    return lambda op, c, s: times[op[:3]] * count(int(op[-1]), c) if op[:3] in times else op_parameters(op, c, s)


OPS = sorted((op for op in DARTS_OPS if op != NONE), key=lambda op: op.startswith("sep"))  # harder ops last
COUNTS: Wrong = (
    (lambda op, c, s: op_parameters(op, c, s) or c, "No filter, no batch norm: it learns nothing and has 0 parameters"),
    (lambda op, c, s: op_parameters(op, c, 1), "An identity cannot halve the image. Count the factorised reduction"),
    (
        lambda op, c, s: op_parameters(op, c, s) - 2 * c * (op == SKIP and s == 2),
        "The factorised reduction ends with a batch norm",
    ),
    (
        lambda op, c, s: op_parameters(op, c, s) + c * c * (op == SKIP and s == 2),
        "Each of the two 1x1 convolutions has c / 2 filters, so both together have c",
    ),
    (
        lambda op, c, s: op_parameters(op, c, s) // (2 if op.startswith("sep") else 1),
        "That is one application. A separable convolution is applied twice",
    ),
    (
        lambda op, c, s: op_parameters(op, c, s) * (2 if op.startswith("dil") else 1),
        "A dilated convolution is applied once, only separable ones are applied twice",
    ),
    (
        lambda op, c, s: op_parameters(op, c, s) - 2 * c * op.startswith("sep"),
        "You count one batch norm. Each of the two applications has its own",
    ),
    (_once(lambda k, c: k * k * c + c * c), "The batch norms are missing: a scale and a shift for each channel"),
    (_once(lambda k, c: k * k * c + c * c + c), "A batch norm has *two* parameters for each channel"),
    (_once(lambda k, c: k * k * c + 2 * c), "The 1x1 filters are missing: c of them, each reads c channels"),
    (_once(lambda k, c: k * k * c * c + 2 * c), "The big filters are depthwise: one for each channel"),
    (_once(lambda k, c: k * k * c * c + c * c + 2 * c), "The big filters are depthwise: one for each channel"),
)


def check_op_parameters(answer: Callable[[str, int, int], int]) -> str | None:
    for op, c, stride in itertools.product(OPS, (4, 16), (1, 2)):
        got, expected = answer(op, c, stride), count_parameters(CONV_OPS[op](c, stride))
        if got == expected:
            continue
        where = f"{op}, {c} channels, stride {stride}: you get {got}"
        for wrong, words in COUNTS:
            if got == wrong(op, c, stride):
                return f"{where}. {words}."
        return f"{where}, expected {expected}."
    return None


def op_parameters(op: str, c: int, stride: int) -> int:
    if op == "skip_connect" and stride == 2:
        return c * c + 2 * c  # two 1x1 convolutions, each to c / 2 channels, and a batch norm
    if not op.startswith(("sep", "dil")):
        return 0  # pools and identity
    k = int(op[-1])
    once = k * k * c + c * c + 2 * c  # depthwise, 1x1, batch norm
    return 2 * once if op.startswith("sep") else once


EXERCISES = (
    Exercise(
        id="09.1",
        statement=(
            "An edge's alphas start at 0. `slopes` are the derivatives of the validation loss in them, none of which "
            "is 0. Write `after_one_step(slopes, lr)`: the edge's mixing weights, a list, after the first step of Adam "
            "with learning rate `lr`. Take Adam's epsilon as 0."
        ),
        hints=(
            "Adam steps by -lr m / sqrt(v). m and v are the bias-corrected running means of the slope and of its "
            "square. What are they after one slope?",
            "m = g and v = g^2, whatever the betas are. So each alpha moves by lr, up if its slope is negative.",
            "The weights are the softmax of these alphas.",
        ),
        check=check_after_one_step,
        solution=after_one_step,
        wrong=(
            *STEPS,
            (lambda slopes, lr: after_one_step(slopes, lr)[:1], "you give 1"),
            (lambda slopes, lr: [1.0] * len(slopes), "the weights are"),
        ),
    ),
    Exercise(
        id="09.2",
        statement=(
            "Write `learns(edges)`: whether a path from node 0 to the last node has a convolution on it. `edges` lists "
            "all edges (source, target, op) of a cell of NAS-Bench-201. An edge with 'none' is on no path. The names "
            "of the convolutions begin with 'nor_conv'."
        ),
        hints=(
            "Keep two sets of nodes: those that a path from node 0 leads to, and those where such a path has a "
            "convolution.",
            "Go through `sorted(edges)`: then all edges into a node come before the edges out of it.",
            "If the source is reached and the op is not 'none', the target is reached. If then the op is a convolution "
            "or the source is in the second set, the target is in the second set, too.",
        ),
        check=check_learns,
        solution=learns,
        wrong=(
            (lambda edges: False, "follow each other"),
            (lambda edges: True, "No edge has a convolution"),
            (lambda edges: any("conv" in op for *_, op in edges), "but not to the output"),
            (_ends, "never gets anything"),
            (lambda edges: learns([e for e in edges if "1x1" not in e[2]] or [(0, 1, NONE)]), "1x1 convolution"),
            (lambda edges: learns([e for e in edges if len(edges) < 6 or e[1] - e[0] > 1]), "middle edge"),
        ),
    ),
    Exercise(
        id="09.3",
        statement=(
            "A layer is h -> p h + (1 - p) W h. The entries of W are random and independent, with mean 0 and variance "
            "sigma^2 / n for n units; every layer has a W of its own. Write `arriving(p, sigma, layers)`: the mean "
            "squared length of the output, divided by that of the input."
        ),
        hints=(
            "The squared length of p h + (1 - p) W h has three terms. What is the mean of h . W h, and what is that of "
            "|W h|^2?",
            "The mean of h . W h is 0. Each of the n entries of W h has variance (sigma^2 / n) |h|^2.",
            "One layer multiplies by p^2 + (1 - p)^2 sigma^2. The next W is independent of the h that it gets.",
        ),
        check=check_arriving,
        solution=arriving,
        wrong=(*ARRIVALS, (lambda p, s, n: 1.0, "arrives, not")),
    ),
    Exercise(
        id="09.4",
        statement=(
            "`eigenvalues` has the largest eigenvalue of the Hessian in alpha for each epoch, counted from 0. All are "
            "positive. Let m(i) be the mean over epoch i and the four before it. A search stops at the first epoch i "
            "with m(i - 5) / m(i) below 0.75 and keeps the architecture of epoch i - 5. Write "
            "`keep_epoch(eigenvalues)`: the epoch that is kept, or the last one if the search never stops."
        ),
        hints=(
            "m needs five epochs, so the first one is m(4). Which is the first i that has an m(i - 5)?",
            "From i = 9 on: compare the sum of `eigenvalues[i - 9 : i - 4]` with that of `eigenvalues[i - 4 : i + 1]`.",
            "Return i - 5 at once when the rule holds, and the last index after the loop.",
        ),
        check=check_keep_epoch,
        solution=keep_epoch,
        form=int | None,
        wrong=(*STOPS, (lambda series: -1, "the epoch to keep")),
    ),
    Exercise(
        id="09.5",
        statement=(
            "A forward pass costs 1. The backward pass costs 1 for the derivatives in the layers' inputs, and `c` more "
            "if derivatives in w are wanted; those in alpha cost nothing. Write `price(c)`: how many times as long a "
            "step of algorithm 1 (alpha and w) takes in the second order as in the first."
        ),
        hints=(
            "A gradient in alpha alone costs 1 + 1. A gradient in w, with or without alpha, costs 1 + 1 + c.",
            "First order: alpha on validation data with w frozen, then w on training data.",
            "Second order: the virtual step (in w), at w' (in both), w+ and w- (in alpha alone), then the step of w.",
        ),
        check=check_price,
        solution=price,
        wrong=(*PRICES, (lambda c: 1.0, "times as long, not")),
    ),
    Exercise(
        id="09.6",
        statement=(
            "Write `op_parameters(op, c, stride)`: how many parameters has an op of DARTS' space in a child, on an "
            "edge of stride 1 or 2 with `c` channels (an even number)?"
        ),
        hints=(
            "Which ops learn nothing? For the others: depthwise filters, 1x1 filters, batch norm.",
            "Depthwise k k c, 1x1 c c, batch norm 2 c; a separable convolution does all of that twice; k is "
            "`int(op[-1])`.",
            "At stride 2 the identity becomes a factorised reduction: two 1x1 convolutions from c to c / 2 channels "
            "side by side, then one batch norm. No other count changes.",
        ),
        check=check_op_parameters,
        solution=op_parameters,
        wrong=(*COUNTS, (_once(lambda k, c: 7), "expected 60")),
    ),
)
