"""Exercises of lesson 08, the bilevel problem."""

from collections.abc import Callable
from math import ceil, log, log2, log10
from numbers import Real

import torch
from torch import Tensor

from naslab.exercises import Exercise, same, shown


def check_at_trained(answer: Callable[[float, float], float]) -> str | None:
    for alpha, xi in ((1.5, 0.25), (-1.0, 0.5), (3.0, 0.0), (0.4, 1.0)):
        got, expected = answer(alpha, xi), at_trained(alpha, xi)
        if same(got, expected):
            continue
        where = f"For alpha = {alpha:g}, xi = {xi:g}"
        if same(got, alpha - 2):
            return (
                f"{where}: that is the direct part alone, as the paper has it. At w = alpha the training slope is 0, "
                "so w' = w. But how does w' change if alpha changes?"
            )
        if same(got, 2 * alpha - 2):
            return f"{where}: that is the hypergradient. Equation 7 reaches it for one xi only."
        if same(got, alpha - 2 - 2 * xi * alpha):
            return f"{where}: the sign. The mixed derivative of the training loss is -2, and eq. 7 has a minus, too."
        if same(got, alpha - 2 + xi * alpha):
            return f"{where}: a factor of 2. The mixed derivative of w^2 - 2 alpha w + alpha^2 is -2."
        if same(got, 2 * xi * alpha):
            return f"{where}: that is the second term. alpha also enters directly."
        return f"{where} equation 7 gives {expected:.6g}, not {got:.6g}."
    return None


def at_trained(alpha: float, xi: float) -> float:
    return (alpha - 2) - xi * (-2) * alpha


def check_at_rest(answer: Callable[[float, float, float], float]) -> str | None:
    for xi, c, h in ((0.0, 2.0, 2.0), (0.2, 3.0, 2.0), (0.5, 2.0, 2.0), (0.1, 2.0, 5.0), (1.0, 1.0, 3.0)):
        got, expected = answer(xi, c, h), at_rest(xi, c, h)
        if same(got, expected):
            continue
        where = f"For xi = {xi:g}, c = {c:g}, h = {h:g}"
        if same(got, c):
            return f"{where}: {got:g} is where first order rests. The second term adds xi h alpha to the gradient."
        if same(got, c / 2):
            return f"{where}: {got:g} is the bilevel optimum, which algorithm 1 only finds for one xi."
        if xi * h != 1 and same(got, c / (1 - xi * h)):
            return f"{where}: the sign. The mixed derivative of the training loss is -h, and eq. 7 has a minus too."
        if same(got, c * (1 - xi * h)):
            return f"{where}: that is the first term of a series in xi h. Solve c = alpha + xi h alpha for alpha."
        if same(got, c / (1 + 2 * xi)):
            return f"{where}: that is right for the curvature h = 2 only."
        if same(got, c / (1 + xi)):
            return f"{where}: the curvature h is missing: d2 L_train / d alpha d w = -h."
        return f"{where} it rests at alpha = {expected:.6g}, not {got:.6g}."
    return None


def at_rest(xi: float, c: float, h: float) -> float:
    return c / (1 + xi * h)


def check_best_radius(answer: Callable[[float, float], float]) -> str | None:
    for a, b in ((1.0, 2.0), (40.0, 1e-15), (3.0, 0.5), (0.2, 1e-7)):
        got, expected = answer(a, b), best_radius(a, b)
        if abs(got - expected) <= 1e-4 * expected:
            continue
        where = f"For a = {a:g}, b = {b:g}"
        if abs(got - (b / a) ** (1 / 3)) <= 1e-4 * expected:
            return (
                f"{where}: there both errors are equal. Their sum is least where its derivative 2 a r - b / r^2 is 0."
            )
        if abs(got - (b / a) ** 0.5) <= 1e-4 * got or abs(got - (b / (2 * a)) ** 0.5) <= 1e-4 * got:
            return f"{where}: a square root belongs to a r + b / r, the errors of a one-sided difference."
        if abs(got - b / (2 * a)) <= 1e-4 * got:
            return f"{where}: that is r^3. Take the cube root."
        if got > 0:
            total, least = (a * r**2 + b / r for r in (got, expected))
            return f"{where}: radius {got:.4g} has the error {total:.4g}, but radius {expected:.4g} has {least:.4g}."
        return f"{where}: a radius is positive; yours is {got:.4g}."
    return None


