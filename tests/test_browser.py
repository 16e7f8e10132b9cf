"""The first lessons in a real browser: JupyterLab under Chromium runs all, all goes well, a widget obeys the keyboard.

A lesson is run up to its last widget. SCREENSHOTS=1 runs it whole, and puts pictures of all pages into
build/screenshots/. Set CHROMIUM to a browser that is not found by itself.
"""

import io
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect, sync_playwright
from promise import chromium

ROOT = Path(__file__).parent.parent
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SHOTS = ROOT / "build" / "screenshots"
CI = bool(os.environ.get("CI"))
FLAGS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-sync",
    "--no-first-run",
]
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},  # every cell is in the page, seen or not
}
KERNEL_IS_IDLE = """async () => {
    const app = window.jupyterapp;
    if (!app) return false;
    await app.restored;
    const context = app.shell.currentWidget && app.shell.currentWidget.sessionContext;
    if (!context) return false;
    await context.ready;
    const kernel = context.session && context.session.kernel;
    return Boolean(kernel) && kernel.connectionStatus === "connected" && kernel.status === "idle";
}"""
ALL_CELLS_ARE_DONE = """() => {
    const prompts = [...document.querySelectorAll(".jp-Notebook .jp-CodeCell")]
        .filter(cell => cell.querySelector(".cm-content")?.textContent.trim()) // not folded, not empty
        .map(cell => cell.querySelector(".jp-InputPrompt").textContent);
    const failed = document.querySelector("[data-mime-type='application/vnd.jupyter.error']");
    return failed !== null || prompts.length > 0 && prompts.every(prompt => /\\d/.test(prompt));
}"""

WIDGET = "application/vnd.jupyter.widget-view+json"
SCREENSHOTS = bool(os.environ.get("SCREENSHOTS"))
OPENED = [path for path in LESSONS if SCREENSHOTS or WIDGET in path.read_text(encoding="utf-8")]  # papermill runs all

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser_page() -> Iterator[Page]:
    program = chromium()
    if program is None:
        remedy = "no Chromium here: install chromium or Google Chrome, or set CHROMIUM to its path"
        pytest.fail(remedy) if CI else pytest.skip(remedy)
    flags = [*FLAGS, "--no-sandbox"] if CI or getattr(os, "geteuid", lambda: 1)() == 0 else FLAGS
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, headless=True, args=flags)
        yield browser.new_page(viewport={"width": 1280, "height": 1400})
        browser.close()


def seen_there(cells: list[Any]) -> list[Any]:
    """The cells that the browser runs: up to the last widget, and the footer. Papermill runs all."""
    widgets = [
        number
        for number, cell in enumerate(cells)
        if any(WIDGET in output.get("data", {}) for output in cell.get("outputs", ()))
    ]
    return cells if SCREENSHOTS or not widgets else [*cells[: widgets[-1] + 1], cells[-1]]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serves what `make lab` serves, without outputs or the user's settings; yields the address of the reader's {}."""
    root = tmp_path_factory.mktemp("lab")
    (root / "notebooks").mkdir()
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        lesson = nbformat.read(path, as_version=4)
        lesson.cells = seen_there(lesson.cells)
        for cell in lesson.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None  # so that what is seen was made here
        nbformat.write(lesson, root / "notebooks" / path.name)
    shutil.copy(ROOT / "README.md", root)
    for name, values in SETTINGS.items():
        path = root / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")
    own = {
        "IPYTHONDIR": root / "ipython",
        "JUPYTER_CONFIG_DIR": root / "config",
        "JUPYTER_RUNTIME_DIR": root / "runtime",
        "JUPYTERLAB_SETTINGS_DIR": root / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": root / "workspaces",
    }
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    command = [
        *(sys.executable, str(ROOT / "tools" / "lab.py"), f"--root={root}"),
        *("--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"),
        *(f"--IdentityProvider.token={token}", "--LabApp.expose_app_in_browser=True"),
    ]
    address = f"http://127.0.0.1:{port}"
    with (root / "lab.log").open("w", encoding="utf-8") as log:
        environment = os.environ | {name: str(path) for name, path in own.items()}
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            for _ in range(600):
                assert server.poll() is None, (root / "lab.log").read_text(encoding="utf-8")
                try:
                    urllib.request.urlopen(f"{address}/api/status?token={token}", timeout=2).close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield f"{address}/lab/tree/my/{{}}?reset&token={token}"
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def test_the_footer_leads_to_the_course(browser_page: Page, lab: str) -> None:
    """Below a lesson in the reader's folder: the link to the README, which lies one folder up."""
    browser_page.goto(lab.format(LESSONS[0].name))
    browser_page.get_by_role("link", name="Course", exact=True).last.click(timeout=90_000)
    browser_page.locator(".lm-TabBar-tab[title*='README.md']").first.wait_for(timeout=30_000)


