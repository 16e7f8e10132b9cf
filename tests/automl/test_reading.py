"""One call for every kind of data: it reads what the readers read, and refuses what is no data."""

import pandas as pd
import pytest
import torch

from naslab.automl.reading import read
from naslab.data import ImageTask, TextTask
from tests.data.files import fill


def test_each_kind_of_path_is_read(tmp_path):
    root = fill(tmp_path / "pets", each=8)
    files = sorted(root.rglob("*.png"))
    table = pd.DataFrame({"path": [str(file.relative_to(tmp_path)) for file in files]})
    table["label"] = [file.parent.name for file in files]
    table.to_csv(tmp_path / "pets.CSV", index=False)
    (tmp_path / "novel.txt").write_text("so it goes. " * 1000)
    folder, listed = read(root, seed=3), read(tmp_path / "pets.CSV", seed=3)
    for task, sample in (folder, listed):
        assert isinstance(task, ImageTask) and sample.task is task and task.classes == ("cat", "dog")
    assert (folder[0].train.x == listed[0].train.x).all()
    assert not (folder[0].train.x == read(root, seed=4)[0].train.x).all()
    assert read(root, (8, 10))[0].shape == (3, 8, 10)
    task, sample = read(tmp_path / "novel.txt")
    assert isinstance(task, TextTask) and sample is None
    (root / "cat" / "empty.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"empty.png \(the file is empty\)"):
        read(root)
    assert len(read(root, skip_unreadable=True)[1].places["test"]) == 2


def test_the_task_is_on_the_device_and_the_sample_has_the_same(tmp_path):
    root = fill(tmp_path / "pets", each=8)
    (tmp_path / "novel.txt").write_text("so it goes. " * 1000)
    for device in ("cpu", torch.device("meta")):
        task, sample = read(root, device=device)
        assert sample.task is task
        parts = [each for part in (task.train, task.valid, task.test) for each in (part.x, part.y)]
        text, nothing = read(tmp_path / "novel.txt", device=device)
        assert {each.device for each in (*parts, text.train, text.valid, text.test)} == {torch.device(device)}
        assert nothing is None
    with pytest.raises(RuntimeError, match="device"):
        read(root, device="no such device")


@pytest.mark.parametrize("name", ["gone", "gone.csv", "gone.txt", "model.bin"])
def test_what_is_no_data_is_refused(tmp_path, name):
    (tmp_path / "model.bin").write_bytes(b"1")
    with pytest.raises(ValueError, match=r"data: got .*expected a folder, or a file that ends in \.csv or \.txt"):
        read(tmp_path / name)
