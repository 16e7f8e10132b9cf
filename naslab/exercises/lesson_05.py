"""Exercises of lesson 05, sharing parameters."""

from collections.abc import Callable, Sequence
from itertools import chain
from math import cos, exp, pi, sqrt

import numpy as np
from scipy.stats import binom, norm

from naslab import schedules, spaces
from naslab.exercises import Exercise, is_rounded, same, shown

Gradients = Sequence[
    dict[str, float]
]  # one dict per child: name of a set of weights -> gradient; a child has only the sets that it uses


def check_sets_and_children(answer: Callable[[int, int], tuple[int, int]]) -> str | None:
    for layers, ops in ((2, 6), (4, 6), (5, 3), (12, 6), (1, 6)):
        sets, children = answer(layers, ops)
        expected = spaces.MacroSpace(layers, tuple(f"op_{k}" for k in range(ops))).strings
        if sets != layers * ops:
            why = " That is the number of paths." if sets == ops**layers and layers > 1 else ""
            return f"{layers} layers of {ops} ops hold {layers * ops} sets of weights, not {sets}.{why}"
        if children == expected:
            continue
        if is_rounded(children, expected):
            return f"Got {children}, a float, which has lost digits. Count with integers: `//` in place of `/`."
        if children == ops**layers:
            return "The skip bits are missing: layer i has one for each of the i layers before it."
        if children == ops**layers * 2 ** (layers * (layers + 1) // 2):
            return "One bit too many for each layer: the first has none, the second one, ..."
        if children == ops**layers * 2 ** (layers * layers):
            return "A layer can only read layers *before* it: 0 + 1 + ... + (L - 1) bits in all."
        return f"{layers} layers of {ops} ops make {expected} architectures, not {children}."
    return None


def sets_and_children(layers: int, ops: int) -> tuple[int, int]:
    return layers * ops, ops**layers * 2 ** (layers * (layers - 1) // 2)


def check_expected_gradient(answer: Callable[[Sequence[float], Gradients], dict[str, float]]) -> str | None:
    cases: tuple[tuple[list[float], list[dict[str, float]]], ...] = (
        ([0.5, 0.5], [{"stem": 1.0, "a": 2.0}, {"stem": 3.0, "b": -4.0}]),
        ([0.2, 0.3, 0.5], [{"stem": 1.0, "a": 2.0}, {"stem": 0.0, "a": -1.0}, {"stem": 4.0, "b": 6.0}]),
        ([0.9, 0.1], [{"a": 1.0}, {"b": 10.0}]),
    )
    for p, gradients in cases:
        got, expected = answer(p, gradients), expected_gradient(p, gradients)
        if got.keys() != expected.keys():
            return f"Your gradient is of {shown(sorted(got))}; the children together have {sorted(expected)}."
        if same(got, expected):
            continue
        chosen = {name: sum(q for q, g in zip(p, gradients, strict=True) if name in g) for name in expected}
        if same({name: got[name] * chosen[name] for name in expected}, expected):
            return (
                "You average over the children that *use* a set. Those that do not count, too, with gradient 0: a set "
                "that is seldom chosen learns slowly."
            )
        plain = {name: sum(g.get(name, 0.0) for g in gradients) for name in expected}
        if same(got, plain):
            return "The probabilities are missing."
        if same({name: got[name] * len(p) for name in expected}, plain):
            return "Children are not equally likely: weight each with its probability p."
        name = next(n for n in expected if not same(got[n], expected[n]))
        return (
            f"For p = {p}, gradients = {gradients} the gradient of {name!r} is {expected[name]:g}, not {got[name]:g}."
        )
    return None


def expected_gradient(p: Sequence[float], gradients: Gradients) -> dict[str, float]:
    names = sorted(set(chain.from_iterable(gradients)))
    return {n: sum(q * g.get(n, 0.0) for q, g in zip(p, gradients, strict=True)) for n in names}


def check_lr(answer: Callable[[float], float]) -> str | None:
    rate = schedules.Restarts()
    for epoch in (0, 5, 9.9, 10, 20, 29, 30, 50, 69, 150, 230, 309):
        got, expected = answer(epoch), rate(epoch)
        if same(got, expected):
            continue
        if same(got, schedules.Restarts(factor=1)(epoch)):
            return f"At epoch {epoch}: each cosine is twice as long as the one before; yours all have 10 epochs."
        if same(got, schedules.cosine(epoch / 310, 0.05, 0.001)):
            return f"At epoch {epoch}: a single cosine from 0 to 310; it must start again at 10, 30, 70, 150."
        if same(got, schedules.Restarts(low=0.0)(epoch)):
            return f"At epoch {epoch}: the rate falls to 0.001, not to 0."
        if same(got, schedules.Restarts(low=0.05, high=0.001)(epoch)):
            return f"At epoch {epoch}: it rises from 0.001 to 0.05, the wrong way round."
        return f"At epoch {epoch} the rate is {expected:.5f}, not {got:.5f}."
    return None


def lr(epoch: float) -> float:
    start, length = 0, 10
    while epoch >= start + length:
        start, length = start + length, 2 * length
    return 0.001 + (0.05 - 0.001) * (1 + cos(pi * (epoch - start) / length)) / 2


def check_most(answer: Callable[[float, int], float]) -> str | None:
    for c, n in ((2.5, 6), (1.0, 2), (0.5, 10), (5.0, 3)):
        got, expected = answer(c, n), most(c, n)
        if same(got, expected):
            continue
        if same(got, exp(c) / (exp(c) + n - 1)):
            return "There the other logits are 0. They can be lower than 0."
        if same(got, exp(2 * c) / (exp(2 * c) + n)):
            return "The denominator has one op too many: one of the n is the op itself."
        if same(got, 1 / (1 + (n - 1) * exp(2 * c))):
            return "That is the smallest probability of an op, not the largest."
        return f"For c = {c} and {n} ops the largest probability is {expected:.4f}, not {got:.4f}."
    return None


def most(c: float, n: int) -> float:
    return exp(c) / (exp(c) + (n - 1) * exp(-c))


def check_misjudged(answer: Callable[[float, float, int], float]) -> str | None:
    for p, q, n in ((0.6, 0.55, 50), (0.6, 0.55, 600), (0.9, 0.5, 3), (0.4, 0.1, 10), (0.7, 0.7, 20)):
        got, expected, tie = answer(p, q, n), misjudged(p, q, n), _tie(p, q, n)
        if same(got, expected):
            continue
        if same(got, 1 - expected):
            return "That is the probability that the better child wins. Asked is the *worse* child."
        if same(got, expected - tie / 2):
            return "Ties are missing: they count one half."
        if same(got, expected + tie / 2):
            return "Ties count in full here. They should count one half."
        if same(got, _by_normal(p, q, n)):
            return f"The normal approximation gives {got:.4f}; exactly it is {expected:.4f}. Sum over the scores."
        return f"For p = {p}, q = {q}, n = {n} the probability is {expected:.4f}, not {got:.4g}."
    return None


def misjudged(p: float, q: float, n: int) -> float:
    k = np.arange(n + 1)
    better, worse = binom.pmf(k, n, p), binom.pmf(k, n, q)
    fewer = better.cumsum() - better  # P(better < k)
    return float((worse * (fewer + better / 2)).sum())


def _tie(p: float, q: float, n: int) -> float:
    k = np.arange(n + 1)
    return float((binom.pmf(k, n, p) * binom.pmf(k, n, q)).sum())


def _by_normal(p: float, q: float, n: int) -> float:
    return float(norm.cdf((q - p) / sqrt((p * (1 - p) + q * (1 - q)) / n)))


EXERCISES = (
    Exercise(
        id="05.1",
        statement=(
            "Write `sets_and_children(layers, ops)`: how many sets of op weights the supergraph of a macro space "
            "holds, if every op has weights, and how many architectures share them."
        ),
        hints=(
            "The supergraph holds every op once in every layer.",
            "An architecture chooses one op for each layer, and layer i has i skip bits: 0 + 1 + ... + (L - 1) in all.",
        ),
        check=check_sets_and_children,
        solution=sets_and_children,
        wrong=(
            (lambda layers, ops: (ops**layers, sets_and_children(layers, ops)[1]), "number of paths"),
            (lambda layers, ops: (layers + ops, sets_and_children(layers, ops)[1]), "sets of weights, not"),
            (lambda layers, ops: (layers * ops, ops**layers), "skip bits are missing"),
            (lambda layers, ops: (layers * ops, ops**layers * 2 ** (layers * (layers + 1) // 2)), "One bit too many"),
            (lambda layers, ops: (layers * ops, ops**layers * 2 ** (layers**2)), "*before* it"),
            (lambda layers, ops: (layers * ops, layers**ops * 2 ** (layers * (layers - 1) // 2)), "architectures, not"),
        ),
    ),
    Exercise(
        id="05.2",
        statement=(
            "Write `expected_gradient(p, gradients)`: the gradient of the expected loss, a dict. `p` lists the "
            "children's probabilities, `gradients` their gradients, each a dict: set of weights -> number; a child has "
            "no entry for a set that it does not use."
        ),
        hints=(
            "What is the gradient of a child's loss with respect to a set that is not on its path?",
            "For every name: the sum over the children of p * gradient.get(name, 0.0).",
        ),
        check=check_expected_gradient,
        solution=expected_gradient,
        wrong=(
            (
                lambda p, gradients: {
                    n: sum(q * g[n] for q, g in zip(p, gradients, strict=True) if n in g)
                    / sum(q for q, g in zip(p, gradients, strict=True) if n in g)
                    for n in expected_gradient(p, gradients)
                },
                "learns slowly",
            ),
            (lambda p, gradients: expected_gradient([1.0] * len(p), gradients), "probabilities are missing"),
            (lambda p, gradients: expected_gradient([1 / len(p)] * len(p), gradients), "not equally likely"),
            (lambda p, gradients: gradients[0], "the children together have"),
            (lambda p, gradients: {n: 0.0 for n in expected_gradient(p, gradients)}, "not 0"),
        ),
    ),
    Exercise(
        id="05.3",
        statement=(
            "Write `most(c, n)`: the largest probability that an op can have in a softmax over n ops whose logits lie "
            "between -c and c."
        ),
        hints=(
            "Which logits make one op as probable as possible? Choose its own logit and those of the others.",
            "Its own is c, all others are -c. Write the softmax down.",
        ),
        check=check_most,
        solution=most,
        wrong=(
            (lambda c, n: exp(c) / (exp(c) + n - 1), "can be lower than 0"),
            (lambda c, n: exp(2 * c) / (exp(2 * c) + n), "one of the n is the op itself"),
            (lambda c, n: 1 / (1 + (n - 1) * exp(2 * c)), "the smallest"),
            (lambda c, n: 1 / n, "not 0.1667"),
        ),
    ),
    Exercise(
        id="05.4",
        statement=(
            "Write `lr(epoch)`: the learning rate of the shared weights. Cosines from 0.05 to 0.001; the first takes "
            "10 epochs, each next twice as many as the one before; 0 <= epoch < 310, and an epoch may be a fraction."
        ),
        hints=(
            "Find where the present cosine starts, and how long it is: subtract 10, 20, 40, ... while there is enough.",
            "With `done` the part of the cosine that is over: 0.001 + (0.05 - 0.001) * (1 + cos(pi * done)) / 2.",
        ),
        check=check_lr,
        solution=lr,
        wrong=(
            (lambda epoch: schedules.Restarts(factor=1)(epoch), "twice as long"),
            (lambda epoch: schedules.cosine(epoch / 310, 0.05, 0.001), "single cosine"),
            (lambda epoch: schedules.Restarts(low=0.0)(epoch), "not to 0"),
            (lambda epoch: schedules.Restarts(low=0.05, high=0.001)(epoch), "wrong way round"),
            (lambda epoch: 0.05, "the rate is"),
        ),
    ),
    Exercise(
        id="05.5",
        statement=(
            "Write `misjudged(p, q, n)`: the better child classifies an image correctly with probability p, the worse "
            "one with probability q. Each is scored on its own n images. Return the probability that the worse child "
            "has the higher score; a tie counts one half."
        ),
        hints=(
            "Both scores are binomial. `scipy.stats.binom.pmf(k, n, p)` is the probability of k correct images.",
            "For every score j of the worse child you need the probability that the better one has fewer than j.",
            "Sum over j: P(worse = j) * (P(better < j) + P(better = j) / 2).",
        ),
        check=check_misjudged,
        solution=misjudged,
        wrong=(
            (lambda p, q, n: 1 - misjudged(p, q, n), "the *worse* child"),
            (lambda p, q, n: misjudged(p, q, n) - _tie(p, q, n) / 2, "Ties are missing"),
            (lambda p, q, n: misjudged(p, q, n) + _tie(p, q, n) / 2, "Ties count in full"),
            (_by_normal, "normal approximation"),
            (lambda p, q, n: 0.5, "not 0.5"),
        ),
    ),
)
