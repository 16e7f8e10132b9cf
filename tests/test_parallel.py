import _thread
import multiprocessing.connection
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from functools import partial
from multiprocessing import get_context

import psutil
import pytest
import torch

from naslab import data, spaces, training
from naslab.controller import Controller
from naslab.parallel import Workers, process_map
from naslab.parallel.processes import _Worker
from naslab.search import reinforce
from naslab.steps import Failed
from naslab.training import Recipe, TrainChild

CUBE = spaces.nas_bench_201()
SIGKILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has one way to end a process
LOADS = 0  # in a worker: how often it has unpickled `Loaded`


@pytest.fixture(scope="module")
def workers():
    """Two workers for all tests that leave them alive, in surroundings that ask for two threads."""
    with pytest.MonkeyPatch.context() as patch, Workers(2) as hired:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            patch.setenv(name, "2")
        yield hired
    assert not running()


def running() -> list[psutil.Process]:
    """The workers that this process has; the standard library's resource tracker is none and stays."""
    return [p for p in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]


def pid(item):
    return os.getpid()


def threads(item):
    return torch.get_num_threads()


def act(item):
    match item:
        case "raise":
            raise KeyError("no such op")
        case "nan":
            return float("nan")
        case "kill":
            os.kill(os.getpid(), SIGKILL)
        case "hang":
            time.sleep(600)
        case "exit":
            sys.exit(3)
        case "own":
            return Failed("diverged")
        case "lock":
            return threading.Lock()
        case "fork":  # leaves a process behind
            if os.fork() == 0:
                time.sleep(30)
                os._exit(0)
            os._exit(4)
        case "twice":  # both processes return
            os.fork()
            return os.getpid()
        case "unloadable":
            return Unloadable()
        case "context":  # as if an error on the device had left a broken one
            torch.cuda.is_initialized = lambda: True
            raise RuntimeError("CUDA error")
    return item


def reasons(results):
    return [getattr(result, "reason", result) for result in results]


DEEDS = ("fine", "raise", "nan", "kill", "hang")


def do(tokens):
    return 0.5 if tokens == (0,) else act(DEEDS[tokens[0]])


def test_a_search_survives_all_that_can_happen_to_a_child():
    before = running()
    space = spaces.MacroSpace(layers=1, ops=DEEDS)  # one decision
    torch.manual_seed(0)
    controller, config = Controller(space, units=8), reinforce.Config(updates=2, children=5)
    with Workers(2, timeout=2) as workers:
        search = reinforce.search(space, do, controller, config, torch.Generator().manual_seed(105), map_fn=workers.map)
        steps = list(search)
    assert sorted(steps[0].children) == [(0,), (1,), (2,), (3,), (4,)] != list(steps[0].children)
    assert [s.index for s in steps] == [0, 1] and (0,) in steps[1].children  # the next map works
    expected = {
        1: "KeyError: 'no such op'",
        2: "reward is nan",
        3: f"worker died: {signal.strsignal(SIGKILL)}",
        4: "no result within 2 s",
    }
    for step in steps:
        deeds = [token for (token,) in step.children]
        assert step.rewards == tuple(0.5 if deed == 0 else 0.0 for deed in deeds)
        assert step.failures == {k: expected[deed] for k, deed in enumerate(deeds) if deed}
    assert running() == before


def test_results_are_those_of_map_bit_for_bit(workers):
    torch.set_num_threads(1)  # as a worker has: more of them split sums otherwise
    task = data.digits().head(train=30, valid=20)
    train_child = TrainChild(CUBE, task, Recipe(epochs=2, batch_size=10), channels=4, cells=1)
    generator = torch.Generator().manual_seed(0)
    children = [CUBE.sample(generator) for _ in range(4)]
    both = partial(reward_and_losses, train_child)
    expected = list(map(both, children))
    assert workers.map(both, children) == expected
    assert len({losses for _, losses in expected}) > 1 and len(expected[0][1]) == 6


def reward_and_losses(train_child, tokens):
    losses = training.train(train_child.build(tokens), train_child.task.train, train_child.recipe, seed=1)
    return train_child(tokens), tuple(losses)


def test_a_worker_has_one_thread_whatever_its_surroundings_say(workers):
    assert workers.map(threads, range(4)) == [1, 1, 1, 1]


def test_order_is_kept_and_workers_and_f_stay_between_maps(workers):
    loaded = Loaded()
    first = workers.map(loaded, range(6))
    second = workers.map(loaded, range(6, 12))
    assert [item for item, *_ in first + second] == list(range(12))
    assert (
        {worker for _, worker, _ in first + second}
        == {w.process.pid for w in workers._staff}
        == {p.pid for p in running()}
    )
    assert {loads for *_, loads in first + second} == {1}
    assert workers.map(pid, []) == []


