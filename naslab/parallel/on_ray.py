"""Evaluates children as tasks of Ray, on this machine or on a cluster. `ray_map` replaces `map`.

    with ray_session():
        for step in reinforce.search(space, evaluate, controller, config, generator, map_fn=ray_map): ...

f goes into Ray's object store once, also if many calls have the same f. Each worker process fetches and unpickles it
once, not once per child.
"""

import functools
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import inf
from typing import Any

import torch

from naslab import checks
from naslab.parallel.processes import loaded, pickled, reason_of
from naslab.steps import Failed

ENVIRONMENT = {  # read when Ray is imported
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # of a local Ray; with its 15 the children starve beside any other process
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # tasks without a GPU see the machine's settings
    # Ray prints each death of a worker, with numbers that differ from run to run; `Failed` has the reason
    "RAY_DEDUP_LOGS_SKIP_REGEX": "worker died|actor died|Task .* failed|actor .* failed|node .* died|marked dead",
}
STARTS = 3  # attempts to start Ray
TRIES = 2  # a child whose worker dies is started once more: the machine may have died, not the child


@contextmanager
def ray_session(address: str | None = None, *, cpus: int | None = None, megabytes: int = 100) -> Iterator[None]:
    """Starts Ray on this machine, or joins the cluster at `address` ("auto": the one that this machine belongs to).

    `cpus` is the number of children that run at the same time, by default the number of processors. `megabytes` is the
    size of the object store. Both are for a local start only: a cluster has its own. The end of the block, also by an
    error or an interrupt, ends a local Ray with all its processes, and leaves a cluster. A start takes 10 to 25 s.

    Raises `ValueError` if a setting is out of range, `ImportError` without Ray, `RuntimeError` if Ray does not start
    or runs already in this process, and `ConnectionError` if nothing answers at `address`.
    """
    ray = the_ray()
    checks.whole(80, megabytes=megabytes)
    if cpus is not None:
        checks.whole(1, cpus=cpus)
    if address is not None and (cpus is not None or not isinstance(address, str)):
        raise ValueError(f"address, cpus: got {address!r} and {cpus!r}, expected an address, a number, or neither")
    if ray.is_initialized():
        raise RuntimeError("ray_session: Ray runs already in this process; end it first, with `ray.shutdown()`")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address is None:
            local = {"include_dashboard": False, "num_cpus": cpus, "object_store_memory": megabytes * 10**6}
            with _workers_import_from(sys.path):
                _start(ray, **local, **options)
        else:
            ray.init(address, **options)
        yield
    finally:
        _stored.cache_clear()  # its references mean nothing to another Ray
        ray.shutdown()


def _start(ray: Any, **options: Any) -> None:
    """Starts Ray. Ray gives up after 30 s, which a busy machine may need; then it is tried again."""
    for attempt in range(1, STARTS + 1):
        try:
            ray.init("local", **options)
            _end_unused(ray)
            return
        except Exception as error:  # Ray raises no narrower type
            ray.shutdown()
            if "timed out during startup" not in str(error) or attempt == STARTS:
                raise RuntimeError(f"Ray did not start, attempt {attempt} of {STARTS}: {error}") from error


def _end_unused(ray: Any) -> None:
    """Ends three processes that a local Ray does not need: autoscaler, log monitor, dashboard. Each takes 70 MB."""
    node = ray._private.worker._global_node  # no option does this: if a later Ray has other names, they stay
    for name in ("kill_monitor", "kill_log_monitor", "kill_dashboard"):
        with suppress(Exception):
            getattr(node, name)(check_alive=False)


