"""A predictor for serving: predictions for single items or small batches, from any number of threads."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from learnkit.certainty.fitted import FittedCertainty
from learnkit.checks import check_int
from learnkit.data.loading.items import several
from learnkit.data.tasks import Task
from learnkit.device import Compute
from learnkit.errors import ImageError, LearnkitError
from learnkit.inference.nan_outputs import tell_of_nan
from learnkit.inference.predictions import activated, raw_outputs
from learnkit.inference.sets import PredictionSet, SetAnswers, not_fitted
from learnkit.models.calling import call_model
from learnkit.models.finite import tell_of_weights
from learnkit.persistence.weights import plain_model
from learnkit.training.weights import copied
from learnkit.types import Activation

__all__ = [
    "Prediction",
    "Predictor",
    "decode_outputs",
    "of_output",
    "predict_batch",
    "predict_one",
    "prepared_batches",
]


R = TypeVar("R")


class Prediction(NamedTuple):
    """The prediction for one item.

    Attributes:
        label: what the task decodes it to: a class name, a list of names, numbers, a mask.
        index: the same as a tensor, in the form of targets.
        probs: the activated outputs, such as one probability per class.
    """

    label: Any
    index: Tensor  # type: ignore[assignment]  # hides tuple.index
    probs: Tensor


def of_output(output: Callable[[Any], Any] | None, activation: Activation) -> Activation:
    """The activation of the output that `output` picks of all; None for a model with a single one."""
    return activation if output is None else partial(_of, output, activation)


def _of(output: Callable[[Any], Any], activation: Activation, raw: Any) -> Tensor:
    return activation(output(raw))


def decode_outputs(activated: Tensor, tasks: Task | Sequence[Task]) -> list[Prediction]:
    """The prediction of each row of activated outputs (N, ...); `tasks` is one, or one per row.

    Warns:
        LearnkitWarning: outputs that are nan.
    """
    tell_of_nan(activated)
    rows = activated.unbind()
    of_rows = tasks if isinstance(tasks, Sequence) else [tasks] * len(rows)
    return [Prediction(*task.decode(row), row) for task, row in zip(of_rows, rows, strict=True)]


def predict_one(model: nn.Module, x: Tensor, compute: Compute, activation: Activation, task: Task) -> Prediction:
    """The prediction of a batch of one item, on the CPU; modes and gradients are the caller's."""
    outputs = activated(activation, raw_outputs(model, (x,), compute)).cpu()
    tell_of_nan(outputs)
    (row,) = outputs.unbind()
    label, index = task.decode(row)
    return Prediction(label, index, row)


def predict_batch(
    model: nn.Module, x: Tensor, compute: Compute, activation: Activation, tasks: Task | Sequence[Task]
) -> list[Prediction]:
    """The prediction of each item of a batch (N, ...), on the CPU; modes and gradients are the caller's.

    Args:
        tasks: decodes the outputs; one, or one per item.
    """
    return decode_outputs(activated(activation, raw_outputs(model, (x,), compute)).cpu(), tasks)


def prepared_batches(
    items: Any, prepare: Callable[[Any], Tensor], bs: int, *, are_images: bool = False
) -> Iterator[tuple[list[Any], Tensor]]:
    """Items of a user, and these as inputs of the model, up to `bs` at a time, those of a batch of one shape.

    Args:
        items: several, each in a form that `prepare` accepts.
        prepare: turns an item into an input (1, ...).
        bs: the largest batch.
        are_images: an array or tensor of up to three axes is one item.

    Raises:
        UsageError: a single item.
        LearnkitError: an item that cannot be prepared; the error begins with its number.
    """
    batch: list[tuple[Any, Tensor]] = []
    for number, item in enumerate(several(items, are_images=are_images)):
        try:
            x = prepare(item)
        except LearnkitError as error:
            raise error.prefixed(f"item {number}") from error
        if batch and (len(batch) == bs or x.shape != batch[0][1].shape):
            yield _joined(batch)
            batch = []
        batch.append((item, x))
    if batch:
        yield _joined(batch)


def _joined(batch: list[tuple[Any, Tensor]]) -> tuple[list[Any], Tensor]:
    return [item for item, _ in batch], torch.cat([x for _, x in batch])


@torch.no_grad()
def _sets_of(sets: SetAnswers, read: Sequence[tuple[Tensor, Task]]) -> list[PredictionSet]:
    return sets(torch.cat([x for x, _ in read])) if read else []


