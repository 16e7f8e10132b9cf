"""Folders and tables of images: what is read, in which order, how it is split, and what is refused."""

import io
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from naslab.data import decoding, folders
from naslab.data.folders import Pictures, from_arrays, read_folder, read_table
from tests.data.files import fill, picture


def test_a_folder_is_read_in_the_order_of_names(tmp_path):
    root = fill(tmp_path / "pets", ("dog", "cat", "Äffchen"))
    found = read_folder(root)
    assert found.name == "pets" and found.classes == ("cat", "dog", "Äffchen")
    assert found.x.shape == (12, 3, 5, 6) and found.x.dtype == np.uint8
    assert found.y.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert found.sources[5] == root / "dog" / "01.png" and not found.skipped and not found.duplicates
    assert (found.x[5] == np.asarray(picture(1)).transpose(2, 0, 1)).all()


def test_deeper_folders_belong_to_the_class_and_other_files_are_not_read(tmp_path):
    root = fill(tmp_path / "pets")
    (root / "cat" / "2024" / ".hidden").mkdir(parents=True)
    (root / ".cache").mkdir()
    picture(50).save(root / "cat" / "2024" / "a.PNG")
    picture(51).save(root / "cat" / "2024" / ".hidden" / "b.png")
    picture(52).save(root / "cat" / ".c.png")
    picture(53).convert("RGB").save(root / "cat" / "d.JPEG")
    (root / "cat" / "notes.txt").write_text("not an image")
    (root / "list.csv").write_text("path,label\n")
    names = [str(path.relative_to(root)) for path in read_folder(root).sources]
    assert names[:6] == [*(f"cat/{n:02}.png" for n in range(4)), "cat/2024/a.PNG", "cat/d.JPEG"]


def test_images_of_different_sizes_are_cut_around_their_centre_and_resized(tmp_path):
    root = fill(tmp_path / "pets")
    wide = Image.new("RGB", (30, 10), "red")
    wide.paste("blue", (10, 0, 20, 10))  # the central square
    wide.save(root / "cat" / "wide.png")
    found = read_folder(root)
    assert found.x.shape == (9, 3, 32, 32)
    assert (found.x[4][:, :, 4:-4] == np.array([0, 0, 255])[:, None, None]).all()  # the edges are blended
    assert read_folder(root, 8).x.shape == (9, 3, 8, 8) and read_folder(root, (8, 12)).x.shape == (9, 3, 8, 12)


def test_grey_images_have_one_channel_unless_another_has_colours(tmp_path):
    root = fill(tmp_path / "pets", mode="L")
    assert read_folder(root).x.shape[1] == 1 and read_folder(root, grey=False).x.shape[1] == 3
    picture(7).save(root / "dog" / "z.png")
    assert read_folder(root).x.shape[1] == 3 and read_folder(root, grey=True).x.shape[1] == 1


def modes():
    deep = np.full((4, 4), 0x80FF, np.uint16)
    clear = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    half = Image.new("LA", (4, 4), (0, 255))
    palette = Image.new("RGB", (4, 4), (1, 2, 3)).convert("P", palette=Image.Palette.ADAPTIVE)
    turned = Image.new("RGB", (4, 4), "black")
    turned.putpixel((0, 0), (255, 255, 255))
    return {
        "1": (Image.new("1", (4, 4), 1), [255]),
        "L": (Image.new("L", (4, 4), 9), [9]),
        "I;16": (Image.fromarray(deep), [0x80]),
        "LA": (half, [0]),
        "RGBA": (clear, [255, 255, 255]),
        "P": (palette, [1, 2, 3]),
    }


@pytest.mark.parametrize("mode", modes())
def test_every_mode_becomes_grey_or_colours(mode):
    image, expected = modes()[mode]
    file = io.BytesIO()
    image.save(file, "PNG")
    decoded = decoding.decoded(file.getvalue())
    assert decoded.mode == ("L" if len(expected) == 1 else "RGB")
    assert (np.asarray(decoded).reshape(-1, len(expected)) == expected).all()


def test_a_photograph_is_turned_as_its_camera_says():
    image, exif, file = Image.new("RGB", (8, 4), "black"), Image.Exif(), io.BytesIO()
    exif[0x0112] = 6  # turn by 90 degrees
    image.save(file, "JPEG", exif=exif)
    assert decoding.decoded(file.getvalue()).size == (4, 8)


