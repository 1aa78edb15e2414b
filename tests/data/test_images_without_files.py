"""Images without files: whatever files can do, for datasets, DataFrames and lists of images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset, Subset
from torchvision import datasets as tv

from learnkit import DataBunch, ImageDataBunch, Learner, LearnkitWarning, Regression, load_learner
from learnkit.callbacks import MixUp
from learnkit.data.image.sources import opened
from learnkit.errors import DataError, ImageError, UsageError
from learnkit.splits import StratifiedSplit
from learnkit.transforms import Flip


class Kept(Dataset[Any]):
    """Like torchvision's datasets in memory: `classes`, `targets`, a PIL image per item."""

    classes = ("blue", "green", "red")

    def __init__(self, files: list[str]) -> None:
        self.files = files
        self.targets = [self.classes.index(Path(file).parent.name) for file in files]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[Image.Image, int]:
        return Image.open(self.files[i]).convert("RGB"), self.targets[i]


@pytest.fixture
def files(class_folder: Path) -> dict[str, list[str]]:
    return {split: sorted(map(str, (class_folder / split).rglob("*.png"))) for split in ("train", "valid")}


def of_files(files: dict[str, list[str]], **options: Any) -> ImageDataBunch:
    names = files["train"] + files["valid"]
    table = {"input": names, "target": [Path(name).parent.name for name in names]}
    split = ["train"] * len(files["train"]) + ["valid"] * len(files["valid"])
    return ImageDataBunch.from_samples(pd.DataFrame({**table, "split": split}), **options)


def form_of(kind: str, file: str) -> Any:
    image = Image.open(file)
    image.load()
    if kind == "PIL":
        return image
    if kind == "bytes":
        return Path(file).read_bytes()
    return np.asarray(image) if kind == "array" else torch.from_numpy(np.array(image)).permute(2, 0, 1)


def pairs(kind: str) -> Callable[..., ImageDataBunch]:
    def make(files: dict[str, list[str]], **options: Any) -> ImageDataBunch:
        sets = [[(form_of(kind, file), Path(file).parent.name) for file in files[part]] for part in ("train", "valid")]
        return ImageDataBunch.from_datasets(*sets, **options)

    return make


def frame(files: dict[str, list[str]], **options: Any) -> ImageDataBunch:
    names = files["train"] + files["valid"]
    images = pd.Series([Path(name).read_bytes() for name in names], dtype=object)
    is_valid = [name in files["valid"] for name in names]
    table = pd.DataFrame({"image": images, "label": [Path(name).parent.name for name in names], "v": is_valid})
    return ImageDataBunch.from_df(".", table, fn_col="image", label_col="label", valid_col="v", **options)


def hugging_face(of: str) -> Callable[..., ImageDataBunch]:
    """A DatasetDict whose tables refer to the files, or hold their bytes."""

    def make(files: dict[str, list[str]], **options: Any) -> ImageDataBunch:
        features = datasets.Features(
            image=datasets.Image(),
            label=datasets.ClassLabel(names=["blue", "green", "red"]),
            number=datasets.Value("int32"),
        )
        tables = datasets.DatasetDict()
        for key, split in (("train", "train"), ("validation", "valid")):
            labels = [Path(file).parent.name for file in files[split]]
            kept = [{"bytes": Path(file).read_bytes(), "path": Path(file).name} for file in files[split]]
            images = kept if of == "bytes" else files[split]
            rows = {"image": images, "label": labels, "number": range(len(labels))}
            tables[key] = datasets.Dataset.from_dict(rows, features=features)
        return ImageDataBunch.from_hf(tables, **options)

    return make


def samples(files: dict[str, list[str]], **options: Any) -> ImageDataBunch:
    """From the table of another bunch."""
    return ImageDataBunch.from_samples(pairs("array")(files, size=4, bs=2).samples, **options)


SOURCES: dict[str, Callable[..., ImageDataBunch]] = {
    "dataset": lambda files, **options: ImageDataBunch.from_datasets(
        Kept(files["train"]), Kept(files["valid"]), **options
    ),
    "Subset": lambda files, **options: ImageDataBunch.from_datasets(
        Subset(Kept(files["train"] + files["valid"]), range(24)),
        Subset(Kept(files["train"] + files["valid"]), range(24, 36)), **options
    ),
    **{f"pairs of {kind}": pairs(kind) for kind in ("PIL", "array", "tensor", "bytes")},
    "DataFrame": frame, "samples": samples,
    "Hugging Face": hugging_face("bytes"), "Hugging Face of files": hugging_face("files"),
}  # fmt: skip
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {"augment": False},
    "augmented": {},
    "strong": {"augment": "strong"},
    "listed": {"augment": [Flip(1.0)], "resize": "squish"},
    "padded": {"size": (12, 20), "resize": "pad", "normalize": None},
    "gray": {"channels": 1, "normalize": ((0.4,), (0.2,))},
    "measured": {"normalize": "data", "interpolation": "bicubic"},
    "own size": {"size": None},
    "cached": {"cache": "memory"},
    "workers": {"num_workers": 1},
    "balanced": {"sampler": "balanced"},
    "skipping": {"on_error": "skip"},
    "small batches": {"bs": 5},
}
OF_EVERY_SOURCE = ("plain", "gray", "own size", "cached")  # what reading has a part in


