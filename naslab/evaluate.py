"""What an architecture is worth: train a child from scratch and measure it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from inspect import signature
from math import isfinite, log2
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel

from naslab import checks, child, runs
from naslab.data import Images, ImageTask, TextTask, image_batch, image_batches, text_batch, text_batches
from naslab.mixed_op import Matrices
from naslab.schedules import cosine, restarted
from naslab.spaces import CellSpace, Space, Tokens, TreeSpace, Weights
from naslab.steps import Failed


@dataclass(frozen=True)
class Recipe:
    """How a child is trained: SGD with momentum, the learning rate falling along a cosine, to `lr_min`.

    Batch size, learning rate, momentum, weight decay and clipping are those of Liu et al. 2019, section A.2.1; what
    else it has is in `DARTS`. Raises `ValueError` out of range.
    """

    epochs: float = 1.0
    batch_size: int = 96
    lr: float = 0.025
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 3e-4
    clip: float = 5.0  # of the gradient's norm
    drop_path: float = 0.0  # at the end; grows linearly
    auxiliary_weight: float = 0.0  # of the auxiliary head's loss
    lr_min: float = 0.0
    restart: float = 0.0  # epochs of the first of several cosines, each twice as long as the one before; 0: one cosine
    shift: int = 0  # pixels by which training images move, up to; see `moved`
    flip: bool = False  # whether training images are mirrored, each with probability 1/2
    cutout: int = 0  # side of the square that is cut out of training images, in pixels

    def __post_init__(self) -> None:
        checks.whole(1, batch_size=self.batch_size)
        check_augmentation(self.shift, self.flip, self.cutout)
        checks.positive(lr=self.lr, clip=self.clip)
        rest = ("epochs", "weight_decay", "auxiliary_weight", "lr_min", "restart")
        checks.number(0, **{name: getattr(self, name) for name in rest})
        checks.number(0, 1, drop_path=self.drop_path, momentum=self.momentum)
        if not isinstance(self.nesterov, bool):
            raise ValueError(f"nesterov: got {self.nesterov!r}, expected True or False")
        if self.nesterov and not self.momentum:
            raise ValueError("momentum: got 0, expected a number above 0 for nesterov True")


def check_augmentation(shift: int, flip: bool, cutout: int = 0) -> None:
    """Raises `ValueError` out of range."""
    checks.whole(0, shift=shift, cutout=cutout)
    if not isinstance(flip, bool):
        raise ValueError(f"flip: got {flip!r}, expected True or False")


def check_is(kind: type, **values: object) -> None:
    """Every value is of that class. Raises `ValueError`."""
    for name, got in values.items():
        if not isinstance(got, kind):
            raise ValueError(f"{name}: got {type(got).__name__}, expected {kind.__name__}")


# How Pham et al. 2018, "Image Classification on CIFAR-10", train what they derived; the batch size and micro's
# drop-path, auxiliary loss and 630 epochs are those of the authors' scripts. Macro has 310 epochs and neither.
ENAS_MACRO = Recipe(310, 100, lr=0.05, nesterov=True, weight_decay=1e-4, lr_min=0.001, restart=10)
ENAS_MICRO = replace(ENAS_MACRO, epochs=630, batch_size=144, drop_path=0.2, auxiliary_weight=0.4)

# Liu et al. 2019, section A.2.1, for 20 cells of 36 channels on CIFAR-10. That images move by up to 4 pixels and are
# mirrored, that the square has 16 pixels and gradients the bound 5 is in the authors' code alone.
DARTS = Recipe(600, 96, drop_path=0.2, auxiliary_weight=0.4, shift=4, flip=True, cutout=16)


def train(model: nn.Module, images: Images, recipe: Recipe, seed: int) -> Iterator[float]:
    """Trains in place and yields the training loss (nats) of every batch.

    `model(x)` gives logits (B, classes): any network will do. Drop-path needs one that is called as
    `model(x, drop_path=p)`, an auxiliary loss one with `forward_auxiliary`, as `child.CellChild` has.

    Batches and what is done to their images are a function of (seed, index), drop-path of torch's global generator.
    """
    check_trainable(model, recipe)
    optim = torch.optim.SGD(
        model.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=recipe.nesterov
    )
    per_epoch = image_batches(images, recipe.batch_size)
    batches = round(recipe.epochs * per_epoch)
    for index in range(batches):
        done = index / batches
        along = restarted(index / per_epoch, recipe.restart) if recipe.restart else done
        for group in optim.param_groups:
            group["lr"] = cosine(along, recipe.lr, recipe.lr_min)
        x, y = image_batch(images, index, recipe.batch_size, seed)
        x = augmented(x, seed, index, recipe.shift, recipe.flip, recipe.cutout)
        yield train_step(model, optim, x, y, recipe, drop_path=recipe.drop_path * done).item()


def check_trainable(model: nn.Module, recipe: Recipe) -> None:
    """Raises `ValueError` if the recipe asks for drop-path or an auxiliary loss that the model does not have."""
    if recipe.drop_path and not takes_drop_path(model.forward):
        raise ValueError(
            f"drop_path: got {recipe.drop_path}, expected 0: {type(model).__name__} is not called with drop_path"
        )
    if recipe.auxiliary_weight and getattr(model, "auxiliary", None) is None:
        name = type(model).__name__
        raise ValueError(f"auxiliary_weight: got {recipe.auxiliary_weight}, expected 0: {name} has no auxiliary head")


def takes_drop_path(forward: Callable[..., Any]) -> bool:
    """Whether it has a parameter `drop_path`, or takes any by name."""
    return any(p.name == "drop_path" or p.kind is p.VAR_KEYWORD for p in signature(forward).parameters.values())


def train_step(
    model: nn.Module, optim: torch.optim.Optimizer, x: Tensor, y: Tensor, recipe: Recipe, drop_path: float = 0.0
) -> Tensor:
    """One step on a batch x (B, C, H, W), y (B,); returns the loss (), detached."""
    model.train()
    drops = {"drop_path": drop_path} if drop_path else {}  # an ordinary network takes images alone
    if recipe.auxiliary_weight:
        logits, auxiliary = model.forward_auxiliary(x, **drops)  # type: ignore[operator]
        loss = F.cross_entropy(logits, y) + recipe.auxiliary_weight * F.cross_entropy(auxiliary, y)
    else:
        loss = F.cross_entropy(model(x, **drops), y)
    optim.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
    optim.step()
    return loss.detach()


def augmented(x: Tensor, seed: int, index: int, shift: int = 0, flip: bool = False, cutout: int = 0) -> Tensor:
    """Images (B, C, H, W) as they are trained on in batch `index`: a pure function of (seed, index) on any device."""
    check_augmentation(shift, flip, cutout)
    if not (shift or flip or cutout):
        return x
    (drawn,) = np.random.SeedSequence((seed, index)).generate_state(1, np.uint64).tolist()
    generator = torch.Generator().manual_seed(drawn)
    x = moved(x, shift, flip, generator) if shift or flip else x
    return cut_out(x, cutout, generator) if cutout else x


def moved(x: Tensor, shift: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Each image (C, H, W) of x moved by up to `shift` pixels each way, zeros coming in, and mirrored by chance.

    What the literature calls the standard augmentation of CIFAR-10: a crop of the image with zeros around it. Zero is
    the mean of these images; where pixels are normalised later, as in the DARTS authors' code, it is black.
    """
    b, c, h, w = x.shape
    rows = torch.arange(h) + torch.randint(2 * shift + 1, (b, 1), generator=generator)  # (B, H)
    columns = torch.arange(w) + torch.randint(2 * shift + 1, (b, 1), generator=generator)  # (B, W)
    if flip:
        columns = torch.where(torch.rand(b, 1, generator=generator) < 0.5, columns.flip(1), columns)
    at = (torch.arange(b)[:, None, None, None], torch.arange(c)[:, None, None], rows[:, None, :, None])
    found = F.pad(x, (shift,) * 4)[tuple(i.to(x.device) for i in (*at, columns[:, None, None, :]))]
    return torch.empty_like(x).copy_(found)  # in the memory format of x


