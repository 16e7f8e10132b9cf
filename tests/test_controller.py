import math

import pytest
import torch
from fake_device import fake_gpu
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch.distributions import Bernoulli, kl_divergence

from naslab import controller as module
from naslab import spaces
from naslab.controller import Controller, anchor_points, moving_average, policy_loss, skip_divergence
from naslab.runs import seeded

SMALL = {  # every string can be written down
    "macro": spaces.MacroSpace(3, ("a", "b")),
    "pairs": spaces.CellSpace(("normal",), nodes=2, inputs=2, ops=("a", "b"), fan_in=2),
    "chain": spaces.CellSpace(("recurrent",), nodes=3, inputs=1, ops=("none", "a", "b"), fan_in=1),
    "edges": spaces.CellSpace(("cell",), nodes=2, inputs=1, ops=("none", "a", "b"), fan_in=None),
    "conv": spaces.ConvSpace(3, heights=(1, 3), widths=(3,), filters=(24,)),
    "leaf": spaces.TreeSpace(1),
    "tree": spaces.TreeSpace(2, combine=("add",), activation=("tanh", "relu")),
}
SPACES = {
    **SMALL,
    "conv_6": spaces.ConvSpace(),
    "conv_plain": spaces.ConvSpace(3, skips=False),
    "tree_8": spaces.TreeSpace(),
    "macro_12": spaces.MacroSpace(),
    "darts_conv": spaces.darts_conv(),
    "darts_rnn": spaces.darts_rnn(),
    "enas_micro": spaces.enas_micro(),
    "enas_rnn": spaces.enas_rnn(),
    "nas_bench_201": spaces.nas_bench_201(),
}


def make(space, seed=0, units=4, layers=2, init=0.8, **settings):
    """A small controller in float64, far from uniform."""
    with seeded(seed):
        return Controller(space, units, layers, init, **settings).double()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def every_string(space):
    return torch.tensor(list(spaces.all_strings(space)))  # (S, D)


def flat(tensors):
    return torch.cat([t.flatten() for t in tensors])


def gradient(value, model):
    """Of a scalar, by all parameters in one vector."""
    return gradients([value], model)[0]


def gradients(values, model):
    """Of many scalars, one row each."""
    rows = torch.eye(len(values), dtype=torch.float64)
    parameters = [p for p in model.parameters() if p.numel()]
    g = torch.autograd.grad(
        torch.stack(values), parameters, rows, is_grads_batched=True, retain_graph=True, materialize_grads=True
    )
    return torch.cat([t.flatten(1) for t in g], dim=1)


def estimates(model, strings, rewards, baseline):
    """REINFORCE's estimate from every string alone (S, parameters), as `policy_loss` gives it."""
    scored = model.score(strings)
    losses = [policy_loss(*(s[k : k + 1] for s in scored), r[None], baseline) for k, r in enumerate(rewards)]
    return -gradients(losses, model)


def reward(tokens):
    """Some number for every string, nothing special."""
    return torch.sin(3.0 * (tokens * torch.arange(1, tokens.shape[1] + 1)).sum(1).double()) + 0.2


# The policy gradient, against enumeration


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("bounded", [False, True])
def test_the_probabilities_of_all_strings_sum_to_one(name, bounded):
    model = make(SMALL[name], **({"temperature": 5.0, "tanh_constant": 2.5} if bounded else {}))
    strings = every_string(SMALL[name])
    log_prob, _ = model.score(strings)
    assert len(strings) == SMALL[name].strings
    assert abs(log_prob.exp().sum().item() - 1) < 1e-12


