"""An epoch of fit_head, on cached features, against one of fit with a frozen ResNet-18, in turn: A B A B.

    python -m benchmarks.head_features [--data DIR] [--n-views 4]

DIR holds train/CLASS and val/CLASS with images, such as the ants and bees of PyTorch's tutorial; without it, and then
without views, the images are random numbers.
"""

import os
import statistics
import time
from argparse import Namespace
from collections.abc import Sequence

import torch

from benchmarks.harness import Result, options
from learnkit import DataBunch, ImageDataBunch, Learner, cnn_learner

GOAL = 1 / 50


def images(args: Namespace) -> DataBunch:
    if args.data:
        return ImageDataBunch.from_folder(args.data, size=args.size, bs=args.bs, num_workers=0, device=args.device)
    torch.manual_seed(0)
    x, y = torch.rand(args.n, 3, args.size, args.size), torch.arange(args.n) % 10
    n_valid = args.n // 4
    return DataBunch.from_tensors(x, y, x[:n_valid], y[:n_valid], bs=args.bs, device=args.device)


def learner(args: Namespace) -> Learner:
    learn = cnn_learner(images(args), "resnet18", pretrained=False, train_bn=False, seed=0)
    learn.freeze()
    learn.fit(1, 1e-3)  # warm
    return learn


def results(arguments: Sequence[str] | None = None) -> list[Result]:
    """Print what was found."""
    quick = {"rounds": 1, "epochs": 1, "n": 40, "size": 32, "bs": 10}
    args = options(
        __doc__, quick, arguments, rounds=3, epochs=10, n=512, size=96, bs=64, threads=1, device="cpu", data="",
        n_views=1,
    )  # fmt: skip
    torch.set_num_threads(args.threads)
    os.environ["LEARNKIT_PROGRESS"] = "off"
    learn = learner(args)
    whole, head, first, controls = [], [], [], []
    for _ in range(args.rounds):
        learn.fit(1, 1e-3)
        whole.append(learn.history["time"].iloc[-1])
        begin = time.perf_counter()
        learn.fit_head(args.epochs, 1e-3, n_views=args.n_views)
        epochs = learn.history["time"].iloc[-args.epochs :]
        head.append(statistics.median(epochs))
        first.append(time.perf_counter() - begin - epochs.sum())
        learn.fit(1, 1e-3)
        controls.append(learn.history["time"].iloc[-1] / whole[-1])
    median, nan = statistics.median, float("nan")  # the history has no CPU times
    ratio = median(a / b for a, b in zip(head, whole, strict=True))
    n_items = len(learn.dls.train_ds)
    print(f"{n_items} images of {args.size} pixels, ResNet-18, {args.threads} threads, {args.rounds} rounds")
    print(f"an epoch of fit, the body frozen: {median(whole):.3f} s")
    print(f"an epoch of fit_head:             {median(head):.4f} s, 1 / {1 / ratio:.0f} of it; goal 1 / {1 / GOAL:.0f}")
    print(f"before its first epoch:           {median(first):.3f} s, once: each item of each view through the body")
    task, base = "an epoch of the head alone, ResNet-18", "fit, the body frozen"
    return [Result(task, median(head), "s", GOAL, base, median(whole), (ratio, nan), (median(controls), nan))]


if __name__ == "__main__":
    results()
