"""The outline of a fit as text: its steps in order, and the callbacks of each hook."""

from collections.abc import Iterable

from learnkit.training.callback import HOOKS, Callback, CallbackList, defines

__all__ = ["Outline", "outline"]

# The steps of `learnkit.training.loop`: hooks by name, everything else as pseudocode.
_LOOP = (
    (0, "before_fit"),
    (0, "for epoch in range({epochs}):"),
    (1, "model.train()"),
    (1, "before_epoch"),
    (1, "for inputs, targets in train_dl:{batches}"),
    (2, "before_batch"),
    (2, "preds = {model}(inputs)"),
    (2, "after_pred"),
    (2, "loss = {loss}(preds, targets)"),
    (2, "after_loss"),
    (2, "loss.backward()"),
    (2, "after_backward"),
    (2, "{optimizer}.step(), then zero_grad()"),
    (2, "after_step"),
    (2, "after_batch"),
    (1, "model.eval()"),
    (1, "before_validate"),
    (1, "for inputs, targets in valid_dl:{valid_batches}"),
    (2, "preds = {model}(inputs), loss = {loss}(preds, targets){metrics}"),
    (2, "after_validate_batch"),
    (1, "after_validate"),
    (1, "after_epoch"),
    (0, "after_fit"),
)
_OF_VALIDATION = {"model.eval()", "before_validate", "after_validate_batch", "after_validate"}


class Outline(str):
    """A string that consoles and notebooks show unchanged, without quotes."""

    def __repr__(self) -> str:
        return str(self)


def outline(callbacks: CallbackList, names: dict[str, str], *, validates: bool = True) -> Outline:
    """The steps of a fit, one per line, with the callbacks of each hook in the order they run in.

    Hooks that no callback defines are omitted.

    Args:
        callbacks: callbacks of the fit.
        names: the strings for epochs, batches, valid_batches, model, loss, optimizer and metrics.
        validates: whether an epoch ends with a validation.
    """
    lines: list[tuple[str, str]] = []
    for depth, step in _LOOP:
        is_validation = step in _OF_VALIDATION or "valid_dl" in step or "{metrics}" in step
        if is_validation and not validates:
            continue
        acting = ", ".join(acting_in(step, callbacks)) if step in HOOKS else ""
        if step in HOOKS and not acting:
            continue
        lines.append(("    " * depth + step.format(**names), acting))
    width = max((len(text) for text, acting in lines if acting), default=0) + 4
    return Outline("\n".join(f"{text:<{width}}{acting}" if acting else text for text, acting in lines))


def acting_in(hook: str, callbacks: Iterable[Callback]) -> list[str]:
    """The labels of the callbacks that define a hook, in the order they run in."""
    return [callback.label for callback in callbacks if defines(callback, hook, HOOKS[hook])]
