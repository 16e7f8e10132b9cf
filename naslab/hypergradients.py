"""Hypergradients: the gradient in alpha of the validation loss of weights w that were *trained* with that alpha.

The gradient of L_valid(w(alpha), alpha) is dL_valid/dalpha + (dw/dalpha)' dL_valid/dw. `unrolled` with one step is
DARTS' gradient (`search.darts.exact_alpha_gradient`). With more steps it approaches `implicit`. Both functions take
`loss(w, alpha, batch)`, which must compute the network with the weights w that it gets. They do not change w and alpha.
Use float64.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, cg
from torch import Tensor

from naslab import checks
from naslab.spaces import Weights

Loss = Callable[[Sequence[Tensor], Weights, Any], Tensor]  # w, alpha and a batch -> ()


def unrolled(
    loss: Loss,
    w: Sequence[Tensor],
    alpha: Weights,
    train: Any,
    valid: Any,
    lr: float,
    steps: int,
) -> Weights:
    """The gradient of L_valid(w_k, alpha), where w_k is `w` after k = `steps` steps.

    The steps are those of gradient descent on L_train. Autograd goes back through them
    in reverse mode (Maclaurin et al. 2015, section 2). It stores all of
    them, so memory grows with k. The paper's algorithm 2 recomputes them backwards
    instead. `steps` 0 gives first-order DARTS.
    """
    checks.whole(0, steps=steps)
    checks.number(0, lr=lr)
    for _ in range(steps):
        slope = gradient(loss(w, alpha, train), w, again=True)
        w = [p - lr * g for p, g in zip(w, slope, strict=True)]
    found = gradient(loss(w, alpha, valid), [*alpha.values()])
    return dict(zip(alpha, found, strict=True))


def implicit(
    loss: Loss,
    w: Sequence[Tensor],
    alpha: Weights,
    train: Any,
    valid: Any,
    tolerance: float = 1e-10,
) -> Weights:
    """The gradient of L_valid(w*(alpha), alpha) at the minimum w* = `w` of L_train.

    It is g_alpha - (d2 L_train/dalpha dw) H^-1 g_w, where H = d2 L_train/dw2 and g are
    the gradients of L_valid. The reason: at w* dL_train/dw = 0 for every alpha. So its
    derivative is 0, too: H dw*/dalpha + d2 L_train/dw dalpha = 0 (Bengio 2000).
    Conjugate gradients solve H q = g_w to a relative `tolerance`. They do not need the
    matrix H, only products H v. Each is a backward pass (Pearlmutter 1994).

    Raises `ArithmeticError` if H is not positive definite (then w is not a minimum) or
    if conjugate gradients do not converge, and `ValueError` unless 0 < tolerance < 1.
    """
    checks.positive(tolerance=tolerance)
    checks.number(0, 1, tolerance=tolerance)
    g = gradient(loss(w, alpha, valid), [*w, *alpha.values()])
    g_w, g_alpha = flat(g[: len(w)]), g[len(w) :]
    slope = flat(gradient(loss(w, alpha, train), w, again=True))

    def product(v: np.ndarray) -> np.ndarray:
        along = gradient(slope, w, torch.from_numpy(v).to(slope), keep=True)
        found = flat(along).cpu().numpy()
        if not v @ found > 0:
            curvature = v @ found / (v @ v)
            what = f"the training loss has curvature {curvature:.3g} here"
            raise ArithmeticError(f"{what}: w is no minimum")
        return found

    H = LinearOperator((len(slope),) * 2, product, dtype=np.float64)
    q, unsolved = cg(H, g_w.double().cpu().numpy(), rtol=tolerance)
    if unsolved:
        what = f"conjugate gradients: {unsolved} iterations without a solution"
        raise ArithmeticError(f"{what} to {tolerance:g}")
    through_w = gradient(slope, [*alpha.values()], torch.from_numpy(q).to(slope))
    pairs = zip(alpha, g_alpha, through_w, strict=True)
    return {table: direct - via for table, direct, via in pairs}


def gradient(
    of: Tensor, at: Sequence[Tensor], times: Tensor | None = None, again: bool = False, keep: bool = False
) -> list[Tensor]:
    """The gradient of a number, or of the scalar product of a vector and `times`.

    `again` makes it differentiable, `keep` keeps the graph of `of` for another gradient.
    """
    return [*torch.autograd.grad(of, at, times, again or keep, again, materialize_grads=True)]


def flat(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([t.flatten() for t in tensors])
