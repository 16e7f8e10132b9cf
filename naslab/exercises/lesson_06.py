"""Exercises of lesson 06, the cells of ENAS."""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import torch

from naslab import spaces
from naslab.exercises import Exercise, same, shown
from naslab.networks import RecurrentCell

Pairs = Sequence[tuple[int, str]]  # a recurrent cell: for each node the state that it reads, and its function
Numbers = Sequence[float]
Matrices = Sequence[Sequence[float]]  # with one unit: for each node its numbers, first those of the gate

CELLS = (  # micro cells: for each node input, op, input, op
    (0, 2, 0, 0, 2, 4, 0, 1),
    (0, 2, 1, 0, 0, 4, 1, 1),
    (1, 0, 1, 0, 0, 3, 0, 2, 1, 1, 3, 1, 1, 0, 0, 4, 0, 3, 1, 1),
    (1, 4, 0, 3, 2, 3, 2, 2, 3, 0, 2, 1, 0, 0, 1, 0),
)
STEPS: tuple[tuple[list[tuple[int, str]], float, float, list[tuple[float, ...]]], ...] = (  # pairs, x, h, w
    (
        [(0, "tanh"), (1, "relu"), (1, "sigmoid")],
        *(0.7, -0.4),
        [(0.9, -0.6, 1.2, 0.7), (-0.8, 1.1), (0.5, 1.4)],
    ),
    (
        [(0, "identity"), (0, "tanh"), (2, "relu"), (1, "sigmoid")],
        *(-1.2, 0.3),
        [(0.4, 1.1, -0.7, 0.2), (-0.5, 0.8, 1.3, -0.9), (0.6, -1.5), (-1.1, 0.7)],
    ),
    ([(0, "relu"), (1, "tanh")], 0.5, 0.9, [(0.3, -1.2, 0.8, 0.4), (0.7, -0.6)]),
    ([(0, "sigmoid")], 0.0, -0.8, [(1.0, 0.5, -0.4, 1.7)]),
)


