"""Who uses a learner now: one thread may train it, and answers of others leave that fit as it is."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock, get_ident
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from learnkit.distributed.failures import told
from learnkit.distributed.world import world
from learnkit.errors import UsageError
from learnkit.inference.predictions import with_own_workers
from learnkit.tree import leaves

__all__ = ["Running", "apart", "twin"]

Item = TypeVar("Item")

ATTEMPTS = 10  # a model may change while it is copied


class Running:
    """Lets one fit run at a time: two would share the learner's model, optimizer and history."""

    def __init__(self) -> None:
        self._thread: int | None = None
        self._answers = RLock()
        self._is_sharded = False

    def __reduce__(self) -> tuple[type["Running"], tuple[()]]:
        return Running, ()  # a copy of a learner is not running

    @property
    def is_on(self) -> bool:
        """Whether a fit is running, in any thread."""
        return self._thread is not None

    @contextmanager
    def only(self) -> Iterator[None]:
        """Train inside, once the answers that other threads have begun are given; a callback may train too.

        Raises:
            UsageError: another thread is training.
        """
        current = get_ident()
        with self._answers:
            before = self._thread
            if before not in (None, current):
                raise UsageError(
                    "this learner is being trained by another thread", fix="Wait for it, or make a learner per thread."
                )
            self._thread = current
        try:
            yield
        finally:
            self._thread = before

    @contextmanager
    def sharded(self) -> Iterator[None]:
        """Train a sharded copy of the model inside: the learner's own does not have its weights."""
        self._is_sharded = True
        try:
            yield
        finally:
            self._is_sharded = False

    def check_whole(self) -> None:
        """Refuse the model and the optimizer of a fit that shares them out.

        Raises:
            UsageError: such a fit is running.
        """
        if self._is_sharded:
            raise UsageError(
                "the weights are shared out over the processes while a fit with strategy='fsdp' runs",
                fix="In a callback use state.model and state.optimizer; ask the learner before or after the fit.",
            )

    @contextmanager
    def answering(self) -> Iterator[bool]:
        """Predict inside, one thread after another; True beside a fit that another thread runs meanwhile."""
        with self._answers:
            if self._thread in (None, get_ident()):
                yield False
                return
        yield True

    def answer(self, ask: Callable[[bool], Item]) -> Item:
        """What a function returns that is called as `answering` runs its body; for short ones, as this is faster."""
        with self._answers:
            if self._thread in (None, get_ident()):
                return ask(False)
        return ask(True)

    def in_turn(self, items: Iterator[Item], *, beside: bool) -> Iterator[Item]:
        """The items of an iterator, each computed as an answer.

        Raises:
            UsageError: another thread began to train, and the iterator is not one `beside` its fit.
        """
        end = object()
        while True:
            with self.answering() as is_beside:
                if is_beside and not beside:
                    raise UsageError(
                        "another thread trains this learner since the iteration began", fix="Begin a new one."
                    )
                with world.alone() if beside else told():
                    item = next(items, end)
            if item is end:
                return
            yield item  # type: ignore[misc]

    def refuse(self, what: str) -> None:
        """Refuse a change that a running fit would not notice.

        Raises:
            UsageError: a fit is running.
        """
        if self.is_on:
            raise UsageError(f"{what} cannot be set while a fit is running", fix="Set it before or after the fit.")


def twin(model: nn.Module) -> nn.Module:
    """The same weights in other modules: their mode can be changed while a fit uses the model.

    Raises:
        UsageError: a model that cannot be copied while it is trained.
    """
    for _ in range(ATTEMPTS):
        try:
            return copy.deepcopy(model, {id(tensor): tensor for tensor in _tensors(model)})
        except RuntimeError as error:  # its modules changed meanwhile
            failed = error
    raise UsageError(
        f"this model cannot be used while another thread trains it ({failed})",
        fix="Wait for the fit, or take learn.predictor() before it.",
    ) from failed


def _tensors(model: nn.Module) -> list[Tensor]:
    """All tensors that its modules hold."""
    held: list[Any] = [leaf for module in model.modules() for leaf in leaves(dict(vars(module)))]
    return [leaf for leaf in held if isinstance(leaf, Tensor)]


def apart(loader: Any) -> Any:
    """The loader without the workers, and without the global generator, that a running fit uses."""
    own = with_own_workers(loader)
    if isinstance(own, DataLoader) and own.generator is None:
        own = copy.copy(own) if own is loader else own
        own.generator = torch.Generator()
    return own