def test_a_cmyk_photograph_becomes_colours():
    file = io.BytesIO()
    Image.new("CMYK", (4, 4)).save(file, "JPEG")
    assert decoding.decoded(file.getvalue()).mode == "RGB"


@pytest.fixture
def damaged(tmp_path):
    root = fill(tmp_path / "pets", size=(40, 40))
    whole = (root / "cat" / "00.png").read_bytes()
    (root / "cat" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "cat" / "empty.png").write_bytes(b"")
    (root / "dog" / "text.jpg").write_text("<html>404</html>")
    (root / "dog" / "flipped.png").write_bytes(whole[:40] + bytes([whole[40] ^ 255]) + whole[41:])
    (root / "dog" / "gone.png").symlink_to(root / "nowhere.png")
    return root


def test_files_that_cannot_be_read_are_named_or_skipped_on_request(damaged):
    with pytest.raises(
        ValueError, match=r"pets: 5 of 13 files cannot be read: .*cut.png \(.*pass skip_unreadable=True"
    ):
        read_folder(damaged)
    found = read_folder(damaged, skip_unreadable=True)
    reasons = {path.name: why for path, why in found.skipped.items()}
    assert set(reasons) == {"cut.png", "empty.png", "text.jpg", "flipped.png", "gone.png"} and len(found.sources) == 8
    assert reasons["empty.png"] == "the file is empty" and reasons["text.jpg"] == "neither PNG nor JPEG"
    assert reasons["gone.png"] == "there is no such file" and "truncated" in reasons["cut.png"]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=4))
def test_whatever_happens_to_a_file_it_is_read_or_unreadable(place, noise):
    file = io.BytesIO()
    picture(0, (20, 20)).save(file, ("PNG", "JPEG")[place % 2])
    raw = bytearray(file.getvalue())
    place %= len(raw)
    raw[place : place + len(noise)] = noise
    try:
        assert decoding.decoded(bytes(raw)).mode in ("L", "RGB")
    except decoding.Unreadable as error:
        assert str(error)


def test_a_bomb_is_unreadable(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    file = io.BytesIO()
    picture(0).save(file, "PNG")
    with pytest.raises(decoding.Unreadable, match="pixels"):
        decoding.decoded(file.getvalue())


def test_copies_count_once_and_must_agree(tmp_path):
    root = fill(tmp_path / "pets")
    shutil.copy(root / "cat" / "00.png", root / "cat" / "copy.png")
    found = read_folder(root)
    assert found.duplicates == {root / "cat" / "copy.png": root / "cat" / "00.png"} and len(found.sources) == 8
    shutil.copy(root / "cat" / "00.png", root / "dog" / "copy.png")
    with pytest.raises(
        ValueError, match=r"cat/00.png and .*dog/copy.png have the same bytes, but the classes 'cat' and 'dog'"
    ):
        read_folder(root)


def some(counts):
    y = np.repeat(np.arange(len(counts)), counts)
    x = np.arange(len(y), dtype=np.uint8).repeat(16).reshape(-1, 1, 4, 4)
    return Pictures("some", tuple("abcdefg"[: len(counts)]), x, y, tuple(map(Path, map(str, range(len(y))))), {}, {})


@given(
    st.lists(st.integers(3, 12), min_size=2, max_size=5), st.floats(0.01, 0.3), st.floats(0.01, 0.3), st.integers(0, 9)
)
@settings(max_examples=50, deadline=None)
def test_a_split_has_every_image_once_and_every_class_in_every_part(counts, valid, test, seed):
    sample = some(counts).split(valid, test, seed)
    task, places = sample.task, sample.places
    assert sorted(np.concatenate([*places.values()])) == list(range(sum(counts)))
    for split, fraction in (("train", None), ("valid", valid), ("test", test)):
        images = getattr(task, split)
        assert images.y.tolist() == np.repeat(np.arange(len(counts)), counts)[places[split]].tolist()
        of_class = np.bincount(images.y, minlength=len(counts))
        assert (of_class >= 1).all()
        if fraction:
            assert of_class.tolist() == [max(1, round(fraction * n)) for n in counts]
    mean = some(counts).x[places["train"]].mean()
    assert task.train.x.mean().abs() < 1e-5
    order = some(counts).x[places["test"]][:, 0, 0, 0] - mean
    assert (np.argsort(task.test.x[:, 0, 0, 0].numpy()) == np.argsort(order)).all()


def test_a_split_depends_on_the_seed_only_and_a_new_class_changes_no_other():
    places = [
        some(counts).split(seed=seed).places["test"].tolist()
        for counts, seed in (([9, 9], 0), ([9, 9], 0), ([9, 9], 1))
    ]
    assert places[0] == places[1] != places[2]
    more = some([9, 9, 9]).split(seed=0).places["test"]
    assert sorted(more[more < 18]) == sorted(places[0])


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"valid": 0}, "valid: got 0"),
        ({"test": 1.5}, "test: got 1.5"),
        ({"valid": 0.5, "test": 0.5}, "class 'b': got 8 images, which leave 0 for train"),
        ({"seed": -1}, "seed: got -1"),
    ],
)
def test_bad_splits(settings_, message):
    with pytest.raises(ValueError, match=message):
        some([9, 8]).split(**{"valid": 0.5, "test": 0.1} | settings_)


