import os
import signal
import sys
import threading
import time
from collections import Counter
from dataclasses import replace

import psutil
import pytest
import torch

from naslab import cluster, fleet, parallel, spaces
from naslab.cluster.crew import Crew
from naslab.cluster.hosts import Hosts
from naslab.cluster.search import random_streams
from naslab.cluster.server import Server, split
from naslab.controller import Controller
from naslab.parallel import Tasks
from naslab.parallel.on_ray import the_ray
from naslab.runs import seeded
from naslab.search import reinforce
from naslab.search.reinforce import Config
from naslab.steps import Failed, Live, Step, checkpoint, resume, state_of

try:
    ray = the_ray()
except ImportError:
    pytest.skip("needs the extra cluster", allow_module_level=True)
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
            file.flush()
            end = file.tell()  # of its own line: others may have written since
        if self.does:
            self.does(self.path.read_bytes()[:end].count(b"\n"))
        return ones(tokens)

    def calls(self):
        return self.path.read_text().splitlines()


class Kill:
    """Kills every process whose name begins so, at the given calls."""

    def __init__(self, names):
        self.names = names

    def __call__(self, call):
        if call in self.names:
            kill(psutil.process_iter(), *self.names[call])


def kill(processes, *names) -> int:
    """Kills the actors of these names. Returns how many."""
    killed = 0
    for process in sorted(processes, key=lambda process: process.pid == os.getpid()):  # itself last
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


# An actor costs about 5 CPU seconds, because it imports Ray and torch. So a test looks at several things.


def test_one_shard_and_one_replica_equal_reinforce_to_the_last_bit(session):
    a, b = make(), make()
    settings = {"power": 3.0, "baseline_decay": 0.5}
    expected, found = one_machine(controller=a, **settings), run(controller=b, settings=settings)
    assert same(found, expected) and equal(a, b)
    one, other = (state_of(steps[-1]) for steps in (expected, found))
    assert torch.equal(one["generator"], other["generator"])
    for place, moments in one["optim"]["state"].items():
        assert all(torch.equal(moments[name], other["optim"]["state"][place][name]) for name in moments)


def test_replicas_do_not_wait_for_one_another_and_every_child_counts_once(session, tmp_path):
    spans, noted, path = [], Noted(tmp_path / "calls", Sleep(0.05)), tmp_path / "search.pt"
    start = time.time()
    steps = run(noted, updates=12, shards=2, replicas=3, spans=spans, each=lambda step: checkpoint(path)(step) or step)
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
    assert len({step.children for step in steps}) == 12  # no two replicas have the same random numbers

    again = run(updates=14, shards=1, replicas=1, after=resume(path))  # other numbers of both
    assert [(step.index, step.info["shard_0"], step.info["staleness"]) for step in again] == [(12, 13, 0), (13, 14, 0)]
    assert not {step.children for step in again} & {step.children for step in steps}


class Sleep:
    def __init__(self, seconds):
        self.seconds = seconds

    def __call__(self, call):
        time.sleep(self.seconds)


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
    reasons = {0: "KeyError: 'no such op'", 1: "no result within 5 s", 2: "worker died, 2 times", 3: "reward is nan"}
    seen = set()
    for step in run(Bad(), updates=1, timeout=5, seed=22, settings={"children": 8}):
        for place, child in enumerate(step.children):
            way = sum(child) % 5
            seen.add(way)
            assert step.rewards[place] == (way == 4)
            assert step.failures.get(place, "").startswith(reasons.get(way, "")) and (place in step.failures) == (
                way < 4
            )
    assert seen == {0, 1, 2, 3, 4}


def test_a_replica_and_a_shard_that_are_killed_while_children_train_change_no_bit(session, tmp_path):
    noted = Noted(tmp_path / "calls", Kill({10: ["ray::Replica"], 17: ["ray::Shard"]}))
    a, b = make(), make()
    steps = run(noted, controller=a, shards=2)
    assert same(steps, one_machine(controller=b)) and equal(a, b)
    assert len(noted.calls()) == 6 * 4  # the children that were in training count, and are not trained again
    assert [step.info["replaced"] for step in steps] == [0, 0, 1, 1, 3, 3]


def test_with_more_replicas_the_killed_are_replaced_and_no_version_is_skipped(session, tmp_path):
    noted = Noted(tmp_path / "calls", Kill({20: ("ray::Replica", "ray::Shard", "ray::_child")}))
    steps = run(noted, updates=12, shards=2, replicas=3)
    assert [step.info["shard_1"] for step in steps] == list(range(1, 13))
    assert steps[-1].info["replaced"] >= 3 and not any(step.failures for step in steps)
    assert all(len(step.children) == 4 and step.rewards == tuple(map(ones, step.children)) for step in steps)


