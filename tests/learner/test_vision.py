"""cnn_learner and unet_learner: head, groups and frozen layers for the data, and the five lines of a user."""

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from learnkit import DataBunch, ImageDataBunch, Learner, Regression, Segmentation, cnn_learner, unet_learner
from learnkit.errors import DownloadError, LearnkitWarning, UsageError, WrongTypeError
from learnkit.learner.vision import LearnerOptions
from learnkit.models import BackboneSpec, create_head, resnet18
from tests.doubles import refused


@pytest.fixture
def dls(class_folder: Path) -> ImageDataBunch:
    return ImageDataBunch.from_folder(class_folder, size=32, bs=8, num_workers=0)


@pytest.fixture
def ten_classes() -> DataBunch:
    x, y = torch.zeros(20, 3, 32, 32), torch.arange(20) % 10
    return DataBunch.from_tensors(x, y, x, y, bs=10)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return torchvision.models.resnet18().state_dict()  # type: ignore[no-any-return]


def trainable(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


@pytest.mark.slow
def test_the_five_lines(
    dls: ImageDataBunch, class_folder: Path, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    learn = cnn_learner(dls, resnet18, metrics="accuracy", weights=state, seed=0)
    rates = learn.lr_find(num_it=12)
    learn.fit(2, lr=slice(1e-4, 1e-3))
    interp = learn.interpret()
    confusion = interp.confusion_matrix()
    for number, figure in enumerate(
        [dls.show_batch(), learn.recorder.plot(skip_start=2), interp.plot_confusion_matrix(), interp.plot_top_losses(9)]
    ):
        figure.savefig(tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").stat().st_size > 5000
    label, index, probs = learn.predict(class_folder / "valid" / "red" / "0.png")
    assert rates._fields == ("valley", "steep", "minimum", "slide")
    assert len(learn.history) == 2
    assert confusion.sum() == 12
    assert confusion.sum(1).tolist() == [4, 4, 4]
    assert label == dls.classes[index]
    assert probs.sum().item() == pytest.approx(1, abs=1e-5)


def test_weights_freeze_all_but_head_and_norms(ten_classes: DataBunch, state: dict[str, torch.Tensor]) -> None:
    learn = cnn_learner(ten_classes, resnet18, weights=state)
    assert [len(list(group.parameters())) for group in learn.groups] == [30, 30, 8]
    assert len(trainable(learn.model)) == 48
    assert sum(p.numel() for p in trainable(learn.model)) == 542_602
    learn.freeze_to(1)
    assert len(trainable(learn.model)) == 58
    learn.freeze_to(-2)
    assert len(trainable(learn.model)) == 58
    learn.unfreeze()
    assert len(trainable(learn.model)) == 68
    assert sum(p.numel() for p in learn.model.parameters()) == 11_709_514


def test_without_train_bn_only_the_head_trains(ten_classes: DataBunch, state: dict[str, torch.Tensor]) -> None:
    learn = cnn_learner(ten_classes, resnet18, weights=state, train_bn=False)
    assert sum(p.numel() for p in trainable(learn.model)) == 533_002
    assert len(trainable(learn.model)) == 8


def test_from_scratch_nothing_is_frozen(ten_classes: DataBunch) -> None:
    learn = cnn_learner(ten_classes, "resnet18", pretrained=False)
    assert len(trainable(learn.model)) == 68


def test_the_passed_weights_are_in_the_body(ten_classes: DataBunch, state: dict[str, torch.Tensor]) -> None:
    learn = cnn_learner(ten_classes, torchvision.models.resnet18, weights=state)
    assert torch.equal(learn.model[0][0].weight, state["conv1.weight"])  # type: ignore[index]


def test_equal_seeds_yield_equal_weights_and_restore_the_generator(ten_classes: DataBunch) -> None:
    before = torch.get_rng_state()
    first = cnn_learner(ten_classes, resnet18, pretrained=False, seed=3).model.state_dict()
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(5)
    second = cnn_learner(ten_classes, resnet18, pretrained=False, seed=3).model.state_dict()
    assert all(torch.equal(a, b) for a, b in zip(first.values(), second.values(), strict=True))
    other = cnn_learner(ten_classes, resnet18, pretrained=False, seed=4).model.state_dict()
    assert not torch.equal(first["0.0.weight"], other["0.0.weight"])


def test_offline_the_missing_file_and_the_alternatives_are_named(
    ten_classes: DataBunch, monkeypatch: pytest.MonkeyPatch
) -> None:
    from urllib.error import URLError

    def offline(*args: object, **kwargs: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(DownloadError, match=r"resnet18.*\.pth.*weights=.*pretrained=False"):
        cnn_learner(ten_classes, resnet18)


@pytest.mark.parametrize(("name", "near"), [("resnet81", "resnet18"), ("resnext", "resnext50_32x4d")])
def test_an_unknown_architecture_is_refused_with_the_nearest_names(
    name: str, near: str, ten_classes: DataBunch
) -> None:
    with pytest.raises(ValueError, match=near):
        cnn_learner(ten_classes, name, pretrained=False)


def test_a_network_without_pooling_needs_a_cut(ten_classes: DataBunch) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten())
    with pytest.raises(ValueError, match="cut="):
        cnn_learner(ten_classes, model, pretrained=False)
    learn = cnn_learner(ten_classes, model, cut=2, pretrained=False)
    learn.fit(1)
    assert len(learn.groups) == 2


def test_for_gray_images_the_stem_has_one_channel(class_folder: Path) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=32, bs=8, channels=1, normalize="data", num_workers=0)
    learn = cnn_learner(dls, resnet18, pretrained=False, seed=0)
    assert learn.model[0][0].weight.shape == (64, 1, 7, 7)  # type: ignore[index]
    learn.fit(1)
    assert learn.history["valid_loss"].notna().all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::learnkit.LearnkitWarning")  # six images are fewer than a batch
def test_the_five_lines_to_the_letter(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    import shutil

    import numpy as np
    from PIL import Image

    cached = Path(torch.hub.get_dir()) / "checkpoints" / torchvision.models.ResNet18_Weights.DEFAULT.url.split("/")[-1]
    cached.parent.mkdir(parents=True)
    torch.save(state, cached)  # as if fetched before
    for number in range(8):
        folder = tmp_path / "pets" / ("cat" if number % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.jpg")
    shutil.copy(tmp_path / "pets" / "cat" / "1.jpg", "cat.jpg")

    from learnkit import ImageDataBunch, cnn_learner
    from learnkit.models import resnet18

    dls = ImageDataBunch.from_folder("pets", valid_pct=0.2, size=224)
    learn = cnn_learner(dls, resnet18, metrics="accuracy")
    learn.lr_find()
    learn.fit(5, lr=slice(1e-4, 1e-3))
    interp = learn.interpret()
    interp.plot_confusion_matrix()
    interp.plot_top_losses(9)
    label, index, probs = learn.predict("cat.jpg")

    assert torch.equal(learn.model[0][0].weight.cpu(), state["conv1.weight"])  # type: ignore[index]
    assert len(learn.history) == 5
    assert label == dls.classes[int(index)]
    assert probs.shape == (2,)


HALF = (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("normalize", "text"),
    [
        (None, r"normalized by mean \(0\.0, 0\.0, 0\.0\) and std \(1\.0"),
        ((HALF, HALF), r"resnet18 were trained on images of mean \(0\.485.* normalized by mean \(0\.5, 0\.5, 0\.5\)"),
    ],
)
def test_a_warning_for_data_normalized_differently_from_the_weights(
    class_folder: Path, state: dict[str, torch.Tensor], normalize: object, text: str
) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=32, bs=8, normalize=normalize, num_workers=0)  # type: ignore[arg-type]
    with pytest.warns(LearnkitWarning, match=rf"{text}.*Make the data with normalize=\(\(0\.485, 0\.456, 0\.406\), "):
        cnn_learner(dls, resnet18, weights=state)
    cnn_learner(dls, resnet18, pretrained=False)
    cnn_learner(dls, torchvision.models.resnet18())


def test_gray_data_is_compared_with_the_means_over_the_channels(
    class_folder: Path, state: dict[str, torch.Tensor]
) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=32, bs=8, channels=1, num_workers=0)
    learn = cnn_learner(dls, resnet18, weights=state)
    torch.testing.assert_close(learn.model[0][0].weight, state["conv1.weight"].sum(1, keepdim=True))  # type: ignore[index]


def test_the_statistics_of_the_warning_avoid_it(class_folder: Path) -> None:
    timm = pytest.importorskip("timm")
    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    dls = ImageDataBunch.from_folder(class_folder, size=32, bs=8, num_workers=0)
    with pytest.warns(LearnkitWarning, match=r"normalize=\(\(0\.5, 0\.5, 0\.5\), \(0\.5, 0\.5, 0\.5\)\)"):
        cnn_learner(dls, "timm/tf_efficientnet_lite0", weights=state)
    right = ImageDataBunch.from_folder(class_folder, size=32, bs=8, num_workers=0, normalize=(HALF, HALF))
    learn = cnn_learner(right, "timm/tf_efficientnet_lite0", weights=state)
    assert len(learn.groups) == 3


def test_images_too_small_for_the_network_are_refused(class_folder: Path) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=32, bs=8, num_workers=0)
    with pytest.raises(ValueError, match=r"inception_v3: images of 32 x 32 pixels are too small"):
        cnn_learner(dls, "inception_v3", pretrained=False)


def test_the_learner_keeps_the_spec_of_its_network(ten_classes: DataBunch) -> None:
    options: dict[str, Any] = {"lin_ftrs": [8], "ps": 0.25, "concat_pool": False, "bn_final": True, "cut": -4}
    learn = cnn_learner(ten_classes, resnet18, pretrained=False, **options)
    assert learn.spec == BackboneSpec("resnet18", 10, cut=-4, lin_ftrs=(8,), ps=0.25, concat_pool=False, bn_final=True)
    assert learn.spec.matches(learn.model)


@pytest.mark.parametrize("given", ["base_arch", "cut", "custom_head"])
def test_a_learner_with_custom_parts_has_no_spec(ten_classes: DataBunch, given: str) -> None:
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))
    base_arch = torchvision.models.squeezenet1_1() if given == "base_arch" else "squeezenet1_1"
    custom: dict[str, Any] = {"cut": lambda network: network.features, "custom_head": head}
    learn = cnn_learner(ten_classes, base_arch, pretrained=False, **{k: v for k, v in custom.items() if k == given})
    assert learn.spec is None


