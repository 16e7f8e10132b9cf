"""Exercises of lesson 02, REINFORCE."""

from collections.abc import Callable, Sequence

import numpy as np

from naslab.exercises import Exercise, same

Numbers = Sequence[float]
POLICY, REWARDS = (0.5, 0.3, 0.2), (1.0, 0.0, 0.5)  # answers get them as arrays


def check_score(answer: Callable[[np.ndarray, int], list[float]]) -> str | None:
    for a in range(3):
        got, expected = answer(np.array(POLICY), a), score(POLICY, a)
        if same(got, expected):
            continue
        if same(got, [1.0 * (i == a) for i in range(3)]):
            return "Right for the option itself, but every theta enters the normalising sum, too: differentiate it."
        if same(got, [-g for g in expected]):
            return "The sign is reversed: raising theta_a must raise log p_a."
        if same(got, [POLICY[a] * g for g in expected]):
            return "This is the gradient of p_a. The gradient of its logarithm is that divided by p_a."
        return f"For p = {POLICY} and a = {a} your function gives {got}. Its entries must add up to 0: do they?"
    return None


def score(p: Numbers, a: int) -> list[float]:
    return [(1.0 if i == a else 0.0) - p_i for i, p_i in enumerate(p)]


def check_baseline_term(answer: Callable[[np.ndarray, np.ndarray], list[float]]) -> str | None:
    for b in ([1.0] * 3, [-4.0] * 3, [1.0, -2.0, 0.5], [0.0, 0.0, 3.0]):
        got, expected = answer(np.array(POLICY), np.array(b)), baseline_term(POLICY, b)
        if len(got) != 3:
            return f"Got {len(got)} numbers; the gradient has one for each theta, here 3."
        if same(got, expected):
            continue
        if len({*b}) == 1:
            return f"With b = {b} you get {got}. What is the gradient of the sum of all p_a, which is always 1?"
        if same(got, [0.0] * 3):
            return f"With b = {b} you get 0. The sum is 0 if all options share one baseline; here they do not."
        return f"With b = {b} you get {got}, not {expected}. Multiply the score of option a by its own b_a."
    return None


def baseline_term(p: Numbers, b: Numbers) -> list[float]:
    return [sum(p_a * ((1.0 if i == a else 0.0) - p[i]) * b[a] for a, p_a in enumerate(p)) for i in range(len(p))]


def check_best_baseline(answer: Callable[[np.ndarray, np.ndarray], float]) -> str | None:
    for p, rewards in ((POLICY, REWARDS), ((0.7, 0.2, 0.1), (0.2, 0.9, 0.4))):
        got, expected = answer(np.array(p), np.array(rewards)), best_baseline(p, rewards)
        if same(got, expected):
            continue
        if same(got, sum(a * r for a, r in zip(p, rewards, strict=True))):
            return (
                "That is the expected reward, a good baseline. The best one also weights each option by |grad log p|^2."
            )
        if same(got, sum(rewards) / 3):
            return "That is the plain mean of the rewards: it forgets how often each option is drawn."
        return f"For p = {p} and R = {rewards} you get {got:.4f}; the variance is least at {expected:.4f}."
    return None


def best_baseline(p: Numbers, rewards: Numbers) -> float:
    pull = [p_a * sum(((1.0 if i == a else 0.0) - p_i) ** 2 for i, p_i in enumerate(p)) for a, p_a in enumerate(p)]
    return sum(w * r for w, r in zip(pull, rewards, strict=True)) / sum(pull)


def check_baselines(answer: Callable[[Numbers, float], Numbers]) -> str | None:
    rewards = [0.5, 0.9, 0.1, 0.4]
    for decay in (0.9, 0.5):
        got, expected = answer(rewards, decay), baselines(rewards, decay)
        if same(got, expected):
            continue
        if same(got, baselines([*rewards, 0.0], decay)[1:]):
            return "These are the averages after each update; the one that is used has not seen the present rewards."
        if len(got) != 4:
            return f"Got {len(got)} numbers for 4 updates."
        return f"For {rewards} and decay {decay} you get {got}; the third baseline used is {expected[2]:.3f}."
    return None


def baselines(rewards: Numbers, decay: float) -> list[float]:
    used, b = [0.0], rewards[0]
    for r in rewards[1:]:
        used.append(b)
        b = decay * b + (1 - decay) * r
    return used


EXERCISES = (
    Exercise(
        id="02.1",
        statement="Write `score(p, a)`: the gradient of log p_a by theta, for p a softmax of theta, as a list.",
        hints=(
            "log p_a = theta_a - log sum_j exp(theta_j). Differentiate each term with respect to theta_i.",
            "The second term's derivative is exp(theta_i) / sum_j exp(theta_j), which has a name.",
        ),
        check=check_score,
        solution=score,
        wrong=(
            (lambda p, a: [1.0 * (i == a) for i in range(len(p))], "normalising sum"),
            (lambda p, a: [p_i - (i == a) for i, p_i in enumerate(p)], "sign is reversed"),
            (lambda p, a: [p[a] * ((i == a) - p_i) for i, p_i in enumerate(p)], "gradient of p_a"),
            (lambda p, a: [1 / p_i for p_i in p], "add up to 0"),
        ),
    ),
    Exercise(
        id="02.2",
        statement=(
            "Write `baseline_term(p, b)`: the sum over a of p_a grad log p_a b_a, for the softmax, as a list. Here "
            "every option a has a baseline b_a of its own."
        ),
        hints=(
            "Use your `score(p, a)` of exercise 02.1.",
            "For each theta_i: add up p[a] * score(p, a)[i] * b[a] over the options a.",
        ),
        check=check_baseline_term,
        solution=baseline_term,
        wrong=(
            (lambda p, b: 0.0 * b, "if all options share one baseline"),
            (lambda p, b: [0] * len(p), "if all options share one baseline"),
            (lambda p, b: baseline_term(p, [1.0] * len(p)), "if all options share one baseline"),
            (lambda p, b: [0.0], "one for each theta"),
            (lambda p, b: p * b, "always 1"),
            (lambda p, b: [-g for g in baseline_term(p, b)], "its own b_a"),
        ),
    ),
    Exercise(
        id="02.3",
        statement="Write `best_baseline(p, R)`: the constant baseline with the least variance for a softmax policy.",
        hints=(
            "Section 5 has the formula: an average of the rewards with weights p_a |grad log p_a|^2.",
            "|grad log p_a|^2 is the sum of the squares of `score(p, a)`.",
        ),
        check=check_best_baseline,
        solution=best_baseline,
        wrong=(
            (lambda p, R: sum(a * r for a, r in zip(p, R, strict=True)), "expected reward"),
            (lambda p, R: sum(R) / len(R), "plain mean"),
            (lambda p, R: max(R), "variance is least at"),
        ),
    ),
    Exercise(
        id="02.4",
        statement=(
            "Write `baselines(rewards, decay)`: the baselines used, one per update, for a list of mean rewards. "
            "The first is 0, the second the first mean, then an exponential moving average."
        ),
        hints=(
            "Append the present average to the list *before* you update it with the present reward.",
            "The first reward becomes the average itself; from then on b = decay * b + (1 - decay) * r.",
        ),
        check=check_baselines,
        solution=baselines,
        wrong=(
            (lambda rewards, decay: baselines([*rewards, 0.0], decay)[1:], "averages after each update"),
            (lambda rewards, decay: baselines(rewards, decay)[1:], "Got 3 numbers"),
            (lambda rewards, decay: baselines(rewards, 1 - decay), "third baseline"),
        ),
    ),
)
