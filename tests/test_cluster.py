import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
import torch

from naslab import cluster, parallel, spaces
from naslab.cluster.server import Server, dead, split
from naslab.controller import Controller
from naslab.runs import seeded
from naslab.search import reinforce
from naslab.search.reinforce import Config
from naslab.steps import Failed, Live, Step, checkpoint, resume, state_of, tee

ray = pytest.importorskip("ray", reason="needs the extra cluster")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # Ray's own warnings

SPACE = spaces.MacroSpace(3)
LOADS = 0  # in a worker: how often it has unpickled `Loaded`


@pytest.fixture(scope="module")
def session():
    """One Ray for the tests that leave it alive."""
    with parallel.ray_session(cpus=2):
        yield
    assert not of_ray()


def of_ray(name: str = "") -> list[psutil.Process]:
    """Living processes that this process has started for Ray, or those whose command line begins with `name`."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            words = " ".join(process.cmdline())
            if process.status() != psutil.STATUS_ZOMBIE and (words.startswith(name) if name else "ray" in words):
                found.append(process)
        except psutil.Error:
            continue
    return found


def ones(tokens):
    return sum(t == 1 for t in tokens) / len(tokens)


class Noted:
    """Writes a line per call, so that calls in all processes can be counted. `does` is called before."""

    def __init__(self, path, does=None):
        self.path, self.does = path, does

    def __call__(self, tokens):
        with self.path.open("a") as file:
            file.write(f"{tokens}\n")
        if self.does:
            self.does(len(self.path.read_text().splitlines()))
        return ones(tokens)

    def calls(self):
        return self.path.read_text().splitlines()


class Kill:
    """Kills every process of that name, at the given call."""

    def __init__(self, name, at):
        self.name, self.at = name, at

    def __call__(self, call):
        if call == self.at:
            kill(psutil.process_iter(), self.name)


def kill(processes, *names) -> int:
    """Kills the actors of these names. Returns how many."""
    killed = 0
    for process in processes:
        try:
            if " ".join(process.cmdline()).startswith(names):
                process.kill()
                killed += 1
        except psutil.Error:
            continue
    return killed


def make(seed=0):
    with seeded(seed):
        return Controller(SPACE, 12)


def config(updates=6, **settings):
    return Config(updates, **{"children": 4, "lr": 0.02, "entropy_weight": 0.01} | settings)


def run(evaluate=ones, controller=None, updates=6, seed=3, each=lambda step: step, settings=None, **more) -> list[Step]:
    generator = torch.Generator().manual_seed(seed)
    steps = cluster.search(
        SPACE, evaluate, controller or make(), config(updates, **(settings or {})), generator, **more
    )
    return list(map(each, steps))


def one_machine(evaluate=ones, controller=None, updates=6, seed=3, **settings) -> list[Step]:
    generator = torch.Generator().manual_seed(seed)
    return list(reinforce.search(SPACE, evaluate, controller or make(), config(updates, **settings), generator))


def same(a: list[Step], b: list[Step]) -> bool:
    def seen(step):
        return step.index, step.children, step.rewards, step.failures, step.info["baseline"], step.info["entropy"]

    return list(map(seen, a)) == list(map(seen, b))


def equal(a, b) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize("settings", [{}, {"power": 3.0}, {"entropy_weight": 0.0, "baseline_decay": 0.5}])
def test_one_shard_and_one_replica_equal_reinforce_to_the_last_bit(session, settings):
    a, b = make(), make()
    expected, found = one_machine(controller=a, **settings), run(controller=b, settings=settings)
    assert same(found, expected) and equal(a, b)
    one, other = (state_of(steps[-1]) for steps in (expected, found))
    assert torch.equal(one["generator"], other["generator"])
    for place, moments in one["optim"]["state"].items():
        assert all(torch.equal(moments[name], other["optim"]["state"][place][name]) for name in moments)


def test_the_number_of_shards_changes_no_bit(session):
    a, b = make(), make()
    assert same(run(controller=a, shards=3), one_machine(controller=b)) and equal(a, b)


def test_replicas_do_not_wait_for_one_another_and_every_child_counts_once(session, tmp_path):
    spans, noted = [], Noted(tmp_path / "calls", Sleep(0.05))
    start = time.time()
    steps = run(noted, updates=12, shards=2, replicas=3, spans=spans)
    seconds = time.time() - start
    assert [step.index for step in steps] == list(range(12))
    assert Counter(noted.calls()) == Counter(str(child) for step in steps for child in step.children)
    assert {step.info["replica"] for step in steps} == {0, 1, 2}
    for step in steps:
        assert step.info["shard_0"] == step.info["shard_1"] == step.index + 1
        assert 0 <= step.info["staleness"] <= step.index and step.info["replaced"] == 0
    assert max(step.info["staleness"] for step in steps) >= 1  # some replica pulled before another one pushed
    by_worker = {}
    for span in spans:
        assert 0 <= span.start <= span.end <= seconds
        by_worker.setdefault(span.who, []).append((span.start, span.end))
    assert {"replica 0", "replica 1", "replica 2"} < by_worker.keys()
    for bars in by_worker.values():  # nobody does two things at once
        assert all(end <= start for (_, end), (start, _) in zip(sorted(bars), sorted(bars)[1:], strict=False))
    assert sum(span.what.startswith("child of") for span in spans) == 12 * 4


class Sleep:
    def __init__(self, seconds):
        self.seconds = seconds

    def __call__(self, call):
        time.sleep(self.seconds)


def test_equal_streams_are_not_shared_by_replicas(session):
    steps = run(updates=4, replicas=4)
    assert len({step.children for step in steps}) == 4


class Bad:
    """Children that begin with a path to themselves fail, each in its way, by its third token."""

    def __call__(self, tokens):
        match sum(tokens) % 5:
            case 0:
                raise KeyError("no such op")
            case 1:
                time.sleep(600)
            case 2:
                os.kill(os.getpid(), signal.SIGKILL)
            case 3:
                return float("nan")
        return 1.0


def test_a_child_that_raises_hangs_or_kills_its_worker_leaves_the_reason_in_its_step(session):
    reasons = {0: "KeyError: 'no such op'", 1: "no result within 2 s", 2: "worker died, 2 times", 3: "reward is nan"}
    seen = set()
    for step in run(Bad(), updates=3, replicas=2, timeout=2, seed=1):
        for place, child in enumerate(step.children):
            way = sum(child) % 5
            seen.add(way)
            assert step.rewards[place] == (way == 4)
            assert step.failures.get(place, "").startswith(reasons.get(way, "")) and (place in step.failures) == (
                way < 4
            )
    assert seen == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("victim", ["ray::Replica", "ray::Shard"])
def test_a_replica_or_a_shard_that_is_killed_while_children_train_changes_no_bit(session, tmp_path, victim):
    noted = Noted(tmp_path / "calls", Kill(victim, at=10))
    a, b = make(), make()
    steps = run(noted, controller=a, shards=2)
    assert same(steps, one_machine(controller=b)) and equal(a, b)
    assert len(noted.calls()) == 6 * 4  # the children that were in training count, and are not trained again
    assert steps[-1].info["replaced"] == (1 if victim == "ray::Replica" else 2)


def test_with_more_replicas_the_killed_are_replaced_and_no_version_is_skipped(session, tmp_path):
    noted = Noted(tmp_path / "calls", Kill("ray::", at=20))  # replicas, shards and workers
    steps = run(noted, updates=12, shards=2, replicas=3)
    assert [step.info["shard_1"] for step in steps] == list(range(1, 13))
    assert steps[-1].info["replaced"] >= 5 and not any(step.failures for step in steps)
    assert all(len(step.children) == 4 and step.rewards == tuple(map(ones, step.children)) for step in steps)


def test_theta_that_is_lost_with_its_shard_is_pulled_again(session, monkeypatch):
    pull, calls = Server.pull, []

    def pull_from_the_dead(server):
        calls.append(None)
        if len(calls) == 3:
            ray.kill(server.shards[0])
        return pull(server)

    monkeypatch.setattr(Server, "pull", pull_from_the_dead)
    a, b = make(), make()
    steps = run(controller=a, shards=2)
    assert same(steps, one_machine(controller=b)) and equal(a, b)
    assert steps[-1].info["replaced"] == 1 and len(calls) == 7


def test_a_lost_shard_starts_again_from_the_copy(session):
    controller = make()
    optim = torch.optim.Adam(controller.parameters(), 0.1)
    server = Server(optim, 2, 0)
    gradient = [torch.ones_like(p) for p in controller.parameters()]
    assert server.push(gradient) == [1, 1]
    ray.kill(server.shards[1])
    server.mend()
    assert server.replaced == 1 and not any(map(dead, server.shards))
    version, theta = server.pull()
    for part, tensors in zip(server.parts, ray.get(theta), strict=True):
        assert all(torch.equal(server.parameters[i], values) for i, values in zip(part, tensors, strict=True))
    expected = make()
    alone = torch.optim.Adam(expected.parameters(), 0.1)
    for _ in range(2):
        for p in expected.parameters():
            p.grad = torch.ones_like(p)
        alone.step()
    assert version == 1 and server.push(gradient) == [2, 2] and equal(controller, expected)
    for shard in server.shards:
        ray.kill(shard)


class Dying:
    """An actor that ends as soon as it starts."""

    def __init__(self, *arguments):
        os._exit(1)

    def push(self, *arguments):
        pass

    sample = pull = push


@pytest.mark.parametrize("name", ["server.Shard", "crew.Replica"])
def test_an_actor_that_dies_again_and_again_ends_the_search(session, monkeypatch, name):
    monkeypatch.setattr(f"naslab.cluster.{name}", Dying)
    monkeypatch.setattr("naslab.cluster.server.DEATHS", 2)
    monkeypatch.setattr("naslab.cluster.crew.DEATHS", 2)
    with pytest.raises(RuntimeError, match=r"died 2 times"):
        run()


def test_a_search_that_is_left_ends_its_actors_and_children(session):
    steps = cluster.search(SPACE, Noted.__call__, make(), config(), torch.Generator(), replicas=2)
    steps.close()  # before it begins
    steps = cluster.search(SPACE, ones, make(), config(100), torch.Generator(), replicas=2)
    next(steps)
    assert of_ray("ray::Replica")
    steps.close()
    deadline = time.time() + 30
    while of_ray("ray::Replica") or of_ray("ray::Shard"):
        assert time.time() < deadline
        time.sleep(0.2)


def test_a_resumed_search_equals_one_that_was_not_stopped(session, tmp_path):
    expected = one_machine(updates=8)
    path = tmp_path / "search.pt"
    generator = torch.Generator().manual_seed(3)
    for step in tee(cluster.search(SPACE, ones, make(), config(8), generator), checkpoint(path)):
        if step.index == 3:
            break
    controller = make(1)
    again = run(controller=controller, updates=8, seed=0, after=resume(path))
    whole = make()
    one_machine(controller=whole, updates=8)
    assert same(again, expected[4:]) and equal(controller, whole)


def test_it_may_resume_with_other_shards_and_replicas(session, tmp_path):
    path = tmp_path / "search.pt"
    steps = run(updates=3, shards=2, replicas=3, each=lambda step: checkpoint(path)(step) or step)
    for shards, replicas in ((1, 1), (3, 4)):
        again = run(updates=6, shards=shards, replicas=replicas, after=resume(path))
        assert [step.index for step in again] == [3, 4, 5]
        assert [step.info["shard_0"] for step in again] == [4, 5, 6]
        assert not {step.children for step in again} & {step.children for step in steps}


def test_the_state_can_be_read_until_the_search_goes_on(session):
    steps = cluster.search(SPACE, ones, make(), config(), torch.Generator())
    first = next(steps)
    assert isinstance(first.state, Live) and state_of(first)["baseline"] == first.info["baseline"]
    next(steps)
    with pytest.raises(ValueError, match="the search has gone on"):
        state_of(first)
    steps.close()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"replicas": 0}, "replicas: got 0"),
        ({"shards": 0}, "shards: got 0"),
        ({"shards": 1000}, r"shards: got 1000, expected at most \d+, the tensors of theta"),
        ({"timeout": 0}, "timeout: got 0"),
        ({"settings": {"grow_every": 8}}, "grow_every: got 8, expected 0"),
        ({"evaluate": 3}, "f: got 3, expected a function"),
        ({"evaluate": str}, "reward: got '"),
        ({"after": Step(0, (), (), state={"search": "reinforce"})}, "after: got a step of search 'reinforce'"),
    ],
)
def test_bad_settings(session, settings, message):
    with pytest.raises(ValueError, match=message):
        run(**settings)


@pytest.mark.parametrize(("streams", "got"), [(3, "3"), ([torch.zeros(3)], "tensor"), (["x"], "x")])
def test_a_damaged_state_is_refused(session, tmp_path, streams, got):
    path = tmp_path / "search.pt"
    run(updates=1, each=lambda step: checkpoint(path)(step) or step)
    step = resume(path)
    step.state["streams"] = streams
    with pytest.raises(ValueError, match=rf"state.streams: got .*{got}.*, expected"):
        run(after=step)


def test_a_search_that_diverges_ends(session):
    with pytest.raises(FloatingPointError, match="diverged: step"):
        run(updates=50, settings={"lr": 1e38})


@pytest.mark.parametrize("sizes", [[5, 1, 1, 1, 1, 1], [3], [2, 2, 2], [7, 5, 3, 0, 0]])
def test_tensors_are_spread_over_the_shards(sizes):
    for shards in range(1, len(sizes) + 1):
        parts = split(sizes, shards)
        assert sorted(place for part in parts for place in part) == list(range(len(sizes))) and all(parts)
        loads = [sum(sizes[place] for place in part) for part in parts]
        assert max(loads) <= sum(sizes) / shards + max(sizes)  # the bound of Graham 1969 for list scheduling


def act(item):
    match item:
        case "raise":
            raise KeyError("no such op")
        case "hang":
            time.sleep(600)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "lock":
            return signal.getsignal  # cannot be pickled by value, but by name
        case "own":
            return Failed("diverged")
    return item


def test_ray_map_is_called_like_map(session):
    assert parallel.ray_map(act, range(5)) == list(map(act, range(5)))
    assert parallel.ray_map(act, []) == []
    found = parallel.ray_map(act, ["raise", 1, "hang", "kill", "own", 2], timeout=2)
    assert [getattr(result, "reason", result) for result in found][:3] == [
        "KeyError: 'no such op'",
        1,
        "no result within 2 s",
    ]
    assert found[3].reason.startswith("worker died, 2 times") and found[4].reason == "diverged" and found[5] == 2
    expected, controller = one_machine(), make()
    steps = reinforce.search(
        SPACE, ones, controller, config(), torch.Generator().manual_seed(3), map_fn=parallel.ray_map
    )
    assert same(list(steps), expected)


class Loaded:
    def __reduce__(self):
        return load, ()

    def __call__(self, item):
        time.sleep(0.05)
        return os.getpid(), LOADS


def load():
    global LOADS
    LOADS += 1
    return Loaded()


def test_f_is_loaded_once_by_each_worker_not_once_per_child(session):
    found = parallel.ray_map(Loaded(), range(12))
    assert {loads for _, loads in found} == {1} and len({pid for pid, _ in found}) <= 3


class Broken:
    def __reduce__(self):
        return int, ("no number",)

    def __call__(self, item):
        return item


@pytest.mark.parametrize(
    ("f", "items", "message"),
    [
        (3, [1], "f: got 3, expected a function"),
        (act, 3, "items: got 3, expected an iterable"),
        (act, [iter([])], r"items\[0\]: got list_iterator|^$"),
        (Broken(), [1], "f: a worker cannot load it"),
    ],
)
def test_what_ray_map_refuses(session, f, items, message):
    if message.endswith("|^$"):  # a lock cannot be pickled
        import threading

        items, message = [threading.Lock()], r"items\[0\]: got lock, expected an object that can be pickled"
    with pytest.raises(ValueError, match=message):
        parallel.ray_map(f, items)


def test_a_second_session_in_one_process_is_refused(session):
    with pytest.raises(RuntimeError, match="Ray runs already"), parallel.ray_session():
        pass
    assert ray.is_initialized()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"cpus": 0}, "cpus: got 0"), ({"megabytes": 1}, "megabytes: got 1"), ({"address": "auto", "cpus": 1}, "address")],
)
def test_bad_sessions(settings, message):
    with pytest.raises(ValueError, match=message), parallel.ray_session(**settings):
        pass


def test_without_ray_a_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    for call in (lambda: parallel.ray_map(act, [1]), lambda: parallel.ray_session().__enter__(), run):
        with pytest.raises(ImportError, match=r"needs Ray: pip install ray \(or naslab\[cluster\]\)"):
            call()


# Tests with a Ray of their own. pytest runs them after the session of the module, in the order of this file.

SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
from test_cluster import *

def slow(tokens):
    time.sleep(0.1)
    return ones(tokens)

if __name__ == "__main__":
    with parallel.ray_session(cpus=2):
        steps = cluster.search(SPACE, slow, make(), config(1000), torch.Generator().manual_seed(3), replicas={replicas})
        for step in tee(steps, checkpoint({path!r})):
            print(step.index, flush=True)
"""