def epoch(loader: Any) -> list[torch.Tensor]:
    loader.seed_epoch(3, 1)
    return [part for batch in loader for part in batch]


@pytest.mark.parametrize("name", OPTIONS)
def test_the_batches_are_those_of_the_files(files: dict[str, list[str]], name: str) -> None:
    options = {"size": 16, "bs": 8, **OPTIONS[name]}
    expected = of_files(files, **options)
    for source in SOURCES if name in OF_EVERY_SOURCE else ("dataset", "Hugging Face"):
        dls = SOURCES[source](files, **options)
        assert dls.classes == expected.classes == ["blue", "green", "red"]
        assert dls.samples["target"].tolist() == expected.samples["target"].tolist()
        for part in ("train_dl", "valid_dl", "fix_dl"):
            ours, theirs = epoch(getattr(dls, part)), epoch(getattr(expected, part))
            assert len(ours) == len(theirs)
            assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)), (source, part)


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3))


@pytest.mark.parametrize("name", SOURCES)
def test_a_learner_does_with_them_what_it_does_with_files(
    name: str, files: dict[str, list[str]], tmp_path: Path
) -> None:
    learns = [
        Learner(source(files, size=16, bs=8), net(), metrics="accuracy", seed=0, path=tmp_path / str(number))
        for number, source in enumerate((of_files, SOURCES[name]))
    ]
    for learn in learns:
        learn.fit_one_cycle(1, 1e-2, callbacks=MixUp())
    (expected, _), (preds, _) = (learn.get_preds() for learn in learns)
    assert torch.equal(preds, expected)
    assert torch.equal(learns[1].tta(n=2)[0], learns[0].tta(n=2)[0])
    learn, dls = learns[1], learns[1].dls
    assert learn.write_preds(tmp_path / "preds.csv").read_text(encoding="utf-8").splitlines()[1].count(",") == 5
    again = load_learner(learn.export(tmp_path / "model.lk"), model=net(1))
    item = opened(dls.samples["input"].iloc[-1])
    assert again.predict(item).label == learn.predict(item).label
    torch.testing.assert_close(learn.predict(item).probs, preds[-1])
    assert torch.equal(dls.one_input("valid", 3), dls.prepare(opened(dls.valid_ds.inputs[3])))
    assert dls.item_name("valid", 3) == str(dls.valid_ds.inputs[3])
    assert dls.summary().sizes.loc["max"].tolist() == [24, 24]
    assert len(dls.folds(2)[0].train_ds) == 18


