"""Drawings, plots and widgets; the only modules that import matplotlib, graphviz and ipywidgets.

Whatever is shown has alternative text, colours that the colour-blind can tell apart and never the only signal, an
opaque background for light and dark themes, and the same bytes for the same input.
"""

from naslab.view.graphs import architecture
from naslab.view.picture import Picture
from naslab.view.plots import bars, curves, heatmap, histogram, images, points
from naslab.view.text import source
from naslab.view.widgets import string_explorer

__all__ = [
    "Picture",
    "architecture",
    "bars",
    "curves",
    "heatmap",
    "histogram",
    "images",
    "points",
    "source",
    "string_explorer",
]