class Predictor:
    """Predictions for single items, safe to share between threads.

    It owns a copy of the model, in eval mode and without gradients: later training does not change it, and neither do
    calls. Each call runs in the thread of the caller.

    Args:
        model: copied, with its device.
        prepare: turns an item into a model input (1, ...) on the model's device.
        activate: the activation of raw outputs (N, ...).
        task: decodes the outputs.
        bs: maximum number of items per forward pass.
        task_of: the task for one item, where it depends on the item.
        are_images: an array or tensor of up to three axes is one item.
        compute: the precision of forward passes; None for that of the weights.

    Warns:
        LearnkitWarning: weights that are nan or infinite.
    """

    def __init__(
        self,
        model: nn.Module,
        prepare: Callable[[Any], Tensor],
        activate: Activation,
        task: Task,
        *,
        bs: int = 64,
        task_of: Callable[[Any], Task | None] | None = None,
        are_images: bool = False,
        compute: Compute | None = None,
    ) -> None:
        check_int("bs", bs, 1)
        self.model: nn.Module = copied(model).eval()
        tell_of_weights("the weights of the model", self.model)
        for parameter in self.model.parameters():
            if parameter.is_leaf:  # those of a copied ScriptModule are not
                parameter.requires_grad_(False)
        self._is_frozen = not any(parameter.requires_grad for parameter in self.model.parameters())
        self.prepare = prepare
        self.activate = activate
        self.task = task
        self.bs = bs
        self.task_of = task_of
        self.are_images = are_images
        self._compute = None if compute is None or compute.precision == "fp32" else compute
        self._sets: SetAnswers | None = None

    def predict(self, item: Any) -> Prediction:
        """(label, index, activated outputs) of one item, in any form `prepare` accepts.

        Outputs that are nan are not warned of here, as by the other methods: a look at `probs` of one item says it, and
        would take a twentieth of a small model's time.

        Raises:
            ImageError: an image that cannot be read.
        """
        (row,) = self._outputs(self.prepare(item)).unbind()
        task = self.task if self.task_of is None else self.task_of(item) or self.task
        label, index = task.decode(row)
        return Prediction(label, index, row)

    def predict_batch(self, items: Iterable[Any]) -> list[Prediction]:
        """The same for several items, `bs` of them in one forward pass.

        Raises:
            ImageError: an image that cannot be read.
            UsageError: a single item.
        """
        batches = prepared_batches(items, self.prepare, self.bs, are_images=self.are_images)
        return [
            prediction for batch, x in batches for prediction in decode_outputs(self._outputs(x), self._tasks(batch))
        ]

    def predict_each(self, items: Iterable[Any], *, num_workers: int = 1) -> Iterator[Prediction | ImageError]:
        """The prediction of each item in turn; for one that cannot be read, the error instead.

        Only `bs` items are in memory at a time, and as many are taken before the first of them is returned.

        Args:
            items: in forms that `prepare` accepts, such as paths.
            num_workers: threads that read them.
        """
        return self._each(items, num_workers, self._decoded)

    def _each(
        self, items: Iterable[Any], num_workers: int, answers: Callable[[Any], list[R]]
    ) -> Iterator[R | ImageError]:
        ahead = iter(items)
        with ThreadPoolExecutor(check_int("num_workers", num_workers, 1)) as pool:
            while batch := list(islice(ahead, self.bs)):
                read = list(pool.map(self._read, batch))
                good = [part for part in read if not isinstance(part, ImageError)]
                found = iter(answers(good))
                yield from (part if isinstance(part, ImageError) else next(found) for part in read)

    def answer_sets(
        self, fitted: FittedCertainty, activation: Activation, output: Callable[[Any], Any] | None, compute: Compute
    ) -> None:
        """Let `predict_set` answer with sets that were fitted for this model.

        Args:
            fitted: what was fitted.
            activation: of the raw outputs of the prediction.
            output: picks that one of the model's outputs; None for a model of one.
            compute: the precision of forward passes.
        """
        self._sets = SetAnswers(plain_model(self.model), compute, activation, output, fitted, self.task.classes)

    def predict_set(self, item: Any) -> PredictionSet:
        """(labels, is_familiar, score, activated outputs) of one item; see `Learner.predict_set`.

        Raises:
            UsageError: the learner had no sets for its model, see `Learner.fit_conformal`.
        """
        return self.predict_sets([item])[0]

    def predict_sets(self, items: Iterable[Any]) -> list[PredictionSet]:
        """The same for several items, `bs` of them in one forward pass."""
        if self._sets is None:
            raise not_fitted("predict_sets")
        batches = prepared_batches(items, self.prepare, self.bs, are_images=self.are_images)
        with torch.no_grad():
            return [answer for _, x in batches for answer in self._sets(x)]

    def predict_set_each(self, items: Iterable[Any], *, num_workers: int = 1) -> Iterator[PredictionSet | ImageError]:
        """As `predict_each`, the answers of `predict_set`."""
        if self._sets is None:
            raise not_fitted("predict_set_each")
        return self._each(items, num_workers, partial(_sets_of, self._sets))

    @property
    def has_sets(self) -> bool:
        """Whether `predict_set` has what was fitted for this model."""
        return self._sets is not None

    def _decoded(self, read: Sequence[tuple[Tensor, Task]]) -> list[Prediction]:
        if not read:
            return []
        return decode_outputs(self._outputs(torch.cat([x for x, _ in read])), [task for _, task in read])

    def _read(self, item: Any) -> tuple[Tensor, Task] | ImageError:
        try:
            return self.prepare(item), self.task if self.task_of is None else self.task_of(item) or self.task
        except ImageError as error:
            return error

    def _tasks(self, items: Sequence[Any]) -> Task | list[Task]:
        task_of = self.task_of
        return self.task if task_of is None else [task_of(item) or self.task for item in items]

    def _run(self, x: Tensor) -> Any:
        return call_model(self.model, (x,)) if self._compute is None else raw_outputs(self.model, (x,), self._compute)

    def _outputs(self, x: Tensor) -> Tensor:
        """Activated outputs (N, ...) of a batch of inputs, on the CPU."""
        if x.requires_grad or not self._is_frozen:
            with torch.no_grad():  # inference mode would return tensors that cannot be modified in place
                outputs = activated(self.activate, self._run(x))
        else:  # nothing records a gradient, and switching that off takes a tenth of a small model's time
            outputs = activated(self.activate, self._run(x))
        outputs = outputs.detach() if outputs.requires_grad else outputs
        return outputs if outputs.is_cpu else outputs.cpu()
