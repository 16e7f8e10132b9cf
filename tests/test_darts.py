"""The gradient of alpha against autograd and closed forms, and the search against a literal rewriting."""

import math
from dataclasses import replace
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from kills import same as same_state

from naslab import data, runs, spaces, steps
from naslab.networks import ConvNet, RecurrentNet
from naslab.search import darts
from naslab.training import ImageObjective, TextObjective

SMOOTH = spaces.CellSpace(("recurrent",), 3, 1, ("none", "tanh", "sigmoid", "identity"), 1)


def smooth():
    """A network without kinks: loss(alpha, batch), loss(w, alpha, batch), w, alpha, all in float64."""
    torch.manual_seed(0)
    model = RecurrentNet(SMOOTH, 7, 5, matrices="node").double()
    names, w = zip(*model.named_parameters(), strict=True)
    alpha = {"recurrent": torch.randn(SMOOTH.tables["recurrent"]).double().requires_grad_()}
    batches = {split: torch.randint(0, 7, (2, 4, 3)) for split in ("train", "valid")}

    def at(w, alpha, split):
        x, y = batches[split]
        logits, _ = torch.func.functional_call(model, dict(zip(names, w, strict=True)), (x, darts.relax(alpha)))
        return F.cross_entropy(logits.flatten(0, 1), y.flatten())

    def loss(alpha, split):
        x, y = batches[split]
        return F.cross_entropy(model(x, darts.relax(alpha))[0].flatten(0, 1), y.flatten())

    return loss, at, list(w), alpha


def relative(found, expected):
    return max(((found[t] - expected[t]).norm() / expected[t].norm()).item() for t in expected)


@pytest.mark.parametrize("pushed", [False, True], ids=["plain", "momentum and decay"])
def test_alpha_gradient_is_that_of_autograd_through_the_virtual_step(pushed):
    loss, at, w, alpha = smooth()
    push = [torch.randn_like(p) / 10 for p in w] if pushed else None
    before = [p.detach().clone() for p in w]
    exact = darts.exact_alpha_gradient(at, w, alpha, "train", "valid", 0.1, push)
    found = darts.alpha_gradient(loss, w, alpha, "train", "valid", 0.1, radius=1e-4, push=push)
    first = darts.alpha_gradient(loss, w, alpha, "train", "valid", 0.0)
    assert relative(found, exact) < 1e-8
    assert relative(first, exact) > 1e-3, "the second term is there to be seen"
    assert all(map(torch.equal, w, before)), "w is put back, bit for bit"


def test_the_exact_gradient_is_that_of_central_differences():
    """The function alpha -> L_valid(w - xi dL_train/dw, alpha), entry by entry."""
    _, at, w, alpha = smooth()

    def ahead(table):
        moved = {"recurrent": table}
        g = torch.autograd.grad(at(w, moved, "train"), w)
        return at([p - 0.1 * q for p, q in zip(w, g, strict=True)], moved, "valid").item()

    exact = darts.exact_alpha_gradient(at, w, alpha, "train", "valid", 0.1)["recurrent"]
    for i, k in [(0, 1), (2, 0), (5, 3)]:
        h = torch.zeros_like(exact)
        h[i, k] = 1e-5
        a = alpha["recurrent"].detach()
        assert math.isclose((ahead(a + h) - ahead(a - h)) / 2e-5, exact[i, k].item(), rel_tol=1e-5)


def test_first_order_is_plain_autograd():
    loss, _, w, alpha = smooth()
    found = darts.alpha_gradient(loss, w, alpha, "train", "valid", 0.0)["recurrent"]
    (plain,) = torch.autograd.grad(loss(alpha, "valid"), [alpha["recurrent"]])
    torch.testing.assert_close(found, plain, rtol=1e-12, atol=1e-12)


def test_the_error_falls_with_the_square_of_epsilon():
    loss, at, w, alpha = smooth()
    exact = darts.exact_alpha_gradient(at, w, alpha, "train", "valid", 0.1)
    errors = [
        relative(darts.alpha_gradient(loss, w, alpha, "train", "valid", 0.1, radius), exact) for radius in (1e-1, 1e-2)
    ]
    assert 80 < errors[0] / errors[1] < 120


