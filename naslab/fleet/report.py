"""What a simulated fleet did: rates, utilisation, staleness, waiting, and a timeline."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from naslab.fleet.settings import Fleet


class Span(NamedTuple):
    """A bar of a timeline. Times are in seconds since the start."""

    who: str  # "replica 3", "worker 17", "shard 0"
    what: str  # "pull", "children", "push", "wait" of a replica; "child of replica 3"; "pull of replica 3"
    start: float
    end: float


class Gradient(NamedTuple):
    """A gradient in the order in which the server applies them. A version is the number of updates in theta."""

    replica: int
    pulled: int  # the version at which it was computed
    pushed: int  # the version to which it is added: pushed - pulled is its staleness
    end: float  # seconds: every shard has it


class Child(NamedTuple):
    replica: int
    worker: int
    asked: float  # seconds
    start: float
    end: float


class Visit(NamedTuple):
    """A request of a replica to all shards."""

    replica: int
    what: str  # "pull" or "push"
    asked: float  # seconds
    start: np.ndarray  # (S,), seconds
    end: np.ndarray  # (S,)


@dataclass(frozen=True, eq=False)
class Report:
    """A run of `simulate`. Rates and utilisation are those of the whole run, its start included.

    `children` and `visits` have started; some may end after the run. `gradients` have been pushed to every shard.
    """

    fleet: Fleet
    seconds: float  # length of the run
    gradients: tuple[Gradient, ...]
    children: tuple[Child, ...]
    visits: tuple[Visit, ...]
    replica_spans: tuple[Span, ...]

    @cached_property
    def updates(self) -> np.ndarray:
        """When each update was applied, (updates,), seconds."""
        g = self.fleet.gradients_per_update
        return np.array([gradient.end for gradient in self.gradients[g - 1 :: g]])

    @cached_property
    def staleness(self) -> np.ndarray:
        """Updates by others between the pull and the push of every gradient, (gradients,) int64."""
        return np.array([each.pushed - each.pulled for each in self.gradients], dtype=np.int64)

    @property
    def updates_per_hour(self) -> float:
        return 3600 * len(self.updates) / self.seconds

    @property
    def children_per_hour(self) -> float:
        """Children that ended, also those whose gradient is still on its way."""
        return 3600 * sum(child.end <= self.seconds for child in self.children) / self.seconds

    @cached_property
    def worker_use(self) -> float:
        """The share of the workers' time in which they train."""
        busy = sum(min(child.end, self.seconds) - child.start for child in self.children)
        return float(busy / (self.fleet.workers * self.seconds))

    @cached_property
    def shard_use(self) -> np.ndarray:
        """The share of its time in which each shard serves, (S,)."""
        busy = np.zeros(self.fleet.shards)
        for visit in self.visits:
            busy += np.maximum(np.minimum(visit.end, self.seconds) - visit.start, 0)
        return busy / self.seconds

    @cached_property
    def waiting(self) -> dict[str, float]:
        """Mean seconds of waiting: of a pull and a push at a shard, a child for a worker, a replica for the others."""
        found = {}
        for what in ("pull", "push"):
            waits = [(visit.start - visit.asked).mean() for visit in self.visits if visit.what == what]
            found[what] = _mean(waits)
        found["worker"] = _mean([child.start - child.asked for child in self.children])
        found["others"] = _mean([span.end - span.start for span in self.replica_spans if span.what == "wait"])
        return found

    def timeline(self) -> list[Span]:
        """All bars up to the end of the run: of replicas, then of workers, then of shards, each in order of time."""
        spans = [*self.replica_spans]
        spans += [Span(f"worker {c.worker}", f"child of replica {c.replica}", c.start, c.end) for c in self.children]
        for s in range(self.fleet.shards):
            spans += [
                Span(f"shard {s}", f"{v.what} of replica {v.replica}", float(v.start[s]), float(v.end[s]))
                for v in self.visits
            ]
        return [s._replace(end=min(s.end, self.seconds)) for s in spans if s.start < self.seconds]


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else 0.0
