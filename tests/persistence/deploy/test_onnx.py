"""ONNX files: the outputs of the model in another program, from pixels to probabilities."""

import hashlib
import json
import logging
import platform
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import learnkit
from learnkit import DataBunch, ImageDataBunch, Learner, MultiLabel, Regression, cnn_learner
from learnkit.errors import ExportError, UsageError
from learnkit.losses.activations import softmax
from learnkit.persistence.deploy import onnx as onnx_module
from learnkit.persistence.export import export
from learnkit.persistence.spec import ExportSpec
from tests.doubles import AddsNoise

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

CLASSES = ["Käfer", "ant & bee", "wasp"]
SIZE = 32
N_IMAGES = 24


def session(path: Path) -> Any:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def outputs(path: Path, inputs: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    return session(path).run(["output"], {"input": inputs})[0]  # type: ignore[no-any-return]


def properties(path: Path) -> dict[str, str]:
    return dict(session(path).get_modelmeta().custom_metadata_map)


def described(path: Path) -> dict[str, Any]:
    return json.loads(path.with_name(f"{path.name}.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def learn(tmp_path_factory: pytest.TempPathFactory) -> Learner:
    """A trained network with learnkit's head, on images of several sizes; it is left in train mode."""
    root = tmp_path_factory.mktemp("images")
    numbers = np.random.default_rng(0)
    for i in range(2 * N_IMAGES):
        kind = i % 3
        folder = root / ("train", "valid")[i % 2] / CLASSES[kind]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = numbers.integers(0, 160, (30 + i, 48, 3))
        pixels[..., kind] += 90
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    dls = ImageDataBunch.from_folder(root, size=SIZE, bs=8, num_workers=0, device="cpu", seed=0)
    layers = [nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU()]
    learn = cnn_learner(dls, nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1)), cut=-1, pretrained=False, seed=0)
    learn.fit(2, 1e-2)
    learn.model.train()
    return learn


@pytest.fixture(scope="module")
def exported(learn: Learner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The learner's model with its preprocessing inside, at temperature 2."""
    folder = tmp_path_factory.mktemp("exported")
    assert isinstance(learn.dls, ImageDataBunch)
    spec = ExportSpec(
        learn.model, learn.dls.input_shape, learn.dls.task, learn.dls.preprocess,
        activation=learn.activation, temperature=2.0,
    )  # fmt: skip
    return export(folder / "model", spec, "onnx", preprocessing=True)


def test_pixels_in_the_probabilities_of_the_model_out(learn: Learner, exported: Path) -> None:
    dls = learn.dls
    assert isinstance(dls, ImageDataBunch)
    files = dls.samples.query("split == 'valid'")["input"].tolist()
    pixels = np.stack([dls.preprocess.decode(file)[0] for file in files])
    assert pixels.shape == (N_IMAGES, SIZE, SIZE, 3)
    found = outputs(exported, pixels)
    preds, _ = learn.get_preds(activ=lambda raw: (raw / 2).softmax(1))
    np.testing.assert_allclose(found, preds.numpy(), atol=1e-4)
    for file, row in zip(files, found, strict=True):
        _, index, one = learn.predict(file)
        np.testing.assert_allclose(row, one.sqrt().div(one.sqrt().sum()), atol=1e-4)  # temperature 2: roots of p
        assert row.argmax() == int(index)


def test_any_number_of_images_at_once(exported: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, SIZE, SIZE, 3), dtype=np.uint8)
    together = outputs(exported, pixels)
    alone = np.concatenate([outputs(exported, pixels[i : i + 1]) for i in range(9)])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    (given,), (taken,) = session(exported).get_outputs(), session(exported).get_inputs()
    assert (taken.name, taken.type, taken.shape) == ("input", "tensor(uint8)", ["batch", SIZE, SIZE, 3])
    assert (given.name, given.type, given.shape) == ("output", "tensor(float)", ["batch", 3])


def test_the_file_describes_its_input_and_output(exported: Path) -> None:
    held = properties(exported)
    assert json.loads(held["classes"]) == CLASSES
    assert (held["task"], held["decode"]) == ("classification", "argmax")
    assert json.loads(held["input"]) == {
        "name": "input", "type": "uint8", "shape": ["batch", SIZE, SIZE, 3], "layout": "NHWC",
    }  # fmt: skip
    assert json.loads(held["output"])["activation"] == "softmax"
    assert json.loads(held["output"])["temperature"] == 2.0
    assert held["preprocessing"] == "inside"
    steps = {step["name"]: step["args"] for step in json.loads(held["transforms"])}
    assert steps["resize"] == {"size": [SIZE, SIZE], "method": "crop", "interpolation": "bilinear"}
    assert steps["normalize"] == {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    assert held["learnkit"] == learnkit.__version__


def test_the_description_next_to_it(exported: Path) -> None:
    facts = described(exported)
    content = exported.read_bytes()
    assert sorted(path.name for path in exported.parent.iterdir()) == ["model.onnx", "model.onnx.json"]
    assert facts["sha256"] == hashlib.sha256(content).hexdigest()
    assert (facts["file"], facts["bytes"], facts["format"]) == ("model.onnx", len(content), "onnx")
    assert facts["classes"] == CLASSES
    assert 0 <= facts["parity"]["max_abs_diff"] <= facts["parity"]["tolerance"] == 1e-4
    assert (facts["parity"]["inputs"], facts["parity"]["batch_sizes"]) == (8, [1, 8])
    packages = (learnkit, torch, onnx, onnxruntime, sys.modules["onnxscript"])
    expected = {package.__name__: str(package.__version__) for package in packages}
    assert facts["versions"] == expected | {"python": platform.python_version()}


def test_one_valid_file_without_paths_of_the_machine(exported: Path) -> None:
    model = onnx.load(exported, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert [part.version for part in model.opset_import if not part.domain] == [described(exported)["opset"]]
    assert model.graph.initializer
    assert not any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer)
    content = exported.read_bytes()
    assert b"site-packages" not in content
    assert str(Path(__file__).parents[2]).encode() not in content


@pytest.mark.slow
def test_a_compiled_multilabel_model_is_not_changed(tmp_path: Path, capfd: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Dropout(0.9), nn.Linear(4, 2)).train()
    model.compile(backend="eager")
    model(torch.randn(6, 5)).sum().backward()
    model[0].bias.requires_grad_(False)
    model[1].eval()
    task = MultiLabel(("sun", "rain"), threshold=0.25)

    def state() -> dict[str, Any]:
        return {
            "modes": [module.training for module in model.modules()],
            "weights": {
                name: (id(tensor), tensor.clone()) for name, tensor in model.state_dict(keep_vars=True).items()
            },
            "gradients": [None if p.grad is None else (id(p.grad), p.grad.clone()) for p in model.parameters()],
            "trained": [p.requires_grad for p in model.parameters()],
            "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
            "compiled": id(model._compiled_call_impl),
        }

    before, random = state(), torch.get_rng_state()
    path = export(tmp_path / "tiny.onnx", ExportSpec(model, (5,), task, activation=task.activation), "onnx")
    assert str(state()) == str(before)
    assert torch.equal(torch.get_rng_state(), random)
    assert capfd.readouterr() == ("", "")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["tiny.onnx", "tiny.onnx.json"]
    x = torch.randn(3, 5)
    with torch.no_grad():
        expected = model.eval()(x).sigmoid()
    np.testing.assert_allclose(outputs(path, x.numpy()), expected.numpy(), atol=1e-5)
    facts = described(path)
    assert (facts["task"], facts["decode"]) == ("multilabel", "threshold:0.25")
    assert facts["input"] == {"name": "input", "type": "float32", "shape": ["batch", 5]}
    assert (facts["output"]["activation"], facts["preprocessing"]) == ("sigmoid", "outside")
    assert facts["transforms"] == [{"name": "tensor", "args": {"shape": [5]}}]


def test_numbers_come_out_unchanged(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight.mul_(1e6)  # a float32 of this size is exact to a tenth
    path = export(tmp_path / "prices", ExportSpec(model, (3,), Regression(("low", "high"))), "onnx")
    x = torch.randn(4, 3)
    np.testing.assert_allclose(outputs(path, x.numpy()), model(x).detach().numpy(), rtol=1e-5)
    assert described(path)["task_args"] == {"names": ["low", "high"]}
    assert described(path)["output"]["activation"] == "identity"
    assert described(path)["parity"]["max_abs_output"] > 1e5


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_named_with_its_extra(package: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf'the package {package}.*pip install "learnkit\[onnx\]"'):
        export(tmp_path / "x", ExportSpec(nn.Linear(2, 2), (2,)), "onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_model_beyond_two_gigabytes_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(onnx_module, "MAX_BYTES", 23)
    with pytest.raises(ExportError, match=r"weights take 24 bytes, one ONNX file holds 23"):
        export(tmp_path / "x", ExportSpec(nn.Linear(2, 2), (2,)), "onnx")
    with torch.device("meta"):
        giant = nn.Linear(2**15, 2**15)
    monkeypatch.undo()
    with pytest.raises(ExportError, match=r"weights take 4,295,098,368 bytes"):
        export(tmp_path / "x", ExportSpec(giant, (2**15,)), "onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_what_torch_prints_and_warns_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any, logged: list[logging.LogRecord]
) -> None:
    real = torch.onnx.export

    def chatty(*args: Any, **options: Any) -> Any:
        print("[torch.onnx] Run decomposition...")
        print("a warning of the exporter", file=sys.stderr)
        logging.getLogger("torch.onnx").warning("a deprecated option")
        warnings.warn_explicit("deprecated", FutureWarning, "registration.py", 1, module="torch.onnx._internal")
        return real(*args, **options)

    monkeypatch.setattr(torch.onnx, "export", chatty)
    export(tmp_path / "x", ExportSpec(nn.Linear(2, 2), (2,)), "onnx")
    assert capfd.readouterr() == ("", "")
    assert [record for record in logged if record.levelno >= logging.WARNING] == []


class Eigenvalues(nn.Module):
    """torch can capture it, and ONNX has no operator for it."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvalsh(x @ x.mT)  # type: ignore[no-any-return]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (AddsNoise(), r"difference between the outputs .* expected at most 0\.000\d+"),
        (Eigenvalues(), "cannot be written as ONNX"),
    ],
)
def test_what_onnx_cannot_express_is_refused(model: nn.Module, message: str, tmp_path: Path, capfd: Any) -> None:
    with pytest.raises(ExportError, match=message) as caught:
        export(tmp_path / "x", ExportSpec(model, (3, 3)), "onnx")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().out == ""


@pytest.mark.slow
def test_masks_of_a_unet(tmp_path: Path) -> None:
    from learnkit import Segmentation, unet_learner

    torch.manual_seed(0)
    x, y = torch.randn(8, 3, 64, 48), torch.randint(0, 4, (8, 64, 48))
    dls = DataBunch.from_tensors(x, y, x, y, bs=4, task=Segmentation(["sky", "road", "car", "tree"]), device="cpu")
    learn = unet_learner(dls, "resnet18", pretrained=False, seed=0)
    learn.fit(1, 1e-3)
    path = export(tmp_path / "unet", ExportSpec(learn.model, (3, 64, 48), dls.task, activation=softmax), "onnx")
    found = outputs(path, x[:5].numpy())
    assert found.shape == (5, 4, 64, 48)
    np.testing.assert_allclose(found, learn.get_preds()[0][:5].numpy(), atol=1e-4)
    assert described(path)["task"] == "segmentation"
    assert described(path)["classes"] == ["sky", "road", "car", "tree"]
