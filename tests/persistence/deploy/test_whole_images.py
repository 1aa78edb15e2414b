"""Files that resize inside: whole images in, in a process without torch, and the predictions of the library out."""

import itertools
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from learnkit import ImageDataBunch, Learner, cnn_learner, load_learner
from learnkit.data.image.resize import Resize
from learnkit.errors import ExportError, UsageError
from learnkit.persistence.deploy import network
from learnkit.persistence.deploy.resizing import ResizeImages
from learnkit.persistence.deploy.whole_images import check_resizing
from learnkit.persistence.spec import ExportSpec

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

SIZE = 32
BARE = """
import json, sys
import numpy as np, onnxruntime
from PIL import Image
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
read = lambda file: np.asarray(Image.open(file).convert("RGB"))[None]
found = [session.run(["output"], {"input": read(file)})[0][0].tolist() for file in sys.argv[2:]]
assert not {"torch", "learnkit"} & set(sys.modules)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def learn(tmp_path_factory: pytest.TempPathFactory) -> Learner:
    """A trained network on images of many sizes, padded with the cubic filter."""
    root, numbers = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for i in range(24):
        folder = root / ("train", "valid")[i % 2] / ("red", "green", "blue")[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = numbers.integers(0, 160, (20 + 9 * i, 130 - 5 * i, 3))
        pixels[..., i % 3] += 90
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    dls = ImageDataBunch.from_folder(
        root, size=SIZE, bs=6, resize="pad", interpolation="bicubic", num_workers=0, device="cpu", seed=0
    )
    layers = [nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU()]
    learn = cnn_learner(dls, nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1)), cut=-1, pretrained=False, seed=0)
    learn.fit(2, 1e-2)
    return learn


@pytest.fixture(scope="module")
def exported(learn: Learner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learn.export(tmp_path_factory.mktemp("exported") / "model", to="onnx", preprocessing="full")


def described(path: Path) -> dict[str, Any]:
    return json.loads(path.with_name(f"{path.name}.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


@pytest.mark.slow
def test_a_process_without_torch_predicts_what_the_learner_predicts(learn: Learner, exported: Path) -> None:
    files = learn.dls.samples.query("split == 'valid'")["input"].tolist()
    run = subprocess.run([sys.executable, "-c", BARE, exported, *files], capture_output=True, text=True, check=True)
    expected = torch.stack([learn.predict(file).probs for file in files])
    np.testing.assert_allclose(json.loads(run.stdout), expected.numpy(), atol=1e-5)


@pytest.mark.slow
def test_the_description_says_what_was_compared(exported: Path) -> None:
    facts = described(exported)
    assert facts["preprocessing"] == "full"
    assert facts["input"]["shape"] == ["batch", "height", "width", 3]
    checked = facts["parity"]["whole_images"]
    assert (checked["of"], checked["images"], checked["tolerance"]) == ("validation set", 12, 0.02)
    assert len(checked["sizes"]) == 12
    assert [29, 125] in checked["sizes"]  # height first
    assert checked["max_abs_diff"] == checked["max_abs_diff_of_predict"] < 1e-5


@pytest.mark.slow
def test_a_learner_without_images_is_checked_on_made_ones(learn: Learner, tmp_path: Path) -> None:
    loaded = load_learner(learn.export(tmp_path / "model.lk"), model=learn.model, device="cpu")
    checked = described(loaded.export(tmp_path / "model.pt2", to="pt2", preprocessing="full"))["parity"]["whole_images"]
    assert (checked["of"], checked["images"]) == ("made images", 6)
    assert checked["max_abs_diff"] < 1e-5


def test_a_resize_that_is_another_is_refused(learn: Learner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "ResizeImages", lambda how: ResizeImages(Resize(how.size, "crop")))
    with pytest.raises(ExportError, match=r"for whole images and those of the library: got .*expected at most 0\.02"):
        learn.export(tmp_path / "model", to="pt2", preprocessing="full")
    assert list(tmp_path.iterdir()) == []


def test_nan_instead_of_a_number_is_refused(learn: Learner) -> None:
    spec = ExportSpec(learn.model, learn.dls.input_shape, preprocess=learn.dls.preprocess)
    for run, reference in ((torch.nan, 0.0), (0.0, torch.nan)):
        given = [lambda x, value=value: torch.full((len(x), 3), value) for value in (run, reference)]
        with pytest.raises(ExportError, match="for whole images and those of the library: got inf"):
            check_resizing(spec, *given, None)


@pytest.mark.slow
@pytest.mark.parametrize("full_decode", [False, True])
def test_photos_that_predict_reads_at_a_smaller_scale_are_a_warning(tmp_path: Path, full_decode: bool) -> None:
    numbers = np.random.default_rng(0)
    for part, label in itertools.product(("train", "valid"), ("a", "b")):
        (tmp_path / part / label).mkdir(parents=True)
        noise = numbers.integers(0, 256, (300, 260, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / part / label / "1.jpg")
    dls = ImageDataBunch.from_folder(
        tmp_path, size=SIZE, bs=2, num_workers=0, device="cpu", full_decode=full_decode, allow_leak=True
    )
    torch.manual_seed(0)
    layer = nn.Linear(3 * SIZE * SIZE, 2)
    nn.init.normal_(layer.weight, std=0.05)  # small differences of pixels matter
    learn = Learner(dls, nn.Sequential(nn.Flatten(), layer), seed=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        path = learn.export(tmp_path / "model", to="pt2", preprocessing="full")
    checked = described(path)["parity"]["whole_images"]
    said = [str(each.message) for each in caught if "full_decode=True" in str(each.message)]
    assert checked["max_abs_diff"] < 1e-5
    if full_decode:
        assert (said, checked["max_abs_diff_of_predict"] < 1e-5) == ([], True)
    else:
        assert checked["max_abs_diff_of_predict"] > checked["tolerance"]
        assert f"by up to {checked['max_abs_diff_of_predict']:.3g} from those of learn.predict" in said[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [(lambda learn: {"preprocessing": "Full"}, "expected False, True or 'full'")],
)
def test_another_preprocessing_is_refused(
    learn: Learner, tmp_path: Path, change: Callable[[Learner], dict[str, Any]], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        learn.export(tmp_path / "model", to="onnx", **change(learn))


def test_openvino_returns_the_same(learn: Learner, exported: Path) -> None:
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    model = core.compile_model(core.read_model(exported), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for file in learn.dls.samples.query("split == 'valid'")["input"]:
        found = model({"input": np.asarray(Image.open(file))[None]})["output"][0]
        np.testing.assert_allclose(found, learn.predict(file).probs.numpy(), atol=1e-4)
