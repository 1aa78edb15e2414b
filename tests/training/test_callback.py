"""Hooks, their order, and what happens when one of them fails."""

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import nn

from learnkit.errors import LearnkitError, SkipBatch, SkipEpoch, StopFit, UsageError, WrongTypeError
from learnkit.training.callback import HOOKS, Callback, CallbackList, Order
from learnkit.training.loop import fit
from learnkit.training.state import TrainState
from tests.doubles import acting, raising

BATCHES = [(torch.ones(4, 2), torch.tensor([0, 1, 0, 1])), (torch.zeros(4, 2), torch.tensor([0, 1, 0, 1]))]


def state(**options: Any) -> TrainState:
    model = options.pop("model", nn.Linear(2, 2))
    return TrainState(
        model=model,
        optimizer=torch.optim.SGD([{"params": list(model.parameters()), "layer_group": 0}], 0.1),
        loss_func=nn.CrossEntropyLoss(),
        **{"train_dl": BATCHES, "valid_dl": BATCHES[:1], "n_epochs": 2, **options},
    )


class Probe(Callback):
    """Writes down every hook it sees."""

    def __init__(self) -> None:
        self.seen: list[str] = []


def _writes(name: str) -> Any:
    return lambda self, state: self.seen.append(name)


for _name in HOOKS:
    setattr(Probe, _name, _writes(_name))


def test_the_hooks_come_in_the_documented_order() -> None:
    probe = Probe()
    fit(state(), CallbackList([probe]))
    batch = ["before_batch", "after_pred", "after_loss", "after_backward", "after_step", "after_batch"]
    validation = ["before_validate", "after_validate_batch", "after_validate"]
    epoch = ["before_epoch", *batch, *batch, *validation, "after_epoch"]
    assert probe.seen == ["before_fit", *epoch, *epoch, "after_fit"]
    assert set(probe.seen) == set(HOOKS)


def test_callbacks_run_by_their_order_and_ties_keep_the_list() -> None:
    seen: list[str] = []

    def named(name: str, order: int) -> Callback:
        kind = type(name, (Callback,), {"order": order, "before_fit": lambda self, state: seen.append(name)})
        return kind()  # type: ignore[no-any-return]

    given = [
        named("report", Order.REPORT),
        named("b", Order.DEFAULT),
        named("a", Order.DEFAULT),
        named("mix", Order.BATCH),
    ]
    fit(state(n_epochs=1), CallbackList(given))
    assert seen == ["mix", "b", "a", "report"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("after_bacth", "after_batch"),
        ("before_step", "after_backward"),
        ("befor_fit", "before_fit"),
        ("after_validation", "after_validate"),
    ],
)
def test_a_misspelled_hook_is_refused_when_the_class_is_defined(name: str, meant: str) -> None:
    message = f"Bad.{name} is not a hook of the training loop; did you mean '{meant}'"
    with pytest.raises(TypeError, match=message) as caught:
        type("Bad", (Callback,), {name: lambda self, state: None})
    assert isinstance(caught.value, LearnkitError)


def test_other_methods_may_have_any_name() -> None:
    kind = type("Fine", (Callback,), {"plot": lambda self: 1, "_after_bacth": lambda self: 2, "reset": lambda self: 3})
    assert kind().plot() == 1


def test_a_misspelled_field_of_the_state_is_an_error() -> None:
    with pytest.raises(AttributeError):
        state().lss = 0  # type: ignore[attr-defined]


class Raises(Callback):
    def __init__(self, hook: str, error: BaseException, at: tuple[int, int] = (0, 0)) -> None:
        self.hook, self.error, self.at = hook, error, at

    def _maybe(self, hook: str, state: TrainState) -> None:
        if hook == self.hook and (state.epoch, state.batch) == self.at:
            raise self.error

    def before_batch(self, state: TrainState) -> None:
        self._maybe("before_batch", state)

    def after_batch(self, state: TrainState) -> None:
        self._maybe("after_batch", state)

    def after_epoch(self, state: TrainState) -> None:
        self._maybe("after_epoch", state)

    def after_validate_batch(self, state: TrainState) -> None:
        self._maybe("after_validate_batch", state)

    def after_fit(self, state: TrainState) -> None:
        self._maybe("after_fit", state)


def test_skip_batch_skips_the_rest_of_the_batch() -> None:
    probe = Probe()
    fit(state(n_epochs=1), CallbackList([Raises("before_batch", SkipBatch()), probe]))
    assert probe.seen.count("before_batch") == 2
    assert probe.seen.count("after_loss") == probe.seen.count("after_batch") == 1


def test_skip_epoch_ends_the_training_but_not_the_validation() -> None:
    probe = Probe()
    fit(state(), CallbackList([Raises("after_batch", SkipEpoch()), probe]))
    assert probe.seen.count("after_batch") == 1 + 2
    assert probe.seen.count("after_validate") == probe.seen.count("after_epoch") == 2


