"""load_learner with data that is not float32: items are what they were for the learner that was exported."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learnkit import DataBunch, Learner, load_learner
from learnkit.errors import CorruptFileError, WrongTypeError
from tests.doubles import slow
from tests.persistence.conftest import forged, manifest_in

Y = torch.arange(16) % 3


class Pixels(nn.Module):
    """Takes bytes from 0 to 255, and floats from 0 to 1."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x / 255 if x.dtype == torch.uint8 else x)  # type: ignore[no-any-return]


def words() -> nn.Module:
    return nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(16, 3))


def doubles() -> nn.Module:
    return nn.Linear(4, 3).double()


MODELS: dict[str, tuple[torch.dtype, Callable[[], nn.Module]]] = {
    "uint8": (torch.uint8, Pixels),
    "int64": (torch.int64, words),
    "float64": (torch.float64, doubles),
}


def data(dtype: torch.dtype) -> Tensor:
    return torch.randint(0, 9, (16, 4), generator=torch.Generator().manual_seed(0)).to(dtype)


def both(name: str, folder: Path) -> tuple[Tensor, Learner, Learner]:
    """The data, a learner, and what it was exported as."""
    dtype, make = MODELS[name]
    torch.manual_seed(0)
    x = data(dtype)
    learn = Learner(DataBunch.from_tensors(x, Y, x, Y, bs=8, device="cpu"), make())
    return x, learn, load_learner(learn.export(folder / "m.lk"), model=make(), device="cpu")


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_learner_gives_its_model_the_dtype_of_the_data(name: str, tmp_path: Path) -> None:
    x, learn, loaded = both(name, tmp_path)
    with torch.no_grad():
        expected = learn.model.eval()(x).softmax(1)
    for item in (x[3], x[3].numpy(), x[3].tolist()):
        torch.testing.assert_close(loaded.predict(item).probs, expected[3])
    for found in (loaded.predict_many(x[:4]), loaded.predictor().predict_batch(x[:4])):
        torch.testing.assert_close(torch.stack([each.probs for each in found]), expected[:4])
    torch.testing.assert_close(loaded.get_preds(loaded.dls.test_dl_from(x))[0], expected)


@pytest.mark.parametrize("name", ["uint8", "int64"])
def test_a_loaded_learner_refuses_the_floats_that_the_first_one_refuses(name: str, tmp_path: Path) -> None:
    x, learn, loaded = both(name, tmp_path)
    for one in (learn, loaded):
        with pytest.raises(WrongTypeError, match=f"item: got torch.float32, expected integers.*{name}"):
            one.predict(x[3].float())


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_learner_is_exported_with_the_dtype_of_the_data(name: str, tmp_path: Path) -> None:
    x, learn, loaded = both(name, tmp_path)
    assert manifest_in(loaded.export(tmp_path / "again.lk"))["transforms"] == [
        {"name": "tensor", "args": {"shape": [4], "dtype": name}}
    ]
    program = torch.export.load(loaded.export(tmp_path / "m.pt2", "pt2")).module()
    described = json.loads((tmp_path / "m.pt2.json").read_text())
    assert described["input"]["type"] == name
    torch.testing.assert_close(program(x), learn.get_preds()[0])


@pytest.mark.parametrize("name", ["uint8", slow("int64"), slow("float64")])
def test_an_onnx_file_of_a_loaded_learner_takes_the_dtype_of_the_data(name: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    x, learn, loaded = both(name, tmp_path)
    path = loaded.export(tmp_path / "m.onnx", "onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(["output"], {"input": x.numpy()})
    np.testing.assert_allclose(found, learn.get_preds()[0].numpy(), atol=1e-6)


@pytest.mark.parametrize("dtype", ["float31", "torch.uint8", "__class__", "", 3, None, ["uint8"], "object"])
def test_a_dtype_that_is_none_is_refused(dtype: Any, tmp_path: Path) -> None:
    both("uint8", tmp_path)
    file = forged(tmp_path / "m.lk", lambda content: content["transforms"][0]["args"].update(dtype=dtype))
    with pytest.raises(CorruptFileError, match=r"args dtype: got .*, expected one of .*uint8"):
        load_learner(file, model=Pixels(), device="cpu")


def test_a_file_without_a_dtype_is_of_float32(tmp_path: Path) -> None:
    both("uint8", tmp_path)
    file = forged(tmp_path / "m.lk", lambda content: content["transforms"][0]["args"].pop("dtype"))
    assert load_learner(file, model=Pixels(), device="cpu").dls.prepare([1, 2, 3, 4]).dtype == torch.float32
