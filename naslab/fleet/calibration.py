"""From a real run to the fleet that describes it."""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from naslab import checks
from naslab.fleet.report import Span
from naslab.fleet.settings import Duration, Fleet


def calibrated(spans: Iterable[Span], *, shards: int, children: int, workers: int) -> Fleet:
    """Returns the fleet whose times have the means and spreads of a run of `cluster.search`, in seconds.

    Every second of a replica is in one of the times: the hand-over of a child to an idle worker counts for the child,
    the news of its end for the push, sampling for the pull, and the gradient for the push. The first pull of a replica
    and the first child of a worker are left out, because they wait for a process. Waiting for a shard counts as
    service, so the shards must not be the bottleneck. Raises `ValueError` if the run has no child, or nobody did
    anything twice.
    """
    checks.whole(1, shards=shards, children=children, workers=workers)
    spans = sorted(spans, key=lambda span: span.start)
    replicas = sorted({span.who for span in spans if span.who.startswith("replica")})
    trained = [span for span in spans if span.what.startswith("child of")]
    free: dict[str, float] = {}  # when each worker has ended its last child
    pulls, pushes, times = list[float](), list[float](), list[float]()
    for child in trained:
        asked = next(
            (span.start for span in spans if _holds(span, child)), None
        )  # None: the run ended before the phase
        if child.who in free and asked is not None:
            times.append(child.end - max(asked, free[child.who]))
        free[child.who] = child.end
    for who in replicas:
        own = [span for span in spans if span.who == who]
        pulls += [span.end - span.start for span in own if span.what == "pull"][1:]
        for phase, after in pairwise(own):
            if after.what == "push":
                pushes.append(after.end - max(child.end for child in trained if _holds(phase, child)))
    if not (pulls and pushes and times):
        counts = f"{len(times)} children, {len(pulls)} pulls, {len(pushes)} pushes"
        raise ValueError(f"spans: got {counts}, not counting the first ones, expected some of each")
    pull, push = (_duration([shards * seconds for seconds in each]) for each in (pulls, pushes))
    return Fleet(shards, len(replicas), children, workers, _duration(times), pull, push)


def _holds(phase: Span, child: Span) -> bool:
    """Whether the child was trained in this phase of its replica."""
    own = child.what == f"child of {phase.who}" and phase.what == "children"
    return own and phase.start <= child.start and child.end <= phase.end


def steady_rate(times: Iterable[float], replicas: int) -> float:
    """Updates per hour between the first and the last `replicas` updates, where some replicas do not work yet, or stop.

    `times` are those of the updates in seconds: of `Report.updates`, or of the ends of a run's pushes. Raises
    `ValueError` if there are no others.
    """
    t = np.sort(np.asarray(list(times), dtype=float))
    if len(t) < 2 * replicas + 2:
        raise ValueError(f"times: got {len(t)}, expected at least {2 * replicas + 2}, two more than twice the replicas")
    inner = t[replicas : len(t) - replicas]
    return float(3600 * (len(inner) - 1) / (inner[-1] - inner[0]))


def _duration(seconds: list[float]) -> Duration:
    return Duration(float(np.mean(seconds)), float(np.std(seconds)))