@pytest.mark.parametrize("name", ["dataset", "pairs of bytes", "DataFrame", "Hugging Face"])
def test_they_are_trained_on_shown_and_reported(name: str, files: dict[str, list[str]], tmp_path: Path) -> None:
    learn, of_names = (
        Learner(source(files, size=16, bs=8), net(), metrics="accuracy", seed=0) for source in (SOURCES[name], of_files)
    )
    for one in (learn, of_names):
        one.fit(1, 1e-2)
    assert learn.recorder.losses == of_names.recorder.losses
    assert learn.validate() == of_names.validate()
    image = Path(files["valid"][0])
    assert torch.equal(learn.predict(image.read_bytes()).probs, of_names.predict(image).probs)
    interp = learn.interpret()
    figures = (
        learn.dls.show_batch(2), learn.show_results(rows=2), interp.plot_top_losses(4), interp.plot_confusion_matrix(),
    )  # fmt: skip
    assert [sum(bool(axes.images) for axes in figure.axes) for figure in figures] == [4, 4, 4, 1]
    assert "<img" in learn.report(tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_dataset_is_split_as_files_are(files: dict[str, list[str]]) -> None:
    whole = Kept(files["train"])
    for options in ({"valid_pct": 0.25}, {"split": StratifiedSplit(0.25)}):
        dls = ImageDataBunch.from_datasets(whole, size=8, bs=4, **options)
        table = pd.DataFrame({"input": files["train"], "target": [Path(file).parent.name for file in files["train"]]})
        expected = ImageDataBunch.from_samples(table, size=8, bs=4, **options)
        assert dls.samples["split"].tolist() == expected.samples["split"].tolist()
        assert [one.index for one in dls.samples["input"]] == [
            files["train"].index(f) for f in expected.samples["input"]
        ]
        with pytest.raises(UsageError, match="valid: got 'Kept', expected None with valid_pct or split"):
            ImageDataBunch.from_datasets(whole, Kept(files["valid"]), size=8, bs=4, **options)
    assert ImageDataBunch.from_datasets(whole, size=8, bs=4).valid_dl is None


def test_datasets_of_torchvision(class_folder: Path) -> None:
    fake = tv.FakeData(40, (3, 9, 9), 3)
    dls = ImageDataBunch.from_datasets(fake, valid_pct=0.25, size=8, bs=3)
    assert dls.classes == ["0", "1", "2"]
    named = ImageDataBunch.from_datasets(fake, valid_pct=0.25, size=8, bs=3, classes=["a", "b", "c"])
    assert named.classes == ["a", "b", "c"]
    assert torch.equal(dls.one_batch("valid")[1], named.one_batch("valid")[1])
    folder = ImageDataBunch.from_datasets(
        tv.ImageFolder(class_folder / "train"), tv.ImageFolder(class_folder / "valid"), size=8, bs=4, cache="disk"
    )
    expected = ImageDataBunch.from_folder(class_folder, size=8, bs=4)
    assert folder.samples["input"].tolist() == expected.samples["input"].tolist()


def test_the_same_item_in_two_sets_is_a_leak(files: dict[str, list[str]]) -> None:
    whole = Kept(files["train"])
    for train, valid in ((whole, whole), (Subset(whole, range(20)), Subset(whole, [1, 9, 19]))):
        with pytest.raises(DataError, match="in the training set and in another one"):
            ImageDataBunch.from_datasets(train, valid, size=8, bs=4)
        ImageDataBunch.from_datasets(train, valid, size=8, bs=4, allow_leak=True)


def test_items_that_a_dataset_draws_depend_on_the_epoch_alone_and_not_on_workers(files: dict[str, list[str]]) -> None:
    class Noisy(Kept):
        def __getitem__(self, i: int) -> tuple[Any, int]:
            return np.random.randint(0, 256, (8, 8, 3), np.uint8), self.targets[i]

    np.random.seed(0)
    before = np.random.get_state()[1].copy()  # type: ignore[index]
    bunches = [
        ImageDataBunch.from_datasets(Noisy(files["train"]), size=8, bs=4, augment=False, num_workers=n) for n in (0, 1)
    ]
    state = np.random.get_state()[1].copy()  # type: ignore[index]
    one, two = (epoch(dls.train_dl) for dls in bunches)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, [p for b in bunches[0].train_dl for p in b], strict=True))
    assert (np.random.get_state()[1] == state).all()  # type: ignore[index]
    assert len(before) == len(state)


def test_what_cannot_be_read_names_the_item_and_can_be_left_out(files: dict[str, list[str]]) -> None:
    items = [(form_of("bytes", file), Path(file).parent.name) for file in files["train"]]
    items[5] = (b"\0no image", items[5][1])
    dls = ImageDataBunch.from_datasets(items, size=8, bs=4, num_workers=0)
    with pytest.raises(ImageError, match=r"train\[5\] \(class blue, row 5\)"):
        list(dls.fix_dl)
    with pytest.warns(LearnkitWarning, match="1 of 24 items cannot be read"):
        skipping = ImageDataBunch.from_datasets(items, size=8, bs=4, on_error="skip")
    assert [str(one) for one in skipping.skipped["input"]] == ["train[5]"]
    assert len(skipping.train_ds) == 23


def test_a_disk_cache_is_of_files(files: dict[str, list[str]]) -> None:
    with pytest.raises(UsageError, match=r"cache='disk' is of files, and these images have none. Use cache='memory'"):
        SOURCES["dataset"](files, size=8, bs=4, cache="disk")


@pytest.mark.parametrize("name", ["dataset", "Hugging Face"])
def test_a_fit_on_them_continues(name: str, files: dict[str, list[str]], tmp_path: Path) -> None:
    def learner() -> Learner:
        return Learner(SOURCES[name](files, size=8, bs=4), net(), seed=0, path=tmp_path)

    whole = learner()
    whole.fit(2, 1e-2)
    first = learner()
    first.fit(2, 1e-2, checkpoint_every=2)
    again = learner()
    again.fit(2, 1e-2, checkpoint_every=2, resume="auto")
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), first.model.parameters(), strict=True))


