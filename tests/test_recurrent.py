"""Recurrent cells with highway nodes against published cells and formulas written out by hand, node by node."""

import math
import sys

import pytest
import torch
from fake_device import fake_gpu
from torch import nn

from naslab import genotypes, spaces
from naslab.networks import (
    Dropouts,
    MixedRecurrentCell,
    RecurrentCell,
    RecurrentChild,
    RecurrentNet,
    build_recurrent,
    count_parameters,
    start_within,
)
from naslab.networks.mixed import active, leaving

ENAS = genotypes.read_enas_rnn(genotypes.ENAS_RNN)
OLDER = genotypes.read_enas_rnn(genotypes.ENAS_RNN_OLDER)
DARTS = genotypes.read_darts(genotypes.DARTS_V2_RNN)
MATRICES = ("source", "op", "node")
N = 5  # units
tanh, relu, sigmoid = torch.tanh, torch.relu, torch.sigmoid


def doubles(*shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


def close(a, b):
    """Equal but for rounding: products of other shapes add in another order on some processors."""
    return torch.allclose(a, b, rtol=1e-12, atol=1e-12)


def identity(s):
    return s


def node(s, reads, w, f):
    """The gate is what the first rows of the matrix make of what is read, the candidate what the others do."""
    gate, candidate = (reads @ w.T).split(N, dim=1)
    return s + sigmoid(gate) * (f(candidate) - s)


def enas_rnn(first, w, x, h):
    """0 2, 1 0, 2 1, 2 2, 4 0, 5 0, 3 2, 6 2: nodes 7 and 8 are read by none. A matrix for a node and its function."""
    s_0 = node(h, torch.cat([x, h], dim=1), first, tanh)
    s_1 = node(s_0, s_0, w["1_sigmoid"], sigmoid)
    s_2 = node(s_1, s_1, w["2_tanh"], tanh)
    s_3 = node(s_2, s_2, w["3_relu"], relu)
    s_4 = node(s_2, s_2, w["4_sigmoid"], sigmoid)
    s_5 = node(s_4, s_4, w["5_tanh"], tanh)
    s_6 = node(s_5, s_5, w["6_tanh"], tanh)
    s_7 = node(s_3, s_3, w["7_sigmoid"], sigmoid)
    s_8 = node(s_6, s_6, w["8_sigmoid"], sigmoid)
    return (s_7 + s_8) / 2


def enas_rnn_older(first, w, x, h):
    """0; 0 0, 1 1, 2 1, 2 0, 2 0, 5 1, 1 0, 6 1, 8 1, 8 1, 8 1, here counted from 1. A matrix for a node and source.

    There is no state 0: the first node, whose function is tanh, reads x_t and h_(t-1).
    """
    s_1 = node(h, torch.cat([x, h], dim=1), w["1_0"], tanh)
    s_2 = node(s_1, s_1, w["2_1"], tanh)
    s_3 = node(s_2, s_2, w["3_2"], relu)
    s_4 = node(s_3, s_3, w["4_3"], relu)
    s_5 = node(s_3, s_3, w["5_3"], tanh)
    s_6 = node(s_3, s_3, w["6_3"], tanh)
    s_7 = node(s_6, s_6, w["7_6"], relu)
    s_8 = node(s_2, s_2, w["8_2"], tanh)
    s_9 = node(s_7, s_7, w["9_7"], relu)
    s_10 = node(s_9, s_9, w["10_9"], relu)
    s_11 = node(s_9, s_9, w["11_9"], relu)
    s_12 = node(s_9, s_9, w["12_9"], relu)
    return (s_4 + s_5 + s_8 + s_10 + s_11 + s_12) / 6


def darts_v2(first, w, x, h):
    """sigmoid 0, relu 1, relu 1, identity 1, tanh 2, sigmoid 5, tanh 3, relu 5; all nodes leave. A matrix a node."""
    s_0 = node(h, torch.cat([x, h], dim=1), first, tanh)
    s_1 = node(s_0, s_0, w["1"], sigmoid)
    s_2 = node(s_1, s_1, w["2"], relu)
    s_3 = node(s_1, s_1, w["3"], relu)
    s_4 = node(s_1, s_1, w["4"], identity)
    s_5 = node(s_2, s_2, w["5"], tanh)
    s_6 = node(s_5, s_5, w["6"], sigmoid)
    s_7 = node(s_3, s_3, w["7"], tanh)
    s_8 = node(s_5, s_5, w["8"], relu)
    return (s_1 + s_2 + s_3 + s_4 + s_5 + s_6 + s_7 + s_8) / 8


PUBLISHED = {  # name -> space, tokens, matrices, by hand
    "enas": (*ENAS, "op", enas_rnn),
    "enas, older": (*OLDER, "source", enas_rnn_older),
    "darts v2": (*DARTS, "node", darts_v2),
}


def name_of(matrices, target, source, op):
    return {"source": f"{target}_{source}", "op": f"{target}_{op}", "node": f"{target}"}[matrices]


def cells(space, tokens, matrices, norm=False):
    """The cell alone and the one of the supergraph with the same weights, and these by name."""
    torch.manual_seed(0)
    mixed = MixedRecurrentCell(space, N, matrices, norm).double()
    (nodes,) = space.pairs(tokens).values()
    alone = RecurrentCell(space, nodes, N, matrices).double()
    named = {key: linear.weight for key, linear in mixed.weights.items()}
    first = mixed.first.weight if mixed.first else None
    for target, (((source, op),), linear) in enumerate(zip(nodes, alone.weights, strict=True), start=1):
        linear.weight = named[name_of(matrices, target, source, op)]
    if first is not None:
        alone.first.weight = first
    return alone, mixed, first, named


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_cells_with_gradients(name):
    space, tokens, matrices, by_hand = PUBLISHED[name]
    alone, mixed, first, named = cells(space, tokens, matrices)
    (rows,) = [active(table) for table in space.one_hot(tokens).values()]
    x, h, c = doubles((3, N), (3, N), (3, N))
    expected = by_hand(first, named, x, h)
    used = [linear.weight for linear in alone.weights] + ([] if first is None else [first])
    (direction,) = doubles((3, N), seed=1)
    wanted = torch.autograd.grad((expected * direction.detach()).sum(), [*used, x, h])
    for h_t, c_t in (alone(x, (h, c)), mixed(x, (h, c), rows)):
        assert close(h_t, expected) and c_t is c
        found = torch.autograd.grad((h_t * direction.detach()).sum(), [*used, x, h])
        for a, b in zip(found, wanted, strict=True):
            assert b.any() and close(a, b)


def test_the_first_node_of_the_paper_with_four_separate_matrices():
    """Pham et al. 2018, 3.1: c = sigmoid(x W^(x,c) + h W^(h,c)), h_1 = c f(x W^(x,h) + h W^(h,h)) + (1 - c) h."""
    space, tokens = spaces.enas_rnn(2), (0, 0, 1, 1)
    alone, _, _, named = cells(space, tokens, "source")
    x, h, c = doubles((3, N), (3, N), (3, N))
    (w_xc, w_hc), (w_xh, w_hh) = (half.split(N, dim=1) for half in named["1_0"].split(N))
    gate = sigmoid(x @ w_xc.T + h @ w_hc.T)
    h_1 = gate * tanh(x @ w_xh.T + h @ w_hh.T) + (1 - gate) * h
    w_c, w_h = named["2_1"].split(N)
    gate = sigmoid(h_1 @ w_c.T)
    h_2 = gate * relu(h_1 @ w_h.T) + (1 - gate) * h_1
    assert close(alone(x, (h, c))[0], h_2)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_cells_over_time(name):
    """The language model, alone and at a corner of the supergraph, is a loop of the cell written out by hand."""
    space, tokens, matrices, by_hand = PUBLISHED[name]
    torch.manual_seed(0)
    model = RecurrentNet(space, 7, N, matrices=matrices).double()
    cell, embedding, decoder = model.model.cells[0], model.model.embedding.weight, model.model.decoder
    assert decoder.weight is embedding
    named = {key: linear.weight for key, linear in cell.weights.items()}
    words = torch.randint(0, 7, (6, 3))
    h, expected = torch.zeros(3, N, dtype=torch.float64), []
    for word in words:
        h = by_hand(cell.first.weight if cell.first else None, named, embedding[word], h)
        expected.append(h @ embedding.T + decoder.bias)
    weights = space.one_hot(tokens)
    for run in (lambda x, state=None: model(x, weights, state), model.child(tokens)):
        whole, [(last, _)] = run(words)
        assert close(whole, torch.stack(expected)) and close(last, h)
        first, state = run(words[:2])
        second, [(carried, _)] = run(words[2:], state)
        assert close(torch.cat([first, second]), whole) and close(carried, last)


# Any weights


def cell_by_hand(space, matrices, first, w, table, x, h, norm=False):
    """A node mixes what all its edges and functions make; h_t is the mean of the nodes, by how far each leaves."""
    functions = {"tanh": tanh, "relu": relu, "sigmoid": sigmoid, "identity": identity}
    pair = torch.cat([x, h], dim=1)

    def normalised(s):
        return (s - s.mean(0)) / (s.var(0, correction=0) + 1e-5).sqrt() if norm else s

    states = [h if first is None else normalised(node(h, pair, first, tanh))]
    unread = [1.0] * (1 + space.nodes)
    for target in range(1, 1 + space.nodes):
        mixture = torch.zeros_like(h)
        for source in range(target):
            row = table[space.edges.index((source, target))]
            reads = pair if first is None and source == 0 else states[source]
            for weight, op in zip(row, space.ops, strict=True):
                if op != "none":
                    matrix = w[name_of(matrices, target, source, op)]
                    mixture = mixture + weight * node(states[source], reads, matrix, functions[op])
            if space.output == "loose":
                unread[source] = unread[source] * (1 - row.sum().clamp(max=1))
        states.append(normalised(mixture))
    return sum(u * s for u, s in zip(unread[1:], states[1:], strict=True)) / sum(unread[1:])


@pytest.mark.parametrize("make", [spaces.enas_rnn, spaces.darts_rnn])
@pytest.mark.parametrize("matrices", MATRICES)
@pytest.mark.parametrize(("scale", "norm"), [(0.3, False), (1.0, False), (1.0, True)])
def test_the_inside_of_a_cell_by_hand(make, matrices, scale, norm):
    space = make(4)
    _, mixed, first, named = cells(space, space.sample(torch.Generator().manual_seed(0)), matrices, norm)
    x, h, c, alpha = doubles((3, N), (3, N), (3, N), space.tables["recurrent"])
    table = scale * alpha.softmax(-1)  # scaled, edges carry less than 1 and all nodes leave
    expected = cell_by_hand(space, matrices, first, named, table, x, h, norm)
    inputs = [*named.values(), *([] if first is None else [first]), x, h, alpha]
    found, same = mixed(x, (h, c), active(table))
    assert close(found, expected) and same is c
    assert close(mixed(x, (h, c), active(table.detach()))[0], expected)
    gradients = [torch.autograd.grad(y.square().sum(), inputs, retain_graph=True) for y in (found, expected)]
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-11)