def best_radius(a: float, b: float) -> float:
    return (b / (2 * a)) ** (1 / 3)


def check_bits(answer: Callable[[int, int, int], float]) -> str | None:
    for n, d, steps in ((9, 10, 200), (1, 2, 50), (49, 50, 1000), (2, 3, 1)):
        got, expected = answer(n, d, steps), bits(n, d, steps)
        if abs(got - expected) <= 0.01 * expected or got in (ceil(expected), round(expected)):
            continue
        where = f"For {steps} steps with {n}/{d}"
        for wrong, words in (
            (steps * log2(d), f"that keeps a whole remainder, one of {d}, in each step. Its digits are used again"),
            (steps * log(d / n), "that is in nats. Bits are logarithms to base 2"),
            (steps * log10(d / n), "that is in decimal digits. Bits are logarithms to base 2"),
            (steps * d / n, "that counts the integers that become one. A bit tells two of them apart"),
            (steps * (1 - n / d), "that is the share that is lost. How many bits tell d / n things apart"),
            (-expected, "the sign"),
            (log2(d / n), "that is one step"),
            (64 * steps, "that stores the path"),
        ):
            if abs(got - wrong) <= 1e-4 * abs(wrong):
                return f"{where}: {words}."
        return f"{where} the buffer needs {expected:.4g} bits, not {got:.4g}."
    return None


def bits(n: int, d: int, steps: int) -> float:
    return steps * log2(d / n)


def check_decay_gradient(answer: Callable[..., float]) -> str | None:
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        w, g_w, root = (torch.randn(n, generator=generator, dtype=torch.float64) for n in ((4,), (4,), (4, 4)))
        H = root @ root.T + torch.eye(4, dtype=torch.float64)
        got, expected = answer(w, g_w, H), decay_gradient(w, g_w, H)
        if not isinstance(got, Real) and (not isinstance(got, Tensor) or got.ndim):
            return f"rho is one number, so its gradient is one number, not {shown(got)}."
        got = float(got)
        if same(got, expected):
            continue
        if same(got, -expected):
            return "The sign: dw*/drho = *minus* the inverse of H times the mixed derivative."
        for wrong, words in (
            (-(w @ H @ g_w), "You multiply by H. The steeper the valley, the *less* w* moves: it takes the inverse."),
            (-(w @ g_w), "H is missing: that is one step with xi = 1."),
            (-(w @ (g_w / H.diagonal())), "That divides by the diagonal only. `torch.linalg.solve(H, g_w)`."),
            (torch.tensor(expected / 2), "A factor of 2: the derivative of rho / 2 |w|^2 in w is rho w."),
            (torch.tensor(2 * expected), "A factor of 2: the derivative of rho / 2 |w|^2 in w is rho w."),
            (w @ w / 2 + expected, "L_val does not contain rho, so there is no direct part."),
        ):
            if same(got, wrong.item()):
                return words
        return f"Got {got:.6g}, expected {expected:.6g}."
    return None


def decay_gradient(w: Tensor, g_w: Tensor, H: Tensor) -> float:
    return -(w @ torch.linalg.solve(H, g_w)).item()


def check_steps_needed(answer: Callable[[float, float, float], int | None]) -> str | None:
    for lr, h, rest in ((0.5, 0.2, 0.01), (1.8, 1.0, 0.01), (0.5, 2.0, 0.01), (1.0, 2.0, 0.1), (0.5, 5.0, 0.1)):
        got, expected = answer(lr, h, rest), steps_needed(lr, h, rest)
        factor = 1 - lr * h
        if got == expected:
            continue
        where = f"lr = {lr:g}, h = {h:g}, rest = {rest:g}: a step multiplies what is missing by {factor:.3g}."
        if expected is None:
            return f"{where} That never becomes small. Return None."
        if got is None:
            return f"{where} That becomes small: it is the size that counts, not the sign."
        if got < 0:
            return f"{where} A number of steps is not negative: you have {got}."
        if got == 0 or (factor and got == expected - 1):
            return f"{where} After {got} steps {abs(factor) ** got:.3g} is missing, more than allowed."
        if got > expected:
            return f"{where} {expected} steps will do; you have {got}."
        return f"{where} It takes {expected} steps, not {got}."
    return None


