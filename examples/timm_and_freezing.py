"""Networks of timm, frozen layers, and rates for each
===================================================

Look through timm's networks, give one other inputs and outputs, train it on six digits, and then the last layers of it
on the other four: by hand, and with ``cnn_learner``. Then in half precision, and from a file::

    pip install "learnkit[examples,timm]"
    python examples/timm_and_freezing.py --out demo

Nothing is downloaded: the network that is fine-tuned is the one that was trained on the six digits. With published
weights it is ``cnn_learner(dls, "timm/resnet34")``.
"""

# %%
import argparse
from pathlib import Path

import timm
import torch
from digits import write_digits  # next to this file
from torch import Tensor, nn

from learnkit import ImageDataBunch, Learner, cnn_learner, models
from learnkit.models import find_layer, get_pretrained_cfg, replace_layer

ARCH = "resnet10t"

# %%
# Which networks there are
# ------------------------
# timm lists its own; all of them can be called ``"timm/NAME"`` here. Those of torchvision are in ``learnkit.models``.

OF_TORCHVISION = (
    "resnet18", "alexnet", "squeezenet1_0", "vgg16", "densenet161", "inception_v3", "googlenet", "shufflenet_v2_x1_0",
    "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "resnext50_32x4d", "wide_resnet50_2", "mnasnet1_0",
)  # fmt: skip


def look_around() -> None:
    """Print names, what a network was trained with, and how large those of torchvision are."""
    print(f"{len(timm.list_models(pretrained=True))} networks of timm have weights; densenets are")
    print("  " + ", ".join(timm.list_models("*densenet*")))
    cfg = timm.create_model("resnet34", num_classes=10).default_cfg
    print("resnet34:", {name: cfg[name] for name in ("input_size", "interpolation", "mean", "std", "classifier")})
    print("for the data, ImageDataBunch.from_folder(..., **options):", get_pretrained_cfg("timm/resnet34").options)
    for name in OF_TORCHVISION:
        with torch.device("meta"):  # shapes without memory
            model = getattr(models, name)(weights=None)
        print(f"  {name}: {sum(p.numel() for p in model.parameters()) / 1e6:.1f} million parameters")


# %%
# Other inputs and outputs
# ------------------------
# ``num_classes`` and ``in_chans`` are timm's own arguments. ``find_layer`` and ``replace_layer`` take the names of
# ``model.named_modules()``.


def change_parts() -> None:
    """A network of a thousand classes and three channels, changed step by step."""
    x = torch.randn(1, 3, 64, 64)
    model = timm.create_model(ARCH).eval()
    print("a thousand classes:", tuple(model(x).shape))
    print("its first convolution:", find_layer(model, "conv1.0"))
    print("ten classes:", tuple(timm.create_model(ARCH, num_classes=10).eval()(x).shape))
    gray = timm.create_model(ARCH, num_classes=10, in_chans=1).eval()
    print("ten classes of gray images:", tuple(gray(x[:, :1]).shape))
    replace_layer(model, "fc", nn.Sequential(nn.Dropout(0.2), nn.Linear(model.num_features, 10)))
    print("another last layer:", tuple(model(x).shape), find_layer(model, "fc"))


# %%
# Freezing by hand
# ----------------
# What has no gradient is not trained, by a loop of your own or by a learner. A new layer has one. Note what this does
# not freeze: batch norm goes on to average its inputs.


def set_parameter_requires_grad(model: nn.Module, feature_extracting: bool) -> None:
    """Freeze everything that is there now."""
    if feature_extracting:
        for param in model.parameters():
            param.requires_grad = False


def frozen_by_hand(weights: Path, n_classes: int) -> nn.Module:
    """The network of the file with a new last layer, the only one to be trained."""
    model = timm.create_model(ARCH, num_classes=6, in_chans=1)
    model.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))
    set_parameter_requires_grad(model, feature_extracting=True)
    replace_layer(model, "fc", nn.Linear(model.num_features, n_classes))
    return model


# %%
# Half precision by hand
# ----------------------
# ``autocast`` around the forward pass, as a decorator or a ``with``. A learner does it with one call, in training,
# validation and predictions alike; on a GPU, float16 gets its scaled gradients too.


