import collections
import hashlib
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from naslab import runs

PROFILES = {"quick": {"children": 2, "lr": 0.1}, "full": {"children": 5, "lr": 0.1}, "gpu": {"children": 9, "lr": 0.1}}
NAMES = {"profile": "quick", "seed": 0, "device": "cpu"}

CELLS = ["", "profile: str = 'quick'\nseed: int = 0\ndevice: str = 'cpu'\nlr: float = 0.0", "children = 3"]


def start(**names):
    return runs.start(NAMES | names, **PROFILES)


def test_the_profile_picks_the_numbers_and_a_parameter_overrides_them():
    run = start()
    assert (run.profile, run.seed, run.device, run.children, run.lr) == ("quick", 0, torch.device("cpu"), 2, 0.1)
    assert start(profile="full").children == 5
    assert start(profile="full", children=7).children == 7
    assert start(children=0).children == 2
    assert start(lr=1).lr == 1  # an int is a float


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"profile": "fast"}, "profile: got 'fast', expected one of quick, full, gpu"),
        ({"profile": "gpu"}, "profile: got 'gpu' on device 'cpu', expected a CUDA device"),
        ({"seed": -1}, "seed: got -1, expected an int of at least 0"),
        ({"seed": "1"}, "seed: got '1'"),
        ({"seed": 99999999999999999999}, "seed: got 99999999999999999999, expected an int of at least 0 and below 92"),
        ({"seed": 2**63}, "seed: got 9223372036854775808, expected an int"),
        ({"profile": np.zeros(2)}, "profile: got array"),
        ({"device": None}, "device: got None, expected auto"),
        ({"device": 3}, "device: got 3, expected auto"),
        ({"In": 3}, "In: got 3, expected IPython's list of cells"),
        ({"In": [None]}, r"In: got \[None\], expected"),
        ({"lr": float("nan")}, "lr: got nan, expected a number above 0"),
        ({"children": 10**400}, "children: got 1000"),
        ({"device": "tpu9"}, "device: got 'tpu9', expected auto, cpu"),
        ({"device": "meta"}, "device: got 'meta', which this machine does not have"),
        ({"children": "3"}, "children: got '3', expected int such as 2"),
        ({"children": True}, "children: got True, expected int"),
        ({"children": -1}, "children: got -1, expected a number above 0"),
        ({"children": None}, "children: got None, expected int"),
        (
            {"In": [*CELLS, "# Parameters\nprofile = 'quick'\nchildern = 3\n"]},
            "got unknown childern; this notebook",
        ),
    ],
)
def test_bad_parameters_say_what_got_and_allowed(names, message):
    with pytest.raises(ValueError, match=message):
        start(**names)


@pytest.mark.parametrize("source", ["\0", "(" * 5000, "-" * 100_000 + "1", "x = " + "[" * 100_000, "\ud800"])
def test_a_cell_that_cannot_be_parsed_assigns_nothing(source):
    assert start(In=[*CELLS, source]).children == 2


def test_a_number_below_its_bound_is_refused_at_the_start_whoever_gave_it():
    least = {"children": 3, "lr": 0.1}
    for names in ({}, {"profile": "full", "children": 2}):  # the profile; the parameters cell
        with pytest.raises(ValueError, match="children: got 2, expected at least 3"):
            runs.start(NAMES | names, **PROFILES, least=least)
    assert runs.start(NAMES | {"children": 3}, **PROFILES, least=least).children == 3
    with pytest.raises(ValueError, match="least: got epochs, expected names of the profiles: children, lr"):
        runs.start(NAMES, **PROFILES, least={"epochs": 1})


def test_quick_has_one_thread_and_the_other_profiles_leave_them_alone(monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    start(profile="full")
    assert asked == []
    start(profile="quick")
    assert asked == [1]


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, None, True])
def test_a_seed_that_no_generator_takes_is_refused(seed):
    with pytest.raises(ValueError, match=r"seed: got .*, expected an int of at least 0"), runs.seeded(seed):
        pass
    with runs.seeded(2**63 - 1):
        pass


def test_numpy_numbers_are_parameters():
    run = start(seed=np.int64(3), children=np.int32(4), lr=np.float64(0.5))
    assert (run.seed, run.children, run.lr) == (3, 4, 0.5) and type(run.seed) is type(run.children) is int


