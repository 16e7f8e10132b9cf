"""Images and text to search on: sets that ship with the package, the papers' full sets, and your own arrays.

Every set has three splits, train, valid and test, which share no sample. A batch depends only on the seed and its
index, so a resumed run gets the same batches as an uninterrupted one:

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