def pictures(path: Path) -> int:
    """How many pictures the lesson's committed outputs hold, without those that stand in for a live widget."""
    cells = seen_there(nbformat.read(path, as_version=4).cells)
    outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    kinds = [set(output.get("data", {})) for output in outputs]
    return sum(bool({"image/svg+xml", "image/png"} & kind) and WIDGET not in kind for kind in kinds)


def photograph(page: Page, name: str) -> None:
    """If asked for: the whole lesson, a page of the screen at a time, in JupyterLab's light and dark theme."""
    if not SCREENSHOTS:
        return
    SHOTS.mkdir(parents=True, exist_ok=True)
    panel = page.locator(".jp-Notebook .jp-WindowedPanel-outer, .jp-Notebook").last
    for theme in ("Light", "Dark"):
        page.evaluate(f"window.jupyterapp.commands.execute('apputils:change-theme', {{theme: 'JupyterLab {theme}'}})")
        page.locator(f"body[data-jp-theme-light='{str(theme == 'Light').lower()}']").wait_for(
            state="attached", timeout=20_000
        )
        page.wait_for_timeout(500)
        height, total = panel.evaluate("e => [e.clientHeight, e.scrollHeight]")
        for number, top in enumerate(range(0, total, max(height - 50, 1)), start=1):
            panel.evaluate("(e, top) => e.scrollTo(0, top)", top)
            page.wait_for_timeout(150)
            page.screenshot(path=SHOTS / f"{name}-{theme.lower()}-{number:02d}.png")
    page.evaluate("window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Light'})")


def run_all(page: Page, address: str) -> None:
    page.goto(address)
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=90_000)
    page.wait_for_function(KERNEL_IS_IDLE, timeout=90_000)  # a "Run All" before that is silently dropped
    for item in ("Run", "Run All Cells"):
        page.get_by_role("menuitem", name=item, exact=True).click()
    page.wait_for_function(ALL_CELLS_ARE_DONE, timeout=400_000)


@pytest.mark.parametrize("path", OPENED, ids=lambda path: path.stem)
def test_the_lesson_runs_in_jupyterlab(path: Path, browser_page: Page, lab: str) -> None:
    page, errors = browser_page, []
    page.on("pageerror", lambda error: errors.append(str(error)))
    run_all(page, lab.format(path.name))
    failed = page.locator(".jp-Notebook [data-mime-type='application/vnd.jupyter.error']")
    assert failed.count() == 0, failed.first.inner_text()
    expect(page.locator(".jp-Notebook")).not_to_contain_text("Error displaying widget")
    expect(page.locator(".jp-Notebook")).not_to_contain_text("Loading widget", timeout=20_000)
    shown = page.locator(".jp-OutputArea-output img").evaluate_all("all => all.map(e => [e.alt, e.naturalWidth])")
    assert len(shown) >= pictures(path)
    assert all(alt and width > 50 for alt, width in shown), shown
    for work in WORK.get(path.stem[:2], ()):
        work(page)
    photograph(page, path.stem)
    assert errors == []


TOO_WIDE_OR_NARROW = """widget => {
    const box = e => e.getBoundingClientRect();
    const seen = all => [...widget.querySelectorAll(all)].filter(e => box(e).width && box(e).height);
    const name = e => `${e.className.baseVal ?? e.className}: ${e.textContent.slice(0, 40)}`;
    const wide = seen(".jupyter-widgets, button, svg").filter(e => box(e).right > box(widget).right + 1);
    const controls = ".noUi-target, .widget-checkbox, .widget-htmlmath, input[type='number']";
    const narrow = [...widget.querySelectorAll(controls), ...seen("button")].filter(e => box(e).width < 40);
    return [box(widget).right <= window.innerWidth, wide.map(name), narrow.map(name)];
}"""


