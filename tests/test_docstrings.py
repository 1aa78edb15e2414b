"""What docstrings of public names say: shapes, units, errors, sources, and what each argument is."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from torch import Tensor

import learnkit
from learnkit import errors
from learnkit.data.augment.color import Mixing, Tonal
from learnkit.data.augment.geometry import Geometric
from learnkit.data.tasks import Task

SPACES = (learnkit, *learnkit._NAMESPACES)
PROTOCOLS = (Task, Geometric, Tonal, Mixing)  # they say what a method of a class that follows them does


class Documented(NamedTuple):
    """A public name, or a method of one.

    Attributes:
        path: how a user writes it.
        doc: its docstring, and that of its class.
        code: the function that its arguments and errors are those of; None if it has none of its own.
    """

    path: str
    doc: str
    code: Callable[..., Any] | None


def is_ours(value: Any) -> bool:
    return str(getattr(value, "__module__", "")).startswith("learnkit")


def function_of(member: Any) -> Callable[..., Any] | None:
    """The function below a method, a class method or a property."""
    if isinstance(member, property):
        member = member.fget
    found = inspect.unwrap(getattr(member, "__func__", member)) if member is not None else None
    return found if inspect.isfunction(found) and is_ours(found) else None


def methods(owner: type) -> Iterator[tuple[str, Any]]:
    for name in sorted(dir(owner)):
        if not name.startswith("_") and function_of(inspect.getattr_static(owner, name)) is not None:
            yield name, inspect.getattr_static(owner, name)


def doc_of(owner: type, name: str) -> str:
    """The docstring of a method, of the one that it overrides, or of the one that it follows."""
    described = (getattr(kind, name, None) for kind in (owner, *PROTOCOLS))
    return next((doc for doc in map(inspect.getdoc, filter(None, described)) if doc), "")


def all_documented() -> Iterator[Documented]:
    seen = set()
    for space in SPACES:
        for name in space.__all__:
            value = getattr(space, name)
            path = f"{space.__name__}.{name}"
            if not is_ours(value) or id(value) in seen:
                continue
            seen.add(id(value))
            if inspect.isfunction(value):
                yield Documented(path, inspect.getdoc(value) or "", inspect.unwrap(value))
            elif inspect.isclass(value):
                own = inspect.getdoc(value) or "" if value.__doc__ else ""
                yield Documented(path, own, function_of(vars(value).get("__init__")))
                for method, member in methods(value):
                    doc = doc_of(value, method)
                    yield Documented(f"{path}.{method}", doc and f"{doc}\n{own}", function_of(member))


ALL = list(all_documented())
BY_NAME = {one.path.rpartition(".")[2]: one for one in reversed(ALL)}
BY_PATH = {one.path: one for one in ALL}


def with_references(one: Documented, depth: int = 2) -> str:
    """A docstring and those of the names in it that it sends the reader to."""
    text = one.doc
    if depth:
        owner = one.path.rpartition(".")[0]
        for name in re.findall(r"`([A-Za-z_][\w.]*)`", one.doc):
            other = BY_PATH.get(f"{owner}.{name}") or BY_NAME.get(name.rpartition(".")[2])
            if other is not None and other is not one:
                text += with_references(other, depth - 1)
    return text


def named(word: str, text: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(word)}(?!\w)", text) is not None


def test_the_names_are_found() -> None:
    assert len(ALL) > 700
    assert {"learnkit.Learner.get_preds", "learnkit.callbacks.EMA.after_step"} <= BY_PATH.keys()


def test_every_name_has_a_docstring_that_begins_with_a_sentence() -> None:
    assert [one.path for one in ALL if not one.doc] == []
    assert [one.path for one in ALL if one.doc.partition("\n\n")[0].rstrip()[-1] not in ".:"] == []


# Arguments that mean the same wherever they are.
SAME_EVERYWHERE = {
    "self", "cls", "args", "kwargs", "options", "figsize", "seed", "ds_type", "learn", "state", "saved",
    "preds", "targets", "target", "input", "raw", "activated", "label", "x", "i",
    "index", "indices", "epoch", "message",
    "loss_func", "dls", "item", "items", "dl", "layout",
}  # fmt: skip


def arguments(one: Documented) -> list[str]:
    return [] if one.code is None else [*inspect.signature(one.code).parameters]


def test_every_argument_is_explained() -> None:
    missing = {
        one.path: [name for name in arguments(one) if name not in SAME_EVERYWHERE and not named(name, text)]
        for one, text in ((one, with_references(one)) for one in ALL)
    }
    assert {path: names for path, names in missing.items() if names} == {}


STEERING = {"StopFit", "SkipEpoch", "SkipBatch"}  # no errors: the loop takes them


def raised_by(code: Callable[..., Any]) -> set[str]:
    """The errors of ours that the lines of a function raise."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(code)))
    except OSError:  # the __init__ that a dataclass has made
        return set()
    raised = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    made = [error.func for error in raised if isinstance(error, ast.Call)]
    return {name.id for name in made if isinstance(name, ast.Name)} & set(errors.__all__) - STEERING


