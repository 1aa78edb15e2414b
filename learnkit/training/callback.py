"""Callbacks: the hooks of the training loop, the order they run in, and how the loop calls them."""

import difflib
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from typing import Any, ClassVar, TypeAlias

from learnkit.errors import Interrupt, UsageError, WrongTypeError
from learnkit.training.state import TrainState

__all__ = ["Callback", "CallbackList", "Hook", "Order"]


class Order(IntEnum):
    """When a callback runs within a hook; equal orders keep the order they were given in."""

    BATCH = 10  # changes inputs or targets
    SCHEDULE = 20  # sets hyper-parameters
    DEFAULT = 50
    RECORD = 70  # keeps what the others wrote
    DECIDE = 80  # early stopping, saving: reads the record
    REPORT = 90  # shows the record


class Callback:
    """What some fits need: subclass it and define the hooks you want.

    The hooks, in the order a fit calls them::

        before_fit
          before_epoch
            before_batch        inputs and targets are on the device; change them here
            after_pred          state.preds is set
            after_loss          state.loss is set; what is backpropagated is what you leave there
            after_backward      gradients are there
            after_step          the optimizer has stepped (an overflow in float16 leaves it out)
            after_batch
          before_validate
            after_validate_batch
          after_validate        state.valid is set
          after_epoch           state.row is set, by the recorder
        after_fit               always, also after an error or Ctrl-C

    A method whose name looks like a hook but is none is a TypeError when the class is defined. To steer the loop, raise
    StopFit, SkipEpoch or SkipBatch; the other callbacks of that hook still run. State that a resumed fit must have
    again goes through `state_dict` and `load_state_dict`.
    """

    order: ClassVar[int] = Order.DEFAULT
    sets: ClassVar[frozenset[str]] = frozenset()  # what only one callback of a fit may set, such as "lr"
    in_lr_find: ClassVar[bool] = False  # whether it changes how a batch is trained, so that a finder's run needs it

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in vars(cls):
            if name.startswith("_") or name in vars(Callback):
                continue
            near = difflib.get_close_matches(name, HOOKS, n=1, cutoff=0.85)
            if near or name.startswith(("before_", "after_")):
                same_moment = [hook for hook in HOOKS if hook.partition("_")[2] == name.partition("_")[2]]
                meant = [*same_moment, *near, *difflib.get_close_matches(name, HOOKS, n=1, cutoff=0.0)][0]
                raise WrongTypeError(
                    f"{cls.__name__}.{name} is not a hook of the training loop; did you mean {meant!r}?"
                )

    @property
    def label(self) -> str:
        """What tells this callback from the others of a fit: two with one label are refused."""
        return type(self).__name__

    def before_fit(self, state: TrainState) -> None: ...
    def before_epoch(self, state: TrainState) -> None: ...
    def before_batch(self, state: TrainState) -> None: ...
    def after_pred(self, state: TrainState) -> None: ...
    def after_loss(self, state: TrainState) -> None: ...
    def after_backward(self, state: TrainState) -> None: ...
    def after_step(self, state: TrainState) -> None: ...
    def after_batch(self, state: TrainState) -> None: ...
    def before_validate(self, state: TrainState) -> None: ...
    def after_validate_batch(self, state: TrainState) -> None: ...
    def after_validate(self, state: TrainState) -> None: ...
    def after_epoch(self, state: TrainState) -> None: ...
    def after_fit(self, state: TrainState) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        """What a resumed fit needs to go on as if nothing had happened; plain values and tensors only."""
        return {}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take back what `state_dict` gave, at once.

        Called after `before_fit`, at the point of the sequence of hooks where `state_dict` was: for a fit that was left
        within an epoch after `before_epoch`, for one left between two before it. Of a fit that is done no hook is
        called, but this is: what a callback keeps from one fit to the next is there again.
        """


Hook: TypeAlias = Callable[[Callback, TrainState], None]
HOOKS: dict[str, Hook] = {name: hook for name, hook in vars(Callback).items() if name.startswith(("before_", "after_"))}


class CallbackList:
    """The callbacks of one fit, in order; each hook is dispatched only to those that define it."""

    def __init__(self, callbacks: Iterable[Callback] = ()) -> None:
        self._callbacks = sorted((_checked(callback) for callback in callbacks), key=lambda callback: callback.order)
        labels: dict[str, Callback] = {}
        for callback in self._callbacks:
            if callback.label in labels:
                raise UsageError(
                    f"callbacks: two are called {callback.label!r}",
                    got=[type(labels[callback.label]).__name__, type(callback).__name__],
                    expected="one of a kind in a fit",
                    fix="Leave one out, also among the learner's own, or give it a label of its own.",
                )
            labels[callback.label] = callback
        self._check_conflicts()
        self._bound: dict[Hook, tuple[tuple[Callback, Callable[[TrainState], None]], ...]] = {
            base: tuple((c, getattr(c, name)) for c in self._callbacks if getattr(type(c), name) is not base)
            for name, base in HOOKS.items()
        }

    def _check_conflicts(self) -> None:
        setters: dict[str, Callback] = {}
        for callback in self._callbacks:
            for what in callback.sets:
                if what in setters:
                    raise UsageError(
                        f"callbacks: {setters[what].label} and {callback.label} both set {what}, the second would undo "
                        "what the first did",
                        fix="Leave one of them out of this fit, also among the learner's own.",
                    )
                setters[what] = callback

    def __iter__(self) -> Iterator[Callback]:
        return iter(self._callbacks)

    def notify(self, hook: Hook, state: TrainState) -> None:
        """Run one hook, named by the method itself: `notify(Callback.after_loss, state)`.

        A StopFit, SkipEpoch or SkipBatch takes effect when all callbacks have run, so that the epoch that ends a fit is
        recorded and shown like the others.
        """
        interrupt: Interrupt | None = None
        for callback, method in self._bound[hook]:
            try:
                method(state)
            except Interrupt as raised:
                interrupt = interrupt or raised
            except BaseException as error:
                _note(error, callback, hook, state)
                raise
        if interrupt is not None:
            raise interrupt

    def finish(self, state: TrainState, during: BaseException | None = None) -> None:
        """Run `after_fit` of every callback, also when one of them fails.

        The first failure is raised at the end, unless the fit is already ending with the error `during`: then that one
        goes on, and the failures are added to it as notes.
        """
        failed: list[BaseException] = []
        for callback, method in self._bound[Callback.after_fit]:
            try:
                method(state)
            except BaseException as error:
                _note(error, callback, Callback.after_fit, state)
                failed.append(error)
        for failure in failed:
            if during is None:
                raise failure
            during.add_note(f"then a callback's after_fit failed too: {failure!r}")


def _checked(callback: object) -> Callback:
    if isinstance(callback, Callback):
        return callback
    called = f"{callback.__name__}()" if isinstance(callback, type) else "an instance of a Callback subclass"
    raise UsageError("callbacks", got=callback, expected=f"callback objects, here {called}")


def _note(error: BaseException, callback: Callback, hook: Hook, state: TrainState) -> None:
    error.add_note(f"in {type(callback).__name__}.{hook.__name__}, epoch {state.epoch}, batch {state.batch}")
