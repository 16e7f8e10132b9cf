"""Children made of cells against the published parameter counts and the same graph written out by hand."""

import math

import pytest
import torch
from torch import nn

from naslab import genotypes, networks, spaces
from naslab.networks import build
from naslab.ops import CONV_OPS, FactorizedReduction

from .children import BENCH, SMALL, V2, count, seeded

# Published counts


def test_darts_v2_has_the_published_number_of_parameters():
    assert count(*V2, channels=36) == count(*V2, channels=36, cells=20) == 3349342
    assert count(*V2, channels=16, cells=8) == 246106


@pytest.mark.parametrize("text", [genotypes.NASNET, genotypes.AMOEBANET], ids=["nasnet", "amoebanet"])
def test_cells_of_nasnet_by_hand(text):
    """The skeleton of DARTS, written out: stem, 1x1 convolutions or a factorised reduction ahead of a cell, ops."""
    space, tokens = genotypes.read_darts(text)
    pairs, c, cells = space.pairs(tokens), 6, 5

    def op(name, c, stride):
        k = int(name[-1]) if name[-1].isdigit() else 0
        each = {
            "sep": 2 * (k * k * c + c * c + 2 * c),
            "con": 14 * c * c + 2 * c,
            "ski": (stride - 1) * (c * c + 2 * c),
        }
        return each.get(name[:3], 0)

    older = newer = 3 * c
    hand = 27 * 3 * c + 2 * 3 * c
    for i in range(cells):
        kind = "reduce" if i in (1, 3) else "normal"
        c *= 2 if kind == "reduce" else 1
        hand += older * c + 2 * c + newer * c + 2 * c
        hand += sum(op(o, c, 2 if kind == "reduce" and s < 2 else 1) for node in pairs[kind] for s, o in node)
        loose = {*range(2, 7)} - {s for node in pairs[kind] for s, _ in node}
        older, newer = newer, len(loose) * c
    assert count(space, tokens, channels=6, cells=cells) == hand + newer * 10 + 10
    assert build(space, tokens, channels=4, cells=3)(torch.randn(2, 3, 16, 16)).shape == (2, 10)


def test_auxiliary_head_by_hand():
    channels = 4 * 4 * 36  # four nodes, after both reductions
    hand = channels * 128 + 2 * 128 + 128 * 768 * 2 * 2 + 2 * 768 + 768 * 10 + 10
    assert count(*V2, channels=36, auxiliary=True) - count(*V2, channels=36) == hand


def test_nas_bench_201_formula():
    space = spaces.nas_bench_201()
    for threes in range(7):
        for ones in range(7 - threes):
            tokens = (3,) * threes + (2,) * ones + (0, 1, 4, 0, 1, 4)[: 6 - threes - ones]
            assert count(space, tokens, channels=16) == 73306 + 243040 * threes + 28000 * ones


def test_a_plain_skeleton_sees_neighbours_in_its_cells_only():
    """By perturbation: in the skeleton of skips a 1x1 stem and two pools let an output pixel read 4x4 input pixels."""
    space = spaces.nas_bench_201()

    def reach(tokens, plain):
        torch.manual_seed(0)
        model = build(space, tokens, channels=16, cells=1, in_channels=1, plain=plain).double().eval()
        maps = []
        model.norm.register_forward_hook(lambda module, args, out: maps.append(args[0]))
        for pixel in (0.0, 1.0):
            x = torch.zeros(1, 1, 16, 16, dtype=torch.float64)
            x[0, 0, 8, 8] = pixel
            model(x)
        return int((maps[0] != maps[1]).any(1).sum())  # pixels of the last map, 4x4, that read the input pixel

    assert reach((1,) * 6, plain=True) == reach((2,) * 6, plain=True) == 1
    assert reach((3,) * 6, plain=True) > 1 and reach((1,) * 6, plain=False) > 1
    # the stem, the reductions with their norms, the last norm and the classifier
    hand = (4 + 8) + (4 * 8 + 16) + (8 * 16 + 32) + 32 + (16 * 10 + 10)
    assert count(space, (1,) * 6, channels=4, cells=1, in_channels=1, plain=True) == hand


