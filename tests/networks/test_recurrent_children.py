"""Language models of layers of cells: states, dropout between layers, and what `build_recurrent` refuses."""

import math

import pytest
import torch
from fake_device import fake_gpu
from torch import nn

from naslab import spaces
from naslab.networks import RecurrentChild, build_recurrent, count_parameters

from .recurrent import FIGURE_5, NAS_CELL, close


@pytest.mark.parametrize("layers", [1, 3])
def test_parameters_by_hand(layers):
    model = build_recurrent(*FIGURE_5, vocabulary=11, units=6, layers=layers)
    assert count_parameters(model) == 11 * 6 + 11 + layers * 4 * 6 * 6  # embedding, bias, W_1 to W_4
    assert model.decoder.weight is model.embedding.weight


def test_layers_are_stacked_and_states_carried():
    torch.manual_seed(0)
    model, tokens = build_recurrent(*FIGURE_5, vocabulary=7, units=4, layers=2).double(), torch.randint(0, 7, (5, 3))
    whole, last = model(tokens)
    first, state = model(tokens[:2])
    second, end = model(tokens[2:], state)
    assert close(torch.cat([first, second]), whole)
    assert all(close(a, b) for one, two in zip(last, end, strict=True) for a, b in zip(one, two, strict=True))

    states = [(torch.zeros(3, 4).double(),) * 2] * 2
    for t in range(5):
        x = model.embedding.weight[tokens[t]]
        for k, cell in enumerate(model.cells):
            states[k] = cell(x, states[k])
            x = states[k][0]
        assert close(whole[t], x @ model.embedding.weight.T + model.decoder.bias)


def test_a_model_of_lstm_cells_is_pytorchs_lstm():
    torch.manual_seed(0)
    model = RecurrentChild(lambda n: nn.LSTMCell(n, n), vocabulary=7, units=4, layers=2)
    lstm = nn.LSTM(4, 4, num_layers=2)
    names = {f"{name}_l{k}": p for k, cell in enumerate(model.cells) for name, p in cell.named_parameters()}
    lstm.load_state_dict(names)
    tokens = torch.randint(0, 7, (5, 3))
    hidden, (h, c) = lstm(model.embedding(tokens))
    logits, state = model(tokens)
    assert torch.allclose(logits, model.decoder(hidden), atol=1e-6)
    assert torch.allclose(torch.stack([s[0] for s in state]), h, atol=1e-6)
    assert torch.allclose(torch.stack([s[1] for s in state]), c, atol=1e-6)


def test_dropout_is_between_layers_and_not_along_time():
    torch.manual_seed(0)
    model = build_recurrent(*FIGURE_5, vocabulary=7, units=50, layers=2, dropout=0.4)  # a sigmoid: h is never 0
    read = []
    for module in (*model.cells, model.decoder):
        module.register_forward_hook(lambda m, inputs, out: read.append((inputs[0], inputs[1:])))
    tokens = torch.randint(0, 7, (6, 8))
    _, state = model(tokens)
    dropped = [(x == 0).float().mean().item() for x, _ in read]
    assert len(read) == 6 + 6 + 1 and all(0.25 < d < 0.55 for d in dropped)
    assert not torch.equal(read[0][0] == 0, read[1][0] == 0)
    assert all((h != 0).all() for h, _ in state)
    read.clear()
    assert torch.equal(model.eval()(tokens)[0], model(tokens)[0]) and all((x != 0).all() for x, _ in read)


def test_same_seed_same_model():
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        found.append(build_recurrent(*NAS_CELL, vocabulary=7, units=4).state_dict())
    assert all(torch.equal(found[0][k], found[1][k]) for k in found[0])


@pytest.mark.parametrize("string", [FIGURE_5, NAS_CELL], ids=["figure 5", "nas cell"])
def test_follows_the_device_of_its_input(string):
    with fake_gpu() as device:
        model = build_recurrent(*string, vocabulary=7, units=4, layers=2, dropout=0.2).to(device)
        logits, state = model(torch.randint(0, 7, (5, 3), device=device))
        logits.sum().backward()
        found = [logits, *(v for pair in state for v in pair), *(p.grad for p in model.parameters())]
        assert {t.device.type for t in found} == {"lazy"}


# Bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocabulary": 0}, "vocabulary: got 0, expected an int of at least 1"),
        ({"units": 2.5}, r"units: got 2\.5"),
        ({"units": None}, "units: got None"),
        ({"layers": 0}, "layers: got 0"),
        ({"layers": True}, "layers: got True"),
        ({"dropout": 1.0}, r"dropout: got 1\.0"),
        ({"dropout": math.nan}, "dropout: got nan"),
        ({"dropout": "half"}, "dropout: got 'half'"),
        ({"space": spaces.ConvSpace()}, "space: got ConvSpace.*expected a TreeSpace"),
        ({"space": None}, "space: got None"),
        ({"space": spaces.TreeSpace(2, combine=("add", "minus"))}, r"combine: got \['minus'\]"),
        ({"space": spaces.TreeSpace(2, activation=("gelu", "tanh", "relu", "sin"))}, r"activation: got \['gelu'\]"),
        ({"tokens": FIGURE_5[1][:-1]}, "tokens: got 9"),
        ({"tokens": (*FIGURE_5[1][:-1], 3)}, r"cell_index\.1: token 3 is outside"),
        ({"tokens": None}, "tokens: got None"),
    ],
)
def test_bad_arguments(arguments, message):
    good = {"space": FIGURE_5[0], "tokens": FIGURE_5[1], "vocabulary": 7, "units": 4}
    with pytest.raises(ValueError, match=message):
        build_recurrent(**(good | arguments))


@pytest.mark.parametrize("tokens", [torch.zeros(3).long(), torch.zeros(3, 2), torch.zeros(1, 3, 2).long()])
def test_bad_tokens(tokens):
    with pytest.raises(ValueError, match="tokens: got"):
        build_recurrent(*FIGURE_5, vocabulary=7, units=4)(tokens)


def test_a_state_of_other_layers():
    model = build_recurrent(*FIGURE_5, vocabulary=7, units=4)
    _, state = model(torch.zeros(1, 2).long())
    with pytest.raises(ValueError, match="longer"):
        model(torch.zeros(1, 2).long(), state * 2)
