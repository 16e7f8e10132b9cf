"""Exercises of lesson 07, continuous relaxation."""

from collections.abc import Callable, Sequence
from math import comb, log, prod

import torch
from torch import Tensor

from naslab.exercises import Exercise, same, shown
from naslab.spaces import NONE, CellSpace

Node = Sequence[Sequence[float]]  # weights of a node's incoming edges: one row per source, one column per op
Pairs = list[tuple[int, str]]  # (source, op)


def check_best_mixture(answer: Callable[[float, float, float], float]) -> str | None:
    cases = ((1.0, 4.0, 2.0), (0.0, 1.0, 0.25), (-2.0, 2.0, 1.0), (5.0, 1.0, 2.0), (1.0, 4.0, 0.0), (1.0, 4.0, 9.0))
    for a, b, target in cases:
        got, expected = answer(a, b, target), best_mixture(a, b, target)
        if same(got, expected):
            continue
        where = f"For a = {a:g}, b = {b:g}, target = {target:g}"
        if same(got, (b - target) / (b - a)):
            return f"{where} your weight is {got:g}. A mixing weight is from 0 to 1: take the nearest end."
        if same(got, 1 - expected):
            return f"{where} you give the weight of B. Asked is that of A."
        if got in (0, 1):
            return f"{where} you choose an op, which minimises J. The mixture's output can lie between the two."
        return (
            f"{where} the weight is {expected:g}, not {got:g}: there the output is as close to the target as possible."
        )
    return None


def best_mixture(a: float, b: float, target: float) -> float:
    p = (b - target) / (b - a)  # solves p a + (1 - p) b = target
    return min(max(p, 0.0), 1.0)


def check_share(answer: Callable[[int, int], float]) -> str | None:
    for nodes, ops in ((1, 8), (2, 8), (1, 5), (3, 4), (4, 8)):
        got, expected = answer(nodes, ops), share(nodes, ops)
        if same(got / expected, 1.0):
            continue
        where = f"For {nodes} nodes and {ops} ops"
        for said, wrong in (
            ("Which two edges of a node are connected? Count the choices.", _share(nodes, ops, any_two=False)),
            (
                f"The edges of a node that are not read must have {NONE!r}, each with probability 1 / ops.",
                _share(nodes, ops, closed=False),
            ),
            (
                f"An edge is connected if its op is not {NONE!r}: of {ops} ops that leaves {ops - 1}.",
                _any_op(nodes, ops),
            ),
            (
                "All nodes must have two inputs, not only the last: multiply over the nodes.",
                share_of_node(nodes + 1, ops),
            ),
            ("Exactly two edges, not at least two: the paper's cell has two inputs per node.", _at_least(nodes, ops)),
            (
                "You count architectures. Divide by the number of corners, ops to the power of the edges.",
                _count(nodes, ops),
            ),
        ):
            if same(got / wrong, 1.0):
                return f"{where}: {said}"
        return f"{where} it is {expected:.4g}, not {got:.4g}."
    return None


def share(nodes: int, ops: int) -> float:
    sources = range(2, 2 + nodes)  # how many edges lead to each node
    return prod(comb(s, 2) * ((ops - 1) / ops) ** 2 * (1 / ops) ** (s - 2) for s in sources)


def share_of_node(sources: int, ops: int) -> float:
    return comb(sources, 2) * ((ops - 1) / ops) ** 2 * (1 / ops) ** (sources - 2)


def _share(nodes: int, ops: int, any_two: bool = True, closed: bool = True) -> float:
    """A wrong answer: leaves out the choice of the two edges, or the edges that are not read."""
    return prod(
        (comb(s, 2) if any_two else 1) * ((ops - 1) / ops) ** 2 * ((1 / ops) ** (s - 2) if closed else 1)
        for s in range(2, 2 + nodes)
    )


def _any_op(nodes: int, ops: int) -> float:
    """A wrong answer: lets a connected edge have any op."""
    return prod(comb(s, 2) * (1 / ops) ** (s - 2) for s in range(2, 2 + nodes))


def _at_least(nodes: int, ops: int) -> float:
    """A wrong answer: asks for two connected edges or more."""
    q = 1 / ops
    return prod(1 - q**s - s * (1 - q) * q ** (s - 1) for s in range(2, 2 + nodes))


