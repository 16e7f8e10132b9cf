"""The data sets that ship with the package."""

import io

import numpy as np

from naslab import assets
from naslab.data.images import ImageTask, by_turns, image_task
from naslab.data.text import TextTask, text_task

CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def fashion(resolution: int = 28) -> ImageTask:
    """Part of Fashion-MNIST (Xiao et al. 2017): 6,000 / 2,000 / 2,000 images of 1 x 28 x 28.

    With `resolution` 14 each pixel is the mean of 2 x 2 pixels.
    """
    if resolution not in (14, 28):
        raise ValueError(f"resolution: got {resolution!r}, expected 28 or 14")
    with np.load(io.BytesIO(assets.read("fashion_mnist.npz")), allow_pickle=False) as arrays:
        splits = [(arrays[f"{split}_x"], arrays[f"{split}_y"]) for split in ("train", "valid", "test")]
    if resolution == 14:
        splits = [(x.reshape(-1, 14, 2, 14, 2).mean((2, 4), dtype=np.float32), y) for x, y in splits]
    return image_task("fashion", CLOTHES, *splits)


def digits() -> ImageTask:
    """scikit-learn's handwritten digits: 1,197 / 300 / 300 images of 1 x 8 x 8. Small enough for runs of a second."""
    from sklearn.datasets import load_digits  # imported here because it takes a second

    x, y = load_digits(return_X_y=True)
    order = by_turns(y)
    x, y = x[order], y[order]
    train, valid, test = zip(np.split(x.reshape(-1, 8, 8), (1197, 1497)), np.split(y, (1197, 1497)), strict=True)
    return image_task("digits", "0123456789", train, valid, test)


def pride_and_prejudice() -> TextTask:
    """Jane Austen's novel as characters: the first 90 % are train, then 5 % valid and 5 % test, cut between paragraphs.

    The vocabulary has all characters of the novel, so no character of valid or test is unknown.
    """
    text = assets.read("pride_and_prejudice.txt").decode()
    first, second = (text.rindex("\n\n", 0, len(text) * percent // 100) + 2 for percent in (90, 95))
    return text_task("pride_and_prejudice", text[:first], text[first:second], text[second:], sorted(set(text)))
