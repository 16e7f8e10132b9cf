"""The tools that run the lessons: what fails, what only warns, what they measure, and how measurements are shown."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import course_table
import nbformat
import psutil
import pytest
import run_notebooks
import seeds
import watch
from run_notebooks import Budget, Outcome
from tiny_course import course, tool
from twice import original, twice

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

linux = pytest.mark.skipif(not watch.LINUX, reason="elsewhere memory is the sum of rss")


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_papermill_runs_every_cell_of_the_lesson_twice(path: Path, measured: Callable[[Outcome], None]) -> None:
    """Both times with the committed outputs, by nbval's comparison. Within twice the CPU seconds and 1.25 times the
    memory of one run, where CI asks for it. It also sets a factor that a busy machine does not reach."""
    budget = run_notebooks.budget("quick", 2 * float(os.environ.get("TIME_FACTOR", "1")), lesson=path.stem)
    budget = replace(budget, megabytes=1.25 * (budget.megabytes or 0))
    doubled, out = twice(path, ROOT / "build" / "twice"), ROOT / "build" / "twice" / "run"
    outcome = run_notebooks.run(
        doubled, out, {"profile": "quick"}, budget, strict="CI" in os.environ, folder=path.parent
    )
    measured(outcome)
    assert outcome.failure is None, original(outcome.failure, path)
    command = [sys.executable, "-m", "pytest", "-q", f"--executed={out}", str(doubled)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS[:1], ids=lambda path: path.stem)
def test_an_unknown_parameter_is_an_error(path: Path, tmp_path: Path) -> None:
    outcome = run_notebooks.run(path, tmp_path, {"profile": "quick", "sed": "3"})
    assert outcome.failure is not None
    assert "ValueError" in outcome.failure and "sed" in outcome.failure


# --- what fails


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    root = tmp_path_factory.mktemp("mixed")
    course(
        root / "notebooks",
        a_ok=["x = 1", "print(x)"],
        b_fails=["x = 1", "def f():\n    raise ValueError('no such op')\nf()", "print('never')"],
        c_dies=["import os, signal", "os.kill(os.getpid(), signal.SIGKILL)"],
        d_leaves=["print(1)", "import sys; sys.exit()", "print(2)"],
        e_ok=[
            "assert profile == 'quick'",
            "import os; print(os.environ['OMP_NUM_THREADS'], os.path.basename(os.getcwd()))",
        ],
    )
    return tool("run_notebooks.py", "--folder", root / "notebooks", "--out", root / "build"), root


@pytest.mark.slow
def test_one_failure_does_not_stop_the_others(mixed: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    done, root = mixed
    assert done.returncode == 1
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert rows["a_ok"].endswith(" ok") and rows["e_ok"].endswith(" ok")
    assert rows["b_fails"].endswith("code cell 2: ValueError: no such op")
    assert "code cell 2: " in rows["c_dies"] and "DeadKernelError" in rows["c_dies"] and "138" in rows["c_dies"]
    assert "code cell 2: SystemExit" in rows["d_leaves"]
    report = json.loads((root / "build" / "report.json").read_text(encoding="utf-8"))
    assert [bool(entry["failure"]) for entry in report] == [False, True, True, True, False]
    assert all(entry["seconds"] > 0.5 and 50 < entry["peak_mb"] < 1000 for entry in report)
    assert all(0.2 < entry["cpu_seconds"] < 20 and 100 < entry["torch_mb"] < 1500 for entry in report)
    assert "1 notebooks" in str(nbformat.read(root / "build" / "e_ok.ipynb", as_version=4).cells[-1].outputs)
    assert not list((root / "notebooks").glob("*.log"))


@pytest.mark.slow
def test_two_jobs_run_side_by_side_and_are_listed_in_order(tmp_path: Path) -> None:
    meet = "open({!r}, 'w').close()\nimport os, time\n"
    meet += "for _ in range(300): time.sleep(0.1 * (not os.path.exists({!r})))\nassert os.path.exists({!r})"
    a, b = meet.format("a", "b", "b"), meet.format("b", "a", "a")
    course(tmp_path / "notebooks", a=[a, "import time; time.sleep(2)"], b=[b], c=["raise ValueError('no such op')"])
    done = tool("run_notebooks.py", "--folder", tmp_path / "notebooks", "--out", tmp_path / "build", "--jobs", "2")
    assert [line.split()[0] for line in done.stdout.splitlines()[:4]] == ["notebook", "a", "b", "c"], done.stdout
    assert [line.split()[-1] for line in done.stdout.splitlines()[1:4]] == ["ok", "ok", "op"]
    assert done.returncode == 1


def ended(pid: int, seconds: float = 10) -> bool:
    """Whether the process ends soon: a busy machine is slow to carry out a kill."""
    end = time.monotonic() + seconds
    with suppress(psutil.NoSuchProcess):
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
    return True


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT to one process")
@pytest.mark.parametrize("script", ["run_notebooks.py", "seeds.py"])
def test_an_interrupt_ends_the_notebooks_that_run_and_begins_no_other(tmp_path: Path, script: str) -> None:
    hang = "import os, time\nopen(f'{name}.part', 'w').write(str(os.getpid()))\nos.rename(f'{name}.part', name)\n"
    sources = {name: [f"name = {name!r}\n{hang}time.sleep(60)"] for name in "abc"}
    folder = course(tmp_path / "notebooks", **sources)
    arguments = ["--folder", folder, "--out", tmp_path / "build", "--jobs", "2"]
    arguments += ["--seeds", "0"] if script == "seeds.py" else []
    process = subprocess.Popen([sys.executable, ROOT / "tools" / script, *arguments], start_new_session=True)
    try:
        for name in "ab":
            while not (folder / name).exists():
                assert process.poll() is None
                time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    finally:
        process.kill()
        process.wait()
    assert all(ended(int((folder / name).read_text())) for name in "ab")
    assert not list((tmp_path / "build").rglob("c.log"))


@pytest.mark.parametrize("arguments", [["--jobs", "0"], ["--jobs", "2", "--record"]])
def test_side_by_side_is_refused_where_it_cannot_be(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run_notebooks.main(["--folder", str(course(tmp_path / "notebooks", a=[])), *arguments])
    assert f"--jobs: got {arguments[1]}, allowed is" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--hang", "--time-factor"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf"])
def test_what_is_no_positive_number_is_refused(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_notebooks.main([f"{option}={value}"])
    assert f"{option}: got {value}, expected a positive number" in capsys.readouterr().err


def test_only_picks_a_notebook_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    folder = course(tmp_path / "notebooks", **{"00_start": [], "01_next": [], "03_last": []})
    assert [path.stem for path in run_notebooks.notebooks(folder, "03")] == ["03_last"]
    assert len(run_notebooks.notebooks(folder)) == 3
    with pytest.raises(ValueError, match="starts with '04'"):
        run_notebooks.notebooks(folder, "04")


def test_an_error_without_words_shows_its_line() -> None:
    red, plain = "\x1b[0;31m", "\x1b[0m"
    frame = f"{red}---->{plain} 2 {red}assert{plain} x {red}>{plain} 1\n      3 y = 2"
    error = {"output_type": "error", "ename": "AssertionError", "evalue": "", "traceback": ["Traceback", frame]}
    cell = {"cell_type": "code", "metadata": {}, "outputs": [error]}
    assert run_notebooks.errors([cell]) == ["code cell 1: AssertionError: assert x > 1"]
    error["evalue"] = "x is 1\nnot more"
    assert run_notebooks.errors([cell]) == ["code cell 1: AssertionError: x is 1"]


# --- budgets and hangs

BURN = "import time\nend = time.process_time() + {}\nwhile time.process_time() < end: pass"


@contextmanager
def busy(n: int) -> Iterator[None]:
    """Beside `n` processes that burn a core each."""
    burners = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(n)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget of 2.5 CPU seconds, of which starting papermill and a kernel takes most."""
    monkeypatch.setitem(run_notebooks.BUDGETS, "quick", Budget(cpu_seconds=2.5, hang=600))
    monkeypatch.setenv("TIME_FACTOR", "1")  # whatever CI allows


