"""Convolutional networks with chosen filters, strides and inputs for every layer (Zoph & Le 2017)."""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from naslab.networks.parts import average
from naslab.spaces import ConvSpace


class ConvChild(nn.Module):
    """A network of layers with chosen filters and chosen inputs (Zoph & Le 2017, sections 3.1 and 3.3).

    A layer reads the layers whose skip bits are set, concatenated along channels. In a space without skips it reads the
    layer before it. Section 3.3 completes strings that do not describe a whole network. A layer without inputs reads
    the image. The layers that no layer reads are concatenated for the classifier; the last layer is always one of them.
    In a concatenation smaller maps are zero-padded to the size of the largest.

    The paper does not specify the rest. A layer is a convolution without bias, a batch norm and a ReLU. It is padded so
    that H pixels become ceil(H / stride) for every filter size; if the padding is odd, the larger part is at the end. A
    `pool` of p is a p x p max pool with stride p. Smaller maps are padded on all sides; an odd row goes below, an odd
    column to the right. The classifier is global average pooling, which counts the zeros, and a linear layer.
    """

    def __init__(self, space: ConvSpace, tokens: Iterable[int], in_channels: int, classes: int) -> None:
        super().__init__()
        attributes: list[dict[str, int]] = [{} for _ in range(space.layers)]
        skips: list[list[int]] = [[] for _ in range(space.layers)]
        for d, token in zip(space.decisions, space.check(tokens), strict=True):
            if d.kind == "skip":
                i, j = d.row
                skips[i] += [j] * token
            else:
                attributes[d.row[0]][d.kind] = int(d.options[token])
        if not space.skips:
            skips = [[i - 1] if i else [] for i in range(space.layers)]
        self.reads = [js or [IMAGE] for js in skips]
        self.unread = sorted({*range(space.layers)} - {j for js in skips for j in js})

        depth = {IMAGE: in_channels} | {i: chosen["filters"] for i, chosen in enumerate(attributes)}
        self.layers = nn.ModuleList(
            conv_layer(sum(depth[j] for j in js), **chosen) for js, chosen in zip(self.reads, attributes, strict=True)
        )
        self.classifier = nn.Linear(sum(depth[i] for i in self.unread), classes)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits (B, classes) of x (B, in_channels, H, W)."""
        outputs = {IMAGE: x}
        for i, (layer, reads) in enumerate(zip(self.layers, self.reads, strict=True)):
            outputs[i] = layer(concatenate([outputs[j] for j in reads]))  # (B, filters, H', W')
        return self.classifier(average(concatenate([outputs[i] for i in self.unread])))


IMAGE = -1  # stands for the image in the list of layers that a layer reads


def conv_layer(
    c_in: int,
    filter_height: int,
    filter_width: int,
    stride_height: int,
    stride_width: int,
    filters: int,
    pool: int = 1,
) -> nn.Sequential:
    """Builds a layer of `ConvChild`: (B, c_in, H, W) -> (B, filters, H', W'), H' = ceil(ceil(H / stride) / pool)."""
    size, stride = (filter_height, filter_width), (stride_height, stride_width)
    rows, columns = ((k - 1) % 2 for k in size)  # a filter of even size pads one more at the end
    return nn.Sequential(
        nn.ZeroPad2d((0, columns, 0, rows)) if rows or columns else nn.Identity(),
        nn.Conv2d(c_in, filters, size, stride, padding=((size[0] - 1) // 2, (size[1] - 1) // 2), bias=False),
        nn.BatchNorm2d(filters),
        nn.ReLU(),
        nn.MaxPool2d(pool, ceil_mode=True) if pool > 1 else nn.Identity(),
    )


def concatenate(maps: Sequence[Tensor]) -> Tensor:
    """Concatenates maps (B, C_k, H_k, W_k) along channels, zero-padded: -> (B, sum of C_k, max H_k, max W_k)."""
    height, width = (max(x.shape[axis] for x in maps) for axis in (-2, -1))
    padded = []
    for x in maps:
        rows, columns = height - x.shape[-2], width - x.shape[-1]
        around = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
        padded.append(F.pad(x, around) if rows or columns else x)
    return padded[0] if len(padded) == 1 else torch.cat(padded, dim=1)
