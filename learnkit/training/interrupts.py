"""Where a callback may skip or end something: what each interrupt ends has to be running."""

from learnkit.errors import Interrupt, SkipBatch, SkipEpoch, UsageError

__all__ = ["OF_BATCHES", "check_place"]

OF_BATCHES: tuple[str, ...] = (
    "before_batch", "after_pred", "after_loss", "after_backward", "after_step", "after_batch",
)  # fmt: skip


def check_place(interrupt: Interrupt, hook: str, *, is_mid_epoch: bool = False) -> None:
    """Refuse an interrupt in a hook in which nothing runs that it could end.

    Args:
        interrupt: what a callback raised.
        hook: the name of the hook.
        is_mid_epoch: whether a validation between two batches runs; the rest of the epoch may be skipped then.

    Raises:
        UsageError: a SkipBatch outside of the hooks of a batch, a SkipEpoch where the training of an epoch is over or
            has not begun, anything in `after_fit`.
    """
    if hook == "after_fit":
        raise UsageError(f"{type(interrupt).__name__} in after_fit: the fit is over", fix="Return instead.") from None
    is_epoch = isinstance(interrupt, SkipEpoch)
    if not isinstance(interrupt, SkipBatch | SkipEpoch) or (is_epoch and is_mid_epoch):
        return
    where = ("before_epoch", *OF_BATCHES) if is_epoch else OF_BATCHES
    if hook not in where:
        what = "no epoch trains" if is_epoch else "no batch runs"
        fix = f"Raise it in {', '.join(where)}. StopFit ends the fit."
        raise UsageError(f"{type(interrupt).__name__} in {hook}: {what} that it could skip", fix=fix) from None
