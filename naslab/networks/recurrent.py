"""Recurrent cells and the language model around them."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from naslab import checks
from naslab.networks.mixed import Matrices
from naslab.ops import ACTIVATIONS, COMBINERS, highway
from naslab.spaces import CellSpace, Nodes, TreeSpace

State = tuple[Tensor, Tensor]  # h, c of a recurrent cell, both (B, units)


def check_language_model(vocabulary: int, units: int, layers: int, dropout: "float | Dropouts") -> None:
    """Raises `ValueError` if an argument of `RecurrentChild` is out of range."""
    checks.whole(1, vocabulary=vocabulary, units=units, layers=layers)
    if not isinstance(dropout, Dropouts):
        checks.number(0, 1, dropout=dropout)


class TreeCell(nn.Module):
    """A recurrent cell as a binary tree (Zoph & Le 2017, section 3.4 and figure 5). cell(x, (h, c)) -> (h, c).

    x, h and c are (B, units), as in `nn.LSTMCell`. Node i computes a_i = act_i(s_i). For leaf i = 0, ..., base - 1, s_i
    combines W_(2i+1) x_t and W_(2i+2) h_(t-1). For node base + i, s combines a_2i and a_(2i+1). Only leaves have
    weights. There are no biases, as in the paper's formulas, so a cell whose products are all 0 at h = 0 stays at 0.

    The first cell index names the node whose s becomes c_t: its value before the activation and before any injection.
    The second cell index names the node into which c_(t-1) is injected, after its activation a. The parent of that node
    (or h_t, if the node is the root) reads act(combine(a, c_(t-1))) instead of a. If both indices name the same node,
    c_t depends on c_(t-1) only through h_(t-1). If the first node is an ancestor of the second, c_t depends on the
    injection.

    Weights are initialised like `nn.Linear`, uniform in +-1 / sqrt(units). The paper searches over this range.
    """

    def __init__(self, space: TreeSpace, tokens: Iterable[int], units: int) -> None:
        super().__init__()
        checks.whole(1, units=units)
        *functions, self.memory, self.inject = (
            d.options[t] for d, t in zip(space.decisions, space.check(tokens), strict=True)
        )
        pairs = zip(functions[::2], functions[1::2], strict=True)
        *self.nodes, self.injection = [(COMBINERS[str(c)], ACTIVATIONS[str(a)]) for c, a in pairs]
        self.base = space.base
        self.from_x = nn.Linear(units, space.base * units, bias=False)  # W_1, W_3, ...
        self.from_h = nn.Linear(units, space.base * units, bias=False)  # W_2, W_4, ...

    def forward(self, x: Tensor, state: State) -> State:
        h, c = state
        read = list(
            zip(
                self.from_x(x).chunk(self.base, -1),
                self.from_h(h).chunk(self.base, -1),
                strict=True,
            )
        )
        outputs: list[Tensor] = []
        for i, (combine, activation) in enumerate(self.nodes):
            if i >= self.base:
                first = 2 * (i - self.base)
                read.append((outputs[first], outputs[first + 1]))
            s = combine(*read[i])
            if i == self.memory:
                c_t = s
            a = activation(s)
            if i == self.inject:
                combine, activation = self.injection
                a = activation(combine(a, c))
            outputs.append(a)
        return outputs[-1], c_t


class RecurrentCell(nn.Module):
    """A recurrent cell as a graph with highway nodes. cell(x, (h, c)) -> (h, c), all (B, units); c is unchanged.

    A node reads one earlier state s. Its matrix maps s to a gate and a candidate, and with its function f the node is
    s + sigmoid(gate) (f(candidate) - s) (Pham et al. 2018, "Designing Recurrent Cells"; the gate: "Language Model with
    Penn Treebank"). h_t is the mean of the states that leave.

    `matrices` determines state 0. With "source", as in the paper, state 0 is the pair (x_t, h_(t-1)): a node that reads
    it has a matrix with twice as many inputs, and uses h_(t-1) as s. Otherwise state 0 is a highway node with its own
    matrix, which reads the pair: h_(t-1) + sigmoid(gate) (tanh(candidate) - h_(t-1)) (the ENAS authors' later code; Liu
    et al. 2019, appendix A.1.2).

    `mask` (B, units) multiplies the states that the matrices read. It does not act on the highway connection.
    """

    def __init__(self, space: CellSpace, nodes: Nodes, units: int, matrices: Matrices) -> None:
        super().__init__()
        checks.whole(1, units=units)
        self.nodes = [(source, ACTIVATIONS[op]) for ((source, op),) in nodes]
        self.first = nn.Linear(2 * units, 2 * units, bias=False) if matrices != "source" else None
        wide = [self.first is None and source == 0 for source, _ in self.nodes]
        self.weights = nn.ModuleList(nn.Linear(units * (1 + w), 2 * units, bias=False) for w in wide)
        self.leaving = space.leaving(nodes)

    def forward(self, x: Tensor, state: State, mask: Tensor | None = None) -> State:
        h, c = state
        pair = torch.cat([x, h if mask is None else h * mask], dim=-1)  # (B, 2 units)
        states = [h if self.first is None else highway(h, self.first(pair), torch.tanh)]
        for (source, function), weight in zip(self.nodes, self.weights, strict=True):
            s = states[source]
            reads = pair if self.first is None and source == 0 else s if mask is None else s * mask
            states.append(highway(s, weight(reads), function))
        first, *others = (states[i] for i in self.leaving)
        return sum(others, start=first) / len(self.leaving), c


@dataclass(frozen=True)
class Dropouts:
    """Dropout probabilities of a language model. A mask is the same at all time steps of a batch.

    Gal & Ghahramani 2016. The defaults are those of Liu et al. 2019, section A.1.2, for the search; section A.2.2 adds
    `words` 0.1 for retraining. Each layer has its own masks. Raises `ValueError` if a value is out of range.
    """

    words: float = 0.0  # whole words: all their occurrences in the batch
    embedding: float = 0.2  # units of the embeddings
    input: float = 0.75  # units of the input of a layer
    hidden: float = 0.25  # units of the states that the matrices of a cell read
    output: float = 0.75  # units of the last layer's output, before the decoder

    def __post_init__(self) -> None:
        checks.number(0, 1, **asdict(self))


class RecurrentChild(nn.Module):
    """A language model: embedding, `layers` of recurrent cells, decoder (Zoph & Le 2017, section 4.2).

    `cell(units)` builds a layer: any module with cell(x, (h, c)) -> (h, c), such as `lambda n: nn.LSTMCell(n, n)`.
    `forward` passes its extra arguments to the cells. Embedding and decoder share one matrix, the paper's "shared
    embeddings" (Press & Wolf 2017); the decoder has a bias.

    If `dropout` is a number, it acts on the input of every layer and of the decoder, not on the recurrent connections,
    with a new mask at every time step (Zaremba et al. 2014). `Dropouts.hidden` requires cells whose `forward` takes a
    `mask`, like `RecurrentCell`.
    """

    def __init__(
        self,
        cell: Callable[[int], nn.Module],
        vocabulary: int,
        units: int,
        layers: int = 1,
        dropout: float | Dropouts = 0.0,
    ) -> None:
        super().__init__()
        check_language_model(vocabulary, units, layers, dropout)
        self.embedding = nn.Embedding(vocabulary, units)
        self.cells = nn.ModuleList(cell(units) for _ in range(layers))
        self.decoder = nn.Linear(units, vocabulary)
        self.decoder.weight = self.embedding.weight
        self.dropout = dropout
        hidden = dropout.hidden if isinstance(dropout, Dropouts) else 0.0
        self.masked = hidden > 0
        if self.masked and "mask" not in signature(self.cells[0].forward).parameters:
            raise ValueError(f"hidden: got {hidden}, expected 0: a {type(self.cells[0]).__name__} takes no mask")

    def forward(self, tokens: Tensor, state: list[State] | None = None, *more: Any) -> tuple[Tensor, list[State]]:
        """Maps tokens (T, B) int64 and the (h, c) of each layer to logits (T, B, vocabulary) and the new states.

        `state` None means zeros.
        """
        outputs, after = self.read(tokens, state, *more)
        return self.decode(outputs), after

    def read(self, tokens: Tensor, state: list[State] | None = None, *more: Any) -> tuple[Tensor, list[State]]:
        """Like `forward`, but returns the outputs of the last layer (T, B, units) instead of logits."""
        if tokens.ndim != 2 or tokens.dtype != torch.int64:
            raise ValueError(f"tokens: got {tokens.dtype} {tuple(tokens.shape)}, expected int64 (T, B)")
        x = self.embed(tokens)  # (T, B, units)
        zeros = torch.zeros_like(x[0])
        after: list[State] = []
        for cell, (h, c) in zip(self.cells, state or [(zeros, zeros)] * len(self.cells), strict=True):
            outputs = []
            x = self.drop(x, "input")
            mask = {"mask": self.drop(torch.ones_like(x[:1]), "hidden")[0]} if self.masked and self.training else {}
            for x_t in x.unbind():
                h, c = cell(x_t, (h, c), *more, **mask)
                outputs.append(h)
            x = torch.stack(outputs)  # (T, B, units)
            after.append((h, c))
        return x, after

    def embed(self, tokens: Tensor) -> Tensor:
        """Maps tokens (T, B) to embeddings (T, B, units), after the dropouts `words` and `embedding`."""
        x = self.embedding(tokens)
        if not isinstance(self.dropout, Dropouts) or not self.training:
            return x
        words = F.dropout(x.new_ones(self.embedding.num_embeddings), self.dropout.words)  # (vocabulary,)
        return self.drop(x * words[tokens][..., None], "embedding")

    def drop(self, x: Tensor, place: str) -> Tensor:
        """Returns x (T, B, units) after the dropout named `place`, a field of `Dropouts`."""
        if not isinstance(self.dropout, Dropouts):
            return F.dropout(x, self.dropout, self.training)
        return x * F.dropout(torch.ones_like(x[0]), getattr(self.dropout, place), self.training)

    def decode(self, outputs: Tensor) -> Tensor:
        """Maps the outputs of the last layer (T, B, units) to logits (T, B, vocabulary)."""
        return self.decoder(self.drop(outputs, "output"))


@torch.no_grad()
def start_within(spread: float, model: nn.Module) -> None:
    """Initialises the weights uniformly in +-spread from torch's global generator. Sets biases (vectors) to 0.

    The DARTS authors' recurrent networks use the spread 0.04. Raises `ValueError` unless the spread is above 0.
    """
    checks.positive(spread=spread)
    for p in model.parameters():
        nn.init.uniform_(p, -spread, spread) if p.ndim > 1 else nn.init.zeros_(p)
