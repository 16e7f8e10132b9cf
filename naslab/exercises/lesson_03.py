"""Exercises of lesson 03, NAS with reinforcement learning."""

from collections.abc import Callable, Sequence
from math import exp
from typing import Any

from naslab import networks, spaces
from naslab.exercises import Exercise, same
from naslab.networks.layers import IMAGE

Bits = Sequence[Sequence[int]]


def check_limits(answer: Callable[[Sequence[float]], tuple[float, float]]) -> str | None:
    for v in ([0.08] * 35, [0.5, -1.0, 0.2], [-2.0], [0.0, 0.0]):
        got, expected = answer(v), limits(v)
        if same(got, expected):
            continue
        total = sum(map(abs, v))
        if same(got, (-total, total)):
            return "These are the limits of the sum. A probability lies between 0 and 1: the sigmoid is missing."
        if same(got, expected[::-1]):
            return "Return the lower limit first."
        if same(got, (sigmoid(-sum(v)), sigmoid(sum(v)))) or same(got, (sigmoid(sum(v)), sigmoid(-sum(v)))):
            return (
                "Each coordinate of the tanh has its own sign. The best choice is 1 where v is positive; and elsewhere?"
            )
        largest = max(map(abs, v))
        if same(got, (sigmoid(-largest), sigmoid(largest))):
            return "v' tanh(...) is a sum over all coordinates, not only the largest one."
        if same(got, (0.0, 1.0)):
            return "The tanh never leaves -1 to 1, so the sum is bounded, and its sigmoid does not reach 0 or 1."
        lower, upper = expected
        return f"For v = {v} the limits are {lower:.4f} and {upper:.4f}; you get {got[0]:.4f} and {got[1]:.4f}."
    return None


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def limits(v: Sequence[float]) -> tuple[float, float]:
    largest = float(sum(abs(x) for x in v))  # every coordinate of the tanh is at -1 or 1
    return 1 / (1 + exp(largest)), 1 / (1 + exp(-largest))


def check_reads_and_unread(answer: Callable[[Bits], Any]) -> str | None:
    for layers in (1, 2, 3, 4):
        space = spaces.ConvSpace(layers, heights=(1,), widths=(1,), filters=(1,))
        for tokens in spaces.all_strings(space):
            bits: list[list[int]] = [[] for _ in range(layers)]
            for d, token in zip(space.decisions, tokens, strict=True):
                if d.kind == "skip":
                    bits[d.row[0]].append(token)
            reads, unread = answer(bits)
            network = networks.ConvChild(space, tokens, in_channels=1, classes=2)
            if [sorted(r) for r in reads] != [sorted(r) for r in network.reads]:
                return f"For bits = {bits} the layers read {network.reads} (-1: the image); your function says {reads}."
            if sorted(unread) != network.unread:
                last = "" if layers - 1 in unread else " Who could read the last layer?"
                return f"For bits = {bits} nobody reads {network.unread}; your function says {unread}.{last}"
    return None


def reads_and_unread(bits: Bits) -> tuple[list[list[int]], list[int]]:
    chosen = [[j for j, bit in enumerate(row) if bit] for row in bits]
    read = {j for js in chosen for j in js}
    return [js or [-1] for js in chosen], [i for i in range(len(bits)) if i not in read]


def check_layer_parameters(answer: Callable[[int, int, int, Sequence[int]], int]) -> str | None:
    for height, width, filters, inputs in ((3, 3, 8, [1]), (1, 5, 4, [4, 6]), (7, 3, 16, [8, 8, 12])):
        got = answer(height, width, filters, inputs)
        weights = height * width * filters * sum(inputs)
        layer = networks.layers.conv_layer(sum(inputs), height, width, 1, 1, filters)
        expected = networks.count_parameters(layer)
        if got == expected:
            continue
        if got == weights:
            return "These are the weights of the convolution. Batch norm learns a scale and a shift for each filter."
        if got == weights + filters or got == expected + filters:
            return "The convolution has no bias; batch norm has 2 parameters for each filter, a scale and a shift."
        if got == height * width * filters * max(inputs) + 2 * filters:
            return "Maps are concatenated, not added: the filter is as deep as all inputs together."
        return f"A {height}x{width} layer of {filters} filters on inputs {inputs} has {expected} parameters, not {got}."
    return None


def layer_parameters(height: int, width: int, filters: int, inputs: Sequence[int]) -> int:
    return height * width * sum(inputs) * filters + 2 * filters


