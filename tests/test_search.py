import collections
import contextlib

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from naslab import spaces
from naslab.search import evolution, qlearning, random_search, reinforce
from naslab.steps import best

SPACES = [spaces.ConvSpace(2), spaces.TreeSpace(2), spaces.MacroSpace(3), spaces.darts_conv(2), spaces.enas_micro(2),
          spaces.nas_bench_201()]  # fmt: skip


def count_ones(tokens):
    return sum(t == 1 for t in tokens) / len(tokens)


def test_random_search_evaluates_children_together_and_in_order():
    calls = []

    def map_fn(f, children):
        calls.append(children)
        return [f(c) for c in children]

    config = random_search.Config(updates=3, children=4)
    found = list(random_search.search(SPACES[2], count_ones, config, torch.Generator().manual_seed(0), map_fn=map_fn))
    assert [len(s.children) for s in found] == [4, 4, 4] and calls == [s.children for s in found]
    assert all(s.rewards == tuple(map(count_ones, s.children)) for s in found)


def test_random_search_is_uniform():
    space = spaces.MacroSpace(layers=2, ops=("a", "b"))  # 8 strings
    config = random_search.Config(updates=1, children=4000)
    (step,) = random_search.search(space, count_ones, config, torch.Generator().manual_seed(0))
    counts = collections.Counter(step.children)
    assert len(counts) == 8 and chisquare(list(counts.values())).pvalue > 1e-4


@pytest.mark.parametrize("space", SPACES)
def test_a_mutation_changes_one_decision_and_reaches_every_neighbour(space):
    g = torch.Generator().manual_seed(0)
    tokens = space.sample(g)
    neighbours = {
        (*tokens[:p], t, *tokens[p + 1 :]) for p, d in enumerate(space.decisions) for t in range(len(d.options))
    } - {tokens}
    valid = set()
    for n in neighbours:  # independent of `alternatives`: whatever check accepts
        with contextlib.suppress(ValueError):
            valid.add(space.check(n))
    drawn = {evolution.mutate(space, tokens, g) for _ in range(60 * len(valid))}
    assert drawn == valid


def test_a_space_with_nothing_to_change_is_an_error():
    space = spaces.MacroSpace(layers=1, ops=("only",))
    with pytest.raises(ValueError, match="no decision to change"):
        evolution.mutate(space, (0,), torch.Generator())


def test_evolution_is_algorithm_1():
    """Against a literal rewriting that shares only the random numbers."""
    space, g = SPACES[5], torch.Generator().manual_seed(4)
    config = evolution.Config(updates=60, population=7, sample=3)
    steps = list(evolution.search(space, count_ones, config, torch.Generator().manual_seed(4)))
    population, history = [], []
    while len(population) < 7:
        population.append(space.sample(g))
        history.append(population[-1])
    while len(history) < 60:
        sample = [population[i] for i in torch.randint(7, (3,), generator=g).tolist()]
        parent = sample[0]
        for candidate in sample:
            if count_ones(candidate) > count_ones(parent):
                parent = candidate
        child = evolution.mutate(space, parent, g)
        population.append(child)
        history.append(child)
        population.pop(0)
    assert [s.children[0] for s in steps] == history


def test_evolution_climbs_where_random_search_does_not():
    space = spaces.MacroSpace(layers=8)
    g = torch.Generator().manual_seed(0)
    climbed = best(evolution.search(space, count_ones, evolution.Config(600, 20, 5), g))[1]
    drawn = best(random_search.search(space, count_ones, random_search.Config(600), g))[1]
    assert climbed > 0.95 > drawn


@pytest.mark.parametrize(
    ("search", "numbers"),
    [
        (random_search, {"updates": -1}),
        (random_search, {"updates": 2**63}),
        (random_search, {"updates": True}),
        (evolution, {"updates": 1.0}),
        (random_search, {"children": 0}),
        (evolution, {"population": 0}),
        (evolution, {"sample": 0}),
        (reinforce, {"children": 0}),
        (reinforce, {"lr": 0.0}),
        (reinforce, {"baseline_decay": 1.0}),
        (reinforce, {"grow_every": -1}),
        (qlearning, {"schedule": ()}),
        (qlearning, {"schedule": ((10, 1.5),)}),
        (qlearning, {"replay": -1}),
        (qlearning, {"lr": float("nan")}),
        (qlearning, {"lr": 1.5}),
        (qlearning, {"gamma": 1.01}),
        (qlearning, {"initial": float("inf")}),
        (qlearning, {"initial": None}),
        (qlearning, {"schedule": 3}),
        (qlearning, {"schedule": ((1, 0.5, 2),)}),
        (qlearning, {"schedule": ((1.5, 0.5),)}),
        (reinforce, {"power": 0}),
        (reinforce, {"lr": "0.1"}),
        (reinforce, {"lr": 10**400}),
        (reinforce, {"grow_by": None}),
        (reinforce, {"entropy_weight": -0.1}),
    ],
)
def test_a_config_out_of_range_is_refused_by_name(search, numbers):
    (name,) = numbers
    with pytest.raises(ValueError, match=f"{name}: got .*, expected"):
        search.Config(**numbers)
    search.Config()


def test_numpy_numbers_are_settings_and_become_python_s():
    """So that a config compares, prints and saves as any other."""
    assert repr(random_search.Config(np.int64(3), np.uint8(2))) == "Config(updates=3, children=2)"
    config = reinforce.Config(lr=np.float64(0.5), power=np.float32(2), children=np.int32(4))
    assert config == reinforce.Config(lr=0.5, power=2.0, children=4) and type(config.lr) is float
    assert type(reinforce.Config(power=10**20).power) is float  # torch has no int of that size
    config = qlearning.Config(schedule=((np.int64(3), np.float64(0.5)),))
    assert repr(config.schedule) == "((3, 0.5),)"
    config = evolution.Config(np.int64(9), np.int64(3), np.int64(2))
    assert len(list(evolution.search(SPACES[2], count_ones, config, torch.Generator()))) == 9