def test_stop_fit_ends_the_fit_when_the_other_callbacks_of_the_hook_have_run() -> None:
    probe, running = Probe(), state(n_epochs=5)
    fit(running, CallbackList([Raises("after_epoch", StopFit("enough"), at=(1, 1)), probe]))
    assert probe.seen.count("after_epoch") == 2
    assert probe.seen[-2:] == ["after_epoch", "after_fit"]
    assert running.stop_reason == "enough"


@pytest.mark.parametrize("error", [ZeroDivisionError("boom"), KeyboardInterrupt(), KeyError()])
@pytest.mark.parametrize("hook", ["before_batch", "after_batch", "after_validate_batch", "after_epoch"])
def test_an_error_keeps_its_type_notes_where_it_was_and_after_fit_runs(hook: str, error: BaseException) -> None:
    error = type(error)(*error.args)
    probe = Probe()
    at = (1, 0) if hook.endswith("_batch") and "validate" not in hook else (1, 1)
    with pytest.raises(type(error)) as caught:
        fit(state(), CallbackList([probe, Raises(hook, error, at)]))
    assert caught.value is error
    assert f"in Raises.{hook}, epoch {at[0]}, batch {at[1]}" in error.__notes__
    assert probe.seen[-1] == "after_fit"


def test_the_first_error_survives_when_an_after_fit_fails_too() -> None:
    class Also(Callback):
        def after_fit(self, state: TrainState) -> None:
            raise RuntimeError("second")

    probe = Probe()
    with pytest.raises(ZeroDivisionError) as caught:
        fit(state(), CallbackList([Raises("before_batch", ZeroDivisionError()), Also(), probe]))
    assert any("second" in note for note in caught.value.__notes__)
    assert probe.seen[-1] == "after_fit"
    with pytest.raises(RuntimeError, match="second"):
        fit(state(), CallbackList([Also(), Probe()]))


def test_ctrl_c_in_the_model_runs_after_fit() -> None:
    class Stops(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise KeyboardInterrupt

    probe = Probe()
    with pytest.raises(KeyboardInterrupt):
        fit(state(model=Stops(2, 2)), CallbackList([probe]))
    assert probe.seen == ["before_fit", "before_epoch", "before_batch", "after_fit"]


def test_two_callbacks_with_the_same_label_are_refused() -> None:
    with pytest.raises(UsageError, match=r"two have the label 'Probe'.*\['Probe', 'Probe'\]"):
        CallbackList([Probe(), Probe()])


def test_a_class_is_refused_with_how_to_instantiate_it() -> None:
    with pytest.raises(UsageError, match=r"here Probe\(\)"):
        CallbackList([Probe])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="an instance of a Callback"):
        CallbackList(["early stopping"])  # type: ignore[list-item]


def test_a_callback_has_no_state_to_save_by_default() -> None:
    probe = Probe()
    assert probe.state_dict() == {}
    probe.load_state_dict({})
    assert probe.seen == []


def test_the_first_of_several_interrupts_in_a_hook_counts() -> None:
    def stop(label: str) -> Callback:
        return acting(label=label, after_step=raising(StopFit(label)))

    running = state()
    fit(running, CallbackList([stop("First"), stop("Second")]))
    assert running.stop_reason == "First"


def test_an_interrupt_leaves_no_cycle_that_keeps_the_state_alive() -> None:
    """The traceback of an exception holds the frames that it passed, and with them the model."""
    gc.collect()
    gc.disable()
    try:
        for interrupt in (StopFit("enough"), SkipEpoch(), SkipBatch()):
            running = state()
            alive = weakref.ref(running.model)

            def stop(_: Any, raised: Exception = interrupt) -> None:
                raise raised

            with pytest.raises(type(interrupt)):
                CallbackList([acting(after_batch=stop)]).notify(Callback.after_batch, running)
            interrupt.__traceback__ = None
            del running
            assert alive() is None, interrupt
    finally:
        gc.enable()


def test_which_hooks_have_callbacks() -> None:
    callbacks = CallbackList([acting(after_backward=lambda state: None)])
    assert callbacks.act_in(Callback.after_backward)
    assert not callbacks.act_in(Callback.after_step)


def test_misspelt_arguments_of_a_callback_are_refused_in_its_name() -> None:
    class Own(Callback):
        def __init__(self, rate: float = 1.0) -> None:
            self.rate = rate

    class Free(Callback):
        def __init__(self, **options: object) -> None:
            self.options = options

    with pytest.raises(WrongTypeError, match=r"^Own: keyword: got 'rat'.*Nearest: rate"):
        Own(rat=1)  # type: ignore[call-arg]
    assert (Own(rate=2).rate, Free(any=1).options) == (2, {"any": 1})
