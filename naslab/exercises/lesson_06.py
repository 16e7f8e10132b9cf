"""Exercises of lesson 06, the cells of ENAS."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from naslab.exercises import Exercise, same
from naslab.genotypes import ENAS_RNN_OLDER, read_enas_rnn
from naslab.networks import RecurrentCell

STEP = "0 0 1 1 1 2"  # the recurrent cell of exercise 06.3
WEIGHTS = (0.9, -0.6, 1.2, 0.7, -0.8, 1.1, 0.5, 1.4)
CELLS = (  # micro cells: for each node input, op, input, op
    (0, 2, 0, 0, 2, 4, 0, 1),
    (0, 2, 1, 0, 0, 4, 1, 1),
    (1, 0, 1, 0, 0, 3, 0, 2, 1, 1, 3, 1, 1, 0, 0, 4, 0, 3, 1, 1),
    (1, 4, 0, 3, 2, 3, 2, 2, 3, 0, 2, 1, 0, 0, 1, 0),
)


def check_cell_strings(answer: Callable[[int, int], int]) -> str | None:
    for nodes, ops in ((2, 5), (1, 5), (5, 5), (3, 2)):
        got, expected = answer(nodes, ops), cell_strings(nodes, ops)
        if got == expected:
            continue
        if got == (ops * math.factorial(nodes)) ** 2:
            return "That is the paper's formula. Every node chooses its ops anew, and the first chooses of two inputs."
        if got == math.isqrt(expected):
            return "A node takes two pairs: each input and op is chosen twice."
        if got == (ops**nodes * math.factorial(nodes)) ** 2:
            return "The first node already has two states to choose from, the outputs of two cells: 2, 3, 4, ..."
        if got == math.prod(math.comb(ops * (2 + i) + 1, 2) for i in range(nodes)):
            return "That counts architectures, the order of a node's pairs set aside. Count strings: order counts."
        return f"For {nodes} nodes and {ops} ops you get {got}, not {expected}."
    return None


def cell_strings(nodes: int, ops: int) -> int:
    return math.prod((ops * states) ** 2 for states in range(2, 2 + nodes))


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


def check_step(answer: Callable[[float, float, Sequence[float]], float]) -> str | None:
    for x, h in ((0.7, -0.4), (-1.2, 0.3), (0.0, 0.9)):
        got, expected = answer(x, h, WEIGHTS), by_package(x, h)
        if same(got, expected):
            continue
        h2, h3 = _nodes(x, h, WEIGHTS)[1:]
        if same(got, h2 + h3):
            return "That is the sum of the loose ends; the output is their mean."
        if same(got, sum(_nodes(x, h, WEIGHTS)) / 3):
            return "Node 1 is read by both others, so it is no loose end: the mean is of nodes 2 and 3."
        if same(got, sum(_nodes(x, h, WEIGHTS, swapped=True)[1:]) / 2):
            return "Your gates are turned round: c is how much is *replaced* by the new value, 1 - c is what stays."
        if same(got, sum(_nodes(x, h, WEIGHTS, plain=True)[1:]) / 2):
            return "The highway is missing: every node also lets a part of what it reads pass by."
        if same(got, sum(_nodes(x, h, WEIGHTS, chain=True)[1:]) / 2) or same(got, h3):
            return "Nodes 2 and 3 both read node 1, so both are loose ends."
        return f"For x, h = {x}, {h} you get {got:.6f}; node by node it should become {expected:.6f}."
    return None


def by_package(x: float, h: float) -> float:
    space, tokens = read_enas_rnn(STEP)
    cell = RecurrentCell(space, space.pairs(tokens)["recurrent"], 1, "source").double()
    with torch.no_grad():
        for weight, values in zip(cell.parameters(), (WEIGHTS[:4], WEIGHTS[4:6], WEIGHTS[6:]), strict=True):
            weight.copy_(torch.tensor(values, dtype=torch.float64).view_as(weight))
        x_t, h_0 = (torch.tensor([[v]], dtype=torch.float64) for v in (x, h))
        return cell(x_t, (h_0, h_0))[0].item()


def _nodes(
    x: float, h: float, w: Sequence[float], swapped: bool = False, plain: bool = False, chain: bool = False
) -> tuple[float, float, float]:
    """Returns the three nodes of the cell, or with a flag the nodes that a typical mistake gives."""

    def node(s: float, gate: float, new: float) -> float:
        c = 1.0 if plain else 1 / (1 + math.exp(-gate))
        return c * s + (1 - c) * new if swapped else c * new + (1 - c) * s

    h1 = node(h, w[0] * x + w[1] * h, math.tanh(w[2] * x + w[3] * h))
    h2 = node(h1, w[4] * h1, max(0.0, w[5] * h1))
    s = h2 if chain else h1
    return h1, h2, node(s, w[6] * s, 1 / (1 + math.exp(-w[7] * s)))


def step(x: float, h: float, w: Sequence[float]) -> float:
    def sigmoid(a: float) -> float:
        return 1 / (1 + math.exp(-a))

    def node(s: float, gate: float, new: float) -> float:
        c = sigmoid(gate)
        return c * new + (1 - c) * s

    h1 = node(h, w[0] * x + w[1] * h, math.tanh(w[2] * x + w[3] * h))
    h2 = node(h1, w[4] * h1, max(0.0, w[5] * h1))
    h3 = node(h1, w[6] * h1, sigmoid(w[7] * h1))
    return (h2 + h3) / 2  # no node reads nodes 2 and 3


def check_newer(answer: Callable[[Sequence[int]], list[Any]]) -> str | None:
    for numbers in ([2], [0, 0, 1], [3, 0, 2, 1, 1, 0, 0], [int(n) for n in ENAS_RNN_OLDER.split()]):
        got, expected = answer(list(numbers)), newer(numbers)
        if got and isinstance(got[0], tuple):
            got = [number for pair in got for number in pair]
        if got == expected:
            continue
        rest = numbers[1:]
        if len(got) % 2:
            return f"{numbers}: got {len(got)} numbers. Pairs make an even count: give node 1 its input, 0."
        if got == [0, *numbers]:
            return f"{numbers}: the older form counts nodes from 0, the newer keeps 0 for the state before node 1."
        if got == [0, numbers[0], *(n + 1 for n in rest)]:
            return f"{numbers}: only inputs are counted anew; functions stay."
        if got == [1, numbers[0], *(n + 1 if k % 2 == 0 else n for k, n in enumerate(rest))]:
            return f"{numbers}: node 1 reads state 0, the pair of x and h."
        return f"{numbers}: you get {got}, expected {expected}."
    return None


def newer(numbers: Sequence[int]) -> list[int]:
    first, *rest = numbers
    return [0, first, *(n + 1 if k % 2 == 0 else n for k, n in enumerate(rest))]


EXERCISES = (
    Exercise(
        id="06.1",
        statement="Write `cell_strings(nodes, ops)`: how many strings describe one micro cell?",
        hints=(
            "Go node by node. How many states can the first node choose its inputs from, how many the next?",
            "A node that sees k states writes two pairs, each one of k inputs with one of the ops: (ops k)^2 ways.",
        ),
        check=check_cell_strings,
        solution=cell_strings,
        wrong=(
            (lambda nodes, ops: (ops * math.factorial(nodes)) ** 2, "paper's formula"),
            (lambda nodes, ops: ops**nodes * math.factorial(nodes + 1), "two pairs"),
            (lambda nodes, ops: (ops**nodes * math.factorial(nodes)) ** 2, "already has two states"),
            (lambda nodes, ops: math.prod(math.comb(ops * (2 + i) + 1, 2) for i in range(nodes)), "order counts"),
            (lambda nodes, ops: 0, "you get 0"),
        ),
    ),
    Exercise(
        id="06.2",
        statement=(
            "Write `loose_ends(numbers)`: the nodes of a micro cell that no node reads, from its string, a list of "
            "input, op, input, op for each node. States 0 and 1 are the cell's inputs, nodes count from 2."
        ),
        hints=(
            "Which numbers of the list name a state that somebody reads?",
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
        id="06.3",
        statement=(
            "Write `step(x, h, w)`: the output of the cell `0 0 1 1 1 2` with one unit. Node 1 has the gate "
            "w[0] x + w[1] h and the candidate w[2] x + w[3] h; node 2 has w[4], w[5] and node 3 has w[6], w[7] for "
            "its gate and its candidate."
        ),
        hints=(
            "Read the string as pairs: node 1 = (0, tanh), node 2 = (1, relu), node 3 = (1, sigmoid). Who is loose?",
            "With c = sigmoid(gate) a node is c f(candidate) + (1 - c) s; s is h for node 1, else the node it reads. "
            "Return the mean of nodes 2 and 3.",
        ),
        check=check_step,
        solution=step,
        wrong=(
            (lambda x, h, w: 2 * step(x, h, w), "their mean"),
            (lambda x, h, w: sum(_nodes(x, h, w)) / 3, "no loose end"),
            (lambda x, h, w: sum(_nodes(x, h, w, swapped=True)[1:]) / 2, "turned round"),
            (lambda x, h, w: sum(_nodes(x, h, w, plain=True)[1:]) / 2, "highway is missing"),
            (lambda x, h, w: sum(_nodes(x, h, w, chain=True)[1:]) / 2, "both read node 1"),
            (lambda x, h, w: 0.0, "node by node"),
        ),
    ),
    Exercise(
        id="06.4",
        statement="Write `newer(numbers)`: a recurrent cell in the authors' older form, a list, as a list of pairs.",
        hints=(
            "The older form begins with a lonely function. Which input belongs before it?",
            "After that come pairs; their inputs count nodes from 0, so each becomes one more. Functions stay.",
        ),
        check=check_newer,
        solution=newer,
        form=list[int] | list[tuple[int, int]],
        wrong=(
            (lambda n: list(n), "even count"),
            (lambda n: [0, *n], "counts nodes from 0"),
            (lambda n: [0, n[0], *(k + 1 for k in n[1:])], "functions stay"),
            (lambda n: [1, *newer(n)[1:]], "reads state 0"),
            (lambda n: [0, 0], "expected"),
        ),
    ),
)