@pytest.mark.parametrize(("xi", "end"), [(0.0, (2.0, 2.0)), (0.5, (1.0, 1.0))])
def test_toy_problem_of_figure_2(xi, end):
    a, w = torch.tensor(2.0, dtype=torch.float64), torch.tensor(-2.0, dtype=torch.float64)
    a.requires_grad_(), w.requires_grad_()

    def loss(alpha, split):
        a = alpha["a"]
        return a * w - 2 * a + 1 if split == "valid" else w**2 - 2 * a * w + a**2

    for _ in range(150):
        g = darts.alpha_gradient(loss, [w], {"a": a}, "train", "valid", xi)["a"]
        with torch.no_grad():
            a -= 0.2 * g
        (g,) = torch.autograd.grad(loss({"a": a}, "train"), [w])
        with torch.no_grad():
            w -= 0.2 * g
    assert (a.item(), w.item()) == pytest.approx(end, abs=1e-9)


# The search

# A search asks nothing of a space but its tables: a few ops, with weights and without, stand for all.
CONV = spaces.CellSpace(("normal", "reduce"), 1, 2, ("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3"), 2)
TEXTS = spaces.darts_rnn(2)
IMAGES = ImageObjective(data.digits().head(24, 24, 10), 12)  # 2 batches make a pass
TEXT = TextObjective(data.TextTask("abc", tuple("abcd"), *(torch.arange(n) * 7 % 4 for n in (48, 36, 20))), 5, 3)  # 3


def images(seed=0):
    with runs.seeded(seed):
        return CONV, ConvNet(CONV, 2, 3, in_channels=1, affine=False, pool_norm=True), IMAGES


def texts(seed=0):
    with runs.seeded(seed):
        return TEXTS, RecurrentNet(TEXTS, 4, 5, dropout=0.3, matrices="node", norm=True, fast=True), TEXT


CONFIGS = {
    "first": darts.Config(2, xi=0.0, alpha_lr=0.1),
    "second": darts.Config(2, alpha_lr=0.1),
    "pushed": darts.Config(2, momentum_ahead=True, alpha_lr=0.1),
    "text": darts.Config(2, lr=1.0, lr_min=1.0, momentum=0.0, clip=0.25, alpha_lr=0.1),
}


def run(name, after=None, stop=None):
    """A search from the start, or after a step, in objects of its own; what it leaves."""
    space, model, objective = texts() if name == "text" else images()
    alpha, found = darts.start(space), []
    for step in darts.search(space, model, objective, alpha, CONFIGS[name], torch.Generator(), after):
        found.append(replace(step, state=step.state()))
        if stop is not None and step.index == stop:
            return [step], model, alpha
    return found, model, alpha


@cache
def whole(name):
    """A search that nothing stops: every step with a copy of its state."""
    return run(name)


def same(one, other):
    """The same steps, to the last bit, but for those that the first does not have; and the same end."""
    (a, model_a, alpha_a), (b, model_b, alpha_b) = one, other
    assert all(torch.equal(alpha_a[t], alpha_b[t]) for t in alpha_a)
    assert all(map(torch.equal, model_a.state_dict().values(), model_b.state_dict().values()))
    assert len(a) > 0
    for x, y in zip(a, b[-len(a) :], strict=True):
        assert (x.index, x.children, x.rewards, x.info) == (y.index, y.children, y.rewards, y.info)
        assert same_state(x.state, y.state)


@pytest.mark.parametrize("name", CONFIGS)
def test_resumed_after_any_step_as_if_never_stopped(name):
    """From a copy of a step's state that was made while the search went on; once from the step of one that stopped."""
    found = whole(name)[0]
    assert len(found) == CONFIGS[name].epochs * (3 if name == "text" else 2)
    for step in found[:-1]:
        same(run(name, after=step), whole(name))
    same(run(name, after=run(name, stop=0)[0][-1]), whole(name))


