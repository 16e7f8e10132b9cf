"""Exercises of lesson 08, the bilevel problem."""

from collections.abc import Callable
from math import ceil, log

import torch
from torch import Tensor

from naslab.exercises import Exercise, same


def tensors(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns random g_alpha (3,), g_w (4,), mixed (3, 4) and a positive definite H (4, 4)."""
    generator = torch.Generator().manual_seed(seed)
    g_alpha, g_w, mixed, root = (
        torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((3,), (4,), (3, 4), (4, 4))
    )
    return g_alpha, g_w, mixed, root @ root.T + torch.eye(4, dtype=torch.float64)


def check_second_order(answer: Callable[..., Tensor]) -> str | None:
    for seed, xi in ((0, 0.5), (1, 0.025), (2, 0.0), (3, 2.0)):
        g_alpha, g_w, mixed, _ = tensors(seed)
        got, through = answer(g_alpha, g_w, mixed, xi), mixed @ g_w
        if got.shape != g_alpha.shape:
            return f"The gradient has a number for each alpha, shape {(*g_alpha.shape,)}; yours has {(*got.shape,)}."
        if same(got, g_alpha - xi * through):
            continue
        if same(got, g_alpha + xi * through):
            return "The sign: w' = w - xi * (...), so what comes through w' comes with a minus."
        if same(got, g_alpha - through):
            return "xi is missing: the step that you differentiate through is xi times the gradient."
        if same(got, -xi * through):
            return "That is the second term alone. alpha also enters directly: g_alpha."
        if same(got, g_alpha):
            return "That is first order, as if w' did not depend on alpha."
        return f"For xi = {xi} the gradient is {(g_alpha - xi * through).tolist()}, not {got.tolist()}."
    return None


def second_order(g_alpha: Tensor, g_w: Tensor, mixed: Tensor, xi: float) -> Tensor:
    return g_alpha - xi * mixed @ g_w


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


def check_finite_difference(answer: Callable[..., Tensor]) -> str | None:
    generator = torch.Generator().manual_seed(0)
    A, B = (torch.randn(3, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    for length, radius in ((1.0, 0.01), (20.0, 0.01), (0.3, 0.1)):
        w, v = (torch.randn(4, generator=generator, dtype=torch.float64) for _ in range(2))
        v = length * v / v.norm()
        asked: list[Tensor] = []

        def G(at: Tensor, asked: list[Tensor] = asked) -> Tensor:
            asked.append(at.detach().clone())
            return A @ at + B @ at.square() + at.pow(3).sum()

        before = w.clone()
        expected = finite_difference(G, w, v, radius)
        asked.clear()
        got = answer(G, w, v.clone(), radius)
        eps = radius / length
        if not same(w, before):
            return "The weights are not where they were. Move a copy of them, or put them back."
        if same(got, expected):
            continue
        if same(got, eps**2 * expected):
            return "You multiply by epsilon. It is to be *divided* by: yours is wrong by the factor epsilon squared."
        if same(got, eps * expected):
            return "Divide by epsilon: the difference of two gradients is about 2 * epsilon times what we want."
        if same(got, 2 * expected):
            return "A factor of 2: w+ and w- are 2 * epsilon apart."
        if same(got, -expected):
            return "The sign: it is the gradient at w+ minus that at w-."
        distances = sorted({round((at - w).norm().item(), 9) for at in asked})
        if distances and any(d == round(radius * length, 9) for d in distances) and length != 1:
            return (
                f"You moved w by {radius * length:.3g}, that is, epsilon = radius. Divide the radius by the length of "
                "v, so that w moves by `radius`, however long v is."
            )
        if {*distances} == {0.0}:
            return (
                "You evaluate G at w alone: that is the exact derivative, or none. Equation 8 is a difference of two "
                "gradients, at w+ and at w-."
            )
        if 0.0 in distances:
            return "That is a one-sided difference: its error goes with epsilon. Go to both sides of w."
        return f"For v of length {length:g} and radius {radius:g}: got {got.tolist()}, expected {expected.tolist()}."
    return None


def finite_difference(G: Callable[[Tensor], Tensor], w: Tensor, v: Tensor, radius: float) -> Tensor:
    eps = radius / v.norm()
    return (G(w + eps * v) - G(w - eps * v)) / (2 * eps)


def check_implicit(answer: Callable[..., Tensor]) -> str | None:
    for seed in range(3):
        g_alpha, g_w, mixed, H = tensors(seed)
        got, expected = answer(g_alpha, g_w, mixed, H), implicit(g_alpha, g_w, mixed, H)
        if got.shape != g_alpha.shape:
            return f"The gradient has a number for each alpha, shape {(*g_alpha.shape,)}; yours has {(*got.shape,)}."
        if same(got, expected):
            continue
        if same(got, 2 * g_alpha - expected):
            return "The sign: dw*/dalpha = *minus* the inverse of H times the mixed derivative."
        if same(got, g_alpha - mixed @ H @ g_w):
            return "You multiply by H. The steeper the valley, the *less* w* moves: it takes the inverse."
        if same(got, g_alpha - mixed @ g_w):
            return "H is missing: that is equation 7 with xi = 1."
        if same(got, expected - g_alpha):
            return "That is what comes through w*. alpha also enters directly: g_alpha."
        if same(got, g_alpha - mixed @ (g_w / H.diagonal())):
            return "That divides by the diagonal only; H has other entries. `torch.linalg.solve(H, g_w)`."
        return f"Got {got.tolist()}, expected {expected.tolist()}."
    return None


def implicit(g_alpha: Tensor, g_w: Tensor, mixed: Tensor, H: Tensor) -> Tensor:
    return g_alpha - mixed @ torch.linalg.solve(H, g_w)


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
            "Write `second_order(g_alpha, g_w, mixed, xi)`: equation 7. `g_alpha` (A,) and `g_w` (W,) are the "
            "gradients of the validation loss at w', `mixed` (A, W) is the second derivative of the training loss."
        ),
        hints=(
            "Two terms: what alpha does directly, and what it does through w'.",
            "w' = w - xi * (gradient of the training loss). Which sign has its derivative?",
            "(A, W) times (W,) is (A,): `mixed @ g_w`.",
        ),
        check=check_second_order,
        solution=second_order,
        wrong=(
            (lambda g_alpha, g_w, mixed, xi: g_alpha + xi * mixed @ g_w, "with a minus"),
            (lambda g_alpha, g_w, mixed, xi: g_alpha - mixed @ g_w, "xi is missing"),
            (lambda g_alpha, g_w, mixed, xi: -xi * mixed @ g_w, "second term alone"),
            (lambda g_alpha, g_w, mixed, xi: g_alpha, "first order"),
            (lambda g_alpha, g_w, mixed, xi: g_w - xi * mixed.T @ g_alpha, "a number for each alpha"),
            (lambda g_alpha, g_w, mixed, xi: g_alpha - xi**2 * mixed @ g_w, "the gradient is"),
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
        statement=(
            "Write `finite_difference(G, w, v, radius)`: equation 8 for the mixed second derivative times `v`. "
            "`G(w)` (A,) is the gradient of the training loss in alpha at the weights `w` (W,); epsilon is the radius "
            "divided by the length of `v`."
        ),
        hints=(
            "`v.norm()` is the length of v.",
            "Two calls of G: at w + eps * v and at w - eps * v.",
            "How far apart are the two places, in units of v? Divide by that.",
        ),
        check=check_finite_difference,
        solution=finite_difference,
        copies=False,
        wrong=(
            (
                lambda G, w, v, radius: (
                    (G(w + radius / v.norm() * v) - G(w - radius / v.norm() * v)) / 2 * (radius / v.norm())
                ),
                "You multiply by epsilon",
            ),
            (
                lambda G, w, v, radius: (G(w + radius / v.norm() * v) - G(w - radius / v.norm() * v)) / 2,
                "Divide by epsilon",
            ),
            (
                lambda G, w, v, radius: (
                    (G(w + radius / v.norm() * v) - G(w - radius / v.norm() * v)) / (radius / v.norm())
                ),
                "A factor of 2",
            ),
            (lambda G, w, v, radius: -finite_difference(G, w, v, radius), "w+ minus that at w-"),
            (
                lambda G, w, v, radius: (G(w + radius / v.norm() * v) - G(w)) / (radius / v.norm()),
                "one-sided",
            ),
            (
                lambda G, w, v, radius: (G(w + radius * v) - G(w - radius * v)) / (2 * radius / v.norm()),
                "epsilon = radius",
            ),
            (lambda G, w, v, radius: finite_difference(G, w.add_(1), v, radius), "not where they were"),
            (lambda G, w, v, radius: G(w + v) - G(w - v), "expected"),
            (lambda G, w, v, radius: torch.autograd.functional.jvp(G, w, v)[1], "the exact derivative"),
            (
                lambda G, w, v, radius: (finite_difference(G, w, v, radius), w.add_(radius * v))[0],
                "not where they were",
            ),
            (lambda G, w, v, radius: (G(w + radius * v) - G(w - radius * v)) / (2 * radius), "epsilon = radius"),
        ),
    ),
    Exercise(
        id="08.4",
        statement=(
            "Write `implicit(g_alpha, g_w, mixed, H)`: the hypergradient at trained weights. `g_alpha` (A,) and `g_w` "
            "(W,) are the gradients of the validation loss, `mixed` (A, W) and `H` (W, W) second derivatives of the "
            "training loss."
        ),
        hints=(
            "Equation 7 with the inverse of H in place of xi.",
            "Do not invert: `torch.linalg.solve(H, g_w)` solves H q = g_w.",
        ),
        check=check_implicit,
        solution=implicit,
        wrong=(
            (lambda g_alpha, g_w, mixed, H: g_alpha + mixed @ torch.linalg.solve(H, g_w), "*minus*"),
            (lambda g_alpha, g_w, mixed, H: g_alpha - mixed @ H @ g_w, "multiply by H"),
            (lambda g_alpha, g_w, mixed, H: g_alpha - mixed @ g_w, "H is missing"),
            (lambda g_alpha, g_w, mixed, H: -mixed @ torch.linalg.solve(H, g_w), "enters directly"),
            (lambda g_alpha, g_w, mixed, H: g_alpha - mixed @ (g_w / H.diagonal()), "diagonal only"),
            (lambda g_alpha, g_w, mixed, H: torch.linalg.solve(H, g_w), "a number for each alpha"),
            (lambda g_alpha, g_w, mixed, H: g_alpha, "expected"),
        ),
    ),
    Exercise(
        id="08.5",
        statement=(
            "Write `steps_needed(lr, h, rest)`: the least number of unrolled steps of size `lr` after which, in a "
            "direction of curvature `h` > 0, at most the part `rest` (between 0 and 1) of 1/h is missing; `None` if no "
            "number of steps will do."
        ),
        hints=(
            "After k steps (1 - lr * h)**k is missing, whatever its sign.",
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
