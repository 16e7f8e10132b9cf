"""One widget a file. A widget has controls, and a text and drawings that follow them; `base` holds what all share.

The modules of `naslab.view` compute and draw what a widget shows. They need no widgets.
"""