@pytest.mark.parametrize(("signal_", "replicas"), [(signal.SIGKILL, 1), (signal.SIGINT, 2)])
def test_a_driver_that_is_killed_or_interrupted_leaves_no_process_and_resumes(tmp_path, signal_, replicas):
    script, path = tmp_path / "script.py", tmp_path / "search.pt"
    text = textwrap.dedent(SCRIPT).format(tests=str(Path(__file__).parent), path=str(path), replicas=replicas)
    script.write_text(text)
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as driver:
        for line in driver.stdout:
            if line.strip() == "3":
                break
        started = psutil.Process(driver.pid).children(recursive=True)
        driver.send_signal(signal_)
    _, alive = psutil.wait_procs(started, timeout=60)
    assert started and not alive
    step = resume(path)
    with parallel.ray_session(cpus=2):
        again = run(updates=step.index + 3, after=step, replicas=replicas)
    assert [each.index for each in again] == [step.index + 1, step.index + 2]
    if replicas == 1:
        assert same(again, one_machine(updates=step.index + 3)[step.index + 1 :])


def test_two_nodes_and_one_of_them_is_removed_in_mid_search():
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        other = nodes.add_node(num_cpus=2)
        with parallel.ray_session(nodes.address):
            assert sum(node["Alive"] for node in ray.nodes()) == 2
            hosts = {tuple(pair) for pair in parallel.ray_map(where, range(12))}
            assert len(hosts) == 2  # children ran on both nodes
            a, b = make(), make()
            steps = []
            for step in cluster.search(SPACE, slowly, a, config(), torch.Generator().manual_seed(3), shards=2):
                steps.append(step)
                if step.index == 1:
                    nodes.remove_node(other, allow_graceful=False)
            assert sum(node["Alive"] for node in ray.nodes()) == 1
        assert same(steps, one_machine(controller=b)) and equal(a, b)
    finally:
        nodes.shutdown()


def where(item):
    time.sleep(1)
    return (ray.get_runtime_context().get_node_id(),)


def slowly(tokens):
    time.sleep(0.3)
    return ones(tokens)
