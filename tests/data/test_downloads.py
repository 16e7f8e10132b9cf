"""Downloads, from a server on this machine."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from naslab import data


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "ptb.train.txt").write_bytes(b" a b \n" * 1000)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def send_header(self, name, value):  # lie about the length of one file: the connection breaks half-way
            if name.lower() == "content-length" and self.path.endswith("broken.txt"):
                value = str(10 * int(value))
            super().send_header(name, value)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "served"))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", tmp_path / "served", tmp_path / "cache"
        server.shutdown()
        thread.join()


def md5(raw):
    return hashlib.md5(raw, usedforsecurity=False).hexdigest()


def test_download_is_cached(server, capfd):
    url, served, cache = server
    raw = (served / "ptb.train.txt").read_bytes()
    wanted = {"ptb.train.txt": md5(raw)}
    (path,) = data.fetch(url, wanted, cache=cache)
    assert path.read_bytes() == raw and path.parent == cache
    assert "100%" in capfd.readouterr().err  # the progress bar
    (served / "ptb.train.txt").unlink()
    assert data.fetch(url, wanted, cache=cache) == [path]  # no need of the server any more


def test_damaged_cache_is_downloaded_again(server):
    url, served, cache = server
    raw = (served / "ptb.train.txt").read_bytes()
    (path,) = data.fetch(url, {"ptb.train.txt": md5(raw)}, cache=cache)
    path.write_bytes(raw[:100])
    assert data.fetch(url, {"ptb.train.txt": md5(raw)}, cache=cache)[0].read_bytes() == raw


def test_failed_downloads_leave_nothing_and_say_what_to_do(server):
    url, served, cache = server
    raw = (served / "ptb.train.txt").read_bytes()
    (served / "broken.txt").write_bytes(raw)
    remedy = f"by hand and put it into {cache}, or pass folder="
    for kind, name, where in (
        (ValueError, "ptb.train.txt", url),  # another file than expected
        (ConnectionError, "absent.txt", url),  # 404
        (ConnectionError, "broken.txt", url),  # cut off
        (ConnectionError, "ptb.train.txt", "http://127.0.0.1:9/"),  # nobody listens
        (ConnectionError, "ptb.train.txt", "http://no-such-host.invalid/"),
    ):
        expected = md5(b"other") if kind is ValueError else md5(raw)
        with pytest.raises(kind) as caught:
            data.fetch(where, {name: expected}, cache=cache)
        message = str(caught.value)
        assert message.startswith(name) and remedy in message and where + name in message and "\n" not in message
        assert not [*cache.glob("*")], "something is left in the cache"
