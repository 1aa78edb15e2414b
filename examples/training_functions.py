"""Every function of a training, in order
======================================

What an article on fastai's training part goes through, from the learner to its files, with the functions of learnkit:
one script in the order of such an article, each called once::

    python examples/training_functions.py --out demo
    LEARNKIT_PHOTOS=101_ObjectCategories python examples/training_functions.py --size 128 --arch resnet50 --out demo

Names that differ are in the table of :doc:`coming from fastai v1 </coming-from/fastai-v1>`.
"""

# %%
import argparse
import os
from pathlib import Path

import torch
from digits import write_digits  # next to this file
from losses_for_masks import draw_disks, mask_of
from torch import Tensor, nn

from learnkit import (
    ClassificationInterpretation,
    DataBunch,
    DatasetType,
    ImageDataBunch,
    Learner,
    cnn_learner,
    load_learner,
    metrics,
    models,
    unet_learner,
)
from learnkit.callbacks import (
    ActivationStats,
    BnFreeze,
    CSVLogger,
    EarlyStopping,
    GeneralScheduler,
    GradientClipping,
    Hooks,
    LRFinder,
    MixedPrecision,
    MixUp,
    OneCycle,
    PeakMemory,
    ReduceLROnPlateau,
    RNNRegularizer,
    SaveModel,
    ShowGraph,
    StopAfterNBatches,
    TensorBoard,
    TerminateOnNaN,
    TrainingPhase,
)

# %%
# The learner
# -----------
# A network of your own goes into `Learner`, a known one into `cnn_learner`, which cuts it, puts a head for the data's
# classes on it, and with pretrained weights freezes the rest. All arguments of the article are here, and what they are
# by default.


def learners(dls: ImageDataBunch, arch: str, out: Path) -> Learner:
    """A network written in PyTorch, and the learner that the rest of the script uses."""
    own = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, dls.c))
    print(Learner(dls, own, metrics="accuracy", path=out))
    learn = cnn_learner(
        dls, getattr(models, arch), cut=None, pretrained=False, lin_ftrs=None, ps=0.5, custom_head=None, split_on=None,
        bn_final=False, init="kaiming_normal_", concat_pool=True, metrics=[metrics.accuracy], path=out, seed=0,
    )  # fmt: skip
    print(f"{arch}: {len(learn.groups)} layer groups, head {[type(layer).__name__ for layer in learn.model[-1]]}")
    return learn


# %%
# fit, and its learning rates
# ---------------------------
# One per layer group, from a number or a slice.


def fits(learn: Learner, epochs: int, limit: int | None) -> None:
    """The three ways to say a rate, and a fit."""
    for lr in (3e-3, slice(1e-5, 1e-3), slice(3e-3)):
        print(f"lr={lr}: {[f'{rate:.0e}' for rate in learn.lr_range(lr)]}")
    learn.fit(epochs, lr=slice(None, 3e-3), wd=1e-2, callbacks=[], limit_batches=limit)
    print(learn.history.round(3).to_string(index=False))


# %%
# Metrics
# -------
# Functions of outputs and targets, or objects that add up batches: the r2 of a set is not the mean of those of its
# batches. A learner takes both, or their names.


def measures() -> None:
    """Three of them on tensors."""
    scores, classes = torch.tensor([[2.0, 1.0], [0.5, 3.0], [1.0, 0.0]]), torch.tensor([0, 1, 1])
    outputs, targets = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 3.0, 4.0])
    r2 = metrics.r2()
    for batch in (slice(0, 2), slice(2, 3)):
        r2.update(outputs[batch], targets[batch])
    print(f"accuracy {metrics.accuracy(scores, classes):.3f}")
    print(f"mse {metrics.mse(outputs, targets):.3f}, r2 {r2.compute():.3f}")


# %%
# Callbacks
# ---------
# All that the article lists. `Recorder` is in every learner.


def callbacks(learn: Learner, out: Path, limit: int) -> None:
    """Each in a short fit, and what it leaves."""
    finder = LRFinder(start_lr=1e-5, end_lr=1e-2, num_it=10)
    learn.fit(1, callbacks=[finder, StopAfterNBatches(12)])  # as a callback it trains
    print(f"LRFinder: {len(finder.lrs)} rates from {finder.lrs[0]:.0e} on")
    phases = GeneralScheduler([TrainingPhase(0.5, lr=(1e-4, 1e-3)), TrainingPhase(0.5, lr=(1e-3, 1e-5))])
    learn.fit(1, callbacks=[phases, MixUp(0.4), GradientClipping(1.0)], limit_batches=limit)
    first = next(name for name, layer in learn.model.named_modules() if isinstance(layer, nn.Conv2d))
    shapes = Hooks([first], lambda module, inputs, output: tuple(output.shape))
    stats = ActivationStats([first])
    learn.fit(1, 1e-4, callbacks=[shapes, stats, MixedPrecision("auto"), PeakMemory()], limit_batches=limit)
    print(f"Hooks: {first} returned {shapes.values[first]}; ActivationStats: {len(stats.stats)} batches")
    print(f"PeakMemory: {[name for name in learn.history.columns if 'mem' in name or 'peak' in name]}")
    watching = [
        EarlyStopping("valid_loss", patience=2),
        ReduceLROnPlateau("valid_loss"),
        SaveModel("accuracy", name="best"),
    ]
    writing = [CSVLogger(out / "log.csv"), TensorBoard(out / "logs"), TerminateOnNaN(), BnFreeze(), ShowGraph()]
    learn.fit(2, 1e-4, callbacks=[*watching, *writing], limit_batches=limit)
    print("SaveModel:", (out / "models" / "best.pth").exists())
    print("CSVLogger:", (out / "log.csv").read_text().splitlines()[0])


