"""Bundled sets, read once for a file of tests."""

import pytest

from naslab import data


@pytest.fixture(scope="module")
def fashion():
    return data.fashion()


@pytest.fixture(scope="module")
def novel():
    return data.pride_and_prejudice()
