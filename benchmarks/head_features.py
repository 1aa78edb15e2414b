"""An epoch of fit_head, on cached features, against one of fit with a frozen ResNet-18, in turn: A B A B."""

import argparse
import os
import statistics
import time

import torch

from learnkit import DataBunch, Learner, cnn_learner


def learner(args: argparse.Namespace) -> Learner:
    torch.manual_seed(0)
    x, y = torch.rand(args.n, 3, args.size, args.size), torch.arange(args.n) % 10
    n_valid = args.n // 4
    dls = DataBunch.from_tensors(x, y, x[:n_valid], y[:n_valid], bs=args.bs, device=args.device)
    learn = cnn_learner(dls, "resnet18", pretrained=False, train_bn=False, seed=0)
    learn.freeze()
    learn.fit(1, 1e-3)  # warm
    return learn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10, help="of fit_head")
    parser.add_argument("--n", type=int, default=512)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--bs", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    os.environ["LEARNKIT_PROGRESS"] = "off"
    learn = learner(args)
    whole, head, first = [], [], []
    for _ in range(args.rounds):
        learn.fit(1, 1e-3)
        whole.append(learn.history["time"].iloc[-1])
        begin = time.perf_counter()
        learn.fit_head(args.epochs, 1e-3)
        epochs = learn.history["time"].iloc[-args.epochs :]
        head.append(statistics.median(epochs))
        first.append(time.perf_counter() - begin - epochs.sum())
    ratio = statistics.median(a / b for a, b in zip(whole, head, strict=True))
    print(f"{args.n} images of {args.size} pixels, ResNet-18, {args.threads} threads, {args.rounds} rounds")
    print(f"an epoch of fit, the body frozen: {statistics.median(whole):.3f} s")
    print(f"an epoch of fit_head:             {statistics.median(head):.4f} s, so {ratio:.0f} times as fast")
    print(f"before its first epoch:           {statistics.median(first):.3f} s, once: each item through the body")


if __name__ == "__main__":
    main()
