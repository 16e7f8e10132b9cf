"""The solutions of lessons 05 to 08 against something independent: enumeration, brute force, autograd.

The check of an exercise compares an answer with its solution, so it cannot find a fault of the solution.
"""

from dataclasses import replace
from itertools import pairwise, product
from math import comb, prod

import numpy as np
import pytest
import torch
from torch.autograd.functional import hessian, jacobian

from naslab import spaces
from naslab.exercises import lesson_05, lesson_06, lesson_07, lesson_08
from naslab.ops import highway


def binomial(k, n, p):
    return comb(n, k) * p**k * (1 - p) ** (n - k)


@pytest.mark.parametrize(("p", "q", "n"), [(0.6, 0.55, 12), (0.9, 0.2, 5), (0.5, 0.5, 7), (0.3, 0.8, 4)])
def test_misjudged_is_the_sum_over_all_pairs_of_scores(p, q, n):
    pairs = product(range(n + 1), repeat=2)
    found = sum(binomial(j, n, p) * binomial(k, n, q) * ((k > j) + (k == j) / 2) for j, k in pairs)
    assert lesson_05.misjudged(p, q, n) == pytest.approx(found, rel=1e-12)


def test_the_numbers_that_lesson_05_tells_of_misjudged():
    assert [round(lesson_05.misjudged(0.6, 0.55, n), 2) for n in (50, 600)] == [0.31, 0.04]


@pytest.mark.parametrize(("c", "n"), [(2.5, 3), (1.0, 4), (0.3, 2)])
def test_no_logits_within_the_bound_give_an_op_more(c, n):
    grid = np.linspace(-c, c, 9)
    softmax = [np.exp(logits[0]) / np.exp(logits).sum() for logits in product(grid, repeat=n)]
    assert lesson_05.most(c, n) == pytest.approx(max(softmax), rel=1e-12)