def test_resumed_from_a_file(tmp_path):
    space, model, objective = images()
    search = darts.search(space, model, objective, darts.start(space), CONFIGS["second"], torch.Generator())
    for step in steps.tee(search, steps.checkpoint(tmp_path / "search.pt")):
        if step.index == 1:
            break
    saved = steps.resume(tmp_path / "search.pt")
    assert saved.index == 1 and set(saved.state["alpha"]) == {"normal", "reduce"}
    same(run("second", after=saved), whole("second"))


@pytest.mark.parametrize(
    ("entry", "bad"),
    [
        ("alpha", None),
        ("alpha", {"normal": torch.zeros(2, 4)}),
        ("alpha", {"normal": torch.zeros(2, 4), "reduce": torch.full((2, 4), math.nan)}),
        ("hidden", None),
        ("hidden", {"train": None}),
        ("hidden", {"train": None, "valid": "x"}),
        ("model", {}),
        ("w", None),
        ("alpha_optim", {"state": {7: {}}}),
    ],
)
def test_a_state_that_is_not_one_is_refused_and_nothing_is_touched(entry, bad):
    last, *_ = whole("first")[0]
    space, model, objective = images(seed=9)
    before, alpha = kept(model), darts.start(space)
    spoiled = replace(last, state={**last.state, entry: bad})
    with pytest.raises(ValueError, match=rf"^state\.{entry}"):
        next(darts.search(space, model, objective, alpha, CONFIGS["first"], torch.Generator(), spoiled))
    assert untouched(model, before) and not any(a.any() for a in alpha.values())


def test_a_resumed_search_has_the_settings_that_it_is_given():
    moved = []
    for alpha_lr in (0.1, 0.001):
        (last,), model, alpha = run("first", stop=0)
        before = alpha["normal"].detach().clone()
        config = replace(CONFIGS["first"], alpha_lr=alpha_lr)
        next(darts.search(CONV, model, IMAGES, alpha, config, torch.Generator(), last))
        moved.append((alpha["normal"] - before).norm().item())
    assert moved[0] == pytest.approx(100 * moved[1], rel=1e-3)


class Double:
    """An objective on images in float64."""

    def __init__(self, objective):
        self.loss, self.batches, self.objective = objective.loss, objective.batches, objective

    def batch(self, split, index):
        x, y = self.objective.batch(split, index)
        return x.double(), y


@pytest.mark.parametrize("name", ["first", "second", "pushed"])
def test_the_search_is_algorithm_1(name):
    """Written out again, in float64: Adam on alpha with a gradient made here, then SGD on w."""
    config, objective = CONFIGS[name], Double(IMAGES)
    (space, model, _), (_, searched, _) = images(), images()
    model.double(), searched.double()
    w, alpha, found_alpha = list(model.parameters()), *(darts.start(space, dtype=torch.float64) for _ in range(2))
    sgd = torch.optim.SGD(w, config.lr, 0.9, weight_decay=3e-4)
    adam = torch.optim.Adam(alpha.values(), 0.1, (0.5, 0.999), weight_decay=1e-3)

    def loss(split, index):
        x, y = objective.batch(split, index)
        return F.cross_entropy(model(x, {t: a.softmax(-1) for t, a in alpha.items()}), y)

    tables = list(alpha.values())
    for index in range(4):
        lr = 0.025 * (1 + math.cos(math.pi * index / 4)) / 2
        if name == "first":
            g_alpha = torch.autograd.grad(loss("valid", index), tables)
        else:
            here = [p.detach().clone() for p in w]
            g = torch.autograd.grad(loss("train", index), w)
            for p, q in zip(w, g, strict=True):
                if name == "pushed":
                    q = q + 3e-4 * p.detach() + 0.9 * sgd.state[p].get("momentum_buffer", torch.zeros_like(p))
                p.data -= lr * q
            *g_w, g_normal, g_reduce = torch.autograd.grad(loss("valid", index), [*w, *tables])
            eps = 0.01 / torch.cat([q.flatten() for q in g_w]).norm()
            sides = []
            for sign in (1, -1):
                for p, start, q in zip(w, here, g_w, strict=True):
                    p.data = start + sign * eps * q
                sides.append(torch.autograd.grad(loss("train", index), tables))
            for p, start in zip(w, here, strict=True):
                p.data = start
            g_alpha = [
                q - lr * (up - down) / (2 * eps) for q, up, down in zip((g_normal, g_reduce), *sides, strict=True)
            ]
        for a, q in zip(tables, g_alpha, strict=True):
            a.grad = q
        adam.step()
        sgd.param_groups[0]["lr"] = lr
        for p, q in zip(w, torch.autograd.grad(loss("train", index), w), strict=True):
            p.grad = q
        torch.nn.utils.clip_grad_norm_(w, 5.0)
        sgd.step()
    for _ in darts.search(space, searched, objective, found_alpha, config, torch.Generator()):
        pass
    for t, a in alpha.items():
        assert torch.allclose(found_alpha[t], a, rtol=0, atol=1e-8) and a.abs().max() > 0.1
    for p, q in zip(searched.parameters(), w, strict=True):
        assert torch.allclose(p, q, rtol=0, atol=1e-8)


