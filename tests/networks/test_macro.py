"""Macro children against their parameters and their graph written out by hand."""

import pytest
import torch

from naslab import genotypes, spaces
from naslab.networks import build

from .children import count


def test_macro_child_by_hand():
    c, space = 8, spaces.MacroSpace(6)
    norm = 2 * c
    ops = {
        "conv_3x3": 9 * c * c + norm,
        "sep_conv_3x3": 2 * (9 * c + c * c + norm),
        "conv_5x5": 25 * c * c + norm,
        "sep_conv_5x5": 2 * (25 * c + c * c + norm),
    }
    generator = torch.Generator().manual_seed(0)
    for tokens in [space.sample(generator) for _ in range(20)]:
        chosen = {d.name: d.options[t] for d, t in zip(space.decisions, tokens, strict=True)}
        skips = {i: [j for j in range(i) if chosen[f"{i}.skip.{j}"]] for i in range(6)}
        total = 27 * c + norm + c * 10 + 10
        total += sum(ops.get(chosen[f"{i}.op"], 0) for i in range(6))
        total += sum((1 + len(js)) * c * c + norm for js in skips.values() if js)
        for at in (2, 4):
            read = {at - 1} | {j for i in range(at, 6) for j in skips[i] if j < at}
            total += len(read) * (c * c + norm)
        assert count(space, tokens, channels=c) == total


def test_a_plain_stem_passes_a_pixel_on_to_one_pixel():
    space, x = spaces.MacroSpace(2), torch.zeros(2, 1, 8, 8)
    x[1, 0, 4, 4] = 1.0
    for plain, pixels in ((True, 1), (False, 9)):
        stem = build(space, (0, 0, 0), channels=4, in_channels=1, plain=plain).eval().stem
        without, with_pixel = stem(x)
        assert int((without != with_pixel).any(0).sum()) == pixels
    assert count(space, (0, 0, 0), channels=4) - count(space, (0, 0, 0), channels=4, plain=True) == 8 * 3 * 4


def test_macro_layers_read_what_their_bits_say():
    space, tokens = genotypes.read_enas_macro(
        "0\n0 1\n1 0 1\n0 1 1 0\n0 1 1 1 1\n1 1 0 0 0 1\n0 0 1 0 0 0 1\n0 0 0 0 0 0 0 0"
    )
    model = build(space, tokens, channels=2).eval()  # 8 layers: halved before layers 2 and 5
    into, out = {}, {}
    for i, (op, project) in enumerate(zip(model.ops, model.projections, strict=True)):
        op.register_forward_hook(lambda m, inputs, y, i=i: into.update({i: (inputs[0], y)}))
        project.register_forward_hook(lambda m, inputs, y, i=i: out.update({i: (inputs[0], y)}))
    halve = {}
    for name, module in model.reductions.items():
        module.register_forward_hook(lambda m, inputs, y, name=name: halve.update({name: (inputs[0], y)}))
    model(torch.randn(1, 3, 16, 16))

    skips = {1: [0], 2: [1], 3: [0, 1], 4: [0, 1, 2, 3], 5: [0, 4], 6: [1, 5]}
    assert set(halve) == {"2_0", "2_1", "5_0", "5_1", "5_4"}  # 2 and 3 are read no more after layer 4

    def at(j, i):
        """Layer j's output as layer i reads it."""
        y = out[j][1]
        for reduction in (2, 5):
            if j < reduction <= i:
                assert halve[f"{reduction}_{j}"][0] is y
                y = halve[f"{reduction}_{j}"][1]
        return y

    for i in range(8):
        expected = torch.cat([into[i][1], *(at(j, i) for j in skips.get(i, []))], 1)
        assert torch.equal(out[i][0], expected)
        assert i == 0 or into[i][0] is at(i - 1, i)
        assert out[i][1].shape == (1, 2, *[16 if i < 2 else 8 if i < 5 else 4] * 2)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_shallow_macro_children(layers):
    space = spaces.MacroSpace(layers)
    for tokens in [space.sample(torch.Generator().manual_seed(s)) for s in range(5)]:
        assert build(space, tokens, channels=2)(torch.randn(2, 3, 8, 8)).shape == (2, 10)