def _count(nodes: int, ops: int) -> float:
    """A wrong answer: counts the architectures of a cell."""
    return prod(comb(s, 2) * (ops - 1.0) ** 2 for s in range(2, 2 + nodes))


def check_draws(answer: Callable[[int], float]) -> str | None:
    for k in (3, 4, 8, 100, 2):
        got, expected = answer(k), draws_of_nothing(k)
        if same(got, float(expected)):
            continue
        where = f"For K = {k}"
        if k == 2:
            return "With two ops of equal weight and b = J both draws give the same estimate: no noise, so 0 draws."
        if same(got, float(k - 1)):
            return (
                f"{where} you give {k - 1}: the mean *squared length* of a draw over that of the gradient. The "
                "variance is less: subtract the squared length of the mean."
            )
        if same(got, float(k)):
            return f"{where} it is less than K: grad log p_k has the squared length (K - 1) / K, not 1."
        if same(got, (k - 1) / k):
            return f"{where} that is the squared length of grad log p_k. Divide the variance by |grad J|^2."
        return f"{where} it is {expected}, not {got:g}, whatever the losses are."
    return None


def draws_of_nothing(K: int) -> int:
    return K - 2


def check_jacobian(answer: Callable[[Tensor], Tensor]) -> str | None:
    for values in ([0.5, 0.5], [0.7, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.0]):
        p = torch.tensor(values, dtype=torch.float64)
        got, expected = answer(p), jacobian(p)
        if got.shape != expected.shape:
            return f"{len(p)} weights, {len(p)} alphas make a matrix {tuple(expected.shape)}, not {tuple(got.shape)}."
        if same(got, expected):
            continue
        if same(got, -expected):
            return "The sign is the wrong way round: to raise alpha_k raises p_k, and lowers the other weights."
        if same(got, expected.diag().diag()):
            return (
                "Only the diagonal is there. The weights add up to 1, so what one gains the others lose: each column "
                "must add up to 0."
            )
        if same(got.diag(), expected.diag()):
            return "The diagonal is right. Beside it, i and k differ: the delta is 0, and the entry -p_i p_k."
        i, k = divmod(int((got - expected).abs().argmax()), len(p))
        return f"For p = {values} the entry [{i}, {k}] is {expected[i, k]:g}, not {got[i, k]:g}."
    return None


def jacobian(p: Tensor) -> Tensor:
    return torch.diag(p) - torch.outer(p, p)


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
        p, g = torch.tensor(weights, dtype=torch.float64), torch.tensor(slopes, dtype=torch.float64)
        got, expected = answer(p, g), alpha_gradient(p, g)
        if got.shape != expected.shape:
            return f"There is one number for each of {len(p)} alphas; yours has the shape {tuple(got.shape)}."
        if same(got, expected):
            continue
        for said, wrong in (
            (
                "That is the gradient with respect to p. To raise alpha_k also lowers all other weights: subtract the "
                "mean of g.",
                g,
            ),
            ("The others' loss is missing: what op k gains the other ops lose. Subtract the mean of g under p.", p * g),
            ("The factor p_k is missing: an op of weight 0 cannot be moved by its alpha.", g - p @ g),
            ("The mean of g is the one under p, sum_j p_j g_j, not the plain one.", p * (g - g.mean())),
            ("The sign is the wrong way round: this is the gradient, not the step against it.", -expected),
        ):
            if same(got, wrong):
                return said
        return f"For p = {weights}, g = {slopes} it is {expected.tolist()}, not {got.tolist()}."
    return None


