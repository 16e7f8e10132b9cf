"""DARTS' search networks as a textbook would have them: eq. 1 and 2 read literally, stock torch modules.

A module for each edge and op, every op run and weighted, the model copied for the virtual step. Written apart from the
package, for the package to be compared with: what it computes is tested to be the same.
"""

import copy

import torch
import torch.nn.functional as F
from torch import nn


def relu_conv_bn(c_in, c_out, kernel, stride, padding):
    return nn.Sequential(
        nn.ReLU(), nn.Conv2d(c_in, c_out, kernel, stride, padding, bias=False), nn.BatchNorm2d(c_out, affine=False)
    )


def depthwise(c, kernel, stride, padding, dilation=1):
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(c, c, kernel, stride, padding, dilation, groups=c, bias=False),
        nn.Conv2d(c, c, 1, bias=False),
        nn.BatchNorm2d(c, affine=False),
    )


class Reduction(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.first = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.second = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(c_out, affine=False)

    def forward(self, x):
        x = F.relu(x)
        return self.bn(torch.cat([self.first(x), self.second(x[:, :, 1:, 1:])], dim=1))


class Zero(nn.Module):
    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    def forward(self, x):
        return x[:, :, :: self.stride, :: self.stride] * 0


class Mixed(nn.Module):
    def __init__(self, c, stride):
        super().__init__()
        self.ops = nn.ModuleList(
            [
                Zero(stride),
                nn.Sequential(nn.MaxPool2d(3, stride, 1), nn.BatchNorm2d(c, affine=False)),
                nn.Sequential(nn.AvgPool2d(3, stride, 1, count_include_pad=False), nn.BatchNorm2d(c, affine=False)),
                nn.Identity() if stride == 1 else Reduction(c, c),
                nn.Sequential(depthwise(c, 3, stride, 1), depthwise(c, 3, 1, 1)),
                nn.Sequential(depthwise(c, 5, stride, 2), depthwise(c, 5, 1, 2)),
                depthwise(c, 3, stride, 2, 2),
                depthwise(c, 5, stride, 4, 2),
            ]
        )

    def forward(self, x, weights):
        return sum(w * op(x) for w, op in zip(weights, self.ops, strict=True))  # eq. 2


class TextbookCell(nn.Module):
    def __init__(self, c_older, c_newer, c, reduction, reduced):
        super().__init__()
        self.reduction = reduction
        self.pre0 = Reduction(c_older, c) if reduced else relu_conv_bn(c_older, c, 1, 1, 0)
        self.pre1 = relu_conv_bn(c_newer, c, 1, 1, 0)
        self.edges = nn.ModuleList(
            Mixed(c, 2 if reduction and source < 2 else 1) for node in range(4) for source in range(2 + node)
        )

    def forward(self, older, newer, weights):
        states = [self.pre0(older), self.pre1(newer)]
        offset = 0
        for _ in range(4):
            states.append(sum(self.edges[offset + j](x, weights[offset + j]) for j, x in enumerate(states)))  # eq. 1
            offset += len(states) - 1
        return torch.cat(states[2:], dim=1)


class Textbook(nn.Module):
    def __init__(self, c, cells, classes=10):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 3 * c, 3, padding=1, bias=False), nn.BatchNorm2d(3 * c))
        older = newer = 3 * c
        self.cells = nn.ModuleList()
        reduced = False
        for i in range(cells):
            reduction = i in (cells // 3, 2 * cells // 3)
            c *= 2 if reduction else 1
            self.cells.append(TextbookCell(older, newer, c, reduction, reduced))
            older, newer, reduced = newer, 4 * c, reduction
        self.classifier = nn.Linear(newer, classes)
        self.alpha = nn.ParameterList([torch.zeros(14, 8), torch.zeros(14, 8)])

    def forward(self, x):
        normal, reduce = (a.softmax(-1) for a in self.alpha)
        older = newer = self.stem(x)
        for cell in self.cells:
            older, newer = newer, cell(older, newer, reduce if cell.reduction else normal)
        return self.classifier(newer.mean((-2, -1)))

    def weights(self):
        return [p for name, p in self.named_parameters() if not name.startswith("alpha")]


class TextbookRecurrentCell(nn.Module):
    """A matrix for each node, a batch norm after each; every edge reads, every function is applied and weighted."""

    def __init__(self, n, nodes):
        super().__init__()
        self.first = nn.Linear(2 * n, 2 * n, bias=False)
        self.nodes = nn.ModuleList(nn.Linear(n, 2 * n, bias=False) for _ in range(nodes))
        self.norms = nn.ModuleList(nn.BatchNorm1d(n, affine=False) for _ in range(nodes + 1))
        self.functions = nn.ModuleList([nn.Tanh(), nn.ReLU(), nn.Sigmoid(), nn.Identity()])

    def forward(self, x, h, weights):
        gate, candidate = self.first(torch.cat([x, h], dim=-1)).chunk(2, dim=-1)
        states = [self.norms[0](h + torch.sigmoid(gate) * (torch.tanh(candidate) - h))]
        edge = 0
        for node, norm in zip(self.nodes, self.norms[1:], strict=True):
            total = 0
            for s in states:
                none, *others = weights[edge]
                edge += 1
                gate, candidate = node(s).chunk(2, dim=-1)
                total = total + none * torch.zeros_like(s)
                for w, f in zip(others, self.functions, strict=True):
                    total = total + w * (s + torch.sigmoid(gate) * (f(candidate) - s))  # eq. 2
            states.append(norm(total))  # eq. 1
        return sum(states[1:]) / len(self.nodes)


class TextbookRecurrent(nn.Module):
    def __init__(self, vocabulary, n, nodes=8):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, n)
        self.cell = TextbookRecurrentCell(n, nodes)
        self.decoder = nn.Linear(n, vocabulary)
        self.decoder.weight = self.embedding.weight
        self.alpha = nn.ParameterList([torch.zeros(nodes * (nodes + 1) // 2, 5)])

    def forward(self, tokens):
        (weights,) = (a.softmax(-1) for a in self.alpha)
        h, outputs = torch.zeros(tokens.shape[1], self.embedding.embedding_dim), []
        for x in self.embedding(tokens):
            h = self.cell(x, h, weights)
            outputs.append(h)
        return self.decoder(torch.stack(outputs)).flatten(0, 1)  # (T * B, vocabulary)

    weights = Textbook.weights


def alpha_step(model, alpha_optim, w_optim, train, valid, second_order):
    """The step of alpha in algorithm 1; the virtual step with momentum and decay, as in the authors' code.

    Returns the validation loss at w, which both orders report, as `darts.search` does.
    """

    def loss_of(net, batch):
        return F.cross_entropy(net(batch[0]), batch[1])

    alpha_optim.zero_grad()
    if not second_order:
        loss = loss_of(model, valid)
        loss.backward()
        alpha_optim.step()
        return loss.item()
    with torch.no_grad():
        at_w = loss_of(model, valid).item()
    (group,) = w_optim.param_groups
    xi = group["lr"]
    g = torch.autograd.grad(loss_of(model, train), model.weights())
    ahead = copy.deepcopy(model)
    with torch.no_grad():
        for p, q, d in zip(model.weights(), ahead.weights(), g, strict=True):
            buffer = w_optim.state[p].get("momentum_buffer")
            buffer = torch.zeros_like(p) if buffer is None else buffer
            q.sub_(xi * (group["momentum"] * buffer + d + group["weight_decay"] * p))
    ahead.zero_grad()
    loss_of(ahead, valid).backward()
    vector = [q.grad for q in ahead.weights()]
    eps = 0.01 / torch.cat([v.flatten() for v in vector]).norm()
    with torch.no_grad():
        for p, v in zip(model.weights(), vector, strict=True):
            p.add_(eps * v)
    up = torch.autograd.grad(loss_of(model, train), list(model.alpha))
    with torch.no_grad():
        for p, v in zip(model.weights(), vector, strict=True):
            p.sub_(2 * eps * v)
    down = torch.autograd.grad(loss_of(model, train), list(model.alpha))
    with torch.no_grad():
        for p, v in zip(model.weights(), vector, strict=True):
            p.add_(eps * v)
    for a, q, u, d in zip(model.alpha, ahead.alpha, up, down, strict=True):
        a.grad = q.grad - xi * (u - d) / (2 * eps)
    alpha_optim.step()
    return at_w


def weight_step(model, w_optim, train, clip=5.0):
    w_optim.zero_grad()
    F.cross_entropy(model(train[0]), train[1]).backward()
    nn.utils.clip_grad_norm_(model.weights(), clip)
    w_optim.step()
