"""Predictions averaged over augmented images, and their spread under dropout."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learnkit import DataBunch, DatasetType, ImageDataBunch, Learner
from learnkit.data.augment.geometry import Flip
from learnkit.data.image.crops import RandomResizedCrop
from learnkit.data.tasks import MultiLabel, Regression
from learnkit.errors import DataError, UsageError
from tests.doubles import refused


class Corner(nn.Module):
    """Looks only at the left column, so that a mirrored image gets another prediction."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(x[..., 0].mean(2))
        return out


def image_learner(folder: Path, augment: Any, **options: Any) -> Learner:
    dls = ImageDataBunch.from_folder(folder, size=16, bs=5, augment=augment, normalize=None, num_workers=0, **options)
    torch.manual_seed(0)
    return Learner(dls, Corner(), seed=4)


def plain_inputs(learn: Learner) -> Tensor:
    return torch.cat([x for x, _ in learn.dls.valid_dl])


def probs_of(learn: Learner, x: Tensor) -> Tensor:
    with torch.no_grad():
        probs: Tensor = learn.model(x).softmax(1)
    return probs


def test_a_sure_mirror_by_hand(class_folder: Path) -> None:
    """With an augmentation that mirrors every image all passes are alike: 0.25 plain + 0.75 mirrored."""
    learn = image_learner(class_folder, [Flip(p=1.0)])
    x = plain_inputs(learn)
    plain, mirrored = probs_of(learn, x), probs_of(learn, x.flip(3))
    assert not torch.allclose(plain, mirrored, atol=1e-3)
    preds, targets = learn.tta()
    torch.testing.assert_close(preds, 0.25 * plain + 0.75 * mirrored)
    assert torch.equal(targets, learn.get_preds()[1])
    torch.testing.assert_close(learn.tta(n=1, beta=0.6)[0], 0.6 * plain + 0.4 * mirrored)
    preds, targets, losses = learn.tta(with_loss=True)
    of_both = [-probs[torch.arange(len(targets)), targets].log() for probs in (plain, mirrored)]
    torch.testing.assert_close(losses, 0.25 * of_both[0] + 0.75 * of_both[1])
    raw, _ = learn.tta(activ=nn.Identity())
    torch.testing.assert_close(raw, 0.25 * learn.model(x).detach() + 0.75 * learn.model(x.flip(3)).detach())


def test_each_pass_draws_for_itself_and_every_item_too(class_folder: Path) -> None:
    learn = image_learner(class_folder, [Flip()])
    x = plain_inputs(learn)
    plain, mirrored = probs_of(learn, x), probs_of(learn, x.flip(3))
    preds, _ = learn.tta(n=6, beta=0.0)
    share = ((preds - plain) / (mirrored - plain)).mean(1) * 6  # how often each image was mirrored in 6 passes
    torch.testing.assert_close(share, share.round(), atol=1e-2, rtol=0)
    counts = share.round().int().tolist()
    assert min(counts) >= 0
    assert max(counts) <= 6
    assert set(counts) - {0, 6}  # passes that all drew alike would mirror an image in none or in all of them
    assert len(set(counts)) > 1
    assert 18 < sum(counts) < 54  # of 12 images x 6 passes


@pytest.mark.parametrize("cache", [None, "memory"])
def test_crops_of_single_images_count_too(class_folder: Path, cache: Any) -> None:
    learn = image_learner(class_folder, [RandomResizedCrop((16, 16), min_scale=0.2), Flip()], cache=cache)
    plain = learn.get_preds()[0]
    augmented, _ = learn.tta(beta=0.0)
    assert not torch.allclose(plain, augmented, atol=1e-4)
    assert torch.equal(learn.tta(n=2, beta=1.0)[0], plain)


def test_it_follows_the_seed_alone_and_leaves_no_trace(class_folder: Path) -> None:
    learn = image_learner(class_folder, True)
    learn.model.train()
    state = torch.get_rng_state()
    first, _ = learn.tta()
    torch.manual_seed(99)
    learn.dls.train_dl.seed_epoch(5, 5)
    assert torch.equal(learn.tta()[0], first)
    learn.seed = 5
    assert not torch.equal(learn.tta()[0], first)
    assert learn.model.training
    torch.manual_seed(1)
    state = torch.get_rng_state()
    learn.tta(DatasetType.Train)
    assert torch.equal(state, torch.get_rng_state())


def test_a_test_set_without_labels(class_folder: Path) -> None:
    (class_folder / "new").mkdir()
    for number, file in enumerate(sorted((class_folder / "valid").rglob("*.png"))[:6]):
        (class_folder / "new" / f"{number}.png").write_bytes(file.read_bytes())
    learn = image_learner(class_folder, [Flip(p=1.0)], test="new", allow_leak=True)
    preds, targets = learn.tta(DatasetType.Test)
    assert preds.shape == (6, 3)
    assert targets is None


