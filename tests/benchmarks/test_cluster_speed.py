"""Two workers of Ray against one, on two quiet cores: `pytest tests/benchmarks -k hour --benchmark-enable`."""

import time

import pytest
from test_speed import ratio

from naslab import data, spaces
from naslab.parallel import ray_map, ray_session
from naslab.training import Recipe, TrainChild

pytest.importorskip("ray", reason="needs the extra cluster")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Ray's own
def test_two_workers_train_1_8_times_the_children_per_hour_of_one(benchmark):
    """Eight times the same child, two seconds or so each. With one worker a child is sent when the last has ended."""
    if not benchmark.enabled:
        pytest.skip("needs --benchmark-enable")
    train_child = TrainChild(spaces.nas_bench_201(), data.digits(), Recipe(epochs=6), channels=8, cells=1)
    children = [(3,) * 6] * 8
    with ray_session(cpus=2):
        rewards = ray_map(train_child, children)  # starts the workers, too
        assert len(set(rewards)) == 1 and rewards[0] > 0
        benchmark.pedantic(ray_map, (train_child, children), rounds=1)
        found = ratio(
            lambda: [ray_map(train_child, [child]) for child in children],
            lambda: ray_map(train_child, children),
            5,
            time.perf_counter,
        )
    benchmark.extra_info["ratio"] = round(found, 2)
    assert found >= 1.8
