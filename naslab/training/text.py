"""Language models: recipes, training, perplexity."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import log2

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from naslab import checks
from naslab.data import text_batch, text_batches
from naslab.networks import State
from naslab.schedules import cosine


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

    `model` is called as a `RecurrentChild`. Its state is carried from batch to batch, without gradient, and
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
    state: list[State] | None,
    recipe: TextRecipe,
) -> tuple[Tensor, list[State]]:
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
