"""Makes pride_and_prejudice.txt from Debian's package r-cran-janeaustenr.

    python -m naslab.assets.make_pride_and_prejudice [/usr/lib/R/site-library/janeaustenr/data]

R stores a package's data in two files. Rdata.rdb has the objects, each compressed. Rdata.rdx has their offsets in
Rdata.rdb, as a compressed serialised list. R itself is not needed: `unserialise` reads lists and strings in R's
serialisation format (R Internals, section 1.8, binary XDR form).
"""

import struct
import sys
import zlib
from pathlib import Path

SOURCE = "/usr/lib/R/site-library/janeaustenr/data"
SYMBOL, PAIRLIST, CHARS, BOOLS, INTS, STRINGS, LIST, REFERENCE, NIL = 1, 2, 9, 10, 13, 16, 19, 255, 254


def unserialise(raw: bytes):
    """Converts R's serialised bytes to Python: a list with names to a dict, other vectors to lists, text to str."""
    symbols: list[str] = []
    place = 14  # b"X\n", then three ints: format, the writer's R, the oldest R that can read it

    def ints(count: int) -> tuple[int, ...]:
        nonlocal place
        place += 4 * count
        return struct.unpack_from(f">{count}i", raw, place - 4 * count)

    def text() -> str | None:
        nonlocal place
        (length,) = ints(1)
        place += max(length, 0)
        return None if length < 0 else raw[place - length : place].decode()  # -1 is R's NA

    def item():
        (flags,) = ints(1)
        kind, has_attributes, has_tag = flags & 0xFF, flags & 0x200, flags & 0x400
        if kind == NIL:
            return None
        if kind == REFERENCE:
            return symbols[(flags >> 8) - 1]
        if kind == SYMBOL:
            symbols.append(item())
            return symbols[-1]
        if kind == CHARS:
            return text()
        if kind == PAIRLIST:  # (attributes), tag, value, the rest
            _, tag, value = (item() if has_attributes else None), (item() if has_tag else None), item()
            return {tag: value} | (item() or {})
        if kind not in (BOOLS, INTS, STRINGS, LIST):
            raise ValueError(f"R type: got {kind} at byte {place}, expected text, ints or lists")
        (length,) = ints(1)
        vector = list(ints(length)) if kind in (BOOLS, INTS) else [item() for _ in range(length)]
        names = item().get("names") if has_attributes else None
        return dict(zip(names, vector, strict=True)) if names else vector

    if raw[:2] != b"X\n":
        raise ValueError(f"R data: got {raw[:2]!r}, expected the binary XDR form")
    if struct.unpack_from(">i", raw, 2) == (3,):  # format 3 also names the text encoding
        text()
    return item()


def lines(index: bytes, database: bytes, name: str) -> list[str]:
    """Returns the character vector `name` of an R database, given the bytes of its two files."""
    offset, length = unserialise(zlib.decompress(index, wbits=31))["variables"][name]
    packed = database[offset : offset + length]
    (size,) = struct.unpack_from(">i", packed)  # next: a letter for another compression, or zlib data
    raw = zlib.decompress(packed[4:])
    if len(raw) != size:
        raise ValueError(f"{name}: got {len(raw)} bytes, expected {size}")
    return unserialise(raw)


def main(source: str = SOURCE, folder: str = str(Path(__file__).parent)) -> None:
    index, database = ((Path(source) / f"Rdata.{ending}").read_bytes() for ending in ("rdx", "rdb"))
    novel = "\n".join(lines(index, database, "prideprejudice")).rstrip("\n") + "\n"
    (Path(folder) / "pride_and_prejudice.txt").write_bytes(novel.encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
