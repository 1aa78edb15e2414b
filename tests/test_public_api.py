"""The public names are the ones listed here, and their signatures the ones the documentation promises."""

import importlib
import inspect
import re
from collections.abc import Callable
from inspect import Parameter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import learnkit
from learnkit.types import DatasetType

# What a user may import from learnkit itself; the rest comes from one of the NAMESPACES.
EXPECTED = [
    "Callback",
    "Classification",
    "ClassificationInterpretation",
    "clear_cache",
    "cnn_learner",
    "DataBunch",
    "DatasetType",
    "download",
    "download_images",
    "get_image_files",
    "get_transforms",
    "ImageDataBunch",
    "LayerDecay",
    "Learner",
    "LearnkitError",
    "LearnkitWarning",
    "load_learner",
    "MultiLabel",
    "MultiLabelInterpretation",
    "pack",
    "Points",
    "PointsInterpretation",
    "Regression",
    "RegressionInterpretation",
    "Segmentation",
    "SegmentationInterpretation",
    "TrainState",
    "unet_learner",
    "verify_images",
]

NAMESPACES = ["callbacks", "distributed", "errors", "losses", "metrics", "models", "neighbors", "schedules",
              "splits", "transforms"]  # fmt: skip
ROOT = Path(__file__).parents[1]

# The promise, written as the function it is. What is not promised may be added, by keyword and with a default.
PROMISED: dict[str, Callable[..., Any]] = {
    "learnkit.Learner.__init__":
        lambda self, dls, model, *, loss_func=None, opt_func="adamw", metrics=(), callbacks=(), wd=None, train_bn=True,
        path=None, model_dir="models", seed=None: None,
    "learnkit.Learner.fit":
        lambda self, epochs, lr=slice(None, 3e-3), wd=None, callbacks=(), *, checkpoint_every=None, resume=None: None,
    "learnkit.Learner.lr_find":
        lambda self, start_lr=1e-7, end_lr=10, num_it=100, stop_div=True: None,
    "learnkit.Learner.get_preds":
        lambda self, ds_type=DatasetType.Valid, activ=None, with_loss=False, n_batch=None, out=None: None,
    "learnkit.Learner.save":
        lambda self, file, return_path=False, with_opt=True: None,
    "learnkit.Learner.load":
        lambda self, file, device=None, strict=True, with_opt=None: None,
    "learnkit.Learner.predict":
        lambda self, item: None,
    "learnkit.Learner.show_results":
        lambda self, ds_type=DatasetType.Valid, rows=3: None,
    "learnkit.Learner.interpret":
        lambda self, ds_type=DatasetType.Valid: None,
    "learnkit.Learner.export":
        lambda self, file, to="lk": None,
    "learnkit.load_learner":
        lambda file, model=None, sha256=None: None,
    "learnkit.ClassificationInterpretation.top_losses":
        lambda self, k=None, largest=True: None,
    "learnkit.ClassificationInterpretation.plot_confusion_matrix":
        lambda self, normalize=False: None,
    "learnkit.ClassificationInterpretation.most_confused":
        lambda self, min_val=1: None,
    "learnkit.ClassificationInterpretation.classification_report": lambda self: None,
    "learnkit.ClassificationInterpretation.plot_calibration": lambda self, n_bins=15: None,
    "learnkit.ClassificationInterpretation.label_issues": lambda self: None,
    "learnkit.ClassificationInterpretation.grad_cam": lambda self, i, class_index=None: None,
    "learnkit.ClassificationInterpretation.report": lambda self, path, learn=None: None,
    "learnkit.cnn_learner":
        lambda dls, base_arch, cut=None, pretrained=True, lin_ftrs=None, ps=0.5, custom_head=None, split_on=None,
        bn_final=False, init="kaiming_normal_", concat_pool=True, in_chans=None, weights=None, **learner_kwargs: None,
    "learnkit.ImageDataBunch.from_folder":
        lambda path, train="train", valid="valid", test=None, *, valid_pct=None, seed=42, classes=None, size=224, bs=64,
        resize="crop", augment=True, normalize="imagenet", channels=3, num_workers=None, device=None: None,
    "learnkit.callbacks.EarlyStopping":
        lambda monitor="valid_loss", min_delta=0.0, patience=1: None,
    "learnkit.callbacks.SaveModel":
        lambda monitor="valid_loss", every="improvement", name="bestmodel": None,
    "learnkit.callbacks.OneCycle":
        lambda lr_max, moms=(0.95, 0.85), div_factor=25.0, pct_start=0.3, final_div=None: None,
    "learnkit.callbacks.MixedPrecision":
        lambda precision="auto": None,
    "learnkit.callbacks.GradientClipping":
        lambda max_norm: None,
}  # fmt: skip


def find(dotted: str) -> Any:
    """The object of this name: the modules first, attributes after them."""
    module, *names = dotted.split(".")
    found = importlib.import_module(module)
    for name in names:
        if not hasattr(found, name) and isinstance(found, ModuleType):
            importlib.import_module(f"{found.__name__}.{name}")
        found = getattr(found, name)
    return found


