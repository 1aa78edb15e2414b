"""Masks of several classes, from streets or from drawings
=======================================================

A U-Net learns sky, ground, houses and a few cars, pixel by pixel. Pixels that nobody labeled are left out, rare classes
weigh more, and one image is predicted back at its own size, also by the exported file::

    python examples/segmentation.py --out demo

With ``LEARNKIT_CAMVID=FOLDER``, photos of streets are used instead of drawings: images/train, images/valid,
labels/.../NAME_P.png and codes.txt, as in CamVid.
"""

# %%
import argparse
import os
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor, nn

from learnkit import ImageDataBunch, load_learner, unet_learner
from learnkit.callbacks import OneCycle
from learnkit.losses import DiceLoss, balanced_weights, softmax
from learnkit.transforms import Brightness, Flip

CODES = ["sky", "ground", "house", "car"]
COLORS = ["#99bbdd", "#777766", "#bb7755", "#dd3333"]
VOID = 255  # the pixel value of what nobody labeled: edges of houses


def draw_street(draws: random.Random) -> tuple[Image.Image, Image.Image]:
    """A street of 120 x 90 pixels and its mask."""
    image, mask = Image.new("RGB", (120, 90)), Image.new("L", (120, 90))
    horizon = draws.randrange(45, 65)

    def box(corners: tuple[int, int, int, int], number: int, edge: bool = False) -> None:
        """A rectangle in both, with an edge that is void in the mask."""
        ImageDraw.Draw(image).rectangle(corners, fill=COLORS[number])
        ImageDraw.Draw(mask).rectangle(corners, fill=number, outline=VOID if edge else None)

    box((0, 0, 119, horizon), 0)
    box((0, horizon, 119, 89), 1)
    for _ in range(draws.randrange(1, 4)):
        x, width = draws.randrange(0, 95), draws.randrange(15, 40)
        box((x, horizon - draws.randrange(15, 40), x + width, horizon), 2, edge=True)
    if draws.random() < 0.6:
        x, y = draws.randrange(0, 100), draws.randrange(horizon, 80)
        box((x, y, x + 14, y + 7), 3)
    noise = np.random.default_rng(draws.randrange(2**32)).normal(0, 25, (90, 120, 3))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype("uint8")), mask


def draw_streets(folder: Path, n: int) -> Path:
    """n streets, every fourth to validate on, with the names of CamVid; written once."""
    if folder.exists():
        return folder
    draws = random.Random(0)
    for kind in ("images", "labels"):
        for split in ("train", "valid"):
            (folder / kind / split).mkdir(parents=True)
    for number in range(n):
        image, mask = draw_street(draws)
        split = "train" if number % 4 else "valid"
        image.save(folder / "images" / split / f"{number:03d}.jpg", quality=90)
        mask.save(folder / "labels" / split / f"{number:03d}_P.png")
    return folder


def mask_of(image: Path) -> str:
    """The mask of an image."""
    return str(image).replace("images", "labels").replace(".jpg", "_P.png")


# %%
# Rare classes
# ------------
# Two remedies: weights in the cross entropy, from the pixels of the training masks, and the Dice loss, for which each
# class counts alike. Their sum is a loss of your own; both leave the void out. With ``reduction`` it also tells the
# loss of each image, which the list of the worst ones needs.


def class_weights(dls: ImageDataBunch) -> Tensor:
    """The square root of what would balance the classes, whose rarest one is tiny: (n_classes,)."""
    pixels = torch.cat([masks.flatten() for _, masks in dls.fix_dl])
    return balanced_weights(pixels[pixels != dls.task.ignored], dls.c).sqrt()


class WeightedAndDice(nn.Module):
    """Cross entropy with weights, and the Dice loss: outputs (N, C, H, W), targets (N, H, W)."""

    def __init__(self, weights: Tensor, ignored: int) -> None:
        super().__init__()
        self.reduction = "mean"
        self.cross_entropy = nn.CrossEntropyLoss(weights, ignore_index=ignored, reduction="none")
        self.dice = DiceLoss(ignore_index=ignored, reduction="none")

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        losses = self.cross_entropy(outputs, targets).flatten(1).mean(1) + self.dice(outputs, targets)
        return losses.mean() if self.reduction == "mean" else losses


def main() -> None:
    """Run the job; `--tiny` makes it a smoke test."""
    parser = argparse.ArgumentParser(description="Find classes of pixels.")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="where data, pictures and the export go")
    parser.add_argument("--tiny", action="store_true", help="few images, one epoch: does it run?")
    args = parser.parse_args()
    out: Path = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    codes, void, folder = CODES, VOID, Path(os.environ.get("LEARNKIT_CAMVID", ""))
    if "LEARNKIT_CAMVID" in os.environ:
        codes = (folder / "codes.txt").read_text("utf-8").split()
        void = len(codes) - 1  # the last one, Unlabelled
        codes = codes[:void]
    else:
        folder = draw_streets(out / "streets", 24 if args.tiny else 96)
    dls = ImageDataBunch.from_folder_masks(
        folder, "images", mask_of, codes, ignore_index=void, size=(72, 96), resize="squish", bs=8,
        augment=[Flip(), Brightness(0.2)], cache="memory", seed=0,
    )  # fmt: skip
    dls.show_batch(rows=2).savefig(out / "batch.png")

    # %%
    # The task knows which target is that of the void.
    weights = class_weights(dls)
    print("weights:", {name: round(float(weight), 2) for name, weight in zip(dls.classes, weights, strict=True)})
    loss = WeightedAndDice(weights, dls.task.ignored)
    learn = unet_learner(
        dls, "shufflenet_v2_x0_5", pretrained=False, loss_func=loss, activation=softmax, metrics=["accuracy", "iou"],
        path=out, seed=0,
    )  # fmt: skip
    learn.fit(1 if args.tiny else 6, 5e-3, callbacks=OneCycle())
    learn.show_results(rows=2).savefig(out / "found.png")

    # %%
    # Which classes, and which images
    # -------------------------------
    interp = learn.interpret()
    print(interp.iou().round(3).to_string())
    print("taken for another (actual, predicted, pixels):", interp.most_confused()[:3])
    interp.plot_top_losses(3).savefig(out / "worst.png")
    print(interp.top_losses_table(3).to_string())

    # %%
    # One image, back at its own size
    # -------------------------------
    # ``predict`` answers at the size that the model sees. Probabilities are enlarged, not classes: edges stay smooth.
    # The exported file needs neither this script nor the loss.
    file = dls.samples.query("split == 'valid'")["input"].iloc[0]
    predictor = load_learner(learn.export(out / "streets.lk"))
    photo = Image.open(file)
    probs = predictor.predict(file).probs  # (C, 72, 96)
    large = F.interpolate(probs[None], photo.size[::-1], mode="bilinear")[0]
    mask = large.argmax(0).to(torch.uint8)
    print(f"{Path(file).name}: photo {photo.size[0]} x {photo.size[1]}, mask {mask.shape[1]} x {mask.shape[0]}")
    Image.fromarray(mask.numpy()).save(out / "mask.png")
    true = torch.from_numpy(np.array(Image.open(mask_of(file))))
    print(f"right of its labeled pixels: {(mask == true)[true != void].float().mean():.1%}")


if __name__ == "__main__":
    main()

# sphinx_gallery_thumbnail_path = "images/streets.png"