@pytest.mark.parametrize("name", SMALL)
def test_reinforce_averaged_over_all_strings_is_the_gradient_of_the_expected_reward(name):
    model, strings = make(SMALL[name]), every_string(SMALL[name])
    rewards = reward(strings)
    log_prob, _ = model.score(strings)
    exact = gradient((log_prob.exp() * rewards).sum(), model)  # of J = sum_a P(a) R(a)
    assert exact.norm() > 1e-3

    for baseline in (0.0, 0.7, -30.0):
        average = log_prob.detach().exp() @ estimates(model, strings, rewards, baseline)
        torch.testing.assert_close(average, exact, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", SMALL)
def test_the_entropy_averaged_over_all_strings_is_the_policy_s(name):
    """What sampling adds up is an unbiased estimate of -sum P log P."""
    model = make(SMALL[name])
    log_prob, entropy = model.score(every_string(SMALL[name]))
    p = log_prob.exp()
    torch.testing.assert_close((p * entropy).sum(), -(p * log_prob).sum(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["macro", "chain", "leaf"])
def test_the_optimal_constant_baseline_has_the_least_variance(name):
    model, strings = make(SMALL[name], seed=1), every_string(SMALL[name])
    rewards = reward(strings)
    p = model.score(strings)[0].detach().exp()

    def variance(b):
        """The trace of the covariance of the one-sample estimate: exact, nothing is drawn."""
        g = estimates(model, strings, rewards, b)
        return (p * (g - p @ g).square().sum(1)).sum().item()

    squares = estimates(model, strings, torch.ones_like(rewards), 0.0).square().sum(1)  # |grad log P(a)|^2
    best = ((p * squares * rewards).sum() / (p * squares).sum()).item()
    least = variance(best)
    assert abs(best - (p * rewards).sum().item()) > 1e-4  # the mean reward is another one
    for b in torch.linspace(-1.5, 1.5, 7).tolist():
        excess = (p * squares).sum().item() * (b - best) ** 2  # a parabola around the best
        assert variance(b) == pytest.approx(least + excess, rel=1e-9) and excess > 0


def test_a_policy_loss_is_what_it_says():
    log_prob, entropy, rewards = torch.tensor([-1.0, -2.0]), torch.tensor([0.5, 0.25]), torch.tensor([1.0, 0.0])
    found = policy_loss(log_prob, entropy, rewards, baseline=0.5, entropy_weight=0.1)
    assert found.item() == pytest.approx(-((-1.0 * 0.5 + -2.0 * -0.5) + 0.1 * 0.75) / 2)


@pytest.mark.parametrize("name", ["macro", "pairs", "chain", "conv", "tree", "nas_bench_201"])
@pytest.mark.parametrize("bounded", [False, True])
def test_the_gradient_of_the_loss_with_entropy_is_its_finite_difference(name, bounded):
    model = make(SPACES[name], **({"temperature": 2.0, "tanh_constant": 1.5} if bounded else {}))
    with torch.no_grad():
        tokens = model(6, generator())[0]

    def loss():
        return policy_loss(*model.score(tokens), reward(tokens), 0.3, entropy_weight=0.4)

    g = gradient(loss(), model)
    assert g.isfinite().all()
    flow, start = generator(1), [p.detach().clone() for p in model.parameters()]
    for _ in range(4):
        v = [torch.randn(p.shape, dtype=p.dtype, generator=flow) for p in start]
        sides = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                for p, p0, d in zip(model.parameters(), start, v, strict=True):
                    p.copy_(p0 + step * d)
            sides.append(loss().item())
        assert (sides[0] - sides[1]) / 2e-5 == pytest.approx((g @ flat(v)).item(), rel=1e-6, abs=1e-8)


def skips(space):
    return [k for k, d in enumerate(space.decisions) if d.kind == "skip"]


@pytest.mark.parametrize("name", ["macro", "macro_12", "conv", "conv_6"])
@pytest.mark.parametrize("rho", [0.4, 0.01, 0.9])
def test_the_skip_divergence_is_the_mean_of_the_bits_divergences(name, rho):
    model = make(SPACES[name])
    tokens, log_p = model.draw(5, generator())
    found = skip_divergence(model.space, log_p, rho)
    trace, target = model.trace(tokens), Bernoulli(torch.tensor(rho, dtype=torch.float64))
    wanted = [kl_divergence(Bernoulli(trace[k][:, 1]), target) for k in skips(model.space)]
    torch.testing.assert_close(found, torch.stack(wanted).mean(0), rtol=1e-9, atol=1e-12)
    assert found.shape == (5,) and (found > 0).all()
    (found.sum() - torch.stack(wanted).mean(0).sum()).backward()
    left = [p.grad.abs().max() for p in model.parameters() if p.grad is not None]
    assert len(left) > 8 and max(left) < 1e-12  # of the gradient, which is the same


def test_the_skip_divergence_by_hand():
    log_p = [torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([[0.25, 0.75]]).log()]  # the ops' do not count
    found = skip_divergence(spaces.MacroSpace(2, ("a", "b")), log_p, 0.4)
    assert found.item() == pytest.approx(0.25 * math.log(0.25 / 0.6) + 0.75 * math.log(0.75 / 0.4))
    log_p[2] = torch.tensor([[0.6, 0.4]]).log()
    assert skip_divergence(spaces.MacroSpace(2, ("a", "b")), log_p, 0.4).item() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("name", sorted(name for name in SPACES if not skips(SPACES[name])))
def test_a_space_without_skips_has_no_divergence(name):
    model = make(SPACES[name])
    found = skip_divergence(model.space, model.draw(3, generator())[1], 0.4)
    assert found.tolist() == [0, 0, 0] and found.dtype == torch.float64


def test_a_moving_average_starts_at_its_first_value():
    assert moving_average(None, 3.0, 0.9) == 3.0
    assert moving_average(3.0, 1.0, 0.75) == 2.5


# Sampling and scoring


@pytest.mark.parametrize("name", SPACES)
def test_scoring_sampled_strings_gives_what_sampling_gave(name):
    model = make(SPACES[name])
    tokens, log_prob, entropy = model(5, generator())
    assert tokens.shape == (5, len(model.space.decisions)) and tokens.dtype == torch.int64
    assert log_prob.shape == entropy.shape == (5,)
    again = model.score(tokens)
    torch.testing.assert_close(again, (log_prob, entropy), rtol=1e-12, atol=1e-12)
    for k in range(5):  # nor does a string depend on what is scored beside it
        torch.testing.assert_close(torch.cat(model.score(tokens[k : k + 1])), torch.stack([log_prob[k], entropy[k]]))


@pytest.mark.parametrize("name", SPACES)
def test_drawing_then_summing_is_sampling(name):
    model = make(SPACES[name])
    tokens, log_p = model.draw(5, generator(1))
    sampled = model(5, generator(1))
    assert all(map(torch.equal, (tokens, *model.summed(tokens, log_p)), sampled))
    assert [q.shape for q in log_p] == [(5, len(d.options)) for d in model.space.decisions]
    torch.testing.assert_close([q.exp() for q in log_p], model.trace(tokens), rtol=1e-12, atol=1e-12)
    product = torch.stack([p[range(5), t] for p, t in zip(model.trace(tokens), tokens.T, strict=True)]).prod(0)
    torch.testing.assert_close(sampled[1].exp(), product, rtol=1e-9, atol=0)


def test_anchor_points_are_the_steps_of_the_lstm():
    points = [[d.name for d in point] for point in anchor_points(spaces.MacroSpace(4))]
    assert points == [
        ["0.op"],
        ["1.op"],
        ["1.skip.0"],
        ["2.op"],
        ["2.skip.0", "2.skip.1"],
        ["3.op"],
        ["3.skip.0", "3.skip.1", "3.skip.2"],
    ]


@pytest.mark.parametrize("name", SPACES)
def test_only_the_skip_bits_of_a_layer_share_an_anchor_point(name):
    space = SPACES[name]
    points = anchor_points(space)
    assert [d for point in points for d in point] == list(space.decisions)
    for point in points:
        assert len(point) == 1 or {(d.kind, d.row[0]) for d in point} == {("skip", point[0].row[0])}
    assert len(points) == len(space.decisions) - len(skips(space)) + len(
        {space.decisions[k].row[0] for k in skips(space)}
    )


@pytest.mark.parametrize("name", SPACES)
def test_the_trace_holds_what_was_scored(name):
    model = make(SPACES[name])
    tokens, log_prob, entropy = model(5, generator())
    trace = model.trace(tokens)
    assert [t.shape for t in trace] == [(5, len(d.options)) for d in model.space.decisions]
    likelihood, surprise = torch.ones(5).double(), torch.zeros(5).double()
    for k, p in enumerate(trace):
        torch.testing.assert_close(p.sum(1), torch.ones(5).double())
        likelihood *= p[range(5), tokens[:, k]]
        surprise += torch.special.entr(p).sum(1)
    torch.testing.assert_close(likelihood.log(), log_prob, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(surprise, entropy, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", sorted(SPACES.keys() - {"leaf"}))  # nothing can depend on a leaf's injection
def test_every_parameter_learns(name):
    model = make(SPACES[name])
    log_prob, entropy = model.score(model(20, generator())[0])
    policy_loss(log_prob, entropy, log_prob.detach(), 0.0, 0.1).backward()
    certain = {d.kind for d in SPACES[name].decisions if len(d.options) == 1}  # nothing to learn about these
    still = [n for n, p in model.named_parameters() if p.numel() and (p.grad is None or not p.grad.any())]
    assert [n for n in still if n.split(".")[1] not in certain] == []


@pytest.mark.parametrize("name", ["macro", "pairs", "leaf"])
def test_strings_are_drawn_as_often_as_their_probabilities_say(name):
    space = SMALL[name]
    model, strings = make(space, init=0.5), every_string(space)
    with torch.no_grad():
        expected = model.score(strings)[0].exp() * 20_000
        drawn = model(20_000, generator(5))[0]
    place = {tuple(s): k for k, s in enumerate(strings.tolist())}
    found = torch.tensor([place[tuple(s)] for s in drawn.tolist()]).bincount(minlength=len(strings))
    rare = expected < 5  # the test wants at least five of each
    pooled = [torch.cat([c[~rare], c[rare].sum()[None]]) if rare.any() else c for c in (found.double(), expected)]
    assert chisquare(pooled[0], pooled[1] * 20_000 / pooled[1].sum()).pvalue > 1e-4


@pytest.mark.parametrize("name", SPACES)
def test_the_same_generator_draws_the_same_strings(name):
    model = make(SPACES[name])
    torch.manual_seed(1)
    first = model(4, generator(3))[0]
    torch.manual_seed(2)
    assert torch.equal(first, model(4, generator(3))[0])
    if name not in ("edges", "leaf"):  # with so few strings, chance may repeat them
        assert not torch.equal(first, model(4, generator(4))[0])


@given(st.sampled_from(sorted(SPACES)), st.integers(0, 2**20), st.sampled_from([1e-4, 0.1, 1.0, 50.0]))
def test_drawn_strings_are_valid_at_any_temperature(name, seed, temperature):
    space = SPACES[name]
    model = make(space, seed, temperature=temperature).float()
    tokens, log_prob, entropy = model(6, generator(seed))
    assert all(space.check(row) == tuple(row) for row in tokens.tolist())
    assert log_prob.isfinite().all() and (entropy >= 0).all()


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("extreme", [0.0, 1 - 2**-24, 1.0])
def test_the_ends_of_the_interval_draw_allowed_options(name, extreme, monkeypatch):
    """1.0 is not drawn, but is what a number near it is rounded to in a narrow type."""
    model = make(SPACES[name]).float()
    monkeypatch.setattr(module.torch, "rand", lambda *shape, generator: torch.full(shape, extreme))
    tokens, log_prob, _ = model(2, generator())
    assert all(model.space.check(row) for row in tokens.tolist()) and log_prob.isfinite().all()


def test_rounding_never_draws_what_has_no_probability():
    """A sum that ends below the number drawn must not fall through to an option of probability zero."""
    space = spaces.MacroSpace(1, ("a", "b", "c", "d"))
    model = make(space).float()
    with torch.no_grad():
        model.head["op"].weight.zero_()
        model.head["op"].bias.copy_(torch.tensor([0.0, 0.0, 0.0, -1e6]))
    u = torch.full((1, 1, 1), 1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.torch, "rand", lambda *shape, generator: u)
        tokens, log_prob, _ = model(1, generator())
    assert tokens.item() == 2 and log_prob.item() == pytest.approx(-math.log(3))


# The formulas of section 3.3, by hand


class ByHand:
    """The LSTM of a controller, unrolled from its parameters alone, one child at a time."""

    def __init__(self, model):
        self.p = dict(model.named_parameters())
        self.depth = len(model.lstm)
        self.state = [(torch.zeros(model.units).double(),) * 2 for _ in range(self.depth)]

    def read(self, x):
        """One step of all layers; the top hidden state."""
        for k in range(self.depth):
            h, c = self.state[k]
            a = self.p[f"lstm.{k}.weight_ih"] @ x + self.p[f"lstm.{k}.bias_ih"]
            a = a + self.p[f"lstm.{k}.weight_hh"] @ h + self.p[f"lstm.{k}.bias_hh"]
            i, f, g, o = a.chunk(4)
            c = 1 / (1 + (-f).exp()) * c + 1 / (1 + (-i).exp()) * g.tanh()
            x = 1 / (1 + (-o).exp()) * c.tanh()
            self.state[k] = (x, c)
        return x

    def logits(self, kind, h):
        return self.p[f"head.{kind}.weight"] @ h + self.p[f"head.{kind}.bias"]

    def embed(self, kind, token):
        return self.p[f"embedding.{kind}.weight"][token]

    def attend(self, kind, h_j, h_i):
        """v' tanh(W_prev h_j + W_curr h_i)"""
        hidden = (self.p[f"previous.{kind}.weight"] @ h_j + self.p[f"current.{kind}.weight"] @ h_i).tanh()
        return (self.p[f"v.{kind}.weight"] @ hidden).squeeze()


SQUEEZES = {"plain": (1.0, None), "temperature": (5.0, None), "tanh": (1.0, 2.5), "both": (5.0, 2.5)}


@pytest.fixture(params=SQUEEZES)
def squeeze(request):
    """Settings of a controller, and what they should do to a logit."""
    t, c = SQUEEZES[request.param]
    return {"temperature": t, "tanh_constant": c}, lambda z: z / t if c is None else c * torch.tanh(z / t)


@pytest.mark.parametrize(
    "kinds", [("op",), ("filter_height", "filter_width", "stride_height", "stride_width", "filters")]
)
def test_skips_are_drawn_by_the_formula_of_3_3(kinds, squeeze):
    settings, bound = squeeze
    space = spaces.MacroSpace(4) if kinds == ("op",) else spaces.ConvSpace(4, strides=(1, 2, 3))
    model = make(space, **settings)
    tokens = model(3, generator(2))[0]
    tokens[0, [space.decisions.index(d) for d in space.decisions if d.kind == "skip"]] = 1  # all; the rest is drawn
    trace = model.trace(tokens)
    for row in range(3):
        hand, x, anchors, at = ByHand(model), model.start, [], 0
        for layer in range(4):
            for kind in kinds:
                h = hand.read(x)
                if layer == 1 and not anchors:
                    anchors = [h]  # layer 0 has no skips to draw: what has read it also writes layer 1
                wanted = bound(hand.logits(kind, h)).softmax(0)
                torch.testing.assert_close(trace[at][row], wanted, rtol=1e-12, atol=1e-12)
                x, at = hand.embed(kind, tokens[row, at]), at + 1
            if layer == 0:
                continue
            h_i, chosen = hand.read(x), []  # the anchor point of this layer
            for h_j in anchors:
                wanted = 1 / (1 + (-bound(hand.attend("skip", h_j, h_i))).exp())
                torch.testing.assert_close(trace[at][row, 1], wanted, rtol=1e-12, atol=1e-12)
                chosen += [h_j] if tokens[row, at] else []
                at += 1
            x = sum(chosen, torch.zeros_like(h_i)) / (1 + len(chosen))
            anchors = [*anchors, h_i]
        assert at == tokens.shape[1]


@pytest.mark.parametrize("distinct", [True, False])
def test_pointers_are_drawn_by_the_same_attention_under_a_softmax(distinct, squeeze):
    settings, bound = squeeze
    space = spaces.CellSpace(("normal", "reduce"), 3, 2, ("a", "b", "c"), fan_in=2, distinct=distinct)
    model = make(space, **settings)
    tokens = model(3, generator(2))[0]
    trace = model.trace(tokens)
    for row in range(3):
        hand, x, at = ByHand(model), model.start, 0
        for _ in space.cells:
            anchors: list = list(model.inputs)
            for _ in range(space.nodes):
                earlier = []
                for _ in range(2):
                    h = hand.read(x)
                    if anchors[-1] is None:
                        anchors[-1] = h  # the state that has read all of the node before
                    logits = bound(torch.stack([hand.attend("input", h_j, h) for h_j in anchors]))
                    if distinct:
                        logits[torch.tensor(earlier, dtype=torch.int64)] = -math.inf
                    torch.testing.assert_close(trace[at][row], logits.softmax(0), rtol=1e-12, atol=1e-12)
                    earlier, x = [*earlier, tokens[row, at]], anchors[tokens[row, at]]
                    wanted = bound(hand.logits("op", hand.read(x))).softmax(0)
                    torch.testing.assert_close(trace[at + 1][row], wanted, rtol=1e-12, atol=1e-12)
                    x, at = hand.embed("op", tokens[row, at + 1]), at + 2
                anchors.append(None)
        assert at == tokens.shape[1]


@pytest.mark.parametrize("name", SPACES)
def test_the_tanh_constant_bounds_the_logits(name):
    space, c = SPACES[name], 0.5
    model = make(space, init=50.0, tanh_constant=c)  # wild logits
    for d, p in zip(space.decisions, model.trace(model(6, generator())[0]), strict=True):
        possible = p.masked_fill(p == 0, math.nan)
        spread = torch.log(possible.nan_to_num(0).amax(1) / possible.nan_to_num(math.inf).amin(1))
        assert (spread <= (c if d.kind == "skip" else 2 * c) + 1e-12).all()  # a skip's logit stands against 0


@pytest.mark.parametrize("name", SPACES)
def test_the_temperature_divides_the_logits(name):
    model = make(SPACES[name])
    tokens = model(4, generator())[0]
    cold = model.trace(tokens)
    model.temperature = 4.0
    for p, flatter in zip(cold, model.trace(tokens), strict=True):
        powered = p**0.25
        torch.testing.assert_close(flatter, powered / powered.sum(1, keepdim=True), rtol=1e-10, atol=1e-12)


def test_the_weights_start_within_init():
    model = make(SPACES["macro_12"], units=35, init=0.08)
    largest = {n: p.abs().max().item() for n, p in model.named_parameters() if p.numel()}
    assert all(0 < value <= 0.08 for value in largest.values()) and max(largest.values()) > 0.079


# A string that grows


@pytest.mark.parametrize(
    ("small", "large"),
    [
        (spaces.ConvSpace(3, strides=(1, 2)), spaces.ConvSpace(5, strides=(1, 2))),
        (spaces.ConvSpace(2, skips=False), spaces.ConvSpace(4, skips=False)),
        (spaces.MacroSpace(3), spaces.MacroSpace(4)),
        (spaces.darts_rnn(3), spaces.darts_rnn(5)),
    ],
)
def test_growing_leaves_the_distribution_over_the_old_layers_as_it_was(small, large):
    model = make(small)
    weights = {n: p.clone() for n, p in model.state_dict().items()}
    tokens = torch.tensor([large.sample(generator(k)) for k in range(7)])
    old = len(small.decisions)
    before = model.trace(tokens[:, :old])
    model.grow(large)
    after = model.trace(tokens)
    assert len(after) == len(large.decisions)
    torch.testing.assert_close(before, after[:old], rtol=1e-12, atol=1e-12)
    assert all(torch.equal(weights[n], p) for n, p in model.state_dict().items())
    assert all(large.check(row) for row in model(3, generator())[0].tolist())


@pytest.mark.parametrize(
    ("known", "foreign"),
    [
        (spaces.ConvSpace(2), spaces.MacroSpace(4)),
        (spaces.MacroSpace(3), spaces.MacroSpace(4, ("a", "b"))),
        (spaces.ConvSpace(2, skips=False), spaces.ConvSpace(3)),
        (spaces.TreeSpace(2), spaces.TreeSpace(4)),  # more nodes, more cell indices to choose from
        (spaces.darts_rnn(2), spaces.nas_bench_201()),
        (spaces.CellSpace(("a",), 2, 1, ("x", "y"), 1), spaces.CellSpace(("a",), 2, 2, ("x", "y"), 1)),  # a new input
    ],
)
def test_growing_into_a_foreign_space_is_an_error_and_changes_nothing(known, foreign):
    model = make(known)
    with pytest.raises(ValueError, match="space: "):
        model.grow(foreign)
    assert model.space is known
    model(2, generator())


# Another device


@pytest.mark.parametrize("name", ["macro", "pairs", "conv", "leaf", "nas_bench_201"])
def test_everything_stays_on_the_controller_s_device(name):
    with fake_gpu() as device:
        model = Controller(SPACES[name], units=4, tanh_constant=2.5).to(device)
        optim = torch.optim.Adam(model.parameters(), 1e-3)
        tokens, log_prob, entropy = model(3, torch.Generator())
        policy_loss(log_prob, entropy, log_prob.detach(), 0.3, 0.1).backward()
        optim.step()
        found = [tokens, log_prob, entropy, *model.score(tokens), *model.trace(tokens), *model.parameters()]
        assert {t.device.type for t in found} == {"lazy"}
        assert all(p.grad.device.type == "lazy" for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    "setting",
    [
        *({"temperature": value} for value in (0, 0.0, -1.0, math.nan, math.inf, None, "1", True)),
        *({"tanh_constant": value} for value in (0, -2.5, math.nan, math.inf, "1", True)),
        *({"units": value} for value in (0, -1, 3.0, None, True)),
        *({"layers": value} for value in (0, -1, 1.5, None)),
        *({"init": value} for value in (0, -0.1, 1e38, math.nan, None)),
    ],
)
def test_settings_that_would_fail_late_or_never_are_refused_by_name(setting):
    (name,) = setting
    with pytest.raises(ValueError, match=f"{name}: got .*, expected"):
        Controller(SMALL["macro"], **setting)


@pytest.mark.parametrize("m", [0, -1, 1.0, None])
def test_a_number_of_strings_that_cannot_be_drawn_is_refused(m):
    with pytest.raises(ValueError, match=r"m: got .*, expected an int of at least 1"):
        make(SMALL["macro"])(m, generator())


@pytest.mark.parametrize("name", ["temperature", "tanh_constant"])
def test_an_int_beyond_int64_is_a_number(name):
    strings = make(SMALL["macro"], **{name: 10**20})(3, generator())[0]
    assert torch.equal(strings, make(SMALL["macro"], **{name: 1e20})(3, generator())[0])
