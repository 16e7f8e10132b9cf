"""Training on a device that is not the CPU, without one (see fake_device.py)."""

import ast
from functools import partial
from pathlib import Path

import nbformat
import pytest
import torch
from fake_device import fake_gpu
from torch import nn
from torch._subclasses.fake_tensor import unset_fake_temporarily

from naslab import data, genotypes, hypergradients, networks, spaces, training
from naslab.controller import Controller, policy_loss
from naslab.search import darts

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("[0-9][0-9]_*.ipynb"))
SHAPES = {"fashion": (1, 28, 28), "fashion_14": (1, 14, 14), "fashion_full": (1, 28, 28), "cifar10": (3, 32, 32)}


def one_step(build, shape, recipe, device, drop_path=0.0):
    """One training step and one evaluation of the child; returns all tensors that came of it."""
    model = build().to(device)
    optim = torch.optim.SGD(model.parameters(), recipe.lr, recipe.momentum, nesterov=recipe.nesterov)
    x = torch.randn(recipe.batch_size, *shape, device=device)  # (B, C, H, W)
    y = torch.randint(0, 10, (recipe.batch_size,), device=device)
    loss = training.train_step(model, optim, x, y, recipe, drop_path)
    training.accuracy(model, data.Images(x, y), batch_size=recipe.batch_size)
    momenta = [s["momentum_buffer"] for s in optim.state.values()]
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return [loss, *model.state_dict().values(), *momenta, *gradients]


DARTS = genotypes.read_darts(genotypes.DARTS_V2)
MICRO = spaces.enas_micro().sample(torch.Generator().manual_seed(1))
CHILDREN = {
    "darts": lambda: networks.build(*DARTS, channels=4, cells=5),
    "auxiliary": lambda: networks.build(*DARTS, channels=4, cells=5, auxiliary=True),
    "micro": lambda: networks.build(spaces.enas_micro(), MICRO, channels=4, cells=5),
    "bench": lambda: networks.build(spaces.nas_bench_201(), (0, 1, 2, 3, 4, 3), channels=4, cells=1),
    "macro": lambda: networks.build(spaces.MacroSpace(3), (0, 4, 1, 1, 0, 1), channels=4),
}


@pytest.mark.parametrize("name", CHILDREN)
def test_training_a_child_leaves_no_tensor_on_the_wrong_device(name):
    recipe = training.Recipe(batch_size=8, auxiliary_weight=0.4 if name == "auxiliary" else 0.0)
    with fake_gpu() as device:
        found = one_step(CHILDREN[name], (3, 32, 32), recipe, device, 0.0 if name == "macro" else 0.2)
        assert {t.device.type for t in found} == {"lazy"}


class Masked(nn.Module):
    """A child with a mask that somebody left on the CPU."""

    def __init__(self, model):
        super().__init__()
        self.model, self.mask = model, [torch.ones(8, 10, device="cpu")]  # in a list: `to` does not see it

    def forward(self, x, drop_path=0.0):
        return self.model(x, drop_path) * self.mask[0]


def test_a_planted_cpu_mask_is_caught():
    with fake_gpu() as device, pytest.raises(RuntimeError, match="device"):
        one_step(lambda: Masked(CHILDREN["bench"]()), (3, 32, 32), training.Recipe(batch_size=8), device)


