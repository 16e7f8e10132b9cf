"""The search: as `reinforce.search`, with replicas that do not wait for one another (section 3.2)."""

import time
from collections.abc import Callable, Iterator
from math import inf
from typing import Any

import torch

from naslab import checks
from naslab.cluster.crew import Crew
from naslab.cluster.hosts import Hosts
from naslab.cluster.server import Server
from naslab.controller import Controller, moving_average
from naslab.fleet import Span
from naslab.parallel.on_ray import Tasks
from naslab.search.reinforce import Config
from naslab.spaces import Space, Tokens
from naslab.states import restore, snapshot
from naslab.steps import Live, Step, begin, finite, keep, live_state, squares


def search(
    space: Space,
    evaluate: Callable[[Tokens], float],
    controller: Controller,
    config: Config,
    generator: torch.Generator,
    after: Step | None = None,
    *,
    shards: int = 1,
    replicas: int = 1,
    processes: int | None = None,
    timeout: float | None = None,
    gpus: float = 0,
    spans: list[Span] | None = None,
) -> Iterator[Step]:
    """Trains `controller` in place, with one gradient of one replica per step.

    A gradient may be computed at an older theta than the one that it changes:
    `info["staleness"]` counts the updates between its pull and its push. `info` also
    has the `replica`, the version of each shard (`shard_0`, ...), the `seconds` since
    the start, and how many replicas and shards were `replaced`. With one shard and one
    replica the steps are those of `reinforce.search`, to the last bit.

    Every shard and every replica is a process, or they share `processes` of them: one
    takes about 200 MB.

    A child that raises, that takes longer than `timeout` seconds, or whose worker dies
    twice has the reward 0, and `Step.failures` has the reason. Each gets a processor
    and `gpus` GPUs (0.5: two share one). `spans` gets what each
    replica and worker did, in seconds since the start.

    A resumed search trains again the children that no step has counted. It may have
    another number of shards and replicas. Raises `ValueError` for a bad setting,
    `RuntimeError` outside of `ray_session` or if an actor dies again and again, and
    `FloatingPointError` if the search diverges.
    """
    checks.is_a(Config, config=config)
    checks.whole(1, replicas=replicas)
    if config.grow_every:
        raise ValueError(f"grow_every: got {config.grow_every}, expected 0: a search on a cluster does not grow")
    tasks = Tasks(evaluate, timeout, gpus)
    controller.grow(space)
    optim = torch.optim.Adam(controller.parameters(), config.lr)
    learners: dict[str, Any] = {"controller": controller, "optim": optim}
    needs = ("baseline", "streams", *learners)
    first, state = begin(after, "cluster", space, generator, needs=needs)
    if state:
        checks.number(-inf, **{"state.baseline": state["baseline"]})
        restore(learners, state)
    streams = random_streams(generator, replicas, state.get("streams", []))
    live = live_state(after)
    server = Server(optim, shards, first, Hosts(processes))
    limit, baseline = config.updates - first, state.get("baseline")
    with Crew(controller, config, server, tasks, streams, limit, baseline, spans) as crew:
        for index in range(first, config.updates):
            push = crew.next_push()
            finite(index, push.rewards, loss=push.loss, squared_gradient=squares(push.gradient))
            live.expire()  # from here on the weights change
            versions = server.push(push.gradient)
            # after use: b never sees these rewards
            baseline = moving_average(baseline, push.reward, config.baseline_decay)
            finite(index, push.rewards, baseline=baseline, squared_weights=squares(controller.parameters()))
            crew.baseline = baseline
            streams[push.replica].set_state(push.stream)
            info = {
                "baseline": baseline,
                "entropy": push.entropy,
                "replica": push.replica,
                "staleness": index - push.pulled,
                "seconds": time.time() - crew.start,
                "replaced": crew.replaced,
                **{f"shard_{s}": version for s, version in enumerate(versions)},
            }
            states = [stream.get_state() for stream in streams]
            kept = keep("cluster", space, generator, baseline=baseline, streams=states)

            def state_now(kept: dict[str, Any] = kept) -> dict[str, Any]:
                return {
                    **kept,
                    **snapshot(
                        {name: learner.state_dict() for name, learner in learners.items()},
                    ),
                }

            live = Live(state_now)
            push.counted.set()  # its replica goes on
            yield Step(index, push.children, push.rewards, info, push.failures, live)


def random_streams(generator: torch.Generator, n: int, states: Any) -> list[torch.Generator]:
    """Returns a generator for each replica: `generator` itself, and others, which it seeds unless `states` has them."""
    if not isinstance(states, list):
        raise ValueError(f"state.streams: got {checks.shown(states)}, expected a list of states of torch.Generators")
    streams = [generator] + [torch.Generator() for _ in range(n - 1)]
    new = streams[max(len(states), 1) :]
    seeds: list[int] = torch.randint(2**62, (len(new),), generator=generator).tolist()
    for stream, seed in zip(new, seeds, strict=True):
        stream.manual_seed(seed)
    for stream, state in zip(streams, states, strict=False):
        try:
            stream.set_state(state)
        except (RuntimeError, TypeError):
            expected = "the state of a torch.Generator"
            raise ValueError(f"state.streams: got {checks.shown(state)}, expected {expected}") from None
    return streams
