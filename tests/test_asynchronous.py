"""REINFORCE with the gradients of a simulated fleet: against `reinforce.search`, and against a literal rewriting."""

import pytest
import torch

from naslab import asynchronous, fleet, runs, spaces
from naslab.controller import Controller
from naslab.fleet import Duration, Fleet, Gradient
from naslab.search import reinforce
from naslab.search.reinforce import Config
from naslab.steps import Failed

SPACE = spaces.MacroSpace(3)


def ones(tokens):
    return sum(t == 1 for t in tokens) / len(tokens)


def make(seed=0):
    with runs.seeded(seed):
        return Controller(SPACE, 12)


def simulated(replicas, updates, seed=0, **settings):
    machines = Fleet(3, replicas, 4, 4 * replicas, Duration(5, 2), Duration(1), Duration(1), **settings)
    return fleet.simulate(machines, torch.Generator().manual_seed(seed), updates=updates)


def search(gradients, config, controller, evaluate=ones, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return asynchronous.search(SPACE, evaluate, controller, config, gradients, generator)


@pytest.mark.parametrize("settings", [{}, {"entropy_weight": 0.1, "power": 3.0, "baseline_decay": 0.5}])
def test_one_replica_is_reinforce_to_the_last_bit(settings):
    config, stale, plain = Config(12, 4, 0.02, **settings), make(), make()
    found = search(simulated(1, 12).gradients, config, stale)
    wanted = reinforce.search(SPACE, ones, plain, config, torch.Generator().manual_seed(3))
    for a, b in zip(found, wanted, strict=True):
        assert (a.index, a.children, a.rewards, a.failures) == (b.index, b.children, b.rewards, b.failures)
        assert a.info.items() >= b.info.items() and a.info["staleness"] == 0
        assert all(torch.equal(p, q) for p, q in zip(stale.parameters(), plain.parameters(), strict=True))


@pytest.mark.parametrize("settings", [{"replicas": 3}, {"replicas": 5, "gradients_per_update": 2}])
def test_every_gradient_is_taken_at_the_theta_that_was_pulled(settings):
    """Against a literal rewriting that shares the random numbers, the controller's strings and torch's Adam."""
    report, config = simulated(updates=8, **settings), Config(8, 4, 0.05, baseline_decay=0.7)
    assert report.staleness.max() >= 1
    found, literal = make().double(), make().double()
    optim, generator, average = torch.optim.Adam(literal.parameters(), 0.05), torch.Generator().manual_seed(3), 0.0
    past, g = [], report.fleet.gradients_per_update
    for step in search(report.gradients, config, found):
        past.append({name: p.clone() for name, p in literal.state_dict().items()})
        sums = [torch.zeros_like(p) for p in literal.parameters()]
        children, group = [], report.gradients[step.index * g : step.index * g + g]
        for gradient in group:
            old = make().double()
            old.load_state_dict(past[gradient.pulled])
            tokens = old(4, generator)[0]
            children += map(tuple, tokens.tolist())
            advantages = torch.tensor([ones(t) - average for t in tokens.tolist()], dtype=torch.float64)
            value = (advantages * old.score(tokens)[0]).sum() / (4 * g)
            sums = [
                s - d
                for s, d in zip(
                    sums, torch.autograd.grad(value, [*old.parameters()], materialize_grads=True), strict=True
                )
            ]
        for p, total in zip(literal.parameters(), sums, strict=True):
            p.grad = total
        optim.step()
        mean = sum(map(ones, children)) / len(children)
        average = 0.7 * average + 0.3 * mean if step.index else mean
        assert step.children == tuple(children) and step.rewards == tuple(map(ones, children))
        assert step.info["baseline"] == pytest.approx(average, abs=1e-12)
        assert step.info["staleness"] == sum(each.pushed - each.pulled for each in group) / g
        assert step.info["seconds"] == report.updates[step.index]
        for p, q in zip(found.parameters(), literal.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-12)


def test_a_failed_child_keeps_its_place_among_those_of_all_replicas():
    def evaluate(tokens):
        evaluate.calls += 1
        return Failed("lost") if evaluate.calls in (2, 7) else 0.5

    evaluate.calls = 0
    report = simulated(2, 1, gradients_per_update=2)
    (step,) = search(report.gradients, Config(1, 4, 0.02), make(), evaluate)
    assert step.failures == {1: "lost", 6: "lost"} and step.rewards[1] == step.rewards[6] == 0
    assert len(step.children) == 8


@pytest.mark.parametrize("synchronous", [False, True])
def test_many_replicas_learn_a_counting_reward(synchronous):
    machines = Fleet(3, 4, 8, 32, Duration(5, 2), Duration(1), Duration(1))
    machines = fleet.synchronised(machines) if synchronous else machines
    updates = 60 if synchronous else 120
    report = fleet.simulate(machines, torch.Generator().manual_seed(0), updates=updates)
    controller = make()
    *_, last = search(report.gradients, Config(updates, 8, 0.02), controller)
    with torch.no_grad():
        tokens, *_ = controller(500, torch.Generator().manual_seed(0))
    assert sum(map(ones, tokens.tolist())) / 500 > 0.9
    assert (last.info["staleness"] == 0) == synchronous


def pairs(*versions):
    return [Gradient(0, pulled, pushed, 1.0) for pulled, pushed in versions]


@pytest.mark.parametrize(
    ("gradients", "config", "message"),
    [
        (pairs((0, 0)), Config(2, 4), "gradients: got those of 1 updates, expected 2"),
        (pairs((0, 0), (2, 1)), Config(2, 4), r"gradients\[1\]: got Gradient.*expected 0 <= pulled <= pushed = 0 or 1"),
        (pairs((0, 0), (0, 2)), Config(2, 4), r"gradients\[1\]"),
        (pairs((-1, 0)), Config(1, 4), r"gradients\[0\]"),
        ([(0, 0)], Config(1, 4), "gradients: got .*expected those of a fleet.Report"),
        (pairs((0, 0)), Config(1, 4, grow_every=8), "grow_every: got 8, expected 0"),
        (pairs((0, 0)), None, "config: got NoneType, expected Config"),
    ],
)
def test_gradients_that_do_not_fit_are_named(gradients, config, message):
    with pytest.raises(ValueError, match=message):
        next(search(gradients, config, make()))


def test_a_search_that_diverges_stops():
    huge = search(simulated(3, 5).gradients, Config(5, 4, 0.02), make(), lambda tokens: 1e300)
    with pytest.raises(FloatingPointError, match="diverged: step 0"):
        list(huge)
