"""Exercises of lesson 04, recurrent cells as trees."""

import math
from collections.abc import Callable, Sequence

import torch

from naslab.exercises import Exercise, is_rounded, same
from naslab.networks import TreeCell
from naslab.spaces import Tokens, TreeSpace, all_strings

Pair = tuple[float, float]
CELL = (1, 1, 0, 2, 0, 1, 1, 3, 2, 1)  # the cell of exercise 04.2, with base 2
WEIGHTS = (0.6, -0.8, 0.5, 0.9)


def check_strings(answer: Callable[[int, int, int], int]) -> str | None:
    for base, c, a in ((1, 2, 4), (2, 2, 4), (8, 2, 4), (8, 3, 5), (3, 1, 2)):
        got, expected = answer(base, c, a), (c * a) ** (2 * base) * (2 * base - 1) ** 2
        if got == expected:
            continue
        if is_rounded(got, expected):
            return f"Got {got}, a float, which has lost digits. Count with integers: `//` in place of `/`."
        if got == (c * a) ** (2 * base - 1) * (2 * base - 1) ** 2:
            return "You counted the nodes' functions and both indices. The injection chooses two functions, too."
        if got == (c * a) ** (2 * base):
            return "All functions are there, but the two cell indices are missing: each names one of the nodes."
        if got == (c * a) ** (2 * base) * (2 * base - 1):
            return "There are two cell indices, and they are independent."
        if got == (c * a) ** (2 * base) * math.comb(2 * base - 1, 2):
            return "The two cell indices have different meanings, and may be equal: order counts."
        return f"For base {base}, {c} combinations and {a} activations you get {got}, not {expected}."
    return None


def strings(base: int, combinations: int, activations: int) -> int:
    nodes = 2 * base - 1
    functions = (combinations * activations) ** (nodes + 1)  # for every node, and for the injection
    return functions * nodes**2


def check_step(answer: Callable[[float, float, float, Sequence[float]], Pair]) -> str | None:
    for x, h, c in ((0.7, -0.4, 0.9), (-1.2, 0.3, 0.5), (0.5, 0.8, -0.6), (0.5, 0.0, 0.0)):
        got, expected = answer(x, h, c, WEIGHTS), by_package(x, h, c)
        if same(got, expected):
            continue
        if same(got, expected[::-1]):
            return "Both numbers are right, but in the wrong order: return h first, then c."
        if same(got, expected[:1] * 2):
            return "h is right. c_t is the root's value before its activation."
        if same(got[0], expected[0]):
            return f"h is right, c is not: for x, h, c = {x}, {h}, {c} it is {expected[1]:.6f}, you get {got[1]:.6f}."
        if same(got, _step(x, h, c, WEIGHTS, inject="never")):
            return "The injection is missing: the root reads a_1' = ReLU(a_1 * c_(t-1)), not a_1."
        if same(got, _step(x, h, c, WEIGHTS, inject="before")):
            return "c_(t-1) is injected after node 1's own activation, not before it."
        return f"For x, h, c = {x}, {h}, {c} you get {got}; node by node it should become {expected}."
    return None


def by_package(x: float, h: float, c: float) -> Pair:
    cell = TreeCell(TreeSpace(2), CELL, 1).double()
    with torch.no_grad():
        cell.from_x.weight.copy_(torch.tensor(WEIGHTS[::2], dtype=torch.float64)[:, None])
        cell.from_h.weight.copy_(torch.tensor(WEIGHTS[1::2], dtype=torch.float64)[:, None])
        x_t, h_0, c_0 = (torch.tensor([[v]], dtype=torch.float64) for v in (x, h, c))
        h_t, c_t = cell(x_t, (h_0, c_0))
    return h_t.item(), c_t.item()


def step(x: float, h: float, c: float, w: Sequence[float]) -> Pair:
    a0 = math.tanh((w[0] * x) * (w[1] * h))
    a1 = 1 / (1 + math.exp(-(w[2] * x + w[3] * h)))
    a1 = max(0.0, a1 * c)  # the injection changes what the root reads
    c_t = a0 + a1
    return math.tanh(c_t), c_t


def _step(x: float, h: float, c: float, w: Sequence[float], inject: str) -> Pair:
    a0, s1 = math.tanh((w[0] * x) * (w[1] * h)), w[2] * x + w[3] * h
    a1 = 1 / (1 + math.exp(-(max(0.0, s1 * c) if inject == "before" else s1)))
    return math.tanh(a0 + a1), a0 + a1


