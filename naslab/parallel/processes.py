"""Evaluates children in worker processes. `Workers.map` replaces `map`. A child that fails does not affect others.

    with Workers(2, timeout=60) as workers:
        for step in reinforce.search(space, evaluate, controller, config, generator, map_fn=workers.map): ...

This is the part of figure 3 in Zoph & Le 2017 that runs on one machine. Processes are spawned, not forked, because
locks and CUDA contexts do not survive a fork. Each worker has its own pipe. If a worker dies, it holds no shared lock,
and the parent knows which child it had. A pool with a shared queue, as in `concurrent.futures`, guarantees neither.
"""

import os
import pickle
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from typing import Any

import cloudpickle
import torch

from naslab import checks
from naslab.steps import Failed


class Workers:
    """Worker processes. They are reused between calls of `map`: starting one and importing torch takes seconds.

    `workers` is the number of processes; each uses one torch thread. `timeout` is the time limit of one child in
    seconds, without the start of its worker; None means no limit. A worker starts when there is work for it. Workers
    end after the `with` block, at `close`, on an interrupt, and whenever the parent process ends. Raises `ValueError`
    if a setting is out of range.
    """

    def __init__(self, workers: int = 2, timeout: float | None = None) -> None:
        checks.whole(1, workers=workers)
        if timeout is not None:
            checks.positive(timeout=timeout)
        self.workers, self.timeout = workers, timeout
        self._staff: list[_Worker] = []
        self._lock = threading.Lock()  # held while a `map` runs
        self._closed = False

    def map(self, f: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """Returns [f(item) for item in items]. If f raised, was killed or took too long, the result is `Failed`.

        f and the items are pickled. Importable objects are pickled by name. Functions, lambdas and classes that a
        notebook or a script defines are pickled by value, with the globals that they use. f is sent to a worker once,
        not with every item. A script must call `map` under `if __name__ == "__main__":`, because processes are spawned.
        If two threads call `map`, the second waits for the first.

        Raises `ValueError` if f is not callable, if `items` is not iterable, if f or an item cannot be pickled (a lock,
        a generator), or if a worker cannot load f. Raises `RuntimeError` if a worker cannot start, and after `close`.
        """
        if not callable(f):
            raise ValueError(f"f: got {f!r}, expected a function of one item")
        if not isinstance(items, Iterable):
            raise ValueError(f"items: got {items!r}, expected an iterable")
        code = pickled("f", f)
        data = [pickled(f"items[{k}]", item) for k, item in enumerate(items)]
        with self._lock, _deferred_interrupts() as deliver_interrupts:
            try:
                results = self._run(code, data, deliver_interrupts)
            except BaseException:  # an interrupt, too: no child may run on
                self._end_workers()
                raise
        return [result if isinstance(result, Failed) else loaded(result) for result in results]

    def _run(self, code: bytes, items: list[bytes], deliver_interrupts: Callable[[], None]) -> list[Any]:
        """Returns the pickled result, or `Failed`, of every item."""
        waiting = deque(enumerate(items))
        results: list[Any] = [None] * len(items)
        left = len(items)
        for worker in self._staff:
            if not worker.process.is_alive():  # it died while idle
                worker.end()
        while True:
            deliver_interrupts()
            if self._closed:
                raise RuntimeError("map: these workers are closed; use new ones, `Workers(...)`")
            if not left:
                return results
            self._staff = [w for w in self._staff if not w.pipe.closed]
            while len(self._staff) < min(self.workers, left):
                self._staff.append(_Worker())
            for worker in self._staff:
                if worker.idle and waiting:
                    worker.give(*waiting.popleft(), code)
            heard = wait([w.pipe for w in self._staff], timeout=0.1)
            for worker in self._staff:
                for place, result in worker.news(worker.pipe in heard, self.timeout):
                    results[place] = result
                    left -= 1

    def close(self) -> None:
        """Ends the workers at once. A `map` that runs in another thread, or is called later, raises `RuntimeError`."""
        self._closed = True
        with self._lock:
            self._end_workers()

    def _end_workers(self) -> None:
        with _deferred_interrupts():
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
    """Like `Workers.map`, for a single call: starts the workers and ends them."""
    with Workers(workers, timeout) as hired:
        return hired.map(f, items)


class _Worker:
    """The parent's view of a worker process, which sends "ready", and then "started" and "result" for every child."""

    def __init__(self) -> None:
        spawn = get_context("spawn")
        self.pipe, theirs = spawn.Pipe()
        self.process = spawn.Process(target=_work, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()
        self.ready = False
        self.code: bytes | None = None  # the pickled f that the worker has
        self.place: int | None = None  # index of its current item
        self.deadline = inf

    @property
    def idle(self) -> bool:
        return self.ready and self.place is None

    def give(self, place: int, item: bytes, code: bytes) -> None:
        self.place = place
        with suppress(OSError):  # it has just died; `news` reports it
            self.pipe.send((item, code if code != self.code else None))
        self.code = code

    def news(self, heard: bool, timeout: float | None) -> list[tuple[int, Any]]:
        """Returns [(place, pickled result or `Failed`)] if the worker has finished its child, else [].

        It checks the process as well as the pipe: processes that a child forked can keep the pipe open after the worker
        ended.
        """
        if heard or not self.process.is_alive():
            event, value = self._hear()
        elif time.monotonic() > self.deadline:
            event, value = "ended", f"no result within {timeout:g} s"
        else:
            return []

        if event == "unloadable":
            raise ValueError(f"f: a worker cannot load it ({value}); expected a function that a worker can import")
        if event == "ended":
            self.end()
            if not self.ready:
                raise RuntimeError(f'{value} before it was ready; does the script call under `__name__ == "__main__"`?')
        self.ready = True
        self.deadline = time.monotonic() + timeout if event == "started" and timeout else inf
        if event not in ("result", "ended") or self.place is None:
            return []
        place, self.place = self.place, None
        return [(place, value if event == "result" else Failed(value))]

    def _hear(self) -> tuple[str, Any]:
        with suppress(EOFError, OSError):
            if self.pipe.poll():  # a worker may have sent its result before it ended
                return self.pipe.recv()
        self.process.join(1)
        code = self.process.exitcode or 0
        return "ended", f"worker died: {signal.strsignal(-code) if code < 0 else f'exit code {code}'}"

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _work(pipe: Connection) -> None:
    """The main function of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles interrupts
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=pipe.close)  # a process that f forks must not use the worker's pipe
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
                pipe.send(("unloadable", reason_of(error)))
                continue
            pipe.send(("started", None))
            try:
                result = cloudpickle.dumps(f(pickle.loads(item)))
            except Exception as error:  # of any type: f is the user's
                if torch.cuda.is_initialized():  # after an error the CUDA context may be unusable
                    pipe.send(("ended", reason_of(error)))
                    return
                result = pickle.dumps(Failed(reason_of(error)))
            pipe.send(("result", result))


@contextmanager
def _deferred_interrupts() -> Iterator[Callable[[], None]]:
    """Delays interrupts, so that none arrives after a process starts and before the list of workers has it.

    Yields a function that delivers the interrupts received so far. The end of the block delivers the others. Python
    delivers interrupts to the main thread only, so this does nothing in other threads.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield lambda: None
        return
    came: list[Any] = []  # the frame of every interrupt

    def deliver() -> None:
        if came:
            came.clear()
            before(signal.SIGINT, None)

    signal.signal(signal.SIGINT, lambda number, frame: came.append(frame))
    try:
        yield deliver
    finally:
        signal.signal(signal.SIGINT, before)
        deliver()


def _end_with_parent() -> None:
    wait([parent_process().sentinel])  # type: ignore[union-attr]
    os._exit(1)


def loaded(result: bytes) -> Any:
    try:
        return pickle.loads(result)
    except Exception as error:  # of any type, as the result may import anything
        return Failed(f"its result cannot be loaded ({reason_of(error)})")


def reason_of(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def pickled(name: str, value: Any) -> bytes:
    try:
        return cloudpickle.dumps(value)  # unlike the pipe's pickling, this copies tensors
    except Exception as error:  # of any type: objects raise different errors when they cannot be pickled
        got = type(value).__name__
        raise ValueError(f"{name}: got {got}, expected an object that can be pickled ({reason_of(error)})") from error
