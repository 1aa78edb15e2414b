"""Callbacks: the hooks of the training loop, the order they run in, and how the loop calls them."""

from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from typing import Any, ClassVar, TypeAlias

from learnkit.arguments import checks_keywords
from learnkit.distributed.world import world
from learnkit.errors import Interrupt, SkipBatch, SkipEpoch, StopFit, UsageError
from learnkit.training.hook_names import check_hooks, check_mixed_in
from learnkit.training.interrupts import check_place
from learnkit.training.state import TrainState

__all__ = ["Callback", "CallbackList", "Hook", "Order", "defines"]


class Order(IntEnum):
    """When a callback runs within a hook; callbacks of equal order run in the order they were passed in."""

    BATCH = 10  # changes inputs or targets
    SCHEDULE = 20  # sets hyper-parameters
    DEFAULT = 50
    RECORD = 70  # records what the others set
    DECIDE = 80  # early stopping, saving: reads the record
    REPORT = 90  # shows the record


class Callback:
    """An extension of the training loop: subclass it and define the hooks you need.

    The hooks, in the order a fit calls them::

        before_fit
          before_epoch
            before_batch        inputs and targets are on the device; change them here
            after_pred          state.preds is set
            after_loss          state.loss is set; the backward pass starts from it; change it here
            after_backward      gradients are computed
            after_step          the optimizer has stepped (unless float16 gradients overflowed)
            after_batch
          before_validate
            after_validate_batch
          after_validate        state.valid is set
          after_epoch           state.row is set, by the recorder
        after_fit               always, also after an error or Ctrl-C

    A method whose name is that of a hook of another library (fastai, Keras, Lightning) or looks like a misspelled one,
    and a hook that cannot be called with the state, is a TypeError when the class is defined. To steer the loop, raise
    StopFit (in any hook but `after_fit`), SkipEpoch (in `before_epoch` and in the hooks of a batch, or when a
    validation within an epoch runs) or SkipBatch (in the hooks of a batch, from `before_batch` to `after_batch`); the
    other callbacks of that hook still run. State that a resumed fit needs goes through `state_dict` and
    `load_state_dict`.
    """

    order: ClassVar[int] = Order.DEFAULT
    sets: ClassVar[frozenset[str]] = frozenset()  # what only one callback per fit may set, such as "lr"
    is_for_one: ClassVar[bool] = False  # whether it writes or shows: of several processes, the first runs it alone
    in_lr_find: ClassVar[bool] = False  # whether it changes how a batch is trained, so lr_find runs it too

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in cls.__mro__:
            if not issubclass(base, Callback):
                check_mixed_in(cls, base, HOOKS)
        check_hooks(cls, HOOKS, known=vars(Callback))
        if "__init__" in vars(cls):
            type.__setattr__(cls, "__init__", checks_keywords(cls.__init__))

    @property
    def label(self) -> str:
        """The name of this callback in a fit; two callbacks with the same label are refused."""
        return type(self).__name__

    def before_fit(self, state: TrainState) -> None:
        """Once, before anything is trained; the optimizer, the loaders and the number of epochs are known."""

    def before_epoch(self, state: TrainState) -> None:
        """Before the first batch of each epoch, `state.epoch`."""

    def before_batch(self, state: TrainState) -> None:
        """Before the model sees a batch: `state.inputs` and `state.targets` may be replaced, and rates set."""

    def after_pred(self, state: TrainState) -> None:
        """After the model: `state.preds` are its raw outputs, `state.inputs` what it has seen."""

    def after_loss(self, state: TrainState) -> None:
        """After the loss function: the backward pass starts from `state.loss`, which may be changed."""

    def after_backward(self, state: TrainState) -> None:
        """After the backward pass of a batch, or of a part of one (`MicroBatches`): gradients are computed."""

    def after_step(self, state: TrainState) -> None:
        """After a step of the optimizer was due; it has not stepped if float16 gradients overflowed."""

    def after_batch(self, state: TrainState) -> None:
        """After each batch of training, whether or not the optimizer has stepped."""

    def before_validate(self, state: TrainState) -> None:
        """Before the validation set, after the last batch of an epoch or between two batches."""

    def after_validate_batch(self, state: TrainState) -> None:
        """After each batch of validation: `state.preds`, `state.targets` and `state.loss` are of it."""

    def after_validate(self, state: TrainState) -> None:
        """After the validation set: `state.valid` holds its loss and metrics."""

    def after_epoch(self, state: TrainState) -> None:
        """After validation: `state.row` is the record of the epoch."""

    def after_fit(self, state: TrainState) -> None:
        """At the end, also after an error or Ctrl-C, which `state.failed` says."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed fit needs to continue as if uninterrupted; plain values and tensors only."""
        return {}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Called after `before_fit`, at the point in the sequence of hooks where `state_dict` was called: after
        `before_epoch` for a fit interrupted within an epoch, before it for one interrupted between two. For a fit that
        is done, this is called but no hook: what a callback keeps from one fit to the next is restored too.
        """


Hook: TypeAlias = Callable[[Callback, TrainState], None]
HOOKS: dict[str, Hook] = {name: hook for name, hook in vars(Callback).items() if name.startswith(("before_", "after_"))}
# These run for each part of a batch that is trained on in parts; the last hooks as often as a process has items to
# validate, and when a fit is over.
OF_PARTS: frozenset[Hook] = frozenset({Callback.after_pred, Callback.after_loss, Callback.after_backward})
UNEVEN: frozenset[Hook] = frozenset({Callback.after_validate_batch, Callback.after_fit})
INTERRUPTS: tuple[type[Interrupt], ...] = (SkipBatch, SkipEpoch, StopFit)


class CallbackList:
    """The callbacks of one fit, in order; each hook is dispatched only to callbacks that define it."""

    def __init__(self, callbacks: Iterable[Callback] = ()) -> None:
        self._callbacks = sorted((_checked(callback) for callback in callbacks), key=lambda callback: callback.order)
        labels: dict[str, Callback] = {}
        for callback in self._callbacks:
            if callback.label in labels:
                raise UsageError(
                    f"callbacks: two have the label {callback.label!r}",
                    got=[type(labels[callback.label]).__name__, type(callback).__name__],
                    expected="unique labels in a fit",
                    fix="Remove one of them (the learner's own callbacks count too) or give it another label.",
                )
            labels[callback.label] = callback
        self._check_conflicts()
        self._agreed: frozenset[Hook] = frozenset()
        self._bound: dict[Hook, tuple[tuple[Callback, Callable[[TrainState], None]], ...]] = {
            base: tuple((c, _bound(c, name)) for c in self.acting if defines(c, name, base))
            for name, base in HOOKS.items()
        }

    def _check_conflicts(self) -> None:
        setters: dict[str, Callback] = {}
        for callback in self._callbacks:
            for what in callback.sets:
                if what in setters:
                    raise UsageError(
                        f"callbacks: {setters[what].label} and {callback.label} both set {what}, so the second would "
                        "overwrite the first",
                        fix="Remove one of them from this fit; the learner's own callbacks count too.",
                    )
                setters[what] = callback

    def __iter__(self) -> Iterator[Callback]:
        return iter(self._callbacks)

    @property
    def acting(self) -> Iterator[Callback]:
        """Those that run in this process."""
        return (c for c in self._callbacks if world.is_first or not c.is_for_one)

    def act_in(self, hook: Hook) -> bool:
        """Whether any callback defines this hook."""
        return bool(self._bound[hook])

    def agree(self) -> None:
        """Let an interrupt that a user's callback raises in one process hold in all; every process must come here.

        Not in the hooks of a part of a batch, which some processes run more often than others.
        """
        if world.size == 1:
            return
        acts = [
            any(defines(c, name, base) and _is_of_user(c, name) for c in self.acting) and base not in UNEVEN
            for name, base in HOOKS.items()
        ]
        self._agreed = frozenset(base for base, n in zip(HOOKS.values(), world.sums(*acts), strict=True) if n)

    def notify(self, hook: Hook, state: TrainState) -> None:
        """Run one hook, named by the method itself: `notify(Callback.after_loss, state)`.

        A StopFit, SkipEpoch or SkipBatch takes effect after all callbacks have run, so the epoch that ends a fit is
        recorded and shown like the others.

        Raises:
            UsageError: one that could not take effect in this hook, see `check_place`.
        """
        interrupt: Interrupt | None = None
        by: Callback | None = None
        for callback, method in self._bound[hook]:
            try:
                method(state)
            except Interrupt as raised:
                if interrupt is None:
                    interrupt, by = raised, callback
            except BaseException as error:
                _note(error, callback, hook, state)
                raise
        if hook in self._agreed and (state.compute.part is None or hook not in OF_PARTS):
            interrupt = _of_any(interrupt)
        if interrupt is not None:
            try:
                _check_place(interrupt, by, hook, state)
                raise interrupt
            finally:
                del interrupt  # its traceback holds this frame: a cycle would keep the model alive

    def finish(self, state: TrainState, during: BaseException | None = None) -> None:
        """Run `after_fit` of every callback, also when one of them fails.

        The first failure is raised at the end, unless the fit is already ending with the error `during`: then the
        failures are added to that error as notes.
        """
        failed: list[BaseException] = []
        for callback, method in self._bound[Callback.after_fit]:
            try:
                try:
                    method(state)
                except Interrupt as raised:
                    check_place(raised, "after_fit")
            except BaseException as error:
                _note(error, callback, Callback.after_fit, state)
                failed.append(error)
        if during is None and failed:
            try:
                raise failed[0]
            finally:
                failed.clear()  # as in `notify`
        for failure in failed:
            during.add_note(f"then a callback's after_fit failed too: {failure!r}")  # type: ignore[union-attr]


def _is_of_user(callback: Callback, name: str) -> bool:
    own = type(callback).__module__.partition(".")[0] == __name__.partition(".")[0]
    return not own or name in vars(callback)


def _check_place(interrupt: Interrupt, by: Callback | None, hook: Hook, state: TrainState) -> None:
    try:
        check_place(interrupt, hook.__name__, is_mid_epoch=state.is_mid_epoch)
    except UsageError as error:
        if by is not None:
            _note(error, by, hook, state)
        raise


def _of_any(interrupt: Interrupt | None) -> Interrupt | None:
    """The interrupt of this hook that holds in all processes: the one that ends most."""
    own = max((place for place, kind in enumerate(INTERRUPTS, 1) if isinstance(interrupt, kind)), default=0)
    found = world.highest(own)
    return interrupt if found == own else INTERRUPTS[found - 1]("by a callback of another process")


def _bound(callback: Callback, name: str) -> Callable[[TrainState], None]:
    """A hook; what one process alone runs cannot wait for the others."""
    method: Callable[[TrainState], None] = getattr(callback, name)
    if not callback.is_for_one or world.size == 1:
        return method

    def alone(state: TrainState) -> None:
        with world.alone():
            method(state)

    return alone


def defines(callback: Callback, name: str, base: Hook) -> bool:
    """Whether its class has this hook, or the object itself (`callback.after_epoch = function`)."""
    return getattr(type(callback), name) is not base or name in getattr(callback, "__dict__", ())


def _checked(callback: object) -> Callback:
    if isinstance(callback, Callback):
        return callback
    instance = f"{callback.__name__}()" if isinstance(callback, type) else "an instance of a Callback subclass"
    raise UsageError("callbacks", got=callback, expected=f"callback objects, here {instance}")


def _note(error: BaseException, callback: Callback, hook: Hook, state: TrainState) -> None:
    error.add_note(f"in {type(callback).__name__}.{hook.__name__}, epoch {state.epoch}, batch {state.batch}")