def narrow(page: Page, widget: Locator, name: str) -> None:
    """On a page of 900 pixels nothing is wider than the page, and no control is narrower than 40 pixels."""
    page.set_viewport_size({"width": 900, "height": 1400})
    page.wait_for_timeout(700)
    assert widget.evaluate(TOO_WIDE_OR_NARROW) == [True, [], []]
    SHOTS.mkdir(parents=True, exist_ok=True)
    widget.screenshot(path=SHOTS / f"{name}-900.png")
    page.set_viewport_size({"width": 1280, "height": 1400})
    page.wait_for_timeout(700)


def press(control: Locator, key: str = "Enter") -> None:
    control.focus()
    control.press(key)


def drawn(widget: Locator) -> str:
    return "".join(widget.locator("svg[role='img']").evaluate_all("all => all.map(e => e.outerHTML)"))


def work_the_duel(page: Page) -> None:
    """Enter on another op changes the cell, its accuracy and its place; a bet keeps the score."""
    widget = page.locator(".jp-OutputArea-output:has(button:text-is('Bet'))").first
    text = widget.locator(".widget-html-content").first
    text.scroll_into_view_if_needed()
    expect(text).to_contain_text("88.42 %, number 5,595 of 15,625", timeout=20_000)
    before = drawn(widget)
    press(widget.get_by_role("button", name="3x3", exact=True).nth(4))  # of the edge 1 -> 3
    expect(text).not_to_contain_text("88.42 %", timeout=20_000)
    page.wait_for_timeout(1500)  # text and drawings are messages of their own
    assert drawn(widget) != before
    press(widget.get_by_role("button", name="Bet", exact=True))
    expect(text).to_contain_text("score: you", timeout=20_000)
    expect(text).to_contain_text("this bet: dice")
    narrow(page, widget, "duel")


def work_the_string_explorer(page: Page, node: str | None = None) -> None:
    """Enter on an op's button and the space bar on a skip bit change the string, the count and the drawing."""
    widget = page.locator(".jp-OutputArea-output:has(.widget-toggle-buttons)").first
    text = widget.locator(".widget-html-content").first
    widget.scroll_into_view_if_needed()
    if node:
        press(widget.get_by_role("button", name=node, exact=True))
        expect(text).to_contain_text(f"{node.replace(' ', '.')}.0.op=", timeout=20_000)
    name = f"{node.replace(' ', '.')}.0.op" if node else "0.op"
    ops = widget.locator(".widget-toggle-buttons", has=page.get_by_text(name, exact=True)).get_by_role("button")

    def seen() -> tuple[str, str, str]:
        page.wait_for_timeout(1000)  # text and drawing are messages of their own
        lines = dict(line.split(":", 1) for line in text.inner_text().splitlines() if ":" in line)
        return lines["string"], lines["parameters"], drawn(widget)

    views = []
    for op in ops.all()[:4]:
        press(op)
        expect(text).to_contain_text(f"{name}={op.inner_text()}", timeout=20_000)
        views.append(seen())
    if not node:
        press(widget.get_by_role("checkbox", name="2.skip.0", exact=True), "Space")
        expect(text).to_contain_text("2.skip.0=1", timeout=20_000)
        views.append(seen())
    strings, counts, drawings = (set(column) for column in zip(*views, strict=True))
    assert len(strings) == len(drawings) == len(views)
    assert len(counts) > 1
    press(widget.get_by_role("button", name="Sample", exact=True))
    assert seen()[0] not in strings
    narrow(page, widget, "explorer")


BURST = """([widget, nth]) => {
    window.texts = 0;
    const text = [...widget.querySelectorAll(".widget-html-content")].find(e => e.textContent.includes("after update"));
    new MutationObserver(() => { window.texts += 1; }).observe(text, {childList: true});
    const handle = widget.querySelectorAll(".noUi-handle")[nth];
    const track = handle.closest(".noUi-base").getBoundingClientRect();
    const fire = (target, type, x, buttons) => target.dispatchEvent(new MouseEvent(type, {
        bubbles: true, cancelable: true, view: window, clientX: x, clientY: track.top, buttons}));
    fire(handle, "mousedown", track.left, 1);
    for (let k = 0; k <= 90; k++) fire(document.documentElement, "mousemove", track.left + track.width * k / 100, 1);
    fire(document.documentElement, "mouseup", track.left, 0);
}"""