def test_no_gradient_of_w_no_second_term():
    """The toy at alpha = 0, where L_valid does not depend on w."""
    a, w = (torch.tensor(v, dtype=torch.float64).requires_grad_() for v in (0.0, 1.0))

    def loss(alpha, split):
        a = alpha["a"]
        return a * w - 2 * a + 1 if split == "valid" else w**2 - 2 * a * w + a**2

    found = darts.alpha_gradient(loss, [w], {"a": a}, "train", "valid", 0.5)["a"]
    assert found.item() == -2.0 and w.item() == 1.0  # d/da = w' - 2, w' = w - 0.5 * 2 (w - a) = 0


def test_all_losses_of_a_step_see_the_same_draws():
    """Else the finite difference is one of dropout masks, over 2 epsilon."""
    space, model, objective = images()
    seen = []

    class Noisy:
        batches = objective.batches
        batch = staticmethod(objective.batch)

        def loss(self, model, weights, batch, state=None):
            seen.append(torch.rand(()).item())
            return objective.loss(model, weights, batch, state)

    alpha = darts.start(space)
    for _ in darts.search(space, model, Noisy(), alpha, darts.Config(1), torch.Generator()):
        pass
    a_step = [seen[i : i + 6] for i in range(0, len(seen), 6)]  # one for `valid_loss`, four of alpha, one of w
    assert len(a_step) == objective.batches and all(len({*draws}) == 1 for draws in a_step)
    assert len({*seen}) == len(a_step)


FAST = {"dilated 8x8": 8, "odd 9x9": 9, "10x10, odd halves": 10}
WIDTHS = [(3, True, 2), (4, True, 2), (8, True, 2), (3, False, 2)]
FOUR = pytest.param(3, True, 4, 8, id="3-True-4-dilated 8x8")  # four edges leave a state, as in the paper's cells


@pytest.mark.parametrize(
    ("channels", "pool_norm", "nodes", "size"),
    [*(pytest.param(*w, n, id="-".join(map(str, (*w, k)))) for w in WIDTHS for k, n in FAST.items()), FOUR],
)
def test_the_fast_cells_are_the_readable_ones(channels, pool_norm, nodes, size):
    """Normal and reduction cells: outputs, gradients of w and of alpha, in both orders, in float64."""
    space, found = spaces.darts_conv(nodes), []
    torch.manual_seed(0)
    alpha = {t: torch.randn(shape).double().requires_grad_() for t, shape in space.tables.items()}
    batches = {split: (torch.randn(4, 3, size, size).double(), torch.randint(0, 10, (4,))) for split in "ab"}
    for fast in (False, True):
        with runs.seeded(0):
            model = ConvNet(space, channels, 3, affine=False, pool_norm=pool_norm, fast=fast).double()
        if fast:
            model = model.to(memory_format=torch.channels_last)
        assert all(norm.running_mean is None for norm in model.modules() if isinstance(norm, torch.nn.BatchNorm2d))

        def loss(alpha, split, model=model):
            x, y = batches[split]
            return F.cross_entropy(model(x, darts.relax(alpha)), y)

        w = list(model.parameters())
        out = model(batches["a"][0], darts.relax(alpha))
        g_w = torch.autograd.grad(F.cross_entropy(out, batches["a"][1]), w)
        first, second = (darts.alpha_gradient(loss, w, alpha, "a", "b", xi) for xi in (0.0, 0.1))
        found.append([out, *g_w, *first.values(), *second.values()])
    for one, other in zip(*found, strict=True):
        assert (one - other).abs().max() <= 1e-10 * max(1.0, one.abs().max().item())


