"""Exercises of lesson 02, REINFORCE."""

from collections.abc import Callable, Sequence
from math import exp

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
        if not same(sum(got), 0.0):
            return (
                f"For p = {POLICY} and a = {a} your function gives {got}. Its entries must add up to 0, because adding "
                "the same number to every theta changes no probability."
            )
        return (
            f"For p = {POLICY} and a = {a} your function gives {got}. Check it with the lemma: the sum over all "
            "options of p_a times the score of a must be 0."
        )
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
        if same(got, [-g for g in expected]):
            return f"With b = {b} every sign is reversed. Write the sum itself, without the minus sign of the estimate."
        return f"With b = {b} you get {got}, not {expected}. Multiply the score of option a by its own b_a."
    return None


def baseline_term(p: Numbers, b: Numbers) -> list[float]:
    return [sum(p_a * ((1.0 if i == a else 0.0) - p[i]) * b[a] for a, p_a in enumerate(p)) for i in range(len(p))]


def check_best_baseline(answer: Callable[[np.ndarray, np.ndarray], float]) -> str | None:
    for p, rewards in (((0.9, 0.1), (1.0, 0.0)), (POLICY, REWARDS), ((0.7, 0.2, 0.1), (0.2, 0.9, 0.4))):
        got, expected = answer(np.array(p), np.array(rewards)), best_baseline(p, rewards)
        if same(got, expected):
            continue
        if same(got, sum(a * r for a, r in zip(p, rewards, strict=True))):
            return (
                f"For p = {p} you get the expected reward, {got:.3g}. It does not have the least variance: a rare "
                "option has a long score, so its term in V(b) weighs more than its probability."
            )
        if same(got, sum(rewards) / len(rewards)):
            return "That is the plain mean of the rewards: it ignores the probabilities."
        if len(p) == 2:
            return (
                f"For p = {p} and R = {rewards} you get {got:.4f}. Write V(b) as a sum of two terms; which b is best?"
            )
        return f"For p = {p} and R = {rewards} you get {got:.4f}; the variance is least at {expected:.4f}."
    return None


def best_baseline(p: Numbers, rewards: Numbers) -> float:
    pull = [p_a * sum(((1.0 if i == a else 0.0) - p_i) ** 2 for i, p_i in enumerate(p)) for a, p_a in enumerate(p)]
    return sum(w * r for w, r in zip(pull, rewards, strict=True)) / sum(pull)


def check_baselines(answer: Callable[[Numbers, float], list[float]]) -> str | None:
    rewards = [0.5, 0.9, 0.1, 0.4]
    for decay in (0.9, 0.5):
        got, expected = answer(rewards, decay), baselines(rewards, decay)
        if same(got, expected):
            continue
        if same(got, baselines([*rewards, 0.0], decay)[1:]):
            return "These are the averages after each update; the one that is used has not seen the current rewards."
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


def check_factor(answer: Callable[[int], float]) -> str | None:
    if same(answer(2), 1.0):
        return "The mean contains R_k itself, and R_k depends on the string whose score it multiplies."
    for m in (1, 2, 3, 10):
        got, expected = answer(m), factor(m)
        if same(got, expected):
            continue
        if m == 1:
            return f"For m = 1 you get {got:.4g}. The mean of one reward is that reward: what is left of R - b?"
        return f"For m = {m} you get {got:.4g}. Which share of the mean is R_k's own? E[g_k R_j] is 0 for j != k."
    return None


def factor(m: int) -> float:
    return 1 - 1 / m


def check_best_policy(answer: Callable[[np.ndarray, float], list[float]]) -> str | None:
    rewards = (0.9, 0.8, 0.4)
    for beta in (0.1, 1.0, 0.3):
        got, expected = answer(np.array(rewards), beta), best_policy(rewards, beta)
        if len(got) != 3:
            return f"Got {len(got)} numbers; a policy has one probability for each option, here 3."
        if same(got, expected):
            continue
        if not same(sum(got), 1.0):
            return f"For beta = {beta} your probabilities add up to {sum(got):.4g}. Use the Lagrange multiplier."
        if same(got, [1.0, 0.0, 0.0]):
            return "That maximises J alone. Near p = 0 the slope of -p log p is infinite: every p must be positive."
        if same(got, best_policy(rewards, 1 / beta)):
            return f"For beta = {beta} you multiply R by beta. Set the derivative of J + beta H to a constant again."
        if same(got, best_policy(rewards, 1.0)):
            return f"For beta = {beta} you get the softmax of R. A larger beta must bring the p closer together."
        return f"For beta = {beta} and R = {rewards} you get {got}; the first probability is {expected[0]:.4f}."
    return None


