"""Exercises of lesson 07, continuous relaxation."""

from collections.abc import Callable, Sequence
from math import log

import torch
from torch import Tensor

from naslab.exercises import Exercise, same, shown
from naslab.spaces import NONE, CellSpace

Node = Sequence[Sequence[float]]  # weights of a node's incoming edges: one row per source, one column per op
Pairs = list[tuple[int, str]]  # (source, op)


def check_jacobian(answer: Callable[[Tensor], Tensor]) -> str | None:
    for values in ([0.5, 0.5], [0.7, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.0]):
        w = torch.tensor(values, dtype=torch.float64)
        got, expected = answer(w), jacobian(w)
        if got.shape != expected.shape:
            return f"{len(w)} weights, {len(w)} alphas make a matrix {tuple(expected.shape)}, not {tuple(got.shape)}."
        if same(got, expected):
            continue
        if same(got, -expected):
            return "The sign is the wrong way round: to raise alpha_k raises w_k, and lowers the other weights."
        if same(got, expected.diag().diag()):
            return (
                "Only the diagonal is there. The weights add up to 1, so what one gains the others lose: each column "
                "must add up to 0."
            )
        if same(got.diag(), expected.diag()):
            return "The diagonal is right. Beside it, i and k differ: the delta is 0, and the entry -w_i w_k."
        i, k = divmod(int((got - expected).abs().argmax()), len(w))
        return f"For w = {values} the entry [{i}, {k}] is {expected[i, k]:g}, not {got[i, k]:g}."
    return None


def jacobian(w: Tensor) -> Tensor:
    return torch.diag(w) - torch.outer(w, w)


def check_temperature(answer: Callable[[float, float], float]) -> str | None:
    for lead, share in ((2.0, 0.99), (1.0, 0.9), (0.5, 0.75), (3.0, 0.6)):
        got, expected = answer(lead, share), temperature(lead, share)
        if same(got, expected):
            continue
        if same(got, 1 / expected):
            return "That is 1 / T: alpha is *divided* by the temperature."
        if same(abs(got), -lead / log(share)):
            return "log(share) is half of it. The weights' ratio is share / (1 - share): the other op has the rest."
        if same(got, -expected):
            return "The sign is the wrong way round: the ratio that exp(lead / T) must equal is share / (1 - share)."
        if same(got, log(share / (1 - share)) * lead):
            return "A larger lead needs *less* cooling: solve exp(lead / T) = share / (1 - share) for T."
        return f"A lead of {lead:g} becomes a share of {share:g} at temperature {expected:.4g}, not {got:.4g}."
    return None


def temperature(lead: float, share: float) -> float:
    return lead / log(share / (1 - share))


def check_alpha_gradient(answer: Callable[[Tensor, Tensor], Tensor]) -> str | None:
    for weights, slopes in (([0.7, 0.2, 0.1], [3.0, 1.0, -4.0]), ([0.5, 0.5], [1.0, -2.0]), ([1.0, 0.0], [2.0, 5.0])):
        w, g = torch.tensor(weights, dtype=torch.float64), torch.tensor(slopes, dtype=torch.float64)
        got, expected = answer(w, g), alpha_gradient(w, g)
        if got.shape != expected.shape:
            return f"There is one number for each of {len(w)} alphas; yours has the shape {tuple(got.shape)}."
        if same(got, expected):
            continue
        for said, wrong in (
            (
                "That is the gradient with respect to w. To raise alpha_k also lowers all other weights: subtract the "
                "mean of g.",
                g,
            ),
            ("The others' loss is missing: what op k gains the other ops lose. Subtract the mean of g under w.", w * g),
            ("The factor w_k is missing: an op of weight 0 cannot be moved by its alpha.", g - w @ g),
            ("The mean of g is the one under w, sum_j w_j g_j, not the plain one.", w * (g - g.mean())),
            ("The sign is the wrong way round: this is the gradient, not the step against it.", -expected),
        ):
            if same(got, wrong):
                return said
        return f"For w = {weights}, g = {slopes} it is {expected.tolist()}, not {got.tolist()}."
    return None


def alpha_gradient(w: Tensor, g: Tensor) -> Tensor:
    return w * (g - w @ g)


