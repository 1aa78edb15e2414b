"""Arguments that a function does not take are refused in the name that was called."""

import functools
import inspect
from typing import Any, TypedDict, Unpack

import pytest
from torch import nn

from learnkit.arguments import check_keywords, check_partial, check_takes, checks_keywords, checks_methods, unwrapped
from learnkit.errors import WrongTypeError
from tests.doubles import refused


def test_keywords_that_are_not_there_are_refused_with_the_nearest() -> None:
    check_keywords("fit", ["wd", "resume"], ["resume", "wd"])
    with refused("fit: keyword", WrongTypeError, got="resune", fix="Nearest: resume, wd."):
        check_keywords("fit", ["wd", "resune"], ["resume", "wd"])


class Options(TypedDict, total=False):
    callbacks: Any
    start_epoch: int


class Trains:
    @checks_keywords
    def __init__(self, data: int, *, loss_func: Any = None) -> None:
        self.data = data

    @checks_keywords
    def fit_slowly(self, epochs: int, max_lr: float = 1.0, **options: Unpack[Options]) -> tuple[Any, ...]:
        """Slowly."""
        return self.data, epochs, max_lr, options


@pytest.mark.parametrize(
    ("keyword", "fix"),
    [
        ("start_epoc", "Nearest: start_epoch"), ("epoch", "Nearest: epochs"), ("cbs", "Here it is callbacks=."),
        ("callback_fns", "Here it is callbacks=."), ("lr_max", "Here it is max_lr=."), ("loss", "Nearest: "),
    ],
)  # fmt: skip
def test_misspelt_keywords_are_refused_in_the_name_that_was_called(keyword: str, fix: str) -> None:
    with pytest.raises(WrongTypeError, match=f"fit_slowly: keyword: got '{keyword}'.*{fix}"):
        Trains(1).fit_slowly(1, **{keyword: 1})
    with pytest.raises(WrongTypeError, match=r"Trains: keyword: got 'criterion'.*Here it is loss_func="):
        Trains(1, criterion=1)  # type: ignore[call-arg]


def test_right_keywords_arrive_and_the_signature_is_that_of_the_function() -> None:
    assert Trains(data=3).fit_slowly(2, max_lr=0.5, callbacks=[]) == (3, 2, 0.5, {"callbacks": []})
    assert list(inspect.signature(Trains.fit_slowly).parameters) == ["self", "epochs", "max_lr", "options"]
    assert Trains.fit_slowly.__doc__ == "Slowly."


def test_an_error_of_the_function_itself_is_not_one_of_its_call() -> None:
    error = TypeError("got an unexpected keyword argument 'inner'")

    @checks_keywords
    def fails(given: int) -> None:
        raise error

    with pytest.raises(TypeError) as found:
        fails(1)
    assert found.value is error
    with pytest.raises(WrongTypeError, match="fails: missing a required argument: 'given'"):
        fails()  # type: ignore[call-arg]


def power(base: float, exponent: float = 2) -> float:
    return base**exponent


@pytest.mark.parametrize(
    "wrong",
    [functools.partial(power, exponnent=3), functools.partial(power, 1, 2, 3), functools.partial(power, 1, base=2)],
)
def test_partials_with_arguments_that_the_function_lacks_are_refused(wrong: Any) -> None:
    with pytest.raises(WrongTypeError, match=r"f: partial of power with .* It takes base, exponent"):
        check_partial("f", wrong)


@pytest.mark.parametrize("fine", [functools.partial(power, exponent=3), functools.partial(max, 1, default=3), power, 3])
def test_other_partials_and_other_things_are_not(fine: Any) -> None:
    check_partial("f", fine)


class Summing(nn.Module):
    def forward(self, outputs: Any) -> Any:
        return outputs


@pytest.mark.parametrize("wrong", [Summing(), lambda: 0, lambda outputs: 0, lambda a, b, c: 0])
def test_functions_that_cannot_be_called_with_the_arguments_are_refused(wrong: Any) -> None:
    with pytest.raises(WrongTypeError, match=r"loss_func: .* cannot be called with \(outputs, targets\)"):
        check_takes("loss_func", wrong, "(outputs, targets)")


@pytest.mark.parametrize("fine", [nn.MSELoss(), max, lambda a, b, c=1: 0, lambda *parts: 0, 3])
def test_functions_that_can_and_builtins_pass(fine: Any) -> None:
    check_takes("loss_func", fine, "(outputs, targets)")


def test_missing_and_too_many_arguments_are_refused_in_the_name_that_was_called() -> None:
    @checks_methods
    class Kind:
        def act(self, a: int, *, b: int = 0) -> int:
            return a + b

        def rest(self, **options: Any) -> dict[str, Any]:
            return options

        def _own(self) -> None: ...

    for wrong in (lambda: Kind().act(), lambda: Kind().act(1, 2)):  # type: ignore[call-arg]
        with pytest.raises(WrongTypeError, match=r"^act: .*argument.*It takes a, and by name b\."):
            wrong()
    assert (Kind().act(1, b=2), Kind().rest(any=1)) == (3, {"any": 1})
    assert not hasattr(Kind._own, "__wrapped__")


@pytest.mark.parametrize(
    ("keyword", "ours"),
    [
        ("ds_tfms", "augment"),
        ("item_tfms", "size"),
        ("batch_tfms", "augment"),
        ("label_func", "func"),
        ("vocab", "classes"),
    ],
)
def test_the_keywords_of_fastai_are_refused_with_ours(keyword: str, ours: str) -> None:
    known = ["path", "fnames", "func", "augment", "size", "classes", "ds_type"]
    with refused("from_name_func: keyword", WrongTypeError, got=keyword, fix=f"Here it is {ours}=."):
        check_keywords("from_name_func", [keyword], known)


class Named(functools.partial):  # type: ignore[type-arg]
    """functools.partial joins only those of its own class."""


def test_what_a_partial_calls_is_found_through_others() -> None:
    assert unwrapped(functools.partial(Named(max, default=0), key=len)) is max
    assert unwrapped(max) is max
