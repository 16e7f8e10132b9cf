import gc
import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from naslab import spaces
from naslab.controller import Controller
from naslab.runs import seeded
from naslab.search import evolution, reinforce
from naslab.search.reinforce import Config, depth
from naslab.steps import Failed, checkpoint, resume, state_of, tee

SPACE = spaces.MacroSpace(3)


def ones(tokens):
    return sum(t == 1 for t in tokens) / len(tokens)


def similarity(target, tokens):
    return sum(a == b for a, b in zip(target, tokens, strict=True)) / len(target)


def make(space=SPACE, seed=0, units=12, **settings):
    with seeded(seed):
        return Controller(space, units, **settings)


def run(
    evaluate=ones, after=None, space=SPACE, controller=None, map_fn=map, seed=3, each=lambda step: step, **settings
):
    config = Config(**{"updates": 6, "children": 4, "lr": 0.02} | settings)
    controller = controller or make(space)
    generator = torch.Generator().manual_seed(seed)
    return list(map(each, reinforce.search(space, evaluate, controller, config, generator, after, map_fn)))


def run_and_copy(*args, **settings):
    """The same, with the state of every step copied while it can be read."""
    return run(*args, each=copied, **settings)


def copied(step):
    return replace(step, state=state_of(step))


def same(a, b):
    """Two states, to the last bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def assert_same(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        assert (a.index, a.children, a.rewards, a.info) == (b.index, b.children, b.rewards, b.info)
        assert same(a.state, b.state)


COUNTS = {  # space, the token that is counted, its share in random strings
    "macro": (spaces.MacroSpace(3), 1, (3 / 6 + 3 / 2) / 6),
    "edges": (spaces.nas_bench_201(), 1, 1 / 5),
    "pointers": (spaces.darts_rnn(3), 0, (3 / 4 + 1 + 1 / 2 + 1 / 3) / 6),
}


def drawn(controller, evaluate):
    """The mean reward of strings that the controller draws."""
    with torch.no_grad():
        tokens, *_ = controller(1000, torch.Generator().manual_seed(0))
    return sum(evaluate(tuple(t)) for t in tokens.tolist()) / 1000


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_counting_reward_is_learned_from_chance_to_above_99_percent(name, seed):
    space, token, chance = COUNTS[name]
    evaluate, controller = partial(similarity, (token,) * len(space.decisions)), make(space, seed)
    assert abs(drawn(controller, evaluate) - chance) < 0.05
    run(evaluate, space=space, controller=controller, seed=seed, updates=100, children=16)
    assert drawn(controller, evaluate) > 0.99


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_target_string_is_learned_as_far_as_the_entropy_allows(seed):
    """The best policy for R + w H, with a reward of 1/6 for every right token, is softmax(R / w).

    Its mean reward is 0.985. One wrong token that the policy is sure of would leave 5/6.
    """
    space, w = spaces.nas_bench_201(), 0.03
    evaluate, controller = partial(similarity, (4, 0, 3, 2, 2, 1)), make(space, seed, init=0.8)
    run(evaluate, space=space, controller=controller, seed=seed, updates=120, children=16, entropy_weight=w)
    assert 0.9 < drawn(controller, evaluate) < 1 / (1 + 4 * math.exp(-1 / 6 / w)) + 0.01


def test_the_search_is_section_3_2():
    """Against a literal rewriting that shares only the random numbers, the controller's strings and torch's Adam."""
    config = Config(updates=5, children=3, lr=0.02, baseline_decay=0.7, entropy_weight=0.1, power=2.0)
    searched = make().double()
    steps = map(copied, reinforce.search(SPACE, ones, searched, config, torch.Generator().manual_seed(1)))
    literal, generator, average = make().double(), torch.Generator().manual_seed(1), None
    optim = torch.optim.Adam(literal.parameters(), lr=0.02)
    for step in steps:
        with torch.no_grad():
            tokens = literal(3, generator)[0]
        assert step.children == tuple(map(tuple, tokens.tolist()))
        assert step.rewards == tuple(map(ones, step.children))
        shaped = [r * r for r in step.rewards]
        optim.zero_grad()
        for k in range(3):  # gradients add up
            log_prob, entropy = literal.score(tokens[k : k + 1])
            advantage = shaped[k] - (average or 0.0)  # of rewards that came before these
            (-(advantage * log_prob + 0.1 * entropy) / 3).sum().backward()
        optim.step()
        average = sum(shaped) / 3 if average is None else 0.7 * average + 0.3 * sum(shaped) / 3
        assert step.info["baseline"] == pytest.approx(average, abs=1e-12)
        for name, p in literal.named_parameters():
            torch.testing.assert_close(step.state["controller"][name], p.detach(), rtol=1e-9, atol=1e-12)


def test_the_baseline_has_not_seen_the_rewards_that_it_is_taken_from():
    """The last reward of a run changes nothing that was subtracted from it: the step before holds the same baseline."""

    def spoiled(k):
        calls = iter(range(k + 1))
        return lambda tokens: 5.0 if next(calls) == k else ones(tokens)

    plain, last = run_and_copy(updates=3), run_and_copy(spoiled(11), updates=3)
    assert_same(plain[:2], last[:2])
    assert plain[2].state["baseline"] != last[2].state["baseline"]
    assert plain[1].state["baseline"] == last[1].state["baseline"]


def test_power_shapes_what_the_policy_sees_and_not_what_is_reported():
    cubed, plain = run(power=3.0), run(lambda tokens: ones(tokens) ** 3)
    assert [s.children for s in cubed] == [s.children for s in plain]
    assert [s.rewards for s in cubed] == [tuple(map(ones, s.children)) for s in cubed]
    assert cubed[-1].info["baseline"] == pytest.approx(plain[-1].info["baseline"], abs=1e-6)
    assert [s.children for s in cubed] != [s.children for s in run()]


def test_children_of_an_update_are_evaluated_together_and_in_order():
    calls = []

    def map_fn(f, children):
        calls.append(children)
        return [f(c) for c in children]

    assert [s.children for s in run(map_fn=map_fn)] == calls and [len(c) for c in calls] == [4] * 6


# Failures


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, Failed("diverged in epoch 2")])
def test_a_child_without_a_result_is_a_failure_with_reward_0(bad):
    broken = run(updates=1)[0].children[1]
    steps = run_and_copy(lambda tokens: bad if tokens == broken else ones(tokens))
    first = steps[0]
    reason = bad.reason if isinstance(bad, Failed) else f"reward is {bad}"
    places = [k for k, c in enumerate(first.children) if c == broken]
    assert 1 in places and first.failures == dict.fromkeys(places, reason)
    assert all(first.rewards[k] == 0 and type(first.rewards[k]) is float for k in places)
    assert_same(
        steps, run_and_copy(lambda tokens: 0.0 if tokens == broken else ones(tokens))
    )  # learned from as any other
    assert all(p.isfinite().all() for p in steps[-1].state["controller"].values())


def test_what_a_child_raises_is_for_map_fn_to_catch():
    def fail(tokens):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        run(fail)


def test_failures_survive_a_checkpoint(tmp_path):
    for _ in tee(run(lambda tokens: math.nan, updates=1), checkpoint(tmp_path / "s.pt")):
        pass
    assert resume(tmp_path / "s.pt").failures == dict.fromkeys(range(4), "reward is nan")


# Where the numbers end


@pytest.mark.parametrize(
    ("rewards", "settings", "quantity"),
    [
        (1e38, {}, "loss is -?inf"),
        (1e39, {}, "loss is -?(inf|nan)"),
        (1e25, {}, "squared_gradient is inf"),  # finite, but no second moment of Adam is
        (-0.5, {"power": 1.5}, "loss is nan"),
        (0.5, {"lr": 1e30}, "squared_weights is inf"),
    ],
)
def test_a_search_that_leaves_the_numbers_says_so(rewards, settings, quantity):
    """It would end in the string of zeros with entropy 0: it looks converged."""
    message = rf"diverged: step 0: {quantity}; the rewards are \({rewards}".replace("+", r"\+")
    with pytest.raises(FloatingPointError, match=message):
        run(lambda tokens: rewards, updates=50, **settings)


def test_a_controller_that_has_left_the_numbers_draws_no_children():
    controller, asked = make(), []
    with torch.no_grad():
        controller.start[0] = math.nan
    with pytest.raises(FloatingPointError, match="step 0: log_probability is nan"):
        run(asked.append, controller=controller)
    assert not asked


def test_a_search_that_diverges_can_go_on_from_the_step_before():
    whole, steps = run_and_copy(), []
    rewards = iter([0.5] * 12 + [1e38] * 4)
    whole = run_and_copy(lambda tokens: 0.5)
    config, generator = Config(updates=6, children=4, lr=0.02), torch.Generator().manual_seed(3)
    with pytest.raises(FloatingPointError, match="step 3"):
        for step in reinforce.search(SPACE, lambda tokens: next(rewards), make(), config, generator):
            steps.append(step)
    assert_same(run_and_copy(lambda tokens: 0.5, after=steps[-1]), whole[3:])


# Going on


@pytest.mark.parametrize("stop", [1, 3, 5])
@pytest.mark.parametrize("growing", [False, True])
def test_resumed_equals_uninterrupted(stop, growing, tmp_path):
    settings = {"grow_every": 8, "grow_by": 1} if growing else {}  # grows at updates 2 and 4
    whole = run_and_copy(**settings)
    for _ in tee(run(updates=stop, **settings)[-1:], checkpoint(tmp_path / "s.pt")):
        pass
    other = make(seed=99)  # its weights are not the ones to go on from
    rest = run_and_copy(controller=other, after=resume(tmp_path / "s.pt"), seed=99, **settings)
    assert_same(rest, whole[stop:])
    assert len({len(s.children[0]) for s in whole}) == (3 if growing else 1)


def test_a_copied_step_resumes_as_often_as_one_likes():
    whole = run_and_copy()  # the copies must not share what later steps change
    for _ in range(2):
        assert_same(run_and_copy(after=whole[2]), whole[3:])


def test_the_last_step_in_memory_resumes_and_then_its_state_is_gone():
    whole, last = run_and_copy(), run(updates=3)[-1]
    assert same(state_of(last), whole[2].state)
    assert_same(run_and_copy(after=last), whole[3:])
    with pytest.raises(ValueError, match="state: the search has gone on"):
        state_of(last)


def test_an_interrupted_update_leaves_the_last_step_as_it_was():
    """Children take long: that is where an interrupt comes. It must not cost the state."""
    whole, calls = run_and_copy(), iter(range(100))

    def evaluate(tokens):
        if next(calls) == 14:  # in the fourth update
            raise KeyboardInterrupt
        return ones(tokens)

    steps, controller = [], make()
    config = Config(updates=6, children=4, lr=0.02)
    with pytest.raises(KeyboardInterrupt):
        for step in reinforce.search(SPACE, evaluate, controller, config, torch.Generator().manual_seed(3)):
            steps.append(step)
    assert_same(run_and_copy(after=steps[-1]), whole[3:])


def test_a_step_of_another_search_is_refused_and_the_controller_is_as_it_was():
    config = evolution.Config(updates=1, population=1, sample=1)
    (step,) = evolution.search(SPACE, ones, config, torch.Generator())
    controller = make()
    before = {n: p.clone() for n, p in controller.state_dict().items()}
    with pytest.raises(ValueError, match="got a step of search 'evolution', expected 'reinforce'"):
        run(after=step, controller=controller)
    assert same(before, dict(controller.state_dict()))


def test_kept_steps_hold_nothing_of_the_searcher():
    """No tensor can be reached from the steps that a search has gone on from: neither weights nor moments."""
    reached, todo = {}, run(updates=20, grow_every=8)[:-1]
    while todo:
        found = todo.pop()
        if id(found) not in reached:
            reached[id(found)] = found
            todo += gc.get_referents(found) if not isinstance(found, type) else []
    assert len(reached) > 100 and not [type(v) for v in reached.values() if isinstance(v, torch.Tensor)]


# The depth schedule


@pytest.mark.parametrize("space", [spaces.nas_bench_201(), spaces.TreeSpace(2)])
def test_what_has_no_layers_cannot_grow_and_says_so_at_the_start(space):
    asked = []
    with pytest.raises(ValueError, match=r"grow_every: got the space .*, expected one with layers"):
        run(asked.append, space=space, grow_every=100)
    assert not asked


def test_a_controller_that_cannot_learn_the_deeper_space_says_so_at_the_start():
    asked, space = [], spaces.ConvSpace(1)  # a single layer has no skip bits
    with pytest.raises(ValueError, match="is of a kind or size that this controller has not learned"):
        run(asked.append, space=space, controller=make(space), grow_every=100)
    assert not asked


def test_the_string_grows_as_in_section_4_1():
    space, config = spaces.ConvSpace(6), Config(grow_every=1600)  # 8 children an update, 12,800 in all
    layers = [depth(space, config, index).layers for index in range(config.updates)]
    assert [layers.count(n) for n in range(6, 22, 2)] == [200] * 8 and layers == sorted(layers)
    assert depth(space, Config(), 1599) == space
    assert depth(space, Config(grow_every=100, children=8), 12).layers == 6  # 96 children before it
    assert depth(space, Config(grow_every=100, children=8), 13).layers == 8  # 104


def test_growing_keeps_what_was_learned():
    space = spaces.MacroSpace(2)
    controller = make(space)
    steps = run(space=space, controller=controller, updates=150, children=16, grow_every=1280, grow_by=2)
    means = [sum(map(ones, s.children)) / 16 for s in steps]
    assert [len(s.children[0]) for s in steps] == [3] * 80 + [10] * 70
    old = [ones(c[:3]) for s in steps[80:] for c in s.children]
    assert sum(old) / len(old) > 0.99  # in the layers that were there before
    assert sum(means[-10:]) / 10 > 0.99
    assert controller.space == spaces.MacroSpace(4)