class Loaded:
    def __reduce__(self):
        return load, ()

    def __call__(self, item):
        time.sleep(0.05 * (item % 3 == 0))
        return item, os.getpid(), LOADS


def load():
    global LOADS
    LOADS += 1
    return Loaded()


def test_what_a_notebook_defines_goes_by_value(workers):
    offset = 10
    assert workers.map(lambda item: item + offset, [1, 2]) == [11, 12]  # a closure
    notebook = {"__name__": "__main__"}
    cell = """
        from dataclasses import dataclass
        scale = 3
        @dataclass(frozen=True)
        class Reward:
            power: int
            def __call__(self, item):
                return times(item) ** self.power
        def times(item):
            return scale * item
    """
    exec(textwrap.dedent(cell), notebook)
    assert workers.map(notebook["times"], [1, 2]) == [3, 6]
    assert workers.map(notebook["Reward"](2), [1, 2]) == [9, 36]


def test_what_cannot_be_pickled_is_an_error_that_says_so(workers):
    before = {p.pid for p in running()}
    lock = threading.Lock()
    with pytest.raises(ValueError, match=r"^f: got function, expected an object that can be pickled \(.*lock"):
        workers.map(lambda item: lock, [1])
    with pytest.raises(ValueError, match=r"^items\[1\]: got generator, expected"):
        workers.map(pid, [1, (item for item in ())])
    assert {p.pid for p in running()} == before
    assert reasons(workers.map(act, ["lock", "own"])) == ["TypeError: cannot pickle '_thread.lock' object", "diverged"]
    assert {p.pid for p in running()} == before


def test_a_worker_that_died_idle_harms_no_child(workers):
    workers.map(pid, range(2))
    victim = workers._staff[0].process
    victim.kill()
    victim.join()
    assert workers.map(act, ["a", "b", "c"]) == ["a", "b", "c"]


def finished(call, seconds=30):
    """What the call returns. A call that hangs fails the test."""
    results = []
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), f"no end after {seconds} s"
    return results[0]


def test_a_worker_that_dies_as_it_is_given_a_child_leaves_the_reason_in_the_childs_place(workers, monkeypatch):
    workers.map(pid, range(2))
    give = _Worker.give

    def fatal(worker, place, item, code):
        if place == 1:
            worker.process.kill()
            worker.process.join()
        give(worker, place, item, code)

    monkeypatch.setattr(_Worker, "give", fatal)
    results = finished(lambda: workers.map(act, ["a", "b", "c"]))
    assert reasons(results) == ["a", f"worker died: {signal.strsignal(SIGKILL)}", "c"]
    assert isinstance(results[1], Failed)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("closed", [True, False])
def test_a_child_that_forks_and_ends_is_no_hang(workers, closed):
    """The pipe is closed in what Python forks. What a library forks keeps it open: the end of the process must do."""
    start = time.monotonic()
    results = finished(lambda: workers.map(act if closed else act_with_open_pipes, ["fork", "fine"]))
    assert reasons(results) == ["worker died: exit code 4", "fine"] and time.monotonic() - start < 20


def act_with_open_pipes(item):
    multiprocessing.connection.Connection.close = lambda pipe: None
    return act(item)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_fork_that_returns_too_sends_no_second_result():
    with Workers(1) as one:
        results = [one.map(act, ["twice", "a", "b", "c"]) for _ in range(2)]
        assert [r[1:] for r in results] == [["a", "b", "c"]] * 2
        assert {r[0] for r in results} == {one._staff[0].process.pid}


def test_a_result_that_cannot_be_loaded_is_a_failure_of_its_child(workers):
    results = workers.map(act, ["unloadable", "fine"])
    assert reasons(results) == ["its result cannot be loaded (KeyError: 'no such op')", "fine"]


