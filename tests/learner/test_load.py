"""export and load_learner: the same predictions, in another process, and nothing of the file is run there."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from learnkit import (
    DataBunch,
    ImageDataBunch,
    Learner,
    LearnkitError,
    LearnkitWarning,
    MultiLabel,
    Regression,
    Segmentation,
    cnn_learner,
    load_learner,
    unet_learner,
)
from learnkit.errors import (
    CorruptFileError,
    DataError,
    MissingFileError,
    MissingModelError,
    UnsafeFileError,
    UsageError,
)
from learnkit.losses import FocalLoss
from tests.doubles import refused
from tests.persistence.conftest import forged, manifest_in


def own_label(path: str) -> str:
    """Of an image; no other process has this function."""
    return path.split("/")[-2]


def half_softmax(raw: Tensor) -> Tensor:
    """A custom activation."""
    return raw.softmax(1) * 0.5


@pytest.fixture
def dls(class_folder: Path) -> ImageDataBunch:
    return ImageDataBunch.from_name_func(
        class_folder, sorted(class_folder.rglob("*.png")), own_label, valid_pct=0.3, size=32, bs=8, num_workers=0,
        resize="squish", normalize=((0.4, 0.5, 0.6), (0.2, 0.3, 0.25)), device="cpu",
    )  # fmt: skip


@pytest.fixture
def learn(dls: ImageDataBunch) -> Learner:
    learn = cnn_learner(dls, "squeezenet1_1", pretrained=False, lin_ftrs=[], seed=0, metrics="accuracy")
    learn.fit(1, 1e-3)
    return learn


# What a process that only ever saw learnkit finds when it loads a file under an audit hook: its predictions, and what
# was imported, compiled, run, opened for writing or connected to while the manifest and the weights were read.
FRESH = """
import json, sys
import torch
from learnkit import load_learner
torch.set_num_threads(1)
file, twin, *images = sys.argv[1:]
load_learner(twin).predict(images[0])  # what torch and Pillow import at their first use is not seen again
seen = []
WATCHED = ("import", "exec", "compile", "socket.", "subprocess.", "os.system", "os.exec", "os.spawn", "os.posix_spawn",
           "pickle.", "marshal.", "ctypes.dlopen", "os.rename", "os.remove", "os.mkdir", "shutil.")
def hook(event, args):
    writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
    if on and (event.startswith(WATCHED) or writes):
        seen.append((event, repr(args)[:200]))
on = True
sys.addaudithook(hook)
learn = load_learner(file)
compile("0", "control", "eval")  # the hook does see what it is there to see
on = False
preds = [learn.predict(image) for image in images]
batch, _ = learn.get_preds(learn.dls.test_dl_from(images))
print(json.dumps({"labels": [label for label, _, _ in preds], "probs": [probs.tolist() for _, _, probs in preds],
                  "batch": batch.tolist(), "seen": seen, "classes": learn.dls.classes}))