def check_whole(answer: Callable[[Sequence[float], Sequence[int]], Pair]) -> str | None:
    for p, n in (([10.0, 4.0], [100, 300]), ([8.0, 8.0], [5, 7]), ([2.0, 32.0, 4.0], [10, 10, 40])):
        got, expected = answer(p, n), whole(p, n)
        if same(got, expected):
            continue
        if same(got, (expected[0], math.log(expected[0]))):
            return "The perplexity is right. Its natural logarithm counts nats; bits have the base 2."
        if same(got[0], expected[0]):
            return f"The perplexity is right. For {p} and {n} the bits are {expected[1]:.6f}, not {got[1]:.6f}."
        if same(got[0], expected[1]):
            return "Your first number is the bits. Return the perplexity first: 2 to the power of the bits."
        pairs = list(zip(p, n, strict=True))
        if same(got[0], sum(q * k for q, k in pairs) / sum(n)) or same(got[0], sum(p) / len(p)):
            return "That averages the perplexities. Losses of characters add up: average the logarithms."
        if same(got[0], math.prod(p) ** (1 / len(p))):
            return "That gives each chapter the same weight. The mean is over characters: a long chapter counts more."
        if same(got[0], sum(n) / sum(k / q for q, k in pairs)):
            return "That averages the probabilities 1 / perplexity. Average the logarithms instead."
        return f"For perplexities {p} and lengths {n} you get {got}, expected {expected}."
    return None


def whole(perplexities: Sequence[float], lengths: Sequence[int]) -> Pair:
    losses = [n * math.log2(p) for p, n in zip(perplexities, lengths, strict=True)]  # bits of each chapter
    bits = sum(losses) / sum(lengths)
    return 2**bits, bits


def check_dead(answer: Callable[[Tokens], bool]) -> str | None:
    everything = [*all_strings(TreeSpace(1))]
    for tokens in everything:
        got, expected = answer(tokens), stays_at_zero(tokens)
        if got == expected:
            continue
        if got and tokens[0] == 0:
            return f"{tokens} adds: W x_t is not 0, so c_1 is not, and h follows."
        if got and tokens[3] == 2:
            return f"{tokens}: the injection's sigmoid turns 0 into 1/2, so h_1 is not 0."
        if got:
            return f"{tokens}: the node's sigmoid gives 1/2 at 0, and adding c_0 = 0 leaves it there."
        if tokens[1] == 2:
            return f"{tokens}: the node's sigmoid gives 1/2, but then it is multiplied with c_0 = 0: h stays at 0."
        return f"{tokens} multiplies W x_t with U h_0 = 0 and has no sigmoid that would change a 0: h stays at 0."
    return None


def stays_at_zero(tokens: Tokens, steps: int = 4) -> bool:
    """Runs a cell of 16 units on random vectors and returns whether h stays at 0."""
    cell, generator = TreeCell(TreeSpace(1), tokens, 16), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in cell.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) / 4)
        h = c = torch.zeros(4, 16)
        for _ in range(steps):
            h, c = cell(torch.randn(4, 16, generator=generator), (h, c))
            if h.any():
                return False
    return True


def dead(tokens: Tokens) -> bool:
    combine, activation, inject_combine, inject_activation, *_ = tokens
    add, sigmoid = 0, 2
    wakes = inject_activation == sigmoid or (inject_combine == add and activation == sigmoid)
    return combine != add and not wakes


def check_biases(answer: int) -> str | None:
    messages = {
        21: "That is the number without biases. With b, the factor U h + b is not 0 at h = 0.",
        24: "In these strings h_1 = 0: the injection multiplies by c_0 = 0. But c_1 is not 0. Follow a second step.",
        12: "In these strings h_1 = 0 and the node multiplies. But W x_t times (U h + b) is not 0: which mark has c_1?",
        64: "Take one that adds, with the identity everywhere: h_1 = W x_1 + U h_0 + b + c_0 depends on x_1.",
    }
    if answer == with_biases():
        return None
    return messages.get(answer, f"Got {answer}. Which mark does the node have if it adds, and which if it multiplies?")


def with_biases() -> int:
    # A leaf combines W x_t, mark 2, and U h + b, mark 1 or 2. Adding and multiplying both give 2, from the first step
    # on. Both cell indices name this node, so c_1 has mark 2. Then the injection of the second step has two inputs of
    # mark 2, and h_2 has mark 2 for every combination and activation.
    return 0


