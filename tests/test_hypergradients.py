"""Hypergradients against closed forms, central differences, DARTS' single step, and each other."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from naslab import hypergradients
from naslab.search import darts


def quadratic(seed):
    """L_train = (w - B a)' A (w - B a) / 2, so that w* = B a; L_valid = |w - c|^2 / 2 + d' a + (a' a)(w' w) / 8.

    A has the eigenvalues 0.2, 0.5, 1, 1.5, 2. w is split in two tensors, a in two tables.
    """
    torch.manual_seed(seed)
    A, B, c, d = (torch.randn(*shape, dtype=torch.float64) for shape in ((5, 5), (5, 3), (5,), (3,)))
    Q = torch.linalg.qr(A).Q
    A = Q @ torch.tensor([0.2, 0.5, 1.0, 1.5, 2.0], dtype=torch.float64).diag() @ Q.T

    def loss(w, alpha, split):
        w, a = (torch.cat([t.flatten() for t in parts]) for parts in (w, alpha.values()))
        if split == "train":
            return (w - B @ a) @ A @ (w - B @ a) / 2
        return (w - c).square().sum() / 2 + d @ a + a.square().sum() * w.square().sum() / 8

    def slopes(w, a):
        """dL_valid/dw (5,) and dL_valid/da (3,), by hand."""
        return w - c + a.square().sum() * w / 4, d + w.square().sum() * a / 4

    a = torch.randn(3, dtype=torch.float64)
    return loss, slopes, A, B, a


def parts(w, a):
    """As the functions take them."""
    w = [w[:4].reshape(2, 2).clone().requires_grad_(), w[4:].clone().requires_grad_()]
    return w, {"one": a[:2].clone().requires_grad_(), "other": a[2:].clone().requires_grad_()}


def joined(weights):
    return torch.cat([*weights.values()])


def close(found, expected, rtol=1e-9):
    torch.testing.assert_close(found, expected, rtol=rtol, atol=rtol * expected.abs().max().item())


@given(st.integers(0, 10_000))
def test_implicit_is_the_closed_form(seed):
    loss, slopes, _, B, a = quadratic(seed)
    g_w, g_a = slopes(B @ a, a)
    close(joined(hypergradients.implicit(loss, *parts(B @ a, a), "train", "valid")), g_a + B.T @ g_w)


@given(st.integers(0, 10_000), st.integers(0, 12), st.floats(0.0, 0.9))
def test_unrolled_is_the_closed_form(seed, steps, lr):
    """w_k = M^k w + (1 - M^k) B a with M = 1 - lr A, from any w."""
    loss, slopes, A, B, a = quadratic(seed)
    w = torch.randn(5, dtype=torch.float64)
    M = torch.linalg.matrix_power(torch.eye(5, dtype=torch.float64) - lr * A, steps)
    g_w, g_a = slopes(M @ w + B @ a - M @ B @ a, a)
    expected = g_a + (B - M @ B).T @ g_w
    close(joined(hypergradients.unrolled(loss, *parts(w, a), "train", "valid", lr, steps)), expected)


def network():
    """Two layers without kinks, alpha weighs the first one's activations; decay makes the minimum a strict one."""
    torch.manual_seed(2)
    data = {}
    for split in ("train", "valid"):
        x = torch.randn(12, 3).double()
        data[split] = x, (2 * x[:, 0]).tanh() + x[:, 1] - x[:, 2].sin()
    w = [torch.randn(shape).double().requires_grad_() for shape in ((3, 3), (3,))]
    alpha = {"layer": torch.randn(3).double().requires_grad_()}

    def loss(w, alpha, split):
        x, y = data[split]
        x = x @ w[0]  # (12, 3)
        mixed = torch.tensordot(alpha["layer"].softmax(-1), torch.stack([x.tanh(), x.sin(), x]), 1)
        return (mixed @ w[1] - y).square().mean() + 0.1 * sum(p.square().sum() for p in w)

    return loss, w, alpha


