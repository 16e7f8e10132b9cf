import json
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from naslab import spaces, steps
from naslab.search import evolution, random_search
from naslab.steps import (
    Failed,
    Live,
    Step,
    begin,
    best,
    checkpoint,
    finite,
    jsonl,
    keep,
    progress,
    resume,
    settle,
    state_of,
    tee,
)

SPACE = spaces.MacroSpace(layers=4)


def ones(tokens):
    return sum(tokens) / 7


def run(search, updates, after=None):
    config = search.Config(updates=updates, **({"population": 4, "sample": 2} if search is evolution else {}))
    return list(search.search(SPACE, ones, config, torch.Generator().manual_seed(3), after=after))


@pytest.mark.parametrize("search", [random_search, evolution])
@pytest.mark.parametrize("stop", [1, 3, 5, 11])
def test_resumed_equals_uninterrupted(search, stop, tmp_path):
    whole = run(search, 12)
    for _ in tee(run(search, stop), checkpoint(tmp_path / "s.pt")):
        pass
    rest = run(search, 12, after=resume(tmp_path / "s.pt"))
    assert [step.index for step in rest] == list(range(stop, 12))
    assert [(s.children, s.rewards) for s in rest] == [(s.children, s.rewards) for s in whole[stop:]]


def test_a_step_kept_from_the_middle_still_resumes():
    whole = run(evolution, 12)  # all steps live at once: their states must not share what later steps change
    assert [s.children for s in run(evolution, 12, after=whole[6])] == [s.children for s in whole[7:]]


def test_begin_refuses_another_search():
    with pytest.raises(ValueError, match="got a step of search 'evolution', expected 'random_search'"):
        run(random_search, 12, after=run(evolution, 2)[-1])
    assert begin(None, "x", SPACE, torch.Generator()) == (0, {})


def test_begin_refuses_another_space_and_other_things():
    bench = spaces.nas_bench_201()
    steps_ = list(random_search.search(bench, ones, random_search.Config(2), torch.Generator()))
    with pytest.raises(ValueError, match=r"got a step of space .CellSpace.*expected .MacroSpace"):
        run(random_search, 12, after=steps_[-1])
    with pytest.raises(ValueError, match=r"after: got 's\.pt', expected a Step"):
        run(random_search, 12, after="s.pt")


def test_what_is_no_reward_no_log_no_rhythm_is_refused(tmp_path):
    with pytest.raises(ValueError, match="reward: got None for child 0, expected a number"):
        list(random_search.search(SPACE, lambda t: None, random_search.Config(1), torch.Generator()))
    with pytest.raises(ValueError, match="every: got 0, expected an int of at least 1"):
        checkpoint(tmp_path / "s.pt", every=0)
    with pytest.raises(ValueError, match="steps: got none with a rewarded child"):
        best([])
    (tmp_path / "log.jsonl").write_text("dear diary\n")
    with pytest.raises(ValueError, match=r"log\.jsonl: got the line 'dear diary"):
        list(tee(run(random_search, 2), jsonl(tmp_path / "log.jsonl")))
    assert (tmp_path / "log.jsonl").read_text() == "dear diary\n"


def test_best_is_the_first_of_equals():
    found = best([Step(0, ((1,), (2,)), (0.5, 0.7)), Step(1, ((3,),), (0.7,))])
    assert found == ((2,), 0.7)


def test_best_leaves_out_minus_losses():
    """ENAS' steps of the shared weights hold minus losses: a small loss is larger than a reward below it."""
    losses = Step(0, ((1,),), (-0.1,), {"phase": 0.0})
    assert best([losses, Step(1, ((2,),), (-0.5,), {"phase": 1.0})]) == ((2,), -0.5)
    with pytest.raises(ValueError, match="steps: got none with a rewarded child"):
        best([losses])


@pytest.mark.parametrize(
    "reward",
    [0.5, np.float32(0.5), np.float64(0.5), np.array(0.5), torch.tensor(0.5), torch.tensor(0.5).requires_grad_()],
)
def test_a_number_of_any_library_is_a_reward(reward, tmp_path):
    rewards, failures = settle([reward, 1])
    assert rewards == (0.5, 1.0) and [*map(type, rewards)] == [float, float] and not failures
    (step,) = random_search.search(SPACE, lambda t: reward, random_search.Config(1), torch.Generator())
    next(tee([step], checkpoint(tmp_path / "s.pt"), jsonl(tmp_path / "log.jsonl")))
    assert resume(tmp_path / "s.pt").rewards == (0.5,)


@pytest.mark.parametrize("reward", [np.int64(2), torch.tensor(2), np.uint8(2)])
def test_a_whole_number_of_any_library_is_a_reward(reward):
    assert settle([reward]) == ((2.0,), {})


@pytest.mark.parametrize("reward", ["1", None, [1.0], np.zeros(1), torch.zeros(1), 1j, torch.tensor(1j), np.array("x")])
def test_what_is_no_number_is_no_reward(reward):
    with pytest.raises(ValueError, match=r"reward: got .* for child 1, expected a number"):
        settle([0.5, reward])


