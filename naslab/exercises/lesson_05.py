"""Exercises of lesson 05, sharing parameters."""

from collections.abc import Callable, Sequence
from itertools import chain
from math import cos, exp, pi
from typing import Any

from naslab import schedules, spaces
from naslab.exercises import Exercise, is_rounded, same, shown

Gradients = Sequence[
    dict[str, float]
]  # one dict per child: name of a set of weights -> gradient; a child has only the sets that it uses


def check_gpu_hours(answer: Callable[..., float]) -> str | None:
    for children, minutes, gpus in ((12_800, 100, 450), (10, 6, 1), (500, 30, 20)):
        got, expected = answer(children, minutes, gpus), gpu_hours(children, minutes, gpus)
        if same(got, expected):
            continue
        if same(got, expected * 60):
            return "These are GPU minutes: an hour has 60."
        if gpus > 1 and same(got, expected / gpus):
            return "These are the hours on the clock. A GPU hour is an hour of *one* GPU, so more GPUs do not save any."
        if gpus > 1 and same(got, expected * gpus):
            return "Every child is trained once, on one GPU, not once on each of them."
        return f"{children} children of {minutes} minutes on {gpus} GPUs cost {expected:.6g} GPU hours, not {got:.6g}."
    return None


def gpu_hours(children: int, minutes: float, gpus: int) -> float:
    return children * minutes / 60


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


def check_derive(answer: Callable[..., Any]) -> str | None:
    written = [(3, 1), (0, 0), (4, 1), (2, 1), (5, 0), (1, 0)]
    worth = {child: exp(-abs(child[0] - 2.2)) for child in written}
    for n in (3, 5, 1):
        stream = iter(written)
        scored: list[tuple[int, int]] = []

        def sample(stream=stream):
            return next(stream)

        def score(child, scored=scored):
            scored.append(child)
            return worth[child]

        got = answer(sample, score, n)
        expected = max(written[:n], key=worth.__getitem__)
        child = tuple(got) if isinstance(got, list) else got
        if same(got, worth[expected]):
            return "That is the best *score*. Return the child that has it: it is to be retrained."
        if isinstance(got, list) and child not in written:
            return "That is a list. Derive one child: the best."
        if (drawn := len(written) - len(list(stream))) != n:
            return f"For n = {n} you sampled {drawn} children."
        if child == expected and sorted(scored) == sorted(written[:n]):
            continue
        if child == expected:
            return f"For n = {n} you scored {len(scored)} times: once for each child is enough, and a score costs time."
        if n > 1 and child == written[n - 1]:
            return "That is the last child sampled, whatever its score."
        if n > 1 and child == min(written[:n], key=worth.__getitem__):
            return "That is the worst child: a reward is better the higher it is."
        return f"For n = {n} the best child is {expected}, not {shown(got)}."
    return None


def derive(sample: Callable[[], Any], score: Callable[[Any], float], n: int) -> Any:
    return max([sample() for _ in range(n)], key=score)


EXERCISES = (
    Exercise(
        id="05.1",
        statement=(
            "Write `gpu_hours(children, minutes, gpus)`: what it costs to train so many children from scratch, each "
            "for so many minutes on one GPU, if there are so many GPUs."
        ),
        hints=(
            "A GPU hour is one GPU busy for an hour. Who else is busy meanwhile does not matter.",
            "children * minutes are GPU minutes.",
        ),
        check=check_gpu_hours,
        solution=gpu_hours,
        wrong=(
            (lambda children, minutes, gpus: children * minutes, "GPU minutes"),
            (lambda children, minutes, gpus: children * minutes / 60 / gpus, "on the clock"),
            (lambda children, minutes, gpus: children * minutes / 60 * gpus, "not once on each"),
            (lambda children, minutes, gpus: minutes / 60, "GPU hours, not"),
        ),
    ),
    Exercise(
        id="05.2",
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
        id="05.3",
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
        id="05.4",
        statement=(
            "Write `lr(epoch)`: the learning rate of the shared weights. Cosines from 0.05 to 0.001; the first takes "
            "10 epochs, each next twice as many as the one before; an epoch may be a fraction."
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
            "Write `derive(sample, score, n)`: draw n children with `sample()`, score each once with `score(child)`, "
            "return the best child."
        ),
        hints=("`max` takes a `key`.", "First a list of n children, then `max(children, key=score)`."),
        check=check_derive,
        solution=derive,
        wrong=(
            (lambda sample, score, n: max(score(sample()) for _ in range(n)), "best *score*"),
            (lambda sample, score, n: sorted((sample() for _ in range(n)), key=score), "a list"),
            (lambda sample, score, n: max([sample() for _ in range(n + 1)], key=score), "you sampled"),
            (lambda sample, score, n: [sample() for _ in range(n)][-1], "last child"),
            (lambda sample, score, n: min([sample() for _ in range(n)], key=score), "worst child"),
            (lambda sample, score, n: [sample() for _ in range(n)] and (9, 9), "the best child is"),
            (
                lambda sample, score, n: max([sample() for _ in range(n)], key=lambda c: (score(c), score(c))),
                "once for each",
            ),
        ),
    ),
)
