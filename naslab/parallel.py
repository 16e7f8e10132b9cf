"""Children evaluated in processes of their own: called like `map`, and none that fails takes another with it.

    with Workers(2, timeout=60) as workers:
        for step in reinforce.search(space, evaluate, controller, config, generator, map_fn=workers.map): ...

It is one machine's share of figure 3 in Zoph & Le 2017. Processes are spawned, never forked: a fork inherits locks and
CUDA contexts that do not survive it. Each worker has a pipe to itself, so that a death takes no lock along and is the
death of one known child. A pool with a common queue, as in `concurrent.futures`, promises neither.
"""

import os
import pickle
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from math import inf
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from typing import Any

import cloudpickle
import torch

from naslab.steps import Failed


class Workers:
    """Processes that outlive a call of `map`: to start one and import torch takes seconds.

    `workers` processes of one torch thread each; `timeout` is the limit of one child in seconds, without the start of
    its worker, None for no limit. Workers start when there is work for them and end with the `with` block, at `close`,
    on an interrupt, and with the parent, however that ends.
    """

    def __init__(self, workers: int = 2, timeout: float | None = None) -> None:
        if not isinstance(workers, int) or workers < 1:
            raise ValueError(f"workers: got {workers!r}, expected an int of at least 1")
        if timeout is not None and not timeout > 0:
            raise ValueError(f"timeout: got {timeout!r}, expected seconds above 0, or None for no limit")
        self.workers, self.timeout = workers, timeout
        self._staff: list[_Worker] = []

    def map(self, f: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """[f(item) for item in items], with `Failed` and the reason where f raised, was killed or took too long.

        f and the items are pickled: what can be imported by its name, what a notebook or a script defines (functions,
        lambdas, classes) by value, with the globals that it uses. f goes to a worker once, not with every item. In a
        script, call this under `if __name__ == "__main__":`, as spawned processes need it.

        Raises `ValueError` if f or an item cannot be pickled (a lock, a generator) or a worker cannot load f,
        `RuntimeError` if a worker cannot start.
        """
        code = _pickled("f", f)
        waiting = deque((k, _pickled(f"items[{k}]", item)) for k, item in enumerate(items))
        results: list[Any] = [None] * len(waiting)
        left = len(waiting)
        for worker in self._staff:
            if not worker.process.is_alive():  # it died idle
                worker.end()
        try:
            while left:
                self._staff = [w for w in self._staff if not w.pipe.closed]
                self._staff += [_Worker() for _ in range(min(self.workers, left) - len(self._staff))]
                for worker in self._staff:
                    if worker.idle and waiting:
                        worker.give(*waiting.popleft(), code)
                heard = wait([w.pipe for w in self._staff], timeout=0.1)
                for worker in self._staff:
                    for place, result in worker.news(worker.pipe in heard, self.timeout):
                        results[place] = result
                        left -= 1
        except BaseException:  # an interrupt too: nothing goes on behind the caller's back
            self.close()
            raise
        return results

    def close(self) -> None:
        """Ends the workers, whatever they are doing. A later `map` starts new ones."""
        for worker in self._staff:
            worker.end()
        self._staff = []

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def process_map(
    f: Callable[[Any], Any], items: Iterable[Any], *, workers: int = 2, timeout: float | None = None
) -> list[Any]:
    """`Workers.map` for once: the workers start and end within this call."""
    with Workers(workers, timeout) as hired:
        return hired.map(f, items)


class _Worker:
    """A process seen from the parent. It says "ready", then, for every child, "started" and "result"."""

    def __init__(self) -> None:
        spawn = get_context("spawn")
        self.pipe, theirs = spawn.Pipe()
        self.process = spawn.Process(target=_work, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()
        self.ready = False
        self.code: bytes | None = None  # the f that it has
        self.place: int | None = None  # of its child among the items
        self.deadline = inf

    @property
    def idle(self) -> bool:
        return self.ready and self.place is None

    def give(self, place: int, item: bytes, code: bytes) -> None:
        self.place = place
        with suppress(OSError):  # it died just now: `news` will say so
            self.pipe.send((item, code if code != self.code else None))
        self.code = code

    def news(self, heard: bool, timeout: float | None) -> list[tuple[int, Any]]:
        """What has come of its child, if anything has by now: [(place, result)] or []."""
        if heard:
            event, value = self._hear()
        elif time.monotonic() > self.deadline:
            event, value = "ended", f"no result within {timeout:g} s"
        else:
            return []

        if event == "unloadable":
            raise ValueError(f"f: cannot be loaded in a worker ({value}); expected what it can import")
        if event == "ended":
            self.end()
            if not self.ready:
                raise RuntimeError(f'{value} before it was ready; does the script call under `__name__ == "__main__"`?')
        self.ready = True
        self.deadline = time.monotonic() + timeout if event == "started" and timeout else inf
        if event not in ("result", "ended") or self.place is None:
            return []
        place, self.place = self.place, None
        return [(place, pickle.loads(value) if event == "result" else Failed(value))]

    def _hear(self) -> tuple[str, Any]:
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(1)
            code = self.process.exitcode or 0
            return "ended", f"worker died: {signal.strsignal(-code) if code < 0 else f'exit code {code}'}"

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _work(pipe: Connection) -> None:
    """A worker's whole life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    pipe.send(("ready", None))
    f: Any = None
    with suppress(EOFError, OSError):  # the parent has closed the pipe
        while True:
            item, code = pipe.recv()
            try:
                f = f if code is None else pickle.loads(code)
            except Exception as error:  # of any type, as f may import anything
                pipe.send(("unloadable", _reason(error)))
                continue
            pipe.send(("started", None))
            try:
                result = cloudpickle.dumps(f(pickle.loads(item)))
            except Exception as error:  # of any type: f is the user's
                if torch.cuda.is_initialized():  # an error on the device leaves a context in which all else fails
                    pipe.send(("ended", _reason(error)))
                    return
                result = pickle.dumps(Failed(_reason(error)))
            pipe.send(("result", result))


def _end_with_parent() -> None:
    wait([parent_process().sentinel])  # type: ignore[union-attr]
    os._exit(1)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _pickled(name: str, value: Any) -> bytes:
    try:
        return cloudpickle.dumps(value)  # in place of the pipe's own pickling, which would share tensors' memory
    except Exception as error:  # of any type: objects say in their own way that they will not be pickled
        got = type(value).__name__
        raise ValueError(f"{name}: got {got}, expected what can be pickled ({_reason(error)})") from error
