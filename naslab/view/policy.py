"""What REINFORCE learns on arms of fixed rewards, with and without a baseline: curves, bars and what they say."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from naslab import checks
from naslab.view.bandit import Runs, learn
from naslab.view.canvas import above, beside, box, polyline, sheet, text
from naslab.view.chart import HEIGHT, Line, chart
from naslab.view.picture import BLUE, FAINT, INK, VERMILLION, Picture

REWARDS = (0.90, 0.91, 0.93, 0.94, 0.86)  # like accuracies: far from 0, close together
WITH, WITHOUT = "with the baseline", "with b = 0"


def policy_picture(
    rewards: Sequence[float] = REWARDS,
    *,
    baseline: bool = True,
    m: int = 4,
    lr: float = 5.0,
    decay: float = 0.9,
    updates: int = 100,
    repeats: int = 200,
    seed: int = 0,
    update: int | None = None,
    run: int = 0,
) -> Picture:
    """What `policy_sandbox` draws after an `update`, by default the last, with the policy of one `run`, from 0."""
    settings = {"m": m, "lr": lr, "decay": decay, "updates": updates, "repeats": repeats, "seed": seed}
    runs = compare(rewards, baseline, settings)
    at = updates if update is None else update
    checks.whole(0, updates + 1, update=at)
    checks.whole(0, repeats, run=run)
    return together(*draw(rewards, runs, at, run))


def compare(rewards: Sequence[float], baseline: bool, settings: Mapping[str, Any]) -> dict[str, Runs]:
    """The runs of `bandit.learn` without a baseline, and before them those with it if `baseline` is true."""
    kinds = {WITH: True, WITHOUT: False} if baseline else {WITHOUT: False}
    return dict(zip(kinds, learn(rewards, [*kinds.values()], **settings), strict=True))


def draw(rewards: Sequence[float], runs: Mapping[str, Runs], update: int, run: int) -> tuple[Picture, Picture, Picture]:
    """The expected reward over the updates, the policies after an update, and the variance of the estimate."""
    first = next(iter(runs.values()))
    lines = {name: _line(name, r.expected) for name, r in runs.items()}
    lines |= {f"one run {name}": Line(name != WITH, r.expected[:, run].numpy(), thin=True) for name, r in runs.items()}
    said = describe(rewards, runs, update, run)
    curves = chart(
        lines,
        xlabel="updates",
        title=f"Expected reward: mean, middle 80 %; thin: run {run + 1}",
        alt=_sentences(said),
        reference=("best arm", max(rewards)),
        log=False,
        cursor=update,
    )
    squares = first.variances | {"|∇J|²": first.lengths}
    variance = chart(
        {name: Line(k, v.mean(1).clamp(min=1e-12).numpy()) for k, (name, v) in enumerate(squares.items())},
        xlabel="updates",
        title=f"Variance of the estimate, and |∇J|²; learned {next(iter(runs))}",
        alt=_spread(first),
        reference=None,
        log=True,
    )
    return curves, _bars(rewards, runs, update, run), variance


def together(curves: Picture, bars: Picture, variance: Picture) -> Picture:
    """The three as one picture."""
    title = "REINFORCE with and without a baseline"
    return above(title, beside("Expected reward and policies", curves, bars), variance)


def describe(rewards: Sequence[float], runs: Mapping[str, Runs], update: int, run: int) -> dict[str, str]:
    """The numbers after an update, by what they are."""
    updates, repeats = len(next(iter(runs.values())).expected) - 1, next(iter(runs.values())).expected.shape[1]
    best = max(range(len(rewards)), key=rewards.__getitem__)
    now = {name: r.expected[update] for name, r in runs.items()}
    chances = {name: r.policies[update, run, best] for name, r in runs.items()}
    return {
        "after update": f"{update} of {updates}",
        f"expected reward, mean ± std of {repeats} runs": "; ".join(
            f"{name}: {e.mean():.4f} ± {e.std():.4f}" for name, e in now.items()
        ),
        f"probability of the best arm in run {run + 1}": "; ".join(f"{name}: {p:.2f}" for name, p in chances.items()),
    }


def _sentences(said: Mapping[str, str]) -> str:
    return " ".join(f"{name[0].upper()}{name[1:]}: {value}." for name, value in said.items())


def _spread(first: Runs) -> str:
    start = {name: v[:2].mean(1)[-1].item() for name, v in first.variances.items()}
    variances = "; ".join(f"{v:.3g} with {name}" for name, v in start.items())
    length = first.lengths[:2].mean(1)[-1].item()
    return f"Exact variance of the gradient estimate at the second update: {variances}. |∇J|² is {length:.3g}."


def _line(name: str, expected: Tensor) -> Line:
    """The mean over the runs, and the band from the 10th to the 90th percentile."""
    low, high = torch.quantile(expected, expected.new_tensor([0.1, 0.9]), dim=1).numpy()
    return Line(name != WITH, expected.mean(1).numpy(), low, high)


def _bars(rewards: Sequence[float], runs: Mapping[str, Runs], update: int, run: int) -> Picture:
    """For each arm the probability of one run with the baseline, and below it without; a line marks the runs' mean."""
    left, full, thick, top = 92.0, 200.0, 17.0, 80.0
    pitch = thick * len(runs) + 10
    best, height = max(rewards), max(HEIGHT, top + pitch * len(rewards) + 20)
    pieces = [text(14, 18, f"Policy of run {run + 1} after update {update}")]
    for k, name in enumerate(runs):
        x = 14.0 + 160 * k
        pieces += [box(x, 34, 12, 12, fill=_color(name), line=_color(name)), text(x + 18, 40, name, size=12)]
    pieces += [text(left + full * x, top - 14, f"{x:g}", anchor="middle", size=12, color=FAINT) for x in (0, 0.5, 1)]
    words = []
    for k, reward in enumerate(rewards):
        y = top + pitch * k
        pieces.append(text(left - 8, y + thick * len(runs) / 2, f"{reward:g}", anchor="end"))
        if reward == best:
            pieces.append(text(12, y + thick * len(runs) / 2, "best", size=12))
        said = []
        for row, (name, r) in enumerate(runs.items()):
            p, mean = r.policies[update, run, k].item(), r.policies[update, :, k].mean().item()
            at, x = y + thick * row, left + full * mean
            pieces += [
                box(left, at, full, thick - 2, line="#C8C8C8", weight=1),
                box(left, at, round(full * p, 1), thick - 2, fill=_color(name), line=_color(name), weight=1),
                polyline([(round(x, 1), at - 1), (round(x, 1), at + thick - 1)], INK, 2),
                text(left + full + 8, at + thick / 2 - 1, f"{p:.2f}", size=12),
            ]
            said.append(f"{p:.2f} {name}")
        words.append(f"{reward:g}: {', '.join(said)}")
    pieces.append(text(left - 8, top - 14, "reward", anchor="end", size=12, color=FAINT))
    note = f"black line: mean of the {next(iter(runs.values())).expected.shape[1]} runs"
    pieces.append(text(left, top + pitch * len(rewards) + 6, note, size=12, color=FAINT))
    title = f"Policy of run {run + 1} after update {update}"
    return sheet(
        left + full + 90, height, pieces, title, f"Probability of each arm, by its reward. {'; '.join(words)}."
    )


def _color(name: str) -> str:
    return BLUE if name == WITH else VERMILLION
