"""Lazy layers take their sizes from the data."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from learnkit import DataBunch, ImageDataBunch, Learner, load_learner
from learnkit.errors import UsageError
from learnkit.learner.lazy import give_sizes
from tests.doubles import Blobs, linear_learner


def lazy(n_out: int = 2) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(n_out))


def test_a_lazy_model_trains_is_saved_exported_and_loaded(blobs: Blobs, tmp_path: Path) -> None:
    learn = linear_learner(blobs, lazy())
    assert learn.model[0].weight.shape == (8, 2)  # type: ignore[index,union-attr]
    assert learn.model[1].num_batches_tracked == 0, "a batch that only tells sizes is not trained on"  # type: ignore[index]
    learn.fit(2, 1e-2)
    learn.save("lazy")
    expected = learn.get_preds()[0]
    assert torch.equal(linear_learner(blobs, lazy()).load("lazy").get_preds()[0], expected)
    loaded = load_learner(learn.export(tmp_path / "lazy.lk"), model=lazy())
    torch.testing.assert_close(loaded.predict(blobs[2][0]).probs, expected[0])


@pytest.mark.parametrize(
    "act",
    [
        lambda learn: learn.fit(1), lambda learn: learn.lr_find(num_it=6), lambda learn: learn.freeze_to(1),
        lambda learn: learn.load(learn.save("lazy")), lambda learn: learn.validate(),
    ],
)  # fmt: skip
def test_a_lazy_layer_that_comes_in_later_gets_its_sizes(act: Any, blobs: Blobs) -> None:
    model = lazy()
    learn = linear_learner(blobs, model, groups=lambda model: [model[3]])
    learn.fit(1)
    model[3] = nn.LazyLinear(2)
    act(learn)
    assert model[3].weight.shape == (2, 8)
    learn.fit(1)


def test_its_outputs_are_compared_with_the_classes(blobs: Blobs) -> None:
    with pytest.raises(UsageError, match="returns 3 outputs per item, the data has 2 classes"):
        linear_learner(blobs, lazy(3))


def test_images_in_batches(class_folder: Path) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=16, bs=4, num_workers=0)
    model = nn.Sequential(nn.LazyConv2d(4, 3, stride=4), nn.Flatten(), nn.LazyLinear(3))
    Learner(dls, model, seed=0).fit(1)
    assert (model[0].weight.shape, model[2].in_features) == ((4, 3, 3, 3), 4 * 4 * 4)


def test_a_batch_that_does_not_fit_is_an_error_in_a_sentence(blobs: Blobs) -> None:
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyLinear(2))
    with pytest.raises(UsageError, match="lazy layers of the model take their sizes from a batch"):
        linear_learner(blobs, model)
    model(torch.zeros(1, 3, 8, 8))  # as advised: the sizes are known then
    give_sizes(model, DataBunch.from_tensors(*blobs))


def test_the_generators_move_as_if_the_sizes_had_been_known(blobs: Blobs) -> None:
    torch.manual_seed(3)
    known = [nn.Linear(2, 8), nn.Linear(8, 2)]
    model = nn.Sequential(nn.LazyLinear(8), nn.LazyLinear(2))
    torch.manual_seed(3)
    give_sizes(model, DataBunch.from_tensors(*blobs))
    assert torch.equal(model[0].weight, known[0].weight)
    state = torch.get_rng_state()
    give_sizes(model, DataBunch.from_tensors(*blobs))
    assert torch.equal(state, torch.get_rng_state())