def cut_out(x: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Each image of x (B, C, H, W) with a square of `side` pixels set to 0, which is the mean of these images.

    It is centred on a pixel drawn uniformly, or of even side begins side / 2 before it, and ends at the image's border
    (DeVries & Taylor 2017, section 3.2).
    """

    def inside(pixels: int) -> Tensor:
        """Which rows or columns the squares cover, (B, pixels)."""
        first = torch.randint(pixels, (len(x), 1), generator=generator) - side // 2
        place = torch.arange(pixels)
        return ((place >= first) & (place < first + side)).to(x.device)

    height, width = x.shape[-2:]
    return x.clone().masked_fill_((inside(height)[:, :, None] & inside(width)[:, None, :])[:, None], 0)


@torch.no_grad()
def accuracy(model: nn.Module, images: Images, batch_size: int = 500) -> float:
    """The fraction of images that the model classifies right. Leaves the model in evaluation mode.

    Raises `ValueError` for no images. The child of a supergraph refuses until it was trained; see `calibrate`.
    """
    checks.whole(1, batch_size=batch_size)
    if not len(images):
        raise ValueError("images: got none, expected at least 1")
    model.eval()
    parts = zip(images.x.split(batch_size), images.y.split(batch_size), strict=True)
    right = torch.stack([(model(x).argmax(-1) == y).sum() for x, y in parts])
    return right.sum().item() / len(images)


def tracking(model: nn.Module) -> list[_BatchNorm]:
    """The model's batch norms that keep running statistics."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.num_batches_tracked is not None]


@torch.no_grad()
def calibrate(model: nn.Module, images: Images, batch_size: int = 96) -> None:
    """Computes the running statistics of all batch norms anew: means over all whole batches of `batch_size` images.

    The weights stay, so a child of a supergraph (`model.child(tokens)`) then computes in evaluation mode what it
    computes in training, on average. Dropout and drop-path do not act. Modes and momenta stay as they were; after an
    exception the statistics do, too. Raises `ValueError` for fewer images than a batch.
    """
    whole = image_batches(images, batch_size) * batch_size
    norms, modes = tracking(model), [(module, module.training) for module in model.modules()]
    before = [(norm.momentum, {name: value.clone() for name, value in norm.named_buffers()}) for norm in norms]
    try:
        model.eval()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean of all batches, each with the same weight
            norm.train()
        for x in images.x[:whole].split(batch_size):
            model(x)
    except BaseException:
        for norm, (_, buffers) in zip(norms, before, strict=True):
            norm.load_state_dict(buffers, strict=False)
        raise
    finally:
        for norm, (momentum, _) in zip(norms, before, strict=True):
            norm.momentum = momentum
        for module, training in modes:
            module.training = training


def finite(losses: Iterable[float]) -> Iterator[float]:
    """The same losses. Raises `FloatingPointError` at the first that is no finite number: training has diverged."""
    for index, loss in enumerate(losses):
        if not isfinite(loss):
            raise FloatingPointError(f"diverged: the loss of batch {index} is {loss}")
        yield loss


@dataclass(frozen=True)
class TrainChild:
    """tokens -> reward: the validation accuracy (a fraction) of the child trained from scratch.

    Every child sees the same batches and starts from the same seed, so that children differ by architecture alone.
    A child whose training diverges has no reward: it gets `Failed`. Raises `ValueError` when it is made if space, size,
    task and recipe do not fit together.
    """

    space: Space
    task: ImageTask
    recipe: Recipe
    channels: int | None = None  # None for a ConvSpace
    cells: int | None = None
    auxiliary: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_is(ImageTask, task=self.task)
        check_is(Recipe, recipe=self.recipe)
        checks.whole(0, seed=self.seed)
        in_channels, height, width = self.task.shape
        kind = child.check_build(
            self.space, self.channels, self.cells, in_channels, len(self.task.classes), self.auxiliary
        )
        image_batches(self.task.train, self.recipe.batch_size)
        if self.recipe.drop_path and not takes_drop_path(kind.forward):
            raise ValueError(f"drop_path: got {self.recipe.drop_path}, expected 0: a {kind.__name__} has no drop-path")
        weight, least = self.recipe.auxiliary_weight, child.smallest_for_auxiliary(self.cells)
        if (weight and not self.auxiliary) or (self.auxiliary and min(height, width) < least):
            raise ValueError(
                f"auxiliary: got {self.auxiliary}, with auxiliary_weight {weight} and images of {height}x{width}; "
                f"expected True, cells of kinds ('normal', 'reduce') and images of at least {least}x{least}, or, "
                "without an auxiliary head, False and dataclasses.replace(recipe, auxiliary_weight=0)"
            )

    def __call__(self, tokens: Tokens) -> float:
        try:
            return accuracy(self.trained(tokens), self.task.valid)
        except FloatingPointError as error:
            return Failed(str(error))

    def build(self, tokens: Tokens) -> nn.Module:
        """The untrained child, where the task's images are."""
        with runs.seeded(self.seed):
            model = child.build(
                self.space,
                tokens,
                channels=self.channels,
                cells=self.cells,
                in_channels=self.task.shape[0],
                classes=len(self.task.classes),
                auxiliary=self.auxiliary,
            )
        return model.to(self.task.train.x.device)

    def trained(self, tokens: Tokens) -> nn.Module:
        """The trained child. Raises `FloatingPointError` if its training diverges."""
        model = self.build(tokens)
        with runs.seeded(self.seed):  # drop-path draws
            for _ in finite(train(model, self.task.train, self.recipe, self.seed)):
                pass
        return model


@dataclass(frozen=True)
class TextRecipe:
    """How a language model is trained: Adam with bounded gradients, the learning rate falling to 0 along a cosine.

    With `patience` it is NT-ASGD instead (Merity et al. 2018, section 3): plain SGD at a constant rate, and once the
    validation perplexity after an epoch is worse than the best of all but the last so many, the average of the weights
    of all steps from there on, which is what is left in the end.

    Zoph & Le 2017, section 4.2, trains children for 35 epochs and says no more; steps of 35 tokens and the bound 5 are
    those of Zaremba et al. 2014, on whom that section builds. The rest is what trains small models of characters
    well in seconds. Dropout belongs to the model.
    """

    epochs: float = 1.0
    batch_size: int = 64  # streams that are read side by side
    bptt: int = 35  # tokens that a gradient goes back
    lr: float = 1e-2
    weight_decay: float = 0.0
    clip: float = 5.0  # of the gradient's norm
    patience: int = 0  # n of NT-ASGD, in epochs; 0: Adam and a cosine
    slowness: float = 0.0  # weight of the mean square by which a unit of the last layer changes from step to step

    def __post_init__(self) -> None:
        checks.number(0, epochs=self.epochs, weight_decay=self.weight_decay, slowness=self.slowness)
        checks.whole(1, batch_size=self.batch_size)
        checks.whole(2 if self.slowness else 1, bptt=self.bptt)
        checks.whole(0, patience=self.patience)
        checks.positive(lr=self.lr, clip=self.clip)


# Liu et al. 2019, section A.2.2, for one layer of 850 units on Penn Treebank, with `Dropouts(words=0.1)` and matrices
# "node": trained until it converges; 8000 epochs is the limit in the authors' code, which has the start within 0.04 and
# the slowness of Merity et al. 2018, too. There the best of all epochs is kept, and the length of a batch varies.
DARTS_PTB = TextRecipe(8000, 64, 35, lr=20.0, weight_decay=8e-7, clip=0.25, patience=5, slowness=1e-3)


def train_text(
    model: nn.Module, tokens: Tensor, recipe: TextRecipe, seed: int, valid: Tensor | None = None
) -> Iterator[float]:
    """Trains in place and yields the training loss (nats per token) of every batch, a function of (seed, index).

    `model` is called as a `child.RecurrentChild`. Its state is carried from batch to batch, without gradient, and
    starts from nothing at each epoch. `tokens` and `valid` (N,) int64; a recipe with patience needs both, and the
    model gets the averaged weights after the last batch.
    """
    if recipe.patience and valid is None:
        raise ValueError(f"valid: got None, expected tokens: the recipe has patience {recipe.patience}")
    if recipe.slowness and not (hasattr(model, "read") and hasattr(model, "decode")):
        name = type(model).__name__
        raise ValueError(f"slowness: got {recipe.slowness}, expected 0: {name} has no `read` and `decode`")
    rule = torch.optim.SGD if recipe.patience else torch.optim.Adam
    optim = rule(model.parameters(), recipe.lr, weight_decay=recipe.weight_decay)
    per_epoch = text_batches(tokens, recipe.batch_size, recipe.bptt)
    batches = round(recipe.epochs * per_epoch)
    state, average, found = None, None, []
    for index in range(batches):
        for group in optim.param_groups:
            group["lr"] = recipe.lr if recipe.patience else cosine(index / batches, recipe.lr)
        x, y = text_batch(tokens, index, recipe.batch_size, recipe.bptt, seed)  # (bptt, batch_size)
        loss, state = train_text_step(model, optim, x, y, None if index % per_epoch == 0 else state, recipe)
        if average is not None:
            average.update_parameters(model)
        elif valid is not None and recipe.patience and (index + 1) % per_epoch == 0:
            found.append(perplexity(model, valid, recipe.batch_size))
            average = AveragedModel(model) if stalled(found, recipe.patience) else None
        yield loss.item()
    if average is not None:
        model.load_state_dict(average.module.state_dict())


def stalled(found: list[float], patience: int) -> bool:
    """Whether the last perplexity is worse than the best before the `patience` that precede it.

    The trigger of Merity et al. 2018, algorithm 1; false with fewer than patience + 2 of them.
    """
    return len(found) > patience + 1 and found[-1] > min(found[: -patience - 1])


def train_text_step(
    model: nn.Module,
    optim: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    state: list[child.State] | None,
    recipe: TextRecipe,
) -> tuple[Tensor, list[child.State]]:
    """One step on a batch x, y (bptt, batch_size); returns the loss () and the state after it, both detached.

    The loss is the cross-entropy alone; slowness enters the gradient (Merity et al. 2018, section 4.6).
    """
    model.train()
    slowness: Tensor | float = 0.0
    if recipe.slowness:
        outputs, state = model.read(x, state)  # type: ignore[operator]
        logits = model.decode(outputs)  # type: ignore[operator]
        slowness = recipe.slowness * F.mse_loss(outputs[1:], outputs[:-1])
    else:
        logits, state = model(x, state)
    loss = F.cross_entropy(logits.flatten(0, 1), y.flatten())
    optim.zero_grad()
    (loss + slowness).backward()
    nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
    optim.step()
    return loss.detach(), [(h.detach(), c.detach()) for h, c in state]


@torch.no_grad()
def perplexity(model: nn.Module, tokens: Tensor, streams: int = 1, steps: int = 100) -> float:
    """Perplexity: exp of the mean of -log P(token | tokens before). Returns inf on overflow, nan if the model does.

    Leaves the model in evaluation mode. Every token (N,) but the first is predicted exactly once, the state carried
    along. More `streams` are faster: the text is cut into so many, read side by side, each from a state of zeros.
    `steps` bounds the memory alone.
    """
    check_streams(tokens, streams, steps)
    predicted = len(tokens) - 1
    model.eval()
    missing = -predicted % streams  # at the end of the last stream
    x = F.pad(tokens[:-1], (0, missing)).view(streams, -1).T  # (steps of all streams, streams)
    y = F.pad(tokens[1:], (0, missing), value=IGNORED).view(streams, -1).T
    nats, state = [], None
    for x_part, y_part in zip(x.split(steps), y.split(steps), strict=True):
        logits, state = model(x_part, state)
        nats.append(F.cross_entropy(logits.flatten(0, 1), y_part.flatten(), ignore_index=IGNORED, reduction="sum"))
    return (torch.stack(nats).sum() / predicted).exp().item()


def check_streams(tokens: Tensor, streams: int, steps: int = 1) -> None:
    """Raises the `ValueError` of `perplexity`."""
    if tokens.ndim != 1 or tokens.dtype != torch.int64:
        raise ValueError(f"tokens: got {tokens.dtype} {tuple(tokens.shape)}, expected int64 (N,)")
    predicted = len(tokens) - 1
    whole = all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in (streams, steps))
    if not whole or not 1 <= streams <= predicted or steps < 1:
        raise ValueError(f"streams, steps: got {streams}, {steps}, expected 1 to {predicted}, and at least 1")