def test_only_chosen_ops_are_built():
    space = spaces.darts_conv()
    pools = space.tokens({cell: (((0, "max_pool_3x3"), (1, "max_pool_3x3")),) * 4 for cell in space.cells})
    model = build(space, pools, channels=2, cells=3)
    assert not [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert len([m for m in model.modules() if isinstance(m, nn.MaxPool2d)]) == 3 * 8


# Wiring


class Times(nn.Module):
    """Scales a map, and halves it at stride 2: an op that mental arithmetic can follow."""

    def __init__(self, factor, stride):
        super().__init__()
        self.factor, self.stride = factor, stride

    def forward(self, x):
        return self.factor * x[..., :: self.stride, :: self.stride]


@pytest.fixture
def factors(monkeypatch):
    primes = dict(zip(sorted(CONV_OPS), (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43), strict=True))
    for name, prime in primes.items():
        monkeypatch.setitem(CONV_OPS, name, lambda channels, stride, affine=True, f=prime: Times(f, stride))
    return primes


@pytest.mark.parametrize("make", [spaces.darts_conv, spaces.enas_micro])
@pytest.mark.parametrize("stride", [1, 2])
def test_cell_is_its_graph(factors, make, stride):
    space, generator = make(), torch.Generator().manual_seed(0)
    for tokens in [space.sample(generator) for _ in range(10)]:
        nodes = space.pairs(tokens)["reduce"]
        cell = networks.Cell(space, nodes, 1, stride, (nn.Identity(), nn.Identity()))
        states = [1.0, 100.0]
        for node in nodes:
            states.append(sum(factors[op] * states[source] for source, op in node))
        read = {source for node in nodes for source, _ in node}
        expected = [s for i, s in enumerate(states) if i >= 2 and (space.output == "all" or i not in read)]
        out = cell([torch.full((1, 1, 4, 4), v, dtype=torch.float64) for v in states[:2]])
        assert out.shape == (1, len(expected), 4 // stride, 4 // stride) and cell.channels == len(expected)
        assert out[0, :, 0, 0].tolist() == expected


def test_bench_cell_is_its_graph(factors):
    space, tokens = BENCH
    f = [factors[space.ops[t]] for t in tokens]
    one = f[0]
    two = f[1] + f[2] * one
    three = f[3] + f[4] * one + f[5] * two
    cell = networks.Cell(space, space.pairs(tokens)["cell"], 1, preprocess=(nn.Identity(),))
    assert cell([torch.ones(1, 1, 2, 2)]).flatten().tolist() == [three] * 4


def test_darts_skeleton():
    model = build(*V2, channels=4, cells=6)
    shapes = []
    for cell in model.cells:
        cell.register_forward_hook(lambda module, inputs, out: shapes.append(tuple(out.shape[1:])))
    model(torch.randn(2, 3, 16, 16))
    assert shapes == [(16, 16, 16)] * 2 + [(32, 8, 8)] * 2 + [(64, 4, 4)] * 2
    older = [isinstance(cell.preprocess[0], FactorizedReduction) for cell in model.cells]
    assert older == [False, False, False, True, False, True]


def test_each_cell_reads_the_two_before_it():
    model = build(*V2, channels=2, cells=6).eval()
    seen = {}
    for name, module in [("stem", model.stem), *((str(i), cell) for i, cell in enumerate(model.cells))]:
        module.register_forward_hook(lambda m, inputs, out, name=name: seen.update({name: (inputs, out)}))
    model(torch.randn(1, 3, 8, 8))
    for cell, older, newer in [
        ("0", "stem", "stem"),
        ("1", "stem", "0"),
        ("2", "0", "1"),
        ("4", "2", "3"),
        ("5", "3", "4"),
    ]:
        got = seen[cell][0][0]
        assert got[0] is seen[older][1] and got[1] is seen[newer][1]


@pytest.mark.parametrize("cells", [1, 2])
def test_shallow_cell_children(cells):
    assert build(*V2, channels=2, cells=cells)(torch.randn(2, 3, 8, 8)).shape == (2, 10)


# Drop-path


@pytest.mark.parametrize("name", ["darts", "enas micro", "nas-bench-201"])
def test_drop_path_acts_in_training_alone(name):
    space, tokens, size = SMALL[name]
    model, x = seeded(space, tokens, **size), torch.randn(4, 3, 16, 16)
    plain = model(x)
    assert torch.equal(model(x, drop_path=0.0), plain)
    assert not torch.equal(model(x, drop_path=0.5), plain)
    model.eval()
    assert torch.equal(model(x, drop_path=0.5), model(x))


def test_drop_path_spares_identities():
    space = spaces.nas_bench_201()
    model, x = build(space, (1,) * 6, channels=4, cells=1), torch.randn(4, 3, 8, 8)
    assert torch.equal(model(x, drop_path=0.9), model(x))


def test_a_strided_skip_is_no_identity():
    cells = {cell: (((0, "skip_connect"), (1, "skip_connect")),) * 4 for cell in ("normal", "reduce")}
    model = build(V2[0], V2[0].tokens(cells), channels=4, cells=3)
    x = torch.randn(8, 3, 8, 8)
    assert not torch.equal(model(x, drop_path=0.9), model(x))


@pytest.mark.parametrize("name", ["darts", "enas micro", "nas-bench-201"])
@pytest.mark.parametrize("probability", [-0.1, 1.0, 2, math.nan])
def test_bad_probability(name, probability):
    space, tokens, size = SMALL[name]
    with pytest.raises(ValueError, match="drop_path: got"):
        build(space, tokens, **size)(torch.randn(2, 3, 8, 8), drop_path=probability)


# Auxiliary head


@pytest.mark.parametrize("pixels", [24, 28, 32, 40])
def test_auxiliary_logits(pixels):
    model = build(*V2, channels=2, cells=3, classes=7, auxiliary=True)
    logits, auxiliary = model.forward_auxiliary(torch.randn(2, 3, pixels, pixels))
    assert logits.shape == auxiliary.shape == (2, 7)
    (logits.sum() + auxiliary.sum()).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_auxiliary_head_leaves_the_logits_alone():
    model, x = build(*V2, channels=2, cells=3, auxiliary=True).eval(), torch.randn(2, 3, 32, 32)
    assert torch.equal(model.forward_auxiliary(x)[0], model(x))


def test_auxiliary_head_needs_room():
    with pytest.raises(ValueError, match="4x4, expected at least 6x6"):
        build(*V2, channels=2, cells=3, auxiliary=True).forward_auxiliary(torch.randn(2, 3, 14, 14))
    with pytest.raises(ValueError, match="without an auxiliary head"):
        build(*V2, channels=2, cells=3).forward_auxiliary(torch.randn(2, 3, 32, 32))


@pytest.mark.parametrize("cells", [1, 2, 3, 4, 5, 8, 20, None])
def test_the_smallest_images_for_an_auxiliary_head(cells):
    model, least = (
        build(*V2, channels=2, cells=cells, auxiliary=True).eval(),
        networks.cells.smallest_for_auxiliary(cells),
    )
    assert model.forward_auxiliary(torch.randn(1, 3, least, least))[1].shape == (1, 10)
    with pytest.raises(ValueError, match="auxiliary head: got a map of 5x"):
        model.forward_auxiliary(torch.randn(1, 3, least - 1, least))
