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
    """How a language model is trained: Adam with gradient clipping; the learning rate falls to 0 along a cosine.

    With `patience` the method is NT-ASGD (Merity et al. 2018, section 3): plain SGD at a constant learning rate. The
    validation perplexity is measured after each epoch. When it is worse than the best one measured more than `patience`
    epochs before, weight averaging starts. The final weights are the average over all later steps.

    Zoph & Le 2017, section 4.2, states only that children train for 35 epochs. `bptt` 35 and `clip` 5 come from Zaremba
    et al. 2014, on whom that section builds. The other defaults train small character models well in seconds. Dropout
    is a setting of the model.
    """

    epochs: float = 1.0
    batch_size: int = 64  # parallel streams
    bptt: int = 35  # tokens per batch and stream: the length of backpropagation through time
    lr: float = 1e-2
    weight_decay: float = 0.0
    clip: float = 5.0  # largest norm of the gradient
    patience: int = 0  # n of NT-ASGD, in epochs; 0: Adam and a cosine
    slowness: float = 0.0  # weight of the mean squared difference between successive outputs of the last layer

    def __post_init__(self) -> None:
        checks.number(0, epochs=self.epochs, weight_decay=self.weight_decay, slowness=self.slowness)
        checks.whole(1, batch_size=self.batch_size)
        checks.whole(2 if self.slowness else 1, bptt=self.bptt)
        checks.whole(0, patience=self.patience)
        checks.positive(lr=self.lr, clip=self.clip)


# Liu et al. 2019, section A.2.2, for one layer of 850 units on Penn Treebank, with `Dropouts(words=0.1)` and matrices
# "node". The paper trains until convergence. The authors' code has the limit of 8000 epochs, initial weights within
# 0.04, and the slowness of Merity et al. 2018. Unlike ours, their code keeps the best epoch and varies `bptt`.
DARTS_PTB = TextRecipe(8000, 64, 35, lr=20.0, weight_decay=8e-7, clip=0.25, patience=5, slowness=1e-3)


def train_text(
    model: nn.Module, tokens: Tensor, recipe: TextRecipe, seed: int, valid: Tensor | None = None
) -> Iterator[float]:
    """Trains the model in place and yields the training loss (nats per token) of every batch.

    `model` is called like a `RecurrentChild`. `tokens` and `valid` are (N,) int64. Batches depend on (seed, index)
    only. The hidden state continues from batch to batch without its gradient, and is reset at each epoch. A recipe with
    patience requires `valid`; the model gets the averaged weights after the last batch.
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
    """Returns whether the last perplexity is worse than the best one found more than `patience` epochs before it.

    The trigger of Merity et al. 2018, algorithm 1. False for fewer than patience + 2 perplexities.
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
    """Takes one step on a batch x, y (bptt, batch_size); returns the loss () and the next hidden state, both detached.

    The returned loss is the cross-entropy only. The gradient includes the slowness term (Merity et al. 2018, section
    4.6).
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
    """Perplexity: exp of the mean negative log-likelihood per token. Sets evaluation mode.

    Returns inf on overflow, and nan if the model outputs nan. Every token of `tokens` (N,) except the first is
    predicted exactly once. The text is split into `streams` parts that are read in parallel, each from a hidden state
    of zeros: more streams are faster. `steps` is the number of tokens per call; it affects the memory only.
    """
    check_streams(tokens, streams, steps)
    predicted = len(tokens) - 1
    model.eval()
    missing = -predicted % streams  # padding at the end of the last stream
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


IGNORED = -100  # the target of padding: it does not enter the loss


def bits(perplexity: float) -> float:
    """Converts a perplexity to bits per token (bits per character if tokens are characters).

    Raises `ValueError` for a perplexity of 0 or less.
    """
    if perplexity <= 0:
        raise ValueError(f"perplexity: got {perplexity}, expected a number above 0")
    return log2(perplexity)


def unigram_perplexity(train: Tensor, test: Tensor, vocabulary: int) -> float:
    """Perplexity on `test` of a model that ignores context and knows only the token frequencies of `train`.

    Every count is increased by one (Laplace), so no token has probability 0. Like `perplexity`, it predicts every token
    except the first. A child with a higher perplexity has learned nothing from the context.
    """
    if len(train) < 1 or len(test) < 2:
        raise ValueError(f"train, test: got {len(train)}, {len(test)} tokens, expected at least 1 and 2")
    if max(train.max(), test.max()) >= vocabulary:
        raise ValueError(f"vocabulary: got {vocabulary}, expected more than every token of train and test")
    counts = torch.bincount(train.cpu(), minlength=vocabulary).double() + 1
    return counts.div(counts.sum()).log()[test[1:].cpu()].mean().neg().exp().item()
