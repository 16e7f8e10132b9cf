"""Exercises of lesson 11, scaling out."""

import math
from collections.abc import Callable

from naslab.exercises import Exercise, same


def check_slowest(answer: Callable[[int], float]) -> str | None:
    cases = (1, 2, 3, 8, 100)
    got, expected = [answer(n) for n in cases], [slowest(n) for n in cases]
    if same(got, expected):
        return None
    if same(got, [1.0 for _ in cases]):
        return "That is the mean of one child. The update waits for the slowest of n."
    if same(got, [math.log(n) for n in cases]):
        return "The logarithm grows as fast, but it is not exact: for n = 1 the answer is the mean, 1."
    if same(got, [float(n) for n in cases]):
        return "That is the time if the children are trained one after the other. Here they start together."
    k = [same(a, b) for a, b in zip(got, expected, strict=True)].index(False)
    return f"n = {cases[k]}: you get {got[k]:.4f}, expected {expected[k]:.4f}."


def slowest(n: int) -> float:
    return sum(1 / k for k in range(1, n + 1))


def check_saturation(answer: Callable[[float, float, float, int], float]) -> str | None:
    cases = ((100.0, 1.0, 1.0, 1), (100.0, 2.0, 3.0, 5), (3600.0, 0.5, 0.25, 20))
    got, expected = [answer(*case) for case in cases], [saturation(*case) for case in cases]
    if same(got, expected):
        return None
    if same(got, [train * s / (pull + push) for train, pull, push, s in cases]):
        return "A cycle is more than the training: the replica also pulls and pushes."
    if same(got, [(train + pull + push) / (pull + push) for train, pull, push, s in cases]):
        return (
            "Each of S shards holds 1/S of theta, so it serves 1/S of the time. Pull and push in the cycle shrink, too."
        )
    if same(got, [(train + pull + push) * s / (pull + push) for train, pull, push, s in cases]):
        return "The shards work at the same time: in the cycle, too, pull and push take 1/S of the time."
    k = [same(a, b) for a, b in zip(got, expected, strict=True)].index(False)
    train, pull, push, shards = cases[k]
    say = f"train = {train:g}, pull = {pull:g}, push = {push:g}, shards = {shards}"
    return f"{say}: you get {got[k]:.4f}, expected {expected[k]:.4f}."


def saturation(train: float, pull: float, push: float, shards: int) -> float:
    served = (pull + push) / shards
    return (train + served) / served


def check_border(answer: str) -> str | None:
    if answer == "falls":
        return None
    if answer == "stays":
        return (
            "The gradient is right for the theta at which it was computed. When it arrives, theta has moved on, by "
            "`delay` steps of the learning rate. What does that do to a step that was just small enough?"
        )
    if answer == "rises":
        return "Old gradients point to where the policy was. Can one take larger steps with an old map?"
    return 'Answer with "falls", "stays" or "rises".'


def border() -> str:
    return "falls"


def check_safe(answer: Callable[[int], float]) -> str | None:
    cases = (0, 1, 3, 15, 63)
    got, expected = [answer(delay) for delay in cases], [safe(delay) for delay in cases]
    if same(got, expected):
        return None
    if same(got, [2.0 for _ in cases]):
        return "2 is the bound without a delay. Put z = exp(i w) into the equation and let the delay be tau."
    if same(got, [2 / (2 * d + 1) for d in cases]) or same(got, [math.pi / (2 * (2 * d + 1)) for d in cases]):
        return "That is close for long delays. The exact bound has a sine; for delay 0 it must be 2."
    if same(got, [2 * math.sin(math.pi / (2 * d + 1)) for d in cases]):
        return "The smallest frequency w that fits is pi / (2 tau + 1), and the rate is 2 sin(w / 2)."
    k = [same(a, b) for a, b in zip(got, expected, strict=True)].index(False)
    return f"delay = {cases[k]}: you get {got[k]:.5f}, expected {expected[k]:.5f}."


def safe(delay: int) -> float:
    return 2 * math.sin(math.pi / (2 * (2 * delay + 1)))


EXERCISES = (
    Exercise(
        id="11.1",
        statement=(
            "n children start together, and their times are independent and exponential with mean 1. Write "
            "`slowest(n)`: the expected time until all have ended."
        ),
        hints=(
            "While k children train, the next one ends after a time with mean 1 / k, because the exponential "
            "distribution has no memory.",
            "Add up the waiting times for k = n, n - 1, ..., 1.",
        ),
        check=check_slowest,
        solution=slowest,
        wrong=(
            (lambda n: 1.0, "slowest of n"),
            (lambda n: math.log(n), "not exact"),
            (lambda n: float(n), "one after the other"),
            (lambda n: slowest(n) + 1, "expected 1.0000"),
        ),
    ),
    Exercise(
        id="11.2",
        statement=(
            "Nothing varies: training the children of a replica takes `train` seconds, and one shard that held all of "
            "theta would need `pull` and `push` seconds. Write `saturation(train, pull, push, shards)`: the number K* "
            "of replicas from which on the shards are the limit."
        ),
        hints=(
            "In one cycle of a replica each shard works D seconds for it. The cycle itself takes Z seconds if nobody "
            "waits. K replicas ask for K D seconds of work every Z seconds.",
            "The shards are busy all the time if K D = Z. Each shard holds 1 / S of theta: D = (pull + push) / S, and "
            "Z = train + D.",
        ),
        check=check_saturation,
        solution=saturation,
        wrong=(
            (lambda train, pull, push, s: train * s / (pull + push), "also pulls and pushes"),
            (lambda train, pull, push, s: (train + pull + push) / (pull + push), "holds 1/S"),
            (lambda train, pull, push, s: (train + pull + push) * s / (pull + push), "at the same time"),
            (lambda train, pull, push, s: 0.0, "expected 51.0000"),
        ),
    ),
    Exercise(
        id="11.3",
        statement=(
            "Gradients arrive with a delay. What happens to the largest learning rate at which the search still finds "
            'the best policy, if the delay grows: "falls", "stays" or "rises"?'
        ),
        hints=(
            "Think of a shower: the water reacts a few seconds after you turn the tap.",
            "How far does theta move between the moment of a gradient and its arrival?",
        ),
        check=check_border,
        solution=border,
        wrong=(("stays", "moved on"), ("rises", "old map"), ("grows", "Answer with")),
    ),
    Exercise(
        id="11.4",
        statement=(
            "Near a maximum theta's distance e from it follows e(t+1) = e(t) - a e(t - tau). Write `safe(tau)`: the "
            "largest a up to which the distance does not grow."
        ),
        hints=(
            "Put e(t) = z^t: then z^(tau+1) - z^tau + a = 0. At the border the largest |z| is 1. Write z = exp(i w).",
            "a = z^tau (1 - z), so |a| = |1 - z| = 2 sin(w / 2). That a is real and positive fixes the angle: w (tau + "
            "1/2) = pi / 2 for the smallest w.",
        ),
        check=check_safe,
        solution=safe,
        wrong=(
            (lambda tau: 2.0, "without a delay"),
            (lambda tau: 2 / (2 * tau + 1), "has a sine"),
            (lambda tau: 2 * math.sin(math.pi / (2 * tau + 1)), "smallest frequency"),
            (lambda tau: 0.0, "expected 2.00000"),
        ),
    ),
)