def test_two_threads_that_map_get_their_own_results(workers):
    calls = [list(range(k, k + 8)) for k in (0, 100, 200)]
    got = {}
    threads = [threading.Thread(target=lambda c=c: got.update({c[0]: workers.map(slowly, c)})) for c in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert got == {c[0]: [-item for item in c] for c in calls}


def slowly(item):
    time.sleep(0.02)
    return -item


def test_map_after_close_is_refused_and_close_ends_a_map(tmp_path):
    workers, errors, before = Workers(1), [], running()

    def call():
        with pytest.raises(RuntimeError, match="map: these workers are closed") as caught:
            workers.map(hang, [tmp_path / "hangs"])
        errors.append(caught.value)

    thread = threading.Thread(target=call)
    thread.start()
    while not (tmp_path / "hangs").exists():
        time.sleep(0.01)
    workers.close()
    thread.join(10)
    assert len(errors) == 1 and running() == before
    workers.close()
    for items in ([1], []):
        with pytest.raises(RuntimeError, match="map: these workers are closed"):
            workers.map(abs, items)
    with Workers(1) as left:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        left.map(abs, [1])


def test_a_worker_is_replaced_after_an_exit_and_after_an_error_with_cuda(workers):
    before = running()
    results = workers.map(act, ["exit", "context", "fine"])
    assert reasons(results) == ["worker died: exit code 3", "RuntimeError: CUDA error", "fine"]
    assert results[:2] == [0.0, 0.0] and len(running()) <= 2 and before[0] not in running()


def test_an_interrupt_ends_the_workers_and_leaves_the_pool_usable(workers, tmp_path):
    def interrupt():
        while not (tmp_path / "hangs").exists():
            time.sleep(0.01)
        _thread.interrupt_main()

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        workers.map(hang, [tmp_path / "hangs"])
    thread.join()
    assert not running()
    assert workers.map(act, ["a"]) == ["a"] and len(running()) == 1


@pytest.mark.parametrize("delay", [0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0])
def test_interrupts_at_any_moment_leave_no_process(delay):
    """Two interrupts, the second while the workers end. A process that is lost stays as a zombie."""

    def interrupt():
        time.sleep(delay)
        for _ in range(2):
            _thread.interrupt_main()
            time.sleep(0.02)

    before = {p.pid for p in psutil.Process().children()}
    workers, thread = Workers(3), threading.Thread(target=interrupt)
    with pytest.raises(KeyboardInterrupt):
        try:
            thread.start()  # the first interrupt may come before it returns
            workers.map(time.sleep, [5, 5, 5])
        finally:
            thread.join()
    assert {p.pid for p in psutil.Process().children()} == before
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    workers.close()


@pytest.mark.parametrize("moment", ["start", "join"])
def test_an_interrupt_waits_until_a_process_has_started_or_ended(monkeypatch, moment):
    before = {p.pid for p in psutil.Process().children()}
    process = get_context("spawn").Process
    original = getattr(process, moment)

    def interrupted(self, *args):
        original(self, *args)
        _thread.interrupt_main()
        time.sleep(0.01)  # here comes an interrupt that is not held back

    workers = Workers(2)
    if moment == "join":
        workers.map(pid, range(2))
    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
        patch.setattr(process, moment, interrupted)
        workers.map(pid, range(2)) if moment == "start" else workers.close()
    assert {p.pid for p in psutil.Process().children()} == before
    workers.close()


def hang(path):
    path.touch()
    while True:
        pass


def test_what_a_worker_cannot_load_is_an_error_and_ends_the_workers(workers):
    with pytest.raises(ValueError, match=r"^f: a worker cannot load it \(KeyError: 'no such op'\)"):
        workers.map(Unloadable(), [1])
    assert not running()


class Unloadable:
    def __reduce__(self):
        return act, ("raise",)

    def __call__(self, item):
        return item


def script(path, text):
    path.write_text(textwrap.dedent(text))
    return subprocess.Popen([sys.executable, path], stderr=subprocess.PIPE, text=True)


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    parent = script(
        tmp_path / "guarded.py",
        """
        import os
        from pathlib import Path
        from naslab.parallel import process_map

        def hang(path):
            path.with_suffix(".part").write_text(str(os.getpid()))
            path.with_suffix(".part").replace(path)
            while True:
                pass

        if __name__ == "__main__":
            process_map(hang, [Path(__file__).with_name("pid")], workers=1)
        """,
    )
    while not (tmp_path / "pid").exists():
        assert parent.poll() is None, parent.communicate()
        time.sleep(0.05)
    worker = psutil.Process(int((tmp_path / "pid").read_text()))
    parent.kill()
    parent.wait()
    _, left = psutil.wait_procs([worker], timeout=10)
    for process in left:
        process.kill()
    parent.communicate()
    assert not left


def test_a_script_without_a_guard_is_told_so(tmp_path):
    text = "from naslab.parallel import process_map\nprocess_map(abs, [1], workers=1)\n"
    process = script(tmp_path / "unguarded.py", text)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "RuntimeError: worker died: exit code 1 before it was ready; does the script call under" in error


@pytest.mark.parametrize(
    "setting",
    [
        *({"workers": got} for got in (0, -1, 1.5, "2", None, True, float("nan"))),
        *({"timeout": got} for got in (0, -1, float("nan"), float("inf"), "x", True, [1])),
    ],
)
def test_settings_out_of_range_are_refused(setting):
    for call in (Workers, partial(process_map, abs, [1])):
        with pytest.raises(ValueError, match=f"^{next(iter(setting))}: got .*, expected"):
            call(**setting)


@pytest.mark.parametrize(("f", "items", "name"), [(abs, None, "items"), (abs, 3, "items"), (3, [1], "f")])
def test_what_cannot_be_mapped_is_refused(workers, f, items, name):
    with pytest.raises(ValueError, match=f"^{name}: got .*, expected"):
        workers.map(f, items)
