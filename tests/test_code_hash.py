"""A hash of code changes with what may change a result, and with nothing else."""

import ast
from pathlib import Path

import pytest
from code_hash import code_hash, plain

FILES = {
    "__init__.py": '"""A package."""\n',
    "ops.py": '"""Ops."""\n\nRATE = 0.1  # a constant\nOPS = {"none": 0, "skip": 1}\n\n\n'
    'def step(x, rate=0.5):\n    """One step."""\n    return f"{x - rate:>{RATE}}"\n',
    "search/__init__.py": "",
    "search/darts.py": "def run():\n    from naslab import inner\n    return inner\n",
    "inner.py": "from naslab.ops import RATE\nWIDTH = RATE * 2\n",
    "unused.py": "x = 1\n",
}
SOURCE = "import naslab.search.darts\nprint(naslab.search.darts.run())\n"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "naslab" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "naslab"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("ops.py", "RATE = 0.1", "RATE = 0.2"),
        ("ops.py", "RATE = 0.1", "RATE = 1e-1 + 0"),
        ("ops.py", '"none": 0, "skip": 1', '"skip": 1, "none": 0'),
        ("ops.py", "x - rate", "x + rate"),
        ("ops.py", "rate=0.5", "rate=0.25"),
        ("ops.py", "rate=0.5", "*, rate=0.5"),
        ("ops.py", ":>{", ":<{"),
        ("inner.py", "RATE * 2", "2 * RATE"),
        ("inner.py", "2", "2.0"),
        ("search/darts.py", "return inner", "return"),
        ("search/__init__.py", "", "x = 1\n"),
        ("__init__.py", '"""A package."""', "x = 1"),
    ],
)
def test_code_counts(package: Path, file: str, old: str, new: str) -> None:
    before = code_hash(SOURCE, package)
    edit(package / file, old, new)
    assert code_hash(SOURCE, package) != before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("ops.py", "One step", "A step"),
        ("ops.py", '    """One step."""\n', ""),
        ("ops.py", '"""Ops."""\n\n', ""),
        ("ops.py", "  # a constant", ""),
        ("ops.py", "\n\n\n", "\n\n\n\n\n# ---\n"),
        ("ops.py", '{"none": 0, "skip": 1}', "{\n    'none': 0x0,\n    'skip': (1),\n}"),
        ("unused.py", "1", "2"),
    ],
)
def test_words_layout_and_strangers_do_not_count(package: Path, file: str, old: str, new: str) -> None:
    before = code_hash(SOURCE, package)
    edit(package / file, old, new)
    assert code_hash(SOURCE, package) == before


@pytest.mark.parametrize(
    "source",
    [
        "import naslab.ops",
        "import naslab.ops as o",
        "from naslab import ops",
        "from naslab.ops import step",
        "if x:\n from naslab.ops import *",
    ],
)
def test_every_form_of_import_counts(package: Path, source: str) -> None:
    before = code_hash(source, package)
    edit(package / "ops.py", "0.1", "0.2")
    assert code_hash(source, package) != before


def test_the_source_itself_counts(package: Path) -> None:
    assert code_hash("x = 1", package) != code_hash("x = 2", package)
    assert code_hash("x = 1", package) == code_hash('"""A table."""\nx = 1  # one', package)


def test_a_relative_import_is_refused(package: Path) -> None:
    with pytest.raises(ValueError, match="relative"):
        code_hash("from . import ops", package)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{'a': b, **c}", "{**b, 'a': c}"),
        ("def f(*, a, b=1): ...", "def f(*, a=1, b): ..."),
        ("x[1:]", "x[:1]"),
        ("x = ''", "x = 0"),
        ("['', a]", "[a]"),
        ("1", "True"),
        ("b'a'", "'a' + ''"),
        ("f'{a}'", "f'{a!r}'"),
        ("f'{a}{b}'", "f'{b}{a}'"),
        ("for x in y: pass", "for x in y: pass\nelse: pass"),
    ],
)
def test_different_code_has_different_trees(one: str, other: str) -> None:
    assert plain(ast.parse(one)) != plain(ast.parse(other))


ODD = """
x = f"{a=} {b!r:>{w}} {c:} {'q'}" "tail" f"{d:.2f}{{}}"
y, z = b"a" rb"\\x", u"k"
async def g(a, /, b=1, *c, d: int = 2, **e) -> None:
    "A docstring."
    async with q as r: yield r
    try: pass
    except* ValueError as z: raise
    print(lambda: ..., -1, 1e400, 1j, 0x10, True, None, {**a, 1: 2})
    match a:
        case {"k": [1, *_], **rest} if x: return
        case C(x=-1.0 | 2): ...
@dec
class A(B, metaclass=M):
    x: int = 3
    "Another."
"""


def test_every_python_has_the_same_hash(package: Path) -> None:
    """Written by 3.11; 3.12 ends a nested format with an empty string and gives functions `type_params`."""
    assert code_hash(ODD, package) == "0657df3f3966cc6a"
