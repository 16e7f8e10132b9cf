"""A corner of a supergraph is a child that shares its weights."""

import copy
from collections import Counter

import pytest
import torch
from torch import nn

from naslab import data, genotypes, spaces, training
from naslab.networks import BenchNet, Cell, ConvNet, MacroNet, RecurrentNet, build, build_recurrent
from naslab.spaces import MacroSpace

from .supergraphs import MATRICES, NETS, SMALL, TINY, batch, close, every_net, every_tiny_net, logits, made, some


def alone(model, tokens, search):
    """The child, with what else a search puts into it: a batch norm after each pool."""
    child = model.child(tokens)
    for cell in [m for m in child.modules() if isinstance(m, Cell)] if search else []:
        for k, op in enumerate(cell.ops):
            if isinstance(op, nn.MaxPool2d | nn.AvgPool2d):
                norm = nn.BatchNorm2d(cell.channels // len(cell.leaving), affine=False)
                cell.ops[k] = nn.Sequential(op, norm.double())
    return child


def sharers(child, search):
    """For every parameter of a child, how many of its ops have it in common; 0 for what a search does not have."""
    found = {p: 1 for p in child.parameters()}
    for cell in [m for m in child.modules() if isinstance(m, Cell)]:
        counts = Counter(cell.named)
        for named, op in zip(cell.named, cell.ops, strict=True):
            found.update(dict.fromkeys(op.parameters(), counts[named]))
        for norm in [m for m in cell.modules() if isinstance(m, nn.BatchNorm2d)] if search else []:
            found.update(dict.fromkeys(norm.parameters(), 0))
    return found


@every_net
def test_random_architectures_are_their_children_with_all_gradients(name):
    space, _, search = NETS[name]
    model = made(*NETS[name])
    holder = copy.deepcopy(model)  # of gradients, which go from it to a child the way that weights do
    pairs = [*zip(model.parameters(), holder.parameters(), strict=True)]
    x = batch(model)
    direction = torch.randn_like(logits(model, x, space.one_hot(some(space, 1)[0])))
    for tokens in some(space, 15 if "bench" in name or "darts" in name else 50):
        child = alone(model, tokens, search)
        found, expected = logits(model, x, space.one_hot(tokens)), logits(child, x)
        assert close(found, expected)

        (found * direction).sum().backward()
        (expected * direction).sum().backward()
        got_one = 0
        for shared, p in pairs:
            p.data.zero_() if shared.grad is None else p.data.copy_(shared.grad)
            got_one += 0 if shared.grad is None else p.numel()
            shared.grad = None
        gradients = dict(alone(holder, tokens, search).named_parameters())
        n, reached = sharers(child, search), 0.0
        for key, p in child.named_parameters():
            if n[p] and p.grad is not None:
                assert close(n[p] * p.grad, gradients[key])  # the shared gradient is that of all n ops together
                reached += p.numel() / n[p]
            elif n[p]:
                assert not gradients[key].any()
        assert got_one == round(reached)


def test_some_of_the_50_take_a_pair_twice():
    space = spaces.enas_micro()
    twice = [t for t in some(space, 50) if max(space.one_hot(t)[cell].max() for cell in space.cells) == 2]
    assert len(twice) > 10


@every_tiny_net
def test_a_child_of_another_space(name):
    space, _ = TINY[name]
    with pytest.raises(ValueError, match="tokens: got"):
        made(*TINY[name]).child(some(space, 1)[0][:-1])


# By hand


def shares(child, model, names):
    """The child, with the model's weights under the names given: of one module, or of blocks joined in depth."""
    shared = dict(model.named_parameters())
    for key, p in child.named_parameters():
        (ours,) = [name for name in names if key == name or key.startswith(name + ".")]
        theirs = names[ours]
        blocks = [shared[theirs + key[len(ours) :]]] if isinstance(theirs, str) else [shared[b] for b in theirs]
        p.data.copy_((torch.cat(blocks, dim=1) if len(blocks) > 1 else blocks[0]).reshape(p.shape))
    return child


def test_macro_child_by_hand():
    """Layers: conv 3x3; separable 3x3 with layer 0; average pool; conv 5x5 with layers 0 and 2. Halved before 1, 2."""
    space, tokens = MacroSpace(4), (0, 1, 1, 4, 0, 0, 2, 1, 0, 1)
    model = made(space, lambda s: MacroNet(s, 4, **SMALL))
    child = shares(
        build(space, tokens, channels=4, **SMALL).double(),
        model,
        {
            "stem": "stem",
            "ops.0": "layers.0.ops.conv_3x3",
            "ops.1": "layers.1.ops.sep_conv_3x3",
            "ops.3": "layers.3.ops.conv_5x5",
            "projections.1.1.weight": [f"projections.1.conv.blocks.{k}" for k in (0, 1)],
            "projections.1.2": "projections.1.norm",
            "projections.3.1.weight": [f"projections.3.conv.blocks.{k}" for k in (0, 1, 3)],
            "projections.3.2": "projections.3.norm",
            **{f"reductions.{k}": f"reductions.{k}" for k in ("1_0", "2_0", "2_1")},
            "classifier": "classifier",
        },
    )
    x = batch(model)
    assert close(model(x, space.one_hot(tokens)), child(x), 1e-12)


def test_micro_child_by_hand():
    """One loose end in the normal cell, the second node; both in the reduction cell, whose first takes a pair twice."""
    space = spaces.enas_micro(2)
    tokens = space.tokens(
        {
            "normal": (((0, "sep_conv_3x3"), (1, "avg_pool_3x3")), ((2, "skip_connect"), (1, "sep_conv_5x5"))),
            "reduce": (((0, "sep_conv_3x3"), (0, "sep_conv_3x3")), ((1, "max_pool_3x3"), (1, "skip_connect"))),
        }
    )
    model = made(space, lambda s: ConvNet(s, 4, 3, **SMALL))
    edges = {(0, 2): 0, (1, 2): 1, (0, 3): 2, (1, 3): 3, (2, 3): 4}
    names = {"stem": "stem", "classifier.bias": "classifier.bias"}
    for cell, older, newer in ((0, (0,), (0,)), (1, (0,), (1,)), (2, (1,), (0, 1))):  # parts of the outputs it reads
        for k, parts in enumerate((older, newer)):
            shared = f"cells.{cell}.preprocess.{k}"
            if (cell, k) == (2, 0):  # after a reduction cell
                for half in ("straight", "shifted"):
                    names[f"{shared}.{half}.weight"] = [f"{shared}.{half}.blocks.{p}" for p in parts]
                names[f"{shared}.norm"] = f"{shared}.norm"
            else:
                names[f"{shared}.1.weight"] = [f"{shared}.conv.blocks.{p}" for p in parts]
                names[f"{shared}.2"] = f"{shared}.norm"
    names["cells.0.ops.0"] = f"cells.0.edges.{edges[0, 2]}.ops.sep_conv_3x3"
    names["cells.0.ops.3"] = f"cells.0.edges.{edges[1, 3]}.ops.sep_conv_5x5"
    for cell in (1, 2):
        for k in (0, 1):
            names[f"cells.{cell}.ops.{k}"] = f"cells.{cell}.edges.{edges[0, 2]}.ops.sep_conv_3x3"
        names[f"cells.{cell}.ops.3"] = f"cells.{cell}.edges.{edges[1, 3]}.ops.skip_connect"
    names["classifier.weight"] = ["classifier.blocks.0", "classifier.blocks.1"]
    child = shares(build(space, tokens, channels=4, cells=3, **SMALL).double(), model, names)
    x = batch(model)
    assert close(model(x, space.one_hot(tokens)), child(x), 1e-12)


def test_bench_child_by_hand():
    space, tokens = genotypes.read_nas_bench_201(
        "|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
    )
    model = made(space, lambda s: BenchNet(s, 2, 1, **SMALL))
    names = {n: n for n in ("stem", "norm", "classifier", "blocks.1", "blocks.3")}
    for cell in (0, 2, 4):
        for edge, op in ((0, "nor_conv_3x3"), (2, "nor_conv_1x1"), (5, "nor_conv_3x3")):
            names[f"blocks.{cell}.ops.{edge}"] = f"blocks.{cell}.edges.{edge}.ops.{op}"
    child = shares(build(space, tokens, channels=2, cells=1, **SMALL).double(), model, names)
    x = batch(model)
    assert close(model(x, space.one_hot(tokens)), child(x), 1e-12)


@pytest.mark.parametrize("matrices", MATRICES)
def test_recurrent_child_by_hand(matrices):
    """0 tanh, 1 relu, 0 identity: nodes 2 and 3 are loose."""
    space, tokens = spaces.enas_rnn(3), (0, 0, 1, 1, 0, 3)
    model = made(space, lambda s: RecurrentNet(s, 7, 5, matrices=matrices))
    keys = {"source": ("1_0", "2_1", "3_0"), "op": ("1_tanh", "2_relu", "3_identity"), "node": ("1", "2", "3")}
    names = {f"cells.0.weights.{k}": f"model.cells.0.weights.{key}" for k, key in enumerate(keys[matrices])}
    names |= {"embedding": "model.embedding", "decoder.bias": "model.decoder.bias"}
    names |= {} if matrices == "source" else {"cells.0.first": "model.cells.0.first"}
    child = shares(build_recurrent(space, tokens, vocabulary=7, units=5, matrices=matrices).double(), model, names)
    x = batch(model)
    (found, [(h, c)]), (expected, [(h_alone, c_alone)]) = model(x, space.one_hot(tokens)), child(x)
    assert close(found, expected, 1e-12) and close(h, h_alone, 1e-12) and torch.equal(c, c_alone)


# Statistics of batch norms


@pytest.mark.parametrize("name", [name for name in NETS if "rnn" not in name])
def test_a_child_is_not_evaluated_before_it_has_statistics(name):
    """PyTorch's initial mean 0 and variance 1 would be silently wrong. They start from the first batch's, exactly."""
    space = NETS[name][0]
    model = made(*NETS[name])
    x, tokens = batch(model), some(space, 1)[0]
    child = model.child(tokens)
    with pytest.raises(ValueError, match=r"batch norm: got no running statistics.* training\.calibrate"):
        child.eval()(x)
    read = {}
    for norm in [m for m in child.modules() if isinstance(m, nn.BatchNorm2d)]:
        norm.register_forward_hook(lambda module, args, out: read.update({module: args[0].transpose(0, 1).flatten(1)}))
    for one in (copy.deepcopy(child), child):
        read.clear()
        one.train()(x)
        assert len(read) > 3
        for norm, values in read.items():
            assert close(norm.running_mean, values.mean(1)) and close(norm.running_var, values.var(1))
        assert one.eval()(x).isfinite().all()
        assert all(norm.momentum == 0.1 and not norm._forward_pre_hooks for norm in read)


def test_calibrated_children_are_worth_what_the_supergraph_says():
    """And a child that trains has the mean over its first ten batches, then the usual moving average."""
    task, space = data.digits(), spaces.nas_bench_201()
    torch.manual_seed(0)
    model = BenchNet(space, 4, 1, 1)
    optim = torch.optim.SGD(model.parameters(), 0.2, momentum=0.9)
    tokens = (3,) * 6
    objective = training.ImageObjective(task, 100)
    for index in range(40):
        loss, _ = objective.loss(model, space.one_hot(tokens), objective.batch("train", index))
        optim.zero_grad()
        loss.backward()
        optim.step()
    child = model.child(tokens)
    with pytest.raises(ValueError, match=r"statistics.*training.calibrate"):
        training.accuracy(child, task.valid)
    training.calibrate(child, task.train)
    shared = objective.reward(model, space.one_hot(tokens), (task.valid.x, task.valid.y))
    # seeds 0 to 7, as the machine is (AVX-512) and held to SSE4.2: 0.82 to 0.94, and the child differs by up to 0.013
    assert shared > 0.7 and abs(training.accuracy(child, task.valid) - shared) < 0.03
    weights = dict(model.named_parameters())
    assert torch.equal(child.classifier.weight, weights["classifier.weight"])

    child, seen, before = model.child(tokens).train(), [], None
    first = child.stem[1]
    for k in range(14):
        x = task.train.x[50 * k : 50 * k + 50]
        seen.append(child.stem[0](x).mean((0, 2, 3)))
        child(x)
        expected = torch.stack(seen).mean(0) if k < 10 else 0.9 * before + 0.1 * seen[-1]
        assert torch.allclose(first.running_mean, expected, atol=1e-5)
        before = first.running_mean.clone()


def test_a_child_s_norms_keep_their_momentum():
    space = spaces.MacroSpace(2)
    alone = MacroNet(space, 4, 1).child(space.sample(torch.Generator().manual_seed(0)))
    norms = [m for m in alone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    before = [m.momentum for m in norms]
    for _ in range(12):
        alone(torch.randn(4, 1, 8, 8))
    assert [m.momentum for m in norms] == before and not any(m._forward_pre_hooks for m in norms)


def test_a_calibration_that_is_interrupted_leaves_a_child_that_refuses():
    space = spaces.MacroSpace(2)
    alone = MacroNet(space, 4, 1).child(space.sample(torch.Generator().manual_seed(0)))
    images = data.Images(torch.randn(24, 1, 8, 8), torch.zeros(24, dtype=torch.int64))
    seen = []

    def stop(*_):
        seen.append(1)
        if len(seen) == 12:
            raise KeyboardInterrupt

    handle = alone.register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        training.calibrate(alone, images, batch_size=2)
    handle.remove()
    with pytest.raises(ValueError, match="batch norm: got no running statistics"):
        training.accuracy(alone, images)
