"""Searches that have a Ray of their own, because its driver or one of its machines ends."""

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import cloudpickle
import psutil
import pytest
import torch
from test_cluster import SPACE, config, equal, make, one_machine, ones, run, same

from naslab import cluster, parallel
from naslab.parallel.on_ray import the_ray
from naslab.steps import resume

try:
    ray = the_ray()
except ImportError:
    pytest.skip("needs the extra cluster", allow_module_level=True)
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # Ray's own warnings

SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
import torch
from test_cluster import SPACE, config, make, ones
from naslab import cluster, parallel
from naslab.steps import checkpoint, tee

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
    _, alive = psutil.wait_procs(started, timeout=180)  # two of Ray's processes take a minute to notice
    assert started and not alive
    step = resume(path)
    with parallel.ray_session(cpus=2):
        again = run(updates=step.index + 3, after=step, replicas=replicas)
    assert [each.index for each in again] == [step.index + 1, step.index + 2]
    if replicas == 1:
        assert same(again, one_machine(updates=step.index + 3)[step.index + 1 :])


def test_every_new_ray_gets_f_again():
    for _ in range(2):
        ray.init("local", num_cpus=1, include_dashboard=False, object_store_memory=10**8, log_to_driver=False)
        try:
            assert parallel.ray_map(str, [1, 2]) == ["1", "2"]
        finally:
            ray.shutdown()


def test_two_nodes_and_one_of_them_is_removed_in_mid_search():
    from ray.cluster_utils import Cluster

    for name in ("test_cluster", __name__):  # as the functions of a notebook: the other machines do not have them
        cloudpickle.register_pickle_by_value(sys.modules[name])
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
            limit = time.monotonic() + 60  # Ray notices at its next health check
            while sum(node["Alive"] for node in ray.nodes()) > 1 and time.monotonic() < limit:
                time.sleep(0.5)
            assert sum(node["Alive"] for node in ray.nodes()) == 1
        assert same(steps, one_machine(controller=b)) and equal(a, b)
    finally:
        nodes.shutdown()
        for name in ("test_cluster", __name__):
            cloudpickle.unregister_pickle_by_value(sys.modules[name])


def where(item):
    time.sleep(1)
    return (ray.get_runtime_context().get_node_id(),)


def slowly(tokens):
    time.sleep(0.3)
    return ones(tokens)
