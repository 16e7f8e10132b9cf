"""Counts of training steps: how many each set of weights gets if all children train alone, and if they share.

A set of weights belongs to one op in one layer. In NAS each different child has its own set; in ENAS all children share
one (Pham et al. 2018, Training ENAS and Deriving Architectures). Pools have no weights. The weights outside the ops are
not counted: stem, reductions, projections of skips and classifier.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from naslab.ops import CONV_OPS
from naslab.spaces import MacroSpace, Tokens

Set = tuple[int, int]  # of weights: layer, op


@dataclass(frozen=True)
class Counts:
    """One training step for each of `children`, strings of the space, in order. A child may appear more than once."""

    space: MacroSpace
    children: tuple[Tokens, ...] = ()

    @cached_property
    def sets(self) -> tuple[Set, ...]:
        """All sets of weights of the supergraph."""
        ops = [k for k, op in enumerate(self.space.ops) if has_weights(op)]
        return tuple((i, k) for i in range(self.space.layers) for k in ops)

    @cached_property
    def different(self) -> frozenset[Tokens]:
        """The children, each once."""
        return frozenset(self.children)

    @cached_property
    def steps(self) -> Counter[Set]:
        """Number of steps that trained each shared set: those of all children that use it."""
        return Counter(s for child in self.children for s in self.own(child))

    @cached_property
    def sharers(self) -> Counter[Set]:
        """Number of different children that trained each shared set."""
        return Counter(s for child in self.different for s in self.own(child))

    def path(self, child: Tokens) -> tuple[Set, ...]:
        """The op of each layer, with or without weights."""
        return tuple((i, child[p]) for i, p in enumerate(self._places))

    def own(self, child: Tokens) -> tuple[Set, ...]:
        """The sets of weights that a step of the child trains."""
        return tuple((i, k) for i, k in self.path(child) if has_weights(self.space.ops[k]))

    def alone(self, child: Tokens) -> int:
        """Number of steps of each of the child's sets in NAS: its own steps."""
        return self.children.count(child)

    def together(self, child: Tokens) -> tuple[int, ...]:
        """Number of steps of each of the child's sets in ENAS."""
        return tuple(self.steps[s] for s in self.own(child))

    @property
    def copies(self) -> int:
        """Number of sets that NAS has trained. ENAS has trained `len(steps)`."""
        return sum(len(self.own(child)) for child in self.different)

    @property
    def equivalent(self) -> float:
        """Number of steps that NAS needs to give each different child's sets as many as ENAS does, on average."""
        return sum(mean(self.together(child)) for child in self.different)

    @cached_property
    def _places(self) -> tuple[int, ...]:
        return tuple(p for p, d in enumerate(self.space.decisions) if d.kind == "op")


def count(space: MacroSpace, children: Iterable[Tokens] = ()) -> Counts:
    """The counts after one step for each of `children`.

    Raises `ValueError` for another kind of space and for tokens that are not a string of it.
    """
    if not isinstance(space, MacroSpace):
        raise ValueError(f"space: got {type(space).__name__}, expected MacroSpace")
    return Counts(space, tuple(space.check(child) for child in children))


def costs(counts: Counts, child: Tokens | None) -> list[tuple[str, str, str]]:
    """Rows (name, value in (a) NAS, value in (b) ENAS) after the same steps."""
    spent, different = len(counts.children), len(counts.different)
    updates, copies, shared = sum(counts.steps.values()), counts.copies, len(counts.steps)
    alone = here = "no child yet" if child is None else "no weights"
    if child is not None and (had := counts.together(child)):
        alone, here = f"{counts.alone(child):,}", f"{mean(had):,.1f}, from {min(had):,} to {max(had):,}"
    return [
        ("steps spent (different children)", *2 * (f"{spent:,} ({different:,})",)),
        ("sets of op weights trained", f"{copies:,}", f"{shared:,} of {len(counts.sets):,}"),
        ("mean steps of a set", f"{updates / max(1, copies):,.1f}", f"{updates / max(1, shared):,.1f}"),
        ("mean steps of this child's sets", alone, here),
        ("steps to give each child as many as (b)", f"{counts.equivalent:,.0f}", f"{spent:,}"),
    ]


def mean(numbers: Sequence[int]) -> float:
    """The mean. 0 if there are no numbers."""
    return sum(numbers) / len(numbers) if numbers else 0.0


@cache
def has_weights(op: str) -> bool:
    """Whether the op has parameters. An op that is not in `CONV_OPS` is taken to have some."""
    return op not in CONV_OPS or any(True for _ in CONV_OPS[op](2, 1).parameters())