def check_residual(answer: list[tuple[int, int]]) -> str | None:
    got, layers = {(i, j) for i, j in answer}, 7
    expected = residual(layers)
    if got == expected:
        return None
    if got == {(j, i) for i, j in expected}:
        return "The pairs are turned: (i, j) means that layer i reads layer j, so i is the larger number."
    if any(not 0 <= j < i < layers for i, j in got):
        return "A pair (i, j) has 0 <= j < i <= 6: a layer can only read an earlier one."
    if missing := {(i, i - 1) for i in range(1, layers)} - got:
        return f"Layer {max(missing)[0]} has to read the layer before it, too: f is applied to the last sum or layer."
    if any(i % 2 == 0 and j < i - 1 for i, j in got):
        return "The second layer of a block is inside f. It reads the first layer of its block, and nothing else."
    if got == {(i, i - 1) for i in range(1, layers)} | {(i, i - 3) for i in range(3, layers, 2)}:
        return "The shortcut continues: the input of block 3 contains o_0, too. Unroll b_3 = b_2 + f(b_2) once more."
    if any(j % 2 and i % 2 for i, j in got):
        return (
            "The first layer of a block is inside f. Its output is not a term of the sum: only the second layer's is."
        )
    return (
        f"{len(got)} pairs are set; {len(expected - got)} are missing, and {len(got - expected)} do not belong there."
    )


def residual(layers: int = 7) -> set[tuple[int, int]]:
    """The pairs (i, j) such that layer i reads layer j, in a residual network with layers 0 to `layers` - 1."""
    chain = {(i, i - 1) for i in range(1, layers)}
    return chain | {(i, j) for i in range(1, layers, 2) for j in range(0, i, 2)}


def residual_pairs() -> list[tuple[int, int]]:
    first = [(i, j) for i in (1, 3, 5) for j in range(0, i, 2)]  # the input of a block: all even layers before it
    second = [(i, i - 1) for i in (2, 4, 6)]  # the second layer of a block
    return sorted(first + second)


def check_pull(answer: Callable[[Sequence[float], float], float]) -> str | None:
    for accuracies, power in (([0.3, 0.35, 0.7, 0.6], 3.0), ([0.2, 0.4, 0.6, 0.8], 3.0), ([0.5, 0.1], 2.0)):
        got, expected = answer(accuracies, power), pull(accuracies, power)
        if same(got, expected):
            continue
        rewards = [a**power for a in accuracies]
        mean = sum(accuracies) / len(accuracies)
        if same(got, 1 / expected):
            return "The ratio is turned: the best child's factor over the worst child's."
        if same(got, max(rewards) / min(rewards)):
            return "The baseline is not subtracted."
        if same(got, pull(accuracies, 1.0)):
            return "That is the ratio without the power."
        if same(got, -expected):
            return "The two factors have different signs. The ratio is that of their absolute values."
        if same(got, abs((max(rewards) - mean**power) / (min(rewards) - mean**power))):
            return "This b is the power of the mean accuracy. It should be the mean of the rewards, which are powers."
        if same(got, abs((max(accuracies) - mean) / (min(accuracies) - mean)) ** power):
            return "The power belongs to the reward alone: first R = A ** power, then R - b."
        return f"For {accuracies} and power {power:g} the ratio is {expected:.4f}; you get {got:.4f}."
    return None


def pull(accuracies: Sequence[float], power: float) -> float:
    rewards = [a**power for a in accuracies]
    b = sum(rewards) / len(rewards)
    return (max(rewards) - b) / (b - min(rewards))


