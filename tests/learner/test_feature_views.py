"""fit_head with n_views: each epoch on the features of another augmented view."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import DataBunch, ImageDataBunch, Learner
from learnkit.callbacks import BnFreeze, OneCycle
from learnkit.data.loading.sampler import BatchOrder
from learnkit.errors import UsageError
from learnkit.learner import head_features as features_module
from learnkit.learner.feature_views import ViewLoader
from tests.doubles import Blobs, acting, raising, refused


class Doubled(nn.Module):
    """Counts the items it gets; float64, in which two ways to the same weights can be compared."""

    n_items = 0

    def forward(self, x: Tensor) -> Tensor:
        self.n_items += len(x)
        return x.double()


def learner(folder: Path, augment: Any = True, **options: Any) -> Learner:
    """24 and 12 images of three colors in batches of 5; a body with batch norm, a head with dropout."""
    dls = ImageDataBunch.from_folder(folder, size=16, bs=5, num_workers=0, augment=augment)
    torch.manual_seed(1)
    body = nn.Sequential(Doubled(), nn.Conv2d(3, 6, 5, 2).double(), nn.BatchNorm2d(6).double(), nn.ReLU())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(24, 3).double())
    options = {"seed": 3, "train_bn": False, "metrics": "accuracy", **options}
    return Learner(dls, nn.Sequential(body, head), groups=lambda m: [m[0], m[1]], **options).freeze()


def weights(learn: Learner) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in learn.model.state_dict().items()}


def inputs_of_epochs(learn: Learner, epochs: int, **options: Any) -> list[Tensor]:
    """The features that each epoch of fit_head trains on, sorted so that their order does not matter."""
    seen: list[list[Tensor]] = [[] for _ in range(epochs)]
    sees = acting(before_batch=lambda state: seen[state.epoch].append(state.inputs[0]))
    learn.fit_head(epochs, 1e-3, callbacks=sees, **options)
    return [torch.cat(epoch)[torch.cat(epoch)[:, 0].argsort()] for epoch in seen]


def test_as_many_views_as_epochs_are_the_fit_of_a_frozen_learner_with_augmentation(class_folder: Path) -> None:
    plain, head = learner(class_folder), learner(class_folder)
    plain.fit(3, 1e-2, callbacks=[BnFreeze(), OneCycle()])
    head.fit_head(3, 1e-2, n_views=3, callbacks=OneCycle())
    for name, tensor in weights(plain).items():
        torch.testing.assert_close(weights(head)[name], tensor, rtol=0, atol=1e-6)  # images are float32
    names = ["train_loss", "valid_loss", "accuracy"]
    assert head.history[names].to_numpy() == pytest.approx(plain.history[names].to_numpy(), abs=1e-6)


def test_epochs_take_the_views_in_turn_and_the_first_is_augmented_too(class_folder: Path) -> None:
    first, second, third, fourth, fifth = inputs_of_epochs(learner(class_folder), 5, n_views=2)
    assert not set(rows(first)) & set(rows(second))
    plain = rows(inputs_of_epochs(learner(class_folder), 1)[0])
    assert not set(rows(first)) & set(plain)
    every = set(rows(first)) | set(rows(third)) | set(rows(fifth))
    assert len(every) <= 24  # of an epoch the last short batch is left out
    assert len(set(rows(second)) | set(rows(fourth))) <= 24


def rows(features: Tensor) -> list[tuple[float, ...]]:
    return [tuple(row.tolist()) for row in features]


def test_every_view_is_computed_once_and_the_validation_set_is_plain(class_folder: Path) -> None:
    learn = learner(class_folder)
    learn.model[0][0].n_items = 0
    learn.fit_head(6, 1e-2, n_views=3)
    assert learn.model[0][0].n_items == 3 * 24 + 12
    assert learn.validate()[0] == pytest.approx(learn.history["valid_loss"].iloc[-1], abs=1e-6)


def test_the_views_depend_on_the_seed_alone(class_folder: Path) -> None:
    once, again, other = (inputs_of_epochs(learner(class_folder, seed=seed), 2, n_views=2)[1] for seed in (3, 3, 4))
    assert torch.equal(once, again)
    assert not set(rows(once)) & set(rows(other))


class Killed(BaseException):
    pass


@pytest.mark.parametrize("seed", [3, None])
def test_a_fit_that_was_killed_goes_on_to_the_same_bits(tmp_path: Path, class_folder: Path, seed: int | None) -> None:
    def made(name: str, entropy: int) -> Learner:
        learn = learner(class_folder, seed=0, path=tmp_path / name)
        torch.manual_seed(entropy)  # that a seed of None is drawn by
        groups = lambda m: [m[0], m[1]]  # noqa: E731
        return Learner(learn.dls, learn.model, groups=groups, seed=seed, train_bn=False, path=tmp_path / name).freeze()

    whole, killed = made("whole", 0), made("killed", 0)
    whole.fit_head(4, 1e-2, n_views=2)
    stops = acting(order=99, after_batch=raising(Killed(), epoch=1, batch=2))
    with pytest.raises(Killed):
        killed.fit_head(4, 1e-2, n_views=2, callbacks=stops, checkpoint_every=1)
    again = made("killed", 1)
    again.fit_head(4, 1e-2, n_views=2, checkpoint_every=1, resume="auto")
    assert all(torch.equal(tensor, weights(whole)[name]) for name, tensor in weights(again).items())
    assert again.seed == whole.seed


def test_a_checkpoint_of_another_number_of_views_is_refused(tmp_path: Path, class_folder: Path) -> None:
    learn = learner(class_folder, path=tmp_path)
    stops = acting(order=99, after_batch=raising(Killed(), epoch=1, batch=2))
    with pytest.raises(Killed):
        learn.fit_head(3, 1e-2, n_views=2, callbacks=stops, checkpoint_every=2)
    for n_views, here in ((3, "3"), (1, "none")):
        with pytest.raises(UsageError, match=f"another fit: fit_head: n_views: 2 there, {here} here"):
            learner(class_folder, path=tmp_path).fit_head(3, 1e-2, n_views=n_views, resume="auto")


def test_a_fit_that_is_done_and_not_kept_computes_no_views(tmp_path: Path, class_folder: Path) -> None:
    learn = learner(class_folder, path=tmp_path)
    learn.fit_head(2, 1e-2, n_views=2, checkpoint_every=2, keep_fits=1)
    learn.fit_head(2, 1e-2, n_views=2, checkpoint_every=2, keep_fits=1)
    again = learner(class_folder, path=tmp_path)
    again.model[0][0].n_items = 0
    with pytest.warns(UserWarning, match="fit 0 is done"):
        again.fit_head(2, 1e-2, n_views=2, resume="auto", keep_fits=1)
    assert again.model[0][0].n_items == 0


def test_what_cannot_be_viewed_is_refused_before_training(class_folder: Path, blobs: Blobs) -> None:
    learn = learner(class_folder)
    for n_views, epochs in ((0, 2), (3, 2), (True, 2), ("2", 2), (1.0, 2)):
        with refused("n_views", got=n_views, expected="1 to 2: each of the epochs trains on one view"):
            learn.fit_head(epochs, 1e-2, n_views=n_views)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="n_views=2: this bunch does not augment its images"):
        learner(class_folder, augment=False).fit_head(2, 1e-2, n_views=2)
    layers = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2))
    of_tensors = Learner(DataBunch.from_tensors(*blobs), layers, groups=lambda m: [m[0], m[1]], seed=0)
    before = copy.deepcopy(layers.state_dict())
    with pytest.raises(UsageError, match="n_views=2: this bunch holds no images"):
        of_tensors.fit_head(2, 1e-2, n_views=2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in layers.state_dict().items())


def test_the_memory_of_all_views_is_checked(class_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need = (3 * 24 + 12) * 24 * 8  # bytes: float64, 24 numbers
    monkeypatch.setattr(features_module, "free_memory", lambda *device: need)
    with pytest.raises(UsageError, match=r"the features \(24,\) of 84 items"):
        learner(class_folder).fit_head(3, 1e-2, n_views=3)
    monkeypatch.setattr(features_module, "free_memory", lambda *device: need * 10 // 8)
    learner(class_folder).fit_head(3, 1e-2, n_views=3)


def test_a_loader_of_views_takes_targets_with_the_features_and_starts_anywhere() -> None:
    views = [(torch.arange(6.0) + 10 * view, torch.arange(6) + 100 * view) for view in range(3)]
    loader = ViewLoader(views, BatchOrder(6, 2, shuffle=False))
    loader.seed_epoch(7, 1)
    assert [batch[1].tolist() for batch in loader] == [[100, 101], [102, 103], [104, 105]]
    loader.seed_epoch(7, 5, 2)
    assert [[part.tolist() for part in batch] for batch in loader] == [[[24.0, 25.0], [204, 205]]]
    shuffled = ViewLoader(views, BatchOrder(6, 2, shuffle=True))
    for view in (0, 1, 2, 0):  # without a seed, the next epoch each time
        for x, y in shuffled:
            assert (x - 10 * view).tolist() == (y - 100 * view).tolist()
            assert y.min() >= 100 * view