@pytest.mark.parametrize("reward", [math.nan, -math.inf, np.float32("nan"), torch.tensor(math.inf), 10**400])
def test_what_is_not_finite_is_a_failure(reward):
    rewards, failures = settle([0.5, reward])
    assert rewards == (0.5, 0.0) and failures[1].startswith("reward is ")


@pytest.mark.parametrize("n", [0, 1, 3])
def test_as_many_rewards_as_children(n):
    with pytest.raises(ValueError, match=f"rewards: got {n}, expected 2, one per child"):
        config = random_search.Config(1, children=2)
        list(random_search.search(SPACE, ones, config, torch.Generator(), map_fn=lambda f, children: [0.5] * n))


def test_what_is_not_finite_is_named_with_its_step_and_the_rewards():
    finite(3, (1.0,), loss=1e300)
    with pytest.raises(FloatingPointError, match=r"diverged: step 3: loss is nan; the rewards are \(1.0, 1e\+38\)"):
        finite(3, (1.0, 1e38), baseline=0.0, loss=math.nan)


class Bar:
    """What `progress` does to its bar."""

    def __init__(self, total, leave, disable):
        self.total, self.leave, self.n, self.closed, self.said = total, leave, 0, 0, {}

    def update(self, n):
        assert not self.closed
        self.n += n

    def set_postfix(self, said, refresh):
        self.said = said

    def close(self):
        self.closed += 1


def test_a_bar_follows_the_steps_and_is_gone_when_they_are_done(monkeypatch):
    bars = []
    monkeypatch.setattr(steps, "tqdm", lambda **settings: bars.append(Bar(**settings)) or bars[-1])
    found = [Step(k, ((1,),), (reward,)) for k, reward in enumerate((0.5, 0.25, 0.75))]
    shown = progress(3, "best accuracy")
    (bar,) = bars
    assert (bar.total, bar.leave, bar.closed) == (3, False, 0)
    for step, said in zip(found, ("0.500", "0.500", "0.750"), strict=True):
        assert not bar.closed
        shown(step)
        assert bar.n == step.index + 1 and bar.said == {"best accuracy": said}
    assert bar.closed == 1

    resumed = progress(3)
    resumed(Step(1, ((1,),), (-2.0,), {"phase": 0.0}))  # minus a loss is no reward
    assert bars[-1].n == 2 and bars[-1].said == {}
    resumed(Step(2, (), ()))
    assert bars[-1].closed == 1 and bars[-1].said == {}


def test_sinks_see_every_step_before_it_is_passed_on(tmp_path):
    seen = []
    for step in tee(run(random_search, 5), seen.append, progress(5), jsonl(tmp_path / "log.jsonl")):
        assert seen[-1] is step
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["index"] for row in rows] == [0, 1, 2, 3, 4]
    assert all("state" not in row and len(row["rewards"]) == 1 for row in rows)


def test_the_log_has_every_step_once_after_a_crash(tmp_path):
    log = tmp_path / "log.jsonl"
    for _ in tee(run(random_search, 5), jsonl(log)):
        pass
    with log.open("a") as file:
        file.write('{"index": 5, "child')  # killed while writing
    for _ in tee(run(random_search, 8, after=run(random_search, 4)[-1]), jsonl(log)):  # checkpoint older than the log
        pass
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row["index"] for row in rows] == list(range(8))
    assert [tuple(row["children"][0]) for row in rows] == [s.children[0] for s in run(random_search, 8)]


def test_resume_without_a_file_starts_anew(tmp_path):
    assert resume(tmp_path / "none.pt") is None


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_every_search_killed_at_any_moment_ends_as_if_never_killed():
    script = Path(__file__).with_name("kills.py")
    done = subprocess.run([sys.executable, script, "27"], capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = [re.search(r"(\d+) kills, +(\d+) in the middle .* (\d+) diff", line) for line in done.stdout.splitlines()]
    kills, saves, different = (sum(int(found[k]) for found in counts) for k in (1, 2, 3))
    assert (len(counts), kills, different) == (9, 27, 0) and saves > 0


def test_a_truncated_checkpoint_is_refused_and_the_one_before_it_is_there(tmp_path):
    path = tmp_path / "s.pt"
    for _ in tee(run(evolution, 6), checkpoint(path)):
        pass
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"s\.pt: damaged .* the checkpoint before it is s\.pt\.previous"):
        resume(path)
    assert path.exists()
    previous = resume(tmp_path / "s.pt.previous")
    assert previous.index == 4
    # a new search at the same path must not push the good file out with the damaged one
    next(tee(run(evolution, 1), checkpoint(path)))
    assert resume(tmp_path / "s.pt.previous").index == 4


