"""Strings of convolutions against the same layers written out by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from fake_device import fake_gpu
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from naslab import spaces
from naslab.networks import build, count_parameters
from naslab.networks.layers import concatenate, conv_layer

from .children import CONV


def conv_string(space, layers):
    """Tokens from values: per layer (height, width, stride height, stride width, filters) and the layers it reads."""
    values = [v for i, (chosen, js) in enumerate(layers) for v in (*chosen, *(int(j in js) for j in range(i)))]
    return space.check([d.options.index(v) for d, v in zip(space.decisions, values, strict=True)])


def watched(model):
    """The (input, output) of every layer, then the input of the classifier, of calls to come."""
    seen = [None] * (len(model.layers) + 1)
    for i, layer in enumerate([*model.layers, model.classifier]):
        layer.register_forward_hook(lambda m, inputs, out, i=i: seen.__setitem__(i, (inputs[0], out)))
    return seen


def test_conv_repairs_by_hand():
    space, tokens = CONV
    layers = [((3, 3, 2, 2, 4), []), ((1, 5, 1, 1, 6), []), ((7, 1, 1, 1, 4), [0, 1]), ((3, 3, 1, 2, 6), [0])]
    assert conv_string(space, layers) == tokens
    model = build(space, tokens, classes=5).eval()
    seen = watched(model)
    x = torch.randn(2, 3, 9, 12)
    model(x)
    assert seen[0][0] is x and seen[1][0] is x  # layer 1 reads no layer: the image
    outputs = [out for _, out in seen[:4]]
    assert [tuple(o.shape[1:]) for o in outputs] == [(4, 5, 6), (6, 9, 12), (4, 9, 12), (6, 5, 3)]
    padded = F.pad(outputs[0], (3, 3, 2, 2))  # 5 x 6 among 9 x 12
    assert torch.equal(seen[2][0], torch.cat([padded, outputs[1]], 1))
    assert seen[3][0] is not None and torch.equal(seen[3][0], outputs[0])
    loose = torch.cat([outputs[2], F.pad(outputs[3], (4, 5, 2, 2))], 1)  # 2 and 3 are read by none
    assert torch.allclose(seen[4][0], loose.mean((2, 3)))
    assert model.classifier.in_features == 4 + 6
    by_hand = (3 * 9 * 4 + 8) + (3 * 5 * 6 + 12) + (10 * 7 * 4 + 8) + (4 * 9 * 6 + 12) + 10 * 5 + 5
    assert count_parameters(model) == by_hand


def test_a_layer_is_convolution_batch_norm_relu():
    layer, x = conv_layer(3, 3, 5, 2, 1, 4).eval(), torch.randn(2, 3, 8, 8)
    conv, norm = layer[1], layer[2]
    norm.running_mean.uniform_()
    norm.running_var.uniform_(0.5, 2)
    y = F.conv2d(x, conv.weight, stride=(2, 1), padding=(1, 2)) - norm.running_mean[:, None, None]
    expected = (y / (norm.running_var[:, None, None] + norm.eps).sqrt()).relu()
    assert torch.allclose(layer(x), expected, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("pool", [1, 2, 3])
def test_filters_of_any_size_keep_every_pixel(size, stride, pool):
    for pixels in (1, 2, 5, 8, 14):
        out = conv_layer(1, size, 1, stride, 1, 2, pool).eval()(torch.randn(1, 1, pixels, 3))
        assert out.shape[2:] == (math.ceil(math.ceil(pixels / stride) / pool), math.ceil(3 / pool))


def test_padding_of_even_filters_is_mostly_even():
    layer = conv_layer(1, 4, 2, 1, 1, 1).eval()
    nn.init.ones_(layer[1].weight)
    x = torch.ones(1, 1, 5, 3)
    rows, columns = torch.tensor([3.0, 4, 4, 3, 2]), torch.tensor([2.0, 2, 1])  # zeros: 1 above, 2 below, 1 right
    assert torch.allclose(layer(x)[0, 0], rows[:, None] * columns / math.sqrt(1 + 1e-5))


def test_pools_take_maxima():
    plain, pooled = conv_layer(1, 3, 3, 1, 1, 2).eval(), conv_layer(1, 3, 3, 1, 1, 2, pool=2).eval()
    pooled.load_state_dict(plain.state_dict())
    y = F.pad(plain(x := torch.randn(1, 1, 5, 6)), (0, 0, 0, 1))  # behind a ReLU zeros change no maximum
    assert torch.equal(pooled(x), y.view(1, 2, 3, 2, 3, 2).amax((3, 5)))


def test_zeros_go_around():
    one, two = torch.ones(1, 1, 2, 2), torch.ones(1, 2, 5, 3)
    joined = concatenate([one, two])
    assert joined.shape == (1, 3, 5, 3) and torch.equal(joined[:, 1:], two)
    assert joined[0, 0].tolist() == [[0, 0, 0], [1, 1, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_without_skips_a_chain():
    space = spaces.ConvSpace(3, strides=(1, 2), filters=(4, 6), skips=False)
    model = build(space, (1, 1, 1, 1, 0, 0, 0, 0, 0, 1, 2, 2, 1, 0, 0), in_channels=1, classes=5).eval()
    seen = watched(model)
    model(torch.randn(2, 1, 7, 7))
    assert seen[1][0] is seen[0][1] and seen[2][0] is seen[1][1]
    assert torch.allclose(seen[3][0], seen[2][1].mean((2, 3))) and seen[2][1].shape == (2, 4, 2, 4)
    assert count_parameters(model) == (9 * 4 + 8) + (4 * 6 + 12) + (6 * 25 * 4 + 8) + 4 * 5 + 5


def test_the_skips_of_a_residual_network():
    """Every layer reads the one before; every second layer also what entered the block."""
    space = spaces.ConvSpace(7, filters=(4,))
    layers = [((3, 3, 1, 1, 4), [i - 1] * (i > 0) + [i - 3] * (i > 2 and i % 2)) for i in range(7)]
    model = build(space, conv_string(space, layers))
    assert model.reads == [[-1], [0], [1], [0, 2], [3], [2, 4], [5]] and model.unread == [6]
    assert [layer[1].in_channels for layer in model.layers] == [3, 4, 4, 8, 4, 8, 4]
    assert model(torch.randn(2, 3, 8, 8)).shape == (2, 10)


def test_all_unread():
    space = spaces.ConvSpace(5, filters=(4, 6))
    tokens = conv_string(space, [((3, 3, 1, 1, 4), [])] * 5)
    assert build(space, tokens).classifier.in_features == 20
    assert build(space, tokens)(torch.randn(2, 3, 8, 8)).shape == (2, 10)


@given(st.data())
def test_any_string_is_its_graph(data):
    space = spaces.ConvSpace(data.draw(st.integers(1, 5)), (1, 2, 3), (1, 3, 7), (1, 2, 3), (1, 2))
    tokens = tuple(data.draw(st.integers(0, len(d.options) - 1)) for d in space.decisions)
    values = {d.name: d.options[t] for d, t in zip(space.decisions, tokens, strict=True)}
    height, width = data.draw(st.tuples(st.integers(1, 11), st.integers(1, 11)))
    torch.manual_seed(0)
    model = build(space, tokens, in_channels=2, classes=3).eval()
    x = torch.randn(2, 2, height, width)

    def output(i):
        js = [j for j in range(i) if values[f"{i}.skip.{j}"]]
        return model.layers[i](joined([output(j) for j in js]) if js else x)

    def joined(maps):
        out = torch.zeros(2, sum(m.shape[1] for m in maps), *(max(m.shape[a] for m in maps) for a in (2, 3)))
        depth = 0
        for m in maps:
            top, left = (out.shape[2] - m.shape[2]) // 2, (out.shape[3] - m.shape[3]) // 2
            out[:, depth : depth + m.shape[1], top : top + m.shape[2], left : left + m.shape[3]] = m
            depth += m.shape[1]
        return out

    read = {j for i in range(space.layers) for j in range(i) if values[f"{i}.skip.{j}"]}
    features = joined([output(i) for i in range(space.layers) if i not in read]).mean((2, 3))
    assert torch.allclose(model(x), model.classifier(features), atol=1e-6)
    logits = model(x)
    logits.sum().backward()
    assert logits.shape == (2, 3) and all(p.grad is not None for p in model.parameters())


def test_conv_children_follow_the_device_of_their_input():
    with fake_gpu() as device:
        model = build(*CONV).to(device)
        logits = model(torch.randn(2, 3, 9, 12, device=device))
        logits.sum().backward()
        found = [logits, *model.state_dict().values(), *(p.grad for p in model.parameters())]
        assert {t.device.type for t in found} == {"lazy"}


def test_pools_are_a_decision_of_the_space():
    space = spaces.ConvSpace(3, filters=(4,), pooling=(1, 2), strides=(1, 2))
    assert [d.name for d in space.decisions[:7]] == [*(f"0.{kind}" for kind in space.attributes), "1.filter_height"]
    values = [(3, 3, 1, 1, 4, 2), (3, 3, 2, 2, 4, 2, 1), (3, 3, 1, 1, 4, 1, 1, 0)]
    options = zip(space.decisions, [v for layer in values for v in layer], strict=True)
    model = build(space, [d.options.index(v) for d, v in options], in_channels=1).eval()
    seen = watched(model)
    assert model(torch.randn(2, 1, 9, 7)).shape == (2, 10)
    assert [out.shape[2:] for _, out in seen[:3]] == [(5, 4), (2, 1), (5, 4)]  # ceil by 2; by 2 and by 2; by none
