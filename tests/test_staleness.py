"""Old gradients: against closed forms, autograd, enumeration and the mean of many samples."""

import math

import pytest
import torch

from naslab.fleet import staleness
from naslab.fleet.staleness import Bits, ascent, largest_root, stability_limit

STRINGS = torch.cartesian_prod(*[torch.arange(2)] * 4)  # (16, 4)
REWARDS = torch.rand(16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
POLICY = Bits(STRINGS, REWARDS)
THETA = torch.randn(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("tau", [0, 1, 2, 3, 15, 63])
def test_the_limit_is_where_the_largest_root_has_length_1(tau):
    limit = stability_limit(tau)
    assert largest_root(limit, tau) == pytest.approx(1, abs=1e-9)
    assert largest_root(0.99 * limit, tau) < 1 < largest_root(1.01 * limit, tau)


def test_the_limit_falls_as_pi_over_twice_the_delay():
    assert stability_limit(0) == 2 and stability_limit(1) == pytest.approx(1)
    assert stability_limit(63) == pytest.approx(math.pi / 127, rel=1e-3)


@pytest.mark.parametrize(("share", "shrinks"), [(0.98, True), (1.02, False)])
@pytest.mark.parametrize("tau", [0, 1, 7])
def test_an_ascent_of_a_parabola_obeys_the_limit(tau, share, shrinks):
    c, start = 3.0, torch.ones(1, dtype=torch.float64)
    pulled = [max(0, t - tau) for t in range(4000)]
    path = ascent(lambda e: -c * e, start, share * stability_limit(tau) / c, pulled).abs()
    assert (path[-200:].max() < path[:200].max()) == shrinks


def test_an_ascent_uses_the_theta_that_was_pulled():
    seen = ascent(lambda theta: theta, torch.ones(1), 1.0, [0, 0, 1, 3])
    assert seen.squeeze(1).tolist() == [1, 2, 3, 5, 10]


def test_no_delay_is_plain_ascent_and_rates_may_differ():
    lr = torch.tensor([[0.1], [1.0], [3.0]], dtype=torch.float64)
    path, theta = ascent(POLICY.gradient, THETA, lr, range(5)), THETA
    for found in path:
        assert torch.equal(found, theta)
        theta = theta + lr * POLICY.gradient(theta)


def test_the_gradient_of_bits_is_autograds():
    theta = THETA.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(POLICY.expected(theta).sum(), theta)
    assert torch.allclose(POLICY.gradient(THETA), wanted, rtol=0, atol=1e-14)
    p = torch.where(STRINGS.bool(), THETA[:, None].sigmoid(), 1 - THETA[:, None].sigmoid()).prod(-1)
    assert torch.allclose(POLICY.log_p(THETA).exp(), p, rtol=0, atol=1e-14)


@pytest.mark.parametrize("children", [2, 5])
def test_the_mean_of_the_estimates_is_the_gradient(children):
    many = THETA[:1].expand(40_000, 4)
    found = POLICY.estimate(many, children, torch.Generator().manual_seed(2))
    error = found.std(0) / len(many) ** 0.5
    assert ((found.mean(0) - POLICY.gradient(THETA[0])).abs() < 4 * error).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ascent(torch.neg, THETA, 0.1, [0, 2]), r"pulled\[1\]: got 2, expected 0 to 1"),
        (lambda: ascent(torch.neg, THETA, 0.1, [-1]), r"pulled\[0\]: got -1"),
        (lambda: stability_limit(-1), "staleness: got -1"),
        (lambda: staleness.largest_root(1.0, 0.5), "staleness: got 0.5"),
        (lambda: POLICY.estimate(THETA, 1, torch.Generator()), "children: got 1, expected an int of at least 2"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
