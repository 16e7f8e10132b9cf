"""A model card: what a network is, how it was found, how well it does, and where it comes from."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from naslab.automl.deploy import provenance
from naslab.automl.runner import Result
from naslab.automl.work import labels_of
from naslab.data import ImageTask

CARD = """# A network for {name}

It takes {kind} and returns probabilities of: {labels}.

## How it was found

A {method} search in a space of {cells:,} cells chose one, with seed {seed}. Its cell, one made by hand and a random \
cell whose network is nearly as large were trained for {epochs:g} epochs. The network in the file is the one with the \
best score on the validation data: **{which}**. All took {took:.1f} of {minutes:g} minutes.

| network | parameters | validation score |
|---|---|---|
{rows}

Its cell: `{cell}`

## How well it does

{scores}

## What to mind

The scores hold for data like those that it was tested on. It gives probabilities for anything, also for what belongs \
to no class.

## Where it comes from

Data: {name}, SHA-256 of all splits {data}. {versions}.

{files}
"""


def card(result: Result, scores: str, files: Iterable[Path | str] = ()) -> str:
    """Returns the card in Markdown. `scores` is the paragraph about the test; `files` are listed with their SHA-256."""
    facts, plan, task = provenance(result), result.plan, result.task
    names = labels_of(task)
    return CARD.format(
        name=task.name,
        kind="images" if isinstance(task, ImageTask) else "text, a character at a time,",
        labels=", ".join(map(repr, names)) if len(names) <= 20 else f"{len(names)} characters",
        method=plan.method,
        cells=plan.space.strings,
        took=result.seconds / 60,
        minutes=plan.minutes,
        seed=plan.seed,
        epochs=result.epochs,
        which=result.best,
        rows="\n".join(f"| {name} | {each.parameters:,} | {each.valid:.4g} |" for name, each in result.trained.items()),
        cell=facts["cell"],
        scores=scores,
        data=facts["data"]["sha256"],
        versions=", ".join(f"{name} {number}" for name, number in facts["versions"].items()),
        files="\n".join(map(listed, map(Path, files))),
    )


def listed(path: Path) -> str:
    content = path.read_bytes()
    return f"- `{path.name}`: {len(content) / 1000:,.0f} kB, SHA-256 `{hashlib.sha256(content).hexdigest()}`"