def work_the_policy_sandbox(page: Page) -> None:
    """Play moves the bars from the start; keys move the settings; of many quick moves only the last ones are drawn."""
    widget = page.locator(".jp-OutputArea-output:has(button:has-text('Another run'))").first
    text = widget.locator(".widget-html-content", has_text="after update").first

    def seen() -> tuple[str, str]:
        page.wait_for_timeout(1500)  # text and drawings are messages of their own
        return text.inner_text(), drawn(widget)

    play = widget.locator(".widget-play button").first  # it is also the button for a pause
    play.scroll_into_view_if_needed()
    press(play)
    page.wait_for_timeout(1500)
    press(play)
    views = [seen()]
    update = int(re.findall(r"\d+", views[-1][0])[0])
    assert 0 < update < 100 and seen() == views[-1]
    m, rate, decay, place = widget.locator(".noUi-handle").all()
    for control, key, words in (
        (place, "ArrowRight", f"after update: {update + 1} of 100"),
        (place, "Home", "with the baseline: 0.20; with b = 0: 0.20"),
        (place, "End", "after update: 100 of 100"),
        (m, "ArrowRight", "200 runs"),
        (rate, "ArrowLeft", "200 runs"),
        (decay, "Home", "200 runs"),
        (widget.get_by_role("button", name="Another run"), "Enter", "in run 2"),
        (widget.get_by_role("checkbox", name="baseline"), "Space", "in run 2: with b = 0"),
    ):
        press(control, key)
        expect(text).to_contain_text(words, timeout=20_000)
        views.append(seen())
    texts, drawings = (set(column) for column in zip(*views, strict=True))
    assert len(drawings) == len(views) == len(texts) + 1  # the decay moves the rewards by less than is written
    press(widget.get_by_role("checkbox", name="baseline"), "Space")
    expect(text).to_contain_text("with the baseline", timeout=20_000)
    page.wait_for_timeout(1500)
    page.evaluate(BURST, [widget.element_handle(), 2])
    page.wait_for_timeout(3000)
    assert 0 < page.evaluate("window.texts") <= 3  # of 90 moves: the first, and those after it as one
    narrow(page, widget, "sandbox")


def work_the_tree_assembler(page: Page) -> None:
    """The button sets figure 5, another one chooses a function; drawing and formula follow."""
    widget = page.locator(".jp-OutputArea-output:has(button:text-is('Figure 5'))").first
    text, formula = widget.locator(".widget-html-content").first, widget.locator("mjx-container").first

    def seen() -> tuple[str, str, str]:
        string = next(line for line in text.inner_text().splitlines() if line.startswith("string:"))
        return string.removeprefix("string:").strip(), drawn(widget), formula.evaluate("e => e.outerHTML")

    button = widget.get_by_role("button", name="Figure 5")
    button.scroll_into_view_if_needed()
    formula.wait_for(timeout=20_000)
    views = [seen()]
    for choice, string in (
        (button, "0 1 1 3 1 2 0 3 1 0"),
        (widget.get_by_role("button", name="sigmoid", exact=True).first, "0 2 1 3 1 2 0 3 1 0"),
        (widget.get_by_role("button", name="2", exact=True).first, "0 2 1 3 1 2 0 3 2 0"),
    ):
        press(choice)
        expect(text).to_contain_text(string, timeout=20_000)
        page.wait_for_timeout(1500)  # string, drawing and formula are messages of their own
        views.append(seen())
    assert all(len(set(column)) == 4 for column in zip(*views, strict=True))
    narrow(page, widget, "assembler")


