"""The lessons keep to the template, and the tools that compare and regenerate them tell good from bad."""

import base64
import re
import symtable
from pathlib import Path
from typing import Any

import nbformat
import promise
import pytest
import regenerate
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from tiny_course import course, tool

from naslab import view

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXEMPT = {"nbval-ignore-output", "nbval-skip"}

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def tags(cell: Any) -> set[str]:
    return set(cell.metadata.get("tags", ()))


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def prose(notebook: Any) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def overwritten(cells: list[Any]) -> list[str]:
    """The names that a widget's function reads and that a later cell sets: the widget fails once the lesson has run."""
    widgets = [name for name in view.__all__ if getattr(view, name).__module__.startswith("naslab.view.widgets")]
    tables = [symtable.symtable(cell.source, "cell", "exec") for cell in cells]
    found = []
    for k, cell in enumerate(cells):
        for call in re.findall(rf"view\.(?:{'|'.join(widgets)})\(([^()]*)", cell.source):
            known = [f for table in tables[: k + 1] for f in table.get_children()]
            given = [f for f in known if re.search(rf"\b{f.get_name()}\b", call)]
            reads = {name for f in given if isinstance(f, symtable.Function) for name in f.get_globals()}
            later = [{n.get_name() for n in t.get_symbols() if n.is_assigned()} for t in tables[k + 1 :]]
            found += sorted(reads & set().union(*later))
    return found


# --- the template


@each_notebook
def test_parameters_are_typed_and_explained(path: Path) -> None:
    (cell,) = [cell for cell in code(read(path)) if "parameters" in tags(cell)]
    typed = {}
    for line in filter(str.strip, cell.source.splitlines()):
        match = re.fullmatch(r"(\w+): ([^=]+) = (.+?)  # .+", line)
        assert match, f"{line!r} is not `name: type = value  # comment`"
        typed[match[1]] = (match[2], match[3])
    assert typed["profile"] == ("str", '"quick"')
    assert typed["seed"][0] == "int"
    assert typed["device"][0] == "str"


@each_notebook
def test_the_lesson_has_its_parts(path: Path) -> None:
    notebook = read(path)
    texts = prose(notebook)
    assert notebook.cells[0].cell_type == "markdown" and re.match(r"# \S", notebook.cells[0].source), (
        "begins with its title"
    )
    assert notebook.metadata.get("naslab", {}).get("summary"), "metadata naslab.summary: the README's row"
    (header,) = [text for text in texts if "<!-- measured -->" in text]
    for row in ("You will be able to", "You need", "Difficulty** | ★", "Minutes and memory"):
        assert row in header
    assert "**Reading time** | " in header
    headings = [m[1].lower() for text in texts for m in re.finditer(r"^## +(.+)$", text, re.M)]
    for part in ("on a gpu", "recap", "references"):
        assert any(part in heading for heading in headings), f"no section {part!r} among {headings}"
    assert path.stem[:2] == "00" or len({*re.findall(rf"\b{path.stem[:2]}\.\d+\b", "\n".join(texts))}) >= 3, (
        "three exercises"
    )


@each_notebook
def test_links_lead_somewhere(path: Path) -> None:
    place = NOTEBOOKS.index(path)
    linked = re.findall(r"\]\(([^)#\s]+\.ipynb)\)", "\n".join(prose(read(path))))
    for neighbour in (NOTEBOOKS[max(place - 1, 0)], NOTEBOOKS[min(place + 1, len(NOTEBOOKS) - 1)]):
        assert neighbour == path or neighbour.name in linked[-2:], f"ends with a link to {neighbour.name}"
    assert all((path.parent / link).exists() for link in linked)


@each_notebook
def test_the_gpu_section_gives_the_papermill_line(path: Path) -> None:
    text = "\n".join(prose(read(path)))
    section = re.split(r"^## ", text[text.lower().index("## on a gpu") + 3 :], flags=re.M)[0]
    assert re.search(rf"papermill .*{re.escape(path.name)}.*-p profile gpu", section, re.S)