def test_a_node_that_receives_nothing_is_zero():
    """ "none" on all its edges, as "none" of a convolutional cell has it."""
    space = spaces.darts_rnn(3)
    _, mixed, first, named = cells(space, (0, 0) * 3, "node")
    x, h, c = doubles((3, N), (3, N), (3, N))
    for target in (1, 2, 3):
        table = torch.full(space.tables["recurrent"], 0.2, dtype=torch.float64)
        for edge, (_, t) in enumerate(space.edges):
            if t == target:
                table[edge] = torch.tensor([1.0, 0, 0, 0, 0])
        for live in (table, table.clone().requires_grad_()):
            found, _ = mixed(x, (h, c), active(live))
            assert close(found, cell_by_hand(space, "node", first, named, table, x, h))


# What shares a matrix


@pytest.mark.parametrize("matrices", MATRICES)
def test_the_matrices_of_a_cell(matrices):
    space = spaces.enas_rnn(3)
    keys = {
        "source": ["1_0", "2_0", "2_1", "3_0", "3_1", "3_2"],
        "op": [f"{target}_{op}" for target in (1, 2, 3) for op in ("tanh", "relu", "sigmoid", "identity")],
        "node": ["1", "2", "3"],
    }[matrices]
    mixed = MixedRecurrentCell(space, N, matrices)
    assert sorted(mixed.weights) == sorted(keys)
    shapes = {key: tuple(linear.weight.shape) for key, linear in mixed.weights.items()}
    assert shapes == {key: (2 * N, 2 * N if matrices == "source" and key.endswith("_0") else N) for key in keys}
    assert (mixed.first is None) == (matrices == "source") and not [
        p for n, p in mixed.named_parameters() if "bias" in n
    ]
    assert "1_none" not in MixedRecurrentCell(spaces.darts_rnn(3), N, "op").weights


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("layers", [1, 2])
def test_parameters_by_hand(name, layers):
    space, tokens, matrices, _ = PUBLISHED[name]
    child = build_recurrent(space, tokens, vocabulary=11, units=6, layers=layers, matrices=matrices)
    reads_pair = sum(s == 0 for s in tokens[::2]) if matrices == "source" else 2  # W_0 is twice as wide
    per_layer = 2 * 6 * 6 * (space.nodes + reads_pair)
    assert count_parameters(child) == 11 * 6 + 11 + layers * per_layer


