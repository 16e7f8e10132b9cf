"""Images and text to search on: real sets that ship with the package, the papers' full sets, and your own arrays.

Every set has three splits, train, valid and test, which share no sample. A batch is a pure function of a seed and its
index, so that a resumed run sees the very batches that an uninterrupted one would have seen:

    x, y = image_batch(fashion().train, index, size=64, seed=0)
    x, y = text_batch(pride_and_prejudice().train, index, size=32, bptt=35, seed=0)
"""

from naslab.data.bundled import digits, fashion, pride_and_prejudice
from naslab.data.files import IMAGE_TASKS, cifar10, fashion_full, fetch, ptb, read_cifar, read_idx, read_words
from naslab.data.images import Images, ImageTask, Labelled, image_batch, image_batches, image_task, split
from naslab.data.text import TextTask, text_batch, text_batches, text_task

__all__ = [
    "IMAGE_TASKS",
    "ImageTask",
    "Images",
    "Labelled",
    "TextTask",
    "cifar10",
    "digits",
    "fashion",
    "fashion_full",
    "fetch",
    "image_batch",
    "image_batches",
    "image_task",
    "pride_and_prejudice",
    "ptb",
    "read_cifar",
    "read_idx",
    "read_words",
    "split",
    "text_batch",
    "text_batches",
    "text_task",
]