def best_policy(rewards: Numbers, beta: float) -> list[float]:
    weights = [exp((r - max(rewards)) / beta) for r in rewards]
    return [w / sum(weights) for w in weights]


EXERCISES = (
    Exercise(
        id="02.1",
        statement=(
            "Write `score(p, a)`: the gradient of log p_a with respect to theta, as a list. p is a softmax of theta."
        ),
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
            (lambda p, a: [1.0 * (i == a) - 1 / len(p) for i in range(len(p))], "Check it with the lemma"),
        ),
    ),
    Exercise(
        id="02.2",
        statement=(
            "Write `baseline_term(p, b)`: the sum over a of p_a grad log p_a b_a, for the softmax, as a list. Here "
            "every option a has a baseline b_a of its own. The sum is 0 only if all b_a are equal."
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
            (lambda p, b: [-g for g in baseline_term(p, b)], "without the minus sign"),
            (lambda p, b: [2 * g for g in baseline_term(p, b)], "its own b_a"),
        ),
    ),
    Exercise(
        id="02.3",
        statement=(
            "Write `best_baseline(p, R)`: the constant baseline with the least variance for a softmax policy. For two "
            "options it is p_2 R_1 + p_1 R_2, the expected reward with the probabilities exchanged."
        ),
        hints=(
            "V(b) = E[|g|^2 (R - b)^2] - |grad J|^2, with g your `score(p, a)`. The last term does not contain b.",
            "Set the derivative with respect to b to 0: E[|g|^2 (R - b)] = 0. Solve for b.",
            "It is a mean of the rewards with the weights p_a |g_a|^2, divided by the sum of the weights.",
        ),
        check=check_best_baseline,
        solution=best_baseline,
        wrong=(
            (lambda p, R: sum(a * r for a, r in zip(p, R, strict=True)), "expected reward"),
            (lambda p, R: sum(R) / len(R), "plain mean"),
            (lambda p, R: max(R), "sum of two terms"),
            (lambda p, R: p[1] * R[0] + p[0] * R[1], "variance is least at"),
        ),
    ),
    Exercise(
        id="02.4",
        statement=(
            "Write `baselines(rewards, decay)`: the baselines used, one per update, for a list of mean rewards. "
            "The first is 0, the second the first mean, then an exponential moving average."
        ),
        hints=(
            "Append the current average to the list *before* you update it with the current reward.",
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
    Exercise(
        id="02.5",
        statement=(
            "Write `factor(m)`: the number c with E[estimate] = c grad J, if the baseline is the mean of the m rewards "
            "of the current batch."
        ),
        hints=(
            "Write R_k - b as a sum over the rewards R_1 ... R_m, and take the expectation with g_k of each term.",
            "For j != k the draws are independent, so E[g_k R_j] = E[g_k] E[R_j], and the mean score is 0.",
            "What is left is the part of R_k - b that contains R_k: R_k minus one m-th of it.",
        ),
        check=check_factor,
        solution=factor,
        wrong=(
            (lambda m: 1.0, "contains R_k itself"),
            (lambda m: 1 / m, "mean of one reward"),
            (lambda m: (m - 1) / (m + 1), "R_k's own"),
        ),
    ),
    Exercise(
        id="02.6",
        statement=(
            "Write `best_policy(R, beta)`: the probabilities p that maximise sum_a p_a R_a + beta H(p), as a list."
        ),
        hints=(
            "The p_a must add up to 1. Add lambda (1 - sum_a p_a), and differentiate with respect to p_a.",
            "R_a - beta (log p_a + 1) = lambda for every a. Solve for p_a; lambda follows from the sum.",
            "p_a is proportional to exp(R_a / beta).",
        ),
        check=check_best_policy,
        solution=best_policy,
        wrong=(
            (lambda R, beta: [1.0 * (r == max(R)) for r in R], "slope"),
            (lambda R, beta: np.exp(R / beta), "add up to"),
            (lambda R, beta: best_policy(R, 1.0), "softmax of R"),
            (lambda R, beta: best_policy(R, 1 / beta), "multiply R by beta"),
            (lambda R, beta: [1 / len(R)] * len(R), "the first probability is"),
            (lambda R, beta: [1.0], "one probability for each option"),
        ),
    ),
)