def test_dropout_is_that_of_the_child():
    space, tokens = ENAS
    model = RecurrentNet(space, 7, N, layers=2, dropout=0.5)
    words = torch.randint(0, 7, (4, 3))
    child = model.child(tokens)
    outs = []
    for run in (lambda: model(words, space.one_hot(tokens))[0], lambda: child(words)[0]):
        torch.manual_seed(0)
        outs.append(run())
    torch.manual_seed(1)
    assert torch.allclose(*outs, atol=1e-6) and not torch.allclose(outs[0], model(words, space.one_hot(tokens))[0])
    model.eval()
    assert torch.allclose(model(words, space.one_hot(tokens))[0], child.eval()(words)[0], atol=1e-6)


# Dropout with one mask for all time steps

NONE = {"words": 0.0, "embedding": 0.0, "input": 0.0, "hidden": 0.0, "output": 0.0}
WORDS, STEPS, STREAMS, UNITS = 50, 9, 40, 60


def language_model(dropout, layers=2, **size):
    space, tokens = DARTS
    torch.manual_seed(0)
    size = {"vocabulary": WORDS, "units": UNITS, "layers": layers, "matrices": "node"} | size
    model = build_recurrent(space, tokens, dropout=dropout, **size).double()
    return model, torch.randint(0, WORDS, (STEPS, STREAMS))


