"""What all widgets share: the still picture of their state in the display bundle."""

import base64

import nbconvert
import nbformat
import numpy as np
import torch
from cases import controller_of, recorded
from test_view import sample

from naslab import spaces, tables, view
from naslab.networks import MixedOp
from naslab.view.canvas import above
from naslab.view.doubt import doubt_picture
from naslab.view.race import record
from naslab.view.widgets.base import Pictured
from naslab.view.widgets.predictor import predictor

VIEW = "application/vnd.jupyter.widget-view+json"


def all_widgets():
    """Each widget in a state that it did not start in, with the still picture of that state."""
    macro, tree = spaces.MacroSpace(layers=3), spaces.TreeSpace(base=2)
    controller, edge = controller_of(macro), MixedOp(spaces.DARTS_OPS, 2, 1, affine=False, pool_norm=True)
    one, other = sample(macro, 0), sample(macro, 1)
    widget = predictor(lambda pixels: np.array([[0.25, 0.75]]), "ab", (1, 4, 4))
    widget.pad.value = [9] * 16
    yield widget, doubt_picture(widget.pixels, "ab", widget.probabilities)
    widget = view.string_explorer(macro, one, len)
    widget.tokens = other
    yield widget, view.architecture(macro, other)
    widget = view.tree_assembler(tree, sample(tree, 0))
    widget.tokens = sample(tree, 1)
    yield widget, view.architecture(tree, sample(tree, 1))
    widget = view.controller_stepper(controller, one)
    widget.decision = 3
    yield widget, view.step_picture(controller, one, 3)
    widget = view.anchor_map(controller, one)
    widget.threshold = 0.2
    yield widget, view.anchor_picture(controller, one, 0.2)
    widget = view.path_explorer(macro)
    widget.tokens = one
    widget.train.click()
    yield widget, view.path_picture(macro, [one])
    widget = view.policy_sandbox(repeats=20, updates=12)
    widget.m.value = 2
    yield widget, view.policy_picture(repeats=20, updates=12, m=2)
    x = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    widget = view.mixed_op_blender(edge, x)
    widget.channel.value = 1
    yield widget, view.blend_picture(edge, x, channel=1)
    widget = view.toy_landscape(rounds=20)
    widget.sliders["xi"].value = 0.0
    yield widget, view.landscape_picture(rounds=20, xi=0.0)
    frames = recorded(spaces.darts_conv(2), count=3)
    widget = view.search_scrubber(spaces.darts_conv(2), frames)
    widget.frame = 1
    yield widget, view.search_picture(spaces.darts_conv(2), frames, 1)
    table = tables.nas_bench_201()
    widget = view.cell_duel(table, table.best)
    drawn = [view.architecture(table.space, table.best), view.place_picture(table, table.best)]
    yield widget, above("Your cell and its place", *drawn)
    widget = view.search_race(tables.nas_bench_201(), lookups=12)
    widget.at = 5
    yield widget, view.race_picture(record(tables.nas_bench_201(), lookups=12), 5)


def test_every_widget_has_the_still_picture_of_its_state_in_its_bundle():
    kinds = set()
    for widget, still in all_widgets():
        data, metadata = widget._repr_mimebundle_()
        assert widget.picture == still
        assert data == still._repr_mimebundle_()[0] | {"text/plain": repr(widget), VIEW: data[VIEW]}
        assert metadata == {"image/svg+xml": {"alt": still.alt}} and data[VIEW]["model_id"] == widget.model_id
        kinds.add(type(widget))
    assert kinds == {*Pictured.__subclasses__()}


def test_a_widget_without_a_drawing_has_no_picture(explorer):
    names = list(explorer.choices)
    explorer.choices[names[0]].value = explorer.choices[names[2]].value = 0  # both inputs of a node
    assert explorer.picture is None and explorer.drawing == ""
    data, metadata = explorer._repr_mimebundle_()
    assert sorted(data) == [VIEW, "text/plain"] and metadata == {}


def test_a_static_page_shows_the_picture():
    """nbconvert, of a notebook whose widgets' state is not stored, which is how ours are."""
    for widget, still in all_widgets():
        data, metadata = widget._repr_mimebundle_()
        output = nbformat.v4.new_output("display_data", data, metadata=metadata)
        cell = nbformat.v4.new_code_cell("widget", outputs=[output])
        page, _ = nbconvert.HTMLExporter().from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
        assert still.svg in page or base64.b64encode(still.svg.encode()).decode() in page
        assert repr(widget) not in page