EXERCISES = (
    Exercise(
        id="04.1",
        statement="Write `strings(base, combinations, activations)`: the number of strings of a tree space.",
        hints=(
            "A tree with b leaves has 2b - 1 nodes. What does each choose? What is chosen once for the whole cell?",
            "The injection chooses a combination and an activation, too: 2b pairs in all. Then two of 2b - 1 nodes.",
        ),
        check=check_strings,
        solution=strings,
        wrong=(
            (lambda b, c, a: (c * a) ** (2 * b - 1) * (2 * b - 1) ** 2, "injection chooses"),
            (lambda b, c, a: (c * a) ** (2 * b), "indices are missing"),
            (lambda b, c, a: (c * a) ** (2 * b) * (2 * b - 1), "two cell indices"),
            (lambda b, c, a: (c * a) ** (2 * b) * math.comb(2 * b - 1, 2), "order counts"),
            (lambda b, c, a: (c + a) ** (2 * b) * (2 * b - 1) ** 2, "you get"),
            (lambda b, c, a: float(c * a) ** (2 * b) * (2 * b - 1) ** 2, "Count with integers"),
        ),
    ),
    Exercise(
        id="04.2",
        statement=(
            "Write `step(x, h, c, w)`: (h, c) after one step of the cell with one unit. Node 0 = elem_mult, tanh; node "
            "1 = add, sigmoid; root = add, tanh; injection elem_mult, ReLU into node 1; c_t from the root."
        ),
        hints=(
            "Go from the leaves to the root: s_0, a_0, s_1, a_1, then the injection a_1', then the root.",
            "a_0 = tanh((W1 x)(W2 h)), a_1 = sigmoid(W3 x + W4 h), a_1' = ReLU(a_1 c), and the root adds a_0 and a_1'.",
        ),
        check=check_step,
        solution=step,
        wrong=(
            (lambda x, h, c, w: step(x, h, c, w)[::-1], "wrong order"),
            (lambda x, h, c, w: (step(x, h, c, w)[0],) * 2, "before its activation"),
            (lambda x, h, c, w: (step(x, h, c, w)[0], c), "c is not"),
            (lambda x, h, c, w: _step(x, h, c, w, "never"), "injection is missing"),
            (lambda x, h, c, w: _step(x, h, c, w, "before"), "not before it"),
            (lambda x, h, c, w: (math.tanh(w[0] * x + w[1] * h), c), "node by node"),
            (lambda x, h, c, w: (0.0, 0.0, 0.0), "expected two numbers"),
        ),
    ),
    Exercise(
        id="04.3",
        statement=(
            "Write `whole(perplexities, lengths)`: (perplexity, bits per character) of several chapters together, from "
            "the perplexity and the number of characters of each."
        ),
        hints=(
            "How many bits does an optimal code need for a chapter of n characters with perplexity p?",
            "n log2 p. Add these, and divide by the number of all characters: bits. The perplexity is 2 to that power.",
        ),
        check=check_whole,
        solution=whole,
        wrong=(
            (lambda p, n: (sum(q * k for q, k in zip(p, n, strict=True)) / sum(n), 0.0), "averages the perplexities"),
            (lambda p, n: (sum(p) / len(p), 0.0), "averages the perplexities"),
            (lambda p, n: (math.prod(p) ** (1 / len(p)), 0.0), "the same weight"),
            (lambda p, n: (sum(n) / sum(k / q for q, k in zip(p, n, strict=True)), 0.0), "averages the probabilities"),
            (lambda p, n: (whole(p, n)[0], math.log(whole(p, n)[0])), "base 2"),
            (lambda p, n: (whole(p, n)[0], whole(p, n)[1] * sum(n)), "The perplexity is right. For"),
            (lambda p, n: whole(p, n)[::-1], "perplexity first"),
            (lambda p, n: (0.0, 0.0), "expected"),
        ),
    ),
    Exercise(
        id="04.4",
        statement="Write `dead(tokens)` for strings of `TreeSpace(1)`: true if h_t = 0 for ever, from h_0 = c_0 = 0.",
        hints=(
            "If the node adds, x_t always gets through, at the latest by way of c_t. So suppose that it multiplies.",
            "Then s = 0. Which of the two activations could turn the 0 into something else, and does it reach h?",
        ),
        check=check_dead,
        solution=dead,
        wrong=(
            (lambda tokens: tokens[0] == 1, "injection's sigmoid"),
            (lambda tokens: tokens[0] == 1 and tokens[3] != 2, "leaves it there"),
            (lambda tokens: tokens[0] == 1 and 2 not in (tokens[1], tokens[3]), "multiplied with c_0"),
            (lambda tokens: tokens[3] != 2, "follows"),
            (lambda tokens: False, "no sigmoid that would"),
        ),
    ),
    Exercise(
        id="04.5",
        statement="How many of the 64 strings of base 1 are deaf if every leaf combines W x_t and U h_(t-1) + b?",
        hints=(
            "Which mark does U h + b have at the first step? Which mark does the node have before its activation?",
            "c_t is that value. So look at the second step, when c_(t-1) is no longer 0.",
        ),
        check=check_biases,
        solution=with_biases,
        wrong=((21, "without biases"), (24, "second step"), (12, "c_1"), (64, "adds"), (7, "Which mark")),
    ),
)