def test_errors_that_are_raised_are_named() -> None:
    missing = {
        one.path: [name for name in raised_by(one.code) if not named(name, with_references(one))]
        for one in ALL
        if one.code is not None
    }
    assert {path: names for path, names in missing.items() if names} == {}


SHAPE = re.compile(r"\((?:\w+|\.\.\.)?(?:, ?(?:\w+|\.\.\.))*,?\)|shape", re.ASCII)


def test_tensors_that_are_returned_have_their_shape() -> None:
    returning = [
        one for one in ALL if one.code is not None and one.code.__annotations__.get("return") in (Tensor, "Tensor")
    ]
    assert len(returning) > 30
    assert [one.path for one in returning if not SHAPE.search(with_references(one))] == []


# Arguments that are measured in a unit, and words for it.
UNITS = {
    "size": "pixel|image|patch|item|feature",
    "max_rotate": "degree",
    "max_degrees": "degree",
    "patience": "epoch|validation",
    "pct_start": "share|fraction",
    "every_steps": "step",
    "warm_up": "share|epoch|step",
}


def test_quantities_have_their_unit() -> None:
    measured = [(one, name) for one in ALL for name in arguments(one) if name in UNITS]
    assert {name for _, name in measured} == set(UNITS)
    assert [(one.path, name) for one, name in measured if not re.search(UNITS[name], with_references(one))] == []


# Algorithms with a paper, and a word of its citation.
SOURCES = {
    "learnkit.ClassificationInterpretation.plot_grad_cam": "Selvaraju",
    "learnkit.Learner.calibrate": "Guo",
    "learnkit.Learner.fit_conformal": "Vovk",
    "learnkit.Learner.fit_one_cycle": "Smith",
    "learnkit.Learner.fit_sgdr": "Loshchilov",
    "learnkit.Learner.label_issues": "Northcutt",
    "learnkit.Learner.lr_find": "Smith",
    "learnkit.Learner.mc_dropout": "Gal",
    "learnkit.LayerDecay": "Bao",
    "learnkit.callbacks.CutMix": "Yun",
    "learnkit.callbacks.EMA": "Polyak",
    "learnkit.callbacks.GradientClipping": "Pascanu",
    "learnkit.callbacks.MixUp": "Zhang",
    "learnkit.callbacks.MixedPrecision": "Micikevicius",
    "learnkit.callbacks.OneCycle": "Smith",
    "learnkit.callbacks.RNNRegularizer": "Merity",
    "learnkit.callbacks.SWA": "Izmailov",
    "learnkit.losses.DiceLoss": "Milletari",
    "learnkit.losses.FocalLoss": "Lin",
    "learnkit.losses.IoULoss": "Rahman",
    "learnkit.metrics.mcc": "Gorodkin",
    "learnkit.models.Unet": "Ronneberger",
    "learnkit.transforms.RandomErasing": "Zhong",
    "learnkit.transforms.RandomResizedCrop": "Szegedy",
}


@pytest.mark.parametrize("path", SOURCES)
def test_an_algorithm_has_its_source(path: str) -> None:
    text = with_references(BY_PATH[path])
    assert re.search(r"\b(19|20)\d\d\b", text)
    assert re.search(SOURCES[path], text)
