"""The controller: a recurrent network that samples the decisions of an architecture in turn and learns by REINFORCE.

Zoph & Le 2017, sections 3.1 to 3.3 (strings, policy gradient, anchor points); Pham et al. 2018, section 2 (pointers,
temperature, tanh constant).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from naslab import checks
from naslab.spaces import Decision, Space

Choose = Callable[[slice, Tensor], Tensor]  # positions, log-probabilities (m, ., options) -> tokens (m, .)


class Controller(nn.Module):
    """An LSTM that reads its last decision and outputs the distribution of the next one.

    There is one embedding and one softmax head per *kind* of decision, so the string can grow with the space. Pointers
    and skip bits use the attention of section 3.3, v' tanh(W_prev h_j + W_curr h_i), over the hidden states h_j of
    their anchors. A pointer takes the softmax of these scores; a skip bit takes the sigmoid of its score. All skip bits
    of a layer are drawn in one step, the anchor point. The next input of the LSTM is then the sum of the k chosen
    states divided by 1 + k, as in ENAS' code.

    Weights are initialised uniformly in (-init, init). Logits are divided by `temperature`; with `tanh_constant` c they
    become c tanh(logit / temperature). Raises `ValueError` unless these three values are positive.
    """

    def __init__(
        self,
        space: Space,
        units: int = 35,
        layers: int = 2,
        init: float = 0.08,
        temperature: float = 1.0,
        tanh_constant: float | None = None,
    ) -> None:
        super().__init__()
        checks.whole(1, units=units, layers=layers)
        checks.positive(init=init, temperature=temperature)
        checks.number(0, 1e38, init=init)  # the range, 2 init, must fit into float32
        if tanh_constant is not None:
            checks.positive(tanh_constant=tanh_constant)
        self.space, self.units = space, units
        self.temperature = float(temperature)
        self.tanh_constant = None if tanh_constant is None else float(tanh_constant)
        self.lstm = nn.ModuleList(nn.LSTMCell(units, units) for _ in range(layers))
        self.start = nn.Parameter(torch.empty(units))
        plain = {d.kind: len(d.options) for d in space.decisions if not d.anchors}
        self.embedding = nn.ModuleDict({kind: nn.Embedding(n, units) for kind, n in plain.items()})
        self.head = nn.ModuleDict({kind: nn.Linear(units, n) for kind, n in plain.items()})
        inputs = {-1 - a for d in space.decisions for a in d.anchors if a < 0}  # of a cell, not of decisions
        self.inputs = nn.Parameter(torch.empty(len(inputs), units))
        attended = sorted({d.kind for d in space.decisions if d.anchors})
        self.previous = nn.ModuleDict({kind: nn.Linear(units, units, bias=False) for kind in attended})  # W_prev
        self.current = nn.ModuleDict({kind: nn.Linear(units, units, bias=False) for kind in attended})  # W_curr
        self.v = nn.ModuleDict({kind: nn.Linear(units, 1, bias=False) for kind in attended})
        for p in self.parameters():
            nn.init.uniform_(p, -init, init)

    def forward(self, m: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Samples m strings: tokens (m, D) int64, their log-probabilities (m,) and entropies (m,), both in nats.

        The entropy of a string is the sum of the entropies of its D distributions. The generator must be on the CPU, so
        that every device draws the same strings.
        """
        tokens, log_p = self.draw(m, generator)
        return tokens, *self.summed(tokens, log_p)

    def draw(self, m: int, generator: torch.Generator) -> tuple[Tensor, list[Tensor]]:
        """Samples m strings: tokens (m, D), and a list of D log-probabilities (m, options)."""
        checks.whole(1, m=m)
        uniform = torch.rand(len(self.space.decisions), m, 1, generator=generator).transpose(0, 1).to(self.start)

        def draw(positions: slice, log_p: Tensor) -> Tensor:
            up_to = log_p.exp().cumsum(-1)  # (m, ., options), the distribution function
            # below its last value, because rounding must not lead past the last possible option
            return ((up_to <= uniform[:, positions]) & (up_to < up_to[..., -1:])).sum(-1)

        return self._walk(m, draw)

    def score(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the log-probabilities (m,) and entropies (m,) of given strings (m, D), in nats."""
        return self.summed(*self._walk(len(tokens), lambda positions, log_p: tokens[:, positions]))

    def summed(self, tokens: Tensor, log_p: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Returns the log-probabilities (m,) and entropies (m,) of strings (m, D), given the output of `draw`."""
        chosen = [q.gather(-1, token) for token, q in zip(tokens.split(1, dim=-1), log_p, strict=True)]  # (m, 1)
        q = torch.cat(log_p, dim=-1)  # (m, options of all steps)
        p = q.exp()
        entropy = -torch.where(p > 0, p * q.masked_fill(p == 0, 0), 0).sum(-1)
        return torch.cat(chosen, dim=-1).sum(-1), entropy

    def trace(self, tokens: Tensor) -> list[Tensor]:
        """Returns the distribution at every position of given strings (m, D): a list of D tensors (m, options)."""
        _, log_p = self._walk(len(tokens), lambda positions, log_p: tokens[:, positions])
        return [q.exp() for q in log_p]

    def grow(self, space: Space) -> None:
        """Replaces the space by one with the same kinds, such as one with more layers. All parameters stay.

        Raises `ValueError` if a kind is new or has another number of options, or if a cell input is new.
        """
        for d in space.decisions:
            if any(-1 - a >= len(self.inputs) for a in d.anchors):
                raise ValueError(f"space: {d.name} reads a cell input that this controller has not learned")
            known = self.v if d.anchors else self.head
            if d.kind not in known or (not d.anchors and self.head[d.kind].out_features != len(d.options)):
                raise ValueError(f"space: {d.name} is of a kind or size that this controller has not learned")
        self.space = space

    def _walk(self, m: int, choose: Choose) -> tuple[Tensor, list[Tensor]]:
        """Runs the LSTM along the string for m children at once. `choose` returns their tokens at each position.

        Returns the tokens (m, D) and a list of D log-probabilities (m, options).
        """
        x = self.start.expand(m, -1)  # (m, units)
        inputs = [row.expand(m, -1) for row in self.inputs]
        rows = torch.arange(m, device=x.device)
        cells = [[*cell.parameters()] for cell in self.lstm]
        state = [(torch.zeros_like(x), torch.zeros_like(x)) for _ in cells]
        h_j = x  # a decision without anchors does not read it
        after: list[Tensor] = []  # per position, the hidden state after the LSTM has read it, (m, units)
        tokens: list[Tensor] = []
        log_ps: list[Tensor] = []

        for point in anchor_points(self.space):
            first, d = len(tokens), point[0]
            for k, weights in enumerate(cells):
                x, _ = state[k] = torch.lstm_cell(x, state[k], *weights)
            h = x
            after += [h] * (first - len(after))  # decisions of one anchor point are read together

            if d.anchors:
                read = [after[a] if a >= 0 else inputs[-1 - a] for each in point for a in each.anchors]
                h_j = torch.stack(read, dim=1)  # (m, anchors, units), of one pointer, or one for each skip bit
            log_p = self._log_probabilities(d, h, h_j, tokens)  # (m, decisions, options)
            chosen = choose(slice(first, first + len(point)), log_p)  # (m, decisions)
            tokens += chosen.unbind(1)
            log_ps += log_p.unbind(1)

            if _is_skip(d):
                x = (chosen[..., None] * h_j).sum(1) / (1 + chosen.sum(1))[:, None]
            elif d.anchors:
                x = h_j[rows, chosen[:, 0]]
            else:
                x = self.embedding[d.kind](chosen[:, 0])
        return torch.stack(tokens, dim=1), log_ps

    def _log_probabilities(self, d: Decision, h: Tensor, h_j: Tensor, tokens: list[Tensor]) -> Tensor:
        """Returns the log-probabilities of one decision or of all skip bits of a step, (m, decisions, options)."""
        if d.anchors:  # section 3.3
            hidden = torch.tanh(self.previous[d.kind](h_j) + self.current[d.kind](h)[:, None])  # (m, anchors, units)
            logits = hidden @ self.v[d.kind].weight[0]  # type: ignore[index]
        else:
            logits = self.head[d.kind](h)  # (m, options)
        logits = logits / self.temperature
        if self.tanh_constant is not None:
            logits = self.tanh_constant * torch.tanh(logits)
        if _is_skip(d):  # P(skip) = sigmoid(logit): a softmax over (0, logit)
            return torch.stack([torch.zeros_like(logits), logits], dim=-1).log_softmax(-1)
        for earlier in d.differs_from:
            logits = logits.scatter(-1, tokens[earlier][:, None], -math.inf)
        return logits.log_softmax(-1)[:, None]


def anchor_points(space: Space) -> list[list[Decision]]:
    """Groups the decisions by the LSTM step that makes them: one for all skip bits of a layer, one for each other."""
    points: list[list[Decision]] = []
    for d in space.decisions:
        if points and _is_skip(d) and _is_skip(points[-1][0]) and points[-1][0].row[:1] == d.row[:1]:
            points[-1].append(d)
        else:
            points.append([d])
    return points


def _is_skip(d: Decision) -> bool:
    return len(d.anchors) == 1 and len(d.options) == 2


def policy_loss(
    log_prob: Tensor,
    entropy: Tensor,
    rewards: Tensor,
    baseline: float,
    entropy_weight: float = 0.0,
) -> Tensor:
    """Returns the loss () whose negative gradient is REINFORCE's estimate:

    (1/m) sum_k [grad log P(a_k) (R_k - b) + entropy_weight grad H_k].

    `log_prob`, `rewards` R_k and `entropy` H_k are (m,). H_k is the sum of the
    entropies of the distributions along string k. Zoph & Le 2017, section 3.2; the
    entropy as in Pham et al. 2018, section 3.
    """
    return -(log_prob * (rewards - baseline) + entropy_weight * entropy).mean()


def skip_divergence(space: Space, log_p: list[Tensor], rho: float) -> Tensor:
    """Returns the mean of KL(P(skip) || rho) over all skip bits, in nats, (m,). It is 0 for a space without skips.

    `log_p` is a list of D log-probabilities (m, options). As a penalty it limits the number of skips in macro networks
    (Pham et al. 2018, section 3.2).
    """
    prior = log_p[0].new_tensor([1 - rho, rho]).log()
    skips = [q for d, q in zip(space.decisions, log_p, strict=True) if _is_skip(d)]
    if not skips:
        return log_p[0].new_zeros(len(log_p[0]))
    q = torch.stack(skips)  # (skips, m, 2)
    return (q.exp() * (q - prior)).sum(-1).mean(0)


def moving_average(average: float | None, value: float, decay: float) -> float:
    """Returns the updated exponential moving average. `average` is None before the first value."""
    return value if average is None else decay * average + (1 - decay) * value
