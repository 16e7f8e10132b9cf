"""The environment of a run: parameters and profile, device, seeds, and files that survive a crash."""

import ast
import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import torch

from naslab import checks

PROFILES = ("quick", "full", "gpu")
FORMAT = "naslab-2"


class Run(SimpleNamespace):
    """The settings of a run as attributes. As text it is one line, without the device."""

    def __str__(self) -> str:
        rest = {name: value for name, value in vars(self).items() if name not in ("profile", "seed", "device")}
        return f"profile {self.profile}, seed {self.seed}: " + ", ".join(f"{name} {v}" for name, v in rest.items())


def start(
    names: Mapping[str, Any],
    *,
    quick: dict[str, Any],
    full: dict[str, Any],
    gpu: dict[str, Any],
    least: Mapping[str, float] = MappingProxyType({}),
) -> Run:
    """Returns the settings of a notebook, from its parameters cell and its profiles. Pass `globals()` as `names`.

    Every notebook has the parameters `profile`, `seed` and `device`. Further parameters override numbers of the
    profile; 0 in the parameters cell means "use the profile's number". `least` has lower bounds of these numbers:
    `least={"seeds": 30, "epochs": 4}`. The result has all of them; `device` is a `torch.device`.

    Raises `ValueError` if a value is not allowed, or if a number of the profile or the parameters cell is below its
    bound. Also raises it for a parameter that the notebook does not have: papermill defines every name that it gets and
    only warns.
    """
    if not isinstance(names, Mapping):
        raise ValueError(f"names: got {checks.shown(names)}, expected globals()")
    profiles = {"quick": quick, "full": full, "gpu": gpu}
    if not quick.keys() == full.keys() == gpu.keys():
        raise ValueError(f"profiles: got different names {[sorted(p) for p in profiles.values()]}")
    if unbound := least.keys() - quick.keys():
        raise ValueError(f"least: got {', '.join(sorted(unbound))}, expected names of the profiles: {', '.join(quick)}")
    cells = names.get("In", ())  # the source of every cell that ran, as IPython keeps it
    if not isinstance(cells, list | tuple) or not all(isinstance(source, str) for source in cells):
        raise ValueError(f"In: got {checks.shown(cells)}, expected IPython's list of cells")
    # only the parameters cell declares parameters: a loop variable of a later cell may have a profile's name
    declared = next((found for source in cells if "profile" in (found := _assigned(source))), {*names})
    if missing := [name for name in ("profile", "seed", "device") if name not in declared or name not in names]:
        raise ValueError(f"parameters: got no {', '.join(missing)}; expected profile, seed, device; pass globals()")
    injected = {name for source in cells if source.startswith("# Parameters\n") for name in _assigned(source)}
    if unknown := sorted(injected - declared):
        known = ", ".join(name for name in ("profile", "seed", "device", *quick) if name in declared)
        raise ValueError(f"parameters: got unknown {', '.join(unknown)}; this notebook has {known}")

    profile, seed = names["profile"], names["seed"]
    if not isinstance(profile, str) or profile not in PROFILES:
        raise ValueError(f"profile: got {checks.shown(profile)}, expected one of {', '.join(PROFILES)}")
    checks.whole(0, seed=seed)
    where = device(names["device"])
    if profile == "gpu" and where.type != "cuda":
        raise ValueError(f"profile: got 'gpu' on device {str(where)!r}, expected a CUDA device; use 'quick' or 'full'")

    numbers = dict(profiles[profile])
    for name, default in numbers.items():
        if name in declared and name in names:
            value = checks.plain(names[name])
            if type(value) is not type(default) and not (type(value) is int and type(default) is float):
                shown = f"{type(default).__name__} such as {default!r}"
                raise ValueError(f"{name}: got {checks.shown(value)}, expected {shown}")
            if value != 0:
                checks.positive(**{name: value})
                numbers[name] = value
        if name in least and not numbers[name] >= least[name]:
            raise ValueError(f"{name}: got {numbers[name]}, expected at least {least[name]}")
    if profile == "quick":
        torch.set_num_threads(1)  # two threads on two busy cores can be many times slower than one
    return Run(profile=profile, seed=int(seed), device=where, **numbers)


