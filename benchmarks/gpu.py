"""A GPU in a few minutes, with nothing to fetch: the loop, a ResNet-50 on photos, and CIFAR-10, against loops by hand.

    python -m benchmarks.gpu [--cifar DIR] [--device cuda] [--only loop,resnet50,cifar] [--quick]

DIR holds CIFAR-10 as `examples/cifar10.py` takes it. Without it, noise of the same size is trained on: its speed means
what it says, its accuracy nothing.
"""

import os
import time
from argparse import Namespace
from collections.abc import Sequence

import torch

from benchmarks import gpu_cifar, gpu_resnet50, loop_overhead
from benchmarks.harness import Result, compare, options, report, result, table

GOAL = 1.02


def loop(args: Namespace) -> list[Result]:
    """The cost of a step of an MLP whose kernels take less time than their launches."""
    random = torch.Generator().manual_seed(0)
    n = args.rows
    x, y = torch.rand(n, 784, generator=random), torch.arange(n) % 10
    data = loop_overhead.Digits(x, y, x[: n // 4], y[: n // 4])
    base, control, ours = loop_overhead.BASE, loop_overhead.CONTROL, "learnkit"
    cases = {
        base: loop_overhead.by_hand_same_loader(data, args.epochs, args.device),
        ours: loop_overhead.with_learnkit(data, args.epochs, quiet=True, device=args.device),
        control: loop_overhead.by_hand_same_loader(data, args.epochs, args.device),
    }
    rows = compare(cases, rounds=args.rounds)
    unit, scale = "µs", 1e6 / (args.epochs * (n // loop_overhead.BATCH_SIZE))
    report("A step of an MLP", rows, base, name="gpu_loop", unit=unit, scale=scale)
    return [result("training loop: a step of an MLP", rows, base, ours, control, unit=unit, scale=scale, goal=GOAL)]


PARTS = {"loop": loop, "resnet50": gpu_resnet50.results_of, "cifar": gpu_cifar.results_of}


def name_of(device: str) -> str:
    """The card."""
    place = torch.device(device)
    return torch.cuda.get_device_name(place) if place.type == "cuda" else place.type


def results(arguments: Sequence[str] | None = None) -> list[Result]:
    """Print a table per part, and one of all ratios."""
    quick = {
        "rounds": 1, "rows": 128, "epochs": 1,
        "photos": 8, "arch": "resnet18", "bs": 4, "size": 32, "workers": 0, "compile": 0,
        "cifar_rows": 100, "cifar_epochs": 1, "cifar_bs": 10, "width": 8,
    }  # fmt: skip
    args = options(
        __doc__, quick, arguments, device="cuda", only=",".join(PARTS), rounds=3, rows=8000, epochs=3,
        photos=2048, arch="resnet50", bs=128, size=224, workers=os.cpu_count() or 1, compile=1,
        cifar="", cifar_rows=50_000, cifar_epochs=24, cifar_bs=512, width=64,
    )  # fmt: skip
    os.environ["LEARNKIT_PROGRESS"] = "off"
    started, found = time.perf_counter(), []
    print(f"{name_of(args.device)}, torch {torch.__version__}", end="\n\n")
    for part in args.only.split(","):
        found += PARTS[part](args)
    print(f"{name_of(args.device)}, torch {torch.__version__}, {time.perf_counter() - started:.0f} s", end="\n\n")
    print(table(found))
    return found


if __name__ == "__main__":
    results()
