"""Changing a network of torchvision, saving it both ways, and one picture from the web
====================================================================================

A VGG-16 that ends in a thousand classes gets ten of yours in two ways, is trained, saved in both ways that PyTorch has
and in learnkit's, and predicts an image with transparency::

    python examples/surgery_and_saving.py --out demo

``--data FOLDER`` takes CIFAR-10 or anything else, a folder per class; without it, it draws ten kinds of shapes.
"""

# %%
import argparse
import random
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import nn

from learnkit import ImageDataBunch, Learner, load_learner
from learnkit.callbacks import SaveModel, TensorBoard
from learnkit.models import append_layer, replace_layer, vgg16
from learnkit.splits import StratifiedSplit

COLORS = ["crimson", "navy", "seagreen", "gold", "purple"]


def draw_shapes(folder: Path, n: int) -> Path:
    """Disks and squares in five colors, a folder each, n of each, written once."""
    if folder.exists():
        return folder
    draws = random.Random(0)
    for shape in ("disk", "square"):
        for color in COLORS:
            place = folder / f"{color} {shape}"
            place.mkdir(parents=True)
            for number in range(n):
                draw_one(shape, color, draws, "RGB").save(place / f"{number:03d}.png")
    return folder


def draw_one(shape: str, color: str, draws: random.Random, mode: str) -> Image.Image:
    """One of them, on gray, or on nothing in mode RGBA."""
    image = Image.new(mode, (32, 32), (128, 128, 128) if mode == "RGB" else (0, 0, 0, 0))
    x, y, side = draws.randrange(2, 10), draws.randrange(2, 10), draws.randrange(12, 20)
    pen = ImageDraw.Draw(image)
    (pen.ellipse if shape == "disk" else pen.rectangle)((x, y, x + side, y + side), fill=color)
    return image


# %%
# Two ways to ten classes
# -----------------------
# Append a layer after the last one, or put another in its place. Names are those of ``model.named_modules()``.


def with_one_more(n_classes: int) -> nn.Module:
    """VGG-16 with a layer from its thousand outputs to ours."""
    model = vgg16(weights=None)
    append_layer(model, "classifier", nn.Linear(1000, n_classes), name="add_linear")
    return model


def with_another_last(n_classes: int) -> nn.Module:
    """VGG-16 whose last layer has our outputs."""
    model = vgg16(weights=None)
    replace_layer(model, "classifier.6", nn.Linear(4096, n_classes))
    return model


# %%
# A small network of our own trains in seconds where a VGG takes hours without a GPU.


def small_network(n_classes: int) -> nn.Sequential:
    """Three convolutions of 5 x 5: (N, 3, 32, 32) -> (N, n_classes)."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 5, padding=2), nn.MaxPool2d(2), nn.Conv2d(32, 32, 5, padding=2), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64 * 4 * 4, 64),
        nn.Linear(64, n_classes),
    )  # fmt: skip


def main() -> None:
    """Run the job; `--tiny` makes it a smoke test."""
    parser = argparse.ArgumentParser(description="Change, train, save, load and try a network.")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="where data, logs and weights go")
    parser.add_argument("--data", type=Path, help="a folder of images, one folder per class")
    parser.add_argument("--vgg", action="store_true", help="train the VGG-16: slow without a GPU")
    parser.add_argument("--device", help="cuda, mps or cpu; the accelerator, if there is one")
    parser.add_argument("--tiny", action="store_true", help="one epoch, few batches: does it run?")
    args = parser.parse_args()
    out: Path = args.out.resolve()
    data = args.data or draw_shapes(out / "shapes", 20 if args.tiny else 100)
    dls = ImageDataBunch.from_folder(
        data, split=StratifiedSplit(0.2), size=32, augment=False, device=args.device
    )  # batches, network and loss meet on this device
    print(f"{len(dls.train_ds)} images for training, {len(dls.valid_ds)} for validation, on {dls.device}")
    print("64 inputs give", tuple(small_network(dls.c)(torch.ones(64, 3, 32, 32)).shape))

    if not args.tiny:  # 138 million weights each
        for model in (with_one_more(dls.c), with_another_last(dls.c)):
            print(model.classifier)
    network = with_another_last(dls.c) if args.vgg else small_network(dls.c)
    learn = Learner(dls, network, opt_func="sgd", metrics="accuracy", path=out, seed=0)
    learn.fit(
        1 if args.tiny else 8, 0.05, limit_batches=2 if args.tiny else None,
        callbacks=[TensorBoard(out / "logs"), SaveModel(every="epoch", name="shapes")],  # models/shapes_0.pth, ...
    )  # fmt: skip
    print(f"loss and accuracy of the validation set: {learn.validate()}")

    # %%
    # Saving
    # ------
    # The whole module is a pickle: loading it runs code from the file, so never take one from strangers. Its weights
    # alone are safe, and need the network. An export has classes and preprocessing too, and answers as the learner did.
    torch.save(learn.model, out / "method1.pth")
    model = torch.load(out / "method1.pth", weights_only=False, map_location="cpu")
    torch.save(learn.model.state_dict(), out / "method2.pth")
    model.load_state_dict(torch.load(out / "method2.pth", weights_only=True, map_location="cpu"))
    learn.export(out / "shapes.lk")

    # %%
    # One picture
    # -----------
    # With transparency, another size, from any machine: `predict` prepares it as the data was. By hand the network, a
    # plain module on the CPU, takes the batch of one that `prepare` makes.
    draw_one("disk", "navy", random.Random(1), "RGBA").resize((200, 150)).save(out / "from-the-web.png")
    again = load_learner(out / "shapes.lk", model=small_network(dls.c) if not args.vgg else network)
    label, index, probs = again.predict(out / "from-the-web.png")
    print(f"{label}: {probs[index]:.0%}")
    x = dls.prepare(out / "from-the-web.png").cpu()  # (1, 3, 32, 32)
    with torch.no_grad():
        output = model.eval()(x)
    print("by hand:", dls.classes[output.argmax(1)])


if __name__ == "__main__":
    main()

# sphinx_gallery_thumbnail_path = "questions/images/save-and-load.png"