@pytest.mark.slow
def test_a_budget_warns_and_fails_only_where_asked(
    tmp_path: Path, small: None, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = course(tmp_path / "notebooks", slow=[BURN.format(3)])
    arguments = ["--folder", str(folder), "--out", str(tmp_path / "build")]
    with busy(2):
        assert run_notebooks.main(arguments) == 0
    text = capsys.readouterr().out
    assert re.search(r"warning: took \d+ CPU seconds, more than 2\.5$", text, re.M) and "TIME_FACTOR=2" in text
    for asked in ("--strict", "--record"):
        assert run_notebooks.main([*arguments, asked]) == 1
        assert re.search(r"  took \d+ CPU seconds, more than 2\.5$", capsys.readouterr().out, re.M)
    assert run_notebooks.main([*arguments, "--strict", "--time-factor", "10"]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("  ok")


def test_the_factor_is_of_cpu_seconds_alone_and_what_takes_days_does_not_hang() -> None:
    quick = run_notebooks.BUDGETS["quick"]
    assert run_notebooks.budget("quick", 4) == replace(quick, cpu_seconds=600)
    assert run_notebooks.budget("quick", hang=60) == replace(quick, hang=60)
    assert run_notebooks.budget("gpu", 4) == Budget()
    assert run_notebooks.budget("quick", lesson="11_scaling_out") == replace(quick, megabytes=1270)
    assert run_notebooks.budget("full", lesson="11_scaling_out") == run_notebooks.budget("full")


@pytest.mark.slow
def test_what_hangs_is_stopped_with_its_children(tmp_path: Path) -> None:
    sleeper = "import subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    sleeper += "\nopen('child', 'w').write(str(child.pid))"
    pauses = ["import time; time.sleep(8)"] * 3  # together longer than the limit
    path = course(tmp_path / "c", slow=[*pauses, sleeper, "child.wait()"]) / "slow.ipynb"
    outcome = run_notebooks.run(path, tmp_path / "out", {}, Budget(hang=20))
    assert outcome.failure == "stopped in code cell 5: no cell finished for 20 s"
    assert 44 <= outcome.seconds < 300 and outcome.cpu_seconds < 30
    assert ended(int((tmp_path / "c" / "child").read_text()))


# --- CPU seconds


def cost(script: str) -> watch.Cost:
    process = subprocess.Popen([sys.executable, "-S", "-c", script])
    found = watch.watch(process)
    assert process.returncode == 0
    return found


SPAWN = "import os, subprocess, sys, time\ndef burn(s): return subprocess.Popen([sys.executable, '-S', '-c', s])\n"
LIVING = SPAWN + f"child = burn({BURN.format(1)!r} + '\\ntime.sleep(1)')\n{BURN.format(1)}\nchild.wait()"
ENDED = SPAWN + f"for _ in range(10): burn({BURN.format(0.2)!r}).wait()\ntime.sleep(1)"  # shorter than a look
INNER = f"import subprocess, sys, time\ncommand = [sys.executable, '-S', '-c', {BURN.format(2)!r}]\n"
INNER += "subprocess.Popen(command, pass_fds=[int(sys.argv[1])])\ntime.sleep(1)"  # ends before its child
ORPHANED = f"import os, subprocess, sys\nr, w = os.pipe()\ncommand = [sys.executable, '-S', '-c', {INNER!r}, str(w)]\n"
ORPHANED += "subprocess.Popen(command, pass_fds=[w]).wait()\nos.close(w)\nos.read(r, 1)"  # until the orphan has ended
UNWAITED = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n" + SPAWN
UNWAITED += f"for _ in range(2): burn({BURN.format(1.1)!r} + '\\ntime.sleep(2)').wait(); time.sleep(2)"
# The system throws away what these two took, so each must be looked at between its work and its end, and once after.


@pytest.mark.slow
@pytest.mark.parametrize(
    "script", [LIVING, ENDED, pytest.param(ORPHANED, marks=linux), pytest.param(UNWAITED, marks=linux)]
)
def test_cpu_seconds_are_those_of_the_whole_tree(script: str) -> None:
    assert 1.6 < cost(script).cpu_seconds < 3


@linux
def test_cpu_seconds_stay_where_a_process_ends_during_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parent was read before it waited, itself not any more: the next look has its time again."""

    def seen(cpu: float, *children: int) -> watch.Look:
        return watch.Look(0, cpu, 0, 0, 0, 0, False, list(children))

    tree = watch.Tree(1)
    total = []
    for state in ({1: seen(1, 2), 2: seen(5)}, {1: seen(1)}, {1: seen(6.5)}, {1: seen(7)}):
        monkeypatch.setattr(watch, "look", state.get)
        tree.look()
        total.append(tree.cpu_seconds)
    assert total == [6, 6, 6.5, 7]
    for state in ({1: seen(7, 3), 3: seen(4)}, {1: seen(7)}, {1: seen(7.5)}, {1: seen(8)}):  # 3 is never waited for
        monkeypatch.setattr(watch, "look", state.get)
        tree.look()
    assert tree.cpu_seconds == pytest.approx(11.5)  # 12 but for half a second in the look that noticed


# --- memory


def naive_memory(processes: list[psutil.Process]) -> int:
    """What `watch` measures, by psutil and smaps_rollup of every process; 0 if one of them ended meanwhile."""
    own, files = 0, 0
    with suppress(psutil.Error, OSError, KeyError):
        for process in processes:
            text = "".join(Path(f"/proc/{process.pid}/{name}").read_text() for name in ("smaps_rollup", "status"))
            found = {name: 1024 * int(kb) for name, kb in re.findall(r"^(Pss_\w+|RssFile):\s+(\d+) kB", text, re.M)}
            own += found["Pss_Anon"] + found["Pss_Shmem"]
            files = max(files, found["RssFile"])
        if all(process.memory_info().rss for process in processes):
            return own + files
    return 0


def both_ways(script: str) -> tuple[watch.Cost, float, int]:
    """The cost by `watch`, the share of a core that watching took, and the peak by a look 20 times a second."""
    process = psutil.Popen([sys.executable, "-S", "-c", script])
    peak, over = 0, threading.Event()

    def naive() -> None:
        nonlocal peak
        before: list[psutil.Process] = []
        while not over.wait(0.05):
            family = [process]
            with suppress(psutil.Error):
                family += process.children(recursive=True)
            peak = max(peak, naive_memory([member for member in family if member in before]))
            before = family

    thread = threading.Thread(target=naive)
    thread.start()
    try:
        began = time.thread_time()
        found = watch.watch(process)
        share = (time.thread_time() - began) / found.seconds
    finally:
        over.set()
        thread.join()
    assert process.returncode == 0
    return found, share, peak


THREADS = "import os, subprocess, sys, threading, time\n"
THREADS += "for _ in range(20): threading.Thread(target=time.sleep, args=(5,)).start()\n"  # as a kernel has
FREES = (
    THREADS
    + "time.sleep(1)\nfor n in (100, 300, 200):\n    x = b'x' * (n * 10**6); time.sleep(0.6); del x; time.sleep(0.4)"
)
SPAWNS = THREADS + "x = b'x' * 10**8\nchild = 'import time; x = b\"x\" * (2 * 10**8); time.sleep(1.5)'\n"
SPAWNS += "for c in [subprocess.Popen([sys.executable, '-S', '-c', child]) for _ in range(2)]: c.wait()"
FORKS = "import os, time\nx = bytearray(b'x' * 2 * 10**8)\ntime.sleep(0.6)\nos.fork()\nchild = os.fork() == 0\n"
FORKS += "time.sleep(1)\nfor i in range(0, len(x) // 2 * child, 4096): x[i] = 1\ntime.sleep(2)\nos._exit(0)"
SHARES = "import mmap, os, time\nx = mmap.mmap(-1, 2 * 10**8)\nos.fork()\nfor i in range(0, len(x), 4096): x[i] = 1\n"
SHARES += "time.sleep(2)"


@linux
@pytest.mark.slow
@pytest.mark.parametrize("script", [FREES, SPAWNS, FORKS, SHARES], ids=["frees", "spawns", "forks", "shares"])
def test_a_cheap_watch_sees_the_peak_of_one_that_looks_all_the_time(script: str) -> None:
    found, share, peak = both_ways(script)
    assert 200e6 < peak < 600e6
    assert found.peak == pytest.approx(peak, abs=5e6)
    assert share < 0.02


@linux
def test_a_peak_between_two_looks_counts() -> None:
    script = "import time; time.sleep(0.6); x = b'x' * (3 * 10**8); del x; time.sleep(0.6)"
    assert 300e6 < cost(script).peak < 330e6


def test_the_build_of_torch_is_subtracted_in_every_process_that_imports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for peak, own, expected in ((229.0, 151.0, 229.0), (527.0, 310.0, 527.0 + 2 * (310 - run_notebooks.CPU_BUILD))):
        monkeypatch.setattr(run_notebooks, "torch_import", lambda peak=peak, own=own: (peak, own))
        owns = [
            int(1e6 * each) for each in (own + 400, own + 20, own + 30, 12, 60)
        ]  # a kernel, two workers, two others
        assert run_notebooks.torch_of(owns) == expected
        assert run_notebooks.torch_of(owns[:1]) == run_notebooks.torch_of([]) == peak


@linux
def test_the_memory_of_each_process_at_the_peak_is_kept() -> None:
    child = "import time; x = b'x' * (10**8); time.sleep(1)"
    script = f"import subprocess, sys; x = b'x' * (3 * 10**8); subprocess.run([sys.executable, '-c', {child!r}])"
    owns = sorted(cost(script).owns)
    assert len(owns) == 2 and 100e6 < owns[0] < 130e6 and 300e6 < owns[1] < 330e6


@pytest.mark.slow
def test_memory_of_the_kernel_and_its_children_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_notebooks, "torch_megabytes", lambda: 229.0)  # whatever build is installed
    child = "import time; x = bytearray(300_000_000); time.sleep(1)"
    child = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])"
    path = course(tmp_path / "c", big=[child]) / "big.ipynb"
    outcome = run_notebooks.run(path, tmp_path / "out", {}, Budget(megabytes=100))
    assert 330 < outcome.peak_mb < 700
    beyond = round(outcome.peak_mb - outcome.torch_mb)
    assert outcome.failure is None and outcome.warning == f"needs {beyond} MB beyond torch, more than 100"


@linux
def test_memory_is_the_same_beside_others_and_counts_what_processes_share_once(tmp_path: Path) -> None:
    path = tmp_path / "library.so"
    path.write_bytes(b"x" * 100_000_000)
    script = "import mmap, os, sys; file = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 0, prot=mmap.PROT_READ)"
    script += "; file.find(b'y'); own = b'x' * 200_000_000; child = os.fork(); child or file.find(b'y')"
    script += "; os.write(1, b'%d\\n' % child); sys.stdin.read()"
    with ExitStack() as stack:

        def start() -> int:
            pipe = subprocess.PIPE
            process = subprocess.Popen([sys.executable, "-S", "-c", script, path], stdin=pipe, stdout=pipe, text=True)
            stack.callback(process.communicate)
            assert process.stdout is not None
            assert max(int(process.stdout.readline()) for _ in range(2)) > 0
            return process.pid

        def peak() -> int:
            tree = watch.Tree(root)
            for _ in range(3):
                tree.look()
            return tree.peak

        root = start()
        alone = peak()
        assert 300e6 < alone < 330e6
        start()
        assert peak() == pytest.approx(alone, abs=1e6)


@linux
def test_a_fork_counts_when_it_is_seen_twice_and_a_new_program_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its fork and its exec a process shows the memory of its parent, in smaps_rollup too."""
    monkeypatch.setattr(watch, "proportional", lambda pid, known: known.own)

    def seen(own: int, forked: bool, *children: int) -> watch.Look:
        return watch.Look(0, 0, own, 0, 0, own, forked, list(children))

    tree, peaks = watch.Tree(1), []
    for state in ({1: seen(400, False, 2), 2: seen(400, True)}, {1: seen(400, False, 2), 2: seen(400, True)}):
        monkeypatch.setattr(watch, "look", state.get)
        tree.look()
        peaks.append(tree.peak)
    new = {1: seen(400, False, 2, 3), 2: seen(400, True), 3: seen(50, False)}
    monkeypatch.setattr(watch, "look", new.get)
    tree.look()
    assert [*peaks, tree.peak] == [400, 800, 850]


@pytest.mark.slow
def test_elsewhere_than_on_linux_the_tree_is_measured_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LINUX", False)
    found = cost(LIVING + "\nx = b'x' * 10**8; time.sleep(0.6)")
    assert 1.6 < found.cpu_seconds < 3 and 100e6 < found.peak < 200e6


# --- seeds


def test_seeds_are_read_and_others_refused() -> None:
    assert seeds.parse("0-3") == [0, 1, 2, 3] and seeds.parse("7") == [7]
    assert seeds.parse("4, 0-2,1-3") == [4, 0, 1, 2, 3]
    for wrong in ("", "a", "3-1", "0-", "-1", "1.5", "1,,2", "0..9", "0-99999999999"):
        with pytest.raises(ValueError, match=re.escape(f"SEEDS: got {wrong!r}, expected numbers and rising ranges")):
            seeds.parse(wrong)


@pytest.mark.slow
def test_failed_assertions_are_listed_by_lesson_seed_and_cell(tmp_path: Path) -> None:
    crash = "if seed == 2: raise RuntimeError('no gradient')"
    sources = {"a": ["assert seed != 1, 'seed is 1'", "assert seed < 1", crash, "print('end')"], "b": ["print(seed)"]}
    folder = course(tmp_path / "notebooks", **sources)
    arguments = ["--folder", folder, "--out", tmp_path / "seeds", "--jobs", "2"]
    done = tool("seeds.py", *arguments, "--seeds", "0-2")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert set(lines[:-3]) == {
        "a, seed 0: ok",
        "a, seed 1: code cell 1: AssertionError: seed is 1",
        "a, seed 1: code cell 2: AssertionError: assert seed < 1",
        "a, seed 2: code cell 2: AssertionError: assert seed < 1",
        "a, seed 2: code cell 3: RuntimeError: no gradient",
        *(f"b, seed {seed}: ok" for seed in range(3)),
    }
    assert lines[-3:] == ["    0   1   2", "a   .   2   2", "b   .   .   ."]

    again = tool("seeds.py", *arguments, "--seeds", "0-1")  # what passed with the same code does not run again
    assert again.returncode == 1
    assert again.stdout.startswith("3 of 4 passed before with this code") and "ok" not in again.stdout
    assert again.stdout.splitlines()[-3:] == ["    0   1", "a   .   2", "b   .   ."]
    notebook = nbformat.read(folder / "b.ipynb", as_version=4)
    notebook.cells[1].source += "\ny = 1"
    nbformat.write(notebook, folder / "b.ipynb")
    changed = tool("seeds.py", *arguments, "--seeds", "0-1", "--only", "b")
    assert changed.returncode == 0 and "b, seed 0: ok" in changed.stdout

    wrong = tool("seeds.py", *arguments, "--seeds", "9-0")
    assert wrong.returncode == 2 and "SEEDS: got '9-0'" in wrong.stderr


# --- what was measured, in README and lessons


def test_measurements_are_recorded_per_profile(tmp_path: Path) -> None:
    folder = course(tmp_path / "notebooks", **{"00_start": ["1"], "01_next": ["2"]})
    readme = tmp_path / "README.md"
    readme.write_text("Before\n<!-- measured:start -->old<!-- measured:end -->\nAfter\n", encoding="utf-8")
    outcomes = [Outcome("00_start", "quick", 99, 30.0, 512.3, 229), Outcome("01_next", "quick", 99, 61, 700, 229)]
    course_table.record(folder, {o.notebook: run_notebooks.measured(o) for o in outcomes}, "quick")
    full = Outcome("01_next", "full", 300.0, 600.0, 900.0, 229)
    course_table.record(folder, {"01_next": run_notebooks.measured(full)}, "full")
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("Before\n<!-- measured:start -->\n| lesson |") and text.endswith(
        "<!-- measured:end -->\nAfter\n"
    )
    assert "| [Lesson 00_start](notebooks/00_start.ipynb) | shows 00_start | 0.5 min, 510 MB | not measured |" in text
    assert "| shows 01_next | 1.0 min, 700 MB | 10.0 min, 900 MB | not measured |" in text
    assert "\n\nCPU time and peak memory, measured by" in text
    header = nbformat.read(folder / "01_next.ipynb", as_version=4).cells[0].source
    assert "quick: 1.0 min, 700 MB; full: 10.0 min, 900 MB" in header
    measured = course_table.load(folder)
    assert set(measured["00_start"]) == {"quick"} and set(measured["01_next"]) == {"quick", "full"}
    assert (measured["01_next"]["full"]["seconds"], measured["01_next"]["full"]["torch_mb"]) == (300, 229)
    assert all(path.read_text(encoding="utf-8") == text for path, text in course_table.render(folder, measured).items())
    assert sorted(path.name for path in folder.iterdir()) == ["00_start.ipynb", "01_next.ipynb"]


def test_the_machine_is_described_without_its_name() -> None:
    assert re.fullmatch(r".+, \d+ cores, \d+ GiB", course_table.machine())
    assert os.uname().nodename not in course_table.machine() if hasattr(os, "uname") else True


@pytest.mark.skipif(not NOTEBOOKS, reason="no lessons")
def test_readme_and_lessons_show_what_was_measured() -> None:
    texts = course_table.render(ROOT / "notebooks", course_table.load(ROOT / "notebooks"))
    stale = [path.name for path, text in texts.items() if path.read_text(encoding="utf-8") != text]
    assert not stale, "run `make run RECORD=1`"