def gpu_numbers(path):
    """The gpu profile's numbers, read from the notebook's own call of `runs.start`."""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code" and "runs.start(" in cell.source:
            (call,) = [n for n in ast.walk(ast.parse(cell.source)) if isinstance(n, ast.Call) and n.keywords]
            return next(ast.literal_eval(k.value) for k in call.keywords if k.arg == "gpu")
    raise AssertionError(f"{path.name} does not call runs.start")


CHARACTERS = 2  # of a text that is read: all that follow are read like the second


# An op costs the CPU here what it costs with numbers, so what repeats runs once or twice. All of it is built, without
# memory: `whole`.


def whole(build, **size):
    with unset_fake_temporarily(), torch.device("meta"):
        build(**size)


def shallow(build, cells):
    """Builds 5 of the `cells` of a child: the second and fourth reduce, and normal cells stand before, between and
    after them. A deeper child has each of these several times, at the same size and width."""
    whole(build, cells=cells)
    return partial(build, cells=min(cells, 5))


def supergraph(build, kind, nodes, shown=2, **size):
    """A small space and its supergraph. Two nodes have edges from inputs and from a node, with every op; of three
    cells the last two reduce; of four layers the second and third."""
    whole(partial(build, kind(nodes)), **size)
    if "cells" in size:
        size["cells"] = min(size["cells"], 3)
    space = kind(min(nodes, shown))
    return space, build(space, **size)


def image_step(build, n, device):
    auxiliary = n.get("auxiliary_weight", 0.0)
    recipe = training.Recipe(n["epochs"], n["batch_size"], n["lr"], nesterov=True, auxiliary_weight=auxiliary)
    return one_step(build, SHAPES[n["images"]], recipe, device, n.get("drop_path", 0.0))


def policy_step(controller, device):
    """One update of a controller by REINFORCE, without a search, whose strings would need numbers."""
    controller = controller.to(device)
    optim = torch.optim.Adam(controller.parameters())
    tokens, log_prob, entropy = controller(4, torch.Generator())
    policy_loss(log_prob, entropy, torch.rand(4, device=device), 0.5, 0.01).backward()
    optim.step()
    gradients = [p.grad for p in controller.parameters() if p.grad is not None]
    return [tokens, log_prob, entropy, *controller.state_dict().values(), *gradients]


def text_step(n, device):
    """One training step of the language model of lesson 04, and one evaluation."""
    size = {"vocabulary": 10_000, "units": n["units"], "layers": n["layers"], "dropout": n["dropout"]}
    model = networks.build_recurrent(*genotypes.NAS_CELL, **size).to(device)
    recipe = training.TextRecipe(n["epochs"], n["batch_size"], n["bptt"], n["lr"])
    optim = torch.optim.Adam(model.parameters(), recipe.lr)
    tokens = torch.randint(0, 10_000, (CHARACTERS + 1, recipe.batch_size), device=device)
    loss, state = training.train_text_step(model, optim, tokens[:-1], tokens[1:], None, recipe)
    training.perplexity(model, tokens.flatten(), recipe.batch_size)
    return [loss, *(v for pair in state for v in pair), *model.parameters(), *(p.grad for p in model.parameters())]


def search_step(n, device):
    """One training step of a child of lesson 03 and one update of the controller that writes such children."""
    space = spaces.ConvSpace(n["layers"], filters=n["filters"])
    of_a_child = image_step(lambda: networks.build(space, CONV_6), n, device)
    return of_a_child + policy_step(Controller(space), device)


def macro_step(n, device):
    """Of lesson 05: a step of a child, of the supergraph and of the controller."""
    space = spaces.MacroSpace(n["layers"])
    recipe = training.Recipe(n["large_epochs"], n["batch_size"], n["large_lr"], nesterov=True)
    found = one_step(
        lambda: networks.build(space, MACRO_12, channels=n["channels"]), SHAPES[n["images"]], recipe, device
    )
    space, net = supergraph(networks.MacroNet, spaces.MacroSpace, n["layers"], 4, channels=n["channels"])
    net = net.to(device)
    weights = {t: torch.rand(shape, device=device, requires_grad=True) for t, shape in space.tables.items()}
    logits = net(torch.randn(8, *SHAPES[n["images"]], device=device), weights)
    logits.sum().backward()
    torch.optim.SGD(net.parameters(), n["large_lr"], 0.9, nesterov=True).step()
    return [*found, logits, *net.parameters(), *policy_step(Controller(space, 100, 1), device)]


def cells_step(n, device):
    """Of lesson 06: a step of a text child, of both supergraphs and of a controller."""
    rnn, tokens = genotypes.read_enas_rnn(genotypes.ENAS_RNN)
    text = torch.randint(0, 10_000, (CHARACTERS + 1, 64), device=device)
    model = networks.build_recurrent(rnn, tokens, vocabulary=10_000, units=n["units"], dropout=n["dropout"]).to(device)
    recipe = training.TextRecipe(n["text_epochs"], 64, n["bptt"], n["text_lr"])
    optim = torch.optim.Adam(model.parameters(), recipe.lr)
    loss, _ = training.train_text_step(model, optim, text[:-1], text[1:], None, recipe)
    found = [loss, *model.parameters()]

    images = torch.randn(8, *SHAPES[n["images"]], device=device)
    size = {"channels": n["search_channels"], "cells": n["search_cells"]}
    of_images = supergraph(networks.ConvNet, spaces.enas_micro, n["nodes"], **size)
    size = {"vocabulary": 10_000, "units": n["text_search_units"]}
    of_text = supergraph(networks.RecurrentNet, spaces.enas_rnn, rnn.nodes, **size)
    for (space, net), x in ((of_images, images), (of_text, text[:CHARACTERS])):
        net = net.to(device)
        weights = {t: torch.rand(shape, device=device, requires_grad=True) for t, shape in space.tables.items()}
        logits = net(x, weights)[0]  # of the first image; of all characters
        logits.sum().backward()
        torch.optim.SGD(net.parameters(), 0.05).step()
        found += [logits, *net.parameters(), *policy_step(Controller(space, 100, 1), device)]
    return found


def relaxed_step(n, device):
    """Of lesson 07: a first-order step of alpha, and a step of w at a temperature."""
    build = partial(networks.ConvNet, affine=False, pool_norm=True, fast=True)
    space, net = supergraph(build, spaces.darts_conv, n["nodes"], channels=n["channels"], cells=n["cells"])
    net = net.to(device)
    alpha = darts.start(space, device=device)
    x = torch.randn(8, *SHAPES[n["images"]], device=device)
    y = torch.randint(0, 10, (8,), device=device)

    def loss(alpha, temperature):
        cold = {t: (w.log() / temperature).softmax(-1) for t, w in darts.relax(alpha).items()}
        return nn.functional.cross_entropy(net(x, cold), y)

    slopes = darts.alpha_gradient(loss, [], alpha, n["coldest"], n["coldest"], xi=0.0)
    moved = {t: (a - n["alpha_lr"] * slopes[t]).detach().requires_grad_() for t, a in alpha.items()}
    loss(moved, 1.0).backward()
    torch.optim.SGD(net.parameters(), n["lr"], 0.9).step()
    return [*slopes.values(), *moved.values(), *net.parameters(), *(p.grad for p in net.parameters())]


def bilevel_step(n, device):
    """Of lesson 08: a gradient of alpha, and in a smaller network one through a step of w."""
    found, build = [], partial(networks.ConvNet, channels=n["channels"], affine=False, pool_norm=True)
    for nodes, cells, steps in ((n["nodes"], n["cells"], 0), (1, 3, 1)):
        space, net = supergraph(build, spaces.darts_conv, nodes, cells=cells)
        net = net.to(device)
        alpha = {t: torch.zeros(shape, device=device).requires_grad_() for t, shape in space.tables.items()}
        x = torch.randn(n["batch_size"], *SHAPES[n["images"]], device=device)
        y = torch.randint(0, 10, (n["batch_size"],), device=device)
        names, w = zip(*net.named_parameters(), strict=True)

        def at(w, alpha, split, net=net, names=names, x=x, y=y):
            logits = torch.func.functional_call(net, dict(zip(names, w, strict=True)), (x, darts.relax(alpha)))
            return nn.functional.cross_entropy(logits, y)

        found += hypergradients.unrolled(at, w, alpha, "train", "valid", n["xi"], steps).values()
    return found


def darts_step(n, device):
    """Of lesson 09: a step on the table's supergraph, then one for both kinds of cell, in first order (the second asks
    for a norm's number)."""
    found = truth_step({"batch_size": n["batch_size"], "darts_lr": n["lr"]}, device)
    text = torch.randint(0, 10_000, (CHARACTERS + 1, n["text_batch"]), device=device)
    build = partial(networks.ConvNet, channels=n["search_channels"], affine=False, pool_norm=True, fast=True)
    conv, net = supergraph(build, spaces.darts_conv, n["nodes"], cells=n["search_cells"])
    build = partial(networks.RecurrentNet, dropout=networks.Dropouts(), matrices="node", norm=True, fast=True)
    size = {"vocabulary": 10_000, "units": n["text_units"]}
    rnn, reader = supergraph(build, spaces.darts_rnn, n["text_nodes"], **size)
    images = (torch.randn(8, *SHAPES[n["clock_images"]], device=device), torch.randint(0, 10, (8,), device=device))
    task = data.ImageTask("", (), *(data.Images(*images),) * 3)
    objectives = (
        (net.to(device), conv, 0.1, training.ImageObjective(task, 8), images),
        (
            reader.to(device),
            rnn,
            n["text_lr"],
            training.TextObjective(data.TextTask("", (), *(torch.arange(100, device=device),) * 3), 8, CHARACTERS),
            (text[:-1, :8], text[1:, :8]),
        ),
    )
    for model, space, lr, objective, batch in objectives:
        alpha = darts.start(space, device=device)

        def loss(alpha, batch, model=model, objective=objective):
            return objective.loss(model, darts.relax(alpha), batch)[0]

        w = [*model.parameters()]
        slopes = darts.alpha_gradient(loss, w, alpha, batch, batch, xi=0.0)
        loss(alpha, batch).backward()
        torch.optim.SGD(w, lr).step()
        found += [*slopes.values(), *w, *(p.grad for p in w)]
    return found


def truth_step(n, device):
    """Of lesson 10: a step of alpha and one of w, on the plain supergraph."""
    space = spaces.nas_bench_201(nodes=2)
    net = networks.BenchNet(space, 8, 1, 1, affine=False, pool_norm=True, plain=True).to(device)
    x = torch.randn(n["batch_size"], *SHAPES["fashion_14"], device=device)
    y = torch.randint(0, 10, (n["batch_size"],), device=device)
    alpha, w = darts.start(space, device=device), [*net.parameters()]

    def loss(alpha):
        return nn.functional.cross_entropy(net(x, darts.relax(alpha)), y)

    slopes = torch.autograd.grad(loss(alpha), [*alpha.values()])
    loss(alpha).backward()
    torch.optim.SGD(w, n["darts_lr"]).step()
    return [*slopes, *w, *(p.grad for p in w)]


CONV_6 = spaces.ConvSpace(6).sample(torch.Generator().manual_seed(0))
MACRO_12 = spaces.MacroSpace(12).sample(torch.Generator().manual_seed(0))

# lesson -> the tensors that a step of its gpu profile, with these numbers, leaves behind
LESSONS = {
    "00": lambda n, device: image_step(
        lambda: networks.build(spaces.nas_bench_201(), (3, 3, 1, 0, 4, 3), channels=n["channels"], cells=n["cells"]),
        n,
        device,
    ),
    "01": lambda n, device: image_step(
        lambda: networks.build(spaces.MacroSpace(n["layers"]), MACRO_12, channels=n["channels"]), n, device
    ),
    "02": lambda n, device: policy_step(Controller(spaces.nas_bench_201(), units=n["units"]), device),
    "03": search_step,
    "04": text_step,
    "05": macro_step,
    "06": cells_step,
    "07": relaxed_step,
    "08": bilevel_step,
    "09": darts_step,
    "10": truth_step,
    "11": lambda n, device: one_step(CHILDREN["macro"], (3, 8, 8), training.Recipe(n["epochs"]), device),
    "12": lambda n, device: one_step(CHILDREN["bench"], (3, 8, 8), training.Recipe(n["epochs"]), device),
}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_the_gpu_profile_of_a_lesson_builds_its_network_and_takes_a_step(path):
    numbers = gpu_numbers(path)
    with fake_gpu() as device:
        found = LESSONS[path.name[:2]](numbers, device)
        assert {t.device.type for t in found} == {"lazy"}


def test_every_lesson_is_covered():
    assert {path.name[:2] for path in NOTEBOOKS} == set(LESSONS)