def test_what_tta_cannot_do_is_refused(class_folder: Path, blobs: tuple[Tensor, ...]) -> None:
    with pytest.raises(UsageError, match="does not augment"):
        image_learner(class_folder, False).tta()
    with pytest.raises(UsageError, match="no images to augment"):
        Learner(DataBunch.from_tensors(*blobs), nn.Linear(2, 2), seed=0).tta()
    learn = image_learner(class_folder, True)
    for wrong in ({"n": 0}, {"n": True}, {"beta": 1.5}, {"beta": -0.1}, {"beta": float("nan")}, {"beta": None}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            learn.tta(**wrong)  # type: ignore[arg-type]
    with refused("ds_type", got=learn.dls.valid_dl):
        learn.tta(learn.dls.valid_dl)


# Dropout


class Recorded(nn.Module):
    """A net with dropout and batch norm that keeps what it gave."""

    def __init__(self, n_out: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.drop, self.last = (
            nn.Linear(2, 16),
            nn.BatchNorm1d(16),
            nn.Dropout(0.5),
            nn.Linear(16, n_out),
        )
        self.outputs: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.drop(self.norm(self.first(x)).relu()))
        self.outputs.append(out.detach().clone())
        return out


@pytest.fixture
def dropping(blobs: tuple[Tensor, ...]) -> Learner:
    learn = Learner(DataBunch.from_tensors(*blobs, x_test=blobs[2], bs=10), Recorded(), seed=0)
    learn.fit(2, 1e-2)
    return learn


def passes_seen(learn: Learner, n: int) -> np.ndarray[Any, Any]:
    """Raw outputs (n, N, C) of the passes just made: each batch n times in a row."""
    seen = learn.model.outputs
    batches = [torch.stack(seen[start : start + n]) for start in range(0, len(seen), n)]  # type: ignore[index, arg-type]
    return torch.cat(batches, dim=1).double().numpy()


def test_mean_spread_and_uncertainty_by_hand(dropping: Learner, blobs: tuple[Tensor, ...]) -> None:
    running = dropping.model.norm.running_mean.clone()  # type: ignore[union-attr, operator]
    dropping.model.outputs.clear()  # type: ignore[union-attr, operator]
    found = dropping.mc_dropout(n=7)
    raw = passes_seen(dropping, 7)
    assert raw.shape == (7, 32, 2)
    assert raw.std(0).min() > 0, "every pass drops something else"
    probs = np.exp(raw) / np.exp(raw).sum(2, keepdims=True)
    np.testing.assert_allclose(found.mean, probs.mean(0), atol=1e-6)
    np.testing.assert_allclose(found.std, probs.std(0), atol=1e-6)
    entropy = -(probs.mean(0) * np.log(probs.mean(0))).sum(1)
    of_each = -(probs * np.log(probs)).sum(2).mean(0)
    np.testing.assert_allclose(found.entropy, entropy, atol=1e-6)
    np.testing.assert_allclose(found.mutual_information, entropy - of_each, atol=1e-6)
    assert torch.equal(found.targets, blobs[3])
    assert torch.equal(dropping.model.norm.running_mean, running)  # type: ignore[union-attr, arg-type]


def test_only_dropout_is_on(dropping: Learner) -> None:
    modes: set[tuple[bool, ...]] = set()
    model = dropping.model
    model.register_forward_hook(lambda m, i, o: modes.add((m.training, m.norm.training, m.drop.training)))  # type: ignore[union-attr]
    model.train()
    model.last.eval()  # type: ignore[union-attr, operator]
    dropping.mc_dropout(n=2)
    assert modes == {(False, False, True)}
    assert [m.training for m in (model, model.norm, model.drop, model.last)] == [True, True, True, False]  # type: ignore[union-attr]
    model.eval()
    dropping.mc_dropout(n=2)
    assert not any(module.training for module in model.modules())


def test_dropout_follows_the_seed_alone(dropping: Learner) -> None:
    first = dropping.mc_dropout(n=3)
    torch.manual_seed(7)
    state = torch.get_rng_state()
    assert torch.equal(dropping.mc_dropout(n=3).std, first.std)
    assert torch.equal(state, torch.get_rng_state())
    dropping.seed = 1
    assert not torch.equal(dropping.mc_dropout(n=3).std, first.std)


def test_tasks_without_classes_and_with_several_labels(blobs: tuple[Tensor, ...]) -> None:
    x, y = blobs[0], blobs[1][:, None].float()
    for task, n_out in ((Regression(("a",)), 1), (MultiLabel(("a", "b")), 2)):
        targets = y.expand(-1, n_out).contiguous()
        learn = Learner(DataBunch.from_tensors(x, targets, x, targets, task=task, bs=16), Recorded(n_out), seed=0)
        learn.model.outputs.clear()  # type: ignore[union-attr, operator]
        found = learn.mc_dropout(n=4)
        raw = passes_seen(learn, 4)
        if isinstance(task, Regression):
            np.testing.assert_allclose(found.std, raw.std(0), atol=1e-5)
            assert found.entropy is None
            assert found.mutual_information is None
            continue
        p = 1 / (1 + np.exp(-raw))
        mean = p.mean(0)
        entropy = -(mean * np.log(mean) + (1 - mean) * np.log(1 - mean)).sum(1)
        of_each = -(p * np.log(p) + (1 - p) * np.log(1 - p)).sum(2).mean(0)
        np.testing.assert_allclose(found.entropy, entropy, atol=1e-5)
        np.testing.assert_allclose(found.mutual_information, entropy - of_each, atol=1e-5)


def test_a_set_without_labels_has_no_targets(dropping: Learner) -> None:
    assert dropping.mc_dropout(DatasetType.Test, n=2).targets is None
    with pytest.raises(DataError, match="no items"):
        dropping.mc_dropout([])


def test_what_dropout_cannot_do_is_refused(blobs: tuple[Tensor, ...], dropping: Learner) -> None:
    for n in (1, 0, True, 2.0):
        with pytest.raises(UsageError, match="n: got"):
            dropping.mc_dropout(n=n)  # type: ignore[arg-type]
    for model in (nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.0))):
        with pytest.raises(UsageError, match="no dropout"):
            Learner(DataBunch.from_tensors(*blobs), model, seed=0).mc_dropout()