def test_a_numpy_number_in_a_search_of_one_s_own_saves_and_loads(tmp_path):
    state = keep("mine", SPACE, torch.Generator(), best=np.float64(0.5), seen=[np.int64(3)])
    next(tee([Step(np.int64(4), ((1,),), (np.float32(0.5),), {"a": np.float32(0.25)}, state=state)],
             checkpoint(tmp_path / "s.pt")))  # fmt: skip
    found = resume(tmp_path / "s.pt")
    assert (found.index, found.rewards, found.info, found.state["best"]) == (4, (0.5,), {"a": 0.25}, 0.5)
    assert type(found.state["seen"][0]) is int
    with pytest.raises(ValueError, match=r"state\.seen: got array.* of type ndarray, expected plain values"):
        next(tee([replace(found, state={**found.state, "seen": np.zeros(3)})], checkpoint(tmp_path / "s.pt")))
    assert resume(tmp_path / "s.pt").index == 4


def test_a_file_of_another_kind_is_refused(tmp_path):
    steps.runs.save(tmp_path / "s.pt", {"something": 1})
    with pytest.raises(ValueError, match=r"got \['something'\], expected the fields of a Step"):
        resume(tmp_path / "s.pt")


@pytest.mark.parametrize("search", [random_search, evolution])
def test_failed_children_count_0_and_say_why_and_the_checkpoint_loads(search, tmp_path):
    def evaluate(tokens):
        return Failed("out of memory") if tokens[0] == 0 else float("nan") if tokens[0] == 1 else 1.0

    config = search.Config(updates=30, **({"population": 4, "sample": 2} if search is evolution else {}))
    found = list(search.search(SPACE, evaluate, config, torch.Generator().manual_seed(0)))
    reasons = {step.children[0][0]: step.failures.get(0) for step in found}
    assert reasons[0] == "out of memory" and reasons[1] == "reward is nan"
    assert all(step.rewards == ((0.0,) if step.failures else (1.0,)) for step in found)
    for _ in tee(found, checkpoint(tmp_path / "s.pt")):
        pass
    assert resume(tmp_path / "s.pt").rewards == found[-1].rewards


# States that are made when somebody asks


def live(index=4):
    made = []
    state = Live(lambda: made.append(1) or keep("x", SPACE, torch.Generator().manual_seed(3), w=torch.arange(3)))
    return Step(index, ((1,) * 10,), (0.5,), {"phase": 1.0}, state=state), made


def test_a_live_state_is_made_when_it_is_asked_for(tmp_path):
    step, made = live()
    next(tee([step], jsonl(tmp_path / "log.jsonl"), progress(9), checkpoint(tmp_path / "s.pt", every=2)))
    assert "state" not in repr(step) and not made and not (tmp_path / "s.pt").exists()
    assert torch.equal(state_of(step)["w"], torch.arange(3)) and len(made) == 1
    plain = Step(0, (), (), state={"a": 1})
    assert state_of(plain) is plain.state


def test_a_checkpoint_of_a_live_state_is_one_of_what_it_makes(tmp_path):
    step, _ = live()
    next(tee([step], checkpoint(tmp_path / "s.pt")))
    found = resume(tmp_path / "s.pt")
    assert (found.index, found.children, found.rewards, found.info) == (4, step.children, step.rewards, step.info)
    assert torch.equal(found.state["w"], torch.arange(3))
    generator = torch.Generator()
    assert begin(found, "x", SPACE, generator)[0] == begin(step, "x", SPACE, generator)[0] == 5
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(3).get_state())


def test_an_expired_state_is_refused_and_the_checkpoint_stays(tmp_path):
    next(tee([live(3)[0]], checkpoint(tmp_path / "s.pt")))
    step, made = live()
    step.state.expire()
    for ask in (state_of, checkpoint(tmp_path / "s.pt"), lambda s: begin(s, "x", SPACE, torch.Generator())):
        with pytest.raises(ValueError, match=r"state: the search has gone on .* last step, or checkpoint\(path\)"):
            ask(step)
    assert not made and resume(tmp_path / "s.pt").index == 3
    next(tee([step], jsonl(tmp_path / "log.jsonl")))  # a log needs none


@pytest.mark.parametrize(
    ("field", "value"),
    [("info", {"loss": float("nan")}), ("info", {"phase": "w"}), ("rewards", (float("inf"),)), ("children", ([0, 1],))],
)
def test_a_checkpoint_takes_only_what_resume_takes(tmp_path, field, value):
    path, good = tmp_path / "search.pt", Step(0, ((0, 1),), (0.5,), {"loss": 1.0})
    save = checkpoint(path)
    save(good)
    with pytest.raises(ValueError, match=field):
        save(replace(good, index=1, **{field: value}))
    assert resume(path) == good


def test_a_log_takes_numpy_s_numbers(tmp_path):
    path = tmp_path / "log.jsonl"
    jsonl(path)(Step(0, ((np.int64(3),),), (0.5,), {"loss": np.float32(2)}))
    row = json.loads(path.read_text())
    assert (row["children"], row["info"]) == ([[3]], {"loss": 2.0}) and isinstance(row["children"][0][0], int)
