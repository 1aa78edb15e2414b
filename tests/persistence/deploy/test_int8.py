"""Files of 8 bits: small, nearly as good, and what they cost is measured and said."""

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from learnkit import DataBunch, Learner, load_learner
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import MultiLabel, Regression, Task
from learnkit.errors import ExportError, UsageError
from learnkit.metrics.metric import make_metrics
from learnkit.persistence.deploy import int8
from learnkit.persistence.deploy.flat_outputs import Flat
from learnkit.persistence.deploy.onnx_graph import graph_of, runner
from learnkit.persistence.deploy.real_data import RealData

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def learn() -> Learner:
    """A network of two wide layers on three clouds."""
    numbers = torch.Generator().manual_seed(0)
    y = torch.arange(300) % 3
    x = torch.randn(300, 8, generator=numbers) + 1.5 * nn.functional.one_hot(y, 8)
    dls = DataBunch.from_tensors(x[:200], y[:200], x[200:], y[200:], bs=20, classes=["a", "b", "c"], device="cpu")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 3))
    learn = Learner(dls, model, metrics="accuracy", seed=0)
    learn.fit(2, 1e-2)
    return learn


def described(path: Path) -> dict[str, Any]:
    return json.loads(path.with_name(f"{path.name}.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def outputs(path: Path, inputs: torch.Tensor) -> "np.ndarray[Any, Any]":
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["output"], {"input": inputs.numpy()})[0]  # type: ignore[no-any-return]


def test_it_is_small_and_its_accuracy_is_in_the_file(
    learn: Learner, tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEARNKIT_PROGRESS", "plain")
    plain = learn.export(tmp_path / "plain", to="onnx")
    small = learn.export(tmp_path / "small", to="onnx", quantize="int8")
    assert small.stat().st_size < 0.4 * plain.stat().st_size
    weights = {tensor.name: tensor for tensor in onnx.load(small).graph.initializer}
    assert any(tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 2 for tensor in weights.values())
    x, y = learn.dls.valid_dl.tensors
    before, after = outputs(plain, x), outputs(small, x)
    np.testing.assert_allclose(after.sum(1), 1, atol=1e-5)  # still ends in probabilities
    facts = described(small)["quantization"]
    expected = {"float32": (before.argmax(1) == y.numpy()).mean(), "int8": (after.argmax(1) == y.numpy()).mean()}
    assert facts["metrics"]["accuracy"] == pytest.approx(expected)
    assert (facts["on"], facts["items"], facts["calibration_items"]) == ("validation set", 100, int8.N_CALIBRATION)
    assert 0 < facts["mean_abs_diff"] < facts["max_abs_diff"] < 0.1 * facts["max_abs_output"]
    held = onnxruntime.InferenceSession(small).get_modelmeta().custom_metadata_map
    assert json.loads(held["quantization"]) == facts
    assert f"accuracy {expected['float32']:.4f} before and {expected['int8']:.4f} after" in capfd.readouterr().err


@pytest.mark.slow
def test_masks_several_labels_and_numbers_are_measured_in_their_metrics(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.randn(120, 3, 8, 8)
    pooled = x.mean((2, 3)) * 8
    layers = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU()]
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    cases: list[tuple[Task, torch.Tensor, list[nn.Module], float, float]] = [
        (Segmentation(["a", "b"]), (x[:, 0] > x[:, 1]).long(), [nn.Conv2d(16, 2, 1)], 0.85, 1.0),
        (MultiLabel(("a", "b")), (pooled[:, :2] > 0).float(), [*pool, nn.Linear(16, 2)], 0.85, 1.0),
        (Regression(("u", "v")), pooled[:, :2], [*pool, nn.Linear(16, 2)], 0.0, 0.5),
    ]
    for task, y, head, lowest, highest in cases:
        dls = DataBunch.from_tensors(x[:80], y[:80], x[80:], y[80:], bs=20, task=task, device="cpu")
        torch.manual_seed(0)
        learn = Learner(dls, nn.Sequential(*copy.deepcopy(layers), *head), seed=0)
        learn.fit(20, 5e-2)
        path = learn.export(tmp_path / type(task).__name__, to="onnx", quantize="int8")
        plain = learn.export(tmp_path / "plain", to="onnx")
        facts = described(path)["quantization"]
        assert facts["calibration_items"] == 80  # all that there are
        for kind, file in (("float32", plain), ("int8", path)):
            found, truth = outputs(file, x[80:]), y[80:].numpy()
            match task:
                case Regression():
                    right = np.sqrt(((found - truth) ** 2).mean())
                case MultiLabel():
                    right = ((found > 0.5) == truth).mean()
                case _:
                    right = (found.argmax(1) == truth).mean()
            assert next(iter(facts["metrics"].values()))[kind] == pytest.approx(right, abs=1e-4), (task, facts)
            assert lowest < right < highest, (task, facts)
        assert 0 < facts["mean_abs_diff"] < 0.05 * facts["max_abs_output"], (task, facts)


@pytest.mark.slow
@pytest.mark.parametrize("sides", [(), (4, 5)])
def test_the_mean_error_of_each_output_is_taken_off(sides: tuple[int, ...]) -> None:
    x = torch.randn(6, 3, *sides, generator=torch.Generator().manual_seed(0))
    wrong = torch.tensor([0.5, -2.0, 0.0]).view(3, *[1] * len(sides))

    class Off(nn.Module):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return input - wrong

    model = int8.corrected(graph_of(Off().eval(), x), lambda x: x, x.split(1), Flat(lambda x: x, x))
    torch.testing.assert_close(runner(model)(x), x)


@pytest.mark.slow
def test_of_several_outputs_each_has_its_own_mean_error_taken_off() -> None:
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))

    class Off(nn.Module):
        def forward(self, input: torch.Tensor) -> list[torch.Tensor]:
            return [input - 0.5, input.argmax(1), 2 * input + 0.25, input.sum() + 1]

    def right(x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"once": x, "where": x.argmax(1), "twice": 2 * x, "sum": x.sum()}

    flat = Flat(right, x)
    graph = graph_of(Off().eval(), x, outputs=flat.names)
    found = flat.filled(runner(int8.corrected(graph, right, x.split(1), flat))(x))
    expected = right(x) | {"sum": x.sum() + 1}  # a number for the whole batch has no mean of items
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_what_changed_is_said_of_each_of_several_outputs() -> None:
    x, y = torch.eye(4), torch.arange(4)
    dls = DataBunch.from_tensors(x, y, x, y, bs=4, classes=list("abcd"), device="cpu")

    def before(x: torch.Tensor) -> Any:
        return x, {"large": 100 * x}, x.argmax(1)

    def after(x: torch.Tensor) -> Any:
        return x + 0.5, {"large": 100 * x + torch.tensor([0.0, 0.0, 0.0, 2.0])}, x.argmax(1) + 1

    facts = int8.changes(before, after, RealData(dls, make_metrics("accuracy"), are_chosen=False), x)
    first, second = facts["outputs"]
    assert first == {"mean_abs_diff": 0.5, "max_abs_diff": 0.5, "max_abs_output": 1.0}
    assert second == {"mean_abs_diff": 0.5, "max_abs_diff": 2.0, "max_abs_output": 100.0}
    assert (facts["mean_abs_diff"], facts["max_abs_diff"], facts["max_abs_output"]) == (0.5, 2.0, 100.0)
    assert facts["metrics"] == {}  # those of the task take one output
    chosen = RealData(dls, make_metrics(lambda outputs, y: (outputs[0].argmax(1) == y).float().mean()))
    assert list(int8.changes(before, after, chosen, x)["metrics"].values()) == [{"float32": 1.0, "int8": 1.0}]