def broken_promises(actual: Callable[..., Any], promised: Callable[..., Any]) -> list[str]:
    """Why a call written for `promised` would fail or mean something else with `actual`."""
    there, wanted = inspect.signature(actual).parameters, inspect.signature(promised).parameters
    by_position = [name for name, p in wanted.items() if p.kind is Parameter.POSITIONAL_OR_KEYWORD]
    positional = [name for name, p in there.items() if p.kind is Parameter.POSITIONAL_OR_KEYWORD]
    broken = [] if positional == by_position else [f"positional {positional}, promised {by_position}"]
    for name, p in wanted.items():
        if name not in there or there[name].kind is not p.kind:
            broken.append(f"{name} is missing, promised")
        elif p.default is not Parameter.empty and not same(there[name].default, p.default):
            broken.append(f"{name}={there[name].default!r}, promised {p.default!r}")
    more = [p for name, p in there.items() if name not in wanted and p.kind is not Parameter.VAR_KEYWORD]
    return broken + [f"{p.name} is needed, not promised" for p in more if p.default is Parameter.empty]


def same(a: object, b: object) -> bool:
    """Equal, and not True for 1; 10 for 10.0 will do."""
    return a == b and isinstance(a, bool) is isinstance(b, bool)


def test_all_is_sorted_as_a_reader_looks_a_name_up() -> None:
    assert learnkit.__all__ == sorted(learnkit.__all__, key=str.casefold)


def test_the_public_names_are_exactly_all() -> None:
    public = {
        name for name, it in vars(learnkit).items() if not name.startswith("_") and not isinstance(it, ModuleType)
    }
    assert public == set(learnkit.__all__)


def test_the_public_names_are_the_expected_ones() -> None:
    assert learnkit.__all__ == EXPECTED


def test_dir_shows_the_public_names_and_the_namespaces() -> None:
    assert sorted(dir(learnkit)) == sorted(EXPECTED + NAMESPACES)


@pytest.mark.parametrize("name", NAMESPACES)
def test_a_namespace_holds_what_it_lists(name: str) -> None:
    namespace = getattr(learnkit, name)
    assert isinstance(namespace, ModuleType)
    assert namespace.__all__
    assert [one for one in namespace.__all__ if not hasattr(namespace, one)] == []


def deep_imports(text: str) -> list[str]:
    """The modules below the namespaces that a page imports from or names by their path."""
    found = re.findall(r"^\s*(?:>>> )?(?:from|import)\s+(learnkit(?:\.\w+)*)", text, re.MULTILINE)
    found += re.findall(r"`(learnkit(?:\.\w+)+)", text)
    allowed = {"learnkit", *(f"learnkit.{name}" for name in NAMESPACES)}
    allowed |= {f"learnkit.{name}" for name in learnkit.__all__}  # whose methods are public, too
    return [name for name in found if name not in allowed and name.rpartition(".")[0] not in allowed]


@pytest.mark.parametrize(
    "file",
    [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").rglob("*.py"))],
    ids=lambda file: file.name,
)
def test_documents_and_examples_use_public_names_only(file: Path) -> None:
    if file.name != "architecture.md":  # the one page about the internals
        assert deep_imports(file.read_text(encoding="utf-8")) == []


def test_a_private_path_in_a_document_is_noticed() -> None:
    assert deep_imports("from learnkit.data.tasks import Regression") == ["learnkit.data.tasks"]
    assert deep_imports("see `learnkit.data.options.ImageSettings`") == ["learnkit.data.options.ImageSettings"]
    assert deep_imports("  import learnkit.learner.learner as x") == ["learnkit.learner.learner"]
    assert deep_imports("from learnkit.optim.schedules import cosine") == ["learnkit.optim.schedules"]
    fine = [
        "from learnkit import Learner",
        "`learnkit.Learner.fit`",
        "from learnkit.models import resnet18",
        "`learnkit.losses.DiceLoss`",
    ]
    assert deep_imports("\n".join([*fine, "import learnkit as lk"])) == []


def test_the_public_names_are_few() -> None:
    assert len(learnkit.__all__) <= 60


def test_star_import_imports_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from learnkit import *", names)
    assert set(names) - {"__builtins__"} == set(learnkit.__all__)


@pytest.mark.parametrize("name", EXPECTED)
def test_every_public_name_is_documented(name: str) -> None:
    assert (getattr(learnkit, name).__doc__ or "").strip()


@pytest.mark.parametrize("dotted", PROMISED)
def test_a_public_signature_keeps_its_promise(dotted: str) -> None:
    assert broken_promises(find(dotted), PROMISED[dotted]) == []


@pytest.mark.parametrize(
    ("actual", "problem"),
    [
        (lambda a, b=2, *, key=None: 0, "b=2, promised 1"),
        (lambda a, b=True, *, key=None: 0, "b=True, promised 1"),
        (lambda b, a=1, *, key=None: 0, "positional ['b', 'a']"),
        (lambda a, b=1, key=None: 0, "key is missing, promised"),
        (lambda a, b=1: 0, "key is missing, promised"),
        (lambda a, b=1, *, key=None, more: 0, "more is needed"),
        (lambda a, b=1, c=0, *, key=None: 0, "positional ['a', 'b', 'c']"),
    ],
)
def test_a_broken_promise_is_noticed(actual: Callable[..., Any], problem: str) -> None:
    assert any(problem in broken for broken in broken_promises(actual, lambda a, b=1, *, key=None: 0))


def test_a_keyword_with_a_default_may_be_added() -> None:
    assert broken_promises(lambda a, b=1.0, *, more=0, key=None: 0, lambda a, b=1, *, key=None: 0) == []
