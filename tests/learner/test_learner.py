"""The learner: validation, predictions, files."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit import DataBunch, DatasetType, ImageDataBunch, Learner, LearnkitWarning
from learnkit.callbacks import SaveModel
from learnkit.errors import CorruptFileError, DataError, MissingFileError, UnsafeFileError, UsageError, WrongTypeError


def network(n_in: int = 2, n_out: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(n_in, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, n_out))


@pytest.fixture
def learn(blobs: tuple[Tensor, ...]) -> Learner:
    dls = DataBunch.from_tensors(*blobs, x_test=blobs[2], bs=10)
    learn = Learner(dls, network(), metrics=["accuracy", "error_rate"], seed=0)
    learn.fit(2, 1e-2)
    return learn


@pytest.fixture
def images(class_folder: Path) -> Learner:
    dls = ImageDataBunch.from_folder(class_folder, size=16, bs=4, normalize=None, num_workers=0)
    torch.manual_seed(0)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 3))
    learn = Learner(dls, model, metrics="accuracy", seed=0)
    learn.fit(8, 3e-2)
    return learn


def by_hand(learn: Learner, x: Tensor) -> Tensor:
    learn.model.eval()
    with torch.no_grad():
        return learn.model(x)  # type: ignore[no-any-return]


def test_validate_returns_loss_and_metrics_over_the_whole_set(learn: Learner, blobs: tuple[Tensor, ...]) -> None:
    raw = by_hand(learn, blobs[2])
    accuracy = (raw.argmax(1) == blobs[3]).double().mean().item()
    expected = [F.cross_entropy(raw, blobs[3]).item(), accuracy, 1 - accuracy]
    assert learn.validate() == pytest.approx(expected, abs=1e-6)
    assert all(type(value) is float for value in learn.validate())


def test_validate_takes_a_loader_and_other_metrics(learn: Learner, blobs: tuple[Tensor, ...]) -> None:
    some = [(blobs[0][:3], blobs[1][:3]), (blobs[0][3:10], blobs[1][3:10])]
    raw = by_hand(learn, blobs[0][:10])
    loss, distance = learn.validate(some, metrics=lambda preds, targets: (preds.sum(1) - targets).abs().mean())
    assert loss == pytest.approx(F.cross_entropy(raw, blobs[1][:10]).item(), abs=1e-6)
    assert distance == pytest.approx((raw.sum(1) - blobs[1][:10]).abs().mean().item(), abs=1e-6)


def test_predictions_are_probabilities_in_the_order_of_the_set(learn: Learner, blobs: tuple[Tensor, ...]) -> None:
    preds, targets = learn.get_preds()
    torch.testing.assert_close(preds, by_hand(learn, blobs[2]).softmax(1))
    assert torch.equal(targets, blobs[3])


def test_the_training_set_is_predicted_whole_and_in_order(learn: Learner, blobs: tuple[Tensor, ...]) -> None:
    for part in (DatasetType.Train, DatasetType.Fix):
        preds, targets = learn.get_preds(part)
        assert preds.shape == (64, 2)
        assert torch.equal(targets, blobs[1])


def test_losses_are_those_of_the_items_and_their_mean_is_that_of_validate(
    learn: Learner, blobs: tuple[Tensor, ...]
) -> None:
    _, _, losses = learn.get_preds(with_loss=True)
    expected = F.cross_entropy(by_hand(learn, blobs[2]), blobs[3], reduction="none")
    torch.testing.assert_close(losses, expected)
    assert losses.mean().item() == pytest.approx(learn.validate()[0], abs=1e-6)


def test_an_unlabeled_set_has_no_targets_and_no_losses(learn: Learner) -> None:
    preds, targets = learn.get_preds(DatasetType.Test)
    assert preds.shape == (32, 2)
    assert targets is None
    with pytest.raises(ValueError, match="no labels"):
        learn.get_preds(DatasetType.Test, with_loss=True)


def test_a_missing_test_set_is_refused(blobs: tuple[Tensor, ...]) -> None:
    learn = Learner(DataBunch.from_tensors(*blobs), network())
    with pytest.raises(ValueError, match="test"):
        learn.get_preds(DatasetType.Test)


def test_another_activation_and_fewer_batches(learn: Learner, blobs: tuple[Tensor, ...]) -> None:
    raw, targets = learn.get_preds(activ=nn.Identity(), n_batch=2)
    torch.testing.assert_close(raw, by_hand(learn, blobs[2][:20]))
    assert torch.equal(targets, blobs[3][:20])
    assert learn.pred_batch().shape == (10, 2)
    torch.testing.assert_close(learn.pred_batch(), raw[:10].softmax(1))


def test_predictions_can_be_written_into_an_array(learn: Learner, tmp_path: Path) -> None:
    import numpy as np

    out = np.lib.format.open_memmap(tmp_path / "preds.npy", mode="w+", dtype=np.float32, shape=(32, 2))
    preds, _ = learn.get_preds(out=out)
    assert np.array_equal(np.load(tmp_path / "preds.npy"), learn.get_preds()[0].numpy())
    assert preds.data_ptr() == out.__array_interface__["data"][0]
    with pytest.raises(UsageError, match="out: got"):
        learn.get_preds(out=torch.empty(31, 2))


def test_predict_returns_label_index_and_probabilities(learn: Learner, blobs: tuple[Tensor, ...]) -> None:
    label, index, probs = learn.predict(blobs[2][0])
    expected = by_hand(learn, blobs[2][:1]).softmax(1)[0]
    torch.testing.assert_close(probs, expected)
    assert (label, index.item()) == (str(expected.argmax().item()), expected.argmax().item())


def test_predictions_have_no_side_effects(learn: Learner, blobs: tuple[Tensor, ...]) -> None:
    learn.model.train()
    learn.model[3].eval()  # type: ignore[index, operator]
    weights = {name: value.clone() for name, value in learn.model.state_dict().items()}
    history, losses, rng = learn.history, list(learn.recorder.losses), torch.get_rng_state()
    learn.validate()
    learn.get_preds(with_loss=True)
    learn.predict(blobs[2][0])
    learn.pred_batch()
    assert [m.training for m in learn.model] == [True, True, True, False, True]  # type: ignore[union-attr]
    assert all(torch.equal(weights[name], value) for name, value in learn.model.state_dict().items())
    assert learn.history.equals(history)
    assert learn.recorder.losses == losses
    assert torch.equal(rng, torch.get_rng_state())


def test_an_image_in_any_form_has_the_same_prediction(images: Learner, class_folder: Path) -> None:
    import numpy as np
    from PIL import Image

    path = class_folder / "valid" / "red" / "2.png"
    row = images.dls.samples.query("split == 'valid'")["input"].astype(str).tolist().index(str(path))
    expected = images.get_preds()[0][row]
    image = Image.open(path)
    for item in (path, str(path), image, np.asarray(image), path.read_bytes()):
        label, index, probs = images.predict(item)
        assert (label, index.item()) == ("red", 2)
        torch.testing.assert_close(probs, expected, rtol=0, atol=1e-5)


def test_an_unreadable_image_is_named(images: Learner, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"not an image")
    with pytest.raises(OSError, match=r"bad\.png"):
        images.predict(bad)


# Losses and what they mean


@pytest.mark.parametrize(
    ("loss", "activate"),
    [
        (nn.CrossEntropyLoss(), lambda raw: raw.softmax(1)),
        (F.cross_entropy, lambda raw: raw.softmax(1)),
        (nn.CrossEntropyLoss(label_smoothing=0.1), lambda raw: raw.softmax(1)),
        (nn.NLLLoss(), lambda raw: raw.exp()),
        (lambda preds, targets: F.cross_entropy(preds, targets) * 2, lambda raw: raw.softmax(1)),
    ],
)
def test_probabilities_follow_the_loss(loss: Any, activate: Any, blobs: tuple[Tensor, ...]) -> None:
    model = network()
    if isinstance(loss, nn.NLLLoss):
        model.append(nn.LogSoftmax(1))  # type: ignore[operator]
    learn = Learner(DataBunch.from_tensors(*blobs, bs=10), model, loss_func=loss, seed=0)
    learn.fit(1)
    probs, _ = learn.get_preds()
    torch.testing.assert_close(probs, activate(by_hand(learn, blobs[2])))
    torch.testing.assert_close(probs.sum(1), torch.ones(32))


# Files


def test_weights_and_optimizer_are_restored(learn: Learner, blobs: tuple[Tensor, ...]) -> None:
    path = learn.save("stage-1")
    assert path == learn.path / "models" / "stage-1.pth"
    assert set(torch.load(path, weights_only=True)) == {"model", "opt"}
    other = Learner(learn.dls, network(), seed=0).load("stage-1")
    other.counter.epoch = learn.epoch
    learn.fit(1, 1e-2)
    other.fit(1, 1e-2)
    for ours, theirs in zip(learn.model.state_dict().values(), other.model.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_without_the_optimizer_the_file_is_a_bare_state_dict(learn: Learner) -> None:
    content = torch.load(learn.save("bare", with_opt=False), weights_only=True)
    assert set(content) == set(learn.model.state_dict())
    with pytest.raises(UsageError, match="no optimizer state"):
        learn.load("bare", with_opt=True)
    learn.load("bare")


def of_other_groups(learn: Learner) -> None:
    learn.split([learn.model[0], learn.model[1:]])  # type: ignore[index]


def of_another_class(learn: Learner) -> None:
    learn.opt_func = torch.optim.Adagrad  # it keeps something before its first step


def of_other_shapes(learn: Learner) -> None:
    path = learn.path / learn.model_dir / "other.pth"
    content = torch.load(path, weights_only=True)
    content["opt"]["state"][0]["exp_avg"] = torch.zeros(3, 3)
    torch.save(content, path)


MISFITS = [of_other_groups, of_another_class, of_other_shapes]


@pytest.mark.parametrize("change", MISFITS)
@pytest.mark.parametrize("steps", [0, 1])
def test_after_an_optimizer_state_that_does_not_fit_the_optimizer_is_new_but_for_its_settings(
    change: Any, steps: int, learn: Learner
) -> None:
    """It had taken steps with other weights; so what it goes on to is what a new learner would."""
    learn.save("other")
    change(learn)
    if steps:
        learn.fit(steps, 1e-2)
    settings = None if learn.opt is None else [(g["lr"], g["weight_decay"]) for g in learn.opt.param_groups]
    with pytest.warns(LearnkitWarning, match="the optimizer keeps its settings and forgets its steps"):
        learn.load("other")
    assert learn.opt is not None
    assert settings in (None, [(group["lr"], group["weight_decay"]) for group in learn.opt.param_groups])
    new = Learner(learn.dls, network(), opt_func=learn.opt_func, seed=0)
    new.load("other", with_opt=False)
    if change is of_other_groups:
        new.split([new.model[0], new.model[1:]])  # type: ignore[index]
    new.counter.epoch = learn.epoch
    for each in (learn, new):
        each.fit(1, 1e-2)
    for ours, theirs in zip(learn.model.state_dict().values(), new.model.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("change", MISFITS)
def test_an_optimizer_state_that_is_required_and_does_not_fit_is_refused(change: Any, learn: Learner) -> None:
    learn.save("other")
    change(learn)
    learn.fit(1, 1e-2)
    assert learn.opt is not None
    kept = [{name: torch.as_tensor(x).clone() for name, x in state.items()} for state in learn.opt.state.values()]
    with pytest.raises(UsageError, match="no optimizer state to load"):
        learn.load("other", with_opt=True)
    for state, before in zip(learn.opt.state.values(), kept, strict=True):
        torch.testing.assert_close({name: torch.as_tensor(x) for name, x in state.items()}, before)


@pytest.mark.parametrize("name", ["../x", "a/b", "", "..", "x" * 101, "nul\0"])
def test_names_that_lead_elsewhere_are_refused(name: str, learn: Learner) -> None:
    with pytest.raises(ValueError, match="file name: got"):
        learn.save(name)


def test_an_absolute_path_is_used_unchanged(learn: Learner, tmp_path: Path) -> None:
    assert learn.save(tmp_path / "there.pth") == tmp_path / "there.pth"
    learn.load(tmp_path / "there.pth")


def test_files_that_cannot_be_loaded_are_refused_with_the_reason(learn: Learner) -> None:
    path = learn.save("good", with_opt=False)
    with pytest.raises(MissingFileError, match=r"good\.pth"):
        learn.load("god")
    path.with_name("cut.pth").write_bytes(path.read_bytes()[:300])
    with pytest.raises(CorruptFileError, match=r"cut\.pth"):
        learn.load("cut")
    before = {name: value.clone() for name, value in learn.model.state_dict().items()}
    torch.save(network(n_out=3).state_dict(), path.with_name("three.pth"))
    with pytest.raises(ValueError, match=r"4\.weight \(3, 8\) in the file, \(2, 8\) in the model.*Different classes"):
        learn.load("three")
    assert all(torch.equal(before[name], value) for name, value in learn.model.state_dict().items())


def test_a_pickle_is_refused_unrun(learn: Learner, tmp_path: Path) -> None:
    import pickle

    marker = tmp_path / "ran"

    class Attack:
        def __reduce__(self) -> Any:
            return (Path.touch, (marker,))

    for protocol in (2, 5):
        file = tmp_path / f"attack{protocol}.pth"
        file.write_bytes(pickle.dumps(Attack(), protocol=protocol))
        with pytest.raises(UnsafeFileError, match="does not run code"):
            learn.load(file)
    torch.save({"w": Attack()}, tmp_path / "zip.pth")
    with pytest.raises(UnsafeFileError, match="does not run code"):
        learn.load(tmp_path / "zip.pth")
    assert not marker.exists()


def test_the_best_weights_are_restored_after_the_fit(blobs: tuple[Tensor, ...]) -> None:
    learn = Learner(DataBunch.from_tensors(*blobs, bs=10), network(), opt_func="sgd", seed=0)
    learn.fit(1, 1e-2, callbacks=SaveModel())
    best = learn.history["valid_loss"].min()
    learn.fit(3, 50.0, callbacks=SaveModel(name="second"))  # far too high a rate: it gets worse
    assert learn.validate()[0] == pytest.approx(learn.history["valid_loss"].iloc[1:].min(), rel=1e-5)
    learn.load("bestmodel")
    assert learn.validate()[0] == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize("classes", [["1", "0"], ["0", "2"]])
@pytest.mark.parametrize("with_opt", [True, False])
def test_weights_of_other_classes_are_not_loaded(
    classes: list[str], with_opt: bool, learn: Learner, blobs: tuple[Tensor, ...]
) -> None:
    learn.save("a", with_opt=with_opt)
    learn.fit(1, callbacks=SaveModel(name="best"))
    other = Learner(DataBunch.from_tensors(*blobs, classes=classes), network())
    before = {name: value.clone() for name, value in other.model.state_dict().items()}
    for name in ("a", "best"):
        with pytest.raises(
            DataError, match=rf"{name}\.pth are .*: 0, 1; .* {', '.join(classes)}\..*classes=\['0', '1'\]"
        ):
            other.load(name)
    assert all(torch.equal(before[name], value) for name, value in other.model.state_dict().items())
    Learner(DataBunch.from_tensors(*blobs, classes=["0", "1"]), network()).load("a")  # as advised


def test_plain_state_dicts_are_loaded_whatever_the_classes(learn: Learner, tmp_path: Path) -> None:
    torch.save(learn.model.state_dict(), tmp_path / "plain.pth")
    torch.save({"model": learn.model.state_dict(), "opt": learn.opt.state_dict()}, tmp_path / "old.pth")  # type: ignore[union-attr]
    for name in ("plain.pth", "old.pth"):
        other = Learner(learn.dls, network()).load(tmp_path / name)
        assert torch.equal(other.get_preds()[0], learn.get_preds()[0])


def test_a_model_without_parameters_does_all_but_train(blobs: tuple[Tensor, ...]) -> None:
    class Baseline(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([-x[:, 0], x[:, 0]], 1)

    learn = Learner(DataBunch.from_tensors(*blobs), Baseline(), metrics="accuracy")
    assert learn.validate()[1] == ((blobs[2][:, 0] > 0) == blobs[3]).double().mean().item()
    learn.predict(blobs[0][0]), learn.get_preds(), learn.interpret(), learn.save("a"), learn.export("a"), repr(learn)
    for train in (lambda: learn.fit(1), learn.lr_find):
        with pytest.raises(
            UsageError, match=r"no trainable parameters\. A model without parameters can validate and predict"
        ):
            train()


def test_the_path_of_an_image_is_no_item_of_other_data(learn: Learner) -> None:
    for item in ("cat.jpg", Path("cat.jpg"), b"JPEG"):
        with pytest.raises(WrongTypeError, match="This data is tensors; files are read by an ImageDataBunch"):
            learn.predict(item)
