"""Arguments of calls: keywords and functions that cannot work are refused in the name that was called."""

import functools
import inspect
from collections.abc import Callable, Collection, Iterable
from typing import Any, ParamSpec, TypeVar, get_args

from learnkit.checks import nearest
from learnkit.errors import WrongTypeError
from learnkit.text import name_of

__all__ = ["OTHER_NAMES", "check_keywords", "check_partial", "check_takes", "checks_keywords", "checks_methods",
           "unwrapped"]  # fmt: skip

T = TypeVar("T")
P = ParamSpec("P")

# Keywords of other libraries, and what they are called here.
OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "batch_size": ("bs",),
    "batch_tfms": ("augment",),
    "callback": ("callbacks",),
    "callback_fns": ("callbacks",),
    "cb": ("callbacks",),
    "cbs": ("callbacks",),
    "criterion": ("loss_func",),
    "data": ("dls",),
    "databunch": ("dls",),
    "dataloaders": ("dls",),
    "ds_tfms": ("augment",),
    "item_tfms": ("size",),
    "label_func": ("func", "masks"),
    "layer_groups": ("groups",),
    "learning_rate": ("lr", "max_lr"),
    "loss": ("loss_func",),
    "loss_fn": ("loss_func",),
    "loss_function": ("loss_func",),
    "lr": ("max_lr", "base_lr", "lr_max"),
    "lr_max": ("max_lr", "lr"),
    "max_lr": ("lr", "lr_max", "base_lr"),
    "metric": ("metrics",),
    "n_epoch": ("epochs",),
    "opt_fn": ("opt_func",),
    "optim": ("opt_func",),
    "optimizer": ("opt_func",),
    "splitter": ("split_on", "groups"),
    "tfms": ("augment",),
    "vocab": ("classes",),
    "weight_decay": ("wd",),
}


def check_keywords(function: str, given: Iterable[str], known: Collection[str]) -> None:
    """Refuse keywords that a function does not have.

    Raises:
        WrongTypeError: naming the function, the first such keyword, and the nearest there are.

    >>> check_keywords("fit", ["resune"], ["resume"])
    Traceback (most recent call last):
    learnkit.errors.WrongTypeError: fit: keyword: got 'resune', expected one that help() lists. Nearest: resume.
    """
    for name in given:
        if name not in known:
            ours = [other for other in OTHER_NAMES.get(name, ()) if other in known]
            fix = f"Here it is {ours[0]}=." if ours else f"Nearest: {nearest(name, known, n=3)}."
            raise WrongTypeError(f"{function}: keyword", got=name, expected="one that help() lists", fix=fix)


def checks_keywords(function: Callable[P, T]) -> Callable[P, T]:
    """A decorator: arguments that a function does not take are refused in its name, keywords by `check_keywords`.

    The keywords of `**options: Unpack[Options]` are those of the TypedDict Options; other `**options` are not checked.
    """
    signature = inspect.signature(function)
    parameters = signature.parameters.values()
    known = [one.name for one in parameters if one.kind is not one.VAR_KEYWORD and one.name not in ("self", "cls")]
    options = [one.annotation for one in parameters if one.kind is one.VAR_KEYWORD]
    named = [name for annotation in options for name in _options(annotation)]
    known += named
    called = function.__qualname__.removesuffix(".__init__").rpartition(".")[2]

    @functools.wraps(function)
    def checked(*args: P.args, **keywords: P.kwargs) -> T:
        if keywords and (named or not options):
            check_keywords(called, keywords, known)
        try:
            return function(*args, **keywords)
        except TypeError:
            refuse_misfit(args, keywords)
            raise

    def refuse_misfit(args: Any, keywords: Any) -> None:
        try:
            signature.bind(*args, **keywords)
        except TypeError as error:
            by_name = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]
            placed = [name for name in known if name not in by_name]
            fix = f"It takes {', '.join(placed)}{', and by name ' if by_name else ''}{', '.join(by_name)}."
            raise WrongTypeError(f"{called}: {error}", fix=fix) from error

    return checked


def checks_methods(kind: type[T]) -> type[T]:
    """A decorator: `checks_keywords` for the constructor and the public methods of a class that take arguments."""
    for name, method in list(vars(kind).items()):
        if inspect.isfunction(method) and (name == "__init__" or not name.startswith("_")):
            setattr(kind, name, checks_keywords(method))
    return kind


def unwrapped(function: Any) -> Any:
    """What a functools.partial calls, or one around it; anything else itself."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _options(unpacked: Any) -> Iterable[str]:
    return [name for typed_dict in get_args(unpacked) for name in typed_dict.__annotations__]


def check_partial(what: str, got: object) -> None:
    """Refuse a functools.partial with arguments that its function does not have; anything else is not checked.

    >>> import math
    >>> check_partial("f", functools.partial(math.dist, r=2))
    Traceback (most recent call last):
    learnkit.errors.WrongTypeError: f: partial of dist with r=2: got an unexpected keyword argument 'r'. It takes p, q.
    """
    if not isinstance(got, functools.partial):
        return
    try:
        own = inspect.signature(got.func)
    except (TypeError, ValueError):  # a builtin without a signature
        return
    try:
        own.bind_partial(*got.args, **got.keywords)
    except TypeError as error:
        given = ", ".join([*map(repr, got.args), *(f"{key}={value!r}" for key, value in got.keywords.items())])
        fix = f"It takes {', '.join(list(own.parameters)[:20])}."
        raise WrongTypeError(f"{what}: partial of {name_of(got.func)} with {given}: {error}", fix=fix) from error


def check_takes(what: str, got: object, arguments: str) -> None:
    """Refuse a function, or a module, that cannot be called with these arguments; builtins are not checked.

    >>> check_takes("loss_func", lambda outputs: outputs.sum(), "(outputs, targets)")
    Traceback (most recent call last):
    learnkit.errors.WrongTypeError: loss_func: <lambda>(outputs) cannot be called with (outputs, targets): too many \
positional arguments
    """
    called = getattr(got, "forward", got)
    try:
        signature = inspect.signature(called)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*arguments.split(","))
    except TypeError as error:
        raise WrongTypeError(f"{what}: {name_of(got)}{signature} cannot be called with {arguments}: {error}") from error