@pytest.mark.parametrize("steps", [0, 1, 2, 7])
def test_unrolled_is_that_of_central_differences(steps):
    loss, w, alpha = network()

    def trained(a):
        """L_valid after the steps, with alpha frozen while w moves."""
        moved = [p.detach().clone().requires_grad_() for p in w]
        for _ in range(steps):
            slope = torch.autograd.grad(loss(moved, {"layer": a}, "train"), moved)
            moved = [(p - 0.3 * g).detach().requires_grad_() for p, g in zip(moved, slope, strict=True)]
        return loss(moved, {"layer": a}, "valid").item()

    found = hypergradients.unrolled(loss, w, alpha, "train", "valid", 0.3, steps)["layer"]
    a = alpha["layer"].detach()
    differences = [(trained(a + h) - trained(a - h)) / 2e-5 for h in 1e-5 * torch.eye(3, dtype=torch.float64)]
    assert found.tolist() == pytest.approx(differences, rel=1e-6)


def test_one_step_is_darts_and_none_is_its_first_order():
    loss, w, alpha = network()
    one = hypergradients.unrolled(loss, w, alpha, "train", "valid", 0.3, 1)["layer"]
    close(one, darts.exact_alpha_gradient(loss, w, alpha, "train", "valid", 0.3)["layer"], 1e-12)
    none = hypergradients.unrolled(loss, w, alpha, "train", "valid", 0.3, 0)["layer"]
    close(none, torch.autograd.grad(loss(w, alpha, "valid"), alpha["layer"])[0], 1e-12)
    assert (one - none).norm() > 1e-3


def minimum(loss, w, alpha):
    """Some descent, then Newton's method; also the Hessian there."""
    sizes, frozen = [p.numel() for p in w], {t: a.detach() for t, a in alpha.items()}

    def at(flat):
        return loss([q.view_as(p) for q, p in zip(flat.split(sizes), w, strict=True)], frozen, "train")

    flat = hypergradients.flat(w).detach()
    for k in range(110):
        flat.requires_grad_()
        (slope,) = torch.autograd.grad(at(flat), flat)
        hessian = torch.autograd.functional.hessian(at, flat) if k >= 100 else None
        flat = flat.detach() - (0.3 * slope if hessian is None else torch.linalg.solve(hessian, slope))
    assert slope.norm() < 1e-12
    return [q.view_as(p).requires_grad_() for q, p in zip(flat.split(sizes), w, strict=True)], hessian


def test_unrolled_tends_to_implicit_as_the_contraction_says():
    """At the minimum: what is missing after k steps is (d2 L_train/dalpha dw) (1 - lr H)^k H^-1 g_w."""
    loss, w, alpha = network()
    w, hessian = minimum(loss, w, alpha)
    curvatures = torch.linalg.eigvalsh(hessian)
    assert curvatures[0] > 0
    slope = hypergradients.flat(torch.autograd.grad(loss(w, alpha, "train"), w, create_graph=True))
    mixed = torch.stack([torch.autograd.grad(s, alpha["layer"], retain_graph=True)[0] for s in slope], dim=-1)
    g_w = hypergradients.flat(torch.autograd.grad(loss(w, alpha, "valid"), w))
    exact = hypergradients.implicit(loss, w, alpha, "train", "valid")["layer"]
    for lr in (1 / curvatures[-1].item(), 1.8 / curvatures[-1].item()):
        M = torch.eye(12, dtype=torch.float64) - lr * hessian
        for steps in (1, 3, 30, 100):
            missing = hypergradients.unrolled(loss, w, alpha, "train", "valid", lr, steps)["layer"] - exact
            q = torch.linalg.matrix_power(M, steps) @ torch.linalg.solve(hessian, g_w)
            torch.testing.assert_close(missing, mixed @ q, rtol=1e-6, atol=1e-10)
            rate = max(abs(1 - lr * curvatures[0].item()), abs(1 - lr * curvatures[-1].item()))
            assert missing.norm() <= rate**steps * torch.linalg.matrix_norm(mixed, 2) * g_w.norm() / curvatures[0]
    assert missing.norm() < 1e-3 * exact.norm()


