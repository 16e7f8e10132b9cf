"""Evaluates children in worker processes. It is called like `map`, and a child that fails harms no other child.

    with Workers(2, timeout=60) as workers:
        for step in reinforce.search(space, evaluate, controller, config, generator, map_fn=workers.map): ...

This is the part of figure 3 in Zoph & Le 2017 that runs on one machine. Processes are spawned, never forked: a fork
inherits locks and CUDA contexts that do not survive it. Each worker has its own pipe. So a worker that dies holds no
common lock, and it is known which child it had. A pool with a common queue, as in `concurrent.futures`, has neither.
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
    """Worker processes that stay between calls of `map`, because starting one and importing torch takes seconds.

    `workers` is the number of processes; each uses one torch thread. `timeout` limits one child, in seconds, without
    the start of its worker; None means no limit. Workers start when there is work for them. They end with the `with`
    block, at `close`, on an interrupt, and with the parent process, however it ends. Raises `ValueError` for other
    settings.
    """

    def __init__(self, workers: int = 2, timeout: float | None = None) -> None:
        checks.whole(1, workers=workers)
        if timeout is not None:
            checks.positive(timeout=timeout)
        self.workers, self.timeout = workers, timeout
        self._staff: list[_Worker] = []
        self._lock = threading.Lock()  # held by the `map` that is running
        self._closed = False

    def map(self, f: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """[f(item) for item in items], with `Failed` and the reason where f raised, was killed or took too long.

        f and the items are pickled. What can be imported goes by name. What a notebook or a script defines (functions,
        lambdas, classes) goes by value, with the globals that it uses. f goes to a worker once, not with every item.
        A script must call `map` under `if __name__ == "__main__":`, because processes are spawned. If two threads call
        `map`, the second waits until the first has its results.

        Raises `ValueError` if f cannot be called, if `items` cannot be iterated, if f or an item cannot be pickled (a
        lock, a generator), or if a worker cannot load f; `RuntimeError` if a worker cannot start, and after `close`.
        """
        if not callable(f):
            raise ValueError(f"f: got {f!r}, expected a function of one item")
        if not isinstance(items, Iterable):
            raise ValueError(f"items: got {items!r}, expected an iterable")
        code = _pickled("f", f)
        pickled = [_pickled(f"items[{k}]", item) for k, item in enumerate(items)]
        with self._lock, _deferred_interrupts() as deliver_interrupts:
            try:
                results = self._run(code, pickled, deliver_interrupts)
            except BaseException:  # an interrupt too: no child may go on in the background
                self._end_workers()
                raise
        return [result if isinstance(result, Failed) else _loaded(result) for result in results]

    def _run(self, code: bytes, items: list[bytes], deliver_interrupts: Callable[[], None]) -> list[Any]:
        """The pickled result or `Failed` of every item."""
        waiting = deque(enumerate(items))
        results: list[Any] = [None] * len(items)
        left = len(items)
        for worker in self._staff:
            if not worker.process.is_alive():  # it died idle
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
        """Ends the workers, whatever they are doing. A `map` that runs, in another thread, or comes later raises."""
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
    """`Workers.map` for a single call: the workers start and end within it."""
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
        with suppress(OSError):  # it has just died: `news` will report it
            self.pipe.send((item, code if code != self.code else None))
        self.code = code

    def news(self, heard: bool, timeout: float | None) -> list[tuple[int, Any]]:
        """The result of its child if there is one by now: [(place, pickled result or `Failed`)], else [].

        The process is watched besides the pipe: what a child has forked may hold the pipe open after the worker's end.
        """
        if heard or not self.process.is_alive():
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
    """A worker's whole life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles interrupts
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=pipe.close)  # what f forks must not send or receive in the worker's place
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


@contextmanager
def _deferred_interrupts() -> Iterator[Callable[[], None]]:
    """Holds interrupts back, so that no process is lost between its start and the list that it belongs to.

    Gives a function that delivers an interrupt that has come so far. The end of the block delivers the rest. Python
    delivers interrupts to the main thread only, so in other threads there is nothing to do.
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


def _loaded(result: bytes) -> Any:
    try:
        return pickle.loads(result)
    except Exception as error:  # of any type, as the result may import anything
        return Failed(f"its result cannot be loaded ({_reason(error)})")


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _pickled(name: str, value: Any) -> bytes:
    try:
        return cloudpickle.dumps(value)  # in place of the pipe's own pickling, which would share tensors' memory
    except Exception as error:  # of any type: every object refuses to be pickled in its own way
        got = type(value).__name__
        raise ValueError(f"{name}: got {got}, expected what can be pickled ({_reason(error)})") from error
