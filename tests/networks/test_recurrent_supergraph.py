"""Recurrent supergraphs: over time, their size, gradients and dropout."""

import pytest
import torch

from naslab import genotypes, spaces
from naslab.networks import Dropouts, RecurrentNet, build_recurrent, count_parameters

from .recurrent import DARTS, ENAS, PUBLISHED, N, close
from .supergraphs import TINY, batch, logits, made, relaxed


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


@pytest.mark.parametrize("name", [name for name in TINY if "rnn" in name])
def test_gradcheck_of_recurrent_networks(name):
    space, _ = TINY[name]
    model = made(*TINY[name])
    x = batch(model)[:2]
    inside = relaxed(space, scale=0.8)["recurrent"].requires_grad_()
    assert torch.autograd.gradcheck(lambda w: logits(model, x, {"recurrent": w}), [inside])
    alpha = torch.randn_like(inside, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: logits(model, x, {"recurrent": a.softmax(-1)}), [alpha])


def test_the_recurrent_network_of_darts_has_the_published_size():
    space, tokens = genotypes.read_darts(genotypes.DARTS_V2_RNN)
    size = {"vocabulary": 10_000, "units": 850, "matrices": "node"}
    with torch.device("meta"):
        assert count_parameters(RecurrentNet(space, **size)) == 22960000
        assert count_parameters(build_recurrent(space, tokens, **size)) == 22960000


def test_one_stream_of_a_normalised_recurrent_network_is_refused():
    model = RecurrentNet(spaces.darts_rnn(2), 7, 5, matrices="node", norm=True)
    weights = spaces.darts_rnn(2).one_hot((0, 0, 0, 0))
    with pytest.raises(ValueError, match="x: got 1 stream, expected at least 2"):
        model(torch.zeros(3, 1, dtype=torch.int64), weights)
    RecurrentNet(spaces.darts_rnn(2), 7, 5, matrices="node")(torch.zeros(3, 1, dtype=torch.int64), weights)


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
