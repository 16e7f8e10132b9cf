"""Writes binder/environment.yml: the course's requirements, and theirs in turn, pinned as in constraints.txt.

The list comes from the metadata of the packages installed here. Binder's file has no `-e .` and no
`-c constraints.txt`. A line that names a local file makes repo2docker copy the whole repository before it installs, so
every commit would reinstall everything.
"""

from __future__ import annotations

import sys
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
TORCH_CPU = "https://download.pytorch.org/whl/cpu"
BINDER = {  # values of the environment markers on mybinder.org
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.11.14",
    "python_version": "3.11",
    "sys_platform": "linux",
}
GPU_ONLY = ("cuda-", "nvidia-", "triton")
HEADER = f"""\
# Binder's environment. Written by `make constraints`: do not edit.
# torch is the CPU build; the versions are those of constraints.txt.
name: naslab
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python=3.11
  - pip
  - pip:
      - --extra-index-url {TORCH_CPU}
"""


def pins(text: str, environment: dict[str, str]) -> dict[str, str]:
    """Reads constraints.txt as name -> version. `environment` has the values of the environment markers."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate(environment):
                (pin,) = requirement.specifier
                found[canonicalize_name(requirement.name)] = pin.version
    return found


def closure(package: str, extras: set[str], environment: dict[str, str]) -> set[str]:
    """Returns all distributions that a package with extras needs, without itself, from the installed metadata."""
    seen: set[tuple[str, str]] = set()
    queue = [(package, extra) for extra in {"", *extras}]
    while queue:
        name, extra = queue.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for line in requires(name) or ():
            needed = Requirement(line)
            target = canonicalize_name(needed.name)
            if target.startswith(GPU_ONLY):
                continue
            if needed.marker is None or needed.marker.evaluate(environment | {"extra": extra}):
                queue += [(target, inner) for inner in {"", *needed.extras}]
    return {name for name, _ in seen} - {package}


def render() -> str:
    pinned = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"), BINDER)
    needed = sorted(closure("naslab", {"binder", "cluster", "export"}, BINDER))
    lines = (f"      - {name}=={pinned[name]}{'+cpu' if name == 'torch' else ''}\n" for name in needed)
    return HEADER + "".join(lines)


def main() -> int:
    (ROOT / "binder" / "environment.yml").write_text(render(), encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
