import gc
import math
import tracemalloc
from dataclasses import replace

import pytest
import torch

from naslab import spaces
from naslab.search import qlearning, random_search
from naslab.search.qlearning import Config, epsilon, learn, shrink, table
from naslab.steps import Failed, checkpoint, resume, state_of, tee

SPACES = {
    "macro": spaces.MacroSpace(3),
    "edges": spaces.nas_bench_201(),
    "pairs": spaces.darts_conv(2),  # pointers that must differ
    "tree": spaces.TreeSpace(2),
}
SHORT = ((3, 1.0), (4, 0.5), (1, 0.1))


def ones(tokens):
    return sum(t == 1 for t in tokens) / len(tokens)


def run(evaluate=ones, after=None, space=SPACES["macro"], map_fn=map, seed=3, each=lambda step: step, **settings):
    config = Config(**{"updates": 12, "schedule": SHORT, "replay": 5, "lr": 0.1} | settings)
    generator = torch.Generator().manual_seed(seed)
    return list(map(each, qlearning.search(space, evaluate, config, generator, after, map_fn)))


def run_and_copy(*args, **settings):
    """The same, with the state of every step copied while it can be read."""
    return run(*args, each=lambda step: replace(step, state=state_of(step)), **settings)


def content(steps):
    return [(s.index, s.children, s.rewards, s.info, s.failures, s.state["q"], s.state["memory"]) for s in steps]


def valid(space, prefix, token):
    """Whether some string goes on like this: independent of `allowed`."""
    d = space.decisions[len(prefix)]
    return token < len(d.options) and token not in [prefix[p] for p in d.differs_from]


def literally(space, evaluate, config, generator):
    """Algorithms 1 to 3 of the appendix, word for word; shares the random numbers' order with the module."""
    Q, replay_memory, models, n = {}, [], [], len(space.decisions)

    def actions(S):
        return [u for u in range(50) if valid(space, S, u)]

    def get(i, S, u):
        return Q.setdefault((i, S[i - 1] if i > 0 else None, u), config.initial)

    budget = [e for length, e in config.schedule for _ in range(length)]
    for episode in range(config.updates):
        eps = budget[min(episode, len(budget) - 1)]
        S, alpha = [], torch.rand(n, generator=generator)
        for i in range(n):
            U = actions(S)
            if alpha[i] < eps:
                u = U[torch.randint(len(U), (), generator=generator)]
            else:
                u = U[0]
                for candidate in U[1:]:
                    if get(i, S, candidate) > get(i, S, u):
                        u = candidate
            S.append(u)
        replay_memory.append((S, evaluate(tuple(S))))
        models.append(tuple(S))
        for k in torch.randint(len(replay_memory), (config.replay,), generator=generator):
            S, accuracy = replay_memory[k]
            for i in reversed(range(n)):
                future = accuracy  # the only reward
                if i < n - 1:
                    future = config.gamma * max(get(i + 1, S, u) for u in actions(S[: i + 1]))
                new = (1 - config.lr) * get(i, S, S[i]) + config.lr * future
                Q[i, S[i - 1] if i > 0 else None, S[i]] = new
    return models, Q


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_the_search_is_the_appendix_of_the_paper(name, gamma):
    space, settings = SPACES[name], {"updates": 40, "schedule": ((10, 1.0), (15, 0.4), (5, 0.1)), "gamma": gamma}
    steps = run(space=space, **settings)
    config = Config(replay=5, lr=0.1, **settings)
    models, Q = literally(space, ones, config, torch.Generator().manual_seed(3))
    assert [s.children[0] for s in steps] == models
    q = state_of(steps[-1])["q"]
    for (i, before, u), value in Q.items():
        assert q[i, before or 0][u] == pytest.approx(value, abs=1e-12)


def test_the_table_has_every_state_and_option():
    q = table(SPACES["macro"], 0.5)
    sizes = [6, 6, 2, 6, 2, 2]  # op; op, skip; op, two skips
    before = [1, *sizes[:-1]]
    assert {s: len(v) for s, v in q.items()} == {(p, t): sizes[p] for p in range(6) for t in range(before[p])}
    assert all(v == 0.5 for values in q.values() for v in values)