def test_names_from_ordinary_cells_are_no_parameters():
    start(In=[*CELLS, "import torch\nresult = 3", "# Parameters\nseed = 4\n", "%magic"], result=3)


def test_a_later_variable_with_a_profile_s_name_changes_nothing():
    assert start(In=CELLS, children=3, lr=0.5).children == 2
    assert start(In=CELLS, children=3, lr=0.5).lr == 0.5


def test_only_what_the_parameters_cell_declares_can_be_given():
    with pytest.raises(ValueError, match="unknown children; this notebook has profile, seed, device, lr"):
        start(In=[*CELLS, "# Parameters\nchildren = 4\n"], children=4)


def test_without_its_parameters_the_message_says_what_is_missing():
    with pytest.raises(ValueError, match="got no profile, seed, device; expected profile, seed, device"):
        runs.start({}, **PROFILES)


def test_profiles_must_have_the_same_names():
    with pytest.raises(ValueError, match="profiles: got different names"):
        runs.start(NAMES, quick={"a": 1}, full={"a": 1}, gpu={"b": 1})


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_auto_is_the_cpu_without_cuda():
    assert runs.device() == torch.device("cpu")
    with pytest.raises(ValueError, match="device: got 'cuda', which this machine does not have"):
        runs.device("cuda")


def test_seeded_repeats_and_leaves_the_outside_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with runs.seeded(5):
        first = torch.rand(2)
    assert torch.equal(torch.rand(3), expected)
    with runs.seeded(5):
        assert torch.equal(torch.rand(2), first)


def test_save_and_load_round_trip(tmp_path):
    content = {"tokens": (1, 2), "reward": 0.5, "w": torch.arange(3), "nested": {"list": [(1, 2.0), None, "x"]}}
    runs.save(tmp_path / "deep" / "file.pt", content)
    back = runs.load(tmp_path / "deep" / "file.pt")
    assert torch.equal(back.pop("w"), content.pop("w")) and back == content
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["file.pt"]


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def signed(archive):
    """A file of the right format around any content."""
    return f"{runs.FORMAT} {hashlib.sha256(archive).hexdigest()}\n".encode() + archive