def check_keep(answer: Callable[[Node, Sequence[str], int], Pairs]) -> str | None:
    usual = (NONE, "pool", "skip", "conv")
    cases: tuple[tuple[list[list[float]], tuple[str, ...], int], ...] = (
        ([[0.7, 0.1, 0.1, 0.1], [0.1, 0.5, 0.3, 0.1], [0.2, 0.1, 0.3, 0.4]], usual, 2),
        ([[0.0, 0.05, 0.5, 0.45], [0.6, 0.05, 0.05, 0.3], [0.55, 0.2, 0.15, 0.1]], usual, 2),
        ([[0.4, 0.05, 0.05, 0.5], [0.3, 0.1, 0.4, 0.2]], usual, 1),
        ([[0.1, 0.2, 0.3, 0.4], [0.0, 0.1, 0.3, 0.6], [0.2, 0.6, 0.1, 0.1], [0.05, 0.05, 0.2, 0.7]], usual, 3),
        ([[0.6, 0.05, 0.05, 0.3], [0.0, 0.3, 0.35, 0.349]], usual, 1),
        ([[0.1, 0.2, 0.6, 0.1], [0.5, 0.2, 0.1, 0.2]], ("pool", "conv", NONE, "skip"), 1),
    )
    for rows, ops, k in cases:
        got, expected = answer(rows, ops, k), by_the_package(rows, ops, k)
        if sorted(got) == sorted(expected):
            continue
        if any(op == NONE for _, op in got):
            where = f"For {rows} and the ops {ops}"
            return f"{where} you keep {NONE!r}: it is left out, wherever it stands, before anything is compared."
        if len(got) != k:
            return f"For k = {k} you keep {len(got)} pairs."
        if len({source for source, _ in got}) < k:
            return f"For {rows} you read a source twice: the k pairs come from different sources."
        if sorted(got) == sorted(_renormalised(rows, ops, k)):
            return (
                f"For {rows} you divide by what {NONE!r} leaves over. The rule compares the weights as they are: "
                f"expected {expected}."
            )
        best = {s: max((w, op) for w, op in zip(r, ops, strict=True) if op != NONE)[1] for s, r in enumerate(rows)}
        if sorted(got) == [(s, best[s]) for s in range(k)]:
            return f"For {rows} you keep the *first* {k} sources. Keep those whose best op has the largest weight."
        if all(best.get(source) == op for source, op in got):
            return (
                f"For {rows} the best op of each source is right, but not which sources stay. An edge is as strong as "
                f"its best op without {NONE!r}; expected {expected}."
            )
        return f"For {rows} and the ops {ops} the pairs are {expected}, not {shown(got)}."
    return None


def keep(weights: Node, ops: Sequence[str], k: int) -> Pairs:
    best = []
    for source, row in enumerate(weights):
        strength, op = max((w, op) for w, op in zip(row, ops, strict=True) if op != "none")
        best.append((strength, source, op))
    return [(source, op) for _, source, op in sorted(best, reverse=True)[:k]]


def by_the_package(weights: Node, ops: Sequence[str], k: int) -> Pairs:
    """Computes the same as `keep` with the package: discretises a cell of one node."""
    space = CellSpace(("cell",), 1, inputs=len(weights), ops=tuple(ops), fan_in=k)
    ((pairs,),) = space.pairs(space.discretise({"cell": torch.tensor(weights)})).values()
    return list(pairs)


def _strongest_pairs(weights: Node, ops: Sequence[str], k: int) -> Pairs:
    every = [(w, s, op) for s, row in enumerate(weights) for w, op in zip(row, ops, strict=True) if op != NONE]
    return [(s, op) for _, s, op in sorted(every, reverse=True)[:k]]


def _with_none(weights: Node, ops: Sequence[str], k: int) -> Pairs:
    best = sorted(((*max(zip(row, ops, strict=True)), s) for s, row in enumerate(weights)), reverse=True)
    return [(s, op) for _, op, s in best[:k]]


def _by_least_none(weights: Node, ops: Sequence[str], k: int) -> Pairs:
    best = dict(keep(weights, ops, len(weights)))
    return [(s, best[s]) for s in sorted(best, key=lambda s: weights[s][ops.index(NONE)])[:k]]


def _renormalised(weights: Node, ops: Sequence[str], k: int) -> Pairs:
    """A wrong answer: takes the softmax without `none`."""
    none = ops.index(NONE)
    return keep([[w / (1 - row[none]) for w in row] for row in weights], ops, k)