def test_every_batch_is_run_once() -> None:
    x, y = torch.eye(4), torch.arange(4)
    dls = DataBunch.from_tensors(x, y, x, y, bs=2, classes=list("abcd"), device="cpu")
    seen: dict[str, list[int]] = {"before": [], "after": []}

    def watched(name: str) -> Any:
        return lambda batch: (seen[name].append(int(batch.argmax())), batch)[1]

    facts = int8.changes(watched("before"), watched("after"), RealData(dls, make_metrics("accuracy")), x)
    assert seen == {"before": [0, 2], "after": [0, 2]}
    assert (facts["items"], facts["metrics"]) == (4, {"accuracy": {"float32": 1.0, "int8": 1.0}})


def test_a_large_loss_is_a_warning() -> None:
    x, y = torch.eye(4), torch.arange(4)
    dls = DataBunch.from_tensors(x, y, x, y, bs=4, classes=list("abcd"), device="cpu")
    data = RealData(dls, make_metrics("accuracy"))
    with pytest.warns(UserWarning, match="int8: accuracy falls from 1 to 0.25 on the validation set"):
        facts = int8.changes(lambda x: x, torch.zeros_like, data, x)
    assert facts["metrics"] == {"accuracy": {"float32": 1.0, "int8": 0.25}}
    assert (facts["mean_abs_diff"], facts["max_abs_diff"], facts["max_abs_output"]) == (0.25, 1.0, 1.0)


