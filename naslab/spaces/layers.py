"""Spaces of convolutional networks whose layers are chosen one by one."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from naslab import checks
from naslab.spaces import common
from naslab.spaces.protocol import Decision


def skip_bits(layer: int, anchors: Sequence[int]) -> list[Decision]:
    return [Decision(f"{layer}.skip.{j}", (0, 1), "skip", (layer, j), (anchors[j],)) for j in range(layer)]


@dataclass(frozen=True)
class ConvSpace:
    """Convolutional networks whose layers choose their filters and inputs (Zoph & Le 2017, sections 3.1 and 3.3).

    A layer first chooses filter height, filter width, stride height, stride width and number of filters. With `pooling`
    it then chooses the size of a max pool after it; 1 means no pool. With `skips` it then chooses a skip bit for every
    earlier layer. The table `skip` is (layers, layers, 2); every other kind has a table (layers, options).
    """

    layers: int = 6
    heights: tuple[int, ...] = (1, 3, 5, 7)
    widths: tuple[int, ...] = (1, 3, 5, 7)
    strides: tuple[int, ...] = (1,)
    filters: tuple[int, ...] = (24, 36, 48, 64)
    skips: bool = True
    pooling: tuple[int, ...] = ()  # such as (1, 2); the paper's experiment has two pooling layers at fixed places

    def __post_init__(self) -> None:
        checks.whole(1, layers=self.layers)
        checks.flag(skips=self.skips)
        for name, options in self.attributes.items():
            common.check_options(name, options, common.is_size)
        checks.plain_fields(self)

    @property
    def attributes(self) -> dict[str, tuple[int, ...]]:
        """The decisions of a layer that precede its skip bits, in order: kind -> options."""
        chosen = {
            "filter_height": self.heights,
            "filter_width": self.widths,
            "stride_height": self.strides,
            "stride_width": self.strides,
            "filters": self.filters,
        }
        return chosen | ({"pool": self.pooling} if self.pooling != () else {})

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        found: list[Decision] = []
        anchors: list[int] = []  # per layer, the position of its last attribute
        for i in range(self.layers):
            found += [Decision(f"{i}.{kind}", o, kind, (i,)) for kind, o in self.attributes.items()]
            anchors.append(len(found) - 1)
            if self.skips:
                found += skip_bits(i, anchors)
        return tuple(found)

    @property
    def tables(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {k: (self.layers, len(o)) for k, o in self.attributes.items()}
        return shapes | ({"skip": (self.layers, self.layers, 2)} if self.skips else {})

    size = strings = property(common.strings)
    check = canonical = common.check
    sample = common.sample
    one_hot = common.one_hot
    discretise = common.discretise


@dataclass(frozen=True)
class MacroSpace:
    """Whole convolutional networks (Pham et al. 2018, Designing Convolutional Networks).

    Each layer chooses an op, then a skip bit for every earlier layer. With L layers and K ops there are
    K^L 2^(L(L-1)/2) strings. The tables are `op` (L, K) and `skip` (L, L, 2). The entry [i, j, 1] of `skip` is the
    weight of "layer i also reads layer j".
    """

    layers: int = 12
    ops: tuple[str, ...] = (
        "conv_3x3",
        "sep_conv_3x3",
        "conv_5x5",
        "sep_conv_5x5",
        "avg_pool_3x3",
        "max_pool_3x3",
    )  # in the order of the authors' strings

    def __post_init__(self) -> None:
        checks.whole(1, layers=self.layers)
        common.check_options("ops", self.ops)
        checks.plain_fields(self)

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        found: list[Decision] = []
        anchors: list[int] = []  # per layer, the position of its op
        for i in range(self.layers):
            anchors.append(len(found))
            found.append(Decision(f"{i}.op", self.ops, "op", (i,)))
            found += skip_bits(i, anchors)
        return tuple(found)

    @property
    def tables(self) -> dict[str, tuple[int, ...]]:
        return {"op": (self.layers, len(self.ops)), "skip": (self.layers, self.layers, 2)}

    size = strings = property(common.strings)
    check = canonical = common.check
    sample = common.sample
    one_hot = common.one_hot
    discretise = common.discretise
