"""Predictions averaged over augmented images, by hand."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import DataBunch, DatasetType, ImageDataBunch, Learner, Segmentation, load_learner
from learnkit.errors import UsageError
from learnkit.inference.augmented import augmented_pair
from learnkit.transforms import Flip, RandomResizedCrop
from tests.doubles import linear_learner, refused


class Corner(nn.Module):
    """Sees only the left column, so that a mirrored image gets a different prediction."""

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


def test_a_certain_mirror_by_hand(class_folder: Path) -> None:
    """If every image is mirrored, all passes are equal: 0.25 plain + 0.75 mirrored."""
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


def test_each_pass_and_each_item_is_augmented_independently(class_folder: Path) -> None:
    learn = image_learner(class_folder, [Flip()])
    x = plain_inputs(learn)
    plain, mirrored = probs_of(learn, x), probs_of(learn, x.flip(3))
    preds, _ = learn.tta(n=6, beta=0.0)
    counts = ((preds - plain) / (mirrored - plain)).mean(1) * 6  # how often each image was mirrored in 6 passes
    torch.testing.assert_close(counts, counts.round(), atol=1e-2, rtol=0)
    drawn = set(counts.round().tolist())
    assert drawn <= set(range(7))
    assert len(drawn - {0, 6}) > 1, "passes differ, and so do images"
    assert 18 < counts.sum() < 54  # of 12 images x 6 passes


def test_a_pass_does_not_depend_on_the_number_of_passes(class_folder: Path) -> None:
    learn = image_learner(class_folder, [Flip()])
    one, two, three = (learn.tta(n=n, beta=0.0)[0] for n in (1, 2, 3))
    x = plain_inputs(learn)
    plain, mirrored = probs_of(learn, x), probs_of(learn, x.flip(3))
    for single in (one, 2 * two - one, 3 * three - 2 * two):  # the first, the second and the third pass
        is_mirrored = ((single - plain) / (mirrored - plain)).mean(1)
        torch.testing.assert_close(is_mirrored, is_mirrored.round(), atol=1e-2, rtol=0)


@pytest.mark.parametrize("cache", [None, "memory"])
def test_random_crops_are_part_of_the_augmentation(class_folder: Path, cache: Any) -> None:
    learn = image_learner(class_folder, [RandomResizedCrop((16, 16), min_scale=0.2), Flip()], cache=cache)
    plain = learn.get_preds()[0]
    augmented, _ = learn.tta(beta=0.0)
    assert not torch.allclose(plain, augmented, atol=1e-4)
    assert torch.equal(learn.tta(n=2, beta=1.0)[0], plain)


def test_it_depends_on_the_seed_only_and_has_no_side_effects(class_folder: Path) -> None:
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


def test_data_that_cannot_be_augmented_is_refused(class_folder: Path, blobs: tuple[Tensor, ...]) -> None:
    with pytest.raises(UsageError, match="does not augment"):
        image_learner(class_folder, False).tta()
    with pytest.raises(UsageError, match="no images to augment"):
        linear_learner(blobs).tta()
    with pytest.raises(UsageError, match="ds_type: got"):
        image_learner(class_folder, True).tta("vlaid")


@pytest.mark.parametrize(
    ("name", "value"), [*(("n", n) for n in (0, True, 1.5)), *(("beta", share) for share in (1.5, -0.1, None))]
)
def test_invalid_arguments_are_refused(name: str, value: Any, class_folder: Path) -> None:
    with refused(name, got=value):
        image_learner(class_folder, True).tta(**{name: value})


def test_masks_are_refused(blobs: tuple[Tensor, ...]) -> None:
    dls = DataBunch.from_tensors(*blobs)
    dls.task = Segmentation(("ground", "box"))
    with refused("tta: masks of augmented images would have to be transformed back", fix="Use get_preds."):
        augmented_pair(dls, DatasetType.Valid)


@pytest.mark.parametrize("form", ["paths", "texts", "tuple", "loader", "loader of the part"])
def test_new_images_are_averaged_like_those_of_the_data(form: str, class_folder: Path) -> None:
    learn = image_learner(class_folder, [Flip(p=0.5)])
    files = [Path(file) for file in learn.dls.samples.query("split == 'valid'")["input"]]
    forms: dict[str, Any] = {
        "paths": lambda: files, "texts": lambda: [str(file) for file in files], "tuple": lambda: tuple(files),
        "loader": lambda: learn.dls.test_dl_from(files), "loader of the part": lambda: learn.dls.valid_dl,
    }  # fmt: skip
    preds, targets = learn.tta(forms[form]())
    assert torch.equal(preds, learn.tta()[0])
    assert targets is None or form == "loader of the part"


def test_new_images_need_images_an_augmentation_and_an_order(class_folder: Path, blobs: tuple[Tensor, ...]) -> None:
    file = next(class_folder.rglob("*.png"))
    with pytest.raises(UsageError, match="does not augment"):
        image_learner(class_folder, False).tta([file])
    with pytest.raises(UsageError, match="no images to augment"):
        linear_learner(blobs).tta([blobs[0][0]])
    learn = image_learner(class_folder, True)
    assert torch.equal(learn.tta(learn.dls.train_dl)[0], learn.tta("train")[0]), "the training loader is that part"
    shuffled = image_learner(class_folder, True).dls.train_dl
    with pytest.raises(UsageError, match="shuffled"):
        learn.tta(shuffled)
    loaded = load_learner(learn.export("m.lk"), model=Corner())
    for source in ("valid", [file]):
        with pytest.raises(UsageError, match=r"no data, it can only predict.*learn\.dls ="):
            loaded.tta(source)
    loaded.dls = learn.dls  # as advised
    assert loaded.tta([file])[0].shape == (1, 3)
