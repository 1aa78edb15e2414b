"""Models that return several outputs: the one that is the prediction, and the loss that a model returns itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from learnkit.checks import is_int
from learnkit.errors import UsageError
from learnkit.losses.activations import activation_of
from learnkit.types import Loss

__all__ = ["OneOutput", "OutputKey", "from_outputs", "names_of", "output_to_pass", "takes_one_output"]

OutputKey = str | int | Callable[[Any], Any]


@dataclass(frozen=True)
class OneOutput:
    """Picks one of a model's outputs; a tensor, such as a model may return in eval mode, is kept.

    Args:
        key: a name (a key of a dict, an attribute such as "logits"), an index of a tuple, or a function of all outputs.

    Raises:
        UsageError: a key of another type; when called, outputs without it.

    >>> import torch
    >>> OneOutput("logits")({"logits": torch.ones(2), "hidden": None}).tolist()
    [1.0, 1.0]
    """

    key: OutputKey

    def __post_init__(self) -> None:
        if not (is_int(self.key) or isinstance(self.key, str) or callable(self.key)):
            expected = "the name or the index of an output, or a function of all outputs"
            raise UsageError("output", got=self.key, expected=expected)

    def __call__(self, outputs: Any) -> Any:
        """The chosen output."""
        if isinstance(outputs, Tensor):
            return outputs
        if callable(self.key):
            return self.key(outputs)
        try:
            if isinstance(self.key, str) and not isinstance(outputs, Mapping):
                return getattr(outputs, self.key)
            return outputs[self.key]
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise UsageError("output", got=self.key, expected=f"one of those in {names_of(outputs)}") from error


def from_outputs(outputs: Any, targets: Any) -> Tensor:
    """The loss that the model computed itself: `outputs.loss` or `outputs["loss"]`, a mean over the batch.

    For models that take the targets as an input, as those of transformers do. The batches then hold the targets twice,
    as an input of the model and as the target that metrics and interpretations see::

        Learner(dls, model, loss_func=from_outputs, output="logits", metrics="accuracy")

    Such a model has one loss per batch, so no losses of single items, and MixUp and CutMix cannot mix it.

    Args:
        outputs: of the model, with a loss of shape () or (1,).
        targets: not used.

    Raises:
        UsageError: outputs without a loss.
    """
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else getattr(outputs, "loss", None)
    if not isinstance(loss, Tensor):
        raise UsageError(
            f"loss_func=from_outputs: {names_of(outputs)} has no loss",
            expected="the model to return one, as outputs.loss or outputs['loss']",
            fix="Give the model the targets as an input: batches (inputs..., targets, targets).",
        )
    return loss.reshape(()).clone() if loss.numel() == 1 else loss  # the model's next call may overwrite its outputs


def takes_one_output(loss_func: Loss) -> bool:
    """Whether a loss takes one tensor: torch's and learnkit's do, and others with an `activation`."""
    return activation_of(loss_func) is not None


def names_of(outputs: Any) -> str:
    """The kind of some outputs and the names of their parts, such as "a dict of logits, hidden"."""
    names, kind = _names(outputs), type(outputs).__name__
    size = f" of {len(outputs)}" if isinstance(outputs, tuple | list) else ""
    article = "an" if kind[0] in "AEIOUaeiou" else "a"
    return f"{article} {kind}" + (f" of {', '.join(map(str, names))}" if names else size)


def output_to_pass(outputs: Any) -> str:
    """The argument of a learner that picks one of these outputs, by an example that is there: a tensor, if one is.

    >>> output_to_pass({"hidden": 0, "logits": 1}), output_to_pass((1, 2))
    ('output="logits"', 'output=0')
    """
    parts = _parts(outputs)
    if not parts:
        return "output="
    tensors = [name for name, part in parts.items() if isinstance(part, Tensor)]
    name = "logits" if "logits" in parts else next(iter(tensors or parts))
    return f'output="{name}"' if isinstance(name, str) else f"output={name!r}"


def _names(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, Mapping) else list(getattr(outputs, "_fields", ()))


def _parts(outputs: Any) -> dict[Any, Any]:
    """The parts of some outputs by what picks them: their names, or the indices of a tuple."""
    if isinstance(outputs, Mapping):
        return dict(outputs)
    if names := _names(outputs):
        return {name: getattr(outputs, name) for name in names}
    return dict(enumerate(outputs)) if isinstance(outputs, tuple | list) else {}