def work_the_controller_stepper(page: Page) -> None:
    """Enter on the button goes a decision on; Sample goes back to the first and plays; what is drawn follows."""
    widget = page.locator(".jp-OutputArea-output:has(button:text-is('Next'))").first
    text = widget.locator(".widget-html-content").first
    button = widget.get_by_role("button", name="Next")
    button.scroll_into_view_if_needed()
    expect(text).to_contain_text("1 of 18: 0.filter_height", timeout=20_000)
    before = drawn(widget)
    press(button)
    expect(text).to_contain_text("2 of 18: 0.filter_width", timeout=20_000)
    page.wait_for_timeout(1000)  # text and drawings are messages of their own
    assert drawn(widget) != before
    press(widget.locator(".noUi-handle").first, "End")
    expect(text).to_contain_text("18 of 18", timeout=20_000)
    press(widget.get_by_role("button", name="Sample"))
    expect(text).to_contain_text(re.compile(r"\b[2-9] of 18"), timeout=20_000)
    press(widget.locator(".widget-play button").first)  # a pause
    page.wait_for_timeout(1500)
    at = text.inner_text()
    page.wait_for_timeout(2000)
    assert text.inner_text() == at
    narrow(page, widget, "stepper")


def work_the_anchor_map(page: Page) -> None:
    """Keys raise the threshold, coins are tossed; text and drawing follow. The pointer on a square marks its arc."""
    widget = page.locator(".jp-OutputArea-output:has(button:has-text('Toss the coins'))").first
    text = widget.locator(".widget-html-content").first
    threshold = widget.get_by_role("spinbutton", name="threshold")
    threshold.scroll_into_view_if_needed()
    expect(text).to_contain_text("of at least 0.35", timeout=20_000)

    def seen() -> tuple[int, str]:
        page.wait_for_timeout(1500)  # text and drawings are messages of their own
        line = next(line for line in text.inner_text().splitlines() if line.startswith("skips chosen:"))
        return int(line.split(":")[1].split()[0]), drawn(widget)

    chosen, drawing = seen()
    square = widget.locator("g.chosen").first
    name = square.evaluate("e => e.classList[0]")
    arc = widget.locator(f".edge.{name} path")
    assert arc.evaluate("e => getComputedStyle(e).strokeWidth") == "1.5px"
    square.hover()
    assert arc.evaluate("e => getComputedStyle(e).strokeWidth") == "4px"
    threshold.focus()
    for _ in range(10):
        threshold.press("ArrowUp")
    expect(text).to_contain_text("of at least 0.45", timeout=20_000)
    fewer, other = seen()
    assert fewer < chosen and other != drawing
    toss, again = (widget.get_by_role("button", name=name) for name in ("Toss the coins", "Use the threshold"))
    drawings = {other}
    for k in (1, 2):
        press(toss)
        expect(text).to_contain_text(f"came up in toss {k}", timeout=20_000)
        drawings.add(seen()[1])
    press(again)
    expect(text).to_contain_text("of at least 0.45", timeout=20_000)
    assert len(drawings) == 3 and seen() == (fewer, other)
    narrow(page, widget, "anchors")


def work_the_path_explorer(page: Page) -> None:
    """Enter on the buttons trains a child, then ten more; its toggle buttons change its path, Play goes on."""
    widget = page.locator(".jp-OutputArea-output:has(button:text-is('Train'))").first
    text = widget.locator(".widget-html-content").first

    def seen() -> tuple[str, str]:
        return text.inner_text(), widget.locator("svg[role='img']").first.evaluate("e => e.outerHTML")

    train = widget.get_by_role("button", name="Train", exact=True)
    train.scroll_into_view_if_needed()
    expect(text).to_contain_text("steps spent (different children): 0 (0)", timeout=20_000)
    views = [seen()]
    for button, spent in ((train, ": 1 (1)"), (widget.get_by_role("button", name="Sample and train"), ": 11 (11)")):
        button.focus()
        button.press("Enter")
        expect(text).to_contain_text(spent, timeout=20_000)
        page.wait_for_timeout(1500)  # text and drawing are messages of their own
        views.append(seen())
    for op in widget.locator(".widget-toggle-buttons").first.get_by_role("button").all()[:2]:
        op.focus()
        op.press("Enter")
        page.wait_for_timeout(1500)
        views.append(seen())
    assert len({*views}) >= 4  # one of the two may be the op that was chosen already
    play = widget.locator(".widget-play button").first
    play.focus()
    play.press("Enter")
    expect(text).to_contain_text(": 14 (", timeout=20_000)


