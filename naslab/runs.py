"""A run and its surroundings: parameters and profile, device, seeds, and files that survive a crash."""

import ast
import io
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from naslab import checks

PROFILES = ("quick", "full", "gpu")
FORMAT = "naslab-1"


def start(names: Mapping[str, Any], *, quick: dict, full: dict, gpu: dict) -> SimpleNamespace:
    """The settings of a notebook, from its parameters cell and its profiles; call it with `globals()`.

    Every notebook has `profile`, `seed` and `device`. A further parameter is one of the profiles' numbers: 0 in the
    parameters cell means "as the profile says", anything else overrides it. Returns a namespace with all of them,
    `device` as a `torch.device`.

    Raises `ValueError` for a value that is not allowed and for a name that the notebook does not have: papermill
    defines any name it is given and only warns.
    """
    profiles = {"quick": quick, "full": full, "gpu": gpu}
    if not quick.keys() == full.keys() == gpu.keys():
        raise ValueError(f"profiles: got different names {[sorted(p) for p in profiles.values()]}")
    cells = names.get("In", ())
    # only what the parameters cell declares counts: a loop variable further down may have a profile's name
    declared = next((found for source in cells if "profile" in (found := _assigned(source))), {*names})
    if missing := [name for name in ("profile", "seed", "device") if name not in declared]:
        raise ValueError(f"parameters: got no {', '.join(missing)}; expected profile, seed, device; pass globals()")
    injected = {name for source in cells if source.startswith("# Parameters\n") for name in _assigned(source)}
    if unknown := sorted(injected - declared):
        known = ", ".join(name for name in ("profile", "seed", "device", *quick) if name in declared)
        raise ValueError(f"parameters: got unknown {', '.join(unknown)}; this notebook has {known}")

    profile, seed = names["profile"], names["seed"]
    if profile not in PROFILES:
        raise ValueError(f"profile: got {profile!r}, expected one of {', '.join(PROFILES)}")
    checks.whole(0, seed=seed)
    where = device(names["device"])
    if profile == "gpu" and where.type != "cuda":
        raise ValueError(f"profile: got 'gpu' on device {str(where)!r}, expected a CUDA device; use 'quick' or 'full'")

    numbers = dict(profiles[profile])
    for name, default in numbers.items():
        if name in declared and name in names:
            value = names[name]
            if type(value) is not type(default) and not (type(value) is int and type(default) is float):
                raise ValueError(f"{name}: got {value!r}, expected {type(default).__name__} such as {default!r}")
            if value != 0:
                checks.positive(**{name: value})
                numbers[name] = value
    if profile == "quick":
        torch.set_num_threads(1)  # two threads on two busy cores can be many times slower than one
    return SimpleNamespace(profile=profile, seed=seed, device=where, **numbers)


def _assigned(source: str) -> set[str]:
    """The names that a cell assigns at its top level; none if it is not plain Python."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return set()
    targets = [t for node in body for t in getattr(node, "targets", [getattr(node, "target", None)])]
    return {t.id for t in targets if isinstance(t, ast.Name)}


def device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" is CUDA where there is one, else the CPU.

    Raises `ValueError` if the name is unknown or the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(name)
    except (RuntimeError, TypeError):
        raise ValueError(f"device: got {name!r}, expected auto, cpu, cuda, cuda:0, ... or mps") from None
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(found.type, False) or (found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count()):
        raise ValueError(f"device: got {name!r}, which this machine does not have; expected auto or cpu")
    return found


def spawn(seed: int, n: int) -> tuple[int, ...]:
    """The seeds of n independent repetitions, each below 2^63.

    `seed + k` would give the repetitions of seed 0 and of seed 1 most of their numbers in common; these share none
    (`numpy.random.SeedSequence`). More repetitions begin with the same ones: `spawn(s, 3) == spawn(s, 5)[:3]`. Spawned
    seeds can be spawned again: one for the searches, say, and one for the trainings that judge them.

    Raises `ValueError` for a negative seed or n.
    """
    checks.whole(0, seed=seed, n=n)
    return tuple(int(child.generate_state(1, np.uint64)[0] >> 1) for child in np.random.SeedSequence(seed).spawn(n))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch's global random numbers start from `seed`; outside they go on as if nothing had happened."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def replace(path: str | Path, content: bytes) -> None:
    """Writes a file in one stroke: at any moment it has either its old content or all of the new."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def save(path: str | Path, content: dict[str, Any]) -> None:
    """Saves plain values and tensors atomically. An undamaged file that was there stays as `<name>.previous`."""
    path = Path(path)
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "content": content}, buffer)
    if _is_whole(path):  # a damaged file must not push out a good one
        replace(path.with_name(path.name + ".previous"), path.read_bytes())
    replace(path, buffer.getvalue())


def load(path: str | Path) -> dict[str, Any]:
    """What `save` saved, on the CPU. Raises `ValueError` if the file is damaged or is something else."""
    path = Path(path)
    previous = path.with_name(path.name + ".previous")
    hint = f"; the checkpoint before it is {previous.name}" if previous.exists() else ""
    if path.exists() and not _is_whole(path):
        raise ValueError(f"{path.name}: damaged or not a naslab file{hint}")
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # of any type, when the content of a foreign archive is read
        raise ValueError(f"{path.name}: damaged or not a naslab file ({type(error).__name__}){hint}") from None
    if not isinstance(saved, dict) or saved.get("format") != FORMAT or not isinstance(saved.get("content"), dict):
        found = saved.get("format") if isinstance(saved, dict) else type(saved).__name__
        raise ValueError(f"{path.name}: got format {found!r}, expected {FORMAT!r}{hint}")
    return saved["content"]


def _is_whole(path: Path) -> bool:
    """Whether there is an archive whose every record has its checksum."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return False
