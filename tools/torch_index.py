"""Prints the package index from which to install PyTorch, or nothing for pip's default. Prints the reason on stderr.

On Linux the default index has PyTorch with CUDA, several GB, which is useless without an NVIDIA driver. In that case
this prints the address given as the argument, if the address answers.
"""

from __future__ import annotations

import platform
import shutil
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

CPU = "https://download.pytorch.org/whl/cpu"
PATIENCE = 5.0  # seconds
DRIVER = Path("/proc/driver/nvidia")


def trouble(index: str, patience: float = PATIENCE) -> str | None:
    """Returns what is wrong with a package index as a source of torch, or None. Takes at most `patience` seconds."""
    found: list[str | None] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(f"{index.rstrip('/')}/torch/", timeout=patience) as answer:
                answer.read(1)
            found.append(None)
        except urllib.error.HTTPError as error:
            found.append(f"answers {error.code}")
        except Exception as error:  # of any type: all network errors have the same remedy
            found.append(f"cannot be reached ({getattr(error, 'reason', error)})")

    asking = threading.Thread(target=ask, daemon=True)  # urlopen's timeout limits each read, not their sum
    asking.start()
    asking.join(patience)
    return found[0] if found else f"did not answer in {patience:.0f} s"


def choose(index: str = CPU, patience: float = PATIENCE) -> tuple[str, str]:
    """Returns the index to add ("" for none) and the reason, in one line."""
    if platform.system() != "Linux":
        return "", "PyTorch: pip's build, which is for the CPU on this system"
    if shutil.which("nvidia-smi") or DRIVER.exists():
        return "", "PyTorch: pip's build, with CUDA (several GB), since there is an NVIDIA driver"
    if problem := trouble(index, patience):
        reason = f"there is no NVIDIA driver, but {index} {problem}"
        return "", f"PyTorch: pip's build, usually with CUDA (several GB): {reason}"
    return index, f"PyTorch: the CPU build of {index}, since there is no NVIDIA driver"


if __name__ == "__main__":
    chosen, why = choose(sys.argv[1] if len(sys.argv) > 1 else CPU)
    print(chosen)
    print(f"{why}. To choose another: TORCH_INDEX=URL, or TORCH_INDEX= for pip's", file=sys.stderr)
