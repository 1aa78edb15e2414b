"""Key points of faces, left and right
===================================

Eyes and the mouth of drawn faces, found by a small network and judged by distance in pixels. A flip moves the points
and exchanges the left eye with the right one; an eye that is hidden is a missing point::

    python examples/key_points.py --out demo
"""

# %%
# The data
# --------
# A table of x and y in pixels of each image. An empty cell is a point that is not in the image: it counts neither in
# the loss nor in the metric.

import argparse
import math
import random
from pathlib import Path

import pandas as pd
import torch
from PIL import Image, ImageDraw
from torch import nn

from learnkit import ImageDataBunch, Learner, Points, load_learner
from learnkit.callbacks import OneCycle
from learnkit.transforms import Brightness, Flip, Rotate, Zoom

NAMES = ["left_eye", "right_eye", "mouth"]
COLUMNS = [f"{name}_{axis}" for name in NAMES for axis in "xy"]
SIZE = 64


def draw_face(draws: random.Random, width: int, height: int) -> tuple[Image.Image, dict[str, float]]:
    """A tilted face, with a patch at times over its left eye, and its points. The left eye is the one at the right."""
    image = Image.new("RGB", (width, height), draws.choice(["#6688aa", "#88aa66", "#aa8866", "#777788"]))
    pen, r = ImageDraw.Draw(image), draws.uniform(0.2, 0.32) * min(width, height)
    x, y, tilt = draws.uniform(1.2 * r, width - 1.2 * r), draws.uniform(1.2 * r, height - 1.2 * r), draws.gauss(0, 0.2)

    def place(right: float, down: float) -> tuple[float, float]:
        """Pixels of a place in the face, whose radius is 1."""
        return (
            x + r * (right * math.cos(tilt) - down * math.sin(tilt)),
            y + r * (right * math.sin(tilt) + down * math.cos(tilt)),
        )

    def disk(center: tuple[float, float], radius: float, color: str) -> None:
        """A disk, its radius in those of the face."""
        cx, cy = center
        pen.ellipse((cx - r * radius, cy - r * radius, cx + r * radius, cy + r * radius), fill=color)

    disk((x, y), 1, draws.choice(["#f0d0b0", "#c89870", "#8d5c3c"]))
    points = {"left_eye": place(0.4, -0.25), "right_eye": place(-0.4, -0.25), "mouth": place(0, 0.5)}
    for eye in ("left_eye", "right_eye"):
        disk(points[eye], 0.16, "white")
        disk(points[eye], 0.08, "black")
    pen.line([place(-0.35, 0.42), points["mouth"], place(0.35, 0.42)], fill="#aa2222", width=max(2, int(r * 0.12)))
    numbers = {
        f"{name}_{axis}": value for name, point in points.items() for axis, value in zip("xy", point, strict=True)
    }
    if draws.random() < 0.15:
        disk(points["left_eye"], 0.3, "#222222")
        numbers |= {"left_eye_x": math.nan, "left_eye_y": math.nan}
    return image, numbers


def draw_faces(folder: Path, n: int) -> Path:
    """Faces in three formats, and points.csv."""
    draws, rows = random.Random(0), []
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for number in range(n):
        image, points = draw_face(draws, *draws.choice([(96, 72), (80, 80), (72, 96)]))
        image.save(folder / "images" / f"{number:04d}.png")
        rows.append({"file": f"{number:04d}.png", **points})
    pd.DataFrame(rows).to_csv(folder / "points.csv", index=False)
    return folder


def make_network() -> nn.Sequential:
    """(N, 3, 64, 64) -> (N, 6): it keeps where something is, up to 4 x 4 places."""

    def layer(n_in: int, n_out: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(n_in, n_out, 3, 2, 1), nn.BatchNorm2d(n_out), nn.ReLU())

    return nn.Sequential(
        layer(3, 16), layer(16, 32), layer(32, 64), layer(64, 64), nn.Flatten(), nn.Linear(64 * 4 * 4, 2 * len(NAMES))
    )


def main() -> None:
    """Run the job; `--tiny` makes it a smoke test."""
    parser = argparse.ArgumentParser(description="Find the eyes and the mouth.")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="where data, pictures and the export go")
    parser.add_argument("--tiny", action="store_true", help="few faces, few epochs: does it run?")
    args = parser.parse_args()
    out: Path = args.out.resolve()
    folder = draw_faces(out / "faces", 120 if args.tiny else 1000)

    # %%
    # ``swaps`` names the points that change places in a mirror image: the left eye of a mirrored face is where its
    # right one was. So the left eye stays the one at the right. Names that speak of left or right, with a flip and
    # without ``swaps``, are refused.
    torch.manual_seed(0)
    dls = ImageDataBunch.from_csv(
        folder, "points.csv", folder="images", fn_col="file", label_col=COLUMNS,
        task=Points(NAMES, swaps=[("left_eye", "right_eye")]), size=SIZE, resize="squish",
        augment=[Flip(), Rotate(15), Zoom(), Brightness(0.2)], bs=32, seed=0,
    )  # fmt: skip
    dls.show_augmented(0).savefig(out / "augmented.png")
    eyes = torch.cat([points[:, :2, 0] for _, points in dls.train_dl])  # (items, 2): x of the left and the right one
    eyes = eyes[eyes.isfinite().all(1)]
    print(f"left eye at the right, in augmented images: {(eyes[:, 0] > eyes[:, 1]).float().mean():.0%}")

    # %%
    # The loss is the squared distance of the known points; the metric, their distance in pixels of what the model sees.
    learn = Learner(dls, make_network(), metrics="default", path=out, seed=0)
    learn.fit(8 if args.tiny else 30, 1e-2, callbacks=OneCycle())
    learn.show_results(rows=3).savefig(out / "found.png")
    interp = learn.interpret()
    interp.plot_top_losses(6).savefig(out / "worst.png")
    print(f"mean distance in pixels of {SIZE} x {SIZE}:", interp.distances().mean().round(2).to_dict())

    # %%
    # Of an image of another size, points are in pixels of that image: here four times as many.
    learn.export(out / "faces.lk")
    image, numbers = draw_face(random.Random(1), 384, 288)
    found = load_learner(out / "faces.lk", model=make_network()).predict(image)
    pen = ImageDraw.Draw(image)
    for name, (x, y) in zip(NAMES, found.label, strict=True):
        off = math.hypot(x - numbers[f"{name}_x"], y - numbers[f"{name}_y"])
        print(f"{name}: ({x:.0f}, {y:.0f}), {off:.1f} pixels of 384 x 288 off")
        pen.ellipse((x - 5, y - 5, x + 5, y + 5), outline="#00ffff", width=2)
    image.save(out / "large.png")


if __name__ == "__main__":
    main()

# sphinx_gallery_thumbnail_path = "questions/images/key-points.png"
