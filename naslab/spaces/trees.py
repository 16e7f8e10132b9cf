"""The space of recurrent cells that are binary trees."""

from dataclasses import dataclass
from functools import cached_property

from naslab import checks
from naslab.spaces import common
from naslab.spaces.protocol import Decision


@dataclass(frozen=True)
class TreeSpace:
    """Recurrent cells as binary trees (Zoph & Le 2017, section 3.4 and figure 5).

    Nodes 0 to base - 1 are leaves and read x_t and h_(t-1). Node base + i combines nodes 2i and 2i + 1. The last node
    is the root.

    Every node chooses a combination and an activation. One further combination and activation inject c_(t-1). The last
    two decisions are cell indices: the node whose value before activation becomes c_t, and the node into which c_(t-1)
    is injected.
    Base 8 gives 15^2 8^16 = 6.3e16 strings, the paper's "approximately 6 x 10^16".
    """

    base: int = 8
    combine: tuple[str, ...] = ("add", "elem_mult")
    activation: tuple[str, ...] = ("identity", "tanh", "sigmoid", "relu")

    def __post_init__(self) -> None:
        checks.whole(1, base=self.base)
        checks.plain_fields(self)
        common.check_options("combine", self.combine)
        common.check_options("activation", self.activation)

    @property
    def nodes(self) -> int:
        return 2 * self.base - 1

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        found: list[Decision] = []
        for i in range(self.nodes):
            found.append(Decision(f"{i}.combine", self.combine, "combine", (i,)))
            found.append(Decision(f"{i}.activation", self.activation, "activation", (i,)))
        found.append(Decision("inject.combine", self.combine, "inject_combine", (0,)))
        found.append(Decision("inject.activation", self.activation, "inject_activation", (0,)))
        places = tuple(range(self.nodes))
        return (*found, *(Decision(f"cell_index.{k}", places, "cell_index", (k,)) for k in range(2)))

    @property
    def tables(self) -> dict[str, tuple[int, ...]]:
        return {
            "combine": (self.nodes, len(self.combine)),
            "activation": (self.nodes, len(self.activation)),
            "inject_combine": (1, len(self.combine)),
            "inject_activation": (1, len(self.activation)),
            "cell_index": (2, self.nodes),
        }

    size = strings = property(common.strings)
    check = canonical = common.check
    sample = common.sample
    one_hot = common.one_hot
    discretise = common.discretise
