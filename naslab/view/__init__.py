"""Drawings, plots and widgets; the only modules that import matplotlib, graphviz and ipywidgets.

Whatever is shown has alternative text, colours that the colour-blind can tell apart and never the only signal, an
opaque background for light and dark themes, and the same bytes for the same input.
"""

from naslab.view.anchors import anchor_map, anchor_picture, skip_probabilities
from naslab.view.assembler import tree_assembler
from naslab.view.blender import blend_picture, mixed_op_blender
from naslab.view.explorer import string_explorer
from naslab.view.graphs import architecture
from naslab.view.landscape import landscape_picture, toy_landscape
from naslab.view.paths import path_explorer, path_picture
from naslab.view.picture import Picture
from naslab.view.plots import bars, curves, heatmap, histogram, images, points
from naslab.view.sandbox import policy_picture, policy_sandbox
from naslab.view.scrubber import Frame, search_picture, search_scrubber
from naslab.view.stepper import controller_stepper, step_picture
from naslab.view.text import source

__all__ = [
    "Frame",
    "Picture",
    "anchor_map",
    "anchor_picture",
    "architecture",
    "bars",
    "blend_picture",
    "controller_stepper",
    "curves",
    "heatmap",
    "histogram",
    "images",
    "landscape_picture",
    "mixed_op_blender",
    "path_explorer",
    "path_picture",
    "points",
    "policy_picture",
    "policy_sandbox",
    "search_picture",
    "search_scrubber",
    "skip_probabilities",
    "source",
    "step_picture",
    "string_explorer",
    "toy_landscape",
    "tree_assembler",
]
