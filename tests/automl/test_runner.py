"""A run: the same result however often it is interrupted, within its minutes, and never that of other data."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import torch

from naslab import spaces
from naslab.automl import METHODS, planned, run, runner
from naslab.automl.runner import NAMES, SHARE, alike
from naslab.automl.search import Search
from naslab.automl.work import data_hash, of
from naslab.networks import MixedCell
from naslab.training import Recipe
from tests.automl.tasks import FOR_IMAGES, FOR_TEXT, IMAGES, TEXT, pictures, stopped

BOTH = pytest.mark.parametrize(("task", "plan"), [(IMAGES, FOR_IMAGES), (TEXT, FOR_TEXT)], ids=["images", "text"])


class Interrupting:
    """A clock that stands, and interrupts when it is read for the nth time."""

    def __init__(self, n):
        self.left = n

    def __call__(self):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return 0.0


def summary(result):
    return {
        name: (each.tokens, each.valid, [p.sum().item() for p in each.model.parameters()])
        for name, each in result.trained.items()
    } | {"searched": result.searched, "epochs": result.epochs}


@BOTH
@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_is_interrupted_anywhere_ends_like_one_that_is_not(tmp_path, task, plan, method):
    plan = replace(plan, method=method)
    whole = run(task, plan, tmp_path / "whole", clock=stopped)
    assert set(whole.trained) == {*NAMES} and whole.best in NAMES and whole.epochs == 2
    assert all(each.valid > 0 for each in whole.trained.values())
    for readings in count(1, 3):  # each part gets further
        try:
            parts = run(task, plan, tmp_path / "parts", clock=Interrupting(readings))
            break
        except KeyboardInterrupt:
            continue
    assert readings > 10
    assert summary(parts) == summary(whole)


@BOTH
def test_a_second_call_trains_nothing(tmp_path, task, plan, monkeypatch):
    first = run(task, plan, tmp_path, clock=stopped)
    monkeypatch.setattr("naslab.automl.work.train", None)
    monkeypatch.setattr("naslab.automl.work.train_text", None)
    assert summary(run(task, plan, tmp_path, clock=stopped)) == summary(first)


@pytest.mark.parametrize("sink", ["jsonl", "checkpoint"])
@pytest.mark.parametrize("before", [True, False])
def test_an_end_between_the_log_and_the_checkpoint_loses_no_step(tmp_path, monkeypatch, sink, before):
    whole = run(IMAGES, FOR_IMAGES, tmp_path / "whole", clock=stopped)
    make = getattr(runner, sink)

    def ending(*arguments):
        write = make(*arguments)

        def once(step):
            if before and step.index == 2:
                raise KeyboardInterrupt
            write(step)
            if step.index == 2:
                raise KeyboardInterrupt

        return once

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(runner, sink, ending)
        run(IMAGES, FOR_IMAGES, tmp_path / "parts", clock=stopped)
    assert summary(run(IMAGES, FOR_IMAGES, tmp_path / "parts", clock=stopped)) == summary(whole)


KILLED = """
import sys
from tests.automl.test_runner import FOR_IMAGES, IMAGES, replace, run, summary
plan = replace(FOR_IMAGES, method=sys.argv[2], children=40, epochs=10.0, final_epochs=20.0)
print(repr(summary(run(IMAGES, plan, sys.argv[1]))))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends SIGKILL")
@pytest.mark.parametrize("method", ["reinforce", "darts"])
def test_a_run_that_is_killed_goes_on(tmp_path, method):
    def command(folder):
        return [sys.executable, "-c", KILLED, str(tmp_path / folder), method]

    whole = subprocess.run(command("whole"), capture_output=True, text=True, check=True).stdout
    rng = np.random.default_rng(0)
    for _ in range(4):
        process = subprocess.Popen(command("killed"), stdout=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while not (tmp_path / "killed" / "plan.json").exists() and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(rng.uniform(0.1, 3))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert subprocess.run(command("killed"), capture_output=True, text=True, check=True).stdout == whole


# --- the minutes


class Ticking:
    """A clock on which each reading takes a second."""

    def __init__(self, seconds=1.0):
        self.now, self.seconds = 0.0, seconds

    def __call__(self):
        self.now += self.seconds
        return self.now


@BOTH
@pytest.mark.parametrize("method", METHODS)
def test_a_search_that_is_late_ends_early_and_the_trainings_are_shortened(tmp_path, task, plan, method):
    epochs = 50.0 if method in ("enas", "darts") else 1.0
    plan = replace(plan, method=method, children=400, epochs=epochs, final_epochs=50.0, minutes=1.0)
    result = run(task, plan, tmp_path, clock=Ticking())
    assert result.epochs < plan.final_epochs
    spent = json.loads((tmp_path / "spent.json").read_text())["seconds"]
    assert spent < 60
    steps = len((tmp_path / "steps.jsonl").read_text().splitlines())
    assert steps <= 60 * SHARE[plan.shares_weights] + 1


def test_the_time_of_all_parts_counts(tmp_path):
    """A run in three parts has no more steps than one that is not interrupted."""
    plan = replace(FOR_IMAGES, children=1000, minutes=1.0)
    run(IMAGES, plan, tmp_path / "whole", clock=Ticking(3.0))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(IMAGES, plan, tmp_path / "parts", clock=late(Interrupting(6), 3.0))
    assert json.loads((tmp_path / "parts" / "spent.json").read_text())["seconds"] > 20
    run(IMAGES, plan, tmp_path / "parts", clock=Ticking(3.0))
    whole, parts = (len((tmp_path / name / "steps.jsonl").read_text().splitlines()) for name in ("whole", "parts"))
    assert 3 < parts <= whole + 2  # the clock is read after a step


def late(clock, seconds):
    ticking = Ticking(seconds)
    return lambda: clock() + ticking()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("task", [IMAGES, TEXT], ids=["images", "text"])
def test_a_plan_fits_into_its_minutes(task, method):
    """Every measurement of four steps takes a second by this clock: an epoch takes a quarter of its batches."""
    few, many = (planned(task, minutes, method, clock=Ticking()) for minutes in (10, 600))
    for plan in (few, many):
        work = of(task, plan)
        networks = 3 + plan.finalists / 5 if plan.shares_weights else 3
        seconds = 1.05 / 4 * work.batches  # of an epoch
        assert plan.method == method
        assert plan.forecast["trainings"] == pytest.approx(networks * plan.final_epochs * seconds / 60)
        if plan.shares_weights:
            steps = work.batches + 30 * (method == "enas")
            assert plan.forecast["search"] == pytest.approx(plan.epochs * steps / 4 / 60)
        else:
            assert plan.forecast["search"] == pytest.approx(plan.children * plan.epochs * seconds / 60)
            assert sum(plan.forecast.values()) > 0.5 * plan.minutes
        assert sum(plan.forecast.values()) <= 0.9 * plan.minutes * 1.001
    assert (many.children, many.epochs, many.final_epochs) > (few.children, few.epochs, few.final_epochs)
    assert many.final_epochs >= few.final_epochs


@pytest.mark.parametrize("method", METHODS)
def test_too_few_minutes_are_refused_with_what_is_enough(method):
    with pytest.raises(ValueError, match=r"minutes: got 0\.1, expected at least") as refused:
        planned(IMAGES, 0.1, method, clock=Ticking())
    enough = float(str(refused.value).split("at least ")[1].split()[0])
    planned(IMAGES, enough, method, clock=Ticking())


def test_what_is_no_task_or_budget_is_refused():
    for task, minutes, message in (([], 1, "task: got list"), (IMAGES, 0, "minutes: got 0"), (IMAGES, "1", "minutes")):
        with pytest.raises(ValueError, match=message):
            planned(task, minutes)
    with pytest.raises(ValueError, match="method: got 'grid'"):
        planned(IMAGES, 1, "grid")


def test_the_plan_of_an_interrupted_run_is_returned_and_nothing_is_measured(tmp_path):
    for k, task in enumerate((IMAGES, TEXT)):
        for method in METHODS:
            folder = tmp_path / f"{k}{method}"
            plan = planned(task, 20, method, seed=3, folder=folder, clock=Ticking())
            assert plan == planned(task, 20.0, method, seed=3, clock=Ticking())  # there is no folder yet
            changes = {"children": 9, "epochs": 0.5, "final_epochs": 1.5, "width": 6, "depth": 2, "finalists": 3}
            plan = replace(plan, **changes)
            with pytest.raises(KeyboardInterrupt):
                run(task, plan, folder, clock=Interrupting(1))
            kept = (folder / "plan.json").read_bytes()
            again = planned(task, 20, method, seed=3, folder=str(folder), clock=None)
            assert again == plan and (folder / "plan.json").read_bytes() == kept


def test_a_run_goes_on_with_the_plan_that_its_folder_has(tmp_path):
    plan = replace(planned(IMAGES, 20, clock=Ticking()), width=4, children=5, epochs=1.0, final_epochs=1.0)
    whole = run(IMAGES, plan, tmp_path / "whole", clock=stopped)
    with pytest.raises(KeyboardInterrupt):
        run(IMAGES, plan, tmp_path / "parts", clock=Interrupting(8))
    assert len((tmp_path / "parts" / "steps.jsonl").read_text().splitlines()) in range(1, 5)
    again = planned(IMAGES, 20, folder=tmp_path / "parts", clock=None)
    assert summary(run(IMAGES, again, tmp_path / "parts", clock=stopped)) == summary(whole)
    assert planned(IMAGES, 20, folder=tmp_path / "parts", clock=None) == plan  # also when it has ended


@pytest.mark.parametrize("changes", [{"minutes": 21}, {"method": "darts"}, {"seed": 1}, {"folder": "empty"}])
def test_for_another_budget_method_or_seed_all_is_measured_anew(tmp_path, changes):
    (tmp_path / "empty").mkdir()
    plan = replace(planned(IMAGES, 20, clock=Ticking()), children=7)
    with pytest.raises(KeyboardInterrupt):
        run(IMAGES, plan, tmp_path / "kept", clock=Interrupting(1))
    settings = {"minutes": 20, "method": "random", "seed": 0} | changes
    folder = tmp_path / settings.pop("folder", "kept")
    found = planned(IMAGES, **settings, folder=folder, clock=Ticking())
    assert found == planned(IMAGES, **settings, clock=Ticking()) and found.forecast
    assert not [*(tmp_path / "empty").iterdir()]
    if folder.name == "kept":
        with pytest.raises(ValueError, match="use a new folder"):
            run(IMAGES, found, folder, clock=stopped)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff", b'"method"'])
def test_a_damaged_plan_is_named(tmp_path, content):
    (tmp_path / "plan.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"plan\.json: damaged: remove the folder, and begin again"):
        planned(IMAGES, 20, folder=tmp_path, clock=None)
    assert (tmp_path / "plan.json").read_bytes() == content


@pytest.mark.parametrize(("name", "value"), [("children", "many"), ("epochs", -1), ("width", None), ("depth", 1.5)])
def test_a_number_of_a_kept_plan_that_is_none_is_named(tmp_path, name, value):
    with pytest.raises(KeyboardInterrupt):
        run(IMAGES, FOR_IMAGES, tmp_path, clock=Interrupting(1))
    kept = json.loads((tmp_path / "plan.json").read_text())
    (tmp_path / "plan.json").write_text(json.dumps(kept | {name: value}))
    with pytest.raises(ValueError, match=f"{name}: got"):
        planned(IMAGES, 10, folder=tmp_path, clock=None)


# --- what is searched


def test_by_hand_is_the_residual_block_of_nas_bench_201():
    from naslab.genotypes import read_nas_bench_201

    plan = replace(FOR_IMAGES, space=spaces.nas_bench_201())
    text = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
    assert of(IMAGES, plan).by_hand == read_nas_bench_201(text)[1]
    assert spaces.darts_rnn(2).pairs(of(TEXT, FOR_TEXT).by_hand) == {"recurrent": (((0, "tanh"),), ((0, "tanh"),))}


def test_only_darts_has_norms_without_scale():
    """A scale behind an op could undo its mixing weight (Liu et al. 2019, section 3.1.1)."""
    for method, expected in (("darts", False), ("enas", True)):
        net = of(IMAGES, replace(FOR_IMAGES, method=method)).supergraph(0)
        cells = [block for block in net.blocks if isinstance(block, MixedCell)]
        norms = [m for cell in cells for m in cell.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        assert any(norm.affine for norm in norms) is expected
        text = of(TEXT, replace(FOR_TEXT, method=method)).supergraph(0)
        assert text.norm is not expected


def test_the_random_cell_has_nearly_the_size_and_is_another():
    plan = replace(FOR_IMAGES, space=spaces.nas_bench_201())
    work = of(IMAGES, plan)
    trainer = work.trainer(1, 0)
    sizes = []
    for tokens in (work.by_hand, (3,) * 6, (1,) * 6):
        other = alike(work, tokens, torch.Generator().manual_seed(0))
        assert other != tokens
        counts = [sum(p.numel() for p in trainer.build(cell).parameters()) for cell in (tokens, other)]
        sizes.append(counts[1] / counts[0])
    assert all(0.7 < ratio < 1.3 for ratio in sizes)
    draw = torch.Generator().manual_seed(0)
    first, second = (plan.space.sample(draw) for _ in range(2))
    assert alike(work, first, torch.Generator().manual_seed(0), draws=2) == second


def test_darts_tries_what_it_would_leave_after_each_quarter():
    search = Search(of(IMAGES, replace(FOR_IMAGES, method="darts", finalists=4)))
    children = [(k // 25,) for k in range(100)]
    found = search.candidates([((child,), (-1.0,)) for child in children])
    assert found == [(3,), (2,), (1,), (0,)]
    assert search.candidates([(((7,),), (-1.0,))] * 9) == [(7,)]


def test_of_several_candidates_the_best_alone_stays(tmp_path, monkeypatch):
    tried = []

    def last_is_best(search, candidates):
        tried.extend(candidates)
        return [*range(len(candidates))]

    monkeypatch.setattr(Search, "tried", last_is_best)
    found = run(IMAGES, replace(FOR_IMAGES, method="enas", finalists=3), tmp_path, clock=stopped).trained["found"]
    assert len(tried) == 3 and found.tokens == tried[-1]


def test_candidates_are_trained_alone_for_a_fifth():
    search = Search(of(IMAGES, replace(FOR_IMAGES, method="enas", final_epochs=10.0)))
    two = [(3, 0, 3), (1, 1, 1)]
    judge = search.work.trainer(2.0, search.seeds[3])
    assert search.tried(two) == [judge(tokens) for tokens in two] and search.tried(two[:1]) == [0.0]


def test_a_search_that_trains_its_children_leaves_the_best():
    search = Search(of(IMAGES, FOR_IMAGES))
    steps = [(((1,), (2,)), (0.5, 0.9)), (((3,),), (0.7,))]
    assert search.candidates(steps) == [(2,)] and search.tried([(2,)]) == [0.0]


# --- what is refused


def test_a_folder_with_another_run_is_refused(tmp_path):
    run(IMAGES, FOR_IMAGES, tmp_path, clock=stopped)
    for plan, name in ((replace(FOR_IMAGES, children=6), "children"), (replace(FOR_IMAGES, seed=1), "seed")):
        with pytest.raises(ValueError, match=rf"got {name} .*use a new folder"):
            run(IMAGES, plan, tmp_path, clock=stopped)
    with pytest.raises(ValueError, match=r"got data .*use a new folder"):
        run(pictures(seed=1).split(seed=0).task, FOR_IMAGES, tmp_path, clock=stopped)
    for name in ("plan.json", "spent.json", "chosen.json", "epochs.json"):
        before = (tmp_path / name).read_bytes()
        for content in (b"{", b"[]", b"{}", b"\xff"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(ValueError, match=f"{name}: damaged"):
                run(IMAGES, FOR_IMAGES, tmp_path, clock=stopped)
        (tmp_path / name).write_bytes(before)
    spent = (tmp_path / "spent.json").read_bytes()
    (tmp_path / "spent.json").write_text('{"seconds": "long"}')
    with pytest.raises(ValueError, match=r"spent.json: seconds: got 'long'"):
        run(IMAGES, FOR_IMAGES, tmp_path, clock=stopped)
    (tmp_path / "spent.json").write_bytes(spent)
    run(IMAGES, replace(FOR_IMAGES, forecast={"search": 1.0}), tmp_path, clock=stopped)  # the plan's own numbers count


def test_the_hash_sees_every_split_and_name():
    tasks = [
        IMAGES,
        pictures(seed=1).split().task,
        pictures().split(seed=1).task,
        replace(IMAGES, classes=("a", "b", "x")),
    ]
    tasks += [replace(IMAGES, train=replace(IMAGES.train, y=IMAGES.train.y.flip(0)))]
    tasks += [replace(IMAGES, test=IMAGES.test.head(5)), TEXT, replace(TEXT, test=TEXT.test[:-1])]
    assert len({data_hash(task) for task in tasks}) == len(tasks)
    assert data_hash(IMAGES) == data_hash(pictures().split(seed=0).task)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "grid"}, "method: got 'grid', expected one of random"),
        ({"space": spaces.darts_rnn(2)}, "space: got cells .'recurrent',. for images"),
        ({"space": replace(spaces.nas_bench_201(), ops=("none",))}, "space: got 1 cell, expected at least 2"),
        ({"width": 1}, "width: got 1"),
        ({"depth": 0}, "depth: got 0"),
        ({"children": 0}, "children: got 0"),
        ({"epochs": 0.0}, "epochs: got 0"),
        ({"minutes": float("nan")}, "minutes: got nan"),
        ({"finalists": 0}, "finalists: got 0"),
        ({"recipe": None}, "recipe: got None"),
        ({"seed": -1}, "seed: got -1"),
    ],
)
def test_bad_plans(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(FOR_IMAGES, **changes)


def test_a_plan_for_the_other_kind_is_refused(tmp_path):
    for task, plan in ((TEXT, FOR_IMAGES), (IMAGES, FOR_TEXT)):
        with pytest.raises(ValueError, match="plan: got one for"):
            run(task, plan, tmp_path)
    with pytest.raises(ValueError, match="task: got list"):
        run([], FOR_IMAGES, tmp_path)
    with pytest.raises(ValueError, match="size: got 1000"):
        run(IMAGES, replace(FOR_IMAGES, recipe=Recipe(1, 1000)), tmp_path)
    for missing in ("none", "skip_connect", "nor_conv_3x3"):  # before the search, not after it
        space = replace(spaces.nas_bench_201(), ops=tuple({*spaces.nas_bench_201().ops} - {missing}))
        with pytest.raises(ValueError, match=f"space: got one without the cell made by hand: .*{missing}"):
            run(IMAGES, replace(FOR_IMAGES, space=space), tmp_path)
    assert not [*tmp_path.iterdir()]
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file', a file, expected a folder"):
        run(IMAGES, FOR_IMAGES, tmp_path / "file")


def test_a_plan_is_four_lines_to_read():
    shared = replace(FOR_TEXT, method="enas", epochs=3.0, forecast={"search": 1.25, "trainings": 2.0})
    assert str(FOR_IMAGES).splitlines() == [
        "method     random: 5 children for 1 epoch each",
        "space      125 cells; channels 4, cells a stage 1",
        "trainings  found, by hand, random: 2 epochs each",
        "budget     10 minutes; seed 0",
    ]
    assert str(shared).splitlines()[:3] == [
        "method     enas: shared weights for 3 epochs, then 2 cells alone (1.2 minutes)",
        "space      32 cells; units 8, layers 1",
        "trainings  found, by hand, random: 2 epochs each (2.0 minutes)",
    ]
