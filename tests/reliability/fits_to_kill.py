"""The fits that kills.py kills and resumes: small, of every task, with every kind of state a fit can have."""

from collections.abc import Callable as Run
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from learnkit import Callback, DataBunch, ImageDataBunch, Learner, callbacks, unet_learner

N_TRAIN, N_VALID, EPOCHS = 120, 40, 3


class Notes(Callback):
    """Notes where a fit was resumed."""

    def before_fit(self, state: Any) -> None:
        if state.resumed:
            with open("resumed.txt", "a") as file:
                file.write(f"{state.start_epoch} {state.start_batch}\n")


def tensors() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    digits = load_digits()
    x = torch.tensor(digits.images[: N_TRAIN + N_VALID], dtype=torch.float32)[:, None] / 16
    y = torch.tensor(digits.target[: N_TRAIN + N_VALID])
    return x[:N_TRAIN], y[:N_TRAIN], x[N_TRAIN:], y[N_TRAIN:]


def write_images(folder: Path) -> None:
    """The digits as PNG files {train,valid}/{0,…,9}/n.png, and their ink as masks/{train,valid}_n.png."""
    x_train, y_train, x_valid, y_valid = tensors()
    for split, x, y in (("train", x_train, y_train), ("valid", x_valid, y_valid)):
        for number, (image, label) in enumerate(zip(x, y, strict=True)):
            file = folder / split / str(int(label)) / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            scaled = Image.fromarray((image[0] * 255).byte().numpy()).resize((16, 16))
            scaled.save(file)
            mask = folder / "masks" / f"{split}_{number}.png"
            mask.parent.mkdir(exist_ok=True)
            scaled.point(lambda value: value > 127).save(mask)


def network(channels: int = 1) -> nn.Sequential:
    body = nn.Sequential(nn.Conv2d(channels, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(3))
    return nn.Sequential(body, nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(72, 10)))


def in_memory(bs: int = 16, **options: Any) -> Learner:
    return learner(DataBunch.from_tensors(*tensors(), bs=bs, device="cpu"), network(), **options)


def from_folder(workers: int, **data: Any) -> Learner:
    dls = ImageDataBunch.from_folder("../digits", size=16, bs=16, channels=1, num_workers=workers, device="cpu", **data)
    return learner(dls, network())


def learner(dls: DataBunch, model: nn.Sequential, **options: Any) -> Learner:
    return Learner(dls, model, metrics="accuracy", seed=3, path=".", groups=list(model), **options)


def with_masks() -> Learner:
    def mask_of(file: Path) -> str:
        return f"masks/{file.parts[-3]}_{file.stem}.png"

    dls = ImageDataBunch.from_folder_masks(
        "../digits", "train", mask_of, ["paper", "ink"], valid_pct=0.2, size=16, bs=16, channels=1, device="cpu"
    )
    body = nn.Sequential(*network(1)[0][:3], nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.ReLU())
    return unet_learner(dls, body, cut=lambda whole: whole, pretrained=False, metrics="dice", seed=3, path=".")


def several_labels() -> Learner:
    files = sorted(Path("../digits/train").rglob("*.png"))
    labels = [[f"digit {file.parent.name}", *(["odd"] if int(file.parent.name) % 2 else [])] for file in files]
    dls = ImageDataBunch.from_lists(
        "../digits", [file.resolve() for file in files], labels, valid_pct=0.2, size=16, bs=16, channels=1,
        device="cpu", sampler="balanced",
    )  # fmt: skip
    body, head = network()
    head[-1] = nn.Linear(72, len(dls.classes))
    return Learner(dls, nn.Sequential(body, head), metrics="accuracy_multi", seed=3, path=".", groups=[body, head])


class Noisy(Dataset[Any]):
    """Digits with noise from NumPy's and torch's global generators."""

    def __init__(self) -> None:
        self.x, self.y, _, _ = tensors()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> Any:
        return self.x[i] + 0.1 * torch.randn(1, 8, 8) + 0.1 * float(np.random.normal()), self.y[i]


def from_datasets(workers: int) -> Learner:
    valid = TensorDataset(*tensors()[2:])
    names = [str(n) for n in range(10)]
    return learner(DataBunch.from_datasets(Noisy(), valid, bs=16, num_workers=workers, classes=names), network())


