"""Dropout of language models, with one mask for all time steps."""

import math

import pytest
import torch
from fake_device import fake_gpu
from torch import nn

from naslab import genotypes
from naslab.networks import Dropouts, RecurrentChild, build_recurrent, start_within

from .recurrent import DARTS, close

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
