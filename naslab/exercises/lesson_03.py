"""Exercises of lesson 03, NAS with reinforcement learning."""

from collections.abc import Callable, Sequence
from math import exp, tanh
from typing import Any

from naslab import networks, spaces
from naslab.exercises import Exercise, same
from naslab.networks.layers import IMAGE

Bits = Sequence[Sequence[int]]


def check_skip_probability(answer: Callable[..., float]) -> str | None:
    for h_j, h_i, w_prev, w_curr, v in ((0.5, -1.0, 2.0, 0.3, 1.5), (1.0, 0.2, -0.7, 1.1, -2.0), (0.0, 0.0, 1, 1, 3)):
        got = answer(h_j, h_i, w_prev, w_curr, v)
        expected = skip_probability(h_j, h_i, w_prev, w_curr, v)
        if same(got, expected):
            continue
        attention = v * tanh(w_prev * h_j + w_curr * h_i)
        if same(got, attention):
            return f"{got:.4f} is the attention. A probability lies between 0 and 1: the sigmoid is missing."
        if same(got, 1 - expected):
            return "That is the probability that j is *not* an input: sigmoid(x) = 1 / (1 + exp(-x)), mind the sign."
        if same(got, skip_probability(h_i, h_j, w_prev, w_curr, v)):
            return "The states are exchanged: W_prev belongs to the earlier layer j, W_curr to the present layer i."
        if same(got, 1 / (1 + exp(-v * (w_prev * h_j + w_curr * h_i)))):
            return "The tanh is missing: without it the comparison of the two states is only linear."
        return f"For {h_j}, {h_i}, {w_prev}, {w_curr}, {v} you get {got:.4f}; the formula gives {expected:.4f}."
    return None


def skip_probability(h_j: float, h_i: float, w_prev: float, w_curr: float, v: float) -> float:
    return 1 / (1 + exp(-v * tanh(w_prev * h_j + w_curr * h_i)))


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


def check_weights(answer: Callable[[Sequence[float | None], float, float], Sequence[float]]) -> str | None:
    for accuracies, b, power in (([0.9, 0.8], 0.5, 3.0), ([0.5, None, 0.7], 0.2, 3.0), ([0.6, 0.4], 0.5, 1.0)):
        got, expected = answer(accuracies, b, power), weights(accuracies, b, power)
        if len(got) != len(expected):
            return f"Got {len(got)} weights for {len(expected)} children: one that failed has a weight, too."
        if same(got, expected):
            continue
        known = [a or 0.0 for a in accuracies]
        if same(got, [(a - b) ** power for a in known]):
            return "The power belongs to the reward alone: R = accuracy ** power, and then the baseline is subtracted."
        if same(got, [(a**power - b**power) for a in known]):
            return "The baseline is an average of earlier *rewards*: it holds the power already."
        if same(got, [a**power for a in known]):
            return "The baseline is not subtracted."
        mean = sum(a**power for a in known) / len(known)
        if same(got, [(a**power - mean) for a in known]):
            return "This subtracts the mean of the present batch, which looks at its own samples; b is given."
        return f"For accuracies {accuracies}, b = {b}, power = {power} the weights are {expected}, not {got}."
    return None


def weights(accuracies: Sequence[float | None], b: float, power: float) -> list[float]:
    return [(0.0 if a is None else a) ** power - b for a in accuracies]


EXERCISES = (
    Exercise(
        id="03.1",
        statement=(
            "Write `skip_probability(h_j, h_i, w_prev, w_curr, v)` for numbers: the probability that layer j is an "
            "input of layer i."
        ),
        hints=(
            "`math.tanh` of w_prev * h_j + w_curr * h_i, times v, then the sigmoid.",
            "sigmoid(x) = 1 / (1 + math.exp(-x)).",
        ),
        check=check_skip_probability,
        solution=skip_probability,
        wrong=(
            (lambda h_j, h_i, p, c, v: v * tanh(p * h_j + c * h_i), "sigmoid is missing"),
            (lambda h_j, h_i, p, c, v: 1 / (1 + exp(v * tanh(p * h_j + c * h_i))), "*not* an input"),
            (lambda h_j, h_i, p, c, v: 1 / (1 + exp(-v * tanh(p * h_i + c * h_j))), "exchanged"),
            (lambda h_j, h_i, p, c, v: 1 / (1 + exp(-v * (p * h_j + c * h_i))), "tanh is missing"),
            (lambda h_j, h_i, p, c, v: 0.5, "the formula gives"),
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
            "Write `weights(accuracies, b, power)`: the factor R_k - b of every child's gradient, a list; None is a "
            "child that failed."
        ),
        hints=(
            "R_k is accuracy ** power; a child that failed has the reward 0.",
            "b is an average of earlier rewards, power included: subtract it as it is.",
        ),
        check=check_weights,
        solution=weights,
        wrong=(
            (lambda a, b, power: [((x or 0.0) - b) ** power for x in a], "power belongs to the reward"),
            (lambda a, b, power: [(x or 0.0) ** power - b**power for x in a], "holds the power already"),
            (lambda a, b, power: [(x or 0.0) ** power for x in a], "not subtracted"),
            (
                lambda a, b, power: [(x or 0) ** power - sum((y or 0) ** power for y in a) / len(a) for x in a],
                "present batch",
            ),
            (lambda a, b, power: [x**power - b for x in a if x is not None], "has a weight, too"),
            (lambda a, b, power: [(x or 0.0) ** power + b for x in a], "the weights are"),
        ),
    ),
)
