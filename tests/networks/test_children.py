"""What every child of images has in common: shapes, seeds, devices, and what `build` refuses."""

import pytest
import torch

from naslab import spaces
from naslab.networks import build

from .children import SMALL, every_child, seeded

# Forward and backward


@every_child
@pytest.mark.parametrize("image", [(1, 28, 28), (1, 14, 14), (3, 32, 32), (3, 9, 5)])
def test_logits(space, tokens, size, image):
    model = build(space, tokens, in_channels=image[0], classes=7, **size)
    x = torch.randn(2, *image)
    assert model(x).shape == (2, 7)
    one = model.eval()(x[:1])
    assert torch.allclose(one, model(x)[:1], atol=1e-5)


@every_child
def test_everything_built_is_used(space, tokens, size):
    model = build(space, tokens, **size)
    model(torch.randn(2, 3, 16, 16)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@every_child
def test_same_seed_same_child(space, tokens, size):
    one, two = seeded(space, tokens, **size).state_dict(), seeded(space, tokens, **size).state_dict()
    assert list(one) == list(two) and all(torch.equal(one[k], two[k]) for k in one)


@every_child
def test_follows_the_device_and_dtype_of_its_input(space, tokens, size):
    with torch.device("meta"):
        model = build(space, tokens, **size)
    assert model.train()(torch.empty(2, 3, 16, 16, device="meta")).device.type == "meta"
    assert build(space, tokens, **size).double()(torch.randn(2, 3, 16, 16).double()).dtype == torch.float64


# Bad input


@pytest.mark.parametrize("space", [spaces.darts_rnn(), spaces.enas_rnn(), spaces.TreeSpace(), None])
def test_other_spaces(space):
    tokens = () if space is None else space.sample(torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"space: got .*expected"):
        build(space, tokens, channels=4)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("darts", {"channels": 1}, "channels: got 1"),
        ("darts", {"channels": 4.0}, "channels: got 4.0"),
        ("darts", {"cells": 0}, "cells: got 0"),
        ("darts", {"in_channels": 0}, "in_channels: got 0"),
        ("darts", {"classes": None}, "classes: got None"),
        ("enas macro", {"cells": 6}, "cells: got 6, expected None: the space has 6 layers"),
        ("enas macro", {"auxiliary": True}, "auxiliary"),
        ("nas-bench-201", {"auxiliary": True}, "auxiliary"),
        ("nas-bench-201", {"plain": 1}, "plain: got 1, expected True or False"),
        ("darts", {"plain": True}, "plain: got True, only a child of a MacroSpace or in NAS-Bench-201's"),
        ("conv", {"plain": True}, "plain: got True"),
        ("nas-bench-201", {"channels": None}, "channels: got None, expected an int of at least 2"),
        ("conv", {"channels": 8}, "channels: got 8, expected None: the string says every layer's filters"),
        ("conv", {"cells": 4}, "cells: got 4, expected None: the space has 4 layers"),
        ("conv", {"cells": 0}, "cells: got 0"),
        ("conv", {"auxiliary": True}, "auxiliary"),
        ("conv", {"classes": 0}, "classes: got 0"),
        ("conv", {"in_channels": "three"}, "in_channels: got 'three'"),
    ],
)
def test_bad_arguments(name, arguments, message):
    space, tokens, size = SMALL[name]
    with pytest.raises(ValueError, match=message):
        build(**({"space": space, "tokens": tokens} | size | arguments))


@every_child
def test_bad_tokens(space, tokens, size):
    for bad in (tokens[:-1], (99, *tokens[1:]), None, "normal"):
        with pytest.raises(ValueError):
            build(space, bad, **size)


def test_unknown_ops():
    space = spaces.CellSpace(("normal", "reduce"), 1, 2, ("conv_7x7", "skip_connect"), 2)
    with pytest.raises(ValueError, match=r"ops \['conv_7x7'\], expected ops among"):
        build(space, space.sample(torch.Generator().manual_seed(0)), channels=4)
