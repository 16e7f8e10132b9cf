"""Supergraphs against eq. 2 and the layers written out by hand, their sizes, and what they refuse."""

import pytest
import torch
import torch.nn.functional as F
from fake_device import fake_gpu

from naslab import genotypes, networks, spaces
from naslab.networks import BenchNet, ConvNet, MacroNet, RecurrentNet, build, build_recurrent, count_parameters
from naslab.networks.mixed import active
from naslab.spaces import CellSpace, MacroSpace

from .supergraphs import DARTS, NETS, SMALL, TINY, batch, close, every_tiny_net, logits, made, relaxed, some

# By hand


def whole(conv):
    return torch.cat([*conv.blocks], dim=1)


def macro_by_hand(model, x, weights):
    """The layers literally: a mixture of ops, and between it and its projection with all earlier layers."""
    n = model.space.layers
    outputs = [model.stem(x)]  # of layer i at i + 1
    for i in range(n):
        if i in (n // 3, 2 * n // 3):
            first = min(i, 1)  # the stem is read by layer 0 alone
            outputs[first:] = [model.reductions[f"{i}_{j - 1}"](outputs[j]) for j in range(first, i + 1)]
        out = sum(w * op(outputs[-1]) for w, op in zip(weights["op"][i], model.layers[i].ops.values(), strict=True))
        if i:
            skips, project = weights["skip"][i, :i], model.projections[i]
            read = [F.relu(out), *(w * F.relu(other) for w, other in zip(skips[:, 1], outputs[1:], strict=True))]
            none = skips[:, 0].prod()
            out = none * out + (1 - none) * project.norm(F.conv2d(torch.cat(read, dim=1), whole(project.conv)))
        outputs.append(out)
    return model.classifier(outputs[-1].mean((2, 3)))


def loose(space, table):
    """For each node, the weight with which it leaves its cell."""
    carried = table[:, [k for k, op in enumerate(space.ops) if op != "none"]].sum(-1)
    out = [
        [c for (s, _), c in zip(space.edges, carried, strict=True) if s == space.inputs + n] for n in range(space.nodes)
    ]
    return [torch.stack([torch.ones(()), *(1 - c.clamp(max=1) for c in cs)]).prod() for cs in out]


def graph_by_hand(space, cell, states, table):
    """Eq. 1 and 2 for every node."""
    for target in range(space.inputs, space.inputs + space.nodes):
        into = [(e, source) for e, (source, t) in enumerate(space.edges) if t == target]
        states.append(
            sum(table[e, k] * cell.edges[e].ops[op](states[s]) for e, s in into for k, op in enumerate(space.ops))
        )
    return states[space.inputs :]


def cells_by_hand(model, x, weights):
    space = model.space
    older = newer = model.stem(x)
    for kind, cell in zip(model.kinds, model.cells, strict=True):
        first, second = cell.preprocess
        read = F.relu(older)
        if isinstance(first, networks.mixed.ProjectedReduction):
            shifted = F.pad(read, (0, 1, 0, 1))[:, :, 1:, 1:]
            pair = zip((read, shifted), (first.straight, first.shifted), strict=True)
            read = torch.cat([F.conv2d(r, whole(conv), stride=2) for r, conv in pair], dim=1)
        else:
            read = F.conv2d(read, whole(first.conv))
        states = [first.norm(read), second.norm(F.conv2d(F.relu(newer), whole(second.conv)))]
        nodes = graph_by_hand(space, cell, states, weights[kind])
        leaves = loose(space, weights[kind]) if space.output == "loose" else [1.0] * space.nodes
        older, newer = newer, torch.cat([w * node for w, node in zip(leaves, nodes, strict=True)], dim=1)
    return F.linear(newer.mean((2, 3)), whole(model.classifier).flatten(1), model.classifier.bias)


def bench_by_hand(model, x, weights):
    x = model.stem(x)
    for k, block in enumerate(model.blocks):
        x = block(x) if k in (1, 3) else graph_by_hand(model.space, block, [x], weights["cell"])[-1]
    return model.classifier(F.relu(model.norm(x)).mean((2, 3)))


BY_HAND = {"macro": macro_by_hand, "micro": cells_by_hand, "darts": cells_by_hand, "bench": bench_by_hand}


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("scale", [0.7, 1.0])
def test_the_inside_by_hand(name, scale):
    space, _ = TINY[name]
    model, tables = made(*TINY[name]), relaxed(space, scale=scale)
    x = batch(model)
    assert close(model(x, tables), BY_HAND[name](model, x, tables), 1e-11)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_halvings_of_short_networks(layers):
    space = MacroSpace(layers)
    model = made(space, lambda s: MacroNet(s, 2, **SMALL))
    x = batch(model, size=9)
    for tokens in some(space, 6):
        assert close(model(x, space.one_hot(tokens)), model.child(tokens)(x))
    assert close(model(x, relaxed(space)), macro_by_hand(model, x, relaxed(space)), 1e-12)


# Published networks


def test_darts_networks_by_name():
    torch.manual_seed(0)
    net = ConvNet.darts(spaces.darts_conv(), 16, 8, classes=4)
    size = {"in_channels": 3, "classes": 4, **DARTS}
    plain = ConvNet(spaces.darts_conv(), 16, 8, **size)
    assert [(n, p.shape) for n, p in net.named_parameters()] == [(n, p.shape) for n, p in plain.named_parameters()]
    assert net.fast and count_parameters(net) == count_parameters(plain)
    assert net.stem[0].weight.is_contiguous(memory_format=torch.channels_last)
    text = RecurrentNet.darts(spaces.darts_rnn(), 11, 6, dropout=0.5)
    assert (text.fast, text.norm, text.matrices, text.size["dropout"]) == (True, True, "node", 0.5)


PUBLISHED = {
    "macro": (genotypes.read_enas_macro, genotypes.write_enas_macro, genotypes.ENAS_MACRO),
    "micro": (genotypes.read_enas_micro, genotypes.write_enas_micro, genotypes.ENAS_MICRO),
    "rnn": (genotypes.read_enas_rnn, genotypes.write_enas_rnn, genotypes.ENAS_RNN),
    "older rnn": (
        genotypes.read_enas_rnn,
        lambda s, t: genotypes.write_enas_rnn(s, t, older=True),
        genotypes.ENAS_RNN_OLDER,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_strings_round_trip_and_build(name):
    read, write, text = PUBLISHED[name]
    space, tokens = read(text)
    assert write(space, tokens) == text
    weights = space.one_hot(tokens)
    with torch.device("meta"):
        if "rnn" in name:
            model, x = RecurrentNet(space, 100, 20), torch.zeros(3, 2, dtype=torch.int64)
            child = build_recurrent(space, tokens, vocabulary=100, units=20)
        else:
            size = {"channels": 8} | ({} if name == "macro" else {"cells": 5})
            model, x = (MacroNet if name == "macro" else ConvNet)(space, **size), torch.zeros(2, 3, 32, 32)
            child = build(space, tokens, **size)
    assert getattr(space, "layers", 24) == 24
    shape = (3, 2, 100) if "rnn" in name else (2, 10)
    for out in (logits(child, x), logits(model, x, weights), logits(model.child(tokens), x)):
        assert out.shape == shape and out.is_meta


def test_the_search_network_of_darts_has_the_published_size():
    space = spaces.darts_conv()
    with torch.device("meta"):
        assert count_parameters(ConvNet(space, 16, 8, **DARTS)) == 1930618
    assert space.tables == {"normal": (14, 8), "reduce": (14, 8)}


# Any network


@every_tiny_net
def test_evaluation_knows_the_batch_alone(name):
    space, _ = TINY[name]
    model = made(*TINY[name])
    x, weights = batch(model), relaxed(space)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    out = logits(model, x, weights)
    assert torch.equal(logits(model.eval(), x, weights), out)
    after = model.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[k], before[k]) for k in before)
    assert not [k for k in before if "running" in k or "num_batches" in k]


@every_tiny_net
def test_uniform_and_softmax_weights_give_finite_outputs(name):
    space, _ = TINY[name]
    model = made(*TINY[name])
    for tables in ({t: torch.zeros(s).softmax(-1) for t, s in space.tables.items()}, relaxed(space), relaxed(space, 1)):
        assert logits(model, batch(model), tables).isfinite().all()


@pytest.mark.parametrize(
    ("name", "place"),
    [*((name, "corner") for name in TINY), *((name, "inside") for name in ("macro", "bench", "rnn by source"))],
)
def test_a_step_leaves_no_tensor_on_the_wrong_device(name, place, monkeypatch):
    space, network = TINY[name]
    model = network(space)
    if place == "corner":  # whose rows are read here, since tensors have no numbers there
        rows = iter([active(w.flatten(0, -2)) for w in space.one_hot(some(space, 1)[0]).values()])
        monkeypatch.setattr(networks.mixed, "active", lambda table: next(rows))
        monkeypatch.setattr(networks.supergraph, "active", lambda table: next(rows))
    with fake_gpu() as device:
        model = model.to(device)
        x = torch.randint(0, 5, (3, 2), device=device) if "rnn" in name else torch.randn(3, 2, 8, 8, device=device)
        weights = {t: torch.rand(s, device=device, requires_grad=place == "inside") for t, s in space.tables.items()}
        optim = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True)
        loss = logits(model, x, weights).logsumexp(-1).sum()
        loss.backward()
        optim.step()
        live = [p for p in [*model.parameters(), *weights.values()] if p.grad is not None]
        found = [loss, *live, *(p.grad for p in live), *(s["momentum_buffer"] for s in optim.state.values())]
        assert len(optim.state) > 3 and {t.device.type for t in found} == {"lazy"}