def alpha_gradient(p: Tensor, g: Tensor) -> Tensor:
    return p * (g - p @ g)


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
            "Op A outputs `a`, op B outputs `b`. Write `best_mixture(a, b, target)`: the weight of A, from 0 to 1, "
            "with which the squared error of the mixture's output is smallest. `a` and `b` differ."
        ),
        hints=(
            "The output p a + (1 - p) b takes every value between a and b. Which value do you want?",
            "Solve p a + (1 - p) b = target for p. If p is below 0 or above 1, take the nearest end.",
        ),
        check=check_best_mixture,
        solution=best_mixture,
        wrong=(
            (lambda a, b, target: (b - target) / (b - a), "nearest end"),
            (lambda a, b, target: 1 - best_mixture(a, b, target), "weight of B"),
            (lambda a, b, target: float(abs(a - target) < abs(b - target)), "minimises J"),
            (lambda a, b, target: 0.5, "as close to the target"),
        ),
    ),
    Exercise(
        id="07.2",
        statement=(
            "Each edge of a cell with two inputs gets one of `ops` ops, with equal probability; one op is 'none'. "
            "Write `share(nodes, ops)`: the probability that at every node exactly two edges have another op."
        ),
        hints=(
            "The first node has two edges, the next one three, and so on. The nodes are independent: multiply.",
            "A node with s edges: choose which two are connected, comb(s, 2) ways. Each of these has probability "
            "(ops - 1) / ops, each of the others 1 / ops.",
        ),
        check=check_share,
        solution=share,
        wrong=(
            (lambda nodes, ops: _share(nodes, ops, any_two=False), "Which two edges"),
            (lambda nodes, ops: _share(nodes, ops, closed=False), "must have 'none'"),
            (_any_op, "is not 'none'"),
            (lambda nodes, ops: share_of_node(nodes + 1, ops), "multiply over the nodes"),
            (_at_least, "Exactly two"),
            (_count, "You count architectures"),
            (lambda nodes, ops: 0.5, "it is"),
        ),
    ),
    Exercise(
        id="07.3",
        statement=(
            "Write `jacobian(p)`: the matrix of the derivatives of p = softmax(alpha), entry [i, k] that of p_i with "
            "respect to alpha_k. `p` is a tensor (K,)."
        ),
        hints=(
            "p_i = exp(alpha_i) / S with S = sum of exp(alpha_j). How does S depend on alpha_k? The numerator depends "
            "on it only if i = k.",
            "The quotient rule gives p_i (1[i = k] - p_k): `torch.diag` makes the first part, `torch.outer` the "
            "second.",
        ),
        check=check_jacobian,
        solution=jacobian,
        wrong=(
            (lambda p: torch.diag(p * (1 - p)), "Only the diagonal"),
            (lambda p: torch.outer(p, p) - torch.diag(p), "wrong way round"),
            (lambda p: p[:, None] * (1 - p[None]), "Beside it"),
            (lambda p: p * (1 - p), "make a matrix"),
            (lambda p: torch.diag(p), "the entry [0, 0]"),
        ),
    ),
    Exercise(
        id="07.4",
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
        id="07.5",
        statement=(
            "Write `alpha_gradient(p, g)`: the derivatives of the loss with respect to alpha, (K,), from the weights "
            "p = softmax(alpha), (K,), and g, (K,), where g_k is the derivative of the loss with respect to p_k."
        ),
        hints=(
            "The chain rule: sum over i of g_i dp_i/dalpha_k. You have the Jacobian from 07.3.",
            "sum_i g_i p_i (1[i = k] - p_k) = p_k g_k - p_k sum_i p_i g_i.",
        ),
        check=check_alpha_gradient,
        solution=alpha_gradient,
        wrong=(
            (lambda p, g: g, "with respect to p"),
            (lambda p, g: p * g, "The others' loss is missing"),
            (lambda p, g: g - p @ g, "factor p_k is missing"),
            (lambda p, g: p * (g - g.mean()), "under p"),
            (lambda p, g: p * (p @ g - g), "wrong way round"),
            (lambda p, g: p @ g, "one number for each"),
            (lambda p, g: p + g, "it is ["),
        ),
    ),
    Exercise(
        id="07.6",
        statement=(
            "One edge has K ops of equal weight. REINFORCE draws one op and uses the baseline b = J. Write "
            "`draws_of_nothing(K)`: the variance of one draw of the gradient with respect to alpha, divided by the "
            "squared length of the gradient of J with respect to alpha."
        ),
        hints=(
            "Let d_k be the loss of op k minus J. With equal weights the d_k add up to 0. A draw of op k is d_k times "
            "the gradient of log p_k, which has 1 - 1/K at k and -1/K elsewhere.",
            "The mean of the draws is d / K. The mean squared length of a draw is the sum of d_k^2 (K - 1) / K^2. The "
            "variance is the difference of this and the squared length of the mean.",
        ),
        check=check_draws,
        solution=draws_of_nothing,
        form=float,
        wrong=(
            (lambda K: K - 1, "mean *squared length*"),
            (lambda K: K, "less than K"),
            (lambda K: (K - 1) / K, "squared length of grad log p_k"),
            (lambda K: max(K - 2, 1), "no noise"),
            (lambda K: 2 * K, "whatever the losses"),
        ),
    ),
    Exercise(
        id="07.7",
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