def watch(model):
    """What goes into every cell at every step, what comes out, the masks, and what the decoder reads."""
    seen = {"x": [[] for _ in model.cells], "h": [[] for _ in model.cells], "mask": [[] for _ in model.cells]}

    def keep(k):
        def hook(module, inputs, named, out):
            seen["x"][k].append(inputs[0])
            seen["h"][k].append(out[0])
            seen["mask"][k].append(named.get("mask"))

        return hook

    for k, cell in enumerate(model.cells):
        cell.register_forward_hook(keep(k), with_kwargs=True)
    model.decoder.register_forward_hook(lambda m, inputs, out: seen.__setitem__("decoder", inputs[0]))
    return seen


def is_one_mask(ratio, p):
    """A ratio (T, B, n) of after to before is the same mask of 0 and 1 / (1 - p) at all steps, about p of it 0."""
    assert torch.equal((ratio == 0).all(0), (ratio == 0).any(0))
    mask = ratio[0]
    assert torch.allclose(mask[mask != 0], torch.tensor(1 / (1 - p), dtype=mask.dtype))
    assert abs((mask == 0).double().mean() - p) < 5 * math.sqrt(p * (1 - p) / mask.numel())
    assert not torch.equal(mask[0] == 0, mask[1] == 0)  # each stream has its own
    return mask == 0


def run(place, p):
    model, words = language_model(Dropouts(**(NONE | {place: p})))
    seen = watch(model)
    model(words)
    return model, words, {k: torch.stack([torch.stack(s) for s in seen[k]]) for k in "xh"}, seen


def test_the_dropout_of_embeddings_is_locked():
    model, words, layers, _ = run("embedding", 0.2)
    is_one_mask(layers["x"][0] / model.embedding(words), 0.2)
    assert torch.equal(layers["x"][1], layers["h"][0])


def test_the_dropout_of_inputs_is_locked_and_its_own_in_each_layer():
    model, words, layers, _ = run("input", 0.75)
    first = is_one_mask(layers["x"][0] / model.embedding(words), 0.75)
    assert not torch.equal(first, is_one_mask(layers["x"][1] / layers["h"][0], 0.75))


