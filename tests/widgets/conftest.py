import pytest

from naslab import spaces, view


@pytest.fixture
def explorer():
    return view.string_explorer(
        spaces.darts_conv(nodes=2), [0, 3, 1, 2, 1, 2, 2, 3] * 2, lambda t: 1000 * sum(t), seed=3
    )