def steps_needed(lr: float, h: float, rest: float) -> int | None:
    factor = abs(1 - lr * h)
    if factor >= 1:
        return None
    return ceil(log(rest) / log(factor)) if factor else 1


EXERCISES = (
    Exercise(
        id="08.1",
        statement=(
            "Write `at_trained(alpha, xi)`: equation 7 of the toy, L_val = alpha w - 2 alpha + 1 and L_train = w^2 - 2 "
            "alpha w + alpha^2, at the trained weight w = alpha."
        ),
        hints=(
            "At w = alpha the training slope is 0, so w' = w = alpha. Put this into both first derivatives.",
            "The second derivative of L_train in alpha and w does not depend on where w is.",
            "dL_val/dalpha = w' - 2, d2 L_train/dalpha dw = -2, dL_val/dw' = alpha.",
        ),
        check=check_at_trained,
        solution=at_trained,
        wrong=(
            (lambda alpha, xi: alpha - 2, "as the paper has it"),
            (lambda alpha, xi: 2 * alpha - 2, "the hypergradient"),
            (lambda alpha, xi: alpha - 2 - 2 * xi * alpha, "the sign"),
            (lambda alpha, xi: alpha - 2 + xi * alpha, "a factor of 2"),
            (lambda alpha, xi: 2 * xi * alpha, "the second term"),
            (lambda alpha, xi: 0.0, "equation 7 gives"),
        ),
    ),
    Exercise(
        id="08.2",
        statement=(
            "Write `at_rest(xi, c, h)`: the alpha at which algorithm 1 comes to rest if L_val = alpha w - c alpha and "
            "L_train = h/2 (w - alpha)^2."
        ),
        hints=(
            "Where does the step of w rest? There w' = w as well.",
            "Equation 7: (w' - c) - xi * (-h) * alpha. Set it to 0.",
        ),
        check=check_at_rest,
        solution=at_rest,
        wrong=(
            (lambda xi, c, h: c, "first order rests"),
            (lambda xi, c, h: c / 2, "only finds for one xi"),
            (lambda xi, c, h: c / (1 - xi * h), "the sign"),
            (lambda xi, c, h: c / (1 + 2 * xi), "h = 2 only"),
            (lambda xi, c, h: c / (1 + xi), "h is missing"),
            (lambda xi, c, h: c - xi * h, "it rests at"),
            (lambda xi, c, h: c * (1 - xi * h), "first term of a series"),
        ),
    ),
    Exercise(
        id="08.3",
        statement="Write `best_radius(a, b)`: the radius r > 0 for which a r^2 + b / r is smallest, for a, b > 0.",
        hints=(
            "Where is the derivative of the sum 0?",
            "2 a r = b / r^2. Solve for r.",
        ),
        check=check_best_radius,
        solution=best_radius,
        wrong=(
            (lambda a, b: (b / a) ** (1 / 3), "both errors are equal"),
            (lambda a, b: (b / a) ** 0.5, "one-sided difference"),
            (lambda a, b: (b / (2 * a)) ** 0.5, "one-sided difference"),
            (lambda a, b: b / (2 * a), "cube root"),
            (lambda a, b: 0.01, "has the error"),
            (lambda a, b: -((b / (2 * a)) ** (1 / 3)), "a radius is positive"),
        ),
    ),
    Exercise(
        id="08.4",
        statement=(
            "Write `bits(n, d, steps)`: how many bits for each weight are forgotten, on average, by so many "
            "multiplications of an integer by n/d < 1."
        ),
        hints=(
            "How many integers become one? To undo the step you must know which of them it was.",
            "To tell d / n things apart takes log2(d / n) bits.",
        ),
        check=check_bits,
        solution=bits,
        wrong=(
            (lambda n, d, steps: steps * log2(d), "a whole remainder"),
            (lambda n, d, steps: steps * log(d / n), "in nats"),
            (lambda n, d, steps: steps * log10(d / n), "decimal digits"),
            (lambda n, d, steps: steps * d / n, "tells two of them apart"),
            (lambda n, d, steps: steps * (1 - n / d), "the share that is lost"),
            (lambda n, d, steps: steps * log2(n / d), "the sign"),
            (lambda n, d, steps: log2(d / n), "that is one step"),
            (lambda n, d, steps: 64 * steps, "stores the path"),
            (lambda n, d, steps: steps, "the buffer needs"),
        ),
    ),
    Exercise(
        id="08.5",
        statement=(
            "Write `decay_gradient(w, g_w, H)`: the derivative of L_val(w*(rho)) in rho, where w*(rho) minimises "
            "L_train = L_0(w) + rho/2 |w|^2. `w` (W,) is w*, `g_w` (W,) is the gradient of L_val there, and `H` (W, W) "
            "has the second derivatives of L_train in w."
        ),
        hints=(
            "What is the mixed second derivative of rho/2 |w|^2, first in w, then in rho?",
            "It is w. There is no direct part, since L_val does not contain rho.",
            "Put both into the formula of section 10. `torch.linalg.solve(H, g_w)` solves H q = g_w.",
        ),
        check=check_decay_gradient,
        solution=decay_gradient,
        form=Tensor,
        wrong=(
            (lambda w, g_w, H: w @ torch.linalg.solve(H, g_w), "*minus*"),
            (lambda w, g_w, H: -w @ H @ g_w, "multiply by H"),
            (lambda w, g_w, H: -w @ g_w, "H is missing"),
            (lambda w, g_w, H: -w @ (g_w / H.diagonal()), "diagonal only"),
            (lambda w, g_w, H: -2 * w @ torch.linalg.solve(H, g_w), "A factor of 2"),
            (lambda w, g_w, H: -w @ torch.linalg.solve(H, g_w) / 2, "A factor of 2"),
            (lambda w, g_w, H: w @ w / 2 - w @ torch.linalg.solve(H, g_w), "no direct part"),
            (lambda w, g_w, H: -torch.linalg.solve(H, g_w), "one number"),
            (lambda w, g_w, H: 0.5, "expected"),
        ),
    ),
    Exercise(
        id="08.6",
        statement=(
            "Write `steps_needed(lr, h, rest)`: for a curvature h > 0, unrolling k steps of size lr replaces "
            "1/h by S_k = lr * sum of (1 - lr h)^i over i < k. Return the least k with |1/h - S_k| <= rest / h, where "
            "0 < rest < 1, or `None` if there is no such k."
        ),
        hints=(
            "Sum the series: 1/h - S_k = (1 - lr * h)**k / h. Its sign does not count.",
            "|1 - lr h|^k <= rest. Take logarithms, mind that both are negative, and round up.",
            "When does the power never become small? And what if 1 - lr * h is 0?",
        ),
        check=check_steps_needed,
        solution=steps_needed,
        wrong=(
            (lambda lr, h, rest: ceil(log(rest) / log(1 - lr * h)) if 0 < lr * h < 1 else None, "not the sign"),
            (
                lambda lr, h, rest: (
                    None if abs(1 - lr * h) >= 1 else int(log(rest) / log(abs(1 - lr * h))) if abs(1 - lr * h) else 1
                ),
                "is missing, more than allowed",
            ),
            (
                lambda lr, h, rest: ceil(log(rest) / log(abs(1 - lr * h))) if abs(1 - lr * h) not in (0, 1) else 1,
                "Return None",
            ),
            (lambda lr, h, rest: ceil(1 / (rest * lr * h)) + 1, "will do"),
            (lambda lr, h, rest: 3, "It takes"),
        ),
    ),
)
