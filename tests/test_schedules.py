import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts

from naslab.schedules import Decay, Restarts, cosine, restarted
from naslab.search import enas


def torch_rates(epochs, high, low, first, factor):
    """The learning rates of torch's scheduler, which is told the epoch, a fraction or not."""
    optim = torch.optim.SGD([torch.zeros(1, requires_grad=True)], high)
    scheduler = CosineAnnealingWarmRestarts(optim, first, factor, low)
    optim.step()  # torch warns of a scheduler that goes first
    found = []
    for epoch in epochs:
        scheduler.step(epoch)
        found.append(optim.param_groups[0]["lr"])
    return found


def literal(epoch, high, low, first, factor):
    """Loshchilov & Hutter 2017, eq. 5, the cycles counted off one by one."""
    length = first
    while epoch >= length:
        epoch -= length
        length *= factor
    return low + (high - low) * (1 + math.cos(math.pi * epoch / length)) / 2


STARTS = [0, 10, 30, 70, 150]  # of the cosines of section 3.2, which end at 310


def test_the_default_is_section_3_2():
    epochs = [k / 8 for k in range(311 * 8)]
    assert [Restarts()(e) for e in epochs] == pytest.approx(torch_rates(epochs, 0.05, 0.001, 10, 2), rel=1e-12)
    assert [Restarts()(e) for e in [*STARTS, 310]] == [0.05] * 6  # at a restart it has restarted
    for start, end in zip(STARTS, [*STARTS[1:], 310], strict=True):
        assert Restarts()((start + end) / 2) == pytest.approx((0.05 + 0.001) / 2)
        assert Restarts()(end - 1e-6) == pytest.approx(0.001)
    assert enas.Config().lr == Restarts() and enas.PTB.lr == Decay()


@given(
    epoch=st.integers(0, 700 * 64).map(lambda k: k / 64),
    high=st.floats(1e-3, 20),
    low=st.floats(0, 1e-3),
    first=st.integers(1, 40),
    factor=st.sampled_from([1, 2]),  # with 3 torch takes the start of the sixth cycle for the end of the fifth
)
def test_restarts_are_torch_s(epoch, high, low, first, factor):
    (wanted,) = torch_rates([epoch], high, low, first, factor)
    assert Restarts(high, low, first, factor)(epoch) == pytest.approx(wanted, rel=1e-9, abs=1e-12)


@given(
    epoch=st.integers(0, 5000).map(lambda k: k / 16),
    first=st.sampled_from([0.5, 1, 2.5, 10]),
    factor=st.sampled_from([1, 1.5, 2, 3, 5]),  # 5 cubed has a logarithm to the base 5 that is not 3
)
def test_restarts_are_the_cycles_counted_off(epoch, first, factor):
    assert Restarts(0.3, 0.01, first, factor)(epoch) == pytest.approx(literal(epoch, 0.3, 0.01, first, factor))
    assert -1e-9 < restarted(epoch, first, factor) < 1


@pytest.mark.parametrize("factor", [1, 2, 3, 5, 7, 10])
def test_at_every_start_of_a_cycle_it_is_high(factor):
    start, length = 0, 10
    for _ in range(8):
        assert Restarts(first=10, factor=factor)(start) == pytest.approx(0.05, rel=1e-12)
        start, length = start + length, length * factor


def test_a_cosine_goes_from_high_to_low():
    assert [cosine(d, 3.0, 1.0) for d in (0, 0.5, 1)] == pytest.approx([3, 2, 1])
    assert cosine(1 / 3, 4.0) == pytest.approx(3.0)


def test_decay_starts_after_the_fifteenth_epoch():
    lr, wanted = 20.0, []
    for number in range(1, 151):  # "decayed by a factor of 0.96 after every epoch starting at epoch 15"
        wanted.append(lr)
        if number >= 15:
            lr *= 0.96
    assert [Decay()(number - 1) for number in range(1, 151)] == pytest.approx(wanted)
    assert [Decay()(e) for e in (0, 14, 14.99)] == [20.0] * 3  # the same through an epoch
    assert Decay()(15) == Decay()(15.99) == 20.0 * 0.96
    assert Decay(1.0, 0.5, 2)(3.5) == 0.25


@pytest.mark.parametrize("schedule", [Restarts, Decay])
@pytest.mark.parametrize("bad", [0, -1.0, math.nan, math.inf, "1", True, None])
def test_a_schedule_out_of_range_is_refused_by_name(schedule, bad):
    for name in ("high", "first", "factor") if schedule is Restarts else ("high", "rate"):
        with pytest.raises(ValueError, match=rf"{name}: got {bad!r}, expected a number"):
            schedule(**{name: bad})


def test_the_other_bounds_of_a_schedule():
    with pytest.raises(ValueError, match=r"low: got -0\.1, expected a number of at least 0"):
        Restarts(low=-0.1)
    with pytest.raises(ValueError, match=r"factor: got 0\.5, expected a number of at least 1"):
        Restarts(factor=0.5)
    for bad in (0, 1.5):  # epochs are counted from 1
        with pytest.raises(ValueError, match=f"start: got {bad}, expected an int of at least 1"):
            Decay(start=bad)