def _first_column(weights: Node, ops: Sequence[str], k: int) -> Pairs:
    """A wrong answer: assumes that the first column is `none`."""
    best = [(*max(zip(row[1:], ops[1:], strict=True)), s) for s, row in enumerate(weights)]
    return [(s, op) for _, op, s in sorted(best, reverse=True)[:k]]


EXERCISES = (
    Exercise(
        id="07.1",
        statement=(
            "Write `jacobian(w)`: the matrix of the derivatives of w = softmax(alpha), entry [i, k] that of w_i with "
            "respect to alpha_k. `w` is a tensor (K,)."
        ),
        hints=(
            "w_i = exp(alpha_i) / S with S = sum of exp(alpha_j). How does S depend on alpha_k? The numerator depends "
            "on it only if i = k.",
            "w_i (1[i = k] - w_k): `torch.diag` makes the first part, `torch.outer` the second.",
        ),
        check=check_jacobian,
        solution=jacobian,
        wrong=(
            (lambda w: torch.diag(w * (1 - w)), "Only the diagonal"),
            (lambda w: torch.outer(w, w) - torch.diag(w), "wrong way round"),
            (lambda w: w[:, None] * (1 - w[None]), "Beside it"),
            (lambda w: w * (1 - w), "make a matrix"),
            (lambda w: torch.diag(w), "the entry [0, 0]"),
        ),
    ),
    Exercise(
        id="07.2",
        statement=(
            "Two ops; alpha of the first is larger by `lead`. Write `temperature(lead, share)`: the temperature at "
            "which the first has the weight `share`, a number between 1/2 and 1."
        ),
        hints=(
            "What is the ratio of the two weights, if alpha is divided by T?",
            "exp(lead / T) = share / (1 - share); take logarithms.",
        ),
        check=check_temperature,
        solution=temperature,
        wrong=(
            (lambda lead, share: log(share / (1 - share)) / lead, "That is 1 / T"),
            (lambda lead, share: -lead / log(share), "half of it"),
            (lambda lead, share: lead / log((1 - share) / share), "wrong way round"),
            (lambda lead, share: lead * log(share / (1 - share)), "less* cooling"),
            (lambda lead, share: share, "at temperature"),
        ),
    ),
    Exercise(
        id="07.3",
        statement=(
            "Write `alpha_gradient(w, g)`: the derivatives of the loss with respect to alpha, (K,), from the weights "
            "w = softmax(alpha), (K,), and g, (K,), where g_k is the derivative of the loss with respect to w_k."
        ),
        hints=(
            "The chain rule: sum over i of g_i dw_i/dalpha_k. You have the Jacobian from 07.1.",
            "sum_i g_i w_i (1[i = k] - w_k) = w_k g_k - w_k sum_i w_i g_i.",
        ),
        check=check_alpha_gradient,
        solution=alpha_gradient,
        wrong=(
            (lambda w, g: g, "with respect to w"),
            (lambda w, g: w * g, "The others' loss is missing"),
            (lambda w, g: g - w @ g, "factor w_k is missing"),
            (lambda w, g: w * (g - g.mean()), "under w"),
            (lambda w, g: w * (w @ g - g), "wrong way round"),
            (lambda w, g: w @ g, "one number for each"),
            (lambda w, g: w + g, "it is ["),
        ),
    ),
    Exercise(
        id="07.4",
        statement=(
            "Write `keep(weights, ops, k)`: which k pairs (source, op) the paper's rule keeps of a node. `weights` has "
            "a row for each source and a column for each of `ops`, one of which is 'none'."
        ),
        hints=(
            "First each source's best op and its weight, 'none' left out; then the k sources whose best is largest.",
            "A list of (weight, source, op), one for each source; sort it in reverse, take k.",
        ),
        check=check_keep,
        solution=keep,
        wrong=(
            (_with_none, "you keep 'none'"),
            (_strongest_pairs, "read a source twice"),
            (lambda weights, ops, k: [(s, op) for s, op in sorted(keep(weights, ops, len(weights)))[:k]], "*first*"),
            (_by_least_none, "not which sources stay"),
            (_renormalised, "leaves over"),
            (_first_column, "wherever it stands"),
            (lambda weights, ops, k: keep(weights, ops, k)[:1], "you keep 1 pairs"),
            (lambda weights, ops, k: [(s, "skip") for s, _ in keep(weights, ops, k)], "the pairs are"),
        ),
    ),
)
