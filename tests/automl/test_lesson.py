"""Lesson 12 on data of one's own, by the line that it names: files, minutes, a kill, and what is refused."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

import naslab
from naslab.data.folders import read_files
from tests.automl.test_readme import COLOURS, flower

onnxruntime = pytest.importorskip("onnxruntime")

REPO = Path(naslab.__file__).parent.parent
LESSON = REPO / "notebooks" / "12_your_own_data.ipynb"
FACTOR = float(os.environ.get("TIME_FACTOR", "1"))
pytestmark = pytest.mark.slow


def begin(folder: Path, **parameters: Any) -> subprocess.Popen[str]:
    """Starts the lesson's line in the folder."""
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", str(LESSON), "out.ipynb"]
    for name, value in parameters.items():
        command += ["-p", name, str(value)]
    environment = {**os.environ, "PYTHONPATH": str(REPO), "NASLAB_PROGRESS": "0"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code, and what stands in stderr."""
    errors = process.communicate(timeout=300 * FACTOR)[1]
    return process.returncode, errors


def flowers(folder: Path, each: int = 40) -> np.random.Generator:
    """Writes images of each flower; the generator draws more of them."""
    rng = np.random.default_rng(0)
    for name in COLOURS:
        (folder / name).mkdir(parents=True)
        for k in range(each):
            flower(rng, name).save(folder / name / f"{k}.png")
    return rng


def predicted(model: Path, image: Image.Image) -> str:
    """What the exported file says of an image that was read as `automl.read` reads it."""
    image.save(model.parent / "new.png")
    pixels = read_files("new", [model.parent / "new.png"], [0], ["new"], 32).x
    session = onnxruntime.InferenceSession(model)
    names = json.loads(session.get_modelmeta().custom_metadata_map["names"])
    return names[session.run(None, {"pixels": pixels.astype(np.float32)})[0][0].argmax()]


def kill(process: subprocess.Popen[str]) -> None:
    """Ends the line and its kernel at once, as if the power were cut."""
    killed = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for each in killed:
        each.send_signal(signal.SIGKILL)
    process.communicate()
    psutil.wait_procs(killed, timeout=30)


@pytest.mark.skipif(os.name != "posix", reason="sends SIGKILL")
def test_a_folder_becomes_a_model_within_its_minutes_also_after_a_kill(tmp_path: Path) -> None:
    """The same line goes on. The run counts the time of both parts, and what is outside it counts in CPU seconds."""
    rng = flowers(tmp_path / "folder")
    settings: dict[str, Any] = {"data": "./folder", "minutes": 0.5, "method": "reinforce"}
    kept = tmp_path / "build" / "folder-model"
    process = begin(tmp_path, **settings)
    steps, end = [], time.monotonic() + 60 * FACTOR
    while len(steps) < 2 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
        if (kept / "steps.jsonl").exists():
            steps = (kept / "steps.jsonl").read_text().splitlines()
    assert process.poll() is None, process.communicate()[1]
    kill(process)
    assert len(steps) >= 2 and not (kept / "chosen.json").exists()
    plan = (kept / "plan.json").read_bytes()
    before = os.times()
    code, errors = ended(begin(tmp_path, **settings))
    after = os.times()
    assert code == 0, errors
    used = after.children_user + after.children_system - before.children_user - before.children_system
    assert used <= (60 * settings["minutes"] + 15) * FACTOR  # a kernel starts, two files are exported
    assert json.loads((kept / "spent.json").read_text())["seconds"] <= 1.2 * 60 * settings["minutes"] * FACTOR
    assert (kept / "plan.json").read_bytes() == plan
    later = (kept / "steps.jsonl").read_text().splitlines()
    assert later[:2] == steps[:2] and [json.loads(line)["index"] for line in later] == [*range(len(later))]
    card = (kept / "card.md").read_text(encoding="utf-8")
    assert "folder" in card and "Test accuracy" in card and all(name in card for name in COLOURS)
    right = [predicted(kept / "model.onnx", flower(rng, name)) == name for name in COLOURS for _ in range(5)]
    assert sum(right) >= 14 and (kept / "model.pt2").stat().st_size > 0
    cells = json.loads((tmp_path / "out.ipynb").read_text(encoding="utf-8"))["cells"]
    printed = "".join(str(output.get("text", "")) for cell in cells for output in cell.get("outputs", ()))
    assert "he model and its card are in build/folder-model" in printed


def test_a_text_becomes_a_model(tmp_path: Path) -> None:
    words = np.random.default_rng(0).choice(["the ", "quick ", "brown ", "fox ", "jumps.\n"], 4000)
    (tmp_path / "words.txt").write_text("".join(words)[:20_000])
    code, errors = ended(begin(tmp_path, data="words.txt", minutes=0.3, method="enas"))
    assert code == 0, errors
    kept = tmp_path / "build" / "words-model"
    assert json.loads((kept / "plan.json").read_text())["method"] == "enas"
    card = (kept / "card.md").read_text(encoding="utf-8")
    found = re.search(r"^([\d.]+) .*bits for each character", card, re.M)
    assert found and 0.41 < float(found[1]) < 1  # log2(5) bits for each word of 5.4 letters are 0.43
    session = onnxruntime.InferenceSession(kept / "model.onnx")
    letters = json.loads(session.get_modelmeta().custom_metadata_map["names"])
    inputs = {each.name: [1 if isinstance(n, str) else n for n in each.shape] for each in session.get_inputs()}
    values = {name: np.zeros(shape, np.float32) for name, shape in inputs.items()}
    for letter in "the quick brow":
        values["token"] = np.array([letters.index(letter)])
        probabilities, values["h"], values["c"] = session.run(None, values)
    assert letters[probabilities[0].argmax()] == "n"


def hostile(folder: Path) -> dict[str, tuple[dict[str, Any], str]]:
    """Parameters by name, and what the message must say."""
    flowers(folder / "good", each=4)
    flowers(folder / "two images", each=4)
    for k in (2, 3):
        (folder / "two images" / "rose" / f"{k}.png").unlink()
    flowers(folder / "corrupt", each=4)
    (folder / "corrupt" / "tulip" / "1.png").write_bytes(b"\x89PNG and nothing else")
    return {
        "two images": ({"data": "two images"}, "class 'rose': got 2 images, which leave 0 for train"),
        "corrupt": ({"data": "corrupt"}, "corrupt: 1 of 12 files cannot be read: corrupt/tulip/1.png"),
        "method": ({"data": "good", "method": "grid"}, "method: got 'grid', expected one of"),
        "name": ({"data": "good", "minuts": 1}, "minuts"),
    }


def test_what_the_line_refuses_it_names(tmp_path: Path) -> None:
    """The last line is the message. Two at a time, since a kernel takes some seconds to start."""
    waiting = [*hostile(tmp_path).items()]
    for two in (waiting[:2], waiting[2:]):
        begun = [(name, message, begin(tmp_path, **parameters)) for name, (parameters, message) in two]
        for name, message, process in begun:
            code, errors = ended(process)
            assert code != 0 and message in errors.strip().splitlines()[-1], (name, errors)