@pytest.fixture
def masks() -> DataBunch:
    torch.manual_seed(0)
    x = torch.rand(8, 2, 32, 32)
    y = (x[:, 0] > 0.5).long()
    return DataBunch.from_tensors(x, y, x, y, bs=4, task=Segmentation(("dark", "light")))


def test_unet_learner_has_the_channels_and_classes_of_the_data(masks: DataBunch) -> None:
    learn = unet_learner(masks, "resnet18", pretrained=False, seed=0)
    assert learn.spec == BackboneSpec("resnet18", 2, "unet", in_chans=2)
    assert learn.spec.matches(learn.model)
    learn.fit(1)
    assert learn.get_preds()[0].shape == (8, 2, 32, 32)


def test_without_train_bn_a_pretrained_unet_learner_trains_only_its_decoder(
    masks: DataBunch, state: dict[str, torch.Tensor]
) -> None:
    learn = unet_learner(masks, "resnet18", weights=state, train_bn=False)
    decoder = learn.model.get_submodule("decoder")
    assert {id(p) for p in trainable(learn.model)} == {id(p) for p in decoder.parameters()}
    adapted = state["conv1.weight"][:, :2] * 1.5
    torch.testing.assert_close(learn.model.get_parameter("body.0.weight"), adapted)


def test_a_unet_for_labels_and_a_classifier_for_masks_are_refused(ten_classes: DataBunch, masks: DataBunch) -> None:
    with refused("dls", got="Classification", expected="data of the task Segmentation"):
        unet_learner(ten_classes, "resnet18", pretrained=False)
    with pytest.raises(UsageError, match="masks, one class per pixel"):
        cnn_learner(masks, "resnet18", pretrained=False)


