"""The driver's side of the shards: it hands them the gradients one by one, and replaces a shard that dies."""

import threading
from typing import Any

import torch
from torch import Tensor

from naslab import checks
from naslab.cluster.actors import Moments, Part, Shard
from naslab.cluster.hosts import Hosts, Seat

DEATHS = 5  # of one actor in a row, without an answer: then the search gives up


class Server:
    """S shards. The parameters of `optim` and its moments are the driver's copy of what the shards hold."""

    def __init__(self, optim: torch.optim.Adam, shards: int, version: int, hosts: Hosts) -> None:
        checks.whole(1, shards=shards)
        self.hosts, self.ray, self.optim, self.version = hosts, hosts.ray, optim, version
        self.parameters: list[Tensor] = optim.param_groups[0]["params"]
        if shards > len(self.parameters):
            raise ValueError(f"shards: got {shards}, expected at most {len(self.parameters)}, the tensors of theta")
        self.parts = split([p.numel() for p in self.parameters], shards)
        self.lock = threading.Lock()  # so that every shard gets pulls and pushes in the same order
        self.replaced = 0
        self.shards = [self.begin(s) for s in range(shards)]

    def begin(self, s: int) -> Seat:
        """Starts a shard from the copy."""
        held = [self.parameters[place] for place in self.parts[s]]
        theta = [p.detach().clone() for p in held]
        moments = [dict(self.optim.state.get(p, {})) for p in held]
        return self.hosts.seat(s, Shard, theta, moments, self.optim.param_groups[0]["lr"], self.version)

    def pull(self) -> tuple[int, list[Any]]:
        """Returns the version, and a reference to each part of theta. A part goes from its shard to the replica."""
        with self.lock:
            return self.version, [shard.call("pull") for shard in self.shards]

    def push(self, gradient: list[Tensor | None]) -> list[int]:
        """Every shard takes a step. Returns their versions."""
        with self.lock:
            pieces = [[gradient[place] for place in part] for part in self.parts]
            asked = [shard.call("push", piece) for shard, piece in zip(self.shards, pieces, strict=True)]
            answers = [self.answer(s, asked[s], pieces[s]) for s in range(len(asked))]
            for part, (theta, moments, _) in zip(self.parts, answers, strict=True):  # all have answered
                self.copy(part, theta, moments)
            self.version += 1
            return [version for _, _, version in answers]

    def answer(self, s: int, asked: Any, piece: list[Tensor | None]) -> tuple[Part, Moments, int]:
        """The answer of a shard to a push. If it died, another one starts from the copy and takes the same step."""
        for _ in range(DEATHS):
            try:
                return self.ray.get(asked)
            except self.ray.exceptions.RayActorError:
                self.replace(s)
                asked = self.shards[s].call("push", piece)
        raise RuntimeError(f"shard {s} died {DEATHS} times")

    def copy(self, part: list[int], theta: Part, moments: Moments) -> None:
        for place, values, entries in zip(part, theta, moments, strict=True):
            p = self.parameters[place]
            with torch.no_grad():
                p.copy_(values)
            if entries:
                self.optim.state[p] = {name: entry.clone() for name, entry in entries.items()}

    def mend(self) -> None:
        """Replaces the shards that are dead."""
        with self.lock:
            for s, shard in enumerate(self.shards):
                if shard.dead():
                    self.replace(s)

    def replace(self, s: int) -> None:
        self.shards[s] = self.begin(s)
        self.replaced += 1


def split(sizes: list[int], shards: int) -> list[list[int]]:
    """Returns the places of the tensors on each shard: the largest first, each to the shard that has the least."""
    parts: list[list[int]] = [[] for _ in range(shards)]
    for place in sorted(range(len(sizes)), key=lambda place: -sizes[place]):
        min(parts, key=lambda part: (sum(sizes[p] for p in part), len(part))).append(place)
    return [sorted(part) for part in parts]
