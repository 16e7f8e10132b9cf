"""What runs on the cluster: parameter-server shards and controller replicas (section 3.2, figure 3)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from naslab.controller import Controller, policy_loss
from naslab.search.reinforce import Config
from naslab.spaces import Tokens

Part = list[Tensor]  # the tensors of theta that one shard holds
Moments = list[dict[str, Tensor]]  # Adam's state of each of them; {} before its first gradient


class Shard:
    """A parameter server: it holds some of theta's tensors, and takes Adam's steps with them."""

    def __init__(self, theta: Part, moments: Moments, lr: float, version: int) -> None:
        self.theta, self.version = theta, version
        self.optim = torch.optim.Adam(theta, lr)
        for p, entries in zip(theta, moments, strict=True):
            if entries:
                self.optim.state[p] = entries

    def pull(self) -> Part:
        """Returns its part of theta."""
        return self.theta

    def push(self, gradient: list[Tensor | None]) -> tuple[Part, Moments, int]:
        """Takes a step. Returns theta, the moments, and the number of steps."""
        for p, g in zip(self.theta, gradient, strict=True):
            p.grad = g
        self.optim.step()
        self.version += 1
        return self.theta, [dict(self.optim.state.get(p, {})) for p in self.theta], self.version


@dataclass(frozen=True)
class Drawn:
    """The children that a replica has sampled, and the sums and the mean that the search checks and reports."""

    children: tuple[Tokens, ...]  # m
    stream: Tensor  # the state of the generator after them
    log_probability: float  # sum over the children
    entropies: float  # sum over the children, nats
    entropy: float  # mean


class Replica:
    """A copy of the controller.

    Each call says all that it needs. So after the death of a replica another one gets the same call, and gives the same
    answer.
    """

    def __init__(self, controller: Controller, config: Config, parts: list[list[int]]) -> None:
        self.controller, self.config, self.parts = controller, config, parts
        self.stream: Tensor | None = None  # where the generator stood before it drew the children of `policy`
        self.policy: tuple[Tensor, Tensor]  # (m,), (m,): their log-probabilities and entropies

    def sample(self, stream: Tensor, *theta: Part) -> Drawn:
        """Samples m children at theta. `stream` is the state of a generator; each shard sends its part of theta."""
        self.load(theta)
        generator = torch.Generator()
        generator.set_state(stream)
        tokens, log_prob, entropy = self.controller(self.config.children, generator)
        self.stream, self.policy = stream, (log_prob, entropy)
        children = tuple(map(tuple, tokens.tolist()))
        sums = log_prob.sum().item(), entropy.sum().item()
        return Drawn(children, generator.get_state(), *sums, entropy.mean().item())

    def gradient(
        self,
        stream: Tensor,
        rewards: tuple[float, ...],
        baseline: float | None,
        *theta: Part,
    ) -> tuple[list[Tensor | None], float, float]:
        """Returns the gradients (None: unused), the loss, the mean of reward ** power."""
        if self.stream is None or not torch.equal(stream, self.stream):
            self.sample(stream, *theta)  # another replica drew the children, and died
        log_prob, entropy = self.policy
        r = log_prob.new_tensor(rewards) ** self.config.power  # (m,)
        b = 0.0 if baseline is None else baseline
        # section 3.2
        loss = policy_loss(log_prob, entropy, r, b, self.config.entropy_weight)
        self.controller.zero_grad()
        loss.backward()
        self.stream = None  # the graph is used up
        return [p.grad for p in self.controller.parameters()], loss.item(), r.mean().item()

    def load(self, theta: tuple[Part, ...]) -> None:
        """Copies the parts of all shards into the controller."""
        parameters = list(self.controller.parameters())
        with torch.no_grad():
            for places, part in zip(self.parts, theta, strict=True):
                for place, pulled in zip(places, part, strict=True):
                    parameters[place].copy_(pulled)
