"""Decisions of every space."""

import pytest

from naslab import spaces
from naslab.spaces import CellSpace, all_strings, allowed

from .examples import every_space


def test_allowed():
    space = spaces.darts_conv()
    first, op, second = space.decisions[:3]
    assert [*allowed(first, ())] == [0, 1] and [*allowed(op, (1,))] == [*range(7)]
    assert [*allowed(second, (1, 3))] == [0]
    for decision, tokens in [(None, ()), ("normal", ()), (second, ()), (second, None)]:
        with pytest.raises(ValueError, match="got"):
            allowed(decision, tokens)
    for bad in (None, "darts", CellSpace):
        with pytest.raises(ValueError, match="space: got"):
            all_strings(bad)


@every_space
def test_decisions_are_consistent(space):
    assert len({d.name for d in space.decisions}) == len(space.decisions)
    for position, d in enumerate(space.decisions):
        assert all(p < position for p in (*d.anchors, *d.differs_from))
        if d.row:
            assert (*space.tables[d.kind][:-1],) > d.row and space.tables[d.kind][-1] == len(d.options)
        if d.kind == "input":
            assert len(d.anchors) == len(d.options)
        if d.kind == "skip":
            assert len(d.anchors) == 1 and d.options == (0, 1)
            attended = space.decisions[d.anchors[0]]
            assert attended.name.split(".")[0] == d.name.split(".")[2]  # the anchor stands in the layer it is about
