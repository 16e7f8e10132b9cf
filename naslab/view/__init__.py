"""Pictures, and widgets that show them. Only `view` imports matplotlib and graphviz, only `view.widgets` ipywidgets.

Each picture has alternative text, colours that colour-blind readers can tell apart and that are never the only signal,
an opaque background for light and dark themes, and the same bytes for the same input.
"""

from naslab.view.blend import blend_picture
from naslab.view.decisions import step_picture
from naslab.view.duel import place_picture
from naslab.view.graphs import architecture
from naslab.view.grid import path_picture
from naslab.view.landscape import landscape_picture
from naslab.view.mixture import mixed_cells
from naslab.view.picture import Picture
from naslab.view.plots import bars, curves, heatmap, histogram, images, points
from naslab.view.policy import policy_picture
from naslab.view.race import race_picture
from naslab.view.recording import Frame, search_picture
from naslab.view.simplex import simplex_picture
from naslab.view.skeleton import skeleton_picture
from naslab.view.skips import anchor_picture, skip_probabilities
from naslab.view.text import source
from naslab.view.widgets.anchors import anchor_map
from naslab.view.widgets.assembler import tree_assembler
from naslab.view.widgets.blender import mixed_op_blender
from naslab.view.widgets.duel import cell_duel
from naslab.view.widgets.explorer import string_explorer
from naslab.view.widgets.landscape import toy_landscape
from naslab.view.widgets.paths import path_explorer
from naslab.view.widgets.race import search_race
from naslab.view.widgets.sandbox import policy_sandbox
from naslab.view.widgets.scrubber import search_scrubber
from naslab.view.widgets.stepper import controller_stepper

__all__ = [
    "Frame",
    "Picture",
    "anchor_map",
    "anchor_picture",
    "architecture",
    "bars",
    "blend_picture",
    "cell_duel",
    "controller_stepper",
    "curves",
    "heatmap",
    "histogram",
    "images",
    "landscape_picture",
    "mixed_cells",
    "mixed_op_blender",
    "path_explorer",
    "path_picture",
    "place_picture",
    "points",
    "policy_picture",
    "policy_sandbox",
    "race_picture",
    "search_picture",
    "search_race",
    "search_scrubber",
    "simplex_picture",
    "skeleton_picture",
    "skip_probabilities",
    "source",
    "step_picture",
    "string_explorer",
    "toy_landscape",
    "tree_assembler",
]