@each_notebook
def test_outputs_are_committed_clean_and_free_of_errors(path: Path) -> None:
    notebook = read(path)
    cells = [cell for cell in code(notebook) if cell.source.strip()]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "executed once, in order"
    assert any(cell.outputs for cell in cells)
    assert not regenerate.leaks(notebook, regenerate.machine_paths())
    assert not [o for cell in cells for o in cell.outputs if o.get("name") == "stderr"], "warnings are no output"
    is_clean = regenerate.clean(notebook) == notebook
    assert is_clean, "run `make regenerate`"
    sources = "\n".join(cell.source for cell in notebook.cells)
    assert not re.search(r"(?:^|[\s\"'(])(?:/home/|/Users/|/root/|/tmp/|[A-Z]:\\)", sources), "an absolute path"


@each_notebook
def test_no_later_cell_sets_what_a_widget_reads(path: Path) -> None:
    assert overwritten(code(read(path))) == []


def test_a_name_that_a_widget_reads_and_a_later_cell_sets_is_found() -> None:
    widget = "size = 3\ndef count(t):\n    return size + len(t)\nview.string_explorer(space, 0, count)"
    assert overwritten([new_code_cell(widget), new_code_cell("other = size")]) == []
    assert overwritten([new_code_cell(widget), new_code_cell("size = (1, 2)")]) == ["size"]
    assert overwritten([new_code_cell(widget.replace("count)", "len)")), new_code_cell("size = 4")]) == []


@each_notebook
def test_outputs_are_those_of_the_code_as_it_is(path: Path) -> None:
    notebook = read(path)
    fresh = notebook.metadata.naslab.get("code") == regenerate.computed_by(notebook)
    assert fresh, f"other code made its outputs: run `make regenerate ONLY={path.stem[:2]}`"


@each_notebook
def test_most_outputs_are_compared_and_the_others_are_asserted(path: Path) -> None:
    cells = code(read(path))
    assert all("nbval-ignore-output" in tags(cell) for cell in cells if "words-vary" in tags(cell))
    exempt = [cell for cell in cells if EXEMPT & tags(cell) or re.search(r"^# *NBVAL_(IGNORE|SKIP)", cell.source, re.M)]
    assert 3 * len(exempt) <= len(cells), f"{len(exempt)} of {len(cells)} code cells are not compared"
    unchecked = None  # an exempt cell that no assertion has followed yet
    for cell in cells:
        if re.search(r"^\s*assert\b", cell.source, re.M):
            unchecked = None
        elif cell in exempt:
            unchecked = unchecked or cell
        else:
            assert unchecked is None, f"nothing is asserted right after:\n{unchecked.source}"
    assert unchecked is None, f"nothing is asserted after:\n{unchecked.source}"


@each_notebook
def test_code_fits_the_screen_and_a_picture_comes_early(path: Path) -> None:
    cells = code(read(path))
    long = [cell.source for cell in cells if len(cell.source.splitlines()) > 30]
    assert not long, f"more than 30 lines:\n{long[0]}"
    for cell in cells:
        for shown in (output.data["text/plain"] for output in cell.outputs if "view.source" in cell.source):
            wide = [line for line in shown.splitlines() if len(line) > 88]
            assert not wide, f"more than 88 columns: {wide[0]}"
    first = next(k for k, cell in enumerate(cells) if any("image/svg+xml" in o.get("data", {}) for o in cell.outputs))
    unfolded = [cell for cell in cells[: first + 1] if not cell.metadata.get("jupyter", {}).get("source_hidden")]
    lines = [line for cell in unfolded for line in cell.source.splitlines() if line.strip()]
    assert len(lines) <= 40, f"{len(lines)} lines of code before the first picture is there"


@each_notebook
def test_the_result_stands_below_the_title(path: Path) -> None:
    notebook = read(path)
    cells = [cell for cell in code(notebook) if "result" in tags(cell)]
    assert len(cells) == 1, "one cell has the tag `result`"
    found, title = promise.result(notebook), notebook.cells[0]
    assert found and title.metadata.naslab.result == promise.digest(found[0]), (
        f"run `make regenerate ONLY={path.stem[:2]}`"
    )
    assert title.source.endswith("](attachment:result.png)") and title.source.count("attachment:") == 1
    image = base64.b64decode(title.attachments["result.png"]["image/png"])
    assert image.startswith(b"\x89PNG") and 5_000 < len(image) < 400_000


