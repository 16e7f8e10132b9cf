"""Text as tokens: the task, its construction from strings and words, and batches."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from naslab.data.arrays import as_array, check_range, check_tensors, distinct_names, whole


@dataclass(frozen=True, eq=False)
class TextTask:
    """A language-modelling task: three splits (N,) int64. Token k stands for `vocabulary[k]`, a character or a word.

    Raises `ValueError` for other shapes and types, and for a token outside the vocabulary (checked on the CPU).
    """

    name: str
    vocabulary: tuple[str, ...]
    train: Tensor
    valid: Tensor
    test: Tensor

    def __post_init__(self) -> None:
        for split in ("train", "valid", "test"):
            tokens = getattr(self, split)
            check_tensors(**{split: tokens})
            if tokens.ndim != 1 or tokens.dtype != torch.int64:
                raise ValueError(f"{split}: got {tokens.dtype} {tuple(tokens.shape)}, expected int64 (N,)")
            if tokens.device.type == "cpu":
                check_range(split, tokens.numpy(), "token", len(self.vocabulary))

    def to(self, device: torch.device | str) -> "TextTask":
        return replace(self, train=self.train.to(device), valid=self.valid.to(device), test=self.test.to(device))


def text_task(name: str, train: Any, valid: Any, test: Any, vocabulary: Sequence[str] | None = None) -> TextTask:
    """Makes a task from three texts. A text is a string, whose tokens are its characters, or a sequence of words.

    The default vocabulary has the tokens of train, sorted. With a given `vocabulary` a text may also be a sequence of
    whole numbers: indices into it. Raises `ValueError` with split and index for a token outside the vocabulary.
    """
    texts = [_words(where, text) for where, text in (("train", train), ("valid", valid), ("test", test))]
    if vocabulary is None:
        if isinstance(texts[0], np.ndarray):
            raise ValueError("vocabulary: got None, expected the words that the numbers of train stand for")
        vocabulary = sorted(set(texts[0]))
    known = distinct_names("vocabulary", vocabulary)
    splits = zip(("train", "valid", "test"), texts, strict=True)
    return TextTask(name, known, *(_encode(where, text, known) for where, text in splits))


def _words(where: str, text: Any) -> Sequence[str] | np.ndarray:
    """Returns the tokens of a text (N,): strings, or an array of whole numbers."""
    if not isinstance(text, str | list | tuple) or not all(isinstance(word, str) for word in text):
        mixed = isinstance(text, list | tuple) and any(isinstance(word, str) for word in text)
        text = as_array(where, text)
        if mixed or text.dtype.kind not in "Uiu" or text.ndim != 1:
            kind = "words and others" if mixed else f"{text.dtype} {text.shape}"
            raise ValueError(f"{where}: got {kind}, expected a string, or a sequence (N,) of words or whole numbers")
        text = text.tolist() if text.dtype.kind == "U" else text
    if not len(text):
        raise ValueError(f"{where}: got an empty text, expected at least 1 token")
    return text


def _encode(where: str, text: Sequence[str] | np.ndarray, vocabulary: tuple[str, ...]) -> Tensor:
    """Converts a text (N,) to tokens (N,) int64."""
    if isinstance(text, np.ndarray):
        check_range(where, text, "token", len(vocabulary))
        return torch.from_numpy(text.astype(np.int64))
    token = {word: k for k, word in enumerate(vocabulary)}
    try:
        return torch.tensor([token[word] for word in text])
    except KeyError as error:
        (word,) = error.args
        at = list(text).index(word)
        raise ValueError(f"{where}: got {word!r} at index {at}, expected words of the vocabulary only") from None


def text_batches(tokens: Tensor, size: int, bptt: int) -> int:
    """Number of batches of `size` streams and `bptt` steps per epoch."""
    found = (len(tokens) - whole("bptt", bptt, 1)) // (whole("size", size, 1) * bptt)
    if found < 1:
        raise ValueError(f"size, bptt: got {size}, {bptt}, too much for {len(tokens)} tokens")
    return found


def text_batch(tokens: Tensor, index: int, size: int, bptt: int, seed: int) -> tuple[Tensor, Tensor]:
    """Returns batch `index`, x and y (bptt, size) int64, where y is x shifted by one token.

    A batch depends on (seed, index) only; `index` counts on through all epochs. The text is cut into `size` streams of
    equal length. Every batch has the next `bptt` tokens of each stream, for truncated backpropagation through time:
    pass the hidden state on to the next batch. Reset it when an epoch begins, at index % text_batches(...) == 0.

    Each epoch starts at an offset below `bptt`, drawn from (seed, epoch), so the cuts differ between epochs. An epoch
    leaves out the tokens before the offset and, after the last stream, fewer than (size + 1) * bptt tokens.
    """
    per_epoch = text_batches(tokens, size, bptt)
    epoch, place = divmod(whole("index", index, 0), per_epoch)
    offset = int(np.random.default_rng((whole("seed", seed, 0), epoch)).integers(bptt))
    step = torch.arange(bptt, device=tokens.device)[:, None]  # (bptt, 1)
    stream = torch.arange(size, device=tokens.device)  # (size,)
    at = offset + stream * (per_epoch * bptt) + place * bptt + step  # (bptt, size)
    return tokens[at], tokens[at + 1]