IGNORED = -100  # a target that is none


def bits(perplexity: float) -> float:
    """A perplexity as bits per token; of a text of characters, per character. `ValueError` for 0 and less."""
    if perplexity <= 0:
        raise ValueError(f"perplexity: got {perplexity}, expected a number above 0")
    return log2(perplexity)


def unigram_perplexity(train: Tensor, test: Tensor, vocabulary: int) -> float:
    """The perplexity on `test` of a model that knows how often each token occurs in `train`, and no context.

    Counts are increased by one (Laplace), so that no token is impossible. The tokens that `perplexity` predicts count:
    all but the first. A child with a worse figure has learned nothing from what came before.
    """
    if len(train) < 1 or len(test) < 2:
        raise ValueError(f"train, test: got {len(train)}, {len(test)} tokens, expected at least 1 and 2")
    if max(train.max(), test.max()) >= vocabulary:
        raise ValueError(f"vocabulary: got {vocabulary}, expected more than every token of train and test")
    counts = torch.bincount(train.cpu(), minlength=vocabulary).double() + 1
    return counts.div(counts.sum()).log()[test[1:].cpu()].mean().neg().exp().item()


@dataclass(frozen=True)
class TrainTextChild:
    """tokens -> reward: c / perplexity^2 on validation of the child trained from scratch (Zoph & Le 2017, section 3.4).

    Every child sees the same batches and starts from the same seed. A child whose training diverges gets `Failed`.
    Validation reads `recipe.batch_size` streams. Raises `ValueError` when it is made if space, size, task and recipe do
    not fit together.
    """

    space: TreeSpace | CellSpace
    task: TextTask
    recipe: TextRecipe
    units: int
    layers: int = 1
    dropout: float | child.Dropouts = 0.0
    seed: int = 0
    c: float = 80.0
    matrices: Matrices = "source"
    spread: float = 0.0  # what the weights start within; 0: where PyTorch has them

    def __post_init__(self) -> None:
        check_is(TextTask, task=self.task)
        check_is(TextRecipe, recipe=self.recipe)
        checks.whole(0, seed=self.seed)
        checks.positive(c=self.c)
        checks.number(0, spread=self.spread)
        words = len(self.task.vocabulary)
        child.check_build_recurrent(self.space, words, self.units, self.layers, self.dropout, self.matrices)
        text_batches(self.task.train, self.recipe.batch_size, self.recipe.bptt)
        check_streams(self.task.valid, self.recipe.batch_size)

    def __call__(self, tokens: Tokens) -> float:
        try:
            found = perplexity(self.trained(tokens), self.task.valid, self.recipe.batch_size)
        except FloatingPointError as error:
            return Failed(str(error))
        return self.c / (found * found) if isfinite(found) else Failed(f"diverged: the perplexity is {found}")

    def build(self, tokens: Tokens) -> nn.Module:
        """The untrained child, where the task's text is."""
        size: dict[str, Any] = {"vocabulary": len(self.task.vocabulary), "units": self.units, "layers": self.layers}
        with runs.seeded(self.seed):
            model = child.build_recurrent(self.space, tokens, **size, dropout=self.dropout, matrices=self.matrices)
            if self.spread:
                child.start_within(self.spread, model)
        return model.to(self.task.train.device)

    def trained(self, tokens: Tokens) -> nn.Module:
        """The trained child. Raises `FloatingPointError` if its training diverges."""
        model = self.build(tokens)
        with runs.seeded(self.seed):  # dropout draws
            for _ in finite(train_text(model, self.task.train, self.recipe, self.seed, self.task.valid)):
                pass
        return model


