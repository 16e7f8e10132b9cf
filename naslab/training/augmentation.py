"""What is done to training images: moves, mirror images, squares cut out."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from naslab import checks


def check_augmentation(shift: int, flip: bool, cutout: int = 0) -> None:
    """Raises `ValueError` out of range."""
    checks.whole(0, shift=shift, cutout=cutout)
    checks.flag(flip=flip)


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
