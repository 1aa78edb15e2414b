"""Exact resume: finds the checkpoint of a fit, checks that it belongs to the fit, and plans how the fit continues."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch.utils.data import IterableDataset

from learnkit.checks import check_int
from learnkit.data.bunch import DataBunch
from learnkit.distributed.world import world
from learnkit.errors import MissingFileError, UsageError, warn
from learnkit.learner.fingerprint import differences, environment, fingerprint
from learnkit.optim.optimizers import decay_of
from learnkit.persistence.checkpoints import (
    CheckpointWriter,
    checkpoint_writer,
    has_marker,
    holds_weights,
    is_marker,
    leave_last,
    mark_done,
    read_checkpoint,
    remove_checkpoints,
)
from learnkit.training.callback import CallbackList
from learnkit.training.checkpointing import Checkpoints
from learnkit.training.interval import Interval
from learnkit.training.snapshot import is_stateful, restore, seek
from learnkit.training.state import TrainState, loader_length
from learnkit.types import PathLike

__all__ = ["CheckpointEvery", "Resume", "ResumePlan", "RunCounter", "is_noted", "plan_fit", "stored_batch_size",
           "stored_seed"]  # fmt: skip

CheckpointEvery = int | str | None
Resume = Literal["auto"] | PathLike | None
MAX_SHOWN = 5  # differences in an error message


@dataclass
class RunCounter:
    """Counts the fits of a learner: with the seed, what the randomness of the next one depends on.

    Attributes:
        seed: all randomness is a function of it.
        epoch: epochs started in all fits so far: no two of them share an order or dropout.
        n_fits: completed fits.
        seed_is_drawn: whether the seed was drawn, not passed; a resumed fit then takes the checkpoint's.
    """

    seed: int
    epoch: int = 0
    n_fits: int = 0
    seed_is_drawn: bool = False


class ResumePlan(NamedTuple):
    """How a fit runs: what saves and restores it, and the learner's counter at its start.

    `writer` writes its checkpoints, if it has any; `keep_fits` of the fits that are done keep theirs.
    """

    checkpoints: Checkpoints
    counter: RunCounter
    writer: CheckpointWriter | None = None
    keep_fits: int | None = None

    def remove_done(self, n_before: int) -> None:
        """Remove the checkpoints that are not needed when this fit, after `n_before` of the same call, is done.

        Kept is one file for the last fit of every call, or of the last `keep_fits` fits.
        """
        if self.writer is None or not self.writer.has_saved:
            return
        folders, done = self.writer.folder.parent, self.counter.n_fits
        leave_last(self.writer.folder)
        for number in range(done - n_before, done):
            mark_done(_of_fit(folders, number), is_followed=True)
        if self.keep_fits is not None:
            kept = [number for number in range(done) if holds_weights(_of_fit(folders, number))]
            for number in kept[: max(len(kept) + 1 - self.keep_fits, 0)]:  # this one is kept too
                mark_done(_of_fit(folders, number), is_followed=False)


def plan_fit(
    dls: DataBunch,
    state: TrainState,
    callbacks: CallbackList,
    arguments: dict[str, Any],
    counter: RunCounter,
    every: CheckpointEvery,
    resume: Resume,
    keep_fits: int | None = None,
) -> ResumePlan:
    """Plan the checkpoints of a fit, and how it continues from one.

    A fit that continues has its `state` moved to where it was interrupted. One that is done has everything restored,
    and `state.is_done`.

    Args:
        dls: the data.
        state: state of the fit.
        callbacks: callbacks of the fit.
        arguments: arguments of the fit, but for the weight decay, which is the optimizer's.
        counter: the learner's; it is not changed.
        every: when a checkpoint is due; None to write none.
        resume: "auto" to continue if there is a checkpoint, a path to continue from that one, None to start over.
        keep_fits: how many fits that are done keep their checkpoint; None for the last one of every call.

    Raises:
        UsageError: the checkpoint belongs to another fit; the error names the differences, with both values.
        MissingFileError, CorruptFileError, UnsafeFileError: as `read_checkpoint`.
    """
    if keep_fits is not None:
        check_int("keep_fits", keep_fits, 1)
    if every is None and resume is None:
        return ResumePlan(Checkpoints(), counter)
    interval = Interval() if every is None else Interval.of(every)
    folders = state.folder / "checkpoints"
    saved, where = _found(_of_fit(folders, counter.n_fits), resume)
    world.check_same({"the step of the checkpoint that they find": -1 if saved is None else saved["at"]["step"]})
    if saved is not None and counter.seed_is_drawn:
        state.seed = saved["learner"]["seed"]
    own = {"wd": decay_of(state.optimizer)}
    about = {
        "identity": fingerprint(dls, state, callbacks, {**arguments, **own, "seed": state.seed}),
        "surroundings": environment(state, callbacks),
        "learner": {"seed": state.seed, "epoch": counter.epoch, "fit": counter.n_fits},
    }
    if saved is not None:
        _compare(saved, about, where)
        about["learner"] = at_start = saved["learner"]
        counter = replace(counter, seed=at_start["seed"], epoch=at_start["epoch"], n_fits=at_start["fit"])
        _continue(state, saved, counter.epoch)
        if state.is_done:
            if is_marker(saved):
                _tell_not_kept(saved, counter.n_fits)
            else:
                with state.compute.preserve_rng():
                    restore(state, callbacks, saved)
            return ResumePlan(Checkpoints(), counter)
    elif every is not None and world.is_first:
        for folder in folders.glob("fit-*"):
            if folder.name[4:].isdigit() and int(folder.name[4:]) >= counter.n_fits:
                remove_checkpoints(folder)
    writer = None if every is None else checkpoint_writer(_of_fit(folders, counter.n_fits))
    if writer is not None and saved is not None and where == writer.folder:
        writer.protect(saved["file"])
    checkpoints = Checkpoints(writer, interval, about, saved)
    return ResumePlan(checkpoints, counter, writer, keep_fits)


def stored_batch_size(folder: Path, n_fits: int, resume: Resume) -> int | None:
    """The batch size of the checkpoint that the next fit goes on from; None without one.

    Args:
        folder: that of the learner's weights.
        n_fits: completed fits of the learner.
        resume: as of `plan_fit`.

    Raises:
        UsageError, MissingFileError, CorruptFileError, UnsafeFileError: as `plan_fit`.
    """
    saved, _ = _found(_of_fit(folder / "checkpoints", n_fits), resume)
    text = "" if saved is None else saved["identity"]["batch size"]
    return world.agreed(int(text) if text.isdigit() else 0) or None


def stored_seed(folder: Path, counter: RunCounter, resume: Resume) -> int:
    """The seed of the next fit: of the checkpoint that it goes on from, if the learner's was drawn.

    Args and errors are those of `stored_batch_size`.
    """
    if not counter.seed_is_drawn:
        return counter.seed
    saved, _ = _found(_of_fit(folder / "checkpoints", counter.n_fits), resume)
    return world.agreed(counter.seed if saved is None else saved["learner"]["seed"])


def is_noted(folder: Path, counter: RunCounter, resume: Resume) -> bool:
    """Whether the next fit is one that is done and of which only the note is left: `plan_fit` will not run it.

    Args:
        folder: of the learner's files.
        counter: the learner's.
        resume: as of `plan_fit`.
    """
    return resume == "auto" and has_marker(_of_fit(folder / "checkpoints", counter.n_fits))


def _of_fit(folders: Path, number: int) -> Path:
    return folders / f"fit-{number}"


def _tell_not_kept(saved: dict[str, Any], number: int) -> None:
    """Warn about a fit that is done and whose weights are gone, unless the next fit of the same call has them."""
    if not saved["is_followed"]:
        warn(
            f"resume: fit {number} is done, but keep_fits= did not keep its checkpoint, so these are not the weights "
            "at its end"
        )


def _found(folder: Path, resume: Resume) -> tuple[dict[str, Any] | None, Path]:
    """The checkpoint to continue from, and where it was found or expected."""
    if resume is None or resume == "auto":
        return (None if resume is None else read_checkpoint(folder)), folder
    if not isinstance(resume, str | os.PathLike):
        raise UsageError("resume", got=resume, expected="'auto', the path of a checkpoint, or None")
    saved = read_checkpoint(Path(resume))
    if saved is None:
        raise MissingFileError(
            f"no checkpoint in {resume}", fix="Check the path; resume='auto' starts if there is none."
        )
    return saved, Path(resume)


def _compare(saved: dict[str, Any], about: dict[str, Any], where: Path) -> None:
    """Refuse a checkpoint of another fit; warn about one from another environment."""
    if differing := differences(saved["identity"], about["identity"]):
        more = f"; and {len(differing) - MAX_SHOWN} more" if len(differing) > MAX_SHOWN else ""
        raise UsageError(
            f"resume: the checkpoint in {where} belongs to another fit: {'; '.join(differing[:MAX_SHOWN])}{more}",
            fix="Pass the same data, model and arguments, or omit resume to start over.",
        )
    if differing := differences(saved["surroundings"], about["surroundings"]):
        warn(f"resume: {'; '.join(differing)}; the result may differ in the last bits")


def _continue(state: TrainState, saved: dict[str, Any], epoch: int) -> None:
    """Move the state to where the fit was interrupted; `epoch` counts over all fits of the learner."""
    at = saved["at"]
    if at["batch"] and not _has_position(state.train_dl):
        warn(
            f"resume: train_dl cannot return to where it was after {at['batch']} batches, so epoch {at['epoch']} "
            "starts again; the result is not that of an uninterrupted fit"
        )
        at |= {"batch": 0, "epochs_begun": at["epochs_begun"] - 1}
    state.epoch_offset = epoch - state.start_epoch
    seek(state, saved)


def _has_position(loader: Any) -> bool:
    """Whether a position within an epoch of this loader can be found again."""
    if is_stateful(loader):
        return True
    is_stream = isinstance(getattr(loader, "dataset", None), IterableDataset)
    return not is_stream and loader_length(loader) is not None