# --- groups that stay together


def fractions_of(pictures, sample):
    """(split, class) of the images of each class."""
    whole = np.bincount(pictures.y)
    return np.array([np.bincount(pictures.y[each], minlength=len(whole)) for each in sample.places.values()]) / whole


@st.composite
def grouped(draw, mixed):
    """Labels, groups in any order, and the smallest possible error of a class: its largest group."""
    classes = draw(st.integers(2, 4))
    kinds = st.lists(st.integers(0, classes - 1), min_size=1, max_size=4) if mixed else st.just(())
    sizes = draw(st.lists(st.tuples(st.integers(1, 9), kinds), min_size=3 * classes, max_size=40))
    of = [kind if mixed else (k % classes,) for k, (_, kind) in enumerate(sizes)]
    y = np.concatenate([np.resize(kind, size) for kind, (size, _) in zip(of, sizes, strict=True)])
    groups = np.repeat(draw(st.permutations(range(-5, len(sizes) - 5))), [size for size, _ in sizes])
    order = draw(st.randoms(use_true_random=False)).sample(range(len(y)), len(y))
    return y[order], groups[order]


def labelled(y):
    x = np.arange(len(y) * 16, dtype=np.float64).reshape(-1, 1, 4, 4)
    return Pictures("some", tuple("abcdefg"[: y.max() + 1]), x, y, tuple(range(len(y))), {}, {})


def check_groups(y, groups, sample):
    places = sample.places
    assert sorted(np.concatenate([*places.values()])) == list(range(len(y)))
    of_split = [{*groups[each].tolist()} for each in places.values()]
    assert sum(map(len, of_split)) == len({*groups.tolist()})
    for split, each in places.items():
        assert getattr(sample.task, split).y.tolist() == y[each].tolist()
        assert {*y[each].tolist()} == {*y.tolist()}


@given(grouped(mixed=False), st.floats(0.05, 0.3), st.floats(0.05, 0.3), st.integers(0, 9))
@settings(max_examples=100, deadline=None)
def test_groups_of_one_class_are_not_separated_and_the_fractions_are_met(labels, valid, test, seed):
    y, groups = labels
    sample = labelled(y).split(valid, test, seed, groups)
    check_groups(y, groups, sample)
    largest = np.array([max(np.bincount(groups[y == k] + 5)) / (y == k).sum() for k in range(y.max() + 1)])
    expected = np.array([[1 - valid - test], [valid], [test]])
    assert (np.abs(fractions_of(labelled(y), sample) - expected) <= 2 * largest).all()


@given(grouped(mixed=True), st.integers(0, 9))
@settings(max_examples=100, deadline=None)
def test_groups_of_several_classes_are_not_separated(labels, seed):
    y, groups = labels
    assume({*y.tolist()} == {*range(y.max() + 1)} and y.max() > 0)
    fewest = min(len({*groups[y == k].tolist()}) for k in range(y.max() + 1))
    try:
        sample = labelled(y).split(seed=seed, groups=groups)
    except ValueError as error:
        assert fewest < 6 and str(error).startswith("groups: got")
        return
    assert fewest >= 3
    check_groups(y, groups, sample)


def test_turned_images_stay_with_the_image_and_all_fractions_are_met():
    """The class is the turn, as in lessons that predict it: every group has every class once."""
    y, groups = np.tile(np.arange(4), 200), np.repeat(np.arange(200), 4)
    sample = labelled(y).split(0.2, 0.1, 3, groups)
    check_groups(y, groups, sample)
    expected = np.array([[0.7], [0.2], [0.1]])
    assert np.abs(fractions_of(labelled(y), sample) - expected).max() < 0.011