"""


def in_a_fresh_process(file: Path, twin: Path, images: list[str]) -> dict[str, Any]:
    command = [sys.executable, "-W", "error", "-c", FRESH, str(file), str(twin), *images]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run(command, capture_output=True, text=True, cwd=file.parent, env=environment)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)  # type: ignore[no-any-return]


@pytest.mark.slow
def test_a_new_process_predicts_the_same_and_runs_nothing_from_the_file(
    learn: Learner, class_folder: Path, tmp_path: Path
) -> None:
    images = [str(path) for path in sorted(class_folder.glob("valid/*/*.png"))][:6]
    file, twin = learn.export(tmp_path / "m.lk"), learn.export(tmp_path / "twin.lk")
    found = in_a_fresh_process(file, twin, images)
    expected = [learn.predict(image) for image in images]
    assert found["labels"] == [label for label, _, _ in expected]
    assert found["classes"] == ["blue", "green", "red"]
    assert torch.equal(torch.tensor(found["probs"]), torch.stack([probs for _, _, probs in expected]))
    batch, _ = learn.get_preds(learn.dls.test_dl_from(images))
    assert torch.allclose(torch.tensor(found["batch"]), batch, rtol=0, atol=1e-6)
    assert [event for event, _ in found["seen"]] == ["compile"]
    assert "control" in found["seen"][0][1]


def test_an_image_can_be_a_path_a_pil_image_bytes_or_an_array(
    learn: Learner, class_folder: Path, tmp_path: Path
) -> None:
    loaded = load_learner(learn.export(tmp_path / "m.lk"), device="cpu")
    path = class_folder / "valid" / "red" / "1.png"
    pixels = np.asarray(Image.open(path))
    expected = learn.predict(path)[2]
    for item in (path, str(path), path.read_bytes(), Image.open(path), pixels):
        label, index, probs = loaded.predict(item)
        assert torch.equal(probs, expected)
        assert label == loaded.dls.classes[index]
    assert not loaded.model.training


def test_exporting_does_not_change_the_learner_and_is_deterministic(learn: Learner, tmp_path: Path) -> None:
    modes = [module.training for module in learn.model.modules()]
    random_before = torch.get_rng_state()
    first, second = learn.export(tmp_path / "a.lk"), learn.export(tmp_path / "sub" / "b")
    assert second == tmp_path / "sub" / "b.lk"
    assert first.read_bytes() == second.read_bytes()
    assert [module.training for module in learn.model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random_before)
    learn.fit(1, 1e-3)
    assert learn.export(tmp_path / "c.lk").read_bytes() != first.read_bytes()


def test_the_manifest_of_a_learner(learn: Learner, tmp_path: Path) -> None:
    content = manifest_in(learn.export(tmp_path / "m.lk", card="my words"))
    assert content["arch"] == {
        "source": "registry", "name": "squeezenet1_1", "config": {"in_ch": 3, "cut": None, "image_size": None},
    }  # fmt: skip
    assert content["head"] == {"kind": "concat_pool", "hidden": [], "dropout": 0.5, "bn_final": False, "n_out": 3}
    assert content["transforms"][-1] == {
        "name": "normalize",
        "args": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25]},
    }
    assert (content["loss"]["name"], content["card"], content["training"]["epochs"]) == ("cross_entropy", "my words", 1)
    assert content["training"]["metrics"].keys() == {"train_loss", "valid_loss", "accuracy"}
    assert str(tmp_path) not in json.dumps(content)
    assert "own_label" not in json.dumps(content)


def test_a_loaded_learner_has_no_data_to_train_on(learn: Learner, dls: ImageDataBunch, tmp_path: Path) -> None:
    loaded = load_learner(learn.export(tmp_path / "m.lk"), device="cpu")
    learning = (lambda: loaded.fit(1), loaded.lr_find, loaded.validate, loaded.get_preds, loaded.tta, loaded.interpret)
    for use in (*learning, loaded.dls.one_batch, loaded.dls.show_batch, loaded.dls.show_augmented):
        with pytest.raises(
            UsageError, match=r"loaded from .*m\.lk has no data, it can only predict\. Give it data to train"
        ):
            use()
    loaded.dls = dls
    loaded.fit(1, 1e-3)
    assert len(loaded.history) == 1


def test_a_loaded_learner_validates_a_loader(learn: Learner, dls: ImageDataBunch, tmp_path: Path) -> None:
    loaded = load_learner(learn.export(tmp_path / "a.lk"), device="cpu")
    assert loaded.validate(dls.valid_dl) == pytest.approx(learn.validate(), abs=1e-5)
    with pytest.raises(DataError, match="no items to count"):
        loaded.dls.summary()  # type: ignore[attr-defined]


def test_it_can_be_exported_again(learn: Learner, tmp_path: Path) -> None:
    first = learn.export(tmp_path / "a.lk")
    loaded = load_learner(first, device="cpu")
    second = loaded.export(tmp_path / "b.lk")
    old, new = manifest_in(first), manifest_in(second)
    assert new["weights"] == old["weights"]
    assert all(new[name] == old[name] for name in ("arch", "head", "classes", "transforms", "loss", "task"))


def test_the_temperature_goes_along(learn: Learner, class_folder: Path, tmp_path: Path) -> None:
    path = class_folder / "valid" / "red" / "1.png"
    plain = learn.predict(path)[2]
    learn.temperature = 3.0
    loaded = load_learner(learn.export(tmp_path / "m.lk"), device="cpu")
    assert loaded.temperature == 3
    assert torch.equal(loaded.predict(path)[2], learn.predict(path)[2])
    assert not torch.equal(loaded.predict(path)[2], plain)


@pytest.mark.slow
def test_a_compiled_learner_has_plain_names(learn: Learner, tmp_path: Path) -> None:
    plain = manifest_in(learn.export(tmp_path / "plain.lk"))
    learn.compile()
    assert manifest_in(learn.export(tmp_path / "inside.lk")) == plain
    learn.model = torch.compile(learn.model)  # type: ignore[assignment]
    assert manifest_in(learn.export(tmp_path / "around.lk")) == plain


def test_a_model_changed_after_it_was_built_is_a_custom_one(learn: Learner, tmp_path: Path) -> None:
    learn.model[1][-1] = nn.Sequential(nn.Tanh(), learn.model[1][-1])  # type: ignore[index, operator]
    with pytest.warns(LearnkitWarning, match="is no longer the squeezenet1_1 that was built"):
        file = learn.export(tmp_path / "m.lk")
    with pytest.raises(MissingModelError, match="weights for your custom model 'Sequential'"):
        load_learner(file)
    load_learner(file, model=learn.model, device="cpu")


def test_a_custom_head_or_cut_makes_the_model_a_custom_one(dls: ImageDataBunch, tmp_path: Path) -> None:
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 3))
    learn = cnn_learner(dls, "squeezenet1_1", pretrained=False, custom_head=head)
    assert manifest_in(learn.export(tmp_path / "m.lk"))["arch"] == {
        "source": "custom",
        "name": "Sequential",
        "config": {},
    }
    learn = cnn_learner(dls, "squeezenet1_1", pretrained=False, cut=lambda network: network.features)
    assert manifest_in(learn.export(tmp_path / "n.lk"))["arch"]["source"] == "custom"


def test_data_of_tensors_goes_through(blobs: Any, tmp_path: Path) -> None:
    dls = DataBunch.from_tensors(*blobs, bs=16, device="cpu")
    learn = Learner(dls, nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2)))
    file = learn.export(tmp_path / "m.lk")
    loaded = load_learner(file, model=nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2)), device="cpu")
    assert loaded.dls.input_shape == (2,)
    assert torch.equal(loaded.predict(blobs.x_valid[0])[2], learn.predict(blobs.x_valid[0])[2])
    found, targets = loaded.get_preds(loaded.dls.test_dl_from(blobs.x_valid))
    assert torch.allclose(found, learn.get_preds()[0], atol=1e-6)
    assert targets is None
    with pytest.raises(UsageError, match=r"item: got \(3,\), expected the shape of one input, \(2,\)"):
        loaded.predict(torch.zeros(3))


def test_several_labels_keep_their_thresholds(class_folder: Path, tmp_path: Path) -> None:
    files = sorted(class_folder.rglob("*.png"))
    labels = [[file.parent.name, "any"] for file in files]
    task = MultiLabel(("any", "blue", "green", "red"), (0.9, 0.2, 0.5, 0.1))
    dls = ImageDataBunch.from_lists(class_folder, files, labels, task=task, size=32, bs=8, num_workers=0, device="cpu")
    learn = cnn_learner(dls, "squeezenet1_1", pretrained=False, seed=0)
    loaded = load_learner(learn.export(tmp_path / "m.lk"), device="cpu")
    assert loaded.dls.task == task
    for file in files[:4]:
        assert loaded.predict(file)[0] == learn.predict(file)[0]


def test_masks_come_back(class_folder: Path, tmp_path: Path) -> None:
    (class_folder / "masks").mkdir()
    for file in (class_folder / "train" / "red").glob("*.png"):
        Image.fromarray(np.tri(24, dtype=np.uint8) * 9).save(class_folder / "masks" / file.name)
    dls = ImageDataBunch.from_folder_masks(
        class_folder, "train/red", lambda path: class_folder / "masks" / path.name, {0: "sky", 9: "road"},
        ignore_index=3, valid_pct=0.3, size=32, bs=2, num_workers=0, device="cpu",
    )  # fmt: skip
    learn = unet_learner(dls, "squeezenet1_1", pretrained=False, seed=0)
    loaded = load_learner(learn.export(tmp_path / "m.lk"), device="cpu")
    assert loaded.dls.task == Segmentation({0: "sky", 9: "road"}, ignore_index=3)
    image = class_folder / "train" / "red" / "0.png"
    assert np.array_equal(loaded.predict(image)[0], learn.predict(image)[0])
    assert torch.equal(loaded.predict(image)[2], learn.predict(image)[2])


def test_images_of_other_channels_need_their_reader(tmp_path: Path) -> None:
    for number in range(8):
        np.save(tmp_path / f"{number}.npy", np.full((8, 8, 5), number * 20, np.uint8))
    files = [tmp_path / f"{number}.npy" for number in range(8)]
    dls = ImageDataBunch.from_lists(
        tmp_path, files, ["a", "b"] * 4, size=16, bs=2, channels=5, reader=np.load, num_workers=0, normalize=None,
        device="cpu", augment=False, split=lambda table: [False] * 4 + [True] * 4,
    )  # fmt: skip
    learn = cnn_learner(dls, "resnet18", pretrained=False, cut=4, lin_ftrs=[], seed=0)
    file = learn.export(tmp_path / "m.lk")
    with pytest.raises(MissingModelError, match=r"Pass it: load_learner\(file, reader="):
        load_learner(file)
    loaded = load_learner(file, reader=np.load, device="cpu")
    assert torch.equal(loaded.predict(files[3])[2], learn.predict(files[3])[2])


def test_a_custom_loss_is_named_and_not_guessed(dls: ImageDataBunch, tmp_path: Path) -> None:
    learn = cnn_learner(dls, "squeezenet1_1", pretrained=False, loss_func=FocalLoss(), lin_ftrs=[])
    loaded = load_learner(learn.export(tmp_path / "m.lk"), device="cpu")
    assert torch.equal(loaded.activation(torch.ones(2, 3)), torch.full((2, 3), 1 / 3))
    with pytest.raises(UsageError, match=r"the loss 'FocalLoss' is not in the export\. Set learn"):
        loaded.loss_func(torch.zeros(1, 3), torch.zeros(1).long())
    smooth = cnn_learner(dls, "squeezenet1_1", pretrained=False, loss_func=nn.CrossEntropyLoss(label_smoothing=0.1))
    assert manifest_in(smooth.export(tmp_path / "s.lk"))["loss"] == {
        "name": "own:CrossEntropyLoss",
        "activation": "softmax",
    }
    assert manifest_in(tmp_path / "m.lk")["loss"] == {"name": "own:FocalLoss", "activation": "softmax"}


@pytest.mark.parametrize("loss_func", [None, nn.MSELoss()])
def test_the_loss_of_numbers_is_written_by_its_name(loss_func: Any, tmp_path: Path) -> None:
    x = torch.zeros(4, 2)
    dls = DataBunch.from_tensors(x, x[:, 0], x, x[:, 0], bs=4, task=Regression())
    learn = Learner(dls, nn.Linear(2, 1), loss_func=loss_func)
    assert manifest_in(learn.export(tmp_path / "m"))["loss"] == {"name": "mse", "activation": "identity"}


def test_a_custom_activation_is_passed_again(dls: ImageDataBunch, tmp_path: Path) -> None:
    learn = cnn_learner(dls, "squeezenet1_1", pretrained=False, activation=half_softmax, lin_ftrs=[], seed=0)
    file = learn.export(tmp_path / "m.lk")
    with pytest.raises(MissingModelError, match="activation="):
        load_learner(file)
    image = str(dls.samples["input"][0])
    assert torch.equal(
        load_learner(file, activation=half_softmax, device="cpu").predict(image)[2], learn.predict(image)[2]
    )


def test_a_learner_beyond_the_format_is_not_written(blobs: Any, tmp_path: Path) -> None:
    dls = DataBunch.from_tensors(*blobs, task=None, classes=["a", "b" * 2000], device="cpu")
    with pytest.raises(UsageError, match=r"beyond what an export can hold: .*classes"):
        Learner(dls, nn.Linear(2, 2)).export(tmp_path / "m.lk")
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_fails_leaves_the_old_file(learn: Learner, tmp_path: Path) -> None:
    file = learn.export(tmp_path / "m.lk")
    before = file.read_bytes()
    learn.model.register_buffer("odd", torch.zeros(1, dtype=torch.complex64))
    with pytest.raises(UsageError, match="odd of the model's state dict"):
        learn.export(file)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_a_folder_of_the_hub_comes_back(learn: Learner, class_folder: Path, tmp_path: Path) -> None:
    folder = learn.push_to_hub(tmp_path / "repo", card="my words")
    loaded = load_learner(folder, device="cpu")
    image = class_folder / "valid" / "red" / "1.png"
    assert torch.equal(loaded.predict(image)[2], learn.predict(image)[2])
    with pytest.raises(CorruptFileError, match="is not the expected file"):
        load_learner(folder, sha256="0" * 64)
    again = learn.push_to_hub(tmp_path / "again", card="my words")
    assert all((again / file.name).read_bytes() == file.read_bytes() for file in folder.iterdir())


def test_weights_of_learn_save_are_not_an_export(learn: Learner) -> None:
    with pytest.raises(UnsafeFileError, match=r"is a Python pickle in a zip file; .*Load weights with learn\.load"):
        load_learner(learn.save("m"))


def test_a_forged_file_never_loads_as_a_learner_that_fails_later(learn: Learner, blobs: Any, tmp_path: Path) -> None:
    file = learn.export(tmp_path / "m.lk")
    for classes in (["a"], ["a", "b"], [str(number) for number in range(1000)]):
        with pytest.raises(CorruptFileError, match=r"outputs of the network: got 3|only class 'a'"):
            load_learner(forged(file, lambda content: content.update(classes=classes)))  # noqa: B023
    steps = manifest_in(file)["transforms"]
    with pytest.raises(CorruptFileError, match="has transforms of images, and no task"):
        load_learner(forged(file, lambda content: content.update(task="none", decode="none", transforms=steps)))
    file = Learner(DataBunch.from_tensors(*blobs, device="cpu"), nn.Linear(2, 2)).export(tmp_path / "m.lk")
    huge = forged(file, lambda content: content["transforms"][0]["args"].update(shape=[1 << 20, 1 << 10]))
    with pytest.raises(UsageError, match="expected the shape of one input"):  # and no input of that shape is made
        load_learner(huge, model=nn.Linear(2, 2), device="cpu").predict(torch.zeros(2))


STRANGE: list[Any] = [None, -1, 10**30, "os.system", "\ud800", [None], {"a": 1}]


def places(content: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path to every value in JSON."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [way for key, value in inner for way in [(*at, key), *places(value, (*at, key))]]


@pytest.mark.slow
def test_every_value_of_a_manifest_can_be_forged_and_nothing_breaks(
    dls: ImageDataBunch, class_folder: Path, tmp_path: Path
) -> None:
    learn = cnn_learner(dls, "resnet18", pretrained=False, cut=4, lin_ftrs=[4], ps=[0.1, 0.2], seed=0)
    file = learn.export(tmp_path / "m.lk")
    content = manifest_in(file)
    image = class_folder / "valid" / "red" / "0.png"
    n_refused = n_loaded = 0
    for way in places(content):
        for value in STRANGE:
            changed = json.loads(json.dumps(content))
            inner = changed
            for key in way[:-1]:
                inner = inner[key]
            inner[way[-1]] = value
            began = time.process_time()
            try:
                load_learner(forged(file, lambda content: content.update(changed)), device="cpu").predict(image)  # noqa: B023
                n_loaded += 1
            except LearnkitError:
                n_refused += 1
            assert time.process_time() - began < 1
    assert n_refused > 200
    assert n_loaded > 10


def test_regression_keeps_its_names(blobs: Any, tmp_path: Path) -> None:
    x = blobs.x_train
    dls = DataBunch.from_tensors(x, x * 2, x, x * 2, task=Regression(("x", "y")), device="cpu")
    file = Learner(dls, nn.Linear(2, 2)).export(tmp_path / "m.lk")
    loaded = load_learner(file, model=lambda manifest: nn.Linear(2, len(manifest["task_args"]["names"])), device="cpu")
    assert loaded.dls.task == Regression(("x", "y"))
    assert len(loaded.predict(x[0])[0]) == 2


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"preprocessing": True}, 'export: preprocessing=True belongs to to="onnx" and to="pt2"'),
        ({"activation": False}, 'export: activation=False belongs to to="onnx" and to="pt2"'),
        ({"to": "onnx", "card": "Mine."}, 'export: card= belongs to to="lk"'),
        ({"to": "tflite"}, "to"),
        ({"card": 3}, "card"),
        ({"card": "x" * 100_001}, "card"),
    ],
)
def test_a_learner_hands_its_options_on(learn: Learner, tmp_path: Path, options: dict[str, Any], what: str) -> None:
    with refused(what):
        learn.export(tmp_path / "m", **options)
    assert not list(tmp_path.glob("m*"))


@pytest.mark.parametrize("card", [b"text", "x" * 100_001])
def test_a_card_of_the_hub_is_a_string_of_limited_length(learn: Learner, tmp_path: Path, card: Any) -> None:
    with refused("card", expected="a string of at most 100,000 characters"):
        learn.push_to_hub(tmp_path / "repo", card=card)
    assert not (tmp_path / "repo").exists()


def test_a_learner_for_other_programs(learn: Learner, blobs: Any, tmp_path: Path) -> None:
    learn.temperature = 2.0
    path = learn.export(tmp_path / "m", "pt2", preprocessing=True)
    facts = json.loads((tmp_path / "m.pt2.json").read_text())
    assert path == tmp_path / "m.pt2"
    assert facts["classes"] == ["blue", "green", "red"]
    assert facts["output"] == {
        "name": "output", "type": "float32", "shape": ["batch", 3], "activation": "softmax", "temperature": 2.0,
    }  # fmt: skip
    assert (facts["input"]["shape"], facts["input"]["type"]) == (["batch", 32, 32, 3], "uint8")
    dls = DataBunch.from_tensors(*(part.double() if part.ndim == 2 else part for part in blobs), device="cpu")
    Learner(dls, nn.Linear(2, 2).double()).export(tmp_path / "d", "pt2", activation=False)
    facts = json.loads((tmp_path / "d.pt2.json").read_text())
    assert (facts["input"]["type"], facts["output"]["activation"]) == ("float64", "identity")


def test_data_with_an_unknown_input_shape_is_not_exported_for_other_programs(tmp_path: Path) -> None:
    batch = (torch.zeros(4, 2), torch.tensor([0, 1, 0, 1]))
    dls = DataBunch.from_loaders(Batches(batch), Batches(batch), classes=["a", "b"])
    learn = Learner(dls, nn.Linear(2, 2))
    with refused("export: the data does not specify the shape of an input"):
        learn.export(tmp_path / "m", "pt2")
    loaded = load_learner(learn.export(tmp_path / "m.lk"), model=nn.Linear(2, 2), device="cpu")
    assert loaded.dls.input_shape is None
    assert torch.equal(loaded.predict(torch.ones(2))[2], learn.predict(torch.ones(2))[2].cpu())
    with pytest.raises(UsageError, match="has no data, it can only predict"):
        loaded.validate()


class Batches:
    """A loader without a dataset."""

    def __init__(self, *batches: Any) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def test_a_name_that_is_too_long_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no file"):
        load_learner(tmp_path / ("x" * 400 + ".lk"))


# Training goes on


def own_metric(preds: Tensor, targets: Tensor) -> Tensor:
    """A custom metric."""
    return preds.sum() * 0


def trained_alike(one: Learner, other: Learner) -> bool:
    for learn in (one, other):
        learn.counter.seed, learn.counter.epoch, learn.opt = 3, 0, None
        learn.fit_one_cycle(1, slice(1e-4, 1e-2))
    return all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("options", "change"),
    [
        ({"metrics": "accuracy"}, lambda learn: learn),
        ({"metrics": ["accuracy", "f1"], "opt_func": "sgd", "wd": 0.5}, lambda learn: learn.freeze()),
        ({"metrics": "default", "wd_bn_bias": True, "train_bn": False}, lambda learn: learn.freeze_to(1)),
        ({}, lambda learn: learn.split(lambda model: [model[0][3], model[0][8], model[1]])),
        ({}, lambda learn: learn.split([learn.model])),
        ({"wd": 0}, lambda learn: learn.split(lambda m: [[m[0][0], m[1]], m[0][1:]])),
    ],
)
def test_a_loaded_learner_with_data_goes_on_like_the_exported_one(
    options: dict[str, Any], change: Any, dls: ImageDataBunch, tmp_path: Path
) -> None:
    learn = cnn_learner(dls, "squeezenet1_1", pretrained=False, lin_ftrs=[], seed=0, **options)
    change(learn)
    loaded = load_learner(learn.export(tmp_path / "m.lk"), device="cpu")
    loaded.dls = dls
    rate = slice(1e-5, 1e-3)
    assert loaded.lr_range(rate) == learn.lr_range(rate)
    assert [metric.name for metric in loaded.metrics] == [metric.name for metric in learn.metrics]
    names = ("wd", "wd_bn_bias", "train_bn", "opt_func")
    assert [getattr(loaded, name) for name in names] == [getattr(learn, name) for name in names]
    assert [p.requires_grad for p in loaded.model.parameters()] == [p.requires_grad for p in learn.model.parameters()]
    assert trained_alike(loaded, learn)
    assert loaded.validate() == pytest.approx(learn.validate())


def test_what_a_file_cannot_hold_is_said_once_there_is_data(blobs: tuple[Tensor, ...], tmp_path: Path) -> None:
    dls = DataBunch.from_tensors(*blobs)
    learn = Learner(dls, nn.Linear(2, 2), metrics=["accuracy", own_metric], opt_func=torch.optim.NAdam)
    loaded = load_learner(learn.export(tmp_path / "m.lk"), model=nn.Linear(2, 2))
    loaded.predict(blobs[0][0])
    with pytest.warns(LearnkitWarning, match="also had metrics own_metric, opt_func NAdam"):
        loaded.dls = dls
    loaded.dls = dls  # once
    loaded.metrics, loaded.opt_func = ["accuracy", own_metric], torch.optim.NAdam  # as advised
    loaded.fit(1)


@pytest.mark.parametrize("classes", [["1", "0"], ["0", "2"], ["b", "a"]])
def test_a_loaded_learner_takes_no_data_of_other_classes(
    classes: list[str], blobs: tuple[Tensor, ...], tmp_path: Path
) -> None:
    learn = Learner(DataBunch.from_tensors(*blobs), nn.Linear(2, 2))
    loaded = load_learner(learn.export(tmp_path / "m.lk"), model=nn.Linear(2, 2))
    with pytest.raises(LearnkitError, match=f"classes of the new data are .*: {', '.join(classes)}; .* are 0, 1"):
        loaded.dls = DataBunch.from_tensors(*blobs, classes=classes)


def test_fitted_thresholds_of_a_file_stay_with_new_data(tmp_path: Path) -> None:
    x = torch.randn(32, 2, generator=torch.Generator().manual_seed(0))
    y = (x > 0.5).float()

    def bunch() -> DataBunch:
        return DataBunch.from_tensors(x, y, x, y, bs=8, task=MultiLabel(("a", "b")))

    learn = Learner(bunch(), nn.Linear(2, 2), seed=0)
    thresholds = learn.fit_thresholds()
    loaded = load_learner(learn.export(tmp_path / "m.lk"), model=nn.Linear(2, 2))
    loaded.dls = bunch()
    assert loaded.dls.task.threshold == thresholds  # type: ignore[union-attr]


def test_a_missing_loss_gives_its_activation_until_another_is_set(blobs: tuple[Tensor, ...], tmp_path: Path) -> None:
    dls = DataBunch.from_tensors(*blobs)
    learn = Learner(dls, nn.Linear(2, 2), loss_func=nn.BCEWithLogitsLoss())
    loaded = load_learner(learn.export(tmp_path / "m.lk"), model=nn.Linear(2, 2))
    loaded.dls = dls
    assert loaded.activation is torch.sigmoid
    with pytest.raises(UsageError, match=r"Set learn\.loss_func to it"):
        loaded.fit(1)
    loaded.loss_func = nn.CrossEntropyLoss()
    torch.testing.assert_close(loaded.predict(blobs[0][0]).probs.sum(), torch.tensor(1.0))
    loaded.fit(1)


def test_a_file_of_an_earlier_version_has_one_group(learn: Learner, tmp_path: Path) -> None:
    def without(manifest: dict[str, Any]) -> None:
        del manifest["learner"]

    loaded = load_learner(forged(learn.export(tmp_path / "m.lk"), without))
    assert len(loaded.groups) == 1


def test_a_bounded_regression_comes_back_with_its_bounds(class_folder: Path, tmp_path: Path) -> None:
    dls = ImageDataBunch.from_name_func(
        class_folder, None, lambda path: 5.0 * ("red" in path), task="regression", size=32, bs=8, num_workers=0
    )
    learn = cnn_learner(dls, "squeezenet1_1", pretrained=False, lin_ftrs=[], y_range=(-0.5, 5.5), seed=0)
    learn.fit(1, 1e-5)
    preds, _ = learn.get_preds()
    assert ((preds > -0.5) & (preds < 5.5)).all()
    loaded = load_learner(learn.export(tmp_path / "m.lk"), device="cpu")
    file = next(class_folder.rglob("*.png"))
    torch.testing.assert_close(loaded.predict(file).probs, learn.predict(file).probs)
