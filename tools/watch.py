"""Measures a command's process tree four times a second: wall seconds, CPU seconds and peak memory.

CPU seconds are the user and system time of all processes of the tree, including those that have ended. If a process
ends and its parent does not wait for it, its time since the last look is lost. A daemon whose parent ends between two
looks is missed.

Memory is the RAM that the tree uses. A page that several processes share counts once. For pages of files only the
process with the most of them counts: Pss would divide them among all processes that have torch in memory, also those
outside the tree. Between its fork and its exec a process shows the memory of its parent, so a fork counts only if it is
seen twice. A peak between two looks is found from the process' own high-water mark, and is added to the memory of the
others at the next look. On systems other than Linux memory is the sum of rss, and an ended child counts as last seen.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

LOOK = 0.25  # seconds between two looks
LINUX = Path("/proc/thread-self/children").exists() and Path("/proc/self/smaps_rollup").exists()
TICKS = 100  # a second in /proc/PID/stat, on every Linux
FORKED = 0x40  # PF_FORKNOEXEC in /proc/PID/stat: forked, and no exec since


class Look(NamedTuple):
    """One process at one moment, memory in bytes."""

    born: float  # start time; together with the pid it identifies a process
    cpu: float  # seconds, including ended children that it waited for
    own: int  # memory without pages of files; shared pages count in full
    shared: int  # the part of `own` in shared memory
    files: int  # pages of files
    highest: int  # largest own + files since its exec
    forked: bool
    children: list[int]


class Cost(NamedTuple):
    seconds: float
    cpu_seconds: float
    peak: int  # bytes
    hung: bool  # it was stopped because it made no progress for too long
    owns: tuple[int, ...] = ()  # at the peak, the memory of each process without pages of files, bytes


def look(pid: int) -> Look | None:
    """Returns the current state of the process, or None if it does not exist."""
    with suppress(OSError, psutil.Error):
        return from_proc(Path("/proc", str(pid))) if LINUX else from_psutil(psutil.Process(pid))
    return None


def from_proc(folder: Path) -> Look:
    stat = (folder / "stat").read_text().rpartition(")")[2].split()  # from field 3 on: the state
    found = re.findall(r"^(VmHWM|RssAnon|RssFile|RssShmem):\s+(\d+) kB", (folder / "status").read_text(), re.M)
    size = {"VmHWM": 0, "RssAnon": 0, "RssFile": 0, "RssShmem": 0} | {name: 1024 * int(kb) for name, kb in found}
    children = [int(pid) for task in (folder / "task").iterdir() for pid in children_of(task)]
    return Look(
        born=float(stat[19]),
        cpu=sum(map(int, stat[11:15])) / TICKS,
        own=size["RssAnon"] + size["RssShmem"],
        shared=size["RssShmem"],
        files=size["RssFile"],
        highest=size["VmHWM"],
        forked=bool(int(stat[6]) & FORKED),
        children=children,
    )


def children_of(task: Path) -> list[str]:
    with suppress(OSError):  # a thread that has just ended
        return (task / "children").read_text().split()
    return []


def from_psutil(process: psutil.Process) -> Look:
    with process.oneshot():
        rss, cpu = process.memory_info().rss, process.cpu_times()
        children = [child.pid for child in process.children()]
        return Look(process.create_time(), cpu.user + cpu.system, rss, 0, 0, rss, True, children)


def proportional(pid: int, known: Look) -> int:
    """Returns `known.own` with a page that k processes share counted as 1/k. Takes milliseconds."""
    with suppress(OSError):
        found = re.findall(r"^Pss_(?:Anon|Shmem):\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
        if len(found) == 2:
            return 1024 * sum(map(int, found))
    return known.own


class Tree:
    """The process `root` and its descendants, including those whose parent has ended. `peak` is in bytes."""

    def __init__(self, root: int) -> None:
        self.root = root
        self.processes: dict[int, Look] = {}
        self.cpu_seconds, self.peak = 0.0, 0
        self.owns: tuple[int, ...] = ()  # of the processes at the peak
        self._lost, self._dipped = 0.0, False
        self._bound, self._rested = 0.0, 0.0

    def look(self) -> None:
        before, self.processes = self.processes, {}
        pids = [self.root, *before]
        for pid in pids:  # the list grows in the loop
            if pid not in self.processes and (found := look(pid)):
                if pid in before and before[pid].born != found.born:
                    continue  # the pid belongs to another process now
                self.processes[pid] = found
                pids += found.children
        self._add_time()
        self._add_memory(before)

    def _add_time(self) -> None:
        """Adds up CPU seconds. The sum falls when a process ends and its parent does not wait for it: its time is kept.

        The sum also falls, for one look, if a process ends after its parent was read and before it is read itself.
        """
        now = sum(process.cpu for process in self.processes.values()) + self._lost
        if now < self.cpu_seconds and self._dipped:
            self._lost += self.cpu_seconds - now
        self._dipped = now < self.cpu_seconds and not self._dipped
        self.cpu_seconds = max(self.cpu_seconds, now)

    def _add_memory(self, before: dict[int, Look]) -> None:
        """Updates the peak. RSS is a cheap upper bound; it is exact if no process can share memory with another."""
        counted = {pid: now for pid, now in self.processes.items() if pid in before or not now.forked}
        if not counted:
            return
        rises = [now for pid, now in counted.items() if pid not in before or now.highest > before[pid].highest]
        files = max(now.files for now in counted.values())
        files += max((now.highest - now.own - now.files for now in rises), default=0)
        bound = files + sum(now.own for now in counted.values())
        if bound <= self.peak:
            return
        if any(now.forked for now in counted.values()) or sum(now.shared > 0 for now in counted.values()) > 1:
            if bound <= 1.01 * self._bound and time.monotonic() < self._rested:
                return
            began = time.thread_time()
            exact = files + sum(proportional(pid, now) for pid, now in counted.items())
            if all((after := look(pid)) and after.own for pid in counted):  # if one ended, the last ones got its share
                self._bound = max(self._bound, bound)
                self._reach(exact, counted)
            self._rested = time.monotonic() + 100 * (time.thread_time() - began)  # 1 % of a core
        else:
            self._reach(bound, counted)

    def _reach(self, size: int, counted: dict[int, Look]) -> None:
        if size > self.peak:
            self.peak, self.owns = size, tuple(now.own for now in counted.values())

    def kill(self) -> None:
        self.look()
        for pid in self.processes:
            with suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()


def watch(process: subprocess.Popen[bytes], hang: float | None = None, finished: Callable[[], int] = lambda: 0) -> Cost:
    """Waits for the process. Kills its tree if `finished()`, called once a second, does not rise for `hang` seconds."""
    start = last = time.monotonic()
    tree, most, looks, hung = Tree(process.pid), 0, 0, False
    try:
        while process.poll() is None and not hung:
            tree.look()
            looks += 1
            if looks % round(1 / LOOK) == 0:
                now, count = time.monotonic(), finished()
                if count > most:
                    most, last = count, now
                hung = hang is not None and now - last > hang
            time.sleep(LOOK)
    finally:
        if process.poll() is None:
            tree.kill()
        process.wait()
    return Cost(time.monotonic() - start, tree.cpu_seconds, tree.peak, hung, tree.owns)
