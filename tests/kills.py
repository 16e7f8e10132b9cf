"""Kills every search at random moments and lets it go on: it must end as if nothing had happened, to the last bit.

    python tests/kills.py 500

Each attempt is a fork of this process, which has imported everything and computes nothing itself. Half of the kills
come at a random moment, half in the middle of a save, with the file half written.
"""

import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from naslab import data, runs, spaces
from naslab.controller import Controller
from naslab.networks import ConvNet, MacroNet, RecurrentNet
from naslab.schedules import Restarts
from naslab.search import darts, enas, evolution, qlearning, random_search, reinforce
from naslab.steps import Step, checkpoint, jsonl, resume, tee
from naslab.training import ImageObjective, TextObjective

MACRO, CONV = spaces.MacroSpace(3), spaces.darts_conv(2)
IMAGES = ImageObjective(data.digits().head(24, 24, 10), 12)
LETTERS = data.TextTask("abc", tuple("abcd"), *(torch.arange(n) * 7 % 4 for n in (200, 200, 50)))
TEXT = TextObjective(LETTERS, 5, 6)
SHARED = enas.Config(2, 3, 2, 2, 2, lr=Restarts(0.3, 0.05, 1), policy_lr=0.02)
RELAXED = darts.Config(4, alpha_lr=0.1)
KILLS_PER_RUN = 6  # then it may end


def ones(tokens: tuple[int, ...]) -> float:
    return sum(t == 1 for t in tokens) / len(tokens)


def controller(space: spaces.Space) -> Controller:
    with runs.seeded(0):
        return Controller(space, 6, 1)


def by_rl(after: Step | None, **growing: int) -> Iterator[Step]:
    config = reinforce.Config(12, 2, lr=0.02, **growing)
    return reinforce.search(MACRO, ones, controller(MACRO), config, torch.Generator(), after)


def by_enas(space: spaces.Space, build: Callable, objective: enas.Objective, after: Step | None) -> Iterator[Step]:
    with runs.seeded(0):
        model = build()
    return enas.search(space, model, objective, controller(space), SHARED, torch.Generator(), after)


def by_darts(space: spaces.Space, build: Callable, objective: darts.Objective, after: Step | None) -> Iterator[Step]:
    with runs.seeded(0):
        model = build()
    return darts.search(space, model, objective, darts.start(space), RELAXED, torch.Generator(), after)


RNN, CELL = spaces.enas_rnn(3), spaces.darts_rnn(2)
SEARCHES: dict[str, Callable[[Step | None], Iterator[Step]]] = {
    "random": lambda after: random_search.search(MACRO, ones, random_search.Config(15, 2), torch.Generator(), after),
    "evolution": lambda after: evolution.search(MACRO, ones, evolution.Config(15, 4, 2), torch.Generator(), after),
    "Q-learning": lambda after: qlearning.search(
        MACRO, ones, qlearning.Config(15, schedule=((6, 1.0), (9, 0.2)), replay=9), torch.Generator(), after
    ),
    "REINFORCE": by_rl,
    "growing REINFORCE": lambda after: by_rl(after, grow_every=8, grow_by=1),
    "ENAS, images": lambda after: by_enas(MACRO, lambda: MacroNet(MACRO, 4, 1, 10), IMAGES, after),
    "ENAS, text": lambda after: by_enas(RNN, lambda: RecurrentNet(RNN, 4, 6, dropout=0.3), TEXT, after),
    "DARTS, images": lambda after: by_darts(CONV, lambda: ConvNet(CONV, 2, 3, 1, affine=False), IMAGES, after),
    "DARTS, text": lambda after: by_darts(CELL, lambda: RecurrentNet(CELL, 4, 5, dropout=0.3), TEXT, after),
}


def fork(name: str, folder: Path, save: int | None = None, cut: float = 0.0) -> int:
    """Starts the search, or lets it go on, in a process of its own; that kills itself in the given save, if any."""
    if pid := os.fork():
        return pid
    try:
        if save is not None:
            os.fsync = partial(die, iter(range(save, -1, -1)), cut)
        path = folder / "s.pt"
        for _ in tee(SEARCHES[name](resume(path)), jsonl(folder / "log.jsonl"), checkpoint(path)):
            pass
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def die(left: Iterator[int], cut: float, file: int) -> None:
    """In the place of `os.fsync`: at the last count the file is cut short, as if half written, and SIGKILL comes."""
    if next(left) == 0:
        os.ftruncate(file, int(cut * os.fstat(file).st_size))
        os.kill(os.getpid(), signal.SIGKILL)


def killed(pid: int) -> bool:
    """Whether the process was killed. What it raised ends this process too."""
    status = os.waitpid(pid, 0)[1]
    if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
        sys.exit("the search raised")
    return os.WIFSIGNALED(status)


def same(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def end(folder: Path) -> tuple[dict, str]:
    return vars(resume(folder / "s.pt")), (folder / "log.jsonl").read_text()


def attack(name: str, kills: int, rng: random.Random, folder: Path) -> tuple[int, int]:
    """Runs the search until it was killed so often; the kills in the middle of a save, and the different endings."""
    whole = folder / "whole"
    whole.mkdir(parents=True)
    begun = time.monotonic()
    assert not killed(fork(name, whole))
    seconds, wanted = time.monotonic() - begun, end(whole)
    files = 2 * (wanted[0]["index"] + 1)  # that a run writes: the log once, checkpoints, and the ones before them
    done, saves, different, run = 0, 0, 0, 0
    while done < kills:
        run += 1
        here = folder / str(run)
        here.mkdir()
        for _ in range(min(KILLS_PER_RUN, kills - done)):
            save = rng.randrange(files // 2) if rng.random() < 0.5 else None
            pid = fork(name, here, save, rng.random())
            if save is None:
                time.sleep(rng.random() * seconds / 2)
                os.kill(pid, signal.SIGKILL)  # it is not waited for yet: the number is still its own
            if not killed(pid):
                break
            done += 1
            saves += save is not None
        assert not killed(fork(name, here))
        different += not same(end(here), wanted)
    return saves, different


def main(kills: int, seed: int = 0) -> int:
    """Spreads the kills over all searches and prints a table; the number of different endings."""
    torch.set_num_threads(1)
    rng, total = random.Random(seed), 0
    for k, name in enumerate(SEARCHES):
        share = kills // len(SEARCHES) + (k < kills % len(SEARCHES))
        with tempfile.TemporaryDirectory() as folder:
            saves, different = attack(name, share, rng, Path(folder))
        total += different
        print(
            f"{name:18} {share:4} kills, {saves:3} in the middle of a save, {different} different endings", flush=True
        )
    return total


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