def test_shards_and_replicas_can_share_a_process_and_die_with_it(session, tmp_path):
    count = Counted()
    noted = Noted(tmp_path / "calls", Kill({10: ["ray::Shard"]}))
    a, b = make(), make()
    steps = run(noted, controller=a, shards=2, processes=1, each=count)
    assert same(steps, one_machine(controller=b)) and equal(a, b) and len(noted.calls()) == 6 * 4
    assert [step.info["replaced"] for step in steps] == [0, 0, 3, 3, 3, 3] and count.most == 1
    run(shards=2, replicas=2, processes=2, each=count)
    assert count.most == 2
    run(shards=2, each=count)
    assert count.most == 3


class Counted:
    """Counts the processes of shards and replicas at every step."""

    most = 0

    def __call__(self, step):
        self.most = max(self.most, len(of_ray("ray::Shard") + of_ray("ray::Replica")))
        return step


def test_theta_that_is_lost_with_its_shard_is_pulled_again(session, monkeypatch):
    pull, calls = Server.pull, []

    def pull_from_the_dead(server):
        calls.append(None)
        if len(calls) == 3:
            ray.kill(server.shards[0].host)
            while not server.shards[0].dead():  # until then it may still answer the pull
                time.sleep(0.05)
        return pull(server)

    monkeypatch.setattr(Server, "pull", pull_from_the_dead)
    a, b = make(), make()
    steps = run(controller=a, shards=2)
    assert same(steps, one_machine(controller=b)) and equal(a, b)
    assert steps[-1].info["replaced"] == 1 and len(calls) == 7


def test_a_lost_shard_starts_again_from_the_copy(session):
    controller = make()
    optim = torch.optim.Adam(controller.parameters(), 0.1)
    server = Server(optim, 2, 0, Hosts())
    gradient = [torch.ones_like(p) for p in controller.parameters()]
    assert server.push(gradient) == [1, 1]
    ray.kill(server.shards[1].host)
    server.mend()
    assert server.replaced == 1 and not any(shard.dead() for shard in server.shards)
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
    server.hosts.end()


class Dying:
    """In place of Ray: every actor dies when it is asked."""

    exceptions = ray.exceptions

    def get(self, asked):
        raise ray.exceptions.ActorDiedError

    def __getattr__(self, name):  # actor.remote(...), actor.push.remote(...)
        return self

    def __call__(self, *arguments, **settings):
        return self


def test_an_actor_that_dies_again_and_again_ends_the_search(session, monkeypatch):
    controller = make()
    dying = Dying()
    monkeypatch.setattr("naslab.cluster.hosts.the_ray", lambda: dying)
    server = Server(torch.optim.Adam(controller.parameters(), 0.1), 1, 0, Hosts())
    with pytest.raises(RuntimeError, match="shard 0 died 5 times"):
        server.push([None] * len(server.parameters))
    crew = Crew(controller, config(), server, Tasks(ones), [torch.Generator()], 6, None, None)
    crew.replicas[0].run()
    with pytest.raises(RuntimeError, match="replica 0 died 5 times"):
        crew.next_push()
    monkeypatch.setattr(crew.replicas[0], "turn", lambda: False)
    crew.replicas[0].run()
    with pytest.raises(RuntimeError, match="replica 0: theta was lost 5 times"):
        crew.next_push()


def test_a_search_that_is_left_ends_its_actors_and_children(session):
    steps = cluster.search(SPACE, Noted.__call__, make(), config(), torch.Generator(), replicas=2)
    steps.close()  # before it begins
    steps = cluster.search(SPACE, ones, make(), config(100), torch.Generator(), replicas=2)
    first = next(steps)
    assert isinstance(first.state, Live) and state_of(first)["baseline"] == first.info["baseline"]
    assert of_ray("ray::Replica")
    next(steps)
    with pytest.raises(ValueError, match="the search has gone on"):
        state_of(first)
    steps.close()
    deadline = time.time() + 30
    while of_ray("ray::Replica") or of_ray("ray::Shard"):
        assert time.time() < deadline
        time.sleep(0.2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"replicas": 0}, "replicas: got 0"),
        ({"shards": 0}, "shards: got 0"),
        ({"processes": 0}, "processes: got 0"),
        ({"shards": 1000}, r"shards: got 1000, expected at most \d+, the tensors of theta"),
        ({"timeout": 0}, "timeout: got 0"),
        ({"settings": {"grow_every": 8}}, "grow_every: got 8, expected 0"),
        ({"evaluate": 3}, "f: got 3, expected a function"),
        ({"after": Step(0, (), (), state={"search": "reinforce"})}, "after: got a step of search 'reinforce'"),
    ],
)
def test_bad_settings(session, settings, message):
    with pytest.raises(ValueError, match=message):
        run(**settings)