def archive(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


FOREIGN = {
    "empty": b"",
    "text": b"not a checkpoint",
    "pickle": pickle.dumps(Evil()),
    "archive": archive(Evil()),
    "naslab-1": archive({"format": "naslab-1", "content": {"a": 1}}),
    "signed text": signed(b"not an archive"),
    "signed pickle": signed(pickle.dumps(Evil())),
    "signed archive": signed(archive(Evil())),
    "signed list": signed(archive([1, 2])),
    "another format": signed(archive({"a": 1})).replace(b"naslab-2", b"naslab-3", 1),
    "header only": signed(b"")[:-1],
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_files_are_refused_and_never_executed(name, tmp_path, capsys):
    (tmp_path / "f.pt").write_bytes(FOREIGN[name])
    with pytest.raises(ValueError, match=r"f\.pt: (damaged or not a naslab file|got a .*, expected)"):
        runs.load(tmp_path / "f.pt")
    assert capsys.readouterr().out == ""
    runs.save(tmp_path / "f.pt", {"a": 2})
    assert runs.load(tmp_path / "f.pt") == {"a": 2}


def test_a_file_of_the_older_format_says_so(tmp_path):
    (tmp_path / "f.pt").write_bytes(FOREIGN["naslab-1"])
    with pytest.raises(ValueError, match=r"f\.pt: got a torch.save archive, such as an older naslab's.*naslab-2"):
        runs.load(tmp_path / "f.pt")


def test_every_flipped_bit_is_refused_and_can_be_saved_over(tmp_path):
    """Of a whole file, header included. Saving is tried over every flip of the header, then over every 97th."""
    path, previous = tmp_path / "f.pt", tmp_path / "f.pt.previous"
    runs.save(path, {"index": 3})
    runs.save(path, {"index": 4, "w": torch.arange(5.0), "generator": torch.Generator().get_state()[:64].clone()})
    good, before = path.read_bytes(), previous.read_bytes()
    assert 1000 < len(good) < 4000
    header = good.index(b"\n") + 1
    for bit in range(8 * len(good)):
        content = bytearray(good)
        content[bit // 8] ^= 1 << bit % 8
        with path.open("r+b") as file:  # emptying the file first would take 1 to 2 ms on some disks
            file.write(content)
            file.truncate()
        with pytest.raises(ValueError, match=r"f\.pt: damaged or not a naslab file; .* before it is f\.pt\.previous"):
            runs.load(path)
        if bit < 8 * header or bit % 97 == 0:
            runs.save(path, {"index": 5})
            assert runs.load(path) == {"index": 5} and previous.read_bytes() == before


def test_a_folder_in_the_place_of_the_file_is_an_os_error(tmp_path):
    (tmp_path / "f.pt").mkdir()
    with pytest.raises(OSError):
        runs.save(tmp_path / "f.pt", {"a": 1})


def test_numpy_numbers_are_saved_as_python_s(tmp_path):
    content = {np.int64(2): [np.float64(0.5), (np.float32(0.25), np.bool_(True))], "n": np.uint8(7)}
    runs.save(tmp_path / "f.pt", content)
    back = runs.load(tmp_path / "f.pt")
    assert back == {2: [0.5, (0.25, True)], "n": 7}
    assert [*map(type, (back[2][0], back[2][1][0], back[2][1][1], back["n"]))] == [float, float, bool, int]


@pytest.mark.parametrize(
    "value", [np.zeros(3), {1, 2}, b"x", 1j, Evil(), lambda: 1, collections.deque(), np.longdouble(1), Path("x")]
)
def test_what_could_not_be_loaded_is_not_saved(value, tmp_path):
    runs.save(tmp_path / "f.pt", {"a": 1})
    with pytest.raises(ValueError, match=r"state\.seen\.1: got .* of type \w+, expected plain values and tensors"):
        runs.save(tmp_path / "f.pt", {"state": {"seen": [0, value]}})
    assert runs.load(tmp_path / "f.pt") == {"a": 1} and len([*tmp_path.iterdir()]) == 1


@pytest.mark.parametrize("place", [0.3, 0.5, 0.7])
def test_damage_inside_a_file_is_seen_and_does_not_push_out_the_good_one(place, tmp_path):
    path = tmp_path / "f.pt"
    runs.save(path, {"w": torch.zeros(10_000)})
    runs.save(path, {"w": torch.ones(10_000)})
    content = bytearray(path.read_bytes())
    middle = int(len(content) * place)
    content[middle : middle + 50] = bytes(b ^ 255 for b in content[middle : middle + 50])
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"f\.pt: damaged .* before it is f\.pt\.previous"):
        runs.load(path)
    runs.save(path, {"w": torch.ones(1)})
    assert runs.load(tmp_path / "f.pt.previous")["w"].sum() == 0


@given(cut=st.integers(0, 10_000), flip=st.booleans())
def test_any_truncation_or_garbage_is_a_value_error(tmp_path_factory, cut, flip):
    path = tmp_path_factory.mktemp("f") / "f.pt"
    runs.save(path, {"w": torch.zeros(100)})
    content = path.read_bytes()
    cut %= len(content)
    path.write_bytes(b"\x80" + content[:cut] if flip else content[:cut])
    with pytest.raises(ValueError, match="damaged"):
        runs.load(path)


def test_a_missing_file_is_a_file_not_found_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        runs.load(tmp_path / "none.pt")


def test_spawned_seeds_share_nothing_between_seeds_and_go_on():
    many = [seed for s in range(50) for seed in runs.spawn(s, 50)]
    assert len(set(many)) == 2500 and all(0 <= seed < 2**63 for seed in many)
    assert runs.spawn(7, 3) == runs.spawn(7, 5)[:3]
    assert not {*runs.spawn(runs.spawn(0, 1)[0], 20)} & {*many}
    draws = torch.stack([torch.rand(1000, generator=torch.Generator().manual_seed(s)) for s in runs.spawn(0, 40)])
    correlations = draws.corrcoef()[torch.triu_indices(40, 40, 1).unbind()]
    assert correlations.abs().max() < 5 / 1000**0.5


@pytest.mark.parametrize(("seed", "n"), [(-1, 2), (0, -1), ("0", 2), (0, 1.5)])
def test_spawn_refuses_what_is_no_number_of_seeds(seed, n):
    with pytest.raises(ValueError, match="expected an int of at least 0"):
        runs.spawn(seed, n)