class Tagger(nn.Module):
    """A recurrent network for `RNNRegularizer`, fastai's RNNTrainer: in training it returns its hidden states too."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.drop, self.head = nn.GRU(4, 8, batch_first=True), nn.Dropout(0.2), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        raw, _ = self.rnn(x)  # (N, T, 8)
        dropped = self.drop(raw)
        output = self.head(dropped[:, -1])
        return (output, raw, dropped) if self.training else output


def recurrent(out: Path) -> None:
    """Which of two halves of a sequence is larger."""
    x = torch.randn(256, 6, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, :3].sum((1, 2)) > x[:, 3:].sum((1, 2))).long()
    learn = Learner(DataBunch.from_tensors(x[:192], y[:192], x[192:], y[192:]), Tagger(), metrics="accuracy", path=out)
    learn.fit(3, 1e-2, callbacks=RNNRegularizer(alpha=2.0, beta=1.0))


# %%
# The recorder, lr_find, and one cycle
# ------------------------------------


def one_cycle(learn: Learner, out: Path, epochs: int, limit: int | None) -> None:
    """Look for a rate, train with a cycle, and draw what was recorded."""
    print(learn.lr_find(start_lr=1e-7, end_lr=10, num_it=30, stop_div=True))
    learn.recorder.plot().savefig(out / "lr_find.png")
    cycle = OneCycle(lr_max=1e-2, moms=(0.95, 0.85), div_factor=25.0, pct_start=0.3, final_div=None)
    learn.fit(epochs, lr=3e-4, callbacks=[cycle], limit_batches=limit)
    learn.recorder.plot_losses().savefig(out / "losses.png")
    learn.recorder.plot_lr().savefig(out / "rates.png")


# %%
# Predictions
# -----------
# Of one item, of a batch, of a part of the data; results without predictions; and images with them.


def predictions(learn: Learner, out: Path) -> None:
    """Everything that a learner answers."""
    print("predict:", learn.predict(learn.data.train_ds[0][0])[:2])  # (label, index, probabilities)
    print("pred_batch:", tuple(learn.pred_batch(DatasetType.Valid).shape))
    preds, targets, losses = learn.get_preds(ds_type=DatasetType.Valid, activ=None, with_loss=True, n_batch=None)
    print(f"get_preds: {tuple(preds.shape)}, {tuple(targets.shape)}, {tuple(losses.shape)}")
    print("validate:", learn.validate(learn.data.valid_dl, metrics=["accuracy", "f1"]))
    learn.show_results(ds_type=DatasetType.Train, rows=2).savefig(out / "results.png")


def interpretations(learn: Learner, out: Path) -> ClassificationInterpretation:
    """What it gets wrong."""
    interp = ClassificationInterpretation.from_learner(learn)  # or learn.interpret()
    values, places = interp.top_losses(4)
    print("top_losses:", [round(value, 2) for value in values.tolist()], places.tolist())
    interp.plot_top_losses(4).savefig(out / "top_losses.png")
    print("confusion_matrix:", tuple(interp.confusion_matrix().shape))
    interp.plot_confusion_matrix().savefig(out / "confusion_matrix.png")
    return interp


def masks(out: Path, epochs: int) -> None:
    """`unet_learner`, and the interpretation of masks: `interpret` chooses it by the task."""
    folder = draw_disks(out / "disks", 12 if epochs == 1 else 60)
    codes = {0: "ground", 255: "disk"}
    dls = ImageDataBunch.from_folder_masks(folder, "images", mask_of, codes, size=48, bs=4, valid_pct=0.25)
    learn = unet_learner(dls, "squeezenet1_1", pretrained=False, path=out, seed=0)
    learn.fit(epochs, 1e-3)
    interp = learn.interpret()
    print(f"{type(interp).__name__}: {interp.confusion_matrix().tolist()}")


# %%
# Files
# -----
# `save` writes weights, and those of the optimizer, below the learner's path; `export` all that predicting takes.


def files(learn: Learner, out: Path) -> None:
    """Saved, loaded, exported, and loaded again."""
    file = learn.save("stage-1", return_path=True, with_opt=True)
    before = learn.validate()
    learn.fit(1, 1e-2, limit_batches=2)
    learn.load("stage-1", strict=True, with_opt=True)
    print(f"save and load: {file.relative_to(out)}, the same results {learn.validate() == before}")
    item = learn.data.samples.query("split == 'valid'")["input"].iloc[0]
    again = load_learner(learn.export(out / "export.lk"))
    print(f"export and load_learner: the same label {again.predict(item).label == learn.predict(item).label}")


def main() -> None:
    """Run them all; `--tiny` makes it a smoke test."""
    parser = argparse.ArgumentParser(description="Call every function of a training once.")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="where data, pictures and weights go")
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--tiny", action="store_true", help="one epoch of few batches: does it run?")
    args = parser.parse_args()
    out: Path = args.out.resolve()
    folder = Path(os.environ.get("LEARNKIT_PHOTOS") or write_digits(out / "digits"))
    epochs, limit = (1, 3) if args.tiny else (3, None)
    dls = ImageDataBunch.from_folder(folder, valid_pct=0.2, size=args.size, augment=False)
    learn = learners(dls, args.arch, out)
    fits(learn, epochs, limit)
    measures()
    callbacks(learn, out, 2 if args.tiny else 10)
    recurrent(out)
    one_cycle(learn, out, epochs, limit)
    predictions(learn, out)
    interpretations(learn, out)
    masks(out, epochs)
    files(learn, out)


if __name__ == "__main__":
    main()

# sphinx_gallery_thumbnail_path = "tutorials/images/tutorial/10.png"