def test_several_labels_and_numbers(files: dict[str, list[str]]) -> None:
    images = [form_of("array", file) for file in files["train"]]
    several = [(image, ["a", "b"][: i % 3]) for i, image in enumerate(images)]
    assert ImageDataBunch.from_datasets(several, size=8, bs=4).classes == ["a", "b"]
    numbers = [(image, np.float32(i)) for i, image in enumerate(images)]
    dls = ImageDataBunch.from_datasets(numbers, size=8, bs=4, task="regression")
    assert [y.item() for _, y in dls.fix_dl for y in y] == list(range(24))


@pytest.mark.parametrize("form", ["array", "PIL", "bytes", "tensor"])
def test_several_numbers_of_an_image_are_compared_with_its_size(form: str, files: dict[str, list[str]]) -> None:
    images = [form_of(form, file) for file in files["train"]]
    pairs = [(image, [30.0 + i, 170.0 - i]) for i, image in enumerate(images)]
    dls = ImageDataBunch.from_datasets(pairs, size=8, bs=4, task=Regression(("age", "weight")))
    assert dls.one_batch()[1].shape == (4, 2)
    with pytest.raises(UsageError, match="look like places in the image"):
        ImageDataBunch.from_datasets(pairs, size=8, bs=4, task=Regression(("x", "y")))


PLAIN: dict[str, Callable[[], Any]] = {
    "tensors": lambda: ImageDataBunch.from_tensors(torch.zeros(4, 3, 8, 8), torch.tensor([0, 1] * 2), bs=2),
    "loaders": lambda: ImageDataBunch.from_loaders([(torch.zeros(4, 3, 8, 8), torch.tensor([0, 1] * 2))]),
}


@pytest.mark.parametrize("make", PLAIN.values(), ids=PLAIN)
def test_a_bunch_of_images_is_not_made_of_tensors(make: Callable[[], Any]) -> None:
    with pytest.raises(UsageError, match=r"Use DataBunch, or ImageDataBunch.from_datasets"):
        make()


def test_a_plain_bunch_of_images_says_where_they_belong(files: dict[str, list[str]]) -> None:
    with pytest.raises(DataError, match=r"train: items are PIL images.*ImageDataBunch.from_datasets resizes"):
        DataBunch.from_datasets(Kept(files["train"]))
    pixels = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    y = torch.tensor([0, 1, 0, 1])
    for make in (
        lambda: DataBunch.from_tensors(pixels, y, pixels, y, bs=2),
        lambda: DataBunch.from_datasets(list(zip(pixels, y, strict=True)), bs=2, classes=["a", "b"]),
    ):
        with pytest.warns(LearnkitWarning, match="inputs are uint8 of shape .*ImageDataBunch.from_datasets"):
            make()


def test_a_test_loader_takes_every_form_mixed(files: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    dls = of_files(files, size=16, bs=4)
    names = files["valid"][:5]
    items = [form_of(kind, name) for name in names for kind in ("PIL", "bytes", "array", "tensor")] + names
    expected = torch.cat([dls.prepare(item) for item in items])
    for given in (items, iter(items), pd.Series(items), pd.DataFrame({"input": pd.Series(items), "other": 1})):
        assert torch.equal(torch.cat([x for (x,) in dls.test_dl_from(given)]), expected)
    monkeypatch.chdir(Path(names[0]).parent)
    relative = dls.test_dl_from([Path(names[0]).name])
    monkeypatch.chdir("/")
    assert torch.equal(next(iter(relative))[0], dls.prepare(names[0]))
    assert dls.test_dl_from(dls.samples.iloc[30:]).dataset.names == dls.samples["input"].iloc[30:].tolist()
    learn = Learner(dls, net(), seed=0)
    preds, targets = learn.get_preds(dls.test_dl_from(items))
    assert targets is None
    torch.testing.assert_close(preds, torch.stack([one.probs for one in learn.predict_many(items, bs=7)]))
    held = SOURCES["pairs of array"](files, size=16, bs=4)
    held.test_dl = held.test_dl_from(held.samples[held.samples["split"] == "valid"])
    assert torch.equal(Learner(held, net(), seed=0).get_preds("test")[0], Learner(dls, net(), seed=0).get_preds()[0])


@pytest.mark.parametrize("number", [np.int64, np.uint8, np.int32])
def test_sizes_may_be_numpys_integers(files: dict[str, list[str]], number: Any) -> None:
    for size in (number(12), (number(12), number(12)), [number(12), 12]):
        dls = of_files(files, size=size, bs=number(4))
        assert dls.one_batch()[0].shape == (4, 3, 12, 12)
    dls.batch_size = number(2)
    assert len(dls.one_batch()[0]) == 2