def test_a_misspelled_keyword_is_refused_before_weights_are_fetched(
    ten_classes: DataBunch, masks: DataBunch, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[Any] = []
    monkeypatch.setattr("learnkit.models.spec.BackboneSpec.build", lambda *args, **options: fetched.append(args))
    for make, dls in ((cnn_learner, ten_classes), (unet_learner, masks)):
        with refused(f"{make.__name__}: keyword", WrongTypeError, got="metric"):
            make(dls, resnet18, metric="accuracy")  # type: ignore[operator]
    assert fetched == []


def test_channels_that_contradict_the_data_are_refused(ten_classes: DataBunch) -> None:
    with refused("in_chans", got=1, expected="3, the channels of the data, or None"):
        cnn_learner(ten_classes, "resnet18", pretrained=False, in_chans=1)


def test_cnn_learner_has_every_option_of_a_spec_of_its_head_and_of_the_learner() -> None:
    """A new option that is forgotten in one of the signatures would silently not reach the network."""
    of_spec = {field.name for field in dataclasses.fields(BackboneSpec)} - {"n_out", "kind", "image_size"}
    of_build = set(inspect.signature(BackboneSpec.build).parameters) - {"self"}
    assert set(inspect.signature(cnn_learner).parameters) - {"dls", "learner_kwargs"} == of_spec | of_build
    assert set(inspect.signature(create_head).parameters) - {"n_features", "n_out"} <= of_spec | of_build
    of_learner = set(inspect.signature(Learner).parameters) - {"dls", "model", "groups"}
    assert set(LearnerOptions.__annotations__) == of_learner


@pytest.mark.parametrize("given", ["cutt", "pretraind", "lin_ftr", "metrcs", "weigths"])
def test_keywords_of_its_own_are_among_the_nearest(given: str, ten_classes: DataBunch) -> None:
    nearest = {
        "cutt": "cut",
        "pretraind": "pretrained",
        "lin_ftr": "lin_ftrs",
        "metrcs": "metrics",
        "weigths": "weights",
    }
    with pytest.raises(WrongTypeError, match=f"^cnn_learner: keyword: got '{given}'.*Nearest: {nearest[given]}"):
        cnn_learner(ten_classes, "resnet18", **{given: None})


def test_a_range_is_for_regressions_with_our_head(ten_classes: DataBunch) -> None:
    x, y = torch.zeros(8, 3, 32, 32), torch.arange(8.0)
    numbers = DataBunch.from_tensors(x, y, x, y, bs=4, task=Regression())
    learn = cnn_learner(numbers, "squeezenet1_1", pretrained=False, y_range=(0, 8))
    raw = learn.model(x)
    assert ((raw > 0) & (raw < 8)).all()
    for dls, head in ((ten_classes, None), (numbers, nn.Linear(512, 1))):
        with refused("y_range", got=(0, 8)):
            cnn_learner(dls, "squeezenet1_1", pretrained=False, y_range=(0, 8), custom_head=head)
    with refused("y_range", got=(8, 0)):
        cnn_learner(numbers, "squeezenet1_1", pretrained=False, y_range=(8, 0))
