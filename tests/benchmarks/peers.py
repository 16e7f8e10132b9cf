"""Steps as three public implementations take them, written from their descriptions and not copied.

- `BatchedRecurrentTextbook`: DARTS' recurrent search (quark0/darts). One product reads all sources of a node.
- `PeerMacro`: ENAS' shared macro network (TDeVries/enas_pytorch), which adds skips and normalises the sum.
- `PeerRecurrent`: ENAS' shared recurrent cell (carpedm20/ENAS-pytorch), with two matrices per node and source.
"""

import textbook
import torch
import torch.nn.functional as F
from torch import nn


class BatchedRecurrentTextbookCell(textbook.TextbookRecurrentCell):
    def forward(self, x, h, weights):
        gate, candidate = self.first(torch.cat([x, h], dim=-1)).chunk(2, dim=-1)
        states = self.norms[0](h + torch.sigmoid(gate) * (torch.tanh(candidate) - h))[None]  # (sources, B, units)
        edge = 0
        for node, norm in zip(self.nodes, self.norms[1:], strict=True):
            gate, candidate = node(states).chunk(2, dim=-1)
            gate, of_node = torch.sigmoid(gate), weights[edge : edge + len(states)]
            edge += len(states)
            total = 0
            for k, f in enumerate(self.functions, start=1):  # 0 is "none"
                total = total + (of_node[:, k, None, None] * (states + gate * (f(candidate) - states))).sum(0)
            states = torch.cat([states, norm(total)[None]])
        return states[1:].mean(0)


class BatchedRecurrentTextbook(textbook.TextbookRecurrent):
    def __init__(self, vocabulary, n, nodes=8):
        super().__init__(vocabulary, n, nodes)
        self.cell = BatchedRecurrentTextbookCell(n, nodes)


def conv_bn_relu(c_in, c_out):
    return [nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out, track_running_stats=False), nn.ReLU()]


class Halves(nn.Module):
    """A factorised reduction: two 1x1 convolutions with stride 2, the second shifted by a pixel."""

    def __init__(self, c):
        super().__init__()
        self.first = nn.Conv2d(c, c // 2, 1, bias=False)
        self.second = nn.Conv2d(c, c - c // 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(c, track_running_stats=False)

    def forward(self, x):
        one, other = x[..., ::2, ::2], F.pad(x, (0, 1, 0, 1))[..., 1::2, 1::2]
        return self.norm(torch.cat([self.first(one), self.second(other)], dim=1))


class PeerMacro(nn.Module):
    """`ops` and `skips` of a child are arguments; only the chosen branch of a layer runs."""

    def __init__(self, layers, c, classes=10):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, c, 3, padding=1, bias=False), nn.BatchNorm2d(c, track_running_stats=False)
        )

        def branch(name):
            size = int(name[-1])
            if "pool" in name:
                pool = nn.MaxPool2d if "max" in name else nn.AvgPool2d
                return nn.Sequential(*conv_bn_relu(c, c), pool(size, 1, size // 2))
            separable = "sep" in name
            conv = nn.Conv2d(c, c, size, padding=size // 2, groups=c if separable else 1, bias=False)
            rest = [nn.Conv2d(c, c, 1, bias=False)] if separable else []
            norm = nn.BatchNorm2d(c, track_running_stats=False)
            return nn.Sequential(*conv_bn_relu(c, c), conv, *rest, norm, nn.ReLU())

        names = ("conv_3x3", "sep_conv_3x3", "conv_5x5", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3")
        self.branches = nn.ModuleList(nn.ModuleDict({name: branch(name) for name in names}) for _ in range(layers))
        self.norms = nn.ModuleList(nn.BatchNorm2d(c, track_running_stats=False) for _ in range(layers))
        self.halved = (layers // 3, 2 * layers // 3)
        self.reductions = nn.ModuleDict({f"{i}_{j}": Halves(c) for i in self.halved for j in range(i + 1)})
        self.classifier = nn.Linear(c, classes)

    def forward(self, x, ops, skips):
        outputs = [self.stem(x)]
        for i, (op, read) in enumerate(zip(ops, skips, strict=True)):
            if i in self.halved:
                outputs = [self.reductions[f"{i}_{j}"](y) for j, y in enumerate(outputs)]
            y = self.branches[i][op](outputs[-1])
            outputs.append(self.norms[i](y + sum(outputs[1 + j] for j in read)))
        return self.classifier(outputs[-1].mean((-2, -1)))


class PeerRecurrent(nn.Module):
    """A language model whose node 1 reads (x, h) and whose node k > 1 reads one earlier node."""

    def __init__(self, vocabulary, n, nodes):
        super().__init__()

        def matrix():
            return nn.Linear(n, n, bias=False)

        self.embedding, self.decoder = nn.Embedding(vocabulary, n), nn.Linear(n, vocabulary)
        self.decoder.weight = self.embedding.weight
        self.of_x, self.of_h = (nn.ModuleList([matrix(), matrix()]) for _ in range(2))  # each: gate, candidate
        edges = [(i, j) for j in range(2, nodes + 1) for i in range(1, j)]
        self.gates, self.candidates = (
            nn.ModuleDict({f"{i}_{j}": matrix() for i, j in edges}) for _ in ("gate", "candidate")
        )

    def forward(self, tokens, nodes):
        """`nodes`: (source, function) of every node; the first source is 0, the pair (x, h)."""
        h, outputs = torch.zeros(tokens.shape[1], self.embedding.embedding_dim), []
        h = h.to(self.decoder.weight.dtype)
        ends = sorted({*range(1, 1 + len(nodes))} - {source for source, _ in nodes})
        for x in self.embedding(tokens):
            gate = torch.sigmoid(self.of_x[0](x) + self.of_h[0](h))
            states = {1: gate * nodes[0][1](self.of_x[1](x) + self.of_h[1](h)) + (1 - gate) * h}
            for j, (i, f) in enumerate(nodes[1:], start=2):
                gate = torch.sigmoid(self.gates[f"{i}_{j}"](states[i]))
                states[j] = gate * f(self.candidates[f"{i}_{j}"](states[i])) + (1 - gate) * states[i]
            h = torch.stack([states[k] for k in ends]).mean(0)
            outputs.append(h)
        return self.decoder(torch.stack(outputs))  # (T, B, vocabulary)
