"""The simulated fleet against its closed form, and what must hold in every run."""

import math
import os
import sys
import time
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from naslab import fleet
from naslab.fleet import Duration, Fleet

CHILD = Duration(100, 30)
SECOND = Duration(1)


def simulate(machines, seed=0, **stop):
    return fleet.simulate(machines, torch.Generator().manual_seed(seed), **stop)


def test_the_settings_of_the_paper():
    images, text = fleet.cifar10(CHILD), fleet.ptb(CHILD)
    assert (images.shards, images.replicas, images.children, images.workers) == (20, 100, 8, 800)
    assert (text.shards, text.replicas, text.children, text.workers) == (20, 400, 1, 400)
    assert images.gradients_per_update == 1 and text.gradients_per_update == 10
    assert 1600 * images.children == 12_800 and 12_800 * 42 == 800 * 28 * 24


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"shards": 0}, "shards: got 0, expected an int of at least 1"),
        ({"workers": 2.0}, "workers: got 2.0, expected an int"),
        ({"child": 3.0}, "child: got float, expected Duration"),
        ({"child": Duration(0)}, "child.mean: got 0.0, expected a number above 0"),
        ({"synchronous": 1}, "synchronous: got 1, expected True or False"),
        ({"synchronous": True}, "gradients_per_update: got 1, expected one of each replica, 16"),
    ],
)
def test_a_wrong_setting_is_named(changed, message):
    with pytest.raises(ValueError) as error:
        replace(Fleet(4, 16, 8, 128, CHILD), **changed)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("numbers", [(-1,), (1, -1), (math.nan,), (1, math.inf), (0, 1), ("1",)])
def test_a_wrong_duration_is_refused(numbers):
    with pytest.raises(ValueError, match=r"^(mean|spread): got"):
        Duration(*numbers)


@given(st.floats(0.01, 1e5), st.floats(0.01, 3), st.sampled_from([1, 2, 8, 100, 10_000]))
@settings(deadline=None, max_examples=30)
def test_the_slowest_of_n_is_an_integral_over_time(mean, ratio, n):
    """E[max] = integral of P(max > t) dt = integral of 1 - F(t)^n, by scipy's lognormal and quadrature."""
    duration = Duration(mean, ratio * mean)
    law = stats.lognorm(s=math.sqrt(math.log(1 + ratio**2)), scale=mean / math.sqrt(1 + ratio**2))
    assert law.mean() == pytest.approx(mean) and law.std() == pytest.approx(ratio * mean)
    ends = [0.0, *law.ppf([1e-6, 0.1, 0.9]), *law.isf([0.1 / n, 1e-3 / n, 1e-6 / n, 1e-12 / n])]

    def beyond(t):
        return -np.expm1(n * law.logcdf(t)) if t > 0 else 1.0

    wanted = sum(integrate.quad(beyond, *pair)[0] for pair in pairwise(ends))
    assert duration.expected_max(n) == pytest.approx(wanted, rel=1e-4)
    if n == 1:
        assert duration.expected_max(1) == pytest.approx(mean, rel=1e-9)


def test_samples_have_the_mean_and_the_spread():
    generator = torch.Generator().manual_seed(0)
    drawn = CHILD.sample(40_000, generator)
    assert drawn.mean() == pytest.approx(100, rel=0.01) and drawn.std() == pytest.approx(30, rel=0.03)
    assert drawn.reshape(-1, 8).max(1).mean() == pytest.approx(CHILD.expected_max(8), rel=0.01)
    before = generator.get_state()
    assert (SECOND.sample(5, generator) == 1).all() and torch.equal(generator.get_state(), before)


REGIMES = {
    "replicas": Fleet(4, 16, 8, 128, CHILD, SECOND, Duration(2)),
    "workers": Fleet(4, 16, 8, 40, CHILD, SECOND, Duration(2)),
    "shards": Fleet(2, 64, 4, 256, CHILD, Duration(10), Duration(10)),
    "shards, uneven": Fleet(2, 64, 4, 256, CHILD, Duration(5, 2), Duration(15, 5)),
    "ten gradients": Fleet(20, 40, 1, 40, CHILD, SECOND, SECOND, gradients_per_update=10),
}


