"""What is done to training images."""

import collections
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from fake_device import fake_gpu
from hypothesis import given
from hypothesis import strategies as st

from naslab import data, training
from naslab.training import Recipe
from naslab.training.augmentation import augmented, cut_out, moved


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def square(height, width, side, row, column):
    """The pixels of a square centred on one of the image's, as the border cuts it off."""
    start = -(side // 2)
    steps = range(start, start + side)
    return frozenset((y, x) for y in range(height) for x in range(width) if y - row in steps and x - column in steps)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 9))
def test_the_squares_of_every_centre(height, width, side):
    n = 40 * height * width
    x = torch.rand(n, 2, height, width, generator=seeded(1)) + 1
    before = x.clone()
    out = cut_out(x, side, seeded(height + 10 * width + 100 * side))
    assert torch.equal(x, before)
    gone = out == 0
    assert torch.equal(gone[:, 0], gone[:, 1]) and torch.equal(out[~gone], x[~gone])
    found = collections.Counter(frozenset(map(tuple, image.nonzero().tolist())) for image in gone[:, 0])
    centres = itertools.product(range(height), range(width))
    wanted = collections.Counter(square(height, width, side, *centre) for centre in centres)
    assert found.keys() <= wanted.keys()
    for pixels, ways in wanted.items():  # every centre is as likely
        p = ways / (height * width)
        assert abs(found[pixels] - n * p) <= 6 * math.sqrt(n * p * (1 - p))


def test_a_square_of_16_pixels_as_in_the_authors_code():
    """Rows and columns from 8 before the centre to 7 after it: 64 zeros in a corner, 256 inside."""
    x = torch.ones(4000, 1, 32, 32)
    zeros = (cut_out(x, 16, seeded()) == 0).sum((1, 2, 3))
    assert zeros.min() == 64 and zeros.max() == 256
    assert ((zeros == 256).float().mean() - (17 / 32) ** 2).abs() < 0.04  # of centres from 8 to 24


@given(st.integers(0, 3), st.booleans(), st.integers(1, 5), st.integers(1, 5))
def test_images_move_and_are_mirrored_as_a_whole(shift, flip, height, width):
    x = torch.rand(30, 3, height, width, generator=seeded(1)) + 1
    out = moved(x, shift, flip, seeded(shift + 10 * height))
    assert out.shape == x.shape
    for before, after in zip(x, out, strict=True):
        crops = [
            F.pad(before, (shift,) * 4)[:, top : top + height, left : left + width]
            for top, left in itertools.product(range(2 * shift + 1), repeat=2)
        ]
        assert any(torch.equal(after, c) or (flip and torch.equal(after, c.flip(-1))) for c in crops)


def test_every_move_is_as_likely():
    n = 9000
    x = torch.arange(1.0, 10).view(1, 1, 3, 3).expand(n, 1, 3, 3)
    found = collections.Counter(tuple(image.flatten().tolist()) for image in moved(x, 1, True, seeded()))
    assert len(found) == 18 and all(abs(k - n / 18) < 5 * math.sqrt(n / 18) for k in found.values())
    assert torch.equal(moved(x, 0, False, seeded()), x)


def test_augmentation_is_a_function_of_seed_and_index():
    x = torch.randn(8, 1, 6, 6, generator=seeded())
    a = augmented(x, 3, 5, shift=2, flip=True, cutout=3)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    assert torch.equal(augmented(x, 3, 5, shift=2, flip=True, cutout=3), a)
    assert torch.equal(torch.random.get_rng_state(), before)
    for seed, index in ((3, 6), (4, 5), (5, 3)):
        assert not torch.equal(augmented(x, seed, index, shift=2, flip=True, cutout=3), a)
    assert augmented(x, 3, 5) is x
    for options in ({"shift": 1}, {"flip": True}, {"cutout": 1}):
        assert not torch.equal(augmented(x, 3, 5, **options), x)


def test_augmentation_keeps_the_memory_format():
    x = torch.randn(8, 3, 6, 6).to(memory_format=torch.channels_last)
    out = augmented(x, 0, 0, shift=1, flip=True, cutout=3)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(out, augmented(x.contiguous(), 0, 0, shift=1, flip=True, cutout=3))


def test_augmentation_stays_on_the_device_of_the_images():
    with fake_gpu() as device:
        out = augmented(torch.randn(8, 3, 6, 6, device=device), 0, 0, shift=1, flip=True, cutout=3)
        assert out.device.type == "lazy" and out.shape == (8, 3, 6, 6)


@pytest.mark.parametrize("make", [Recipe, lambda **k: training.ImageObjective(data.digits(), 10, **k)])
@pytest.mark.parametrize(
    ("name", "bad"), [("shift", -1), ("shift", 1.5), ("flip", 1), ("flip", None), ("cutout", -1), ("cutout", "16")]
)
def test_an_augmentation_out_of_range_is_refused_by_name(make, name, bad):
    if name != "cutout" or make is Recipe:
        with pytest.raises(ValueError, match=f"{name}: got {bad!r}, expected"):
            make(**{name: bad})