# With shared weights: what a search of a supergraph needs to know of a task. `model(x, weights)` is the supergraph.


SEARCHED = ("train", "valid")  # the splits that a search reads


def of_split(task: Any, split: str) -> Any:
    """That split of the task. Raises `ValueError` for a name that is none."""
    if split not in ("train", "valid", "test"):
        raise ValueError(f"split: got {split!r}, expected train, valid or test")
    return getattr(task, split)


@dataclass(frozen=True)
class ImageObjective:
    """Images in batches, a loss to train shared weights with, and the reward of an architecture on a minibatch.

    The DARTS authors' search augments the images of both splits: `shift` 4 and `flip` on CIFAR-10, without a cutout.
    Raises `ValueError` out of range, and for a batch larger than train or valid.
    """

    task: ImageTask
    batch_size: int
    seed: int = 0
    shift: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        check_is(ImageTask, task=self.task)
        checks.whole(0, seed=self.seed)
        check_augmentation(self.shift, self.flip)
        for split in SEARCHED:
            image_batches(getattr(self.task, split), self.batch_size)

    @property
    def batches(self) -> int:
        """How many batches make a pass over the training images."""
        return image_batches(self.task.train, self.batch_size)

    def batch(self, split: str, index: int) -> tuple[Tensor, Tensor]:
        """Batch `index` of "train" or "valid": x (B, C, H, W), y (B,), a pure function of (seed, index)."""
        x, y = image_batch(of_split(self.task, split), index, self.batch_size, self.seed)
        return augmented(x, self.seed, index, self.shift, self.flip), y

    def loss(
        self, model: nn.Module, weights: Weights, batch: tuple[Tensor, Tensor], state: None = None
    ) -> tuple[Tensor, None]:
        """The cross-entropy () in nats; images carry no state from batch to batch."""
        x, y = batch
        return F.cross_entropy(model(x, weights), y), None

    @torch.no_grad()
    def reward(self, model: nn.Module, weights: Weights, batch: tuple[Tensor, Tensor]) -> float:
        """The accuracy on the batch, a fraction (Pham et al. 2018, "Training ENAS and Deriving Architectures")."""
        x, y = batch
        return (model(x, weights).argmax(-1) == y).double().mean().item()


