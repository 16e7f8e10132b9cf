"""What a search needs of its data: children to train, shared weights, an objective. Once for images, once for text."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from naslab import checks, runs
from naslab.automl.plan import Plan
from naslab.data import ImageTask, TextTask, image_batches, text_batches
from naslab.networks import BenchNet, RecurrentNet
from naslab.spaces import NONE, Tokens
from naslab.training import (
    ImageObjective,
    Recipe,
    TextObjective,
    TextRecipe,
    TrainChild,
    TrainTextChild,
    accuracy,
    perplexity,
    train,
    train_text,
)

C = 80.0  # the reward of a text network is C / perplexity^2, as in lesson 04


@dataclass(frozen=True)
class ImageWork:
    """A plan for images. `measure` is the validation accuracy (a fraction)."""

    task: ImageTask
    plan: Plan

    @property
    def recipe(self) -> Recipe:
        assert isinstance(self.plan.recipe, Recipe)
        return self.plan.recipe

    @property
    def batches(self) -> int:
        return image_batches(self.task.train, self.recipe.batch_size)

    @property
    def by_hand(self) -> Tokens:
        """ResNet's block, as NAS-Bench-201 writes it: 3x3 filters in a chain, and a skip from its start to its end."""
        space, last = self.plan.space, self.plan.space.nodes
        chain, skip = ("nor_conv_3x3", "skip_connect")
        nodes = []
        for target in range(1, last + 1):
            ops = [NONE] * target
            ops[target - 1] = chain
            if target == last and last > 1:
                ops[0] = skip
            nodes.append(tuple(zip(range(target), ops, strict=True)))
        return space.tokens({"cell": tuple(nodes)})

    def trainer(self, epochs: float, seed: int) -> TrainChild:
        plan, recipe = self.plan, replace(self.recipe, epochs=epochs)
        return TrainChild(plan.space, self.task, recipe, channels=plan.width, cells=plan.depth, seed=seed)

    def losses(self, model: nn.Module, epochs: float, seed: int) -> Iterator[float]:
        return train(model, self.task.train, replace(self.recipe, epochs=epochs), seed)

    def measure(self, model: nn.Module) -> float:
        return accuracy(model, self.task.valid)

    def supergraph(self, seed: int) -> nn.Module:
        """DARTS' batch norms have no affine parameters, so that the mixing weights cannot be undone by them."""
        plan, shape = self.plan, (self.task.shape[0], len(self.task.classes))
        norms = {"affine": False, "pool_norm": True} if plan.method == "darts" else {}
        with runs.seeded(seed):
            net = BenchNet(plan.space, plan.width, plan.depth, *shape, **norms)
        return net.to(self.task.train.x.device)

    def objective(self, seed: int) -> ImageObjective:
        return ImageObjective(self.task, self.recipe.batch_size, seed)


@dataclass(frozen=True)
class TextWork:
    """A plan for text. `measure` is C / perplexity^2 on the validation text."""

    task: TextTask
    plan: Plan

    @property
    def recipe(self) -> TextRecipe:
        assert isinstance(self.plan.recipe, TextRecipe)
        return self.plan.recipe

    @property
    def batches(self) -> int:
        return text_batches(self.task.train, self.recipe.batch_size, self.recipe.bptt)

    @property
    def by_hand(self) -> Tokens:
        """Every node is a tanh of state 0: the mean of several simple recurrent networks."""
        nodes = tuple(((0, "tanh"),) for _ in range(self.plan.space.nodes))
        return self.plan.space.tokens({"recurrent": nodes})

    def trainer(self, epochs: float, seed: int) -> TrainTextChild:
        plan, recipe = self.plan, replace(self.recipe, epochs=epochs)
        return TrainTextChild(plan.space, self.task, recipe, plan.width, plan.depth, seed=seed, c=C)

    def losses(self, model: nn.Module, epochs: float, seed: int) -> Iterator[float]:
        return train_text(model, self.task.train, replace(self.recipe, epochs=epochs), seed, self.task.valid)

    def measure(self, model: nn.Module) -> float:
        return C / perplexity(model, self.task.valid, self.recipe.batch_size) ** 2

    def supergraph(self, seed: int) -> nn.Module:
        plan = self.plan
        settings: dict[str, Any] = {"matrices": "node", "norm": True} if plan.method == "darts" else {}
        with runs.seeded(seed):
            net = RecurrentNet(plan.space, len(self.task.vocabulary), plan.width, plan.depth, **settings)
        return net.to(self.task.train.device)

    def objective(self, seed: int) -> TextObjective:
        return TextObjective(self.task, self.recipe.batch_size, self.recipe.bptt, seed, C)


Work = ImageWork | TextWork


def of(task: ImageTask | TextTask, plan: Plan) -> Work:
    """Returns the work of a plan on a task.

    Raises `ValueError` if one is for images and the other for text, if sizes do not fit together, or if the space lacks
    an op of the cell made by hand.
    """
    checks.is_a(Plan, plan=plan)
    check_task(task)
    images = isinstance(task, ImageTask)
    if images != isinstance(plan.recipe, Recipe):
        kinds = ("text", "images")
        raise ValueError(f"plan: got one for {kinds[not images]}, expected one for {kinds[images]}, as the task has")
    work: Work = ImageWork(task, plan) if isinstance(task, ImageTask) else TextWork(task, plan)
    work.trainer(plan.epochs, plan.seed)
    work.objective(plan.seed)
    try:
        plan.space.check(work.by_hand)
    except ValueError as error:
        raise ValueError(f"space: got one without the cell made by hand: {error}") from None
    return work


def check_task(task: object) -> None:
    if not isinstance(task, ImageTask | TextTask):
        raise ValueError(f"task: got {type(task).__name__}, expected an ImageTask or a TextTask")


def device(task: ImageTask | TextTask) -> Any:
    found: Tensor = task.train.x if isinstance(task, ImageTask) else task.train
    return found.device


def data_hash(task: ImageTask | TextTask) -> str:
    """Returns the SHA-256 of the task's splits and names, in hex."""
    digest = hashlib.sha256(repr((task.name, labels_of(task))).encode())
    for split in ("train", "valid", "test"):
        part = getattr(task, split)
        for tensor in (part.x, part.y) if isinstance(task, ImageTask) else (part,):
            digest.update(repr((tuple(tensor.shape), tensor.dtype)).encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def labels_of(task: ImageTask | TextTask) -> tuple[str, ...]:
    return task.classes if isinstance(task, ImageTask) else task.vocabulary
