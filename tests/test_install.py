"""How the course gets onto a machine: which PyTorch, the README's lines, the reader's copies of the lessons."""

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote
from zipfile import ZipFile

import lab
import pytest
import torch_index
from tiny_course import run

from naslab import __main__ as command

ROOT = Path(__file__).parent.parent
LESSONS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
needs_git = pytest.mark.skipif(
    shutil.which("git") is None or not (ROOT / ".git").exists(), reason="needs git and a checkout"
)


# --- which PyTorch


@pytest.fixture
def serve() -> Iterator[Callable[[dict[str, bytes]], str]]:
    """Starts a package index that knows some paths; its address."""
    servers = []

    def start(pages: dict[str, bytes]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = pages.get(unquote(self.path))
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/zip")
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def linux(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A Linux without an NVIDIA driver, whatever this machine is."""
    monkeypatch.setattr(torch_index.platform, "system", lambda: "Linux")
    monkeypatch.setattr(torch_index.shutil, "which", lambda name: None)
    monkeypatch.setattr(torch_index, "DRIVER", tmp_path / "no driver")
    return monkeypatch


@pytest.mark.usefixtures("linux")
def test_without_a_driver_the_cpu_index_is_chosen_if_it_answers(serve) -> None:
    index = serve({"/whl/cpu/torch/": b"<a>torch</a>"}) + "/whl/cpu"
    assert torch_index.choose(index) == (index, f"PyTorch: the CPU build of {index}, since there is no NVIDIA driver")
    assert torch_index.choose(index + "/")[0] == index + "/"


@pytest.mark.usefixtures("linux")
def test_an_index_in_trouble_is_not_chosen_and_its_trouble_is_said(serve) -> None:
    for index, reason in (
        (serve({}), "answers 404"),
        (f"http://127.0.0.1:{closed_port()}", "cannot be reached ("),
        ("http://no.such.host.invalid", "cannot be reached ("),
        ("not an address", "cannot be reached ("),
    ):
        chosen, why = torch_index.choose(index)
        assert chosen == "" and f"there is no NVIDIA driver, but {index} {reason}" in why and "\n" not in why


@pytest.mark.usefixtures("linux")
def test_an_index_that_hangs_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as slow:

        def drip() -> None:  # no single read takes long, and all of them do
            connection, _ = slow.accept()
            with connection, suppress(OSError):  # the other side hangs up
                for byte in b"HTTP/1.0 200 OK" + 30 * b" ":
                    connection.send(bytes([byte]))
                    time.sleep(0.1)

        threading.Thread(target=drip, daemon=True).start()
        for server in (silent, slow):
            start = time.perf_counter()
            chosen, why = torch_index.choose(f"http://127.0.0.1:{server.getsockname()[1]}", patience=0.5)
            assert time.perf_counter() - start < 2
            assert chosen == "" and ("did not answer in" in why or "cannot be reached (timed out)" in why)


def test_a_driver_or_another_system_gets_what_pip_gives_and_no_index_is_asked(linux, serve, tmp_path: Path) -> None:
    asked = f"http://127.0.0.1:{closed_port()}"
    linux.setattr(torch_index, "trouble", lambda *_: pytest.fail("asked"))
    linux.setattr(torch_index.shutil, "which", {"nvidia-smi": "/usr/bin/nvidia-smi"}.get)
    assert torch_index.choose(asked)[0] == "" and "there is an NVIDIA driver" in torch_index.choose(asked)[1]
    linux.setattr(torch_index.shutil, "which", lambda name: None)
    linux.setattr(torch_index, "DRIVER", tmp_path)
    assert torch_index.choose(asked)[0] == "" and "there is an NVIDIA driver" in torch_index.choose(asked)[1]
    linux.setattr(torch_index, "DRIVER", tmp_path / "no driver")
    for system in ("Darwin", "Windows"):
        linux.setattr(torch_index.platform, "system", lambda system=system: system)
        assert torch_index.choose(asked)[0] == "" and "for the CPU on this system" in torch_index.choose(asked)[1]


@needs_make
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere pip gives the CPU build")
def test_make_installs_from_the_index_that_was_chosen(serve, tmp_path: Path) -> None:
    """A python that only notes what pip is asked for, in a PATH with and without a driver."""
    if torch_index.DRIVER.exists():
        pytest.skip("this machine has an NVIDIA driver")
    venv, plain = tmp_path / "venv" / "bin", tmp_path / "plain"
    venv.mkdir(parents=True)
    plain.mkdir()
    python = venv / "python"
    python.write_text(
        f'#!/bin/sh\ncase "$*" in *torch_index*) exec {sys.executable} "$@";; esac\necho "$@" >> "{tmp_path}/asked"\n'
    )
    python.chmod(0o755)
    for tool in ("sh", "touch", "test", "echo", "env"):
        (plain / tool).symlink_to(str(shutil.which(tool)))
    (plain / "python3").symlink_to(sys.executable)
    with_driver = tmp_path / "driver"
    shutil.copytree(plain, with_driver, symlinks=True)
    (with_driver / "nvidia-smi").write_text("#!/bin/sh\n")
    (with_driver / "nvidia-smi").chmod(0o755)

    def extra(path: Path, *variables: str, **environment: str) -> tuple[str | None, str]:
        (tmp_path / "asked").unlink(missing_ok=True)
        (tmp_path / "venv" / "ready").unlink(missing_ok=True)
        make = shutil.which("make")
        done = run(make, f"{tmp_path}/venv/ready", f"VENV={tmp_path}/venv", *variables, PATH=str(path), **environment)
        assert done.returncode == 0, done.stderr
        words = (tmp_path / "asked").read_text().split()
        assert words[-2:] == ["--editable", ".[cluster,export]"]
        return words[words.index("--extra-index-url") + 1] if "--extra-index-url" in words else None, done.stderr

    good = serve({"/torch/": b"<a>torch</a>"})
    chosen, said = extra(plain, f"TORCH_CPU={good}")
    assert chosen == good and len(said.splitlines()) == 1 and "since there is no NVIDIA driver" in said
    chosen, said = extra(plain, f"TORCH_CPU=http://127.0.0.1:{closed_port()}")
    assert chosen is None and len(said.splitlines()) == 1 and "cannot be reached" in said
    chosen, said = extra(with_driver, f"TORCH_CPU={good}")
    assert chosen is None and "there is an NVIDIA driver" in said
    for path in (plain, with_driver):  # a choice of one's own is not questioned
        assert extra(path, f"TORCH_CPU={good}", "TORCH_INDEX=") == (None, "")
        assert extra(path, f"TORCH_CPU={good}", TORCH_INDEX="") == (None, "")
        assert extra(path, f"TORCH_CPU={good}", "TORCH_INDEX=http://mine/cu126") == ("http://mine/cu126", "")


def test_pip_takes_the_cpu_build_for_the_pin_when_it_is_offered(serve, tmp_path: Path) -> None:
    (pin,) = re.findall(r"^torch==([\d.]+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)

    def offer(version: str) -> dict[str, bytes]:
        name, info = f"torch-{version}-py3-none-any.whl", f"torch-{version}.dist-info"
        with ZipFile(tmp_path / name, "w") as wheel:
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
        return {"/torch/": f'<a href="/{name}">{name}</a>'.encode(), f"/{name}": (tmp_path / name).read_bytes()}

    pypi, cpu = serve(offer(pin)), serve(offer(f"{pin}+cpu"))
    own = {name: "" for name in os.environ if name.startswith("PIP_")} | {"PIP_CONFIG_FILE": os.devnull}
    for extra, expected in (((), pin), (("--extra-index-url", cpu), f"{pin}+cpu")):
        done = run(
            *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps"),
            *("--constraint", "constraints.txt", "--index-url", pypi, *extra, "torch>=2.6"),
            **own,
        )
        assert f"Would install torch-{expected}\n" in done.stdout, done.stdout + done.stderr


# --- the reader's copies


def test_lessons_are_copied_out_of_the_package_and_never_overwritten(tmp_path: Path, capsys) -> None:
    folder = tmp_path / "a folder" / "of my own"
    assert command.main(["lessons", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == LESSONS
    for name in LESSONS:
        assert (folder / name).read_bytes() == (ROOT / "notebooks" / name).read_bytes()
    (folder / LESSONS[1]).write_text("my answers")
    (folder / LESSONS[2]).unlink()
    capsys.readouterr()
    assert command.main(["lessons", str(folder)]) == 0
    assert f"1 lessons copied, {len(LESSONS) - 1} were there already and stay" in capsys.readouterr().out
    assert (folder / LESSONS[1]).read_text() == "my answers" and (folder / LESSONS[2]).exists()


def test_lessons_that_cannot_be_copied_say_so_in_one_line(tmp_path: Path, capsys, monkeypatch) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    assert command.main(["lessons", str(file)]) == 1
    assert capsys.readouterr().err == f"naslab: {file} is a file: name a folder\n"
    assert command.main(["lessons", str(file / "below")]) == 1
    assert capsys.readouterr().err.startswith("naslab: ") and file.read_text() == "mine"
    monkeypatch.setattr(command, "PACKAGE", tmp_path / "naslab")
    assert command.main(["lessons", str(tmp_path / "new")]) == 1
    assert "there are no lessons in" in capsys.readouterr().err


def test_a_copy_that_breaks_off_leaves_no_half_lesson(tmp_path: Path, monkeypatch) -> None:
    def break_off(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:100])
        raise OSError("no space left")

    with monkeypatch.context() as broken:
        broken.setattr(command.shutil, "copyfile", break_off)
        assert command.main(["lessons", str(tmp_path)]) == 1
    assert not list(tmp_path.glob("*.ipynb"))
    assert command.main(["lessons", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == LESSONS


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "notebooks").mkdir()
    for name in ("00_start_here.ipynb", "03_nas.ipynb"):
        (tmp_path / "notebooks" / name).write_text("lesson")
    return tmp_path


def test_the_readers_copies_stay_and_a_fresh_one_loses_nothing(checkout: Path) -> None:
    mine = checkout / "my" / "03_nas.ipynb"
    assert lab.prepare(checkout) == [] and mine.read_text() == "lesson"
    mine.write_text("first answers")
    (checkout / "notebooks" / mine.name).write_text("better lesson")
    assert lab.prepare(checkout) == [] and mine.read_text() == "first answers"
    assert lab.prepare(checkout, "03") == ["03_nas.ipynb is new; the old one is 03_nas-old1.ipynb"]
    assert mine.read_text() == "better lesson"
    mine.write_text("second answers")
    assert lab.prepare(checkout, "03") == ["03_nas.ipynb is new; the old one is 03_nas-old2.ipynb"]
    kept = {path.name: path.read_text() for path in (checkout / "my").iterdir()}
    assert kept == {
        "00_start_here.ipynb": "lesson",
        "03_nas.ipynb": "better lesson",
        "03_nas-old1.ipynb": "first answers",
        "03_nas-old2.ipynb": "second answers",
    }


def test_a_fresh_lesson_that_does_not_exist_is_refused(checkout: Path) -> None:
    for wrong in ("7", "", "nas"):
        with pytest.raises(ValueError, match=f"no lesson starts with '{wrong}'; there are 00_start_here, 03_nas"):
            lab.prepare(checkout, wrong)
    done = run(sys.executable, "tools/lab.py", f"--root={checkout}", "--fresh", "7")
    assert done.returncode == 1 and done.stderr.startswith("naslab: no lesson starts with '7'")


@needs_make
def test_make_lab_passes_its_variables_through() -> None:
    done = run("make", "-n", "-o", ".venv/ready", "lab", "VENV=.venv", "FRESH=03", "ARGS=--no-browser")
    assert done.stdout.split()[-4:] == ["tools/lab.py", "--fresh", "03", "--no-browser"]


@needs_git
def test_git_knows_nothing_of_the_readers_copies() -> None:
    assert run("git", "check-ignore", "--quiet", "my/03_nas_with_rl.ipynb").returncode == 0


# --- the README's lines, as they stand there


def readme_lines(python: str) -> list[list[str]]:
    """The three indented lines that begin with `python -m venv`, in the words of one system."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(rf"^((?:    .+\n)*    {python} -m venv .*\n(?:    .+\n)*)", text, re.M)
    return [[word.strip('"') for word in line.split()] for line in block.splitlines()]


def test_the_lines_for_windows_are_those_for_posix() -> None:
    windows = [[word.replace("\\", "/") for word in line] for line in readme_lines("py")]
    posix = [[word.replace("/bin/", "/Scripts/") for word in line] for line in readme_lines("python3")]
    assert windows == [["py", *posix[0][1:]], *posix[1:]] and len(posix) == 3


@needs_git
@pytest.mark.slow
def test_the_readmes_lines_without_make_open_the_lessons(tmp_path: Path) -> None:
    clone = tmp_path / "a clone"
    shutil.copytree(
        ROOT, clone, ignore=shutil.ignore_patterns(".git", ".venv", "my", "build", "*cache*", ".hypothesis")
    )
    tools = tmp_path / "tools"
    tools.mkdir()
    base = Path(sys._base_executable)  # type: ignore[attr-defined]
    (tools / "python3").symlink_to(base)
    create, install, open_lab = readme_lines("py" if os.name == "nt" else "python3")
    environment = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": ""}
    done = run(*create, cwd=clone, **environment)
    assert done.returncode == 0, done.stderr
    # what the course needs is here already: pip finds it through this line, and looks for nothing
    (site,) = [path for path in (clone / ".venv").rglob("site-packages") if path.is_dir()]
    (site / "installed.pth").write_text(str(Path(pytest.__file__).parent.parent))
    done = run(*[str(clone / install[0]) if "venv" in install[0] else install[0], *install[1:]], cwd=clone)
    assert done.returncode == 0, done.stderr

    config, port, token = tmp_path / "config", closed_port(), secrets.token_hex(8)
    config.mkdir()
    settings = {
        "ServerApp": {"open_browser": False, "allow_root": True, "port": port, "port_retries": 0},
        "IdentityProvider": {"token": token},
    }
    (config / "jupyter_server_config.json").write_text(json.dumps(settings))
    own = environment | {f"JUPYTER_{name}_DIR": str(config) for name in ("CONFIG", "RUNTIME", "DATA")}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [str(clone / open_lab[0]), *open_lab[1:]],
            cwd=clone, env=os.environ | own, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        for _ in range(600):
            assert server.poll() is None, (tmp_path / "log").read_text()
            try:
                url = f"http://127.0.0.1:{port}/api/contents/{{}}?content=1&token={token}"
                with urllib.request.urlopen(url.format("my"), timeout=5) as answer:
                    listed = sorted(entry["name"] for entry in json.load(answer)["content"])
                break
            except (urllib.error.URLError, TimeoutError):
                time.sleep(0.2)
        assert listed == LESSONS
        with urllib.request.urlopen(url.format("README.md"), timeout=5) as answer:  # a lesson's link to the course
            assert json.load(answer)["content"].startswith("# naslab")
        assert "/lab/tree/my/00_start_here.ipynb" in (tmp_path / "log").read_text()
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
    where = run(clone / open_lab[0], "-c", "import naslab; print(naslab.__file__)", cwd=tmp_path, PYTHONPATH="")
    assert Path(where.stdout.strip()).is_relative_to(clone), where.stdout + where.stderr