EXERCISES = (
    Exercise(
        id="03.1",
        statement=(
            "Write `limits(v)`: the lower and the upper limit of sigmoid(v' tanh(...)), whatever stands inside the "
            "tanh. `v` is a list of numbers."
        ),
        hints=(
            "Between which two numbers does a single tanh stay? Which of them makes its product with v_k large?",
            "The sum lies between -s and s, where s is the sum of |v_k|. The sigmoid is increasing.",
        ),
        check=check_limits,
        solution=limits,
        wrong=(
            (lambda v: (-sum(map(abs, v)), sum(map(abs, v))), "sigmoid is missing"),
            (lambda v: limits(v)[::-1], "lower limit first"),
            (lambda v: (1 / (1 + exp(sum(v))), 1 / (1 + exp(-sum(v)))), "its own sign"),
            (lambda v: (1 / (1 + exp(max(map(abs, v)))), 1 / (1 + exp(-max(map(abs, v))))), "sum over all"),
            (lambda v: (0.0, 1.0), "never leaves"),
            (lambda v: (0.5, 0.6), "the limits are"),
        ),
    ),
    Exercise(
        id="03.2",
        statement=(
            "Write `reads_and_unread(bits)`: for every layer the list of what it reads (-1 for the image), and the "
            "list of the layers that the classifier reads."
        ),
        hints=(
            "A layer reads the j whose bit is 1; an empty list becomes [-1]: `js or [-1]`.",
            "Collect every j that somebody reads in a set; the classifier gets the layers that are not in it.",
        ),
        check=check_reads_and_unread,
        solution=reads_and_unread,
        wrong=(
            (lambda bits: ([[j for j, b in enumerate(row) if b] for row in bits], [len(bits) - 1]), "the image"),
            (lambda bits: (reads_and_unread(bits)[0], [len(bits) - 1]), "nobody reads"),
            (lambda bits: (reads_and_unread(bits)[0], reads_and_unread(bits)[1][:-1]), "the last layer"),
            (lambda bits: ([js if i else [IMAGE] for i, js in enumerate(bits)], [0]), "the layers read"),
        ),
    ),
    Exercise(
        id="03.3",
        statement=(
            "Write `layer_parameters(height, width, filters, inputs)`: the parameters of a convolution without bias "
            "and its batch norm, if `inputs` lists the filters of the layers that it reads."
        ),
        hints=(
            "The inputs are concatenated in depth, so one filter has height * width * sum(inputs) weights.",
            "Batch norm learns two numbers for each filter.",
        ),
        check=check_layer_parameters,
        solution=layer_parameters,
        wrong=(
            (lambda h, w, f, inputs: h * w * f * sum(inputs), "scale and a shift"),
            (lambda h, w, f, inputs: h * w * f * sum(inputs) + 3 * f, "no bias"),
            (lambda h, w, f, inputs: h * w * f * max(inputs) + 2 * f, "concatenated, not added"),
            (lambda h, w, f, inputs: h * w * sum(inputs) + 2 * f, "parameters, not"),
        ),
    ),
    Exercise(
        id="03.4",
        statement=(
            "Write the set of pairs (i, j), layer i reads layer j, of a residual network: layer 0 is the stem; layers "
            "1 and 2, 3 and 4, 5 and 6 are blocks b + f(b). A sum becomes a concatenation."
        ),
        hints=(
            "The input of the first block is o_0. The second layer of a block reads only the first one.",
            "The input of the second block is o_0 + o_2, a sum of two outputs. What is added for the third?",
        ),
        check=check_residual,
        solution=residual_pairs,
        wrong=(
            ({(j, i) for i, j in residual()}, "pairs are turned"),
            ({(7, 6)}, "earlier one"),
            ({(i, j) for i in range(1, 7, 2) for j in range(0, i, 2)}, "layer before it"),
            ({(i, j) for i in range(1, 7) for j in range(i)}, "nothing else"),
            ({(i, i - 1) for i in range(1, 7)} | {(3, 0), (5, 2)}, "continues"),
            (residual() | {(5, 1)}, "not a term"),
            ({(i, i - 1) for i in range(1, 7)}, "are missing"),
        ),
    ),
    Exercise(
        id="03.5",
        statement=(
            "Write `pull(accuracies, power)`: |R - b| of the best child over |R - b| of the worst one. The rewards are "
            "R = accuracy ** power, and b is their mean."
        ),
        hints=(
            "First compute all rewards, then their mean. The best child is above it, the worst below.",
            "(largest reward - b) / (b - smallest reward).",
        ),
        check=check_pull,
        solution=pull,
        wrong=(
            (lambda a, power: 1 / pull(a, power), "ratio is turned"),
            (lambda a, power: max(a) ** power / min(a) ** power, "not subtracted"),
            (lambda a, power: pull(a, 1.0), "without the power"),
            (lambda a, power: -pull(a, power), "absolute values"),
            (
                lambda a, power: (
                    (max(a) ** power - (sum(a) / len(a)) ** power) / ((sum(a) / len(a)) ** power - min(a) ** power)
                ),
                "power of the mean",
            ),
            (
                lambda a, power: ((max(a) - sum(a) / len(a)) / (sum(a) / len(a) - min(a))) ** power,
                "belongs to the reward",
            ),
            (lambda a, power: 1.0, "the ratio is"),
        ),
    ),
)
