"""A fleet in simulated time: a discrete-event model on SimPy, which needs the extra `cluster`."""

from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import torch

from naslab import checks
from naslab.fleet.report import Child, Gradient, Report, Span, Visit
from naslab.fleet.settings import Duration, Fleet


def simulate(
    fleet: Fleet,
    generator: torch.Generator,
    *,
    updates: int | None = None,
    hours: float | None = None,
) -> Report:
    """Runs the fleet from an idle start until it has applied `updates`, or for `hours`. Equal seeds give equal runs.

    Raises `ValueError` unless exactly one of the two is given, and `ImportError` without SimPy.
    """
    checks.is_a(Fleet, fleet=fleet)
    checks.is_a(torch.Generator, generator=generator)
    if (updates is None) == (hours is None):
        raise ValueError(f"updates, hours: got {updates!r} and {hours!r}, expected one of the two")
    if updates is not None:
        checks.whole(1, updates=updates)
    if hours is not None:
        checks.positive(hours=hours)
    model = Model(fleet, generator, updates)
    model.env.run(until=model.finished if hours is None else float(hours) * 3600)
    seconds = float(model.env.now)
    gradients = [each for each in model.gradients if each.end <= seconds]
    if updates is not None:  # others may end at the same moment
        gradients = gradients[: updates * fleet.gradients_per_update]
    open_spans = [Span(f"replica {k}", *phase, seconds) for k, phase in model.phase.items()]
    spans = sorted([*model.spans, *open_spans], key=lambda span: (int(span.who.split()[1]), span.start, span.end))
    return Report(fleet, seconds, tuple(gradients), tuple(model.children), tuple(model.visits), tuple(spans))


class Model:
    """The processes of a fleet: one for each replica and each child in training."""

    def __init__(
        self,
        fleet: Fleet,
        generator: torch.Generator,
        updates: int | None,
    ) -> None:
        simpy = _simpy()
        self.fleet, self.generator, self.goal = fleet, generator, updates
        self.env = simpy.Environment()
        self.idle = simpy.Store(self.env)  # workers
        self.idle.items.extend(range(fleet.workers))
        self.free = np.zeros(fleet.shards)  # (S,): when each shard has served its queue
        self.sent = 0  # gradients on their way to the shards, or there
        self.arrived = 0  # gradients that every shard has
        self.finished, self.next_round = self.env.event(), self.env.event()
        self.gradients: list[Gradient] = []
        self.children: list[Child] = []
        self.visits: list[Visit] = []
        self.spans: list[Span] = []
        self.phase: dict[int, tuple[str, float]] = {}  # of each replica, and its start
        for k in range(fleet.replicas):
            self.env.process(self.replica(k))

    @property
    def version(self) -> int:
        """The updates that a request of this moment finds applied.

        Every request goes to all shards at once, and every shard keeps their order. So
        a pull finds all gradients that were sent before it, the same on every shard.
        """
        return self.sent // self.fleet.gradients_per_update

    def replica(self, k: int) -> Iterator[Any]:
        """Pull theta, train m children, push their gradient, again and again."""
        while True:
            pulled = self.version
            yield self.ask_shards(k, "pull", self.fleet.pull)
            self.enter(k, "children")
            seconds = self.fleet.child.sample(self.fleet.children, self.generator)
            training = [self.env.process(self.train(k, each)) for each in seconds]
            yield self.env.all_of(training)
            pushed = self.version
            self.sent += 1
            done = self.ask_shards(k, "push", self.fleet.push)
            end = float(self.visits[-1].end.max())
            self.gradients.append(Gradient(k, pulled, pushed, end))
            yield done
            self.arrived += 1
            self.check_goal()
            if self.fleet.synchronous:
                yield from self.wait_for_others(k)

    def train(self, k: int, seconds: float) -> Generator[Any, int, None]:
        """A child waits for an idle worker, and keeps it until it is trained."""
        asked = self.env.now
        worker = yield self.idle.get()
        start = self.env.now
        self.children.append(Child(k, worker, asked, start, start + float(seconds)))
        yield self.env.timeout(float(seconds))
        self.idle.put(worker)

    def ask_shards(self, k: int, what: str, duration: Duration) -> Any:
        """Sends a request to all shards. Returns the event that the slowest is done.

        A shard serves in the order of arrival: it starts when it has served all earlier
        requests. So it is known at once when it will be done.
        """
        self.enter(k, what)
        seconds = duration.sample(self.fleet.shards, self.generator) / self.fleet.shards
        start = np.maximum(self.free, self.env.now)  # (S,)
        self.free = start + seconds
        self.visits.append(Visit(k, what, self.env.now, start, self.free))
        return self.env.timeout(float(self.free.max()) - self.env.now)

    def wait_for_others(self, k: int) -> Iterator[Any]:
        """The last of K gradients starts the next round."""
        self.enter(k, "wait")
        if self.arrived % self.fleet.replicas == 0:
            self.next_round.succeed()
            self.next_round = self.env.event()
        else:
            yield self.next_round

    def enter(self, k: int, what: str) -> None:
        """Ends the phase of a replica, and starts the next."""
        if k in self.phase:
            self.spans.append(Span(f"replica {k}", *self.phase[k], float(self.env.now)))
        self.phase[k] = what, float(self.env.now)

    def check_goal(self) -> None:
        if self.goal and self.arrived == self.goal * self.fleet.gradients_per_update:
            self.finished.succeed()


def _simpy() -> Any:
    try:
        import simpy
    except ImportError:
        raise ImportError("fleet.simulate needs SimPy: pip install simpy (or naslab[cluster])") from None
    return simpy
