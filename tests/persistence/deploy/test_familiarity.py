"""The second output of exports: how familiar an input is, by numpy, for each task, and after merging."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from learnkit import DataBunch, ImageDataBunch, Learner, cnn_learner
from learnkit.certainty.fitted import FittedCertainty
from learnkit.data.tasks import MultiLabel, Regression
from learnkit.errors import LearnkitWarning
from learnkit.persistence.deploy.familiarity import FamiliarityScore, output_names, without_familiarity
from tests.cli.trained import COLORS, draw
from tests.doubles import slow

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
D = 8


def learner(task: Any = None, *, grouped: bool = True, output: Any = None, model: Any = None) -> Learner:
    """A network of eight inputs, fitted to its sets and not trained."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(200, D, generator=random)
    y = (x[:, 0] > 0).long() if task is None else (x[:, :2] > 0).float()
    options: dict[str, Any] = {"classes": ["a", "b"]} if task is None else {"task": task}
    dls = DataBunch.from_tensors(x, y, x[:100] * 1.1, y[:100], **options)
    torch.manual_seed(0)
    model = model or nn.Sequential(nn.Linear(D, 16), nn.ReLU(), nn.Linear(16, 2))
    learn = Learner(dls, model, output=output, groups=[model[0], model[2]] if grouped else None)
    learn.temperature = 2.0
    learn.fit_conformal()
    return learn


def inputs() -> Tensor:
    return torch.randn(30, D, generator=torch.Generator().manual_seed(1)) * torch.linspace(0.1, 5, 30)[:, None]


def by_numpy(fitted: FittedCertainty, raw: Any, features: Any) -> Any:
    """Scores from raw outputs and features, as the docstring of the module of familiarity says."""
    facts, tensors = fitted.to_json()["familiarity"], list(fitted.tensors().values())
    raw, features = raw.detach().double().numpy(), features.detach().double().numpy()
    total = np.full(len(raw), -facts["threshold"])
    if "energy" in facts:
        one = facts["energy"]
        energy = np.log(np.exp(raw).sum(1)) if one["kind"] == "softmax" else np.log1p(np.exp(raw)).sum(1)
        total += np.minimum((energy - one["mean"]) / one["std"], 2)
    if "distance" in facts:
        one, (center, directions) = facts["distance"], (each.double().numpy() for each in tensors)
        x = features / np.linalg.norm(features, axis=1, keepdims=True) - center
        left = np.linalg.norm(x - x @ directions @ directions.T, axis=1)
        total += np.minimum((-left - one["mean"]) / one["std"], 2)
    return total


@pytest.mark.parametrize("activation", [True, False])
@pytest.mark.parametrize("grouped", [slow(True), False])
@pytest.mark.parametrize("task", [None, slow(MultiLabel(("one", "two"))), slow(Regression(("a", "b")))])
def test_files_return_the_score(task: Any, grouped: bool, activation: bool, tmp_path: Path) -> None:
    learn, x = learner(task, grouped=grouped), inputs()
    file = learn.export(tmp_path / "m.onnx", to="onnx", activation=activation)
    session = onnxruntime.InferenceSession(file)
    found = session.run(None, {"input": x.numpy()})
    described = json.loads(file.with_name("m.onnx.json").read_text())
    if isinstance(task, Regression) and not grouped:  # nothing tells it
        assert [each.name for each in session.get_outputs()] == ["output"]
        assert "familiarity" not in described
        return
    fitted = learn._fitted
    assert fitted is not None
    features = learn.model[:2](x)
    expected = by_numpy(fitted, learn.model(x), features)
    assert min(expected) < 0 < max(expected)
    np.testing.assert_allclose(found[1], expected, atol=1e-3)
    assert found[1].dtype == np.float32
    facts = {
        "name": "familiarity",
        "type": "float32",
        "shape": ["batch"],
        "familiar_from": 0.0,
        "share": 0.95,
        "n": 100,
    }
    assert described["familiarity"] == facts
    assert json.loads(session.get_modelmeta().custom_metadata_map["familiarity"]) == facts
    assert described["parity"]["familiarity"]["max_abs_diff"] < 1e-3
    shapes = {each.name: each.shape for each in session.get_outputs()}
    assert shapes == {"output": ["batch", 2], "familiarity": ["batch"]}
    pt2 = learn.export(tmp_path / "m.pt2", to="pt2", activation=activation)
    output, scores = torch.export.load(pt2).module()(x)
    np.testing.assert_allclose(scores, expected, atol=1e-3)
    np.testing.assert_allclose(output, found[0], atol=1e-5)


@pytest.mark.slow
def test_without_a_fit_there_is_one_output(tmp_path: Path) -> None:
    learn = learner()
    with torch.no_grad():
        learn.model[0].weight.add_(1)
    with pytest.warns(LearnkitWarning, match="so the export does not hold it"):
        file = learn.export(tmp_path / "m.onnx", to="onnx")
    assert [each.name for each in onnxruntime.InferenceSession(file).get_outputs()] == ["output"]


