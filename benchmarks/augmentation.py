"""What augmenting a training batch costs: 64 images of 224 x 224, learnkit against fastai and torchvision."""

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.harness import Case, Result, compare, options, report, result
from learnkit.data.augment.pipeline import Augmentation
from learnkit.data.augment.presets import resolve_augment

LEARNKIT, FASTAI, TORCHVISION = "learnkit, augment=True", "fastai, aug_transforms()", "torchvision v2, one by one"
IN_PLACE = f"{LEARNKIT}, in place"
GOALS = {FASTAI: 0.15}


def images(n: int, size: int) -> Tensor:
    """Smooth noise in [0, 1], float32 (n, 3, size, size)."""
    coarse = torch.rand(n, 3, size // 8, size // 8, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, size=(size, size), mode="bilinear")


def chosen(augment: Any, size: int) -> Augmentation:
    augmentation = resolve_augment(augment, (size, size))[1]
    assert augmentation is not None
    return augmentation


def with_learnkit(augment: Any, x: Tensor, n_batches: int, *, in_place: bool = False) -> Case:
    augmentation, indices = chosen(augment, x.shape[-1]), torch.arange(len(x))

    def make() -> Callable[[], float]:
        batches = [x.clone(memory_format=torch.preserve_format) if in_place else x for _ in range(n_batches)]

        def run() -> float:
            for epoch, batch in enumerate(batches):
                out, _ = augmentation(batch, 0, epoch, indices, in_place=in_place)
            return float(out.mean())

        return run

    return make


def with_fastai(x: Tensor, n_batches: int, **options: Any) -> Case:
    from fastai.vision.all import Pipeline, TensorImage, aug_transforms

    transforms, batch = Pipeline(aug_transforms(**options), split_idx=0), TensorImage(x)
    return lambda: lambda: [float(transforms(batch).mean()) for _ in range(n_batches)][-1]


def with_torchvision(x: Tensor, n_batches: int) -> Case:
    from torchvision.transforms import InterpolationMode, v2

    turn = v2.RandomAffine(10, scale=(1.0, 1.1), interpolation=InterpolationMode.BILINEAR)
    transforms = v2.Compose([turn, v2.RandomHorizontalFlip(), v2.ColorJitter(brightness=0.2, contrast=0.2)])
    return lambda: lambda: [float(torch.stack([transforms(one) for one in x]).mean()) for _ in range(n_batches)][-1]


def results(arguments: Sequence[str] | None = None) -> list[Result]:
    """Print a table and write it to results/."""
    quick = {"rounds": 1, "batches": 1, "bs": 4, "size": 64}
    args = options(__doc__, quick, arguments, rounds=9, batches=2, threads=1, bs=64, size=224)
    torch.set_num_threads(args.threads)
    x, n = images(args.bs, args.size), args.batches
    by_pixel = x.contiguous(memory_format=torch.channels_last)  # the layout of decoded images
    no_tilt = [transform for transform in chosen(True, args.size).transforms if type(transform).__name__ != "Warp"]
    cases = {
        LEARNKIT: with_learnkit(True, x, n),
        IN_PLACE: with_learnkit(True, x, n, in_place=True),
        "learnkit, augment=True, channels last": with_learnkit(True, by_pixel, n),
        "learnkit, without Warp": with_learnkit(no_tilt, x, n),
        'learnkit, augment="light"': with_learnkit("light", x, n),
        TORCHVISION: with_torchvision(x, n),
    }
    base = TORCHVISION
    if importlib.util.find_spec("fastai"):
        base = FASTAI
        cases |= {FASTAI: with_fastai(x, n), "fastai, without warp": with_fastai(x, n, max_warp=0.0)}
    control = f"{base} (A/A control)"
    cases[control] = cases[base]
    shape = f"{args.bs} × 3 × {args.size} × {args.size}"
    rows = compare(cases, rounds=args.rounds)
    title = f"Augmenting {shape} floats, {args.threads} threads; the result is the mean"
    unit, scale = "ms/batch", 1e3 / n
    report(title, rows, base, name=f"augmentation_{args.threads}", unit=unit, scale=scale)
    return [
        result(f"augmenting a batch, {shape}, as the loader calls it", rows, base, IN_PLACE, control,
               unit=unit, scale=scale, goal=GOALS.get(base), peers={"torchvision v2": TORCHVISION}),
    ]  # fmt: skip


if __name__ == "__main__":
    results()
