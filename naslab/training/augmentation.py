"""Augments training images: random shifts, horizontal flips and cutout."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from naslab import checks


def check_augmentation(shift: int, flip: bool, cutout: int = 0) -> None:
    """Raises `ValueError` if a value is out of range."""
    checks.whole(0, shift=shift, cutout=cutout)
    checks.flag(flip=flip)


def augmented(x: Tensor, seed: int, index: int, shift: int = 0, flip: bool = False, cutout: int = 0) -> Tensor:
    """Returns batch `index` of images x (B, C, H, W), augmented for training.

    The same (seed, index) draws the same augmentation on every device.
    """
    check_augmentation(shift, flip, cutout)
    if not (shift or flip or cutout):
        return x
    (drawn,) = np.random.SeedSequence((seed, index)).generate_state(1, np.uint64).tolist()
    generator = torch.Generator().manual_seed(drawn)
    x = moved(x, shift, flip, generator) if shift or flip else x
    return cut_out(x, cutout, generator) if cutout else x


def moved(x: Tensor, shift: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Shifts each image of x (B, C, H, W) by up to `shift` pixels in each direction, and fills with zeros.

    With `flip`, mirrors each image with probability 1/2. This is the standard augmentation of CIFAR-10: a random crop
    of the zero-padded image. Our images have mean 0, so the padding has the mean's value. The DARTS authors' code pads
    before it normalises: its padding is black.
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
    """Sets a square of `side` x `side` pixels to 0, the mean of the images, in each image of x (B, C, H, W).

    The centre is a pixel drawn uniformly. A square with an even side starts side / 2 pixels before that pixel. The part
    outside the image is cut off (DeVries & Taylor 2017, section 3.2).
    """

    def inside(pixels: int) -> Tensor:
        """Returns whether the square of each image covers a row or column, (B, pixels)."""
        first = torch.randint(pixels, (len(x), 1), generator=generator) - side // 2
        place = torch.arange(pixels)
        return ((place >= first) & (place < first + side)).to(x.device)

    height, width = x.shape[-2:]
    return x.clone().masked_fill_((inside(height)[:, :, None] & inside(width)[:, None, :])[:, None], 0)