def test_a_class_of_few_groups_leaves_the_fractions_of_the_others():
    y = np.repeat([0, 1], [100, 12])
    groups = np.concatenate([np.arange(100), 100 + np.arange(12) // 4])
    found = fractions_of(labelled(y), labelled(y).split(groups=groups))
    assert found[:, 0].tolist() == [0.7, 0.15, 0.15] and found[:, 1] == pytest.approx([1 / 3] * 3)


def test_large_groups_go_where_they_fit():
    y = np.repeat([0, 1], [100, 100])
    groups = np.repeat(np.arange(12), [60, 10, 10, 10, 5, 5] * 2)
    for seed in range(5):
        found = labelled(y).split(0.15, 0.15, seed, groups)
        assert np.abs(fractions_of(labelled(y), found) - [[0.7], [0.15], [0.15]]).max() <= 0.1
        assert {0, 6} <= {*groups[found.places["train"]].tolist()}


def test_a_split_by_groups_depends_on_the_seed_and_the_groups_only():
    y, groups = np.arange(90) % 3, np.arange(90) // 3
    seeds = (0, 0, 1, 2**32, 2**32 + 1, 2**63 - 1)
    np.random.seed(0)
    places = [labelled(y).split(seed=seed, groups=groups).places["test"].tolist() for seed in seeds]
    assert places[0] == places[1] and len({*map(tuple, places)}) == 5
    again = labelled(y).split(groups=groups.tolist()).places["test"].tolist()
    many = labelled(y).split(groups=7 * groups.astype(np.uint64) + 2**63).places["test"].tolist()
    assert again == many == places[0]  # only which are equal counts, and their order
    other = replace(labelled(y), x=labelled(y).x[::-1] ** 2)
    assert other.split(groups=groups).places["test"].tolist() == places[0]
    with pytest.raises(ValueError, match="seed: got 9223372036854775808, expected an int of at least 0 and below"):
        labelled(y).split(seed=2**63, groups=groups)


@pytest.mark.parametrize(
    ("groups", "changes", "message"),
    [
        ([0, 1, 2], {}, r"groups: got int64 of shape \(3,\), expected whole numbers of shape \(18,\)"),
        (np.arange(18.0), {}, "groups: got float64 of shape"),
        (np.arange(18) > 3, {}, "groups: got bool of shape"),
        (["a"] * 18, {}, "groups: got <U1 of shape"),
        (np.zeros((18, 1), int), {}, r"groups: got int64 of shape \(18, 1\)"),
        (
            [0] * 3 + [1] * 3 + [2] * 3 + [3] * 4 + [4] * 5,
            {},
            "groups: got 2 for class 'b', expected at least 1 in each",
        ),
        (range(18), {"valid": 0.5, "test": 0.5}, "test: got 0.5, expected less than 0.5, so that train has images"),
    ],
)
def test_groups_that_are_refused(groups, changes, message):
    with pytest.raises(ValueError, match=message):
        some([9, 9]).split(**changes, groups=groups)


def test_a_split_without_a_class_is_named():
    """Class a needs groups 0, 1, 2 apart, so b puts 3 where 2 is, and c has two of its three groups in one split."""
    y, groups = np.array([0, 1, 0, 1, 0, 2, 1, 2, 2]), np.array([0, 0, 1, 1, 2, 2, 3, 3, 4])
    with pytest.raises(ValueError, match=r"groups: got too few: .* has no image of class '[abc]'"):
        labelled(y).split(groups=groups)


def test_arrays_are_taken_as_they_are_but_once():
    x = np.arange(6 * 16, dtype=np.float64).reshape(6, 1, 4, 4)
    x[4] = x[1]
    found = from_arrays("mine", ("a", "b"), x.tolist(), [0, 1, 0, 1, 1, 0])
    assert found.sources == (0, 1, 2, 3, 5) and found.duplicates == {4: 1} and not found.skipped
    assert (found.x == x[[0, 1, 2, 3, 5]]).all() and found.y.tolist() == [0, 1, 0, 1, 0]
    with pytest.raises(ValueError, match="images: 1 and 4 have the same bytes, but the classes 'b' and 'a'"):
        from_arrays("mine", ("a", "b"), x, [0, 1, 0, 1, 0, 0])
    with pytest.raises(ValueError, match="mine: got no readable image of class 'c'"):
        from_arrays("mine", ("a", "b", "c"), x, [0, 1, 0, 1, 1, 0])


def test_a_sample_says_how_its_images_come_from_the_pixels():
    """Also for a constant channel, and for numbers with an offset that float32 would lose."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (20, 3, 5, 4)).astype(np.float64)
    x[:, 1], x[:, 2] = 7, x[:, 2] + 1e9
    found = from_arrays("mine", ("a", "b"), x, np.arange(20) % 2)
    sample = found.split(seed=1)
    for split, places in sample.places.items():
        expected = (found.x[places] - sample.mean[:, None, None]) / sample.deviation[:, None, None]
        assert np.abs(getattr(sample.task, split).x.numpy() - expected).max() < 1e-5
    train = found.x[sample.places["train"]]
    assert sample.mean == pytest.approx(train.mean((0, 2, 3)), rel=1e-12) and sample.deviation[1] == 1


@pytest.mark.parametrize("kind", ["uint8", "float64"])
def test_a_sample_gives_back_the_pixels(kind):
    """Of every split, as a tensor or an array; a constant channel, too."""
    x = np.random.default_rng(0).integers(0, 256, (20, 3, 5, 4)).astype(kind)
    x[:, 1] = 7
    pictures = from_arrays("mine", ("a", "b"), x, np.arange(20) % 2)
    sample = pictures.split(seed=1)
    for split, places in sample.places.items():
        images = getattr(sample.task, split).x
        for each in (images, images.numpy(), images[:1], images[:0], images.clone().requires_grad_()):
            found = sample.pixels(each)
            assert found.dtype == np.float64 and found.shape == (len(each), 3, 5, 4)
            assert (found.round(4) == x[places[: len(each)]]).all()


def test_a_class_of_two_images_is_named():
    with pytest.raises(ValueError, match="class 'b': got 2 images, which leave 0 for train, expected at least 1"):
        some([9, 2]).split()


def test_folders_that_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"folder: got .*nowhere', expected a folder with one subfolder"):
        read_folder(tmp_path / "nowhere")
    (tmp_path / "one" / "cat").mkdir(parents=True)
    with pytest.raises(ValueError, match="one: got one subfolder, 'cat', expected at least two"):
        read_folder(tmp_path / "one")
    (tmp_path / "one" / "dog").mkdir()
    with pytest.raises(ValueError, match=r"cat: got no image, expected files that end in .png, .jpg, .jpeg"):
        read_folder(tmp_path / "one")
    for name in ("cat", "dog"):
        (tmp_path / "one" / name / "x.png").write_bytes(b"")
    with pytest.raises(ValueError, match="one: got no readable image of class 'cat'"):
        read_folder(tmp_path / "one", skip_unreadable=True)
    root = fill(tmp_path / "pets")
    for size, message in ((2, r"size \(height\): got 2"), ((8, 2000), r"size \(width\): got 2000"), ("8", "size")):
        with pytest.raises(ValueError, match=message):
            read_folder(root, size)


def test_more_than_memory_holds_is_refused_at_the_first_image(tmp_path, monkeypatch):
    root = fill(tmp_path / "pets")
    monkeypatch.setattr(folders, "MOST_PIXELS", 100)
    with pytest.raises(
        ValueError, match="pets: got 8 images of 5x6, 240 pixels; expected at most 100: pass a smaller size"
    ):
        read_folder(root)


def test_a_table_names_files_and_labels(tmp_path):
    root = fill(tmp_path / "pets")
    table = root / "mine.csv"
    table.write_text("file,kind\ndog/00.png,Hund\ncat/01.png,Katze\ncat/02.png,Katze\n", encoding="utf-8")
    found = read_table(table, path="file", label="kind")
    assert found.name == "mine" and found.classes == ("Hund", "Katze") and found.y.tolist() == [0, 1, 1]
    assert found.sources == (root / "dog" / "00.png", root / "cat" / "01.png", root / "cat" / "02.png")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "got columns 'a', 'b', expected 'path'"),
        ("path,label\nx.png,\n", "got no label in row 2"),
        ("path,label\nx.png,cat\n", "got the class 'cat' only"),
        ("path,label\n", "got no row"),
        ("", "expected a CSV file"),
        ("path,label\nx.png,cat\ny.png,dog\n", "x.png .there is no such file"),
    ],
)
def test_tables_that_are_refused(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / "t.csv")


@pytest.mark.skipif(os.name == "nt", reason="these names are allowed elsewhere")
def test_names_of_any_characters(tmp_path):
    root = fill(tmp_path / "日本 & co", ("ねこ", "犬 %20", "a'b"))
    assert read_folder(root).classes == ("a'b", "ねこ", "犬 %20")