@every_tiny_net
def test_follows_device_and_dtype(name):
    space, network = TINY[name]
    tokens = some(space, 1)[0]
    with torch.device("meta"):
        model = network(space)
    x = batch(model).to("meta")
    x = x if x.dtype == torch.int64 else x.float()
    for weights in (space.one_hot(tokens), relaxed(space)):
        out = logits(model, x, weights)
        assert out.is_meta and out.dtype == torch.float32
    for p in model.double().child(tokens).parameters():
        assert p.is_meta and p.dtype == torch.float64


# Bad input


@pytest.mark.parametrize("name", [name for name in NETS if "rnn" not in name])
@pytest.mark.parametrize("training", [True, False])
def test_one_value_per_channel_is_refused_and_two_are_not(name, training):
    space = NETS[name][0]
    model = made(*NETS[name]).train(training)
    weights = space.one_hot(some(space, 1)[0])
    with pytest.raises(ValueError, match="x: got 1 image of 4x3, which 2 reductions leave as 1 pixel"):
        model(torch.randn(1, 2, 4, 3).double(), weights)
    for shape in [(2, 2, 4, 3), (1, 2, 4, 5)]:
        assert model(torch.randn(shape).double(), weights).isfinite().all()


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda: MacroNet(MacroSpace(3), 1), "channels: got 1, expected an int of at least 2"),
        (lambda: MacroNet(MacroSpace(3), 2.5), r"channels: got 2\.5"),
        (lambda: MacroNet(MacroSpace(3), 4, in_channels=0), "in_channels: got 0"),
        (lambda: MacroNet(MacroSpace(3), 4, classes=0), "classes: got 0"),
        (lambda: MacroNet(MacroSpace(3), 4, plain=1), "plain: got 1, expected True or False"),
        (lambda: MacroNet(MacroSpace(3, ("conv_9x9",)), 4), r"space: got ops \['conv_9x9'\]"),
        (lambda: MacroNet(spaces.darts_conv(), 4), "space: got CellSpace"),
        (lambda: ConvNet(spaces.darts_conv(), 1, 3), "channels: got 1"),
        (lambda: ConvNet(spaces.darts_conv(), 4, 0), "cells: got 0"),
        (lambda: ConvNet(spaces.darts_conv(), 4, None), "cells: got None"),
        (lambda: ConvNet(spaces.darts_conv(), 4, 3, classes=2.0), r"classes: got 2\.0"),
        (lambda: ConvNet(spaces.nas_bench_201(), 4, 3), "space: got CellSpace.*are a CellChild"),
        (lambda: ConvNet(spaces.enas_rnn(), 4, 3), "space: got ops"),
        (lambda: ConvNet(MacroSpace(3), 4, 3), "cells: got 3, expected None"),
        (lambda: ConvNet(spaces.TreeSpace(), 4, 3), "space: got TreeSpace"),
        (lambda: BenchNet(spaces.darts_conv(), 4, 3), "space: got CellSpace.*are a BenchChild"),
        (lambda: BenchNet(spaces.nas_bench_201(), 4, 0), "cells: got 0"),
        (lambda: BenchNet(spaces.nas_bench_201(), 4, 1, plain=1), "plain: got 1, expected True or False"),
        (lambda: RecurrentNet(spaces.enas_rnn(), 0, 4), "vocabulary: got 0"),
        (lambda: RecurrentNet(spaces.enas_rnn(), 7, 0), "units: got 0"),
        (lambda: RecurrentNet(spaces.enas_rnn(), 7, 4, layers=0), "layers: got 0"),
        (lambda: RecurrentNet(spaces.enas_rnn(), 7, 4, dropout=1.0), r"dropout: got 1\.0"),
        (
            lambda: RecurrentNet(spaces.enas_rnn(), 7, 4, matrices="nodes"),
            "matrices: got 'nodes', expected one of source",
        ),
        (lambda: RecurrentNet(spaces.darts_conv(), 7, 4), "space: got CellSpace"),
        (lambda: RecurrentNet(spaces.nas_bench_201(), 7, 4), "space: got"),
        (lambda: RecurrentNet(CellSpace(("recurrent",), 2, 1, ("tanh",), 2, False), 7, 4), "space: got .*fan_in=2"),
        (lambda: RecurrentNet(CellSpace(("recurrent",), 2, 1, ("tanh",), None), 7, 4), "space: got .*fan_in=None"),
        (lambda: RecurrentNet(spaces.TreeSpace(), 7, 4), "space: got TreeSpace"),
    ],
)
def test_networks_that_cannot_be(network, message):
    with pytest.raises(ValueError, match=message):
        network()
