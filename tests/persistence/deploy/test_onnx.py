"""ONNX files: the model's own answers in another program, from pixels to probabilities."""

import hashlib
import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import learnkit
from learnkit import DataBunch, ImageDataBunch, Learner, cnn_learner
from learnkit.data.tasks import MultiLabel, Regression
from learnkit.errors import ExportError, UsageError
from learnkit.losses.activations import softmax
from learnkit.persistence.deploy import onnx as onnx_module
from learnkit.persistence.deploy.formats import deploy
from learnkit.persistence.deploy.network import Deployment

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

CLASSES = ["Käfer", "ant & bee", "wasp"]
SIZE = 32
N_PICTURES = 24


def session(path: Path) -> Any:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def answers(path: Path, inputs: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    return session(path).run(["output"], {"input": inputs})[0]  # type: ignore[no-any-return]


def properties(path: Path) -> dict[str, str]:
    return dict(session(path).get_modelmeta().custom_metadata_map)


def described(path: Path) -> dict[str, Any]:
    return json.loads(path.with_name(f"{path.name}.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def deployment_of(learn: Learner, **changes: Any) -> Deployment:
    assert isinstance(learn.dls, ImageDataBunch)
    fields: dict[str, Any] = {
        "model": learn.model, "input_shape": learn.dls.input_shape, "task": learn.dls.task,
        "preprocess": learn.dls.preprocess, "activation": learn.activation,
    }  # fmt: skip
    return Deployment(**(fields | changes))


@pytest.fixture(scope="module")
def learn(tmp_path_factory: pytest.TempPathFactory) -> Learner:
    """A trained network with learnkit's head, on pictures of several sizes; it is left in train mode."""
    root = tmp_path_factory.mktemp("pictures")
    numbers = np.random.default_rng(0)
    for i in range(2 * N_PICTURES):
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
    return deploy(folder / "model", deployment_of(learn, preprocessing=True, temperature=2.0), "onnx")


def test_pixels_in_the_model_s_own_probabilities_out(learn: Learner, exported: Path) -> None:
    dls = learn.dls
    assert isinstance(dls, ImageDataBunch)
    files = dls.samples.query("split == 'valid'")["input"].tolist()
    pixels = np.stack([dls.preprocess.decode(file)[0] for file in files])
    assert pixels.shape == (N_PICTURES, SIZE, SIZE, 3)
    found = answers(exported, pixels)
    preds, _ = learn.get_preds(activ=lambda raw: (raw / 2).softmax(1))
    np.testing.assert_allclose(found, preds.numpy(), atol=1e-4)
    for file, row in zip(files, found, strict=True):
        _, index, one = learn.predict(file)
        np.testing.assert_allclose(row, one.sqrt().div(one.sqrt().sum()), atol=1e-4)  # temperature 2: roots of p
        assert row.argmax() == int(index)


def test_any_number_of_pictures_at_once(exported: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, SIZE, SIZE, 3), dtype=np.uint8)
    together = answers(exported, pixels)
    alone = np.concatenate([answers(exported, pixels[i : i + 1]) for i in range(9)])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    (given,), (taken,) = session(exported).get_outputs(), session(exported).get_inputs()
    assert (taken.name, taken.type, taken.shape) == ("input", "tensor(uint8)", ["batch", SIZE, SIZE, 3])
    assert (given.name, given.type, given.shape) == ("output", "tensor(float)", ["batch", 3])


def test_the_file_says_what_it_takes_and_gives(exported: Path) -> None:
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


def test_the_description_beside_it(exported: Path) -> None:
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


def test_one_valid_file_that_tells_nothing_of_the_machine(exported: Path) -> None:
    model = onnx.load(exported, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert [part.version for part in model.opset_import if not part.domain] == [described(exported)["opset"]]
    assert model.graph.initializer
    assert not any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer)
    content = exported.read_bytes()
    assert b"site-packages" not in content
    assert str(Path(__file__).parents[2]).encode() not in content


def test_several_labels_of_a_compiled_model_that_stays_as_it_is(tmp_path: Path, capfd: Any, monkeypatch: Any) -> None:
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
    path = deploy(tmp_path / "tiny.onnx", Deployment(model, (5,), task, activation=task.activation), "onnx")
    assert str(state()) == str(before)
    assert torch.equal(torch.get_rng_state(), random)
    assert capfd.readouterr() == ("", "")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["tiny.onnx", "tiny.onnx.json"]
    x = torch.randn(3, 5)
    with torch.no_grad():
        expected = model.eval()(x).sigmoid()
    np.testing.assert_allclose(answers(path, x.numpy()), expected.numpy(), atol=1e-5)
    facts = described(path)
    assert (facts["task"], facts["decode"]) == ("multilabel", "threshold:0.25")
    assert facts["input"] == {"name": "input", "type": "float32", "shape": ["batch", 5]}
    assert (facts["output"]["activation"], facts["preprocessing"]) == ("sigmoid", "outside")
    assert facts["transforms"] == [{"name": "tensor", "args": {"shape": [5]}}]


def test_numbers_come_out_as_they_are(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight.mul_(1e6)  # what a float32 holds of millions is no better than a tenth
    path = deploy(tmp_path / "prices", Deployment(model, (3,), Regression(("low", "high"))), "onnx")
    x = torch.randn(4, 3)
    np.testing.assert_allclose(answers(path, x.numpy()), model(x).detach().numpy(), rtol=1e-5)
    assert described(path)["task_args"] == {"names": ["low", "high"]}
    assert described(path)["output"]["activation"] == "identity"
    assert described(path)["parity"]["max_abs_output"] > 1e5


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_says_what_to_install(package: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf'the package {package}.*pip install "learnkit\[onnx\]"'):
        deploy(tmp_path / "x", Deployment(nn.Linear(2, 2), (2,)), "onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_model_beyond_two_gigabytes_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(onnx_module, "MAX_BYTES", 23)
    with pytest.raises(ExportError, match=r"weights take 24 bytes, one ONNX file holds 23"):
        deploy(tmp_path / "x", Deployment(nn.Linear(2, 2), (2,)), "onnx")
    with torch.device("meta"):
        giant = nn.Linear(2**15, 2**15)
    monkeypatch.undo()
    with pytest.raises(ExportError, match=r"weights take 4,295,098,368 bytes"):
        deploy(tmp_path / "x", Deployment(giant, (2**15,)), "onnx")
    assert list(tmp_path.iterdir()) == []


class Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


class Eigenvalues(nn.Module):
    """torch can capture it, and ONNX has nothing like it."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvalsh(x @ x.mT)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("model", "said"),
    [(Noisy(), r"not the model: outputs differ by .*at most 0.000\d+"), (Eigenvalues(), "cannot be written as ONNX")],
)
def test_what_onnx_cannot_say_is_refused(model: nn.Module, said: str, tmp_path: Path, capfd: Any) -> None:
    with pytest.raises(ExportError, match=said) as caught:
        deploy(tmp_path / "x", Deployment(model, (3, 3)), "onnx")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().out == ""


@pytest.mark.slow
def test_masks_of_a_unet(tmp_path: Path) -> None:
    from learnkit import unet_learner
    from learnkit.data.segmentation import Segmentation

    torch.manual_seed(0)
    x, y = torch.randn(8, 3, 64, 48), torch.randint(0, 4, (8, 64, 48))
    dls = DataBunch.from_tensors(x, y, x, y, bs=4, task=Segmentation(["sky", "road", "car", "tree"]), device="cpu")
    learn = unet_learner(dls, "resnet18", pretrained=False, seed=0)
    learn.fit(1, 1e-3)
    path = deploy(tmp_path / "unet", Deployment(learn.model, (3, 64, 48), dls.task, activation=softmax), "onnx")
    found = answers(path, x[:5].numpy())
    assert found.shape == (5, 4, 64, 48)
    np.testing.assert_allclose(found, learn.get_preds()[0][:5].numpy(), atol=1e-4)
    assert described(path)["task"] == "segmentation"
    assert described(path)["classes"] == ["sky", "road", "car", "tree"]
