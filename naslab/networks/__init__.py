"""The networks that architectures describe.

`build` and `build_recurrent` make a child: the network of one architecture, with its chosen ops only. `MacroNet`,
`ConvNet`, `BenchNet` and `RecurrentNet` are supergraphs: one network for a whole space, called as `model(x, weights)`.
"""

from naslab.networks.cells import BenchChild, Cell, CellChild
from naslab.networks.children import build, build_recurrent
from naslab.networks.layers import ConvChild
from naslab.networks.macro import MacroChild
from naslab.networks.mixed import Matrices, MixedCell, MixedOp, MixedRecurrentCell
from naslab.networks.parts import count_parameters
from naslab.networks.recurrent import Dropouts, RecurrentCell, RecurrentChild, State, TreeCell, start_within
from naslab.networks.recurrent_supergraph import RecurrentNet
from naslab.networks.supergraph import BenchNet, ConvNet, MacroNet

__all__ = [
    "BenchChild",
    "BenchNet",
    "Cell",
    "CellChild",
    "ConvChild",
    "ConvNet",
    "Dropouts",
    "MacroChild",
    "MacroNet",
    "Matrices",
    "MixedCell",
    "MixedOp",
    "MixedRecurrentCell",
    "RecurrentCell",
    "RecurrentChild",
    "RecurrentNet",
    "State",
    "TreeCell",
    "build",
    "build_recurrent",
    "count_parameters",
    "start_within",
]
