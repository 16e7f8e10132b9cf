"""Builds a child: the network of the architecture that a string names.

`build` makes a convolutional network. It maps images (B, in_channels, H, W) to logits (B, classes), for any H and W.
`build_recurrent` makes a language model of a tree or a cell. It maps tokens (T, B) to logits (T, B, vocabulary).
"""

from collections.abc import Iterable
from typing import get_args

from torch import nn

from naslab import checks
from naslab.networks.cells import BenchChild, CellChild
from naslab.networks.layers import ConvChild
from naslab.networks.macro import MacroChild
from naslab.networks.mixed import Matrices
from naslab.networks.recurrent import Dropouts, RecurrentCell, RecurrentChild, TreeCell, check_language_model
from naslab.ops import ACTIVATIONS, COMBINERS, CONV_OPS
from naslab.spaces import NONE, CellSpace, ConvSpace, MacroSpace, Space, TreeSpace


def build(
    space: Space,
    tokens: Iterable[int],
    *,
    channels: int | None = None,
    cells: int | None = None,
    in_channels: int = 3,
    classes: int = 10,
    auxiliary: bool = False,
    plain: bool = False,
) -> "CellChild | BenchChild | MacroChild | ConvChild":
    """Builds the child that `tokens` names. Its weights are drawn from torch's global generator.

    - `CellSpace` of normal and reduction cells: `CellChild` with `cells` cells (default 20); the first has `channels`.
    - `CellSpace` of one cell with output "last": `BenchChild` with `cells` cells (default 5) in each of three stages.
    - `MacroSpace`: `MacroChild`. The space determines its depth, so `cells` must be None.
    - `ConvSpace`: `ConvChild`. The string determines its filters, too, so `channels` and `cells` must be None.

    `auxiliary` adds the auxiliary head of a `CellChild`; `plain` chooses the plain skeleton of a `BenchChild` or
    `MacroChild`. Raises `ValueError` for any other space, for tokens outside the space and for numbers out of range.
    Under `torch.device("meta")` a child takes no memory, and its parameters can still be counted.
    """
    check_build(space, channels, cells, in_channels, classes, auxiliary, plain)
    if isinstance(space, ConvSpace):
        return ConvChild(space, tokens, in_channels, classes)
    assert isinstance(channels, int)
    if isinstance(space, MacroSpace):
        return MacroChild(space, tokens, channels, in_channels, classes, plain)
    assert isinstance(space, CellSpace)
    if space.inputs == 2:
        return CellChild(space, tokens, channels, cells or 20, in_channels, classes, auxiliary)
    return BenchChild(space, tokens, channels, cells or 5, in_channels, classes, plain)


def check_build(
    space: Space,
    channels: int | None,
    cells: int | None,
    in_channels: int,
    classes: int,
    auxiliary: bool = False,
    plain: bool = False,
) -> type[nn.Module]:
    """Returns the class of the child that `build` makes. Raises the same `ValueError`s, but does not check tokens."""
    checks.whole(1, in_channels=in_channels, classes=classes, **({} if cells is None else {"cells": cells}))
    checks.flag(auxiliary=auxiliary, plain=plain)
    if auxiliary and not (isinstance(space, CellSpace) and space.cells == ("normal", "reduce")):
        raise ValueError("auxiliary: got True, only a child of normal and reduction cells has an auxiliary head")
    if plain and not (isinstance(space, MacroSpace) or (isinstance(space, CellSpace) and space.cells == ("cell",))):
        raise ValueError("plain: got True, only a child of a MacroSpace or in NAS-Bench-201's skeleton can be plain")
    if isinstance(space, MacroSpace | ConvSpace) and cells is not None:
        raise ValueError(f"cells: got {cells}, expected None: the space has {space.layers} layers")
    if isinstance(space, ConvSpace):
        if channels is not None:
            raise ValueError(f"channels: got {channels!r}, expected None: the string says every layer's filters")
        return ConvChild

    if not isinstance(channels, int):
        raise ValueError(f"channels: got {channels!r}, expected an int of at least 2")
    checks.whole(2, channels=channels)
    if unknown := [op for op in getattr(space, "ops", ()) if op not in CONV_OPS]:
        raise ValueError(f"space: got ops {unknown}, expected ops among {sorted(CONV_OPS)}")
    if isinstance(space, MacroSpace):
        return MacroChild
    if isinstance(space, CellSpace) and space.cells == ("normal", "reduce") and space.inputs == 2:
        return CellChild
    if isinstance(space, CellSpace) and space.cells == ("cell",) and space.inputs == 1 and space.output == "last":
        return BenchChild
    raise ValueError(
        f"space: got {space!r}, expected a ConvSpace, a MacroSpace or a CellSpace, either of cells ('normal', "
        "'reduce') with 2 inputs, or of cells ('cell',) with 1 input and output 'last'"
    )


def build_recurrent(
    space: TreeSpace | CellSpace,
    tokens: Iterable[int],
    *,
    vocabulary: int,
    units: int,
    layers: int = 1,
    dropout: "float | Dropouts" = 0.0,
    matrices: Matrices = "source",
) -> "RecurrentChild":
    """Builds a language model with the cell that `tokens` names: a `RecurrentChild` of `TreeCell` or `RecurrentCell`.

    Zoph & Le 2017, section 4.2, use two layers; Pham et al. 2018 and Liu et al. 2019 use one. `matrices` is explained
    in `MixedRecurrentCell`; trees ignore it. Raises `ValueError` for any other space, for tokens outside the space and
    for values out of range.
    """
    check_build_recurrent(space, vocabulary, units, layers, dropout, matrices)
    if isinstance(space, TreeSpace):
        chosen = space.check(tokens)
        return RecurrentChild(lambda n: TreeCell(space, chosen, n), vocabulary, units, layers, dropout)
    (nodes,) = space.pairs(tokens).values()
    return RecurrentChild(lambda n: RecurrentCell(space, nodes, n, matrices), vocabulary, units, layers, dropout)


def check_build_recurrent(
    space: Space, vocabulary: int, units: int, layers: int, dropout: "float | Dropouts", matrices: str
) -> None:
    """Raises the `ValueError`s of `build_recurrent`, but does not check tokens."""
    check_language_model(vocabulary, units, layers, dropout)
    if not isinstance(space, TreeSpace):
        check_recurrent(space, matrices)
        return
    for name, known in (("combine", COMBINERS), ("activation", ACTIVATIONS)):
        if unknown := [f for f in getattr(space, name) if f not in known]:
            raise ValueError(f"{name}: got {unknown}, expected functions among {sorted(known)}")
    if isinstance(dropout, Dropouts) and dropout.hidden:
        raise ValueError(f"hidden: got {dropout.hidden}, expected 0: a TreeCell takes no mask")


def check_recurrent(space: Space, matrices: str) -> None:
    """Raises `ValueError` if the space has no recurrent cells or `matrices` is unknown."""
    if not isinstance(space, CellSpace) or (len(space.cells), space.inputs, space.fan_in) != (1, 1, 1):
        raise ValueError(
            f"space: got {space!r}, expected a TreeSpace, or a CellSpace of one cell with one input and fan_in 1"
        )
    if unknown := [op for op in space.ops if op not in (*ACTIVATIONS, NONE)]:
        raise ValueError(f"space: got ops {unknown}, expected functions among {sorted(ACTIVATIONS)}")
    if matrices not in get_args(Matrices):
        raise ValueError(f"matrices: got {matrices!r}, expected one of {', '.join(get_args(Matrices))}")
