import pickle

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


def test_a_failed_save_keeps_what_was_there(tmp_path):
    runs.save(tmp_path / "file.pt", {"a": 1})
    with pytest.raises(Exception, match=r"pickle|local"):
        runs.save(tmp_path / "file.pt", {"a": lambda: 1})
    assert runs.load(tmp_path / "file.pt") == {"a": 1}


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize(
    "write",
    [
        lambda p: p.write_bytes(b""),
        lambda p: p.write_bytes(b"not a checkpoint"),
        lambda p: p.write_bytes(pickle.dumps(Evil())),
        lambda p: torch.save(Evil(), p),
        lambda p: torch.save({"format": "other", "content": {}}, p),
        lambda p: torch.save([1, 2], p),
        lambda p: torch.save({"format": runs.FORMAT, "content": 3}, p),
    ],
)
def test_foreign_files_are_refused_and_never_executed(write, tmp_path, capsys):
    write(tmp_path / "f.pt")
    with pytest.raises(ValueError, match=r"f\.pt: (damaged or not a naslab file|got format)"):
        runs.load(tmp_path / "f.pt")
    assert capsys.readouterr().out == ""


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
