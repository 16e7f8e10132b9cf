"""A GPU to test against where there is none: shapes and devices without numbers.

PyTorch's fake tensors on the `lazy` device of a CPU build: an op that mixes tensors of two devices raises as it
would on CUDA. Modules cannot be moved in this mode by `Module.to`, so it is replaced while the mode is on.
"""

import contextlib
import functools
from collections.abc import Iterator

import torch
import torch._lazy.ts_backend
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv


@functools.cache
def _register() -> None:
    torch._lazy.ts_backend.init()  # the device guard that FakeTensorMode needs


@contextlib.contextmanager
def fake_gpu() -> Iterator[torch.device]:
    """Inside, tensors have no numbers, and the device that is yielded behaves like a second device."""
    _register()
    real_to = nn.Module.to

    def to(self, device=None, *args, **kwargs):
        for module in self.modules():
            for name, p in module._parameters.items():
                if p is not None:
                    module._parameters[name] = nn.Parameter(torch.empty(p.shape, dtype=p.dtype, device=device))
            for name, b in module._buffers.items():
                if b is not None:
                    module._buffers[name] = torch.empty(b.shape, dtype=b.dtype, device=device)
        return self

    nn.Module.to = to
    try:
        with FakeTensorMode(shape_env=ShapeEnv()):
            yield torch.device("lazy")
    finally:
        nn.Module.to = real_to
