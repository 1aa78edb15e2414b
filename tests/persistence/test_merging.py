"""Learners with adapters on disk: alone, merged, resumed; and models of PEFT that a user made."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import DataBunch, Learner, cnn_learner, load_learner
from learnkit.callbacks import EMA, SWA
from learnkit.errors import CorruptFileError, MissingModelError, UsageError, VersionError

timm = pytest.importorskip("timm")
peft = pytest.importorskip("peft")

ARCH = "timm/test_vit3"


def data() -> DataBunch:
    torch.manual_seed(3)
    x, y = torch.rand(16, 3, 32, 32), torch.arange(16) % 2
    x[y == 1, 0] += 1
    return DataBunch.from_tensors(x, y, x, y, classes=["a", "b"], bs=4)


@pytest.fixture
def base() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return dict(timm.create_model("test_vit3").state_dict())


@pytest.fixture
def learn(base: dict[str, Tensor], tmp_path: Path) -> Learner:
    learner = cnn_learner(data(), ARCH, lora=2, weights=base, seed=1, path=tmp_path, lin_ftrs=[], ps=0.0)
    learner.fit(1, 1e-2)
    return learner


def trained(learn: Learner) -> set[str]:
    return {name for name, p in learn.model.named_parameters() if p.requires_grad}


def frozen_values(learn: Learner) -> dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in learn.model.named_parameters() if ".lora_" not in n and n[0] == "0"}


@pytest.mark.slow
def test_freezing_and_unfreezing_never_train_the_base(base: dict[str, Tensor]) -> None:
    learn = cnn_learner(data(), ARCH, lora=2, weights=base, seed=1)
    body, at_first = frozen_values(learn), trained(learn)
    head = {name for name in at_first if name.startswith("1.")}
    assert at_first - head == {name for name, _ in learn.model.named_parameters() if ".lora_" in name}
    assert trained(learn.freeze()) == head
    assert head < trained(learn.freeze_to(1)) < at_first
    assert trained(learn.unfreeze()) == at_first
    learn.fine_tune(1)
    assert trained(learn) == at_first
    learn.fit(1, slice(1e-3, 1e-2), callbacks=[EMA(0.5)])
    learn.fit(2, slice(1e-3, 1e-2), callbacks=[SWA(0.0)])
    assert all(torch.equal(value, body[name]) for name, value in frozen_values(learn).items())
    assert learn.history["train_loss"].iloc[-1] < learn.history["train_loss"].iloc[0]


@pytest.mark.slow
def test_the_file_holds_the_adapters_and_the_head_and_needs_the_base(
    learn: Learner, base: dict[str, Tensor], tmp_path: Path
) -> None:
    import safetensors

    file = learn.export(tmp_path / "m.lk")
    with safetensors.safe_open(file, "pt") as opened:
        held = set(opened.keys())
    linear = {n for n, m in learn.model[0].named_modules() if n.endswith("base_layer")}
    assert not any(f"0.{name}.weight" in held for name in linear)
    assert trained(learn) <= held
    preds = learn.get_preds("valid")[0]
    torch.save(base, tmp_path / "base.pth")
    for weights in (base, tmp_path / "base.pth"):
        loaded = load_learner(file, weights=weights)
        loaded.dls = data()
        assert torch.equal(loaded.get_preds("valid")[0], preds)
    again = load_learner(loaded.export(tmp_path / "again.lk"), weights=base)
    again.dls = data()
    assert torch.equal(again.get_preds("valid")[0], preds)
    assert trained(again) == trained(learn)


@pytest.mark.slow
def test_another_base_or_none_is_refused(learn: Learner, base: dict[str, Tensor], tmp_path: Path) -> None:
    file = learn.export(tmp_path / "m.lk")
    with pytest.raises(MissingModelError, match=r"holds adapters without the weights.*weights=.*merge=True"):
        load_learner(file)
    other = {name: tensor.clone() for name, tensor in base.items()}
    other["blocks.0.mlp.fc1.weight"][0, 0] += 1e-6
    with pytest.raises(UsageError, match=r"its adapters were trained with other weights .* than the given weights"):
        load_learner(file, weights=other)
    whole = learn.export(tmp_path / "whole.lk", merge=True)
    with pytest.raises(UsageError, match=r"weights: got 'dict', expected None.* has all weights in it"):
        load_learner(whole, weights=base)
    with pytest.raises(UsageError, match=r"weights= and model=: .*Leave out model="):
        load_learner(file, weights=base, model=learn.model)


@pytest.mark.slow
def test_a_tensor_of_the_base_that_was_changed_is_in_the_file(
    learn: Learner, base: dict[str, Tensor], tmp_path: Path
) -> None:
    small = learn.export(tmp_path / "small.lk").stat().st_size
    with torch.no_grad():
        learn.model[0].network.blocks[0].mlp.fc1.base_layer.weight[0, 0] += 1
    file = learn.export(tmp_path / "m.lk")
    assert file.stat().st_size > small
    loaded = load_learner(file, weights=base)
    loaded.dls = data()
    assert torch.equal(loaded.get_preds("valid")[0], learn.get_preds("valid")[0])


@pytest.mark.slow
def test_published_weights_are_fetched_by_their_tag_and_no_path_is_read(
    base: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, fetched = timm.create_model, []

    def fetch(name: str, pretrained: bool = False, **options: Any) -> nn.Module:
        model: nn.Module = create(name.partition(".")[0], pretrained=False, **options)
        if pretrained:
            fetched.append(name)
            model.load_state_dict({k: v for k, v in base.items() if not k.startswith("head.")})
        return model

    monkeypatch.setattr(timm, "create_model", fetch)
    learn = cnn_learner(data(), ARCH, lora=2, seed=1, path=tmp_path)
    file = learn.export(tmp_path / "m.lk")
    loaded = load_learner(file)
    loaded.dls = data()
    assert torch.equal(loaded.get_preds("valid")[0], learn.get_preds("valid")[0])
    tag = timm.get_pretrained_cfg("test_vit3").tag
    assert fetched == ["test_vit3", f"test_vit3.{tag}"]
    assert learn.base is not None
    monkeypatch.setattr(learn, "base", type(learn.base)("secret.pth", learn.base.digests))
    with pytest.raises(CorruptFileError, match=r"got .secret\.pth., expected the name of published weights"):
        load_learner(learn.export(tmp_path / "bad.lk"))


@pytest.mark.slow
def test_a_random_base_is_exported_merged_unless_told_otherwise(tmp_path: Path) -> None:
    learn = cnn_learner(data(), ARCH, pretrained=False, lora=2, seed=1)
    learn.fit(1, 1e-2)
    whole, alone = learn.export(tmp_path / "whole.lk"), learn.export(tmp_path / "alone.lk", merge=False)
    assert alone.stat().st_size < whole.stat().st_size
    loaded = load_learner(whole)
    loaded.dls = data()
    torch.testing.assert_close(loaded.get_preds("valid")[0], learn.get_preds("valid")[0], rtol=1e-4, atol=1e-5)
    state = {n.replace("0.network.", "").replace(".base_layer", ""): t for n, t in learn.model.state_dict().items()}
    kept = {name: tensor for name, tensor in state.items() if ".lora_" not in name and not name.startswith("1.")}
    loaded = load_learner(alone, weights=kept)
    loaded.dls = data()
    assert torch.equal(loaded.get_preds("valid")[0], learn.get_preds("valid")[0])


@pytest.mark.slow
def test_a_merged_file_has_the_groups_and_no_adapters(learn: Learner, tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in learn.model.state_dict().items()}
    loaded = load_learner(learn.export(tmp_path / "m.lk", merge=True))
    assert all(torch.equal(tensor, before[name]) for name, tensor in learn.model.state_dict().items())
    assert len(loaded.groups) == len(learn.groups)
    assert trained(loaded) == {name for name in trained(learn) if name.startswith("1.")}
    assert not any("lora" in name for name in loaded.model.state_dict())
    loaded.unfreeze()
    assert all(p.requires_grad for p in loaded.model.parameters())


@pytest.mark.slow
def test_frozen_adapters_from_a_file_train_after_unfreeze_and_the_base_does_not(
    learn: Learner, base: dict[str, Tensor], tmp_path: Path
) -> None:
    at_first = trained(learn)
    loaded = load_learner(learn.freeze().export(tmp_path / "m.lk"), weights=base)
    assert trained(loaded) == {name for name in at_first if name.startswith("1.")}
    assert trained(loaded.unfreeze()) == at_first


@pytest.mark.slow
def test_an_earlier_reader_refuses_the_file(
    learn: Learner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: dict[str, Tensor]
) -> None:
    from learnkit.persistence.lk import manifest

    file = learn.export(tmp_path / "m.lk")
    monkeypatch.setattr(manifest, "KNOWN_FEATURES", frozenset())
    with pytest.raises(VersionError, match="requires features that this learnkit lacks: lora"):
        load_learner(file, weights=base)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["onnx", "pt2"])
def test_files_for_other_programs_are_merged(learn: Learner, to: Any, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript" if to == "onnx" else "torch")
    file = learn.export(tmp_path / "m", to=to)
    assert b"lora_A" not in file.read_bytes()
    with pytest.raises(UsageError, match=r'merge=False belongs to to="lk"'):
        learn.export(tmp_path / "n", to=to, merge=False)


def test_merge_is_refused_where_there_is_nothing_to_merge(tmp_path: Path) -> None:
    learn = Learner(data(), nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)))
    with pytest.raises(UsageError, match="merge: got True, expected None for a model without adapters"):
        learn.export(tmp_path / "m.lk", merge=True)
    with pytest.raises(UsageError, match="merge: got False"):
        learn.export(tmp_path / "m.lk", merge=False)


def test_weights_are_saved_and_loaded(learn: Learner, base: dict[str, Tensor], tmp_path: Path) -> None:
    learn.save("w")
    other = cnn_learner(data(), ARCH, lora=2, weights=base, seed=2, path=tmp_path, lin_ftrs=[], ps=0.0).load("w")
    assert torch.equal(other.get_preds("valid")[0], learn.get_preds("valid")[0])


def user_model() -> nn.Module:
    """A model of PEFT as its users make one."""
    torch.manual_seed(1)
    network = timm.create_model("test_vit3", num_classes=2, dynamic_img_size=True)
    config = peft.LoraConfig(r=2, target_modules=["qkv", "fc1"], modules_to_save=["head"])
    model: nn.Module = peft.get_peft_model(network, config)
    return model


@pytest.mark.slow
def test_a_model_of_peft_trains_and_is_exported(tmp_path: Path) -> None:
    learn = Learner(data(), user_model(), seed=1)
    at_first = trained(learn)
    body = {n: p.detach().clone() for n, p in learn.model.named_parameters() if n not in at_first}
    learn.unfreeze().fit(2, 1e-2)
    assert trained(learn) == at_first
    assert all(torch.equal(p, body[n]) for n, p in learn.model.named_parameters() if n in body)
    preds = learn.get_preds("valid")[0]
    loaded = load_learner(learn.export(tmp_path / "m.lk"), model=user_model())
    loaded.dls = data()
    assert torch.equal(loaded.get_preds("valid")[0], preds)
    assert trained(loaded.unfreeze()) == at_first
    merged = timm.create_model("test_vit3", num_classes=2, dynamic_img_size=True)
    whole = load_learner(learn.export(tmp_path / "merged.lk", merge=True), model=merged)
    whole.dls = data()
    torch.testing.assert_close(whole.get_preds("valid")[0], preds, rtol=1e-4, atol=1e-5)
    learn.export(tmp_path / "m", to="pt2")


@pytest.mark.slow
def test_familiarity_of_a_merged_model_is_that_of_its_adapters(tmp_path: Path) -> None:
    def network() -> nn.Sequential:
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 16), nn.ReLU(), nn.Linear(16, 2))

    model = peft.get_peft_model(network(), peft.LoraConfig(r=2, target_modules=["1", "3"]))
    layers = model.base_model.model
    learn = Learner(data(), model, seed=1, groups=[layers[1], layers[3]])
    learn.fit(1, 1e-2)
    learn.fit_conformal(0.2)
    x, _ = learn.dls.one_batch("valid")
    expected = [each.score for each in learn.predict_sets(x)]
    loaded = load_learner(learn.export(tmp_path / "merged.lk", merge=True), model=network())
    assert [each.score for each in loaded.predict_sets(x)] == pytest.approx(expected, abs=1e-2)
    assert loaded._fitted is not None
    assert loaded._fitted.layer == "3"
    _, scores = torch.export.load(learn.export(tmp_path / "m", to="pt2")).module()(x)
    assert scores.tolist() == pytest.approx(expected, abs=1e-2)


SCRIPT = """
import sys, torch
sys.path.insert(0, {tests!r})
from persistence.test_merging import data, user_model
from learnkit import Callback, Learner, cnn_learner
import os, signal

class Kill(Callback):
    def after_step(self, state):
        if state.step == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)

kind, _, out, folder = sys.argv[1:]
if kind == "lora":
    learn = cnn_learner(data(), "timm/test_vit3", pretrained=False, lora=2, seed=5, path=folder)
else:
    learn = Learner(data(), user_model(), seed=5, path=folder)
learn.fit(3, 1e-2, checkpoint_every=1, resume="auto", callbacks=[Kill()])
torch.save(learn.model.state_dict(), out)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lora", "peft"])
def test_a_fit_that_was_killed_goes_on_to_the_same_bits(kind: str, tmp_path: Path) -> None:
    script = tmp_path / "fit.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parents[1])))

    def run(step: int, out: str, folder: str) -> int:
        command = [sys.executable, str(script), kind, str(step), str(tmp_path / out), str(tmp_path / folder)]
        return subprocess.run(command, capture_output=True, env=os.environ, check=False).returncode

    assert run(7, "none.pth", "killed") == -signal.SIGKILL
    assert run(-1, "resumed.pth", "killed") == 0
    assert run(-1, "whole.pth", "whole") == 0
    resumed, whole = (torch.load(tmp_path / name) for name in ("resumed.pth", "whole.pth"))
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())
