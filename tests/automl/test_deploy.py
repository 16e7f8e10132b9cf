"""Exported networks: equal to torch's, usable without naslab, with everything inside that their user needs."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from naslab.automl import card, deploy, run
from naslab.automl.deploy import deployment, export
from naslab.automl.evaluation import milliseconds
from naslab.spaces import nas_bench_201
from tests.automl.tasks import FOR_IMAGES, FOR_TEXT, TEXT, pictures, stopped

SAMPLE = pictures().split(seed=0)
SUFFIXES = pytest.mark.parametrize("suffix", [".onnx", ".pt2"])


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return run(SAMPLE.task, FOR_IMAGES, tmp_path_factory.mktemp("images"), clock=stopped)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return run(TEXT, FOR_TEXT, tmp_path_factory.mktemp("text"), clock=stopped)


WITHOUT = """
import json, sys
sys.modules["naslab"] = None  # an import fails from here on
import numpy as np
path, pixels = sys.argv[1], np.load(sys.argv[2])
if path.endswith(".onnx"):
    import onnxruntime
    assert "torch" not in sys.modules
    session = onnxruntime.InferenceSession(path)
    metadata = session.get_modelmeta().custom_metadata_map
    info = {name: json.loads(value) for name, value in metadata.items()}
    (probabilities,) = session.run(None, {"pixels": pixels})
else:
    import torch
    files = {"info.json": ""}
    network = torch.export.load(path, extra_files=files).module()
    info, probabilities = json.loads(files["info.json"]), network(torch.from_numpy(pixels)).detach().numpy()
print(json.dumps({"info": info, "probabilities": probabilities.tolist()}))
"""


@SUFFIXES
def test_raw_pixels_give_the_probabilities_of_torch_without_naslab(images, tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    assert export(deployment(images, SAMPLE), path) < 1e-5
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    raw = pictures().x[SAMPLE.places["test"]].astype(np.float32)
    np.save(tmp_path / "pixels.npy", raw)
    command = [sys.executable, "-c", WITHOUT, path, tmp_path / "pixels.npy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    with torch.no_grad():
        expected = images.model.eval()(SAMPLE.task.test.x).softmax(-1)
    assert np.abs(np.array(found["probabilities"]) - expected.numpy()).max() < 1e-4
    info = found["info"]
    assert info["names"] == ["a", "b", "c"] and info["shape"] == [1, 8, 8] and info["network"] == images.best
    assert info["mean"] == pytest.approx(SAMPLE.mean) and info["deviation"] == pytest.approx(SAMPLE.deviation)
    assert info["seed"] == 0
    assert torch.__version__.startswith(info["versions"]["torch"])  # a build may add "+cu130" to one of the two
    assert len(info["data"]["sha256"]) == 64 and json.loads(info["cell"])["cell"]


def test_the_network_of_the_run_stays_where_it_is(images):
    assert deployment(images, SAMPLE).network.model is not images.model


@SUFFIXES
def test_a_text_network_goes_on_from_token_to_token(text, tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    what = deployment(text)
    assert export(what, path) < 1e-5
    use = deploy.FORMATS[suffix][1](path)
    tokens = TEXT.test[:12].view(4, 3)  # (T, N)
    h, c = (torch.zeros(1, 3, FOR_TEXT.width) for _ in range(2))
    with torch.no_grad():
        expected = text.model.eval()(tokens, None)[0].softmax(-1)
    for token, probabilities in zip(tokens, expected, strict=True):
        found, *state = use({"token": token, "h": h, "c": c})
        h, c = map(torch.from_numpy, state)
        assert np.abs(found - probabilities.numpy()).max() < 1e-4


def test_every_op_can_be_exported(tmp_path):
    """In a cell without a path from its input, and in one with all ops."""
    from naslab.automl.work import of

    space = nas_bench_201()
    work = of(SAMPLE.task, replace(FOR_IMAGES, space=space))
    for tokens in ((0,) * 6, (4, 1, 2, 3, 0, 3)):
        network = deploy.FromPixels(work.trainer(1, 0).build(tokens), SAMPLE.mean, SAMPLE.deviation)
        pixels = torch.from_numpy(pictures().x[:2].astype(np.float32))
        what = deploy.Deployment(network.eval(), {"pixels": pixels}, ("probabilities",), (0,), {})
        assert export(what, tmp_path / "model.onnx") < 1e-5
    assert 0.001 < milliseconds(tmp_path / "model.onnx", seconds=0.05) < 1000


def test_a_file_that_differs_is_not_kept(images, tmp_path, monkeypatch):
    path = tmp_path / "model.pt2"
    write, load = deploy.FORMATS[".pt2"]

    def off(path):
        use = load(path)
        return lambda batch: [found + 2e-4 for found in use(batch)]

    monkeypatch.setitem(deploy.FORMATS, ".pt2", (write, off))
    with pytest.raises(RuntimeError, match=r"differs from torch by 0\.0002, allowed is 0\.0001"):
        export(deployment(images, SAMPLE), path)
    assert not [*tmp_path.iterdir()]


def test_what_cannot_be_exported_is_refused(images, tmp_path):
    with pytest.raises(ValueError, match="sample: got none"):
        deployment(images)
    with pytest.raises(ValueError, match="sample: got none or another one"):
        deployment(images, pictures(seed=1).split())
    with pytest.raises(ValueError, match=r"path: got .*model.bin', expected a name that ends in .onnx or .pt2"):
        export(deployment(images, SAMPLE), tmp_path / "model.bin")


def test_the_card_has_data_plan_cell_scores_and_files(images, text, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"12345")
    for result, labels in ((images, "'a', 'b', 'c'"), (text, f"{len(TEXT.vocabulary)} characters")):
        found = card(result, "accuracy 0.9", [path])
        facts = deploy.provenance(result)
        for words in (
            labels,
            "accuracy 0.9",
            facts["cell"],
            facts["data"]["sha256"],
            "A random search",
            "with seed 0",
        ):
            assert words in found
        assert "SHA-256 `5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5a9c173cacfc5`" in found
        assert all(f"| {name} | {each.parameters:,} |" in found for name, each in result.trained.items())