def test_implicit_is_how_the_trained_network_changes():
    """Trained anew for an alpha that is a little different."""
    loss, w, alpha = network()
    w, _ = minimum(loss, w, alpha)
    found = hypergradients.implicit(loss, w, alpha, "train", "valid")["layer"]
    sides = []
    for h in (1e-4, -1e-4):
        moved = {"layer": (alpha["layer"].detach() + h * found)}
        sides.append(loss(minimum(loss, w, moved)[0], moved, "valid").item())
    assert (sides[0] - sides[1]) / 2e-4 == pytest.approx(found.square().sum().item(), rel=1e-5)


def test_nothing_is_moved_or_left_behind():
    loss, _, _, B, a = quadratic(0)
    w, alpha = parts(B @ a, a)
    before = [t.detach().clone() for t in (*w, *alpha.values())]
    hypergradients.unrolled(loss, w, alpha, "train", "valid", 0.1, 3)
    found = hypergradients.implicit(loss, w, alpha, "train", "valid")
    assert all(map(torch.equal, before, (*w, *alpha.values())))
    assert all(t.grad is None for t in (*w, *alpha.values()))
    assert found.keys() == alpha.keys() and found["one"].shape == (2,) and not found["one"].requires_grad


def test_what_does_not_depend_has_no_gradient():
    loss, _, _, B, a = quadratic(0)
    w, alpha = parts(B @ a, a)
    alpha["spare"] = torch.ones(2, dtype=torch.float64, requires_grad=True)

    def without(w, alpha, split):
        return loss(w, {t: alpha[t] for t in ("one", "other")}, split)

    for found in (
        hypergradients.unrolled(without, w, alpha, "train", "valid", 0.1, 2),
        hypergradients.implicit(without, w, alpha, "train", "valid"),
    ):
        assert found["spare"].tolist() == [0, 0] and found["one"].abs().min() > 0


def test_a_place_that_is_no_minimum_is_refused():
    w, alpha = [torch.tensor([1.0, 2.0]).double().requires_grad_()], {"a": torch.ones(1).double().requires_grad_()}

    def saddle(w, alpha, split):
        return alpha["a"].sum() * (w[0][0] ** 2 - w[0][1] ** 2 / 2 + w[0].sum()) / 2

    with pytest.raises(ArithmeticError, match=r"curvature -?[\d.]+ here: w is no minimum"):
        hypergradients.implicit(saddle, w, alpha, "train", "valid")


def test_conjugate_gradients_that_do_not_end_say_so():
    torch.manual_seed(0)
    scale = torch.logspace(0, 12, 200, dtype=torch.float64)
    w, alpha = [torch.zeros(200).double().requires_grad_()], {"a": torch.zeros(200).double().requires_grad_()}

    def stiff(w, alpha, split):
        if split == "train":
            return (scale * (w[0] - alpha["a"]).square()).sum() / 2
        return (w[0] - 1).square().sum()

    with pytest.raises(ArithmeticError, match="2000 iterations without a solution to 1e-10"):
        hypergradients.implicit(stiff, w, alpha, "train", "valid")


def test_settings_outside_their_range_are_refused():
    loss, _, _, B, a = quadratic(0)
    for bad in ({"steps": -1}, {"steps": 1.5}, {"lr": -0.1}, {"lr": np.nan}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            hypergradients.unrolled(loss, *parts(B @ a, a), "train", "valid", **{"lr": 0.1, "steps": 1} | bad)
    for tolerance in (0, -1e-9, 1.0, np.nan, None):
        with pytest.raises(ValueError, match=f"tolerance: got {tolerance}, expected"):
            hypergradients.implicit(loss, *parts(B @ a, a), "train", "valid", tolerance=tolerance)