def work_the_blender(page: Page) -> None:
    """Arrow keys on a slider make rounding keep another op; Play lowers the temperature; the button goes back."""
    widget = page.locator(".jp-OutputArea-output:has(button:text-is('All alpha 0'))").first
    text = widget.locator(".widget-html-content").first

    def drawing() -> str:
        return widget.locator("svg[role='img']").first.evaluate("e => e.outerHTML")

    handle = widget.locator(".noUi-handle").nth(4)  # sep_conv_3x3
    handle.scroll_into_view_if_needed()
    expect(text).to_contain_text("rounding keeps: sep_conv_3x3", timeout=20_000)
    button = widget.get_by_role("button", name="All alpha 0")
    button.focus()
    button.press("Enter")
    expect(text).to_contain_text("rounding keeps: max_pool_3x3, weight 12.5%", timeout=20_000)
    page.wait_for_timeout(1500)  # text and drawing are messages of their own
    before = drawing()
    handle.focus()
    for _ in range(10):
        handle.press("ArrowRight")
    expect(text).to_contain_text("rounding keeps: sep_conv_3x3, weight 28.0%", timeout=20_000)
    page.wait_for_timeout(1500)
    after = drawing()
    play = widget.locator(".widget-play button").first
    play.focus()
    play.press("Enter")
    expect(text).to_contain_text("rounding keeps: sep_conv_3x3, weight 100.0%", timeout=30_000)  # T = 0.1
    button.focus()
    button.press("Enter")
    expect(text).to_contain_text("rounding keeps: max_pool_3x3, weight 12.5%", timeout=20_000)
    page.wait_for_timeout(1500)
    assert before == drawing() != after
    narrow(page, widget, "blender")


def work_the_toy_landscape(page: Page) -> None:
    """Play goes round by round, Step adds one; keys move where the search ends, and too large a step diverges."""
    widget = page.locator(".jp-OutputArea-output:has(button:text-is('Step'))").first
    text = widget.locator(".widget-html-content", has_text="at rest where").first
    drawings = widget.locator("svg[role='img']")

    def seen() -> str:
        page.wait_for_timeout(1500)  # text and drawings are messages of their own
        return "".join(drawings.evaluate_all("all => all.map(e => e.outerHTML)"))

    xi, *_, step, place = widget.locator(".noUi-handle").all()
    xi.scroll_into_view_if_needed()
    expect(text).to_contain_text("after 100 rounds: α = 2", timeout=20_000)
    views = {seen()}
    play = widget.locator(".widget-play button").first  # it is also the button for a pause
    play.focus()
    play.press("Enter")
    page.wait_for_timeout(1000)
    play.press("Enter")
    views.add(seen())
    at = int(re.findall(r"after (\d+) rounds", text.inner_text())[0])
    assert 0 < at < 100
    following = widget.get_by_role("button", name="Step", exact=True)
    following.focus()
    following.press("Enter")
    expect(text).to_contain_text(f"after {at + 1} rounds", timeout=20_000)
    views.add(seen())
    place.focus()
    place.press("End")
    for slider, key, words in ((xi, "End", "= 0.4:"), (step, "End", "it diverges")):
        slider.focus()
        slider.press(key)
        expect(text).to_contain_text(words, timeout=20_000)
        views.add(seen())
    assert len(views) == 5 and drawings.count() == 2


def work_the_search_scrubber(page: Page) -> None:
    """Arrow keys move through the recorded search; the step, the weights and the cursor follow, End goes to its end."""
    widget = page.locator(".jp-OutputArea-output:has-text('this cell since')").first
    text = widget.locator(".widget-html-content").first

    def seen() -> tuple[str, str]:
        return text.inner_text(), widget.locator("svg[role='img']").first.evaluate("e => e.outerHTML")

    handle = widget.locator(".noUi-handle").first
    handle.scroll_into_view_if_needed()
    expect(text).to_contain_text("(frame 1 of", timeout=20_000)
    views = [seen()]
    handle.focus()
    for key, place in (("ArrowRight", "(frame 2 of"), ("ArrowRight", "(frame 3 of"), ("End", "")):
        handle.press(key)
        expect(text).to_contain_text(place, timeout=20_000)
        page.wait_for_timeout(1500)  # text and drawings are messages of their own
        views.append(seen())
    assert all(len(set(column)) == 4 for column in zip(*views, strict=True))
    count = views[-1][0].split("(frame ")[1].split(")")[0].split(" of ")
    assert count[0] == count[1]
    assert widget.locator("svg[role='img']").count() == 2  # the tables, the cell