class InHalf(nn.Module):
    """A network whose forward pass is computed in bfloat16."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @torch.autocast("cpu", dtype=torch.bfloat16)
    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)  # type: ignore[no-any-return]


# %%
# All of it
# ---------


def some(every: ImageDataBunch, digits: str, n: int) -> ImageDataBunch:
    """The first n images of some digits for training, and as many for validation at most."""
    rows = every.samples[every.samples["target"].isin(list(digits))].groupby(["split", "target"]).head(n)
    return ImageDataBunch.from_samples(
        rows, classes=list(digits), size=32, channels=1, augment=False, bs=32, device="cpu"
    )


def of_body(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the parameters of all layers but the last."""
    return {name: p.detach().clone() for name, p in model.named_parameters() if not name.startswith("fc.")}


def main() -> None:
    """Run the job; `--tiny` makes it a smoke test."""
    parser = argparse.ArgumentParser(description="Change, freeze, train, save and load a network of timm.")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="where data and weights go")
    parser.add_argument("--tiny", action="store_true", help="few images, one epoch: does it run?")
    args = parser.parse_args()
    out: Path = args.out.resolve()
    epochs = 1 if args.tiny else 4
    look_around()
    change_parts()

    every = ImageDataBunch.from_folder(write_digits(out / "digits"), valid_pct=0.5, size=32, channels=1)
    six, four = some(every, "012345", 16 if args.tiny else 200), some(every, "6789", 16 if args.tiny else 50)
    torch.manual_seed(0)
    source = Learner(six, timm.create_model(ARCH, num_classes=six.c, in_chans=1), metrics="accuracy", path=out, seed=0)
    source.fit_one_cycle(epochs, 5e-3)

    # %%
    # Saved and loaded: the weights alone, into a network that is made again.
    weights = out / "timm_model.pth"
    torch.save(source.model.state_dict(), weights)
    again = timm.create_model(ARCH, num_classes=6, in_chans=1)
    again.load_state_dict(torch.load(weights, weights_only=True))
    x = six.one_batch("valid")[0]
    with torch.no_grad():
        print("saved and loaded: the same answers", torch.equal(again.eval()(x), source.model.eval()(x)))

    # %%
    # Fine-tuned by hand, then by ``cnn_learner``: it cuts the network before its pooling, puts a new head on it, and
    # freezes the rest. The head is trained first, then everything, the first layers at a hundredth of the rate of the
    # head; ``fine_tune`` does both.
    torch.manual_seed(0)
    by_hand = Learner(four, frozen_by_hand(weights, four.c), metrics="accuracy", path=out, seed=0)
    by_hand.fit(epochs, 5e-3)
    before, after = of_body(source.model), of_body(by_hand.model)
    n_same = sum(torch.equal(before[name], after[name]) for name in before)
    print(f"frozen by hand: accuracy {by_hand.validate()[1]:.3f}; {n_same} of {len(before)} tensors are as they were")

    learn = cnn_learner(four, f"timm/{ARCH}", weights=weights, metrics="accuracy", path=out, seed=0)
    print("frozen:", [not any(p.requires_grad for p in g.parameters() if p.ndim > 1) for g in learn.groups])
    print("rates of slice(1e-4, 1e-2):", [f"{rate:.0e}" for rate in learn.lr_range(slice(1e-4, 1e-2))])
    learn.fit(epochs, 5e-3)
    learn.unfreeze()
    learn.fit_one_cycle(epochs, slice(1e-4, 1e-2))
    print(f"with cnn_learner: accuracy {learn.validate()[1]:.3f}")

    # %%
    # Half precision both ways, and the difference to float32.
    x = four.one_batch("valid")[0]
    with torch.no_grad():
        full, half = learn.model.eval()(x), InHalf(learn.model.eval())(x).float()
    full_loss = learn.validate()[0]
    learn.to_bf16()
    theirs = learn.get_preds("valid")[0][: len(x)]
    print(
        f"bfloat16 against float32: outputs differ by up to {(half - full).abs().max():.3f} of {full.abs().max():.1f},"
    )
    print(f"  the learner's probabilities from autocast's by {(theirs - half.softmax(1)).abs().max():.4f}")
    print(f"  loss {learn.validate()[0]:.4f} against {full_loss:.4f}")
    learn.fit(1, slice(1e-5, 1e-3), limit_batches=1)  # a CPU without instructions for it is slow; weights stay float32
    print("weights are", next(learn.model.parameters()).dtype)


if __name__ == "__main__":
    main()

# sphinx_gallery_thumbnail_path = "questions/images/freezing-and-rates.png"