def test_the_values_of_two_decisions_converge_to_their_closed_form():
    """Q(1, a)[b] = R(a, b), Q(0)[a] = max_b R(a, b), whatever was tried in between."""
    space = spaces.CellSpace(("cell",), nodes=1, inputs=2, ops=("none", "a", "b"), fan_in=None)
    rewards = {t: math.sin(1 + 3 * t[0] + t[1]) for t in spaces.all_strings(space)}
    q = state_of(run(rewards.get, space=space, updates=300, schedule=((1, 1.0),), replay=50, lr=0.2)[-1])["q"]
    for a in range(3):
        assert q[1, a] == pytest.approx([rewards[a, b] for b in range(3)], abs=1e-9)
        assert q[0, 0][a] == pytest.approx(max(rewards[a, b] for b in range(3)), abs=1e-9)


def test_one_update_of_one_string_by_hand():
    space = spaces.CellSpace(("cell",), nodes=1, inputs=2, ops=("none", "a", "b"), fan_in=None)
    q = table(space, 0.5)
    learn(space, q, (2, 1), reward=1.0, lr=0.1, gamma=0.9)
    assert q[1, 2] == pytest.approx([0.5, 0.55, 0.5])  # 0.9 * 0.5 + 0.1 * 1
    assert q[0, 0] == pytest.approx([0.5, 0.5, 0.9 * 0.5 + 0.1 * 0.9 * 0.55])  # the last decision was learned first
    assert q[1, 0] == q[1, 1] == [0.5] * 3


def test_what_may_not_follow_promises_nothing():
    """The second of two pointers that differ: the value of repeating the first is never looked up."""
    space = spaces.CellSpace(("cell",), nodes=1, inputs=2, ops=("a",), fan_in=2)
    steps = run(lambda tokens: -1.0, space=space, updates=200, replay=20)
    assert all(space.check(s.children[0]) for s in steps)
    q = state_of(steps[-1])["q"]
    assert q[0, 0] == pytest.approx([-1, -1], abs=1e-6)  # and not the 0.5 that impossible strings start with


def halves(space, seed):
    """Mean rewards of the random first and of the last 40 of 400 children."""
    schedule = shrink(qlearning.SCHEDULE, 400)
    steps = run(space=space, updates=400, schedule=schedule, replay=100, lr=0.01, seed=seed)
    return [sum(s.rewards[0] for s in part) / 40 for part in (steps[:40], steps[-40:])]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_learns_to_count_to_two(seed):
    """A tenth of the decisions stays random: of two with five options, 0.92 is the most."""
    before, after = halves(spaces.CellSpace(("cell",), 1, 2, ("none", "a", "b", "c", "d"), None), seed)
    assert before < 0.35 and after > 0.85


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_cannot_learn_what_no_state_remembers(seed):
    """Of six decisions only the last two are learned, as the module says: (2 * 0.92 + 4 * 0.2) / 6 = 0.44."""
    before, after = halves(spaces.nas_bench_201(), seed)
    assert before < 0.3 and 0.34 < after < 0.54


# The schedule


def test_the_default_schedule_is_the_paper_s():
    values = [epsilon(Config().schedule, k) for k in range(Config().updates)]
    assert values[:1500] == [1.0] * 1500 and values == sorted(values, reverse=True)
    assert [values.count(k / 10) for k in range(10, 0, -1)] == [1500, 100, 100, 100, *[150] * 6]
    assert epsilon(Config().schedule, 10**6) == 0.1