def check_loose_ends(answer: Callable[[Sequence[int]], Sequence[int]]) -> str | None:
    for numbers in CELLS:
        got, expected = sorted(answer(list(numbers))), loose_ends(numbers)
        if got == expected:
            continue
        nodes, inputs = range(2, 2 + len(numbers) // 4), set(numbers[::2])
        if got == [k for k in range(2 + len(nodes)) if k not in inputs] or any(k in got for k in (0, 1)):
            return f"{list(numbers)}: states 0 and 1 are the cell's inputs and never leave it; only nodes do."
        if got == [k for k in nodes if k not in numbers]:
            return f"{list(numbers)}: every second number is an op, not an input."
        if got == [k for k in nodes if k not in numbers[::4]]:
            return f"{list(numbers)}: a node reads two inputs, you look at the first of them only."
        if got == [k for k in nodes if k in inputs]:
            return f"{list(numbers)}: these are the nodes that are read. The others are loose."
        return f"{list(numbers)}: you get {got}, expected {expected}. Nodes are counted from 2."
    return None


def loose_ends(numbers: Sequence[int]) -> list[int]:
    read = set(numbers[::2])  # the others are ops
    return [node for node in range(2, 2 + len(numbers) // 4) if node not in read]


def check_stronger(answer: tuple[str, str, str]) -> str | None:
    expected, names = stronger(), ("plain", "highway", "equal")
    if answer == expected:
        return None
    if any(name not in names for name in answer):
        return f"Got {shown(answer)}. Each of the three is one of {', '.join(map(repr, names))}."
    if answer == ("highway", "highway", "equal"):
        return (
            "You add up lengths, (1 + sqrt(q)) / 2 against sqrt(q). The two parts of the highway are uncorrelated, so "
            "*squared* lengths add up."
        )
    if answer == ("highway",) * 3:
        return "Not for every q: the gate lets half of the gradient pass by, but halves the part that comes through W."
    if answer[0] != expected[0]:
        return "For q = 1/10, W leaves a tenth of the squared length. The part that passes by leaves 1/4 alone."
    if answer[2] != expected[2]:
        return "For q = 1 a plain node keeps the squared length. What do the two halves of the highway add up to?"
    return "The answers for q = 1/10 and q = 1 are right. For q = 1/3 compute both squared lengths exactly."


def stronger() -> tuple[str, str, str]:
    def name(q):
        plain, highway = q, (q + 1) / 4  # of the highway, q/4 comes through W and 1/4 passes by
        return "equal" if plain == highway else "plain" if plain > highway else "highway"

    return name(Fraction(1, 10)), name(Fraction(1, 3)), name(Fraction(1))


def check_thresholds(answer: Callable[[float], tuple[float, float]]) -> str | None:
    for c in (0.5, 0.2, 0.05, 0.9):
        got, expected = answer(c), thresholds(c)
        if same(got, expected):
            continue
        if same(got, expected[::-1]):
            return f"For c = {c} both values are there. Return the one where the two nodes are equal first."
        part = int(same(got[0], expected[0]))
        where = f"For c = {c} the {('first', 'second')[part]} value is {expected[part]:.4f}, not {got[part]:.4f}."
        exchanged = "c and 1 - c are exchanged: c is the share that comes through W."
        for k, said, wrong in (
            (0, "You give that of c = 1/2. Solve the equation for any c.", 1 / 3),
            (0, "Add up squared lengths, not lengths: the factors are (1 - c)^2 and c^2.", 1.0),
            (0, "The part that passes by has the squared length (1 - c)^2, not 1 - c.", 1 / (1 + c)),
            (0, exchanged, c / (2 - c)),
            (1, "With q = 1 a *plain* node keeps the squared length.", 1.0),
            (1, "You leave out the part that passes by, (1 - c)^2.", 1 / c**2),
            (1, exchanged, (1 + c) / (1 - c)),
        ):
            if k == part and same(got[k], wrong):
                return f"{where} {said}"
        return where
    return None


def thresholds(c: float) -> tuple[float, float]:
    equal = (1 - c) / (1 + c)  # (1 - c)^2 + c^2 q = q, and 1 - c^2 = (1 - c) (1 + c)
    kept = (2 - c) / c  # (1 - c)^2 + c^2 q = 1, and 1 - (1 - c)^2 = c (2 - c)
    return equal, kept


def check_step(answer: Callable[[Pairs, float, float, Matrices], float]) -> str | None:
    for cell in STEPS:
        got, expected = answer(*cell), by_package(*cell)
        if same(got, expected):
            continue
        pairs, x, h, w = cell
        where, ends, states = f"`step({pairs}, {x}, {h}, w)`", _ends(pairs), _states(*cell)
        for said, wrong in (
            ("The output is the mean of the loose ends, not their sum.", len(ends) * expected),
            ("You take the mean of all nodes. A node that another node reads does not leave.", _mean(states[1:])),
            ("You return the last node. The output is the mean of all loose ends.", states[-1]),
            (
                "Your gates are turned round: c is the share of the *new* value, 1 - c that of s.",
                _output(*cell, "turned"),
            ),
            ("The highway is missing: a part of the state that a node reads passes by.", _output(*cell, "plain")),
        ):
            if same(got, wrong):
                return f"{where}: {said}"
        return f"{where}: you get {got:.6f}; node by node it should become {expected:.6f}. w = {w}."
    return None


def by_package(pairs: Pairs, x: float, h: float, w: Matrices) -> float:
    nodes = tuple((pair,) for pair in pairs)
    cell = RecurrentCell(spaces.enas_rnn(len(pairs)), nodes, 1, "source").double()
    with torch.no_grad():
        for weight, values in zip(cell.parameters(), w, strict=True):
            weight.copy_(torch.tensor(values, dtype=torch.float64).view_as(weight))
        x_t, h_0 = (torch.tensor([[v]], dtype=torch.float64) for v in (x, h))
        return cell(x_t, (h_0, h_0))[0].item()


def step(pairs: Pairs, x: float, h: float, w: Matrices) -> float:
    def sigmoid(a):
        return 1 / (1 + math.exp(-a))

    functions = {"tanh": math.tanh, "relu": lambda a: max(a, 0.0), "sigmoid": sigmoid, "identity": lambda a: a}
    states = [h]  # state 0 is the pair of x and h; of this pair, h passes by
    for (source, function), v in zip(pairs, w, strict=True):
        s = states[source]
        gate, candidate = (v[0] * x + v[1] * h, v[2] * x + v[3] * h) if source == 0 else (v[0] * s, v[1] * s)
        c = sigmoid(gate)
        states.append(c * functions[function](candidate) + (1 - c) * s)
    read = {source for source, _ in pairs}
    ends = [states[k] for k in range(1, len(states)) if k not in read]
    return sum(ends) / len(ends)


def _ends(pairs: Pairs) -> list[int]:
    return [k for k in range(1, len(pairs) + 1) if k not in {source for source, _ in pairs}]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _states(pairs: Pairs, x: float, h: float, w: Matrices, mistake: str = "") -> list[float]:
    """Returns h and the nodes of the cell, or the wrong ones of a mistake: "turned" gates, or "plain" nodes."""
    f = {"tanh": math.tanh, "relu": lambda a: max(a, 0.0), "sigmoid": lambda a: 1 / (1 + math.exp(-a))}
    states = [h]
    for (source, op), v in zip(pairs, w, strict=True):
        s = states[source]
        gate, new = (v[0] * x + v[1] * h, v[2] * x + v[3] * h) if source == 0 else (v[0] * s, v[1] * s)
        c = 1.0 if mistake == "plain" else f["sigmoid"](-gate if mistake == "turned" else gate)
        states.append(c * f.get(op, float)(new) + (1 - c) * s)
    return states


def _output(pairs: Pairs, x: float, h: float, w: Matrices, mistake: str) -> float:
    states = _states(pairs, x, h, w, mistake)
    return _mean([states[k] for k in _ends(pairs)])


def check_trees(answer: Callable[[int, int], int]) -> str | None:
    for nodes, ends in ((5, 2), (4, 3), (5, 5), (1, 1), (6, 1), (8, 2), (7, 4)):
        got, expected = answer(nodes, ends), trees(nodes, ends)
        if got == expected:
            continue
        where = f"{nodes} nodes, {ends} loose ends: there are {expected} cells, not {got}."
        for said, wrong in (
            ("That counts all cells, whatever their number of loose ends.", math.factorial(nodes)),
            ("Leave the functions out: only what each node reads is counted.", 4**nodes * expected),
            ("You count cells by how many nodes read state 0, not by how many nodes are loose.", _roots(nodes, ends)),
            ("If the last node reads no loose end, it can read any of the other states.", _one_way(nodes, ends)),
            ("Each of the two cases happens in several ways: the last node chooses.", math.comb(nodes - 1, ends - 1)),
            ("All nodes may read state 0, not only the first.", trees(max(nodes - 1, 1), ends)),
            ("Your number of loose ends is off by one: the chain has 1, not 0.", trees(nodes, ends + 1)),
        ):
            if got == wrong:
                return f"{where} {said}"
        return where
    return None


def trees(nodes: int, ends: int) -> int:
    if nodes == 1:
        return int(ends == 1)
    as_many = ends * trees(nodes - 1, ends)  # the last node reads a loose end, and takes its place
    one_more = (nodes - (ends - 1)) * trees(nodes - 1, ends - 1)  # it reads one of the other states
    return as_many + one_more


def _roots(nodes: int, ends: int) -> int:
    """A wrong answer: cells in which `ends` nodes read state 0."""
    return int(ends == 1) if nodes == 1 else (nodes - 1) * _roots(nodes - 1, ends) + _roots(nodes - 1, ends - 1)


def _one_way(nodes: int, ends: int) -> int:
    """A wrong answer: a node that adds a loose end has one way to do so."""
    return int(ends == 1) if nodes == 1 else ends * _one_way(nodes - 1, ends) + _one_way(nodes - 1, ends - 1)


def check_derived(answer: Callable[[Numbers, Numbers, Numbers, int], float]) -> str | None:
    cases: tuple[tuple[list[float], list[float], list[float], int], ...] = (
        ([0.2, 0.5, 0.3], [4.0, 5.5, 5.0], [0.3, 0.4, 0.6], 3),
        ([0.1, 0.2, 0.3, 0.4], [0.7, 0.2, 0.9, 0.4], [0.8, 0.3, 0.5, 0.6], 2),
        ([0.25, 0.75], [2.0, 1.0], [0.0, 1.0], 10),
        ([0.6, 0.4], [1.0, 2.0], [3.0, 5.0], 1),
    )
    for p, shared, alone, n in cases:
        got, expected = answer(p, shared, alone, n), derived(p, shared, alone, n)
        if same(got, expected):
            continue
        where = f"For p = {p}, shared = {shared}, alone = {alone}, n = {n} the mean is {expected:.4f}, not {got:.4f}."
        for said, wrong in (
            ("That is the mean of one draw. The best of n draws is kept.", derived(p, shared, alone, 1)),
            ("You keep the best of `alone`. The search knows only `shared`.", derived(p, alone, alone, n)),
            ("That is the mean of the kept string's `shared`.", derived(p, shared, shared, n)),
            ("You keep the worst draw.", derived(p, [-s for s in shared], alone, n)),
            ("You take the best string of all. It may not be among the draws.", alone[shared.index(max(shared))]),
            ("That a string is drawn is not enough: no better one may be drawn.", _drawn(p, alone, n)),
        ):
            if same(got, wrong):
                return f"{where} {said}"
        return where
    return None


def derived(p: Numbers, shared: Numbers, alone: Numbers, n: int) -> float:
    mean = below = 0.0  # below: the probability that a draw has a lower shared score
    for k in sorted(range(len(p)), key=lambda k: shared[k]):
        kept = (below + p[k]) ** n - below**n  # no draw is better than k, but not all are worse
        mean += kept * alone[k]
        below += p[k]
    return mean


def _drawn(p: Numbers, alone: Numbers, n: int) -> float:
    """A wrong answer: weights each string with the probability that it is drawn."""
    weights = [1 - (1 - q) ** n for q in p]
    return sum(v * a for v, a in zip(weights, alone, strict=True)) / sum(weights)


EXERCISES = (
    Exercise(
        id="06.1",
        statement=(
            "Write `loose_ends(numbers)`: the nodes of a micro cell that no node reads, from its string, a list of "
            "input, op, input, op for each node. States 0 and 1 are the cell's inputs, nodes count from 2."
        ),
        hints=(
            "Which numbers of the list name a state that some node reads?",
            "Those at even places: `set(numbers[::2])`. Four numbers make a node, so there are `len(numbers) // 4`.",
        ),
        check=check_loose_ends,
        solution=loose_ends,
        wrong=(
            (lambda n: [k for k in range(2 + len(n) // 4) if k not in n[::2]], "never leave"),
            (lambda n: [k for k in range(2, 2 + len(n) // 4) if k not in n], "is an op"),
            (lambda n: [k for k in range(2, 2 + len(n) // 4) if k not in n[::4]], "first of them"),
            (lambda n: [k for k in range(2, 2 + len(n) // 4) if k in n[::2]], "that are read"),
            (lambda n: [k - 2 for k in loose_ends(n)], "never leave"),
            (lambda n: [], "counted from 2"),
        ),
    ),
    Exercise(
        id="06.2",
        statement=(
            "A gradient passes back through one node with s = 0: tanh(W s), or the highway node with the same W and "
            "c = 1/2. The entries of W are independent, with mean 0 and variance q/n. Which node leaves the larger "
            "mean squared length, for q = 1/10, 1/3 and 1? Give three of the names 'plain', 'highway', 'equal'."
        ),
        hints=(
            "A gradient that goes back through W has q times its squared length, on average.",
            "The highway adds half of the gradient and half of what comes through W. The two are uncorrelated.",
            "So the squared length is q after the plain node, and 1/4 + q/4 after the highway node.",
        ),
        check=check_stronger,
        solution=stronger,
        wrong=(
            (("highway", "highway", "equal"), "*squared* lengths"),
            (("highway", "highway", "highway"), "Not for every q"),
            (("plain", "equal", "plain"), "For q = 1/10"),
            (("highway", "equal", "highway"), "For q = 1 a plain"),
            (("highway", "highway", "plain"), "For q = 1/3"),
            (("yes", "equal", "no"), "Each of the three"),
        ),
    ),
    Exercise(
        id="06.3",
        statement=(
            "A highway node at s = 0 has the gate c, between 0 and 1, and n Var(W) = q. Write `thresholds(c)`: two "
            "values of q. At the first, highway and plain node leave the same mean squared length of a gradient. At "
            "the second, the highway node leaves the squared length as it was."
        ),
        hints=(
            "What is the mean squared length after the highway node? 1 - c of the gradient passes by, c comes through "
            "W, and the two parts are uncorrelated.",
            "It is (1 - c)^2 + c^2 q, and q after the plain node. Set it equal to q for the first value, to 1 for the "
            "second.",
            "q (1 - c^2) = (1 - c)^2, and c^2 q = 1 - (1 - c)^2. Both can be simplified: factor the differences of "
            "squares.",
        ),
        check=check_thresholds,
        solution=thresholds,
        wrong=(
            (lambda c: thresholds(c)[::-1], "equal first"),
            (lambda c: (1 / 3, 3.0), "that of c = 1/2"),
            (lambda c: (1.0, 1.0), "not lengths"),
            (lambda c: (1 / (1 + c), 1 / c), "not 1 - c"),
            (lambda c: (c / (2 - c), (1 + c) / (1 - c)), "first value is 0.6667, not 0.1111. c and 1 - c"),
            (lambda c: (0.0, 0.0), "is 0.3333, not 0.0000"),
            (lambda c: (thresholds(c)[0], 1.0), "*plain* node keeps"),
            (lambda c: (thresholds(c)[0], 1 / c**2), "leave out the part"),
            (lambda c: (thresholds(c)[0], (1 + c) / (1 - c)), "second value is 9.0000, not 1.5000. c and 1 - c"),
            (lambda c: (thresholds(c)[0], 2.0), "not 2.0000"),
        ),
    ),
    Exercise(
        id="06.4",
        statement=(
            "Write `step(pairs, x, h, w)`: the output of any recurrent cell with one unit. `pairs` has (source, "
            "function) for each node; functions are 'tanh', 'relu', 'sigmoid', 'identity'. `w` has the numbers of each "
            "node: if it reads state 0, those of the gate for x and h, then those of the candidate for x and h; else "
            "one of the gate and one of the candidate."
        ),
        hints=(
            "Go through the nodes and append each to a list of states. What passes by at a node that reads state 0?",
            "With c = sigmoid(gate) a node is c f(candidate) + (1 - c) s; s is h if it reads state 0, else the node "
            "that it reads.",
            "A node leaves if its number is not among the sources. Return the mean of these nodes.",
        ),
        check=check_step,
        solution=step,
        wrong=(
            (lambda pairs, *rest: len(_ends(pairs)) * step(pairs, *rest), "not their sum"),
            (lambda *cell: _mean(_states(*cell)[1:]), "mean of all nodes"),
            (lambda *cell: _states(*cell)[-1], "the last node"),
            (lambda pairs, x, h, w: _output(pairs, x, h, w, "turned"), "turned round"),
            (lambda pairs, x, h, w: _output(pairs, x, h, w, "plain"), "highway is missing"),
            (lambda *cell: 0.0, "node by node"),
        ),
    ),
    Exercise(
        id="06.5",
        statement=(
            "Each node of a recurrent cell reads one state: state 0, or an earlier node. That makes N! cells of N "
            "nodes, if functions are left out. Write `trees(nodes, ends)`: how many of them have exactly `ends` loose "
            "ends, a number from 1 to `nodes`?"
        ),
        hints=(
            "Write down the cells of two and of three nodes: 1 and 1; 1, 4 and 1.",
            "Take the last node away. Which numbers of loose ends can the smaller cell have? It depends on whether the "
            "last node reads a loose end.",
            "The last node has `nodes` states to read. If it reads one of `ends` loose ends, their number stays. If it "
            "reads one of the other states of a cell with `ends - 1` loose ends, there is one more.",
        ),
        check=check_trees,
        solution=trees,
        wrong=(
            (lambda nodes, ends: math.factorial(nodes), "counts all cells"),
            (lambda nodes, ends: 4**nodes * trees(nodes, ends), "functions out"),
            (_roots, "read state 0, not by"),
            (_one_way, "any of the other states"),
            (lambda nodes, ends: math.comb(nodes - 1, ends - 1), "in several ways"),
            (lambda nodes, ends: trees(max(nodes - 1, 1), ends), "may read state 0, not"),
            (lambda nodes, ends: trees(nodes, ends + 1), "off by one"),
            (lambda nodes, ends: 0, "cells, not 0"),
        ),
    ),
    Exercise(
        id="06.6",
        statement=(
            "A search draws n strings from its policy, string k with probability p[k], and keeps the one with the "
            "highest score under shared weights, shared[k]; these scores all differ. Write `derived(p, shared, alone, "
            "n)`: the mean of alone[k], the score of the kept string after a training of its own."
        ),
        hints=(
            "Sort the strings by `shared`. When is string k the one that is kept?",
            "No draw is better than k, and not all draws are worse. The probability that one draw is not better than k "
            "is a sum of p.",
            "With `below` the sum of p over the strings that are worse than k: (below + p[k])^n - below^n.",
        ),
        check=check_derived,
        solution=derived,
        wrong=(
            (lambda p, shared, alone, n: derived(p, shared, alone, 1), "mean of one draw"),
            (lambda p, shared, alone, n: derived(p, alone, alone, n), "knows only"),
            (lambda p, shared, alone, n: derived(p, shared, shared, n), "the kept string's `shared`"),
            (lambda p, shared, alone, n: derived(p, [-s for s in shared], alone, n), "worst draw"),
            (lambda p, shared, alone, n: alone[shared.index(max(shared))], "may not be among"),
            (lambda p, shared, alone, n: _drawn(p, alone, n), "no better one"),
            (lambda p, shared, alone, n: -1.0, "the mean is"),
        ),
    ),
)