def _assigned(source: str) -> set[str]:
    """Returns the names that a cell assigns at its top level; none if the cell is not plain Python."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # NUL characters; brackets nested too deep
        return set()
    targets = [t for node in body for t in getattr(node, "targets", [getattr(node, "target", None)])]
    return {t.id for t in targets if isinstance(t, ast.Name)}


def device(name: str = "auto") -> torch.device:
    """Returns the device of that name. "auto" is CUDA if it is available, else the CPU.

    Raises `ValueError` if the name is unknown or the machine does not have the device.
    """
    if isinstance(name, str) and name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        if not isinstance(name, str | torch.device):
            raise TypeError
        found = torch.device(name)
    except (RuntimeError, TypeError, ValueError):
        raise ValueError(f"device: got {checks.shown(name)}, expected auto, cpu, cuda, cuda:0, ... or mps") from None
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(found.type, False) or (found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count()):
        raise ValueError(f"device: got {name!r}, which this machine does not have; expected auto or cpu")
    return found


def spawn(seed: int, n: int) -> tuple[int, ...]:
    """Returns the seeds of n independent repetitions, each below 2^63 (`numpy.random.SeedSequence`).

    With `seed + k` instead, seed 0 and seed 1 would share most of their repetitions. The first seeds do not depend on
    n: `spawn(s, 3) == spawn(s, 5)[:3]`. A spawned seed can be spawned again, for example into one seed for a search and
    one for the training of its result.

    Raises `ValueError` for a negative seed or n, and for a seed of 2^63 or more.
    """
    checks.whole(0, seed=seed, n=n)
    return tuple(_drawn(child) for child in np.random.SeedSequence(seed).spawn(n))


def _drawn(sequence: np.random.SeedSequence) -> int:
    return int(sequence.generate_state(1, np.uint64)[0]) >> 1  # of an int: NumPy 1.26 does not shift its own uint64


@contextmanager
def seeded(seed: int, *more: int) -> Iterator[None]:
    """Inside this context torch's global random numbers start from `seed`. Afterwards the previous state is restored.

    Several numbers, such as a seed and an index, are combined into one seed; (0, 1) and (1, 0) give independent seeds.
    Raises `ValueError` for a negative number, and for a single seed of 2^63 or more.
    """
    if more:
        seed = _drawn(np.random.SeedSequence((seed, *more)))
    checks.whole(0, seed=seed)
    with torch.random.fork_rng():
        torch.manual_seed(int(seed))
        yield


def replace(path: str | Path, content: bytes) -> None:
    """Writes a file atomically: at any moment it has either its old content or all of the new content."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def save(path: str | Path, content: dict[str, Any]) -> None:
    """Saves plain values and tensors atomically. An undamaged old file is kept as `<name>.previous`.

    Plain values are None, bool, int, float, str, and dicts, lists and tuples of them. NumPy's numbers are converted to
    Python's. Raises `ValueError` with the place of a value of any other type, before it writes anything.
    """
    path, buffer = Path(path), io.BytesIO()
    torch.save(_plain(content, ()), buffer)
    archive = buffer.getvalue()
    if (before := _whole(path)) is not None:  # a damaged file must not replace a good one
        replace(path.with_name(path.name + ".previous"), before)
    replace(path, _header(archive) + archive)


def load(path: str | Path) -> dict[str, Any]:
    """Loads a file of `save`; tensors are on the CPU. Raises `ValueError` if the file is damaged or of another kind."""
    path = Path(path)
    previous = path.with_name(path.name + ".previous")
    hint = f"; the checkpoint before it is {previous.name}" if previous.exists() else ""
    with path.open("rb") as file:
        header, archive = file.readline(HEADER), file.read()
    if header.startswith(b"PK"):  # every archive of torch.save
        raise ValueError(f"{path.name}: got a torch.save archive, such as an older naslab's, expected {FORMAT}{hint}")
    if header != _header(archive):
        raise ValueError(f"{path.name}: damaged or not a naslab file{hint}")
    try:
        content = torch.load(io.BytesIO(archive), map_location="cpu", weights_only=True)
    except Exception as error:  # of any type: the checksum is right, so another program wrote it
        raise ValueError(f"{path.name}: damaged or not a naslab file ({type(error).__name__}){hint}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path.name}: got a {type(content).__name__}, expected a dict{hint}")
    return content


def _header(archive: bytes) -> bytes:
    """Returns the first line of a file: its format and the SHA-256 of the rest."""
    return f"{FORMAT} {hashlib.sha256(archive).hexdigest()}\n".encode()


HEADER = len(_header(b""))


def _whole(path: Path) -> bytes | None:
    """Returns the bytes of a file, or None if it is missing or damaged."""
    try:
        found = path.read_bytes()
    except OSError:
        return None
    return found if found[:HEADER] == _header(found[HEADER:]) else None


def _plain(value: Any, place: tuple[Any, ...]) -> Any:
    """Returns the value with NumPy's numbers converted to Python's."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, torch.Tensor) or type(value) in (type(None), bool, int, float, str):
        return value
    if isinstance(value, dict):
        return {_plain(key, (*place, key)): _plain(item, (*place, key)) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_plain(item, (*place, k)) for k, item in enumerate(value))
    raise ValueError(
        f"{'.'.join(map(str, place)) or 'content'}: got {checks.shown(value)} of type {type(value).__name__}, "
        "expected plain values and tensors"
    )