def test_the_dropout_of_outputs_is_locked():
    model, words, layers, seen = run("output", 0.75)
    is_one_mask(seen["decoder"] / layers["h"][1], 0.75)
    assert torch.equal(layers["x"][0], model.embedding(words)) and torch.equal(layers["x"][1], layers["h"][0])


def test_the_dropout_of_words_takes_all_occurrences():
    model, words, layers, _ = run("words", 0.3)
    ratio = layers["x"][0] / model.embedding(words)
    of_words = [ratio[words == w] for w in words.unique().tolist()]
    assert all(r.max() - r.min() < 1e-12 for r in of_words)  # rounding
    factors = torch.stack([r.flatten()[0] for r in of_words])
    gone = (factors == 0).sum().item()
    assert torch.allclose(factors[factors != 0], torch.tensor(1 / 0.7, dtype=torch.float64))
    assert abs(gone - 0.3 * len(factors)) < 5 * math.sqrt(0.21 * len(factors)) and gone


def test_the_dropout_of_states_has_one_mask_for_all_steps_and_nodes():
    model, words, layers, seen = run("hidden", 0.25)
    masks = [torch.stack(m) for m in seen["mask"]]
    assert not torch.equal(*(is_one_mask(m, 0.25) for m in masks))
    assert torch.equal(layers["x"][0], model.embedding(words))
    before = masks[0]
    model(words)
    assert not torch.equal(seen["mask"][0][-1], before[0])  # the next batch has others


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_mask_is_on_what_matrices_read_by_hand(name, monkeypatch):
    space, tokens, matrices, by_hand = PUBLISHED[name]
    alone, mixed, first, named = cells(space, tokens, matrices)
    x, h, c, (mask,) = *doubles((3, N), (3, N), (3, N)), doubles((3, N), seed=2)
    plain = by_hand(first, named, x, h)

    def masked_node(s, reads, w, f, plain=node):
        x_and_h = torch.cat([torch.ones_like(mask), mask], dim=1)
        return plain(s, reads * (x_and_h if reads.shape[1] == 2 * N else mask), w, f)

    monkeypatch.setattr(sys.modules[__name__], "node", masked_node)
    (rows,) = [active(table) for table in space.one_hot(tokens).values()]
    for found, same in (alone(x, (h, c), mask=mask), mixed(x, (h, c), rows, mask=mask)):
        assert close(found, by_hand(first, named, x, h)) and same is c
        assert not torch.allclose(found, plain, atol=1e-3)


@pytest.mark.parametrize("fast", [False, True])
def test_the_search_network_drops_what_its_child_drops(fast):
    space, tokens = DARTS
    torch.manual_seed(0)
    drops = Dropouts(words=0.1)
    model = RecurrentNet(space, 7, N, layers=2, dropout=drops, matrices="node", fast=fast).double()
    child, words = model.child(tokens), torch.randint(0, 7, (4, 3))
    weights = {name: table.double() for name, table in space.one_hot(tokens).items()}
    outs = []
    for run in (lambda: model(words, weights)[0], lambda: child(words)[0]):
        torch.manual_seed(1)
        outs.append(run())
    assert close(*outs)
    assert not torch.allclose(outs[0], model.eval()(words, weights)[0])
    assert close(model(words, weights)[0], child.eval()(words)[0])


def test_dropouts_keep_the_expectation():
    """Of a decoder's input, over many streams that read the same: inputs alone pass through no nonlinearity before."""
    model, _ = language_model(Dropouts(**(NONE | {"words": 0.1, "embedding": 0.2, "input": 0.75})), layers=1)
    seen = watch(model)
    for _ in range(20):  # the words of a batch share their fate
        model(torch.full((1, 1000), 3))
    x = torch.cat([x for (x,) in zip(seen["x"][0], strict=True)])  # (20000, UNITS)
    e = model.embedding.weight[3]
    spread = e.abs() * math.sqrt(1 / (0.8 * 0.25) / 0.9 / 20000 + 0.1 / 0.9 / 20)
    assert ((x.mean(0) - e).abs() < 5 * spread).all()


