"""The machines of figure 3 in Zoph & Le 2017, on paper and in simulated time.

`Fleet` describes them: shards that hold theta, replicas that pull it, workers that train children. `bounds` is the
closed form of throughput and staleness; `simulate` runs the fleet event by event and needs the extra `cluster`.
"""

from naslab.fleet.limits import Limits, bounds
from naslab.fleet.report import Child, Gradient, Report, Span, Visit
from naslab.fleet.settings import Duration, Fleet, cifar10, ptb, synchronised
from naslab.fleet.simulation import simulate

__all__ = [
    "Child",
    "Duration",
    "Fleet",
    "Gradient",
    "Limits",
    "Report",
    "Span",
    "Visit",
    "bounds",
    "cifar10",
    "ptb",
    "simulate",
    "synchronised",
]