def images_without_alt(notebook: Any) -> list[str]:
    found = []
    for cell in code(notebook):
        for output in cell.outputs:
            for mime in set(output.get("data", {})) & {"image/svg+xml", "image/png", "image/jpeg"}:
                metadata = output.metadata
                if not (metadata.get("alt") or metadata.get(mime, {}).get("alt")):
                    found.append(f"{mime} of:\n{cell.source}")
    return found


@each_notebook
def test_pictures_have_words(path: Path) -> None:
    assert not images_without_alt(read(path))


def test_pictures_without_words_are_found() -> None:
    data = {"image/svg+xml": "<svg/>", "text/plain": "a drawing"}
    output = {"output_type": "display_data", "data": data, "metadata": {}}
    notebook = new_notebook(cells=[new_code_cell("draw()", outputs=[nbformat.from_dict(output)])])
    assert images_without_alt(notebook) == ["image/svg+xml of:\ndraw()"]
    notebook.cells[0].outputs[0].metadata["image/svg+xml"] = {"alt": "two boxes and an arrow"}
    assert not images_without_alt(notebook)


# --- what is folded, and the result below the title


@pytest.mark.parametrize(
    ("source", "marked", "folded"),
    [
        ('profile: str = "quick"  # which', ["parameters"], True),
        ("from naslab import runs\n\nrun = runs.start(globals(), quick={}, full={}, gpu={})\nprint(run)", [], True),
        ("assert x == 1\nassert y > 2  # because", [], True),
        ("import numpy as np\n\nview.curves(\n    x,\n    y,\n)", [], True),
        ("view.curves(x, y)", [], False),  # as short as its bar
        ("y = 2 * x\nview.curves(\n    x,\n    y,\n)", [], False),
        ("view.string_explorer(\n    space,\n    tokens,\n)", [], False),
        ("assert x == 1\nprint(x)", [], False),
        ("import numpy", [], False),
        ("%matplotlib inline", [], False),
        ("def answer():\n    return ...\n\n\ncheck('00.1', answer)", [], False),
    ],
)
def test_cells_that_readers_need_not_read_are_folded(source: str, marked: list[str], folded: bool) -> None:
    cell = new_code_cell(source, metadata={"tags": marked, "jupyter": {"source_hidden": not folded, "mine": 1}})
    tidy = regenerate.clean(new_notebook(cells=[cell])).cells[0]
    assert tidy.metadata.get("jupyter") == {"mine": 1} | ({"source_hidden": True} if folded else {})


def with_result(svg: str) -> Any:
    output = new_output(
        "display_data", {"image/svg+xml": svg}, metadata={"image/svg+xml": {"alt": "One [curve]\nrises"}}
    )
    cells = [new_markdown_cell("# 99\n\nA promise."), new_code_cell("draw()", outputs=[output])]
    cells[1].metadata["tags"] = ["result"]
    return new_notebook(cells=cells)


def test_the_result_is_drawn_below_the_title_once(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(promise, "png", lambda svg: drawn.append(svg) or b"\x89PNG")
    notebook = with_result("<svg>1</svg>")
    for _ in range(2):
        promise.promise(notebook)
    title = notebook.cells[0]
    assert drawn == ["<svg>1</svg>"] and base64.b64decode(title.attachments["result.png"]["image/png"]) == b"\x89PNG"
    assert title.source == "# 99\n\nA promise.\n\n![One curve rises](attachment:result.png)"
    nbformat.validate(notebook)
    notebook.cells[1] = with_result("<svg>2</svg>").cells[1]
    promise.promise(notebook)
    assert drawn[1:] == ["<svg>2</svg>"] and title.source.count("attachment:") == 1
    untagged = with_result("<svg>3</svg>")
    untagged.cells[1].metadata.clear()
    promise.promise(untagged)
    assert len(drawn) == 2 and untagged.cells[0].source == "# 99\n\nA promise."


def test_without_a_browser_the_notebook_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promise, "chromium", lambda: None)
    with pytest.raises(RuntimeError, match="set CHROMIUM to its path"):
        promise.promise(with_result("<svg/>"))