def test_evaluation_drops_nothing():
    model, words = language_model(Dropouts(words=0.1))
    seen = watch(model.eval())
    logits, _ = model(words)
    assert seen["mask"] == [[None] * STEPS] * 2
    plain, _ = language_model(0.0)
    assert close(logits, plain(words)[0]) and torch.equal(logits, model(words)[0])
    assert not torch.equal(model.train()(words)[0], logits)


def test_dropouts_of_zero_are_no_dropout():
    model, words = language_model(Dropouts(**NONE))
    assert close(model(words)[0], language_model(0.0)[0](words)[0])


def test_a_number_drops_as_it_ever_did():
    """Masks of their own at every step for what goes into a layer and into the decoder, drawn in this order."""
    model, words = language_model(0.3)
    drop = nn.Dropout(0.3)
    torch.manual_seed(5)
    x = model.embedding(words)
    for cell in model.cells:
        h = torch.zeros_like(x[0])
        outputs = []
        for x_t in drop(x).unbind():
            h, _ = cell(x_t, (h, h))
            outputs.append(h)
        x = torch.stack(outputs)
    wanted = model.decoder(drop(x))
    torch.manual_seed(5)
    assert close(model(words)[0], wanted)


def test_what_the_last_layer_puts_out():
    model, words = language_model(0.0)
    outputs, state = model.read(words)
    logits, same = model(words)
    assert outputs.shape == (STEPS, STREAMS, UNITS) and torch.equal(outputs[-1], state[-1][0])
    assert torch.equal(model.decode(outputs), logits) and torch.equal(same[1][0], state[1][0])


def test_dropouts_follow_the_device():
    with fake_gpu() as device:
        space, tokens = DARTS
        model = build_recurrent(space, tokens, vocabulary=7, units=4, layers=2, dropout=Dropouts(words=0.1)).to(device)
        logits, state = model(torch.randint(0, 7, (5, 3), device=device))
        logits.sum().backward()
        found = [logits, *(v for pair in state for v in pair), *(p.grad for p in model.parameters())]
        assert {t.device.type for t in found} == {"lazy"}


@pytest.mark.parametrize("name", NONE)
@pytest.mark.parametrize("bad", [-0.1, 1.0, math.nan, "half", None, True])
def test_a_dropout_out_of_range_is_refused_by_name(name, bad):
    with pytest.raises(ValueError, match=f"{name}: got {bad!r}, expected a number of at least 0 and below 1"):
        Dropouts(**{name: bad})


def test_the_dropouts_of_the_paper():
    d = Dropouts()
    assert (d.words, d.embedding, d.input, d.hidden, d.output) == (0.0, 0.2, 0.75, 0.25, 0.75)


def test_cells_without_a_mask_have_no_hidden_dropout():
    tree, tokens = genotypes.NAS_CELL
    with pytest.raises(ValueError, match=r"hidden: got 0\.25, expected 0: a TreeCell takes no mask"):
        build_recurrent(tree, tokens, vocabulary=7, units=4, dropout=Dropouts())
    with pytest.raises(ValueError, match=r"hidden: got 0\.25, expected 0: a LSTMCell takes no mask"):
        RecurrentChild(lambda n: nn.LSTMCell(n, n), 7, 4, dropout=Dropouts())
    model = RecurrentChild(lambda n: nn.LSTMCell(n, n), 7, 4, dropout=Dropouts(hidden=0))
    assert model(torch.zeros(2, 3).long())[0].shape == (2, 3, 7)


def test_the_start_within_a_spread():
    model, _ = language_model(0.0)
    torch.manual_seed(1)
    start_within(0.04, model)
    for p in model.parameters():
        if p.ndim == 1:
            assert not p.any()
        else:
            assert 0.039 < p.max() <= 0.04 and -0.04 <= p.min() < -0.039
            assert abs(p.std() - 0.04 / math.sqrt(3)) < 0.002
    assert model.decoder.weight is model.embedding.weight
    for bad in (0, -1, math.nan):
        with pytest.raises(ValueError, match=f"spread: got {bad}"):
            start_within(bad, model)


def test_the_last_node_leaves_whatever_the_others_carry():
    space = spaces.enas_rnn(3)
    assert leaving(space, active(torch.ones(6, 4))) == [(2, 1.0)]
