"""Embeddings of a learner, and the items that are alike by them."""

import copy
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from learnkit import DataBunch, ImageDataBunch, Learner, cnn_learner, load_learner
from learnkit.errors import DataError, UsageError
from learnkit.learner import similarity as module
from tests.doubles import Blobs, acting


class Net(nn.Module):
    """A convolution, a norm layer, dropout in the body, and a head that is called by the forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.bn = nn.BatchNorm2d(6)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(6, 3)
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        out: Tensor = self.fc(self.drop(self.bn(self.conv(x)).relu()).mean((2, 3)))
        return out


@pytest.fixture
def learn(class_folder: Path) -> Learner:
    dls = ImageDataBunch.from_folder(class_folder, size=16, bs=4, num_workers=0)
    torch.manual_seed(0)
    return Learner(dls, Net(), groups=lambda m: [m.conv, m.bn, m.fc], seed=0)


def n_seen(learn: Learner) -> int:
    """How many items the network has got."""
    return sum(learn.model.seen)  # type: ignore[arg-type]


def inputs(learn: Learner, part: str) -> Tensor:
    return torch.cat([x for x, *_ in learn.dls.ordered_dl(part)])


def features(learn: Learner, part: str) -> Tensor:
    """By the layers, called one by one."""
    net = copy.deepcopy(learn.model).eval()
    with torch.no_grad():
        return net.bn(net.conv(inputs(learn, part))).relu().mean((2, 3))  # type: ignore[operator, no-any-return]


@pytest.mark.parametrize("part", ["train", "valid"])
def test_embed_is_what_the_head_gets(learn: Learner, part: str) -> None:
    learn.model.train()
    random = torch.get_rng_state()
    found = learn.embed(part)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, features(learn, part), rtol=0, atol=1e-6)
    assert all(part.training for part in learn.model.modules())
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in learn.model.modules())
    assert torch.is_grad_enabled()


def test_items_are_embedded_in_every_form(learn: Learner) -> None:
    files = learn.dls.samples.query("split == 'valid'")["input"].tolist()[:3]
    pixels = np.asarray(Image.open(files[2]))
    expected = features(learn, "valid")[:3]
    torch.testing.assert_close(learn.embed([files[0], Image.open(files[1]), pixels]), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(learn.embed(learn.dls.valid_dl)[:3], expected, rtol=0, atol=1e-6)
    with pytest.raises(UsageError, match="ds_type"):
        learn.embed(files[0])


def test_features_of_a_layer(learn: Learner) -> None:
    net = copy.deepcopy(learn.model).eval()
    with torch.no_grad():
        expected = net.conv(inputs(learn, "valid"))  # type: ignore[operator]
    for layer in ("conv", learn.model.conv):
        torch.testing.assert_close(learn.embed("valid", layer=layer), expected.mean((2, 3)), rtol=0, atol=1e-6)  # type: ignore[arg-type]
    assert learn.embed("valid", layer="fc").shape == (12, 3)


def test_a_layer_that_is_not_there(learn: Learner) -> None:
    with pytest.raises(UsageError, match="layer: got 'cnov', expected a module of the model, or its name such as conv"):
        learn.embed("valid", layer="cnov")
    with pytest.raises(UsageError, match="layer: got 'Linear'"):
        learn.embed("valid", layer=nn.Linear(2, 2))


class TwoCalls(Net):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = super().forward(x) + self.fc(torch.zeros(1, 6))
        return out


def test_a_head_that_does_not_stand_apart_asks_for_a_layer(learn: Learner, blobs: Blobs) -> None:
    single = Learner(DataBunch.from_tensors(*blobs), nn.Sequential(nn.Linear(2, 5), nn.Linear(5, 2)), seed=0)
    with pytest.raises(UsageError, match=r"embed: this model has 1 layer group.*layer="):
        single.embed()
    assert single.embed(layer="0").shape[1] == 5
    learn.model = TwoCalls()
    learn.split(lambda m: [m.conv, m.bn, m.fc])
    learn.model.train()
    with pytest.raises(UsageError, match=r"embed: its head is not called once.*layer="):
        learn.embed()
    with pytest.raises(UsageError, match="layer 'fc' is called 2 times"):
        learn.embed(layer="fc")
    assert all(part.training for part in learn.model.modules())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in learn.model.modules())


def test_in_half_precision_the_result_is_float32(learn: Learner) -> None:
    expected = learn.embed()
    found = learn.to_bf16().embed()
    assert found.dtype == torch.float32
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)


def test_beside_a_fit_of_another_thread(learn: Learner) -> None:
    seen: list[Tensor] = []
    alone = copy.deepcopy(learn)

    def ask(state: Any) -> None:
        other = threading.Thread(target=lambda: seen.append(learn.embed("valid")))
        other.start()
        other.join()

    learn.fit(1, 1e-2, callbacks=acting(before_batch=ask))
    alone.fit(1, 1e-2)
    assert len(seen) == 6
    for name, tensor in alone.model.state_dict().items():
        assert torch.equal(learn.model.state_dict()[name], tensor)


def test_similar_items_are_those_at_the_smallest_angles(learn: Learner) -> None:
    item = learn.dls.samples.query("split == 'valid'")["input"].iloc[5]
    found = learn.similar(item, k=4)
    bank, query = features(learn, "train").double(), features(learn, "valid").double()[5]
    distances = 1 - bank @ query / (bank.norm(dim=1) * query.norm())
    order = distances.argsort()[:4].tolist()
    rows = learn.dls.samples.query("split == 'train'").iloc[order]
    assert found.columns.tolist() == ["input", "target", "distance"]
    assert found["input"].tolist() == rows["input"].tolist()
    assert found["target"].tolist() == rows["target"].tolist()
    np.testing.assert_allclose(found["distance"], distances[order], atol=1e-6)
    assert learn.similar(item, k=1, ds_type="valid")["distance"].item() == pytest.approx(0, abs=1e-9)
    assert learn.similar(item, ds_type="valid")["input"][0] == item


def test_features_are_computed_once_until_anything_changes(learn: Learner) -> None:
    item = learn.dls.samples["input"].iloc[0]

    def computed() -> int:
        """How many items the network gets for an answer, which is the one that it gives without what is kept."""
        before = n_seen(learn)
        answer = learn.similar(item, k=24)
        seen = n_seen(learn) - before
        learn._kept.clear() if seen == 1 else None
        fresh = learn.similar(item, k=24)
        assert answer.equals(fresh)
        return seen

    assert computed() == 25
    assert computed() == 1
    with torch.no_grad():
        learn.model.conv.weight.data[0, 0, 0, 0] += 1e-3  # type: ignore[index, operator, union-attr]
    assert computed() == 25
    learn.model.bn.running_mean += 0.1  # type: ignore[operator]
    assert computed() == 25
    learn.model.bn.eps = 0.1  # type: ignore[union-attr]
    assert computed() == 25
    learn.fit(1, 1e-2)
    assert computed() == 25
    learn.to_bf16()
    assert computed() == 25
    learn.to_fp32()
    Image.new("RGB", (24, 24), "white").save(learn.dls.samples.query("split == 'train'")["input"].iloc[3])
    assert computed() == 25
    learn.dls = learn.dls.drop([0])  # type: ignore[attr-defined]
    assert computed() == 24


def test_labels_are_those_of_now(learn: Learner) -> None:
    item = learn.dls.samples.query("split == 'train'")["input"].iloc[0]
    old = learn.similar(item)["target"].iloc[0]
    other = next(name for name in learn.dls.classes if name != old)
    learn.dls = learn.dls.relabel(pd.DataFrame({"input": [item], "target": [other]}))  # type: ignore[attr-defined]
    before = n_seen(learn)
    assert learn.similar(item)["target"].iloc[0] == other
    assert n_seen(learn) - before == 1  # the features are the same
    found = learn.outliers().set_index("input")["target"]
    assert found.get(item, other) == other


def test_a_model_with_hooks_is_asked_every_time(learn: Learner) -> None:
    item = learn.dls.samples["input"].iloc[0]
    hook = learn.model.conv.register_forward_hook(lambda part, args, out: out)  # type: ignore[union-attr, operator]
    for _ in range(2):
        before = n_seen(learn)
        learn.similar(item)
        assert n_seen(learn) - before == 25
    hook.remove()


def test_what_was_computed_while_the_weights_changed_is_not_kept(
    learn: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changing(*args: Any, **options: Any) -> Any:
        found = module_predict(*args, **options)
        with torch.no_grad():
            learn.model.fc.weight += 1  # type: ignore[operator, union-attr]
        return found

    module_predict = module.predict_loader
    monkeypatch.setattr(module, "predict_loader", changing)
    learn.similar(learn.dls.samples["input"].iloc[0])
    assert next(iter(learn._kept.values())).identity == ""


def test_tensors_and_loaders_without_a_table(blobs: Blobs) -> None:
    dls = DataBunch.from_tensors(*blobs)
    model = nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 2))
    learn = Learner(dls, model, groups=lambda m: [m[0], m[2]], seed=0)
    found = learn.similar(blobs[0][4], k=2)
    assert found["input"][0] == 4
    assert found["distance"][0] == pytest.approx(0, abs=1e-9)
    with torch.no_grad():
        dls.train_dl.tensors[0][7] = blobs[0][4]
    assert learn.similar(blobs[0][4], k=2)["input"].tolist() == [4, 7]
    own = DataBunch.from_loaders([(blobs[0][:9], blobs[1][:9])], classes=["a", "b"])
    found = Learner(own, model, groups=lambda m: [m[0], m[2]], seed=0).similar(blobs[0][4], k=2)
    assert found["input"].tolist()[0] == "4"


def test_a_loaded_learner_embeds_alike(class_folder: Path, tmp_path: Path) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=32, bs=4, num_workers=0)
    learn = cnn_learner(dls, "resnet18", pretrained=False, seed=0)
    files = dls.samples["input"].tolist()[:3]
    loaded = load_learner(learn.export(tmp_path / "a.lk"))
    torch.testing.assert_close(loaded.embed(files), learn.embed(files))
    assert loaded.embed(files).shape == (3, 1024)
    with pytest.raises(UsageError, match="has no data"):
        loaded.similar(files[0])


@pytest.mark.filterwarnings("ignore:36 of 36 items look almost like two others")  # true of random weights
def test_near_duplicates_and_outliers_of_the_data(learn: Learner) -> None:
    samples = learn.dls.samples
    train, valid = (samples[samples["split"] == split]["input"].tolist() for split in ("train", "valid"))
    Image.open(train[2]).save(valid[1])
    pairs = learn.near_duplicates(1e-7)
    assert pairs[["input", "other_input", "split", "other_split"]].iloc[0].tolist() == [
        valid[1], train[2], "valid", "train"
    ]  # fmt: skip
    assert pairs[["item", "other_item"]].iloc[0].tolist() == [1, 2]
    assert pairs.columns.tolist() == [
        "item", "input", "target", "split", "other_item", "other_input", "other_target", "other_split", "distance"
    ]  # fmt: skip
    found = learn.outliers()
    assert found.columns.tolist() == ["item", "input", "target", "split", "score"]


def test_broken_weights_are_named_as_such(learn: Learner) -> None:
    nn.init.constant_(learn.model.conv.weight, torch.nan)
    for search in (learn.outliers, learn.near_duplicates, lambda: learn.similar(learn.dls.samples["input"][0])):
        with pytest.raises(DataError, match="nan or infinite"):
            search()