class Two(nn.Sequential):
    """Returns the features beside its outputs."""

    def forward(self, input: Tensor) -> Any:
        hidden = self[1](self[0](input))
        return {"hidden": hidden, "logits": self[2](hidden)}


@pytest.mark.slow
def test_of_several_outputs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    learn = learner(model=Two(nn.Linear(D, 16), nn.ReLU(), nn.Linear(16, 2)), output="logits")
    file, x = learn.export(tmp_path / "m.onnx", to="onnx"), inputs()
    [scores] = onnxruntime.InferenceSession(file).run(["familiarity"], {"input": x.numpy()})
    np.testing.assert_allclose(scores, [each.score for each in learn.predict_sets(x)], atol=1e-3)
    assert not learn.model[2]._forward_pre_hooks


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Learner:
    root = tmp_path_factory.mktemp("photos")
    for split, n in (("train", 6), ("valid", 4)):
        for label, color in COLORS.items():
            for i in range(n):
                draw(root / split / label / f"{i}.png", color, 10 * n + i, (30 + i, 40))
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    dls = ImageDataBunch.from_folder(root, size=24, bs=6, num_workers=0, device="cpu", seed=0, augment=False)
    learn = cnn_learner(dls, body, cut=-1, pretrained=False, seed=0)
    learn.fit_conformal(0.2)
    return learn


@pytest.mark.slow
@pytest.mark.parametrize("preprocessing", [True, "full"])
def test_of_images(photos: Learner, preprocessing: Any, tmp_path: Path) -> None:
    dls = photos.dls
    assert isinstance(dls, ImageDataBunch)
    files = dls.samples.query("split == 'valid'")["input"].tolist()
    file = photos.export(tmp_path / "m.onnx", to="onnx", preprocessing=preprocessing)
    session = onnxruntime.InferenceSession(file)
    for image, expected in zip(files, photos.predict_sets(files), strict=True):
        pixels = dls.preprocess.whole(image) if preprocessing == "full" else dls.preprocess.decode(image)[0]
        [(score,)] = session.run(["familiarity"], {"input": pixels[None]})
        assert score == pytest.approx(expected.score, abs=1e-2)
    parity = json.loads(file.with_name("m.onnx.json").read_text())["parity"]["familiarity"]
    assert ("whole_images" in parity) == (preprocessing == "full")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:int8. accuracy falls")
def test_a_file_of_8_bits_does_not_return_it(photos: Learner, tmp_path: Path) -> None:
    with pytest.warns(
        LearnkitWarning, match="the file does not return familiarity, whose threshold is that of the network before"
    ):
        file = photos.export(tmp_path / "m.onnx", to="onnx", quantize="int8")
    assert [each.name for each in onnxruntime.InferenceSession(file).get_outputs()] == ["output"]
    described = json.loads(file.with_name("m.onnx.json").read_text())
    assert "sets" in described
    assert "familiarity" not in described


def test_the_score_has_its_tensors_as_buffers() -> None:
    spec = learner()._export_spec()
    assert spec.certainty is not None
    assert spec.certainty.familiarity is not None
    assert {name for name, _ in FamiliarityScore(spec.certainty.familiarity).named_buffers()} == {
        "center",
        "directions",
    }
    assert output_names(spec) == ("output", "familiarity")
    assert output_names(without_familiarity(spec)) == ("output",)
    assert without_familiarity(replace(spec, certainty=None)).certainty is None


@pytest.mark.slow
def test_the_lines_of_the_page_need_neither_torch_nor_learnkit(photos: Learner, tmp_path: Path) -> None:
    """Those of docs/deploy.md, in a process of their own."""
    photos.export(tmp_path / "pets.onnx", to="onnx", preprocessing="full")
    draw(tmp_path / "cat.png", COLORS["red"], 999, (33, 40))  # new: thresholds are scores of validation images
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    page = (Path(__file__).parents[3] / "docs/deploy.md").read_text(encoding="utf-8")
    parts = [block.partition("```")[0] for block in page.split("```python\n")[1:]]
    lines = [part for part in parts if "onnxruntime.InferenceSession" in part or "none of these" in part]
    assert len(lines) == 2
    script = "\n".join([*lines, "import sys", "assert not {'torch', 'learnkit'} & {*sys.modules}"])
    for pixels in (None, noise):
        if pixels is not None:
            Image.fromarray(pixels).save(tmp_path / "cat.png")
        done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
        best, answer = done.stdout.splitlines()
        expected = photos.predict_set(tmp_path / "cat.png")
        assert abs(expected.score) > 0.01
        assert best == photos.predict(tmp_path / "cat.png").label
        assert answer == (str(expected.labels) if expected.is_familiar else "none of these")