@dataclass(frozen=True)
class TextObjective:
    """Text in batches; the loss carries the hidden state along, the reward is c / perplexity on a minibatch.

    Raises `ValueError` out of range, and for a batch that train or valid cannot fill.
    """

    task: TextTask
    batch_size: int
    bptt: int
    seed: int = 0
    c: float = 80.0  # Pham et al. 2018, on Penn Treebank

    def __post_init__(self) -> None:
        check_is(TextTask, task=self.task)
        checks.whole(0, seed=self.seed)
        checks.positive(c=self.c)
        for split in SEARCHED:
            text_batches(getattr(self.task, split), self.batch_size, self.bptt)

    @property
    def batches(self) -> int:
        """How many batches make a pass over the training text."""
        return text_batches(self.task.train, self.batch_size, self.bptt)

    def batch(self, split: str, index: int) -> tuple[Tensor, Tensor]:
        """Batch `index` of "train" or "valid": x, y (bptt, B), a pure function of (seed, index)."""
        return text_batch(of_split(self.task, split), index, self.batch_size, self.bptt, self.seed)

    def loss(
        self, model: nn.Module, weights: Weights, batch: tuple[Tensor, Tensor], state: list[child.State] | None = None
    ) -> tuple[Tensor, list[child.State]]:
        """The cross-entropy () in nats per token from a hidden state, and the state after it, detached."""
        x, y = batch
        state = state and [(h.to(x.device), c.to(x.device)) for h, c in state]  # from a file it comes to the CPU
        logits, state = model(x, weights, state)
        return F.cross_entropy(logits.flatten(0, 1), y.flatten()), [(h.detach(), c.detach()) for h, c in state]

    @torch.no_grad()
    def reward(self, model: nn.Module, weights: Weights, batch: tuple[Tensor, Tensor]) -> float:
        """c / perplexity on the batch, read from a state of zeros and without dropout ("Training ENAS ...").

        Leaves the model in evaluation mode.
        """
        model.eval()
        loss, _ = self.loss(model, weights, batch)
        return self.c * (-loss).exp().item()
