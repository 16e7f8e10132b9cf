"""The books of training steps: what each leaves for later children if every child trains alone, and if they share.

A set of weights belongs to one op in one layer: in NAS every different child has its own, in ENAS there is one for all
(Pham et al. 2018, Training ENAS and Deriving Architectures). Pools have none. Left out is what is trained besides ops:
stem, reductions, the projections of skips, classifier.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from naslab.ops import CONV_OPS
from naslab.spaces import MacroSpace, Tokens

Set = tuple[int, int]  # of weights: layer, op


@dataclass(frozen=True)
class Counts:
    """What one training step for each of `children` did, strings of the space in order; a child may come again."""

    space: MacroSpace
    children: tuple[Tokens, ...] = ()

    @cached_property
    def sets(self) -> tuple[Set, ...]:
        """All sets of weights that there are to share."""
        ops = [k for k, op in enumerate(self.space.ops) if has_weights(op)]
        return tuple((i, k) for i in range(self.space.layers) for k in ops)

    @cached_property
    def different(self) -> frozenset[Tokens]:
        return frozenset(self.children)

    @cached_property
    def steps(self) -> Counter[Set]:
        """How many steps have trained each shared set: those of all children that have it."""
        return Counter(s for child in self.children for s in self.own(child))

    @cached_property
    def sharers(self) -> Counter[Set]:
        """How many different children have trained each shared set."""
        return Counter(s for child in self.different for s in self.own(child))

    def path(self, child: Tokens) -> tuple[Set, ...]:
        """The op of every layer, with weights or without."""
        return tuple((i, child[p]) for i, p in enumerate(self._places))

    def own(self, child: Tokens) -> tuple[Set, ...]:
        """The sets of weights that a step of the child trains."""
        return tuple((i, k) for i, k in self.path(child) if has_weights(self.space.ops[k]))

    def alone(self, child: Tokens) -> int:
        """How many steps the child's sets have had in NAS: its own."""
        return self.children.count(child)

    def together(self, child: Tokens) -> tuple[int, ...]:
        """How many steps each of the child's sets has had in ENAS."""
        return tuple(self.steps[s] for s in self.own(child))

    @property
    def copies(self) -> int:
        """How many sets NAS has trained; ENAS has trained `len(steps)`."""
        return sum(len(self.own(child)) for child in self.different)

    @property
    def equivalent(self) -> float:
        """The steps with which NAS gives the sets of each different child as many as they have, on average, in ENAS."""
        return sum(mean(self.together(child)) for child in self.different)

    @cached_property
    def _places(self) -> tuple[int, ...]:
        return tuple(p for p, d in enumerate(self.space.decisions) if d.kind == "op")


def costs(counts: Counts, child: Tokens | None) -> list[tuple[str, str, str]]:
    """Rows of what is counted, its value in (a) NAS and its value in (b) ENAS, after the same steps."""
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
        ("steps to give each child as many as (b) does", f"{counts.equivalent:,.0f}", f"{spent:,}"),
    ]


def mean(numbers: Sequence[int]) -> float:
    return sum(numbers) / len(numbers) if numbers else 0.0


@cache
def has_weights(op: str) -> bool:
    return op not in CONV_OPS or any(True for _ in CONV_OPS[op](2, 1).parameters())