def test_a_short_schedule_keeps_the_proportions():
    short = shrink(qlearning.SCHEDULE, 270)
    assert short == tuple((n // 10, e) for n, e in qlearning.SCHEDULE)
    for children in (1, 7, 100, 500, 2700, 10_001):
        odd = shrink(qlearning.SCHEDULE, children)
        assert sum(n for n, _ in odd) == children and [e for _, e in odd] == [e for _, e in qlearning.SCHEDULE]
        assert all(abs(n - m * children / 2700) < 1 for (n, _), (m, _) in zip(odd, qlearning.SCHEDULE, strict=True))


def test_epsilon_counts_children():
    assert [epsilon(SHORT, k) for k in range(10)] == [1.0] * 3 + [0.5] * 4 + [0.1] * 3
    assert [s.info["epsilon"] for s in run(updates=3, children=3)] == [1.0, 0.5, 0.1]  # of the last child: 2, 5, 8


@pytest.mark.parametrize("eps", [0.0, 0.3, 1.0])
def test_that_share_of_decisions_is_random(eps):
    space = spaces.nas_bench_201()
    q = table(space, 0.0)
    for values in q.values():
        values[2] = 1.0
    g = torch.Generator().manual_seed(0)
    tokens = [t for _ in range(2000) for t in qlearning.draw(space, q, eps, g)]
    expected = 1 - eps + eps / 5
    assert abs(tokens.count(2) / 12_000 - expected) <= 4 * math.sqrt(expected * (1 - expected) / 12_000)


# The stream


@pytest.mark.parametrize("name", SPACES)
def test_strings_are_valid(name):
    space = SPACES[name]
    assert all(space.check(c) for s in run(space=space, updates=30, children=2) for c in s.children)


@pytest.mark.parametrize("stop", [1, 3, 7, 11])
@pytest.mark.parametrize("children", [1, 3])
def test_resumed_equals_uninterrupted(stop, children, tmp_path):
    whole = run_and_copy(children=children)
    for _ in tee(run(updates=stop, children=children)[-1:], checkpoint(tmp_path / "s.pt")):
        pass
    rest = run_and_copy(after=resume(tmp_path / "s.pt"), children=children, seed=99)
    assert content(rest) == content(whole[stop:])
    assert torch.equal(rest[-1].state["generator"], whole[-1].state["generator"])


def test_a_copied_step_resumes_as_often_as_one_likes():
    whole = run_and_copy()  # the copies must not share what later steps change
    for _ in range(2):
        assert content(run_and_copy(after=whole[4])) == content(whole[5:])


def test_the_last_step_in_memory_resumes_and_then_its_state_is_gone():
    whole, last = run_and_copy(), run(updates=5)[-1]
    assert state_of(last)["q"] == whole[4].state["q"] and state_of(last)["memory"] == whole[4].state["memory"]
    assert content(run_and_copy(after=last)) == content(whole[5:])
    with pytest.raises(ValueError, match="state: the search has gone on"):
        state_of(last)


def test_a_step_of_another_search_is_refused():
    (step,) = random_search.search(SPACES["macro"], ones, random_search.Config(1), torch.Generator())
    with pytest.raises(ValueError, match="got a step of search 'random_search', expected 'qlearning'"):
        run(after=step)


def test_kept_steps_hold_nothing_of_the_searcher():
    """A step that held a copy of the memory would hold as many strings as there were steps before it."""

    def held(updates):
        tracemalloc.start()
        steps = run(updates=updates, replay=1)
        gc.collect()
        found = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return found / len(steps)

    held(50)  # what is made once, such as the space's decisions
    assert held(1600) < 2 * held(200)  # bytes per step, seen 1.0 to 1.3 times; with copies it is 5 times


@pytest.mark.parametrize("reward", [1.7e308, -1.7e308])
def test_a_value_that_leaves_the_numbers_says_so(reward):
    rewards = iter([reward, -reward] * 50)
    with pytest.raises(FloatingPointError, match=r"diverged: step \d+: a Q-value is .*; the rewards are \(-?1.7e\+308"):
        run(lambda tokens: next(rewards), updates=100, lr=1.0)


def test_children_of_an_update_are_evaluated_together_and_in_order():
    calls = []

    def map_fn(f, children):
        calls.append(children)
        return [f(c) for c in children]

    steps = run(map_fn=map_fn, children=3, updates=4)
    assert [s.children for s in steps] == calls and [len(c) for c in calls] == [3] * 4
    assert state_of(steps[-1])["memory"] == [(c, ones(c)) for s in steps for c in s.children]


@pytest.mark.parametrize("bad", [math.nan, math.inf, Failed("killed")])
def test_a_child_without_a_result_is_a_failure_with_reward_0(bad, tmp_path):
    steps = run(lambda tokens: bad, updates=4)
    reason = bad.reason if isinstance(bad, Failed) else f"reward is {bad}"
    assert all(s.rewards == (0.0,) and s.failures == {0: reason} for s in steps)
    for _ in tee(steps[-1:], checkpoint(tmp_path / "s.pt")):
        pass
    assert resume(tmp_path / "s.pt").failures == {0: reason}
    assert [s.children for s in steps] == [s.children for s in run(lambda tokens: 0.0, updates=4)]