@pytest.mark.parametrize(("streams", "got"), [(3, "3"), ([torch.zeros(3)], "tensor"), (["x"], "x")])
def test_a_damaged_state_is_refused(session, streams, got):
    step = one_machine()[-1]
    state = {**state_of(step), "search": "cluster", "streams": streams}
    with pytest.raises(ValueError, match=rf"state.streams: got .*{got}.*, expected"):
        run(updates=7, after=replace(step, state=state))


def test_a_search_that_diverges_ends(session):
    with pytest.raises(FloatingPointError, match="diverged: step"):
        run(updates=50, settings={"lr": 1e30})
    with pytest.raises(ValueError, match="reward: got '"):  # found by the thread of a replica
        run(str)


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
    found = parallel.ray_map(Loaded(), range(12)) + parallel.ray_map(Loaded(), range(12))  # as in two updates
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
        (act, [threading.Lock()], r"items\[0\]: got lock, expected an object that can be pickled"),
        (Broken(), [1], "f: a worker cannot load it"),
    ],
)
def test_what_ray_map_refuses(session, f, items, message):
    with pytest.raises(ValueError, match=message):
        parallel.ray_map(f, items)


def test_a_second_session_in_one_process_is_refused(session):
    with pytest.raises(RuntimeError, match="Ray runs already"), parallel.ray_session():
        pass
    assert ray.is_initialized()


def test_a_local_ray_has_no_process_that_it_does_not_need(session):
    commands = [" ".join(process.cmdline()) for process in of_ray()]
    assert commands and not any("monitor.py" in each or "dashboard.py" in each for each in commands)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"cpus": 0}, "cpus: got 0"), ({"megabytes": 1}, "megabytes: got 1"), ({"address": "auto", "cpus": 1}, "address")],
)
def test_bad_sessions(settings, message):
    with pytest.raises(ValueError, match=message), parallel.ray_session(**settings):
        pass


def test_a_start_that_times_out_is_tried_again(monkeypatch):
    calls = []

    def init(address, **options):
        calls.append(address)
        if len(calls) < 3:
            raise Exception("The current node timed out during startup. This could happen because ...")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # the session of this module goes on
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "init", init)
    with parallel.ray_session():
        assert calls == ["local"] * 3
    del calls[1:]
    monkeypatch.setattr(ray, "init", lambda *address, **options: init("again") if len(calls) < 2 else 1 / 0)
    with pytest.raises(RuntimeError, match="attempt 2 of 3: division by zero"), parallel.ray_session():
        pass


def test_a_child_gets_the_gpus_that_are_asked_for(session, monkeypatch):
    asked = []
    monkeypatch.setattr(ray, "remote", lambda **options: asked.append(options) or (lambda child: child))
    Tasks(act, gpus=0.5)
    assert asked == [{"num_cpus": 1, "num_gpus": 0.5, "max_retries": 0}]
    with pytest.raises(ValueError, match="gpus: got -1"):
        run(gpus=-1)


def test_the_streams_of_all_replicas_are_restored():
    new = random_streams(torch.Generator().manual_seed(1), 3, [])
    for stream in new:
        torch.rand(5, generator=stream)
    states = [stream.get_state() for stream in new]
    assert len({tuple(state.tolist()) for state in states}) == 3
    for n in (1, 2, 3):
        again = random_streams(torch.Generator(), n, states)
        assert len(again) == n and all(map(torch.equal, states, (stream.get_state() for stream in again)))
    *known, added = random_streams(torch.Generator().manual_seed(2), 4, states)
    assert all(map(torch.equal, states, (stream.get_state() for stream in known)))
    assert added.get_state().tolist() not in [state.tolist() for state in states]


def test_without_ray_a_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    for call in (lambda: parallel.ray_map(act, [1]), lambda: parallel.ray_session().__enter__(), run):
        with pytest.raises(ImportError, match=r"needs Ray: pip install ray \(or naslab\[cluster\]\)"):
            call()


def test_a_fleet_that_is_calibrated_on_a_run_predicts_its_rate_within_10_percent(session):
    spans, replicas, children, updates = [], 3, 2, 24
    assert len(set(parallel.ray_map(Sleep(1), range(4)))) == 1  # two at a time: now both workers run
    run(asleep, updates=updates, replicas=replicas, spans=spans, settings={"children": children})
    pushed = [span.end for span in spans if span.what == "push"]
    measured = fleet.steady_rate(pushed, replicas)
    model = fleet.calibrated(spans, shards=1, children=children, workers=2)
    report = fleet.simulate(model, torch.Generator().manual_seed(0), updates=10 * updates)
    assert fleet.steady_rate(report.updates, replicas) == pytest.approx(measured, rel=0.1)


def asleep(tokens):
    """It takes 0.1 to 0.6 s, and no processor, so that other processes do not change it."""
    time.sleep(0.1 + sum(tokens) % 11 / 20)
    return ones(tokens)