@pytest.mark.parametrize("norm", [False, True])
def test_the_fast_recurrent_cell_is_the_readable_one(norm):
    space, found = spaces.darts_rnn(4), []
    torch.manual_seed(0)
    alpha = {t: torch.randn(shape).double().requires_grad_() for t, shape in space.tables.items()}
    x, y = torch.randint(0, 7, (2, 5, 6))
    for fast in (False, True):
        with runs.seeded(0):
            model = RecurrentNet(space, 7, 6, matrices="node", norm=norm, fast=fast).double()
        out, _ = model(x, darts.relax(alpha))
        loss = F.cross_entropy(out.flatten(0, 1), y.flatten())
        found.append([out, *torch.autograd.grad(loss, [*model.parameters(), *alpha.values()])])
    for one, other in zip(*found, strict=True):
        assert (one - other).abs().max() <= 1e-10 * max(1.0, one.abs().max().item())


@pytest.mark.parametrize(
    ("xi", "expected"),
    [(0.0, [(False, True)]), (0.1, [(True, False), (True, True), (False, True), (False, True)])],
    ids=["first order", "second order"],
)
def test_what_nobody_reads_is_not_computed(xi, expected):
    """Which of w and alpha may be asked for a gradient, loss by loss."""
    space, model, objective = images()
    w, alpha, asked = list(model.parameters()), darts.start(space), []

    def loss(alpha, split):
        asked.append(({p.requires_grad for p in w}, {a.requires_grad for a in alpha.values()}))
        return objective.loss(model, darts.relax(alpha), objective.batch(split, 0))[0]

    g = darts.alpha_gradient(loss, w, alpha, "train", "valid", xi)
    assert asked == [({of_w}, {of_alpha}) for of_w, of_alpha in expected]
    assert all(p.requires_grad and p.grad is None for p in w) and all(a.grad is None for a in alpha.values())
    assert g["normal"].abs().sum() > 0


@pytest.mark.parametrize("name", ["first", "second", "pushed"])
def test_the_validation_loss_is_that_at_w_before_the_step_and_the_reward_its_negative(name):
    space, model, objective = images()
    alpha, losses = darts.start(space), []
    search = darts.search(space, model, objective, alpha, CONFIGS[name], torch.Generator())
    for index in range(3):
        x, y = objective.batch("valid", index)
        with torch.no_grad():
            expected = F.cross_entropy(model(x, {t: a.softmax(-1) for t, a in alpha.items()}), y).item()
        step = next(search)
        assert step.info["valid_loss"] == pytest.approx(expected, rel=1e-5)
        assert step.rewards == (-step.info["valid_loss"],)
        losses.append(expected)
    assert losses[0] > 1 and losses[1] != losses[0]


def test_both_orders_report_the_same_validation_loss_at_step_0():
    found = {name: run(name, stop=0)[0][0] for name in ("first", "second", "pushed")}
    assert len({step.info["valid_loss"] for step in found.values()}) == 1
    with_dropout = []
    for xi in (0.0, None):
        space, model, objective = texts()
        config = replace(CONFIGS["text"], xi=xi)
        with_dropout.append(next(darts.search(space, model, objective, darts.start(space), config, torch.Generator())))
    assert with_dropout[0].info["valid_loss"] == with_dropout[1].info["valid_loss"]