@pytest.mark.parametrize("name", REGIMES)
def test_where_one_bound_dominates_the_simulation_agrees(name):
    machines = REGIMES[name]
    limits, g = fleet.bounds(machines), machines.gradients_per_update
    assert limits.bottleneck == ("replicas" if g == 10 else name.partition(",")[0])
    report = simulate(machines, updates=1500 // g)
    after = 500 // g  # the start is not steady
    steady = report.updates[after:]
    per_hour = 3600 * (len(steady) - 1) / (steady[-1] - steady[0])
    assert per_hour == pytest.approx(limits.updates_per_hour, rel=0.03)
    assert per_hour < limits.updates_per_hour * 1.02  # a bound
    assert report.staleness[500:].mean() == pytest.approx(limits.staleness, rel=0.04)
    assert limits.children_per_hour == pytest.approx(limits.updates_per_hour * g * machines.children)
    use = report.worker_use, report.shard_use.mean()
    expected = machines.children * machines.child.mean / machines.workers, limits.demand
    for found, each in zip(use, expected, strict=True):
        assert found == pytest.approx(each * limits.gradients_per_hour / 3600, abs=0.04)


def test_synchronous_replicas_wait_for_the_slowest_child_of_all():
    machines = fleet.synchronised(Fleet(4, 16, 8, 128, CHILD, Duration(0.1), Duration(0.1)))
    limits, report = fleet.bounds(machines), simulate(machines, updates=100)
    assert report.updates_per_hour == pytest.approx(limits.updates_per_hour, rel=0.03)
    assert limits.cycle == pytest.approx(CHILD.expected_max(128) + 0.05)
    assert limits.staleness == 0 and not report.staleness.any()
    alone = CHILD.expected_max(8)  # of a replica; its wait for the slowest replica is the rest
    assert report.waiting["others"] == pytest.approx(CHILD.expected_max(128) - alone, rel=0.15)


def test_the_shards_become_the_bottleneck_at_the_saturation():
    machines = Fleet(2, 1, 4, 10_000, CHILD, Duration(10), Duration(10))
    star = fleet.bounds(machines).saturation
    below, above = (replace(machines, replicas=k) for k in (math.floor(star), math.ceil(star)))
    assert fleet.bounds(below).bottleneck == "replicas" and fleet.bounds(above).bottleneck == "shards"
    assert fleet.bounds(replace(machines, shards=4)).saturation > 1.9 * star
    assert math.isinf(fleet.bounds(Fleet(1, 4, 1, 4, CHILD)).saturation)
    rates = [
        simulate(replace(machines, replicas=k), updates=60 * k).updates_per_hour
        for k in (round(star / 3), round(3 * star))
    ]
    assert rates[0] == pytest.approx(360 / 3, rel=0.1) and rates[1] == pytest.approx(360, rel=0.05)


def test_equal_replicas_take_turns_and_each_gradient_is_k_minus_1_updates_old():
    report = simulate(Fleet(1, 8, 2, 16, Duration(50), SECOND, SECOND), updates=80)
    assert [each.replica for each in report.gradients] == [*range(8)] * 10
    assert (report.staleness[40:] == 7).all()  # at first their pulls and pushes meet at the shard
    assert fleet.bounds(report.fleet).staleness == pytest.approx(7 * (1 - 1 / 52))


durations = st.builds(lambda mean, ratio: Duration(mean, mean * ratio), st.floats(0.1, 20), st.sampled_from([0, 0.5]))
fleets = st.builds(
    Fleet,
    shards=st.integers(1, 4),
    replicas=st.integers(1, 6),
    children=st.integers(1, 4),
    workers=st.integers(1, 12),
    child=durations,
    pull=st.one_of(st.just(Duration(0)), durations),
    push=st.one_of(st.just(Duration(0)), durations),
    gradients_per_update=st.integers(1, 3),
)
fleets = st.one_of(fleets, fleets.map(fleet.synchronised))


def intervals_of(spans):
    """The intervals of everyone, in order of time."""
    found = {}
    for span in spans:
        found.setdefault(span.who, []).append((span.start, span.end))
    return {who: sorted(each) for who, each in found.items()}


@given(fleets, st.integers(0, 10**6))
@settings(deadline=None, max_examples=40)
def test_what_holds_in_every_run(machines, seed):
    updates, g = 8, machines.gradients_per_update
    report = simulate(machines, seed, updates=updates)
    again = simulate(machines, seed, updates=updates)
    assert (report.seconds, report.gradients, report.children) == (again.seconds, again.gradients, again.children)

    # every update has its gradients, every gradient its children, once
    assert len(report.updates) == updates and report.updates[-1] == report.seconds
    assert [each.pushed for each in report.gradients] == [u for u in range(updates) for _ in range(g)]
    pushes = Counter(each.replica for each in report.gradients)
    for k in range(machines.replicas):
        ended = sum(child.replica == k and child.end <= report.seconds for child in report.children)
        assert pushes[k] * machines.children <= ended <= (pushes[k] + 2) * machines.children

    # nobody does two things at a time, and nothing is after the end
    for intervals in intervals_of(report.timeline()).values():
        assert all(start <= end <= report.seconds for start, end in intervals)
        assert all(a[1] <= b[0] + 1e-9 for a, b in pairwise(intervals))
    assert {child.worker for child in report.children} <= set(range(machines.workers))
    for child in report.children:  # a child waits only while all workers are busy
        if child.start > child.asked:
            assert sum(c.start <= child.asked < c.end for c in report.children) == machines.workers
    assert 0 < report.worker_use <= 1 + 1e-9 and (report.shard_use <= 1 + 1e-9).all()
    assert min(report.waiting.values()) >= 0

    # staleness, from the order in which the shards were asked
    order = [visit for visit in report.visits if visit.what == "push"]
    assert sorted(order, key=lambda visit: visit.asked) == order
    assert [visit.replica for visit in order][: updates * g] == [each.replica for each in report.gradients]
    sent, pulled = 0, {}
    for visit in report.visits:
        if visit.what == "pull":
            pulled[visit.replica] = sent // g
        else:
            if sent < updates * g:
                assert report.staleness[sent] == sent // g - pulled[visit.replica]
            sent += 1
    if machines.replicas == 1 or machines.synchronous:
        assert not report.staleness.any()


def test_one_replica_is_synchronous():
    machines = Fleet(3, 1, 4, 2, CHILD, SECOND, SECOND)
    alone, together = (simulate(each, updates=5) for each in (machines, fleet.synchronised(machines)))
    assert alone.gradients == together.gradients and alone.children == together.children


def test_hours_and_updates_stop_the_same_run():
    machines = REGIMES["replicas"]
    by_hours = simulate(machines, hours=1.0)
    assert by_hours.seconds == 3600
    by_updates = simulate(machines, updates=len(by_hours.updates))
    assert by_updates.gradients == by_hours.gradients
    assert by_hours.updates_per_hour == len(by_hours.updates)
    names = {span.who for span in by_hours.timeline()}
    assert {"replica 15", "worker 127", "shard 3"} < names and len(names) == 16 + 128 + 4
    for stop in ({}, {"updates": 1, "hours": 1.0}):
        with pytest.raises(ValueError, match="expected one of the two"):
            simulate(machines, **stop)
    for stop, message in (({"updates": 0}, "updates: got 0"), ({"hours": -1}, "hours: got -1")):
        with pytest.raises(ValueError, match=message):
            simulate(machines, **stop)


def test_ten_thousand_workers_take_seconds():
    machines = Fleet(20, 1250, 8, 10_000, CHILD, Duration(0.5), Duration(0.5))
    start = time.process_time()
    report = simulate(machines, updates=2500)
    assert time.process_time() - start < 20 * float(os.environ.get("TIME_FACTOR", "1"))
    assert report.worker_use > 0.5 and len({child.worker for child in report.children}) == 10_000


def test_without_simpy_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "simpy", None)
    with pytest.raises(ImportError, match=r"^fleet\.simulate needs SimPy: pip install simpy") as error:
        simulate(REGIMES["replicas"], updates=1)
    assert "\n" not in str(error.value)
    assert fleet.bounds(REGIMES["replicas"]).bottleneck == "replicas"