@pytest.mark.parametrize(
    ("metric", "grown", "says"),
    [
        ("mae", 2.0, "mae rises from 1 to 2 "),
        ("rmse", 1.2, "rmse rises from 1 to 1.2 "),
        ("mse", 1.2, "mse rises from 1 to 1.44 "),
        ("mae", 1.05, None),
        ("mae", 0.5, None),
        ("mae", float("nan"), "mae falls from 1 to nan "),
    ],
)  # fmt: skip
def test_an_error_that_grows_is_a_warning_whatever_its_unit(metric: Any, grown: float, says: str | None) -> None:
    x = torch.tensor([[-1.0], [1.0], [-1.0], [1.0]])
    y = torch.zeros(4, 1)
    dls = DataBunch.from_tensors(x, y, x, y, bs=4, task=Regression(("n",)), device="cpu")
    data = RealData(dls, make_metrics(metric))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        int8.changes(lambda x: x, lambda x: x * grown, data, x)
    assert [str(one.message).startswith(f"int8: {says}") for one in caught] == [True] * (says is not None)


def test_without_data_to_calibrate_on_it_is_refused(learn: Learner, tmp_path: Path) -> None:
    loaded = load_learner(learn.export(tmp_path / "a.lk"), model=learn.model, device="cpu")
    with pytest.raises(UsageError, match=r"calibrated on training items, .* learn\.dls = dls"):
        loaded.export(tmp_path / "b", to="onnx", quantize="int8")
    for to in ("lk", "pt2"):
        with pytest.raises(UsageError, match='belongs to to="onnx"'):
            learn.export(tmp_path / "b", to=to, quantize="int8")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="quantize: got 'int4'"):
        learn.export(tmp_path / "b", to="onnx", quantize="int4")  # type: ignore[arg-type]
    assert [file.name for file in tmp_path.iterdir()] == ["a.lk"]


@pytest.mark.slow
def test_a_model_of_which_nothing_becomes_8_bits_is_refused(tmp_path: Path) -> None:
    x, y = torch.eye(4, dtype=torch.float64), torch.arange(4)
    dls = DataBunch.from_tensors(x, y, x, y, bs=4, classes=list("abcd"), device="cpu")
    learn = Learner(dls, nn.Linear(4, 4).double())
    with pytest.raises(ExportError, match=r"nothing in the model to quantize: .* in float32"):
        learn.export(tmp_path / "m", to="onnx", quantize="int8")
    assert list(tmp_path.iterdir()) == []
