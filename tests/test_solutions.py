"""The solutions of lessons 05 to 09 and 12 against something independent: enumeration, brute force, autograd.

The check of an exercise compares an answer with its solution, so it cannot find a fault of the solution.
"""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise, product
from math import comb, prod

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from torch.autograd.functional import hessian, jacobian

from naslab import automl, genotypes, networks, spaces
from naslab.exercises import lesson_05, lesson_06, lesson_07, lesson_08, lesson_09, lesson_12
from naslab.ops import highway
from naslab.search import darts


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


@pytest.mark.parametrize(("slopes", "lr"), [([0.3, -0.1, -0.2], 0.5), ([0.004, 0.001, -0.002, -0.003], 3e-4)])
def test_the_first_step_of_alpha_by_the_optimiser_of_the_search(slopes, lr):
    config = darts.Config(alpha_lr=lr)
    alpha = torch.zeros(len(slopes), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([alpha], lr, config.alpha_betas, weight_decay=config.alpha_weight_decay)
    alpha.grad = torch.tensor(slopes, dtype=torch.float64)
    optimiser.step()
    assert lesson_09.after_one_step(slopes, lr) == pytest.approx(alpha.softmax(0).tolist(), rel=1e-5 * lr)


def edges_of(tokens, space=spaces.nas_bench_201()):  # noqa: B008
    return [(*edge, space.ops[token]) for edge, token in zip(space.edges, tokens, strict=True)]


def test_a_cell_learns_if_one_of_its_four_paths_has_a_convolution():
    learning = 0
    for tokens in product(range(5), repeat=6):
        edges = edges_of(tokens)
        ops = {(s, t): op for s, t, op in edges}
        paths = [[ops[pair] for pair in pairwise(path)] for path in ((0, 3), (0, 1, 3), (0, 2, 3), (0, 1, 2, 3))]
        found = any("none" not in path and any("conv" in op for op in path) for path in paths)
        assert lesson_09.learns(edges) == found, edges
        learning += found
    assert learning == 13_642


def test_a_cell_learns_if_its_filters_get_a_gradient():
    space = spaces.nas_bench_201()
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(30):
        rows = torch.randint(0, 5, (6,), generator=generator).tolist()
        tokens = tuple(0 if k % 2 else row for k, row in enumerate(rows)) if len(found) % 2 else tuple(rows)
        child = networks.build(space, tokens, channels=2, cells=1, in_channels=1, classes=3)
        child(torch.randn(8, 1, 8, 8, generator=generator)).square().sum().backward()
        cells = [m for m in child.modules() if isinstance(m, networks.cells.Cell)]
        filters = [w for cell in cells for w in cell.parameters() if w.ndim == 4 and w.grad is not None]
        found.append(any(w.grad.abs().max() > 0 for w in filters))
        assert lesson_09.learns(edges_of(tokens)) == found[-1], tokens
    assert 5 < sum(found) < 25


@pytest.mark.parametrize(("p", "sigma"), [(0.5, 1.0), (0.3, 0.8), (0.9, 2.0)])
def test_what_arrives_is_the_mean_over_all_matrices_of_signs(p, sigma):
    matrices = [np.array(signs).reshape(2, 2) * sigma / 2**0.5 for signs in product((-1, 1), repeat=4)]
    layers = [p * np.eye(2) + (1 - p) * W for W in matrices]
    h = np.array([0.6, -0.8])
    for n in (1, 2):
        outputs = [np.linalg.multi_dot([*chosen, h]) for chosen in product(layers, repeat=n)]
        mean = np.mean([out @ out for out in outputs])
        assert lesson_09.arriving(p, sigma, n) == pytest.approx(mean, rel=1e-12)


def test_keep_epoch_with_the_means_written_out():
    rng, stopped = np.random.default_rng(0), 0
    for n in [*range(1, 14), *[25] * 60]:
        series = np.exp(rng.normal(0, 0.2, n).cumsum())
        m = {i: np.mean([series[i - k] for k in range(5)]) for i in range(4, n)}
        stops = [i for i in m if i - 5 in m and m[i - 5] / m[i] < 0.75]
        stopped += bool(stops)
        assert lesson_09.keep_epoch(series.tolist()) == (min(stops) - 5 if stops else n - 1)
    assert 20 < stopped < 60


def test_the_price_by_counting_what_a_layer_computes():
    counts = np.zeros(3)  # forward, derivatives in the input, derivatives in w

    class Layer(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            counts[0] += 1
            return x * w

        @staticmethod
        def backward(ctx, g):
            x, w = ctx.saved_tensors
            needs = ctx.needs_input_grad
            counts[1:] += needs
            return g * w if needs[0] else None, g * x if needs[1] else None

    w = [torch.ones(3, requires_grad=True) for _ in range(2)]

    def loss(alpha, batch):
        return Layer.apply(batch * alpha["a"] * w[0], w[1]).square().sum()  # w[0] is a layer before that is counted

    def cost(xi):
        counts[:] = 0
        alpha = {"a": torch.ones(3, requires_grad=True)}
        darts.alpha_gradient(loss, w, alpha, torch.ones(3), torch.ones(3), xi)
        darts.gradient(loss({"a": alpha["a"].detach()}, torch.ones(3)), w)
        return counts.copy()

    first, second = cost(0.0), cost(0.1)
    for c in (0.0, 1.0, 2.5):
        prices = np.array([1, 1, c])
        assert lesson_09.price(c) == pytest.approx(second @ prices / (first @ prices), rel=1e-12)


@pytest.mark.parametrize("channels", [8, 16])
def test_op_parameters_add_up_to_the_difference_of_published_networks(channels):
    space, v2 = genotypes.read_darts(genotypes.DARTS_V2)
    _, v1 = genotypes.read_darts(genotypes.DARTS_V1)

    def of_ops(tokens):
        cells, total = space.pairs(tokens), 0
        for kind, c, _ in networks.cells.skeleton(8, channels):
            for source, op in (pair for node in cells[kind] for pair in node):
                total += lesson_09.op_parameters(op, c, 2 if kind == "reduce" and source < 2 else 1)
        return total

    with torch.device("meta"):
        built = [networks.count_parameters(networks.build(space, t, channels=channels, cells=8)) for t in (v1, v2)]
    assert built[1] - built[0] == of_ops(v2) - of_ops(v1) != 0


def test_a_search_has_met_a_better_cell_after_enough_draws_and_not_one_before():
    for cells in range(2, 40):
        for better in range(1, cells):
            miss, n = Fraction(cells - better, cells), lesson_12.enough(better, cells)
            assert miss**n <= Fraction(1, 20) < miss ** (n - 1)


@pytest.mark.parametrize("n", [1, 10, 269, 10**6])
def test_at_least_is_the_end_of_wilsons_interval(n):
    exact = binomtest(n, n).proportion_ci(method="wilson").low  # with z = 1.95996...
    assert lesson_12.at_least(n) == pytest.approx(exact, rel=1e-4)


def test_the_images_seen_are_those_of_all_ways_to_split():
    chances = {"train": 0.6, "valid": 0.2, "test": 0.2}
    ways = product(chances.items(), repeat=2)  # where the two other images of a scene are
    found = sum(p * q for (one, p), (other, q) in ways if "train" in (one, other))
    assert lesson_12.seen() == pytest.approx(found, rel=1e-12)


@given(st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=8))
def test_the_front_is_that_of_all_pairs_and_of_the_package(points):
    points = sorted(points)
    beaten = {p for p in points for q in points if p != q and q[0] <= p[0] and q[1] >= p[1]}
    assert lesson_12.front(points) == [p for p in points if p not in beaten]
    assert lesson_12.front(points) == [points[k] for k in automl.pareto_front(*zip(*points, strict=True))]
