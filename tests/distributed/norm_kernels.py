"""torch's kernels of synchronized batch norm, which it has for accelerators alone, written for the CPU.

With them torch's own layer runs, and sends and gets what it does elsewhere. Formulas: Ioffe and Szegedy: Batch
normalization, 2015, over the items of all processes.
"""

import pytest
import torch
from torch import Tensor, nn

from learnkit.distributed import parallel

Two = tuple[Tensor, Tensor]


def over_items(x: Tensor) -> Tensor:
    """(N, C, ...) -> (M, C): the numbers of each channel, of half precision as float32, as on CUDA."""
    return x.transpose(0, 1).flatten(1).t().to(torch.promote_types(x.dtype, torch.float32))


def along(values: Tensor, x: Tensor) -> Tensor:
    """One number per channel, in the axes of x."""
    return values.view(1, -1, *[1] * (x.ndim - 2))


def stats(x: Tensor, eps: float) -> Two:
    numbers = over_items(x)
    return numbers.mean(0), (numbers.var(0, unbiased=False) + eps).rsqrt()


def gather_stats(
    x: Tensor, means: Tensor, invstds: Tensor, running_mean: Tensor | None, running_var: Tensor | None,
    momentum: float, eps: float, counts: Tensor,
) -> Two:  # fmt: skip
    n, shares = counts.sum(), (counts / counts.sum())[:, None]
    mean = (shares * means).sum(0)
    variance = (shares * (invstds**-2 - eps + (means - mean) ** 2)).sum(0)
    if running_mean is not None and running_var is not None:
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(variance * n / (n - 1), momentum)
    return mean, (variance + eps).rsqrt()


def normalize(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, invstd: Tensor, eps: float
) -> Tensor:
    out = (x - along(mean, x)) * along(invstd, x)
    out = out if weight is None else out * along(weight, x)
    return (out if bias is None else out + along(bias, x)).to(x.dtype)


def backward_reduce(
    dy: Tensor, x: Tensor, mean: Tensor, invstd: Tensor, weight: Tensor | None, *needed: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    gradients = over_items(dy)
    total, with_x = gradients.sum(0), (gradients * (over_items(x) - mean)).sum(0)
    return total, with_x, with_x * invstd, total.clone()


def backward_normalize(
    dy: Tensor, x: Tensor, mean: Tensor, invstd: Tensor, weight: Tensor | None, total: Tensor, with_x: Tensor,
    counts: Tensor,
) -> Tensor:  # fmt: skip
    n = counts.sum()
    inner = dy - along(total / n, x) - (x - along(mean, x)) * along(invstd**2 * with_x / n, x)
    return (inner * along(invstd if weight is None else invstd * weight, x)).to(x.dtype)


KERNELS = {
    "batch_norm_stats": stats,
    "batch_norm_gather_stats_with_counts": gather_stats,
    "batch_norm_elemt": normalize,
    "batch_norm_backward_reduce": backward_reduce,
    "batch_norm_backward_elemt": backward_normalize,
}


def synchronize_on_the_cpu(patch: pytest.MonkeyPatch) -> torch.library.Library:
    """Let batch norm of several processes be synchronized on the CPU as on CUDA, as long as the result is kept."""
    library = torch.library.Library("aten", "IMPL", "CPU")
    for name, kernel in KERNELS.items():
        library.impl(name, kernel)
    of_torch = nn.SyncBatchNorm.forward

    def forward(layer: nn.SyncBatchNorm, x: Tensor) -> Tensor:
        with pytest.MonkeyPatch.context() as inside:  # one of the devices that torch's layer takes
            inside.setattr(torch._C, "_get_privateuse1_backend_name", lambda: "cpu")
            return of_torch(layer, x)

    patch.setattr(nn.SyncBatchNorm, "forward", forward)
    wrapper = nn.parallel.DistributedDataParallel
    patch.setattr(wrapper, "_passing_sync_batchnorm_handle", lambda self, module: None)  # it refuses the CPU
    patch.setattr(parallel, "SYNCHRONIZES", "cpu")
    return library