def work_the_search_race(page: Page) -> None:
    """Play draws the race from its start; keys move the look-up, hide a method and roll another seed."""
    widget = page.locator(".jp-OutputArea-output:has(button:has-text('Roll the dice'))").first
    text = widget.locator(".widget-html-content", has_text="look-up:").first
    drawings = widget.locator("svg[role='img']")

    def seen() -> tuple[str, str]:
        page.wait_for_timeout(1500)  # text and drawings are messages of their own
        return text.inner_text(), "".join(drawings.evaluate_all("all => all.map(e => e.outerHTML)"))

    play = widget.locator(".widget-play button").first  # it is also the button for a pause
    play.scroll_into_view_if_needed()
    views = [seen()]
    play.focus()
    play.press("Enter")
    page.wait_for_timeout(1000)
    play.press("Enter")
    views.append(seen())
    at, lookups = (int(n) for n in re.findall(r"[\d]+", views[-1][0])[:2])
    assert 1 < at < lookups and seen() == views[-1]
    handle = widget.locator(".noUi-handle").first
    handle.focus()
    for key, place in (("ArrowRight", at + 1), ("Home", 1)):
        handle.press(key)
        expect(text).to_contain_text(f"look-up: {place} of {lookups}", timeout=20_000)
        views.append(seen())
    count = drawings.count()
    method = widget.get_by_role("checkbox", name="evolution")
    method.focus()
    method.press("Space")
    views.append(seen())
    assert "evolution" not in views[-1][0] and drawings.count() == count - 1
    dice = widget.get_by_role("button", name="Roll the dice")
    dice.focus()
    dice.press("Enter")
    views.append(seen())
    seed = widget.get_by_role("spinbutton", name="seed").input_value()
    assert f"seed {seed}" in views[-1][0] and f"seed {seed}\n" not in views[-2][0]
    assert all(len(set(column)) == 6 for column in zip(*views, strict=True))


# lesson -> what a reader does with its widgets
def work_the_predictor(page: Page) -> None:
    """A mouse and keys draw on the pad, buttons change the image, a file is uploaded: the prediction follows."""
    pad = page.locator("canvas[role='application']").first
    widget = page.locator(".jp-OutputArea-output:has(canvas[role='application'])").first
    text = widget.locator(".widget-html-content", has_text="doubt").first
    pad.scroll_into_view_if_needed()

    def seen() -> tuple[str, str]:
        page.wait_for_timeout(1500)  # text and drawings are messages of their own
        return text.inner_text(), drawn(widget)

    views = [seen()]
    press(widget.get_by_role("button", name="Next example"))
    views.append(seen())
    press(widget.get_by_role("button", name="Clear"))
    views.append(seen())
    box = pad.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 10)
    page.mouse.up()
    views.append(seen())
    for key in ("ArrowLeft", "ArrowLeft", "Space"):
        press(pad, key)
    views.append(seen())
    picture = io.BytesIO()
    Image.new("L", (8, 8), 130).save(picture, "PNG")
    file = {"name": "grey.png", "mimeType": "image/png", "buffer": picture.getvalue()}
    with page.expect_file_chooser() as chooser:
        widget.get_by_role("button", name="Upload").click()
    chooser.value.set_files([file])
    views.append(seen())
    assert len({drawing for _, drawing in views}) == len(views)
    narrow(page, widget, "predictor")


WORK = {
    "00": [work_the_duel],
    "01": [work_the_string_explorer],
    "02": [work_the_policy_sandbox],
    "03": [work_the_controller_stepper, work_the_anchor_map],
    "04": [work_the_tree_assembler],
    "05": [work_the_path_explorer],
    "06": [partial(work_the_string_explorer, node="normal 3")],
    "07": [work_the_blender],
    "08": [work_the_toy_landscape],
    "09": [work_the_search_scrubber],
    "10": [work_the_search_race],
    "12": [work_the_predictor],
}
