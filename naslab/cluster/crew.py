"""The driver's side of the replicas: a thread for each, which goes through its turns and replaces it if it dies."""

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from naslab.cluster.actors import Drawn, Replica
from naslab.cluster.hosts import Seat
from naslab.cluster.server import DEATHS, Server
from naslab.controller import Controller
from naslab.fleet import Span
from naslab.parallel.on_ray import Ended, Stopped, Tasks
from naslab.search.reinforce import Config
from naslab.spaces import Tokens
from naslab.steps import finite, settle


@dataclass
class Push:
    """What a replica sends: children with their rewards, and the gradient that follows from them."""

    replica: int
    pulled: int  # the version of theta
    children: tuple[Tokens, ...]
    rewards: tuple[float, ...]
    failures: dict[int, str]
    gradient: list[Tensor | None]
    loss: float
    reward: float  # mean of reward ** power
    entropy: float
    stream: Tensor  # the state of the replica's generator after the children
    counted: threading.Event = field(default_factory=threading.Event)  # the replica waits for it


class Crew:
    """K replicas at work in a `with` block. At its end, also by an error, they and the children in training are ended.

    `limit` is the number of gradients that they may begin. `streams` are the generators, one for each replica, which
    only the search moves on: a turn that is repeated draws the same numbers.
    """

    def __init__(
        self,
        controller: Controller,
        config: Config,
        server: Server,
        tasks: Tasks,
        streams: list[torch.Generator],
        limit: int,
        baseline: float | None,
        spans: list[Span] | None,
    ) -> None:
        self.controller, self.config, self.server, self.tasks = controller, config, server, tasks
        self.streams, self.baseline, self.spans = streams, baseline, spans
        self.left, self.lock, self.stopped = limit, threading.Lock(), False
        self.pushes: queue.SimpleQueue[Push | Exception] = queue.SimpleQueue()
        self.start = time.time()
        self.replicas = [Turns(k, self) for k in range(min(len(streams), limit))]

    def __enter__(self) -> "Crew":
        for each in self.replicas:
            each.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopped = True
        self.tasks.stop()
        self.server.hosts.end()
        for each in self.replicas:
            if each.is_alive():
                each.join(60)

    def next_push(self) -> Push:
        """Waits for a gradient. Raises what a replica's thread raised."""
        push = self.pushes.get()
        if isinstance(push, Exception):
            raise push
        return push

    def hire(self, k: int) -> Seat:
        server = self.server
        return server.hosts.seat(len(server.parts) + k, Replica, self.controller, self.config, server.parts)

    def claim(self) -> bool:
        """Returns whether one more gradient may begin."""
        with self.lock:
            self.left -= 1
            return self.left >= 0 and not self.stopped

    @property
    def replaced(self) -> int:
        """Replicas and shards that died and were replaced."""
        return self.server.replaced + sum(each.replaced for each in self.replicas)

    def note(self, who: str, what: str, start: float, end: float) -> None:
        if self.spans is not None:
            self.spans.append(Span(who, what, start - self.start, end - self.start))


class Turns(threading.Thread):
    """The turns of one replica: pull, sample, train the children, push."""

    def __init__(self, k: int, crew: Crew) -> None:
        super().__init__(daemon=True, name=f"replica {k}")
        self.k, self.crew, self.replaced = k, crew, 0
        self.seat = crew.hire(k)

    def run(self) -> None:
        try:
            while self.crew.claim():
                for _ in range(DEATHS):
                    if self.turn():
                        break
                    self.crew.server.mend()
                else:
                    raise RuntimeError(f"replica {self.k}: theta was lost {DEATHS} times, because shards died")
        except Stopped:
            pass
        except Exception as error:  # of any type: the search raises it
            self.crew.pushes.put(error)

    def turn(self) -> bool:
        """Makes one gradient count. Returns False if theta was lost with a dead shard: then it is all done again."""
        crew, stream = self.crew, self.crew.streams[self.k].get_state()
        try:
            with self.phase("pull"):
                pulled, theta = crew.server.pull()
                drawn: Drawn = self.ask("sample", stream, *theta)
            finite(pulled, (), log_probability=drawn.log_probability, entropy=drawn.entropies)
            with self.phase("children"):
                rewards, failures = settle(crew.tasks.map(drawn.children, self.note_child), crew.config.children)
            with self.phase("push"):
                gradient, loss, reward = self.ask("gradient", stream, rewards, crew.baseline, *theta)
                results = rewards, failures, gradient, loss, reward
                push = Push(self.k, pulled, drawn.children, *results, drawn.entropy, drawn.stream)
                crew.pushes.put(push)
                while not push.counted.wait(0.1):
                    if crew.stopped:
                        raise Stopped
        except Lost:
            return False
        return True

    def ask(self, method: str, *arguments: Any) -> Any:
        """Calls the replica. If it died, another one gets the same call."""
        ray = self.crew.server.ray
        for _ in range(DEATHS):
            try:
                return ray.get(self.seat.call(method, *arguments))
            except (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError) as error:
                if self.crew.stopped:
                    raise Stopped from None
                if not self.seat.dead():
                    raise Lost from error
                self.seat = self.crew.hire(self.k)
                self.replaced += 1
        raise RuntimeError(f"replica {self.k} died {DEATHS} times")

    @contextmanager
    def phase(self, what: str) -> Iterator[None]:
        start = time.time()
        yield
        self.crew.note(f"replica {self.k}", what, start, time.time())

    def note_child(self, child: Ended) -> None:
        self.crew.note(f"worker {child.worker}", f"child of replica {self.k}", child.start, child.end)


class Lost(Exception):
    """Theta did not reach the replica, because a shard died."""
