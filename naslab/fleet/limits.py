"""The throughput of a fleet on paper: asymptotic bounds of a closed queueing network (Denning & Buzen 1978).

X gradients per second cannot exceed three rates, one for each resource that may be scarce. With D the time that a
shard works for one gradient, and Z the cycle of a replica that never waits:

    replicas  X <= K / Z     each has one gradient in the making
    workers   X <= W / (m E[child])
    shards    X <= 1 / D

Far from the crossings one bound holds almost with equality; near a crossing both queues cost something.
"""

import math
from dataclasses import dataclass

from naslab import checks
from naslab.fleet.settings import Fleet

HOUR = 3600.0


@dataclass(frozen=True)
class Limits:
    """The closed form of a fleet. Rates are per hour, times in seconds."""

    cycle: float  # Z: pull, the slowest of m children, push, if nobody waits for a shard or a worker
    demand: float  # D: the time that each shard works for one gradient
    by_replicas: float  # gradients per hour
    by_workers: float
    by_shards: float  # inf if pull and push take no time
    gradients_per_hour: float  # the lowest of the three
    updates_per_hour: float
    children_per_hour: float
    bottleneck: str  # "replicas", "workers" or "shards"
    saturation: float  # K* = Z / D: from here on the shards are the limit, if there are enough workers
    staleness: float  # mean number of updates between the pull and the push of a gradient


def bounds(fleet: Fleet) -> Limits:
    """Returns the bounds of the throughput, the number K* of replicas that saturates the shards, and the staleness.

    In a synchronous fleet a replica waits for the slowest of all K m children. K* is
    that of replicas that do not wait for one another.
    """
    checks.is_a(Fleet, fleet=fleet)
    k, m, s = fleet.replicas, fleet.children, fleet.shards
    pull, push = (each.expected_max(s) / s for each in (fleet.pull, fleet.push))
    slowest = fleet.child.expected_max(m * k if fleet.synchronous else m)
    cycle = pull + slowest + push  # Z
    demand = (fleet.pull.mean + fleet.push.mean) / s  # D
    rates = {
        "replicas": k / cycle,
        "workers": fleet.workers / (m * fleet.child.mean),
        "shards": 1 / demand if demand else math.inf,
    }
    bottleneck = min(rates, key=lambda name: rates[name])
    rate = rates[bottleneck]  # gradients per second
    alone = pull + fleet.child.expected_max(m) + push
    return Limits(
        cycle=cycle,
        demand=demand,
        by_replicas=rates["replicas"] * HOUR,
        by_workers=rates["workers"] * HOUR,
        by_shards=rates["shards"] * HOUR,
        gradients_per_hour=rate * HOUR,
        updates_per_hour=rate * HOUR / fleet.gradients_per_update,
        children_per_hour=rate * HOUR * m,
        bottleneck=bottleneck,
        saturation=alone / demand if demand else math.inf,
        staleness=0.0 if fleet.synchronous else _staleness(fleet, k / rate, cycle, push, bottleneck),
    )


def _staleness(fleet: Fleet, lasts: float, cycle: float, push: float, bottleneck: str) -> float:
    """Mean updates of others between a pull and the push of its gradient.

    During one cycle of a replica each of the others pushes once, so that K - 1
    gradients arrive. The cycle `lasts` K / X seconds; `lasts` - Z of them are waiting.
    Those that arrive during its own push do not count. If the shards are the
    bottleneck, a pull and a push wait equally long; otherwise all waiting is for
    workers, between the two.
    """
    waiting = (lasts - cycle) / 2 if bottleneck == "shards" else 0.0
    between = 1 - (push + waiting) / lasts
    return (fleet.replicas - 1) * between / fleet.gradients_per_update
