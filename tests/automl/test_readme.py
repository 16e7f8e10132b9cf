"""The README's way from a folder to a prediction, as it stands there but for the minutes."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import naslab
from naslab.data.folders import read_files

README = (Path(naslab.__file__).parent.parent / "README.md").read_text(encoding="utf-8")
COLOURS = {"rose": (200, 30, 60), "tulip": (220, 200, 40), "Veilchen": (110, 40, 190)}


def flower(rng: np.random.Generator, name: str) -> Image.Image:
    """A disc of the flower's colour on noise, of another size each time."""
    width, height = rng.integers(20, 60, 2)
    pixels = rng.integers(0, 100, (height, width, 3)).astype(np.uint8)
    down, across = np.indices((height, width))
    disc = (down - height / 2) ** 2 + (across - width / 2) ** 2 < (min(width, height) / 3) ** 2
    pixels[disc] = np.clip(np.array(COLOURS[name]) + rng.integers(-30, 30, 3), 0, 255)
    return Image.fromarray(pixels)


@pytest.mark.slow
def test_from_a_folder_to_a_prediction(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in COLOURS:
        (tmp_path / "flowers" / name).mkdir(parents=True)
        for k in range(40):
            flower(rng, name).save(tmp_path / "flowers" / name / f"{k}.{('png', 'jpg')[k % 2]}")
    flower(rng, "tulip").save(tmp_path / "unknown.jpg")
    section = README.partition("## Your own images or text")[2].partition("\n## ")[0]
    search, use = re.findall(r"```python\n(.*?)```", section, re.S)
    assert search.count("minutes=10") == 1

    def printed(program: str) -> list[str]:
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    search = search.replace("minutes=10", "minutes=0.3")
    *plan, accuracy = printed(search)
    assert plan[0].startswith("method     random: ") and plan[-1] == "budget     0.3 minutes; seed 0"
    assert float(accuracy) > 0.8
    assert printed(search)[-1] == accuracy  # the same lines go on with what the folder keeps, here to its end
    without = "import sys; sys.modules['naslab'] = sys.modules['torch'] = None\n"
    assert printed(f"{without}{use}np.save('pixels', pixels)") == ["tulip"]
    expected = read_files("unknown", [tmp_path / "unknown.jpg"], [0], ["tulip"], 32).x  # as `read` prepares an image
    assert (np.load(tmp_path / "pixels.npy") == expected).all()