def from_loaders(workers: int) -> Learner:
    train = DataLoader(Noisy(), 16, shuffle=True, num_workers=workers)
    valid = DataLoader(TensorDataset(*tensors()[2:]), 16)
    return learner(DataBunch.from_loaders(train, valid, classes=[str(n) for n in range(10)], device="cpu"), network())


Options = dict[str, Any]


def with_callbacks(make: Run[[], list[Callback]], learn: Run[[], Learner] = in_memory) -> Run[[Options], Learner]:
    def run(options: Options) -> Learner:
        made = learn()
        made.add_cb(Notes())
        made.fit(EPOCHS, slice(1e-3, 1e-2), callbacks=[*make(), *options.pop("kills")], **options)
        return made

    return run


def one_cycle(learn: Run[[], Learner], *more: Run[[], Callback]) -> Run[[Options], Learner]:
    def run(options: Options) -> Learner:
        made = learn()
        made.add_cb(Notes())
        made.fit_one_cycle(EPOCHS, 1e-2, callbacks=[*(make() for make in more), *options.pop("kills")], **options)
        return made

    return run


def two_stages(options: Options) -> Learner:
    made = from_folder(0)
    made.add_cb(Notes(), callbacks.CSVLogger(append=True))
    made.fine_tune(2, 1e-2, freeze_epochs=1, callbacks=options.pop("kills"), **options)
    return made


def everything(options: Options, workers: int = 2) -> Learner:
    made = from_folder(workers, sampler="balanced", augment="strong")
    made.to_bf16().add_cb(Notes(), callbacks.EMA(0.8), callbacks.GradientAccumulation(32), callbacks.GradientClipping())
    more = [callbacks.MixUp(), callbacks.CSVLogger(), callbacks.SaveModel(), callbacks.EarlyStopping(patience=2)]
    made.fit_one_cycle(EPOCHS, 1e-2, callbacks=[*more, *options.pop("kills")], **options)
    return made


CONFIGURATIONS: dict[str, Run[[Options], Learner]] = {
    "one-cycle, dropout": one_cycle(in_memory),
    "images, augmentation, 0 workers": one_cycle(lambda: from_folder(0)),
    "images, augmentation, 2 workers": one_cycle(lambda: from_folder(2)),
    "images, balanced sampler, 2 workers": one_cycle(lambda: from_folder(2, sampler="balanced")),
    "custom dataset, global generators, 2 workers": one_cycle(lambda: from_datasets(2)),
    "custom DataLoader, global generators, 0 workers": one_cycle(lambda: from_loaders(0)),
    "custom DataLoader, 2 workers": one_cycle(lambda: from_loaders(2)),
    "MixUp, CSVLogger": one_cycle(in_memory, callbacks.MixUp, callbacks.CSVLogger),
    "SaveModel, EarlyStopping, CSVLogger": with_callbacks(
        lambda: [callbacks.SaveModel(), callbacks.EarlyStopping(min_delta=0.5), callbacks.CSVLogger()]
    ),
    "bfloat16, accumulation": with_callbacks(
        lambda: [callbacks.MixedPrecision("bf16"), callbacks.GradientAccumulation(40)]
    ),
    "float16, scaled gradients": with_callbacks(lambda: [callbacks.MixedPrecision("fp16")]),
    "EMA": with_callbacks(lambda: [callbacks.EMA(0.9)]),
    "SWA": with_callbacks(lambda: [callbacks.SWA(0.3)]),
    "TorchScheduler per batch, SGD": with_callbacks(
        lambda: [callbacks.TorchScheduler(lambda step: 0.95**step, every="batch")],
        lambda: in_memory(opt_func="sgd"),
    ),
    "TorchScheduler per epoch": with_callbacks(lambda: [callbacks.TorchScheduler(lambda epoch: 0.5**epoch)]),
    "ReduceLROnPlateau": with_callbacks(lambda: [callbacks.ReduceLROnPlateau(min_delta=0.5)]),
    "fine_tune: a frozen stage, then all": two_stages,
    "U-Net, masks, bfloat16": one_cycle(lambda: with_masks().to_bf16(), callbacks.CSVLogger),
    "several labels, balanced sampler, MixUp": one_cycle(several_labels, callbacks.MixUp),
    "everything, 0 workers": lambda options: everything(options, 0),
    "everything, 2 workers": everything,
}