def run_of(*spans):
    return [fleet.Span(*span) for span in spans]


def test_a_run_is_calibrated_second_by_second():
    """One replica, one worker, two children at a time; worked out by hand."""
    spans = run_of(
        ("replica 0", "pull", 0, 20),  # its process starts
        ("replica 0", "children", 20, 31),
        ("worker 7", "child of replica 0", 25, 28),  # the first child of the worker
        ("worker 7", "child of replica 0", 28.5, 30.5),  # 0.5 s of hand-over
        ("replica 0", "push", 31, 31.2),  # 0.5 s of news before
        ("replica 0", "pull", 31.2, 31.5),
        ("replica 0", "children", 31.5, 36),
        ("worker 7", "child of replica 0", 32, 33),  # 0.5 s after it was asked
        ("worker 7", "child of replica 0", 33.5, 35.5),
        ("replica 0", "push", 36, 36.4),
    )
    found = fleet.calibrated(spans, shards=2, children=2, workers=1)
    assert (found.replicas, found.children, found.workers, found.shards) == (1, 2, 1, 2)
    assert found.child.mean == pytest.approx((2.5 + 1.5 + 2.5) / 3)
    assert found.child.spread == pytest.approx(np.std([2.5, 1.5, 2.5]))
    assert found.pull.mean == pytest.approx(2 * 0.3) and found.pull.spread == 0
    assert found.push.mean == pytest.approx(2 * (0.7 + 0.9) / 2)


def test_a_run_without_a_second_turn_is_refused():
    with pytest.raises(ValueError, match="spans: got 0 children, 0 pulls, 0 pushes"):
        fleet.calibrated([], shards=1, children=1, workers=1)


def test_the_steady_rate_leaves_out_start_and_end():
    assert fleet.steady_rate([100, 0, 1, 2, 3, 4], replicas=1) == 3600  # 0 and 100 are left out
    with pytest.raises(ValueError, match="times: got 5, expected at least 6"):
        fleet.steady_rate(range(5), replicas=2)


def test_a_simulated_run_calibrates_to_itself():
    model = fleet.Fleet(1, 3, 2, 4, fleet.Duration(10, 3), fleet.Duration(0.1), fleet.Duration(0.2))
    report = fleet.simulate(model, torch.Generator().manual_seed(0), updates=400)
    spans = [span for span in report.timeline() if not span.who.startswith("shard") and span.end < report.seconds]
    found = fleet.calibrated(spans, shards=1, children=2, workers=4)
    again = fleet.simulate(found, torch.Generator().manual_seed(1), updates=400)
    assert fleet.steady_rate(again.updates, 3) == pytest.approx(fleet.steady_rate(report.updates, 3), rel=0.03)
