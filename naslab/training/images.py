"""Networks that classify images: recipes, training, accuracy."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from naslab import checks
from naslab.data import Images, image_batch, image_batches
from naslab.schedules import cosine, restarted
from naslab.training.augmentation import augmented, check_augmentation


@dataclass(frozen=True)
class Recipe:
    """How an image network is trained: SGD with momentum; the learning rate falls to `lr_min` along a cosine.

    The defaults of batch size, learning rate, momentum, weight decay and clipping come from Liu et al. 2019, section
    A.2.1. `DARTS` has the other settings of that section. Raises `ValueError` if a value is out of range.
    """

    epochs: float = 1.0
    batch_size: int = 96
    lr: float = 0.025
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 3e-4
    clip: float = 5.0  # largest norm of the gradient
    drop_path: float = 0.0  # probability at the end of training; it grows linearly from 0
    auxiliary_weight: float = 0.0  # weight of the auxiliary head's loss
    lr_min: float = 0.0
    restart: float = 0.0  # length of the first cosine in epochs; each further cosine is twice as long; 0: one cosine
    shift: int = 0  # largest shift of a training image, in pixels; see `moved`
    flip: bool = False  # whether training images are mirrored, each with probability 1/2
    cutout: int = 0  # side of the square that is cut out of each training image, in pixels

    def __post_init__(self) -> None:
        checks.whole(1, batch_size=self.batch_size)
        check_augmentation(self.shift, self.flip, self.cutout)
        checks.positive(lr=self.lr, clip=self.clip)
        rest = ("epochs", "weight_decay", "auxiliary_weight", "lr_min", "restart")
        checks.number(0, **{name: getattr(self, name) for name in rest})
        checks.number(0, 1, drop_path=self.drop_path, momentum=self.momentum)
        checks.flag(nesterov=self.nesterov)
        if self.nesterov and not self.momentum:
            raise ValueError("momentum: got 0, expected a number above 0 for nesterov True")


# How Pham et al. 2018, "Image Classification on CIFAR-10", train the derived networks. The batch sizes, and the
# drop-path, auxiliary loss and 630 epochs of micro, come from the authors' scripts. Macro trains for 310 epochs without
# drop-path and auxiliary loss.
ENAS_MACRO = Recipe(310, 100, lr=0.05, nesterov=True, weight_decay=1e-4, lr_min=0.001, restart=10)
ENAS_MICRO = replace(ENAS_MACRO, epochs=630, batch_size=144, drop_path=0.2, auxiliary_weight=0.4)

# Liu et al. 2019, section A.2.1, for 20 cells of 36 channels on CIFAR-10. The shift, the flip, the cutout of 16 pixels
# and the clipping at 5 are stated only in the authors' code.
DARTS = Recipe(600, 96, drop_path=0.2, auxiliary_weight=0.4, shift=4, flip=True, cutout=16)


def train(model: nn.Module, images: Images, recipe: Recipe, seed: int) -> Iterator[float]:
    """Trains the model in place and yields the training loss (nats) of every batch.

    `model(x)` returns logits (B, classes), so any classifier can be trained. Drop-path requires a model that is called
    as `model(x, drop_path=p)`. An auxiliary loss requires the method `forward_auxiliary`. `CellChild` has both.

    Batches and their augmentation depend on (seed, index) only. Drop-path draws from torch's global generator.
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
    """Returns whether `forward` has a parameter `drop_path` or takes any keyword."""
    return any(p.name == "drop_path" or p.kind is p.VAR_KEYWORD for p in signature(forward).parameters.values())


def train_step(
    model: nn.Module, optim: torch.optim.Optimizer, x: Tensor, y: Tensor, recipe: Recipe, drop_path: float = 0.0
) -> Tensor:
    """Takes one step on a batch x (B, C, H, W), y (B,) and returns the loss (), detached."""
    model.train()
    drops = {"drop_path": drop_path} if drop_path else {}  # an ordinary network has no parameter drop_path
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


@torch.no_grad()
def accuracy(model: nn.Module, images: Images, batch_size: int = 500) -> float:
    """Returns the fraction of images that the model classifies correctly. Sets evaluation mode.

    Raises `ValueError` if there are no images. The child of a supergraph cannot be evaluated before it is trained or
    calibrated; see `calibrate`.
    """
    checks.whole(1, batch_size=batch_size)
    if not len(images):
        raise ValueError("images: got none, expected at least 1")
    model.eval()
    parts = zip(images.x.split(batch_size), images.y.split(batch_size), strict=True)
    right = torch.stack([(model(x).argmax(-1) == y).sum() for x, y in parts])
    return right.sum().item() / len(images)


def tracking(model: nn.Module) -> list[_BatchNorm]:
    """Returns the model's batch norms that keep running statistics."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.num_batches_tracked is not None]


@torch.no_grad()
def calibrate(model: nn.Module, images: Images, batch_size: int = 96) -> None:
    """Recomputes the running statistics of all batch norms: their means over all full batches of `batch_size` images.

    The weights do not change. A child of a supergraph (`model.child(tokens)`) then computes in evaluation mode, on
    average, what it computes in training mode. Dropout and drop-path are off. Modes and momenta are restored; after an
    exception the statistics are restored, too. Raises `ValueError` if there are fewer images than one batch.
    """
    whole = image_batches(images, batch_size) * batch_size
    norms, modes = tracking(model), [(module, module.training) for module in model.modules()]
    before = [(norm.momentum, {name: value.clone() for name, value in norm.named_buffers()}) for norm in norms]
    try:
        model.eval()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # average all batches with equal weights
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
