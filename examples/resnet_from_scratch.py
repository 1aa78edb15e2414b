"""A ResNet-18 with two layers on top, and one of your own
=======================================================

torchvision's ResNet-18 with a head of two linear layers, the same network written out, Adam with a rate that falls step
by step, logs for TensorBoard, and the best weights in a file::

    python examples/resnet_from_scratch.py --out demo
"""

# %%
# The head and the network
# ------------------------
# ``custom_head=`` puts layers of yours on a body that is cut where its features end.

import argparse
from itertools import pairwise
from pathlib import Path

import torch
from digits import write_digits  # next to this file
from torch import Tensor, nn
from torch.optim import lr_scheduler

from learnkit import ImageDataBunch, Learner, cnn_learner
from learnkit.callbacks import Progress, SaveModel, TensorBoard, TorchScheduler
from learnkit.models import resnet18


def two_layers(n_classes: int) -> nn.Sequential:
    """The mean over space, 256 hidden units, and the classes."""
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, n_classes)
    )


# %%
# The same network written out: a residual block adds its input to what its two convolutions return. Where it halves
# the sides and doubles the channels, the input goes through a convolution of its own first.


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut: (N, n_in, H, W) -> (N, n_out, H / stride, W / stride)."""

    def __init__(self, n_in: int, n_out: int, stride: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(),
            nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False), nn.BatchNorm2d(n_out),
        )  # fmt: skip
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or n_in != n_out:
            self.shortcut = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.layers(x) + self.shortcut(x))


def own_resnet18(n_classes: int) -> nn.Sequential:
    """The stem, four stages of two blocks, and the head."""
    stem = nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    widths = [64, 64, 128, 256, 512]
    stages = [
        nn.Sequential(Block(n_in, n_out, 1 if n_in == n_out else 2), Block(n_out, n_out))
        for n_in, n_out in pairwise(widths)
    ]
    return nn.Sequential(stem, *stages, two_layers(n_classes))


# %%
# Training
# --------
# torch's Adam, and a rate that is multiplied by 0.9 every few epochs. `SaveModel` keeps the best weights on the disk
# and loads them when the fit ends. The loss of every tenth batch is printed, and of every epoch losses, accuracies and
# time; all of it is in ``learn.recorder`` and ``learn.history``.


def main() -> None:
    """Run the job; `--tiny` makes it a smoke test."""
    parser = argparse.ArgumentParser(description="Train a ResNet-18 with a head of two layers.")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="where data, logs and weights go")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--decay", type=float, default=0.9, help="what the rate is multiplied by")
    parser.add_argument("--decay-every", type=int, default=2, help="after how many epochs")
    parser.add_argument("--own", action="store_true", help="the network written out")
    parser.add_argument(
        "--pretrained", action="store_true", help="torchvision's network with its weights, fetched once"
    )
    parser.add_argument("--tiny", action="store_true", help="two epochs of a batch: does it run?")
    args = parser.parse_args()
    out: Path = args.out.resolve()
    dls = ImageDataBunch.from_folder(write_digits(out / "digits"), valid_pct=0.2, size=32, bs=args.batch_size)
    if args.own:
        learn = Learner(dls, own_resnet18(dls.c), opt_func="adam", metrics="accuracy", path=out, model_dir="model")
    else:
        learn = cnn_learner(
            dls, resnet18, pretrained=args.pretrained, custom_head=two_layers(dls.c), opt_func="adam",
            metrics="accuracy", path=out, model_dir="model",
        )  # fmt: skip
        learn.unfreeze()  # with weights, only the head would be trained
    print(learn.summary())

    falling = TorchScheduler(lambda opt: lr_scheduler.StepLR(opt, step_size=args.decay_every, gamma=args.decay))
    best = SaveModel("accuracy", name="best.pt")
    learn.fit(
        2 if args.tiny else args.epochs, args.lr, train_metrics=True, limit_batches=1 if args.tiny else None,
        callbacks=[falling, best, TensorBoard(out / "logs"), Progress(every=1 if args.tiny else 10)],
    )  # fmt: skip
    learn.recorder.plot_losses().savefig(out / "losses.png")
    learn.recorder.plot_metrics().savefig(out / "accuracy.png")
    print(f"the best weights: {out / 'model' / 'best.pt'}; logs: tensorboard --logdir {out / 'logs'}")


if __name__ == "__main__":
    main()

# sphinx_gallery_thumbnail_path = "questions/images/tensorboard.png"
