"""Four losses for masks, and half precision
=========================================

A U-Net finds disks in drawings, trained with Dice, Dice and cross entropy, IoU and focal loss in turn; each is compared
by the same Dice score, and the last one also in bfloat16::

    python examples/losses_for_masks.py --out demo
"""

# %%
import argparse
import random
from pathlib import Path

from PIL import Image, ImageDraw

from learnkit import ImageDataBunch, unet_learner
from learnkit.callbacks import TorchScheduler
from learnkit.losses import DiceBCELoss, DiceLoss, FocalLoss, IoULoss

SIZE = 48


def draw_disks(folder: Path, n: int) -> Path:
    """Drawings of disks and squares, and masks of 255 where a disk is, written once."""
    if folder.exists():
        return folder
    draws = random.Random(0)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for number in range(n):
        image, mask = Image.new("RGB", (SIZE, SIZE), "#446644"), Image.new("L", (SIZE, SIZE), 0)
        x, y, r = draws.randrange(10, 38), draws.randrange(10, 38), draws.randrange(4, 9)
        corner = draws.randrange(2, 30), draws.randrange(2, 30)
        ImageDraw.Draw(image).rectangle((*corner, corner[0] + 12, corner[1] + 12), fill="#ddbb44")
        for picture, color in ((image, "#ddbb44"), (mask, 255)):
            ImageDraw.Draw(picture).ellipse((x - r, y - r, x + r, y + r), fill=color)
        image.save(folder / "images" / f"{number:03d}.png")
        mask.save(folder / "masks" / f"{number:03d}.png")
    return folder


def mask_of(image: str) -> str:
    """The mask of an image."""
    return str(image).replace("images", "masks")


# %%
# One output for two classes: ``binary=True`` makes the targets of 0 and 1 that these losses take. The focal loss also
# takes the weight of the rare class.

LOSSES = {
    "Dice": DiceLoss(),
    "Dice and cross entropy": DiceBCELoss(),
    "IoU": IoULoss(),
    "focal": FocalLoss(alpha=0.8, gamma=2.0),
}


def main() -> None:
    """Run the job; `--tiny` makes it a smoke test."""
    parser = argparse.ArgumentParser(description="Compare losses for masks.")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="where data and pictures go")
    parser.add_argument("--tiny", action="store_true", help="one epoch, few images: does it run?")
    args = parser.parse_args()
    out: Path = args.out.resolve()
    folder = draw_disks(out / "disks", 12 if args.tiny else 120)
    dls = ImageDataBunch.from_folder_masks(
        folder, "images", mask_of, {0: "ground", 255: "disk"}, binary=True, size=SIZE, bs=8, valid_pct=0.25
    )
    dls.show_batch(rows=2).savefig(out / "disks.png")
    found = {}
    for name, loss in LOSSES.items():
        learn = unet_learner(
            dls, "squeezenet1_1", pretrained=False, loss_func=loss, metrics=["dice", "iou"], path=out, seed=0
        )
        warm_up = TorchScheduler(lambda epoch: min(1.0, (epoch + 1) / 3))  # a scheduler of your own: a function
        learn.fit(1 if args.tiny else 12, 2e-3, callbacks=warm_up)
        found[name] = learn.history["dice"].iloc[-1]
    learn.show_results(rows=2).savefig(out / "found.png")

    # %%
    # Half precision: one line. Weights and losses stay in float32.
    learn.to_bf16()
    print("focal, computed in bfloat16:", [round(value, 3) for value in learn.validate()])
    for name, dice in found.items():
        print(f"{name}: Dice score {dice:.3f}")


if __name__ == "__main__":
    main()

# sphinx_gallery_thumbnail_path = "questions/images/masks-of-0-and-255.png"
