"""The processes in which shards and replicas live. One that dies takes its shards and replicas with it."""

import itertools
import threading
from contextlib import suppress
from typing import Any

import torch

from naslab import checks
from naslab.parallel.on_ray import the_ray


class Host:
    """An actor: a process for one or more shards and replicas."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self.parts: dict[int, Any] = {}

    def begin(self, number: int, part: type, *arguments: Any) -> None:
        self.parts[number] = part(*arguments)

    def call(self, number: int, method: str, *arguments: Any) -> Any:
        return getattr(self.parts[number], method)(*arguments)

    def alive(self) -> bool:
        """Answers, which the dead do not."""
        return True


class Seat:
    """The driver's handle of a shard or a replica in its process."""

    def __init__(self, host: Any, number: int) -> None:
        self.host, self.number = host, number

    def call(self, method: str, *arguments: Any) -> Any:
        """Calls a method of the part. Returns the reference to its result."""
        return self.host.call.remote(self.number, method, *arguments)

    def dead(self) -> bool:
        return dead(self.host)


class Hosts:
    """At most `processes` processes, which the parts share in turn, or one for each part (None)."""

    def __init__(self, processes: int | None = None) -> None:
        if processes is not None:
            checks.whole(1, processes=processes)
        self.ray, self.processes = the_ray(), processes
        self.lock, self.numbers = threading.Lock(), itertools.count()
        self.hosts: dict[int, Any] = {}  # by place

    def seat(self, place: int, part: type, *arguments: Any) -> Seat:
        """Begins a part at its place, in a new process if there is none or if that one is dead."""
        place = place if self.processes is None else place % self.processes
        with self.lock:
            host = self.hosts.get(place)
            if host is None or dead(host):
                named = type(part.__name__, (Host,), {})  # the system's name of the process is that of its first part
                host = self.hosts[place] = self.ray.remote(num_cpus=0)(named).remote()
            number = next(self.numbers)
            host.begin.remote(number, part, *arguments)
            return Seat(host, number)

    def end(self) -> None:
        with self.lock:
            for host in self.hosts.values():
                with suppress(Exception):  # Ray itself may be gone
                    self.ray.kill(host)


def dead(host: Any) -> bool:
    ray = the_ray()
    try:
        return not ray.get(host.alive.remote())
    except ray.exceptions.RayActorError:
        return True