class Watched:
    """An objective that writes down what it is asked, and whose k-th loss is spoiled."""

    def __init__(self, objective, at=None, spoil=None):
        self.objective, self.batches, self.at, self.spoil, self.asked = objective, objective.batches, at, spoil, []

    def batch(self, split, index):
        return self.objective.batch(split, index)

    def loss(self, model, weights, batch, state=None):
        self.asked.append(state)
        found, after = self.objective.loss(model, weights, batch, state)
        return (self.spoil(found) if len(self.asked) - 1 == self.at else found), after


def test_the_texts_begin_anew_with_every_pass():
    space, model, objective = texts()
    watched = Watched(objective)
    config = replace(CONFIGS["text"], epochs=3, xi=0.0)
    for _ in darts.search(space, model, watched, darts.start(space), config, torch.Generator()):
        pass
    n = objective.batches
    anew = [state is None for state in watched.asked]
    assert n > 2 and anew == ([True] * 2 + [False] * 2 * (n - 1)) * 3  # of valid and train


def test_the_gradient_of_w_is_clipped():
    space, model, objective = images()
    config = darts.Config(1, xi=0.0, lr=0.5, lr_min=0.5, momentum=0.0, weight_decay=0.0, clip=0.01)
    before = [p.detach().clone() for p in model.parameters()]
    next(darts.search(space, model, objective, darts.start(space), config, torch.Generator()))
    moved = torch.cat([(p - q).flatten() for p, q in zip(model.parameters(), before, strict=True)]).norm()
    assert moved.item() == pytest.approx(0.5 * 0.01, rel=1e-3)


def test_seeds_of_the_generator_differ_where_there_is_dropout():
    def first(make, seed):
        space, model, objective = make()
        generator = torch.Generator().manual_seed(seed)
        return next(darts.search(space, model, objective, darts.start(space), darts.Config(1), generator)).rewards

    assert first(texts, 0) == first(texts, 0) != first(texts, 1)
    assert first(images, 0) == first(images, 1)


def kept(model):
    return [(p.detach().clone(), p.requires_grad) for p in model.parameters()], model.training


def untouched(model, before):
    weights, mode = kept(model)
    pairs = zip(weights, before[0], strict=True)
    return mode == before[1] and all(torch.equal(p, q) and a == b for (p, a), (q, b) in pairs)


@pytest.mark.parametrize(("xi", "losses"), [(0.0, 1), (0.1, 4)], ids=["first order", "second order"])
@pytest.mark.parametrize("training", [True, False])
def test_an_interrupt_in_any_loss_of_alpha_leaves_everything_as_it_was(xi, losses, training):
    space, model, objective = images()
    model.train(training)
    next(model.parameters()).requires_grad_(False)
    w, alpha = [p for p in model.parameters() if p.requires_grad], darts.start(space)
    for at in range(losses):
        before, calls = kept(model), []

        def loss(alpha, split, at=at, calls=calls):
            calls.append(split)
            if len(calls) - 1 == at:
                raise KeyboardInterrupt
            return objective.loss(model, darts.relax(alpha), objective.batch(split, 0))[0]

        with pytest.raises(KeyboardInterrupt):
            darts.alpha_gradient(loss, w, alpha, "train", "valid", xi)
        assert len(calls) == at + 1 and untouched(model, before)


@pytest.mark.parametrize(("name", "losses"), [("first", 2), ("second", 6), ("pushed", 6)])
def test_an_interrupt_in_any_loss_of_a_step_leaves_w_as_it_was(name, losses):
    def interrupt(found):
        raise KeyboardInterrupt

    for at in range(losses):
        space, model, objective = images()
        search_of = Watched(objective, losses + at, interrupt)
        search = darts.search(space, model, search_of, darts.start(space), CONFIGS[name], torch.Generator())
        next(search)
        before = kept(model)
        with pytest.raises(KeyboardInterrupt):
            next(search)
        assert len(search_of.asked) == losses + at + 1 and untouched(model, before)