def test_loose_ends_are_those_of_the_package():
    space = spaces.enas_micro(2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        tokens = space.sample(generator)
        for cell, nodes in zip((tokens[:8], tokens[8:]), space.pairs(tokens).values(), strict=True):
            assert tuple(lesson_06.loose_ends(cell)) == space.leaving(nodes)


def left(c, q, n=2):
    """What plain tanh and highway leave of a gradient's squared length at s = 0: the mean over all signs of W."""
    s, back = torch.zeros(n, dtype=torch.float64), torch.linspace(0.3, 1.0, n, dtype=torch.float64)
    W_c = torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    bias = torch.logit(torch.tensor(c, dtype=torch.float64))

    def lengths(W):
        plain = jacobian(lambda s: torch.tanh(W @ s), s)
        gated = jacobian(lambda s: highway(s, torch.cat([W_c @ s + bias, W @ s]), torch.tanh), s)
        return [(back @ J).square().sum() / back.square().sum() for J in (plain, gated)]

    signs = torch.tensor([*product([-1, 1], repeat=n * n)], dtype=torch.float64).view(-1, n, n)
    return torch.tensor([lengths(W) for W in signs * (q / n) ** 0.5]).mean(0).tolist()


@pytest.mark.parametrize("c", [0.5, 0.1, 0.8])
def test_at_the_thresholds_the_two_nodes_are_equal_and_the_length_is_kept(c):
    equal, kept = lesson_06.thresholds(c)
    assert left(c, equal) == pytest.approx([equal, equal], rel=1e-12)
    assert left(c, kept) == pytest.approx([kept, 1.0], rel=1e-12)


def test_the_stronger_node_by_all_signs_of_its_weights():
    for name, q in zip(lesson_06.stronger(), (1 / 10, 1 / 3, 1.0), strict=True):
        plain, gated = left(0.5, q)
        more = "equal" if abs(plain - gated) < 1e-12 else "plain" if plain > gated else "highway"
        assert name == more


def test_step_is_the_cell_of_the_package():
    space = spaces.enas_rnn(5)
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        pairs = [pair for (pair,) in space.pairs(space.sample(generator))["recurrent"]]
        w = [torch.randn(2 if source else 4, generator=generator).tolist() for source, _ in pairs]
        assert lesson_06.step(pairs, 0.6, -0.7, w) == pytest.approx(
            lesson_06.by_package(pairs, 0.6, -0.7, w), rel=1e-12, abs=1e-12
        )


@pytest.mark.parametrize("nodes", [1, 2, 3, 6])
def test_trees_counts_what_a_list_of_all_cells_holds(nodes):
    space = replace(spaces.enas_rnn(nodes), ops=("tanh",))
    ends = [len(space.leaving(space.pairs(string)["recurrent"])) for string in spaces.all_strings(space)]
    counts = [lesson_06.trees(nodes, k) for k in range(1, nodes + 1)]
    assert counts == [ends.count(k) for k in range(1, nodes + 1)] and sum(counts) == len(ends)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_derived_is_the_mean_over_all_draws(n):
    p, shared, alone = (0.1, 0.4, 0.3, 0.2), (0.5, 0.9, 0.2, 0.7), (1.0, -2.0, 3.0, 0.5)
    found = sum(
        prod(p[k] for k in draws) * alone[max(draws, key=lambda k: shared[k])] for draws in product(range(4), repeat=n)
    )
    assert lesson_06.derived(p, shared, alone, n) == pytest.approx(found, rel=1e-12)


def test_more_draws_can_make_the_derived_string_worse():
    """The first case of the check, about which lesson 06 asks."""
    case = [0.2, 0.5, 0.3], [4.0, 5.5, 5.0], [0.3, 0.4, 0.6]
    means = [lesson_06.derived(*case, n) for n in range(1, 8)]
    assert means == sorted(means, reverse=True) and means[0] - means[-1] > 0.03


@pytest.mark.parametrize(("a", "b", "target"), [(1, 4, 2), (3, -1, 0), (1, 2, 5), (1, 2, -5)])
def test_best_mixture_is_the_best_of_a_scan(a, b, target):
    p = np.linspace(0, 1, 30_001)
    assert lesson_07.best_mixture(a, b, target) == pytest.approx(
        p[((p * a + (1 - p) * b - target) ** 2).argmin()], abs=1e-4
    )


@pytest.mark.parametrize(("nodes", "ops"), [(1, 3), (2, 3), (2, 4), (3, 2)])
def test_share_counts_the_corners_with_two_inputs_at_every_node(nodes, ops):
    sources = [2 + k for k in range(nodes)]
    right = total = 0
    for corner in product(range(ops), repeat=sum(sources)):  # op 0 is none
        starts = np.cumsum([0, *sources])
        right += all(sum(op > 0 for op in corner[i:j]) == 2 for i, j in pairwise(starts))
        total += 1
    assert lesson_07.share(nodes, ops) == pytest.approx(right / total, rel=1e-12)


def test_the_softmax_and_the_gradient_of_alpha_by_autograd():
    alpha, of = torch.randn(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    p, exact = alpha.softmax(0), jacobian(lambda a: a.softmax(0), alpha)
    assert torch.allclose(lesson_07.jacobian(p), exact, rtol=0, atol=1e-14)
    assert torch.allclose(lesson_07.alpha_gradient(p, of), of @ exact, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("lead", "share"), [(1.0, 0.9), (3.0, 0.6), (0.2, 0.999)])
def test_the_temperature_gives_the_share(lead, share):
    logits = torch.tensor([lead, 0.0], dtype=torch.float64) / lesson_07.temperature(lead, share)
    assert logits.softmax(0)[0].item() == pytest.approx(share, rel=1e-12)


@pytest.mark.parametrize("K", [2, 3, 5, 8])
def test_draws_of_nothing_by_enumeration(K):
    losses = torch.randn(K, dtype=torch.float64, generator=torch.Generator().manual_seed(K))
    p = torch.full((K,), 1 / K, dtype=torch.float64)
    scores = torch.eye(K, dtype=torch.float64) - p  # of each draw
    draws = (losses - p @ losses)[:, None] * scores
    gradient = p @ draws
    variance = p @ (draws - gradient).square().sum(1)
    assert lesson_07.draws_of_nothing(K) == pytest.approx(
        (variance / gradient.square().sum()).item(), rel=1e-9, abs=1e-9
    )


def test_keep_is_the_rule_of_the_package():
    space = spaces.darts_conv(3)
    for seed in range(20):
        table = torch.rand(len(space.edges), 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        table = table / table.sum(1, keepdim=True)
        tokens = space.discretise({name: table for name in space.tables})
        nodes, *_ = space.pairs(tokens).values()
        for target, node in enumerate(nodes, space.inputs):
            rows = [row for (_, t), row in zip(space.edges, table.tolist(), strict=True) if t == target]
            assert sorted(lesson_07.keep(rows, space.ops, 2)) == sorted(node)


def toy(w, alpha, c=2.0, h=2.0):
    return alpha * w - c * alpha, h / 2 * (w - alpha) ** 2  # validation and training loss


@pytest.mark.parametrize(("alpha", "xi"), [(2.0, 0.5), (-1.0, 0.2), (0.7, 1.0)])
def test_at_trained_is_the_gradient_through_one_step(alpha, xi):
    """At w = alpha the gradient of L_train is 0, but its derivative is not."""
    a = torch.tensor(alpha, dtype=torch.float64, requires_grad=True)
    w = torch.tensor(alpha, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(toy(w, a)[1], w, create_graph=True)
    (found,) = torch.autograd.grad(toy(w - xi * slope, a)[0], a)
    assert lesson_08.at_trained(alpha, xi) == pytest.approx(found.item(), rel=1e-12)


@pytest.mark.parametrize(("xi", "c", "h"), [(0.0, 2.0, 2.0), (0.5, 2.0, 2.0), (0.1, 3.0, 5.0)])
def test_algorithm_1_comes_to_rest_where_the_solution_says(xi, c, h):
    alpha = w = 0.3
    for _ in range(20_000):
        a = torch.tensor(alpha, dtype=torch.float64, requires_grad=True)
        v = torch.tensor(w, dtype=torch.float64, requires_grad=True)
        if xi:
            (slope,) = torch.autograd.grad(toy(v, a, c, h)[1], v, create_graph=True)
            (g,) = torch.autograd.grad(toy(v - xi * slope, a, c, h)[0], a)
        else:
            (g,) = torch.autograd.grad(toy(v, a, c, h)[0], a)
        step = 0.02 * g.item()
        alpha, w = alpha - step, w - 0.1 * h * (w - alpha + step)
        if abs(step) < 1e-13 and abs(w - alpha) < 1e-12:
            break
    assert lesson_08.at_rest(xi, c, h) == pytest.approx(alpha, abs=1e-8)


@pytest.mark.parametrize(("a", "b"), [(1.0, 2.0), (40.0, 1e-15), (0.2, 1e-7)])
def test_best_radius_is_the_best_of_a_scan(a, b):
    r = np.geomspace(1e-9, 1e3, 400_001)
    assert lesson_08.best_radius(a, b) == pytest.approx(r[(a * r**2 + b / r).argmin()], rel=1e-3)


@pytest.mark.parametrize(("n", "d"), [(9, 10), (1, 2), (2, 3)])
def test_bits_are_those_that_a_multiplication_forgets(n, d):
    """Of d^k neighbouring integers only n^k are left after k multiplications."""
    assert lesson_08.bits(n, d, 1) == pytest.approx(
        np.log2(d) - np.log2(len({c * n // d for c in range(d)})), rel=1e-12
    )
    assert lesson_08.bits(n, d, 40) == pytest.approx(40 * lesson_08.bits(n, d, 1), rel=1e-12)


def test_the_gradient_of_the_decay_by_minimising_again():
    generator = torch.Generator().manual_seed(0)
    root, target, of = (torch.randn(*n, dtype=torch.float64, generator=generator) for n in ((4, 4), (4,), (4,)))

    def minimum(rho):
        """Of |root w - target|^2 / 2 + rho |w|^2 / 2."""
        return torch.linalg.solve(root.T @ root + rho * torch.eye(4, dtype=torch.float64), root.T @ target)

    rho = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    (exact,) = torch.autograd.grad((minimum(rho) * of).sum(), rho)
    w = minimum(rho.detach())
    H = hessian(lambda w: (root @ w - target).square().sum() / 2 + 0.7 * w.square().sum() / 2, w)
    assert lesson_08.decay_gradient(w, of, H) == pytest.approx(exact.item(), rel=1e-10)


@pytest.mark.parametrize(("lr", "h", "rest"), [(0.5, 0.2, 0.01), (1.8, 1.0, 0.01), (0.5, 2.0, 0.01), (0.5, 5.0, 0.1)])
def test_steps_needed_by_adding_up_the_series(lr, h, rest):
    found, total = None, 0.0
    for k in range(1, 500):
        total += lr * (1 - lr * h) ** (k - 1)
        if abs(1 / h - total) <= rest / h:
            found = k
            break
    assert lesson_08.steps_needed(lr, h, rest) == found
