"""Bundled data. `read` checks the SHA-256 sum of a file against `SHA256SUMS`."""

import hashlib
from importlib.resources import files


def read(name: str) -> bytes:
    """Returns the bytes of a bundled file. Raises `ValueError` with a remedy if they are not the published ones."""
    folder = files(__name__)
    sums = (line.split() for line in (folder / "SHA256SUMS").read_text().splitlines())
    expected = {name: checksum for checksum, name in sums}[name]
    raw = (folder / name).read_bytes()
    if (found := _sha256(raw)) == expected:
        return raw
    if _sha256(raw.replace(b"\r\n", b"\n")) == expected:
        raise ValueError(
            f"{folder / name}: got Windows line endings, expected the published file; "
            "run `git config --global core.autocrlf false` and clone the repository again"
        )
    raise ValueError(
        f"{folder / name}: got SHA-256 sum {found}, expected {expected}: the file is damaged; "
        "clone the repository again, or reinstall naslab"
    )


def _sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