def test_what_was_frozen_stays_frozen():
    w = [torch.zeros(2, requires_grad=True), torch.zeros(2)]
    with darts.frozen(w):
        assert not any(p.requires_grad for p in w)
    assert [p.requires_grad for p in w] == [True, False]


@pytest.mark.parametrize(
    ("at", "quantity"), [*((k, "valid loss") for k in (0, 2)), *((k, "train loss") for k in (1, 5))]
)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_the_search_before_it_is_learned_from(at, quantity, bad):
    space, model, objective = images()
    alpha, watched = darts.start(space), Watched(objective, 6 + at, lambda found: found * bad)
    search = darts.search(space, model, watched, alpha, CONFIGS["second"], torch.Generator())
    next(search)
    before, tables = kept(model), [a.detach().clone() for a in alpha.values()]
    with pytest.raises(FloatingPointError, match=f"step 1: {quantity} is {bad}"):
        next(search)
    assert untouched(model, before)
    assert at == 5 or all(map(torch.equal, alpha.values(), tables))  # the last is that of w, after the step of alpha


def infinite_slope(found):
    """The same value, with an infinite gradient."""
    return found + (found - found.detach()).sqrt()


@pytest.mark.parametrize(
    ("name", "at", "message"),
    [
        ("first", 0, r"squared gradient of alpha.normal is (nan|inf); the rewards are \(-2"),
        ("first", 1, r"norm of the gradient of w is (nan|inf)"),
        ("second", 3, r"squared gradient of alpha.normal is (nan|inf)"),
    ],
)
def test_a_gradient_that_is_no_number_stops_the_search_before_w_moves(name, at, message):
    space, model, objective = images()
    before, watched = kept(model), Watched(objective, at, infinite_slope)
    with pytest.raises(FloatingPointError, match=f"step 0: {message}"):
        next(darts.search(space, model, watched, darts.start(space), CONFIGS[name], torch.Generator()))
    assert untouched(model, before)


def test_an_alpha_that_is_no_number_stops_the_search_before_it_is_shown():
    space, model, objective = images()
    config, alpha = replace(CONFIGS["first"], alpha_lr=1e38, alpha_betas=(0.0, 0.999)), darts.start(space)
    with pytest.raises(
        FloatingPointError, match=r"step [0-3]: squares of alpha\.(normal|reduce) is (nan|inf); the rewards are \(-"
    ):
        for _ in darts.search(space, model, objective, alpha, config, torch.Generator()):
            assert all(a.isfinite().all() for a in alpha.values())


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        *((n, b) for n in ("epochs",) for b in (-1, 1.0, None, True)),
        *((n, b) for n in ("radius", "lr", "clip", "alpha_lr") for b in (0, -1.0, math.inf, math.nan, "1", None)),
        *((n, b) for n in ("lr_min", "weight_decay", "alpha_weight_decay", "xi") for b in (-0.1, math.nan, "1")),
        *(("momentum", b) for b in (-0.1, 1.0, 7, math.nan, None)),
        *(("alpha_betas", b) for b in ((2, 5), (0.5, 1.0), (-0.1, 0.9), (0.9,), 0.9, None, (0.5, math.nan))),
        *(("momentum_ahead", b) for b in (1, "yes", None)),
    ],
)
def test_settings_out_of_range_are_refused_by_name(field, bad):
    with pytest.raises(ValueError, match=f"{field}: got "):
        darts.Config(**{field: bad})


def test_the_papers_settings():
    c = darts.Config()
    assert (c.epochs, c.lr, c.lr_min, c.momentum, c.weight_decay, c.clip) == (50, 0.025, 0, 0.9, 3e-4, 5)
    assert (c.alpha_lr, c.alpha_betas, c.alpha_weight_decay, c.xi) == (3e-4, (0.5, 0.999), 1e-3, None)
    assert (darts.PTB.lr, darts.PTB.lr_min, darts.PTB.clip, darts.PTB.alpha_lr) == (20, 20, 0.25, 3e-3)
