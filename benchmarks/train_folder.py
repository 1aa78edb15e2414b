"""Training from a folder, whole: a ResNet-18 on JPEG files at 64 pixels, learnkit against the loop one would write.

An epoch with its validation; flips; no workers, no progress bar.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision.models import resnet18

from benchmarks.harness import Case, Result, compare, options, report, result
from benchmarks.pipeline import write_photos
from learnkit import ImageDataBunch, Learner
from learnkit.transforms import IMAGENET, Flip

SIZE, LR, MOMENTUM, SEED = 64, 0.05, 0.9, 0
BASE, CONTROL = "by hand", "by hand (A/A control)"
GOALS = {"learnkit": 0.90, "learnkit, bf16 + channels last": 0.50}
COMPUTES_BF16 = ("AVX512", "SVE")  # elsewhere torch emulates it, many times slower than float32


def network() -> nn.Module:
    torch.manual_seed(SEED)
    return resnet18(num_classes=2)


def loaders(folder: Path, bs: int) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """The loaders of torchvision's own training scripts."""
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    end = [transforms.ToTensor(), transforms.Normalize(*IMAGENET)]
    resize = transforms.Resize((SIZE, SIZE))
    train = ImageFolder(str(folder / "train"), transforms.Compose([resize, transforms.RandomHorizontalFlip(), *end]))
    valid = ImageFolder(str(folder / "valid"), transforms.Compose([resize, *end]))
    return DataLoader(train, bs, shuffle=True, drop_last=True), DataLoader(valid, bs)


def by_hand(folder: Path, bs: int, *, bf16: bool = False) -> Case:
    """With `bf16`, under autocast and in channels-last memory format."""
    layout = torch.channels_last if bf16 else torch.contiguous_format

    def make() -> Callable[[], float]:
        model = network().to(memory_format=layout)
        optimizer = torch.optim.SGD(model.parameters(), LR, MOMENTUM)
        train_dl, valid_dl = loaders(folder, bs)

        def run() -> float:
            model.train()
            losses = torch.zeros(())
            for x, y in prepared(train_dl, layout):
                with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
                    preds = model(x)
                loss = F.cross_entropy(preds.float(), y)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                losses += loss.detach()
            float(losses)
            model.eval()
            n_right, n = torch.zeros(()), 0
            with torch.no_grad():
                for x, y in prepared(valid_dl, layout):
                    with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
                        preds = model(x)
                    losses += F.cross_entropy(preds.float(), y)
                    n_right += (preds.argmax(1) == y).sum()
                    n += len(y)
            float(losses)
            return float(n_right / n)

        return run

    return make


def prepared(batches: Iterable[Any], layout: torch.memory_format) -> Iterable[tuple[Tensor, Tensor]]:
    return ((x.contiguous(memory_format=layout), y) for x, y in batches)


def with_learnkit(folder: Path, bs: int, *, bf16: bool = False) -> Case:
    def make() -> Callable[[], float]:
        dls = ImageDataBunch.from_folder(
            folder, size=SIZE, bs=bs, resize="squish", augment=[Flip()], num_workers=0, device="cpu"
        )
        sgd = {"opt_func": lambda groups, lr: torch.optim.SGD(groups, lr, MOMENTUM), "wd": 0.0}
        learn = Learner(dls, network(), metrics="accuracy", seed=SEED, **sgd)
        if bf16:
            learn.to_channels_last().to_bf16()

        def run() -> float:
            learn.fit(1, LR)
            return float(learn.history["accuracy"].iloc[-1])

        return run

    return make


def results(arguments: Sequence[str] | None = None) -> list[Result]:
    """Print a table and write it to results/."""
    quick = {"rounds": 1, "warm_up": 0, "n": 16, "valid": 4, "bs": 8}
    args = options(__doc__, quick, arguments, rounds=3, warm_up=1, threads=1, n=512, valid=128, side=32, bs=64)
    torch.set_num_threads(args.threads)
    os.environ["LEARNKIT_PROGRESS"] = "off"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for split, n in (("train", args.n), ("valid", args.valid)):
            write_photos(folder / split, n, (args.side, args.side))
        cases = {
            BASE: by_hand(folder, args.bs),
            "learnkit": with_learnkit(folder, args.bs),
            CONTROL: by_hand(folder, args.bs),
        }
        if torch.backends.cpu.get_cpu_capability().startswith(COMPUTES_BF16):
            cases["by hand, bf16 + channels last"] = by_hand(folder, args.bs, bf16=True)
            cases["learnkit, bf16 + channels last"] = with_learnkit(folder, args.bs, bf16=True)
        else:
            print("This CPU does not compute in bfloat16: those cases are left out.")
        rows = compare(cases, rounds=args.rounds, warm_up=args.warm_up)
    unit, scale = "ms/image", 1e3 / args.n
    title = f"ResNet-18 at {SIZE} px from a folder, {args.threads} threads; the result is the accuracy"
    report(title, rows, BASE, name="train_folder", unit=unit, scale=scale)
    return [
        result(f"ResNet-18 at {SIZE} px, folder to epoch: {case}", rows, BASE, case, CONTROL,
               unit=unit, scale=scale, goal=GOALS[case], peers={"by hand": case.replace("learnkit", "by hand")})
        for case in GOALS if case in cases
    ]  # fmt: skip


if __name__ == "__main__":
    results()