@contextmanager
def _workers_import_from(path: list[str]) -> Iterator[None]:
    """Workers of a Ray that is started in the block find the modules that this process finds."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(path)
    try:
        yield
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before


def ray_map(
    f: Callable[[Any], Any], items: Iterable[Any], *, timeout: float | None = None, gpus: float = 0
) -> list[Any]:
    """Returns [f(item) for item in items], computed by Ray. If f raised, was killed or took too long: `Failed`.

    `timeout` is the time limit of one child in seconds, from its start; None means no limit. A child whose worker dies
    is started once more. Each child gets a processor and `gpus` GPUs (0.5: two children share one). f and the items are
    pickled as in `Workers.map`. A cluster's machines need naslab installed.

    Raises `ValueError` if f is not callable, if something cannot be pickled, or if a worker cannot load f, and
    `RuntimeError` outside of `ray_session`. Any other end, such as an interrupt, cancels the children that run.
    """
    return Tasks(f, timeout, gpus).map(items)


class Tasks:
    """Maps one f again and again, from any number of threads.

    After `stop` every `map` raises `Stopped`, the ones that run, too.
    """

    def __init__(self, f: Callable[[Any], Any], timeout: float | None = None, gpus: float = 0) -> None:
        if not callable(f):
            raise ValueError(f"f: got {f!r}, expected a function of one item")
        if timeout is not None:
            checks.positive(timeout=timeout)
        checks.number(0, gpus=gpus)
        ray = the_ray()
        if not ray.is_initialized():
            raise RuntimeError("Ray is not running: use `with ray_session(): ...`")
        self._ray, self._timeout = ray, timeout
        context = ray.get_runtime_context()
        self._code = _stored(pickled("f", f), f"{context.get_node_id()} {context.get_job_id()}")
        self._train = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(_child)
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()

    def map(self, items: Iterable[Any], ended: Callable[["Ended"], None] | None = None) -> list[Any]:
        """Returns [f(item) for item in items]. `ended` is told of every try that gave a result, in order of time."""
        if not isinstance(items, Iterable):
            raise ValueError(f"items: got {items!r}, expected an iterable")
        data = [pickled(f"items[{k}]", item) for k, item in enumerate(items)]
        results: list[Any] = [None] * len(data)
        running = {self._train.remote(self._code, item): _Try(k) for k, item in enumerate(data)}
        try:
            while running:
                if self._stopped.is_set():
                    raise Stopped
                ready, _ = self._ray.wait(list(running), timeout=0.1)
                for task in ready:
                    attempt = running[task]
                    event, value = self._hear(task)
                    if event == "started":
                        attempt.worker, attempt.start = value
                        if self._timeout is not None:
                            attempt.deadline = time.monotonic() + self._timeout
                        continue
                    del running[task]
                    match event:
                        case "result":
                            results[attempt.place] = loaded(value[0])
                            if ended is not None:
                                ended(Ended(attempt.place, attempt.worker, attempt.start, value[1]))
                        case "died" if attempt.number < TRIES:
                            again = self._train.remote(self._code, data[attempt.place])
                            running[again] = _Try(attempt.place, attempt.number + 1)
                        case "died":
                            results[attempt.place] = Failed(f"worker died, {TRIES} times: {value}")
                        case "unloadable":
                            raise ValueError(f"f: a worker cannot load it ({value}); expected one that it can import")
                for task in [task for task, attempt in running.items() if time.monotonic() > attempt.deadline]:
                    self._ray.cancel(task, force=True)
                    results[running.pop(task).place] = Failed(f"no result within {self._timeout:g} s")
        finally:
            for task in running:  # not after a normal end
                with suppress(Exception):
                    self._ray.cancel(task, force=True)
        return results

    def _hear(self, task: Any) -> tuple[str, Any]:
        try:
            return self._ray.get(next(task))
        except (self._ray.exceptions.RayError, StopIteration) as error:
            return "died", str(error).partition("\n")[0] or type(error).__name__


class Stopped(Exception):
    """`Tasks.stop` was called."""


@dataclass(frozen=True)
class Ended:
    """A child that gave a result: its place among the items, its worker's process, start and end in Unix seconds."""

    place: int
    worker: int
    start: float
    end: float


@dataclass
class _Try:
    """One start of a child. Its time limit counts from when a worker begins it, not from when it is queued."""

    place: int
    number: int = 1
    worker: int = 0
    start: float = 0.0
    deadline: float = inf


def _child(code: list[Any], item: bytes) -> Iterator[tuple[str, Any]]:
    """The task: says that it has started, then its result. It raises nothing: an error means that its worker died."""
    torch.set_num_threads(1)
    try:
        f = _fetched(code[0])
    except Exception as error:  # of any type, as f may import anything
        yield "unloadable", reason_of(error)
        return
    yield "started", (os.getpid(), time.time())
    try:
        result = pickled("result", f(pickle.loads(item)))
    except Exception as error:  # of any type: f is the user's
        result = pickle.dumps(Failed(reason_of(error)))
    yield "result", (result, time.time())


@functools.lru_cache(maxsize=2)
def _stored(code: bytes, driver: str) -> list[Any]:
    """Puts f into the object store, unless this driver has just done so: a search calls `ray_map` at every update.

    `driver` is the machine and the job: a new Ray counts its jobs from 1 again.

    Returns the reference in a list, because Ray replaces a bare reference by its value.
    """
    return [the_ray().put(code)]


@functools.lru_cache(maxsize=2)
def _fetched(code: Any) -> Callable[[Any], Any]:
    return pickle.loads(the_ray().get(code))


def the_ray() -> Any:
    """Returns the module `ray`. Raises `ImportError` with the way to get it."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise ImportError("naslab on a cluster needs Ray: pip install ray (or naslab[cluster])") from None
    return ray