# --- regenerating in place

WIDGET = """import ipywidgets
slider = ipywidgets.IntSlider(value=3, description='layers')
box = ipywidgets.VBox([slider])
display(box)
box"""


@pytest.mark.slow
def test_regenerating_twice_leaves_no_difference(tmp_path: Path) -> None:
    folder = course(tmp_path / "notebooks", demo=["print('a'); import sys; print('b', end='')", WIDGET, "slider"])
    path = folder / "demo.ipynb"
    before = read(path)
    before.cells[1].metadata = {
        "tags": ["keep"],
        "execution": {"iopub.execute_input": "now"},
        "papermill": {"duration": 1},
    }
    before.metadata["papermill"] = {"input_path": str(path)}
    before.metadata["language_info"] = {"name": "python", "version": "3.11.2"}
    nbformat.write(before, path)
    assert tool("regenerate.py", "--folder", folder).returncode == 0
    first = path.read_bytes()
    assert tool("regenerate.py", "--folder", folder).returncode == 0
    assert path.read_bytes() == first
    notebook = read(path)
    assert [cell.id for cell in notebook.cells] == [cell.id for cell in before.cells]
    assert notebook.cells[1].metadata == {"tags": ["keep"]}
    assert set(notebook.metadata) == {"kernelspec", "language_info", "naslab"}
    assert notebook.metadata.naslab == {"summary": "shows demo", "code": regenerate.computed_by(before)}
    assert "version" not in notebook.metadata.language_info
    shown = [
        o.data[regenerate.WIDGET]["model_id"]
        for c in code(notebook)
        for o in c.outputs
        if regenerate.WIDGET in o.get("data", {})
    ]
    assert shown == ["0" * 32, "0" * 32, "0" * 31 + "1"]
    assert notebook.cells[1].outputs[0].text == "a\nb"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise ValueError('no such op')", "ValueError: no such op"),
        ("import sys; print(sys.prefix)", "code cell 1: its output names"),
        ("import warnings; warnings.warn('old')", "names a file of the kernel"),
        ("import os; os._exit(3)", "Kernel died"),
    ],
)
def test_what_cannot_be_committed_is_left_as_it_was(tmp_path: Path, source: str, message: str) -> None:
    folder = course(tmp_path / "notebooks", bad=[source])
    before = (folder / "bad.ipynb").read_bytes()
    done = tool("regenerate.py", "--folder", folder)
    assert done.returncode == 1
    assert "bad.ipynb: left as it was" in done.stderr and message in done.stderr
    assert (folder / "bad.ipynb").read_bytes() == before
    assert [path.name for path in folder.iterdir()] == ["bad.ipynb"]


def test_a_package_that_changes_meanwhile_leaves_the_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = course(tmp_path / "notebooks", a=["1"]) / "a.ipynb"
    before = path.read_bytes()
    hashes = iter(["old", "new", "same", "same"])
    monkeypatch.setattr(regenerate, "computed_by", lambda notebook: next(hashes))
    monkeypatch.setattr(regenerate, "execute", lambda notebook, folder: notebook)
    assert regenerate.regenerate(path) == ["the package has changed while it ran"]
    assert path.read_bytes() == before
    assert not regenerate.regenerate(path)
    assert read(path).metadata.naslab.code == "same"


def test_cleaning_is_idempotent_and_repairs_ids() -> None:
    notebook = new_notebook(cells=[new_code_cell("1", id="twice"), new_code_cell("2")])
    notebook.cells[1].id = "twice"
    once = regenerate.clean(notebook)
    assert [cell.id for cell in once.cells] == ["twice", "cell-001"]
    assert regenerate.clean(once) == once
