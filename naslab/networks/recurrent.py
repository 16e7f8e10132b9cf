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
    """Raises `ValueError` for the size of a `RecurrentChild` out of range."""
    checks.whole(1, vocabulary=vocabulary, units=units, layers=layers)
    if not isinstance(dropout, Dropouts):
        checks.number(0, 1, dropout=dropout)


class TreeCell(nn.Module):
    """A recurrent cell as a binary tree (Zoph & Le 2017, section 3.4 and figure 5). cell(x, (h, c)) -> (h, c).

    All of (B, units), as in `nn.LSTMCell`. Node i yields a_i = act_i(s_i). For leaf i = 0, ..., base - 1, s_i combines
    W_(2i+1) x_t and W_(2i+2) h_(t-1); node base + i combines a_2i and a_(2i+1). Only leaves have weights, and there
    are no biases, as in the paper's formulas: a string whose products all vanish at h = 0 stays at 0 for ever.

    c_t is s of the node that the first cell index names: before the activation, hence before any injection into this
    node. The node that the second names has c_(t-1) injected after its activation: whoever reads it, its parent or, at
    the root, h_t, reads act(combine(a, c_(t-1))). So where both name one node, c_t knows of c_(t-1) only through
    h_(t-1); where the first is above the second, c_t has passed through the injection.

    The weights start as those of `nn.Linear`, uniform in +-1 / sqrt(units); the paper searched over their range.
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
        read = list(zip(self.from_x(x).chunk(self.base, -1), self.from_h(h).chunk(self.base, -1), strict=True))
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
    """A recurrent cell as a graph with highway nodes. cell(x, (h, c)) -> (h, c), all (B, units); c only passes.

    Node l reads an earlier state s through its matrix (units, to gate and candidate) and its function:
    s + sigmoid(gate) (f(candidate) - s) (Pham et al. 2018, "Designing Recurrent Cells"; the gate: "Language Model with
    Penn Treebank"). h_t is the mean of the states that leave. `matrices` says what state 0 is: for "source", as in the
    paper, the pair (x_t, h_(t-1)), read by a matrix of twice the size, with h_(t-1) as s; else h_(t-1) + sigmoid(gate)
    (tanh(candidate) - h_(t-1)), read from the pair by a matrix of its own (the ENAS authors' later code; Liu et al.
    2019, appendix A.1.2).

    `mask` (B, units) multiplies what the matrices read of the states, not what bypasses them.
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
    """What a language model drops, each with one mask for all time steps of a batch (Gal & Ghahramani 2016).

    The defaults are those of Liu et al. 2019, section A.1.2, for search; to retrain, section A.2.2 adds `words` 0.1.
    Each layer has masks of its own. Raises `ValueError` out of range.
    """

    words: float = 0.0  # of the vocabulary, as a whole
    embedding: float = 0.2
    input: float = 0.75  # of a cell
    hidden: float = 0.25  # states, where the matrices of a cell read them
    output: float = 0.75  # of the last layer, for the decoder

    def __post_init__(self) -> None:
        checks.number(0, 1, **asdict(self))


class RecurrentChild(nn.Module):
    """A language model: embedding, `layers` of recurrent cells, decoder (Zoph & Le 2017, section 4.2).

    `cell(units)` makes a layer: any module with cell(x, (h, c)) -> (h, c), such as `lambda n: nn.LSTMCell(n, n)`;
    whatever `forward` is given beyond tokens and state is handed on to it.
    Embedding and decoder share one matrix, the paper's "shared embeddings" (Press & Wolf 2017); the decoder has a
    bias. Dropout, if a number, acts on what goes into a layer and into the decoder, anew at every time step and not
    along time (Zaremba et al. 2014). `Dropouts.hidden` needs cells that take a `mask`, as `RecurrentCell` does.
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
        """Tokens (T, B) int64 and each layer's (h, c), zeros for None -> logits (T, B, vocabulary) and new states."""
        outputs, after = self.read(tokens, state, *more)
        return self.decode(outputs), after

    def read(self, tokens: Tensor, state: list[State] | None = None, *more: Any) -> tuple[Tensor, list[State]]:
        """As `forward`, but instead of logits what the last layer puts out, (T, B, units)."""
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
        """Tokens (T, B) -> (T, B, units)."""
        x = self.embedding(tokens)
        if not isinstance(self.dropout, Dropouts) or not self.training:
            return x
        words = F.dropout(x.new_ones(self.embedding.num_embeddings), self.dropout.words)  # (vocabulary,)
        return self.drop(x * words[tokens][..., None], "embedding")

    def drop(self, x: Tensor, place: str) -> Tensor:
        """x (T, B, units) after the dropout of that place."""
        if not isinstance(self.dropout, Dropouts):
            return F.dropout(x, self.dropout, self.training)
        return x * F.dropout(torch.ones_like(x[0]), getattr(self.dropout, place), self.training)

    def decode(self, outputs: Tensor) -> Tensor:
        """What the last layer puts out (T, B, units) -> logits (T, B, vocabulary)."""
        return self.decoder(self.drop(outputs, "output"))


@torch.no_grad()
def start_within(spread: float, model: nn.Module) -> None:
    """Draws the weights anew, uniform in +-spread, from torch's global generator; vectors, the biases, become 0.

    The DARTS authors' recurrent networks start within 0.04. Raises `ValueError` for a spread that is not above 0.
    """
    checks.positive(spread=spread)
    for p in model.parameters():
        nn.init.uniform_(p, -spread, spread) if p.ndim > 1 else nn.init.zeros_(p)
