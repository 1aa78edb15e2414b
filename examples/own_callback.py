"""Three callbacks of your own
===========================

One draws the norms of gradients by layer group, one ends a fit when the gap between training and validation grows, and
one keeps a count that goes on after an interruption as if there had been none::

    python examples/own_callback.py --out demo
"""

# %%
import argparse
import math
import shutil
from pathlib import Path
from typing import Any

import torch
from digits import write_digits  # next to this file
from matplotlib.figure import Figure
from torch import Tensor, nn

from learnkit import Callback, ImageDataBunch, Learner, TrainState
from learnkit.callbacks import Order
from learnkit.errors import StopFit

# %%
# Norms of gradients
# ------------------
# ``after_backward`` sees the gradients of the loss before they are clipped, in float16 too. The groups are those of the
# optimizer: each of its parameter groups has the number of its layer group. The numbers stay on the device until the
# fit ends: reading one would wait for a GPU.


class GradientNorms(Callback):
    """The norm of the gradients of each layer group, in each step."""

    def __init__(self) -> None:
        self.steps: list[Tensor] = []

    def before_fit(self, state: TrainState) -> None:
        self.steps.clear()

    def after_backward(self, state: TrainState) -> None:
        groups: dict[int, list[Tensor]] = {}
        for group in state.optimizer.param_groups:
            found = groups.setdefault(group["layer_group"], [])
            found += [p.grad.norm() for p in group["params"] if p.grad is not None]
        self.steps.append(torch.stack([torch.stack(groups[number]).norm() for number in sorted(groups)]))

    def plot(self, names: list[str]) -> Figure:
        """A line for each layer group."""
        figure = Figure(figsize=(7, 3.5), layout="constrained")
        ax = figure.add_subplot()
        for line, name in zip(torch.stack(self.steps).cpu().T, names, strict=True):
            ax.semilogy(line, label=name, linewidth=1)
        ax.set(xlabel="step", ylabel="norm of the gradient")
        ax.legend()
        return figure


# %%
# The gap between training and validation
# ---------------------------------------
# ``state.row`` is the epoch as the table shows it. The recorder writes it, so a callback that reads it has an `Order`
# after the recorder's. The training loss in it is smoothed over batches.


class StopAtGap(Callback):
    """Ends the fit when the loss of validation is above that of training by more than a share, twice in a row.

    Args:
        share: of the training loss.
    """

    order = Order.DECIDE

    def __init__(self, share: float) -> None:
        self.share, self.times = share, 0

    def before_fit(self, state: TrainState) -> None:
        self.times = 0

    def after_epoch(self, state: TrainState) -> None:
        gap = state.row["valid_loss"] / state.row["train_loss"] - 1
        self.times = self.times + 1 if gap > self.share else 0
        if self.times == 2:
            raise StopFit(f"the loss of validation is {gap:.0%} above that of training")

    def state_dict(self) -> dict[str, Any]:
        return {"times": self.times}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.times = saved["times"]


# %%
# What must survive an interruption
# ---------------------------------
# ``state_dict`` goes into each checkpoint, and comes back in a resumed fit, at the point where it was taken. A callback
# that changes and has none is named in a warning. A name in ``state.columns`` is a column of the table: it is given in
# ``before_fit``, and its number in ``after_epoch``.


class ItemsSeen(Callback):
    """How often each class was trained on: a column of the table, and a tensor (n_classes,)."""

    def __init__(self, n_classes: int) -> None:
        self.counts = torch.zeros(n_classes, dtype=torch.int64)

    def before_fit(self, state: TrainState) -> None:
        self.counts = torch.zeros_like(self.counts, device=state.compute.device)
        state.columns["seen"] = math.nan

    def after_batch(self, state: TrainState) -> None:
        self.counts += torch.bincount(state.targets, minlength=len(self.counts))

    def after_epoch(self, state: TrainState) -> None:
        state.columns["seen"] = int(self.counts.sum())

    def state_dict(self) -> dict[str, Any]:
        return {"counts": self.counts}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.counts.copy_(saved["counts"])


class PullThePlug(Callback):
    """Ctrl-C, once, after a step: for this example."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, state: TrainState) -> None:
        if state.step == self.step and not state.resumed:
            raise KeyboardInterrupt


# %%
# The job
# -------


def make_learner(dls: ImageDataBunch, out: Path) -> Learner:
    """A small network of three layer groups."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 16, 5, stride=2), nn.ReLU()),
        nn.Sequential(nn.Conv2d(16, 32, 5, stride=2), nn.ReLU(), nn.Flatten()),
        nn.Linear(32 * 4 * 4, dls.c),
    )
    return Learner(dls, model, metrics="accuracy", groups=list(model), path=out, seed=0)


def main() -> None:
    """Run the job; `--tiny` makes it a smoke test."""
    parser = argparse.ArgumentParser(description="Write three callbacks.")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="where data, pictures and checkpoints go")
    parser.add_argument("--tiny", action="store_true", help="few digits: does it run?")
    args = parser.parse_args()
    out: Path = args.out.resolve()
    every = ImageDataBunch.from_folder(write_digits(out / "digits"), valid_pct=0.5, size=28, channels=1, augment=False)
    few = every.samples.groupby(["split", "target"]).head(15 if args.tiny else 60)
    dls = ImageDataBunch.from_samples(few, size=28, channels=1, normalize="data", augment=False, bs=16, cache="memory")

    # %%
    # ``show_training`` says what a fit will do, and which callback acts in which hook.
    learn, norms = make_learner(dls, out), GradientNorms()
    callbacks = [norms, StopAtGap(0.5), ItemsSeen(dls.c)]
    print(learn.show_training(30, callbacks=callbacks))

    learn.fit(30, 2e-3, callbacks=callbacks)
    print(f"{len(learn.history)} of 30 epochs")
    norms.plot(["first convolution", "second convolution", "head"]).savefig(out / "gradients.png")
    learn.recorder.plot_losses().savefig(out / "losses.png")

    # %%
    # Interrupted in the second epoch, and continued by a new learner, as another process would: the counts and the
    # weights are those of a fit that nothing interrupted.
    shutil.rmtree(out / "models" / "checkpoints", ignore_errors=True)
    plug = PullThePlug(len(dls.train_dl) + 3)
    try:
        make_learner(dls, out).fit(2, 1e-3, callbacks=[ItemsSeen(dls.c), plug], checkpoint_every=2)
    except KeyboardInterrupt:
        print(f"interrupted after step {plug.step}")
    again, seen = make_learner(dls, out), ItemsSeen(dls.c)
    again.fit(2, 1e-3, callbacks=[seen, plug], checkpoint_every=2, resume="auto")
    whole, seen_by_whole = make_learner(dls, out / "whole"), ItemsSeen(dls.c)
    whole.fit(2, 1e-3, callbacks=seen_by_whole)
    pairs = zip(again.model.state_dict().values(), whole.model.state_dict().values(), strict=True)
    print("items seen after the interruption and without one:", int(seen.counts.sum()), int(seen_by_whole.counts.sum()))
    print("the same of each class:", torch.equal(seen.counts, seen_by_whole.counts))
    print("the same weights:", all(torch.equal(a, b) for a, b in pairs))


if __name__ == "__main__":
    main()

# sphinx_gallery_thumbnail_path = "questions/images/own-callback.png"
