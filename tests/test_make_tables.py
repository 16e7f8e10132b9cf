"""The script that trains every architecture of a benchmark: resumable, exact, and aware of code and machine."""

import dataclasses
import json
import re
import subprocess
import sys
import time

import make_tables
import numpy as np
import pytest

from naslab import assets, networks, spaces, tables
from naslab.benchmarks import BENCHMARKS, Benchmark

TINY = spaces.CellSpace(("cell",), 1, 1, ("nor_conv_1x1", "nor_conv_3x3"), None, output="last")


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A benchmark of two architectures and two seeds, with its own folder of assets."""
    recipe = dataclasses.replace(BENCHMARKS["conv"].recipe, epochs=1)
    benchmark = Benchmark("tiny", TINY, "digits", (100, 60, 50), recipe, 2, channels=2, cells=1, stops=(0.5, 1.0))
    monkeypatch.setitem(BENCHMARKS, "tiny", benchmark)
    monkeypatch.setattr(make_tables, "ASSETS", tmp_path / "assets")
    monkeypatch.setattr(assets, "files", lambda package: tmp_path / "assets")
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "SHA256SUMS").write_text("00  other.npz\n")
    tables._own.cache_clear()
    yield benchmark
    tables._own.cache_clear()


def run(tmp_path, *more):
    return make_tables.main(["--only", "tiny", "--jobs", "1", "--out", str(tmp_path / "out"), *more])


def test_a_table_holds_what_the_trainings_measured(tmp_path, tiny):
    assert run(tmp_path) == 0
    table = tables._own("tiny", TINY, 1.0)
    assert table.machine == make_tables.machine() and table.valid.shape == table.test.shape == (2, 2)
    for row, tokens in enumerate(spaces.all_strings(TINY)):
        for k in range(2):
            measured = tiny.measure(tokens, k)
            assert table.valid[k, row] == pytest.approx(100 * measured.valid[1] / 60)
            assert table.test[k, row] == pytest.approx(100 * measured.test[1] / 50)
            assert tables._own("tiny", TINY, 0.5).valid[k, row] == pytest.approx(100 * measured.valid[0] / 60)
        assert table.params(tokens) == networks.count_parameters(tiny.trainer(0).build(tokens))
        assert table.flops[row] == tiny.flops(tokens) and table.seconds(tokens) > 0
    sums = (tmp_path / "assets" / "SHA256SUMS").read_text()
    assert re.fullmatch(r"00  other\.npz\n[0-9a-f]{64}  tiny\.npz\n", sums)
    assert json.loads((tmp_path / "assets" / "tables.json").read_text()) == {"tiny": make_tables.trained_by()}


def test_an_interrupted_run_continues(tmp_path, tiny, monkeypatch):
    jobs, measure = [], make_tables.measure

    def counted(name, job):
        if len(jobs) == 2:
            raise KeyboardInterrupt
        jobs.append(job)
        return measure(name, job)

    monkeypatch.setattr(make_tables, "measure", counted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    path = tmp_path / "out" / "tiny.jsonl"
    assert len(path.read_text().splitlines()) == 1 + 2 and not (tmp_path / "assets" / "tiny.npz").exists()
    path.write_text(path.read_text() + '{"repetition": 1, "ro')  # the process died while it wrote
    jobs.append(None)
    assert run(tmp_path) == 0
    assert jobs == [(0, 0), (0, 1), None, (1, 0), (1, 1)]
    assert all(json.loads(line) for line in path.read_text().splitlines())
    assert run(tmp_path) == 0 and len(jobs) == 5  # nothing is left


def test_a_killed_run_keeps_its_trainings(tmp_path):
    path = tmp_path / "conv.jsonl"
    command = [sys.executable, make_tables.__file__, "--only", "conv", "--jobs", "1", "--out", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        for _ in range(1200):  # each training takes less than a second
            if path.exists() and path.read_bytes().count(b"\n") > 3:
                break
            assert process.poll() is None
            time.sleep(0.1)
        process.kill()
    kept = make_tables.lines(path)
    assert [line["row"] for line in kept] == [*range(len(kept))] and 3 <= len(kept) < 80  # a buffer holds 100
    first = BENCHMARKS["conv"].measure(make_tables.strings("conv")[0], 0)
    assert (kept[0]["valid"], kept[0]["test"]) == ([*first.valid], [*first.test])


@pytest.mark.parametrize("wrong", [["--jobs", "0"], ["--confirm", "-1"], ["--only", "nets"]])
def test_arguments_out_of_range_are_refused(wrong, capsys):
    with pytest.raises(SystemExit, match="2"):
        make_tables.main(wrong)
    assert "expected at least 1 and 0" in (said := capsys.readouterr().err) or "invalid choice: 'nets'" in said


@pytest.mark.parametrize("what", ["code", "machine"])
def test_rows_of_other_code_or_machines_are_not_mixed(tmp_path, tiny, what):
    run(tmp_path)
    path = tmp_path / "out" / "tiny.jsonl"
    header, *rest = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps(json.loads(header) | {what: "other"}), *rest]) + "\n")
    with pytest.raises(ValueError, match=r"got rows of .*other.*remove the file to begin again"):
        run(tmp_path)


def test_a_table_that_the_code_does_not_make_is_not_confirmed(tmp_path, tiny, monkeypatch, capsys):
    run(tmp_path)
    stamped, kept = tmp_path / "assets" / "tables.json", tmp_path / "assets" / "tiny.npz"
    stamped.write_text("{}")
    assert run(tmp_path, "--confirm", "4") == 0 and "tiny" in json.loads(stamped.read_text())
    stamped.write_text("{}")
    with np.load(kept) as arrays:
        changed = dict(arrays)
    changed["valid"] = changed["valid"] + np.uint16(1)
    np.savez(kept, **changed)
    assert run(tmp_path, "--confirm", "4") == 1 and stamped.read_text() == "{}"
    assert capsys.readouterr().err.count("the table has") == 4
    monkeypatch.setattr(make_tables, "machine", lambda: "another")  # one image more is within the noise
    changed["valid"][-1, 0] += np.arange(1, 3, dtype=np.uint16) * 2
    np.savez(kept, **changed)
    assert run(tmp_path, "--confirm", "4") == 0
    changed["valid"] = changed["valid"] + np.uint16(1000)
    np.savez(kept, **changed)
    assert run(tmp_path, "--confirm", "4") == 1


def test_two_processes_measure_what_one_does():
    jobs = [(0, 0), (1, 8191)]
    one, two = ([{**line, "seconds": 0} for line in make_tables.measured("conv", jobs, n)] for n in (1, 2))
    assert one == two and [(line["repetition"], line["row"]) for line in two] == jobs


# The tables of the package

STORED = sorted(json.loads((make_tables.ASSETS / "tables.json").read_text()))
every_stored = pytest.mark.parametrize("name", STORED)


@every_stored
def test_the_code_of_today_trains_what_is_stored(name):
    """By the hash. `make tables CONFIRM=20` trains rows again and stores the new one."""
    assert json.loads((make_tables.ASSETS / "tables.json").read_text())[name] == make_tables.trained_by(), (
        f"{name}: the code that trains has changed; run `make tables CONFIRM=20`"
    )


@pytest.mark.slow
@every_stored
def test_random_rows_trained_today_agree(name):
    assert not make_tables.disagreements(name, 20, seed=1)


@every_stored
def test_architectures_differ_by_several_times_the_noise(name):
    with np.load(make_tables.ASSETS / f"{name}.npz", allow_pickle=False) as arrays:
        made, seeds = json.loads(str(arrays["made"])), arrays["valid"].shape[1]
        assert made["machine"] and made["stops"] == [*BENCHMARKS[name].stops] and seeds == BENCHMARKS[name].seeds
        counts = arrays["valid"][-1].tolist()
    table = tables._own(name, BENCHMARKS[name].space, 1.0)
    for percent, row in zip(table.valid.tolist(), counts, strict=True):  # Python's ints do not overflow
        assert percent == pytest.approx([100 * count / made["valid"] for count in row])
    assert table.spread > 4 * table.noise / np.sqrt(seeds), (table.spread, table.noise)  # of the mean of all seeds
    guess = 10 - 4 * np.sqrt(10 * 90 / (made["valid"] * seeds))  # of ten classes, less 4 standard errors
    assert guess <= table.accuracies.min() and table.accuracies.max() < 100
    for column in (table.valid, table.test, table.accuracies, table.parameters, table.flops, table.train_seconds):
        with pytest.raises(ValueError, match="read-only"):
            column[...] = 0


def test_a_table_of_cells_knows_how_far_the_training_was():
    short, whole = tables.cells(0.25), tables.cells()
    assert whole.space == BENCHMARKS["cells"].space and whole.space.strings == 125
    assert whole is tables.cells(1) and short.space == whole.space
    assert short.accuracies.mean() < whole.accuracies.mean() and np.array_equal(short.flops, whole.flops)
    cut = [row for row, (a, b, c) in enumerate(whole.all_tokens.tolist()) if not b and not (a and c)]
    assert len(cut) == 9 and np.ptp(whole.valid[:, cut]) < 3 and whole.accuracies[cut].max() < 12  # no path: chance
    for share in (0, 0.3, True, None, "1"):
        with pytest.raises(ValueError, match="share: got"):
            tables.cells(share)


@pytest.mark.parametrize(
    ("load", "name"),
    [(lambda: tables.macro(5), "macro_5"), (tables.macro, "macro_20"), (lambda: tables.conv(), "conv")],
    ids=["macro_5", "macro_20", "conv"],
)
def test_the_tables_of_the_other_spaces_are_those_of_their_benchmarks(load, name):
    table, benchmark = load(), BENCHMARKS[name]
    assert table is load() and table.name == name and table.space == benchmark.space
    assert table.valid.shape == (benchmark.seeds, benchmark.space.strings)
    for row in range(0, benchmark.space.strings, benchmark.space.strings // 9):
        tokens = tuple(table.all_tokens[row].tolist())
        assert table.params(tokens) == networks.count_parameters(benchmark.trainer(0).build(tokens))


def test_macro_networks_of_pools_learn_least_and_longer_training_helps():
    short, long = tables.macro(5), tables.macro()
    pools = [row for row, (a, b, _) in enumerate(long.all_tokens.tolist()) if a > 3 and b > 3]
    filters = [row for row, (a, b, _) in enumerate(long.all_tokens.tolist()) if a < 4 and b < 4]
    assert len(pools) == 8 and long.accuracies[pools].max() < long.accuracies[filters].min()
    assert short.accuracies.mean() < long.accuracies.mean()
    for wrong in (0, 10, True, "5", None):
        with pytest.raises(ValueError, match=r"epochs: got .*, expected 5 or 20"):
            tables.macro(wrong)
