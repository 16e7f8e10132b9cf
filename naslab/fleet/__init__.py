"""The machines of figure 3 in Zoph & Le 2017, on paper and in simulated time.

`Fleet` describes them: shards that hold theta, replicas that pull it, workers that train children. `bounds` is the
closed form of throughput and staleness; `simulate` runs the fleet event by event and needs the extra `cluster`;
`calibrated` measures a real one.
"""

from naslab.fleet.calibration import calibrated, steady_rate
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
    "calibrated",
    "cifar10",
    "ptb",
    "simulate",
    "steady_rate",
    "synchronised",
]
