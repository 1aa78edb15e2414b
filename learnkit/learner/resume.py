"""Exact resume: where a fit's checkpoints are, whether one is of this fit, and how the fit goes on from it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch.utils.data import IterableDataset

from learnkit.errors import MissingFileError, UsageError, warn
from learnkit.learner.fingerprint import differences, identity, surroundings
from learnkit.persistence.checkpoints import CheckpointWriter, read_checkpoint, remove_checkpoints
from learnkit.training.callback import CallbackList
from learnkit.training.checkpointing import Checkpoints, Interval
from learnkit.training.snapshot import StatefulLoader, restore, seek
from learnkit.training.state import TrainState, loader_length
from learnkit.types import PathLike

if TYPE_CHECKING:
    from learnkit.learner.trainer import Trainer

__all__ = ["CheckpointEvery", "Resume", "prepare"]

CheckpointEvery = int | str | None
Resume = Literal["auto"] | PathLike | None
SHOWN = 5  # differences named in an error


def prepare(
    learn: "Trainer",
    state: TrainState,
    callbacks: CallbackList,
    given: dict[str, Any],
    every: CheckpointEvery,
    resume: Resume,
) -> Checkpoints | None:
    """What writes checkpoints of a fit and puts one back; None if neither is asked for, or nothing is left to do.

    Of a fit that is to go on, `state` and the learner are put to its beginning, but for the weights. Of one that is
    done, everything is put back, and `state.is_done`.

    Args:
        learn: the learner.
        state: of the fit.
        callbacks: of the fit.
        given: the fit's arguments.
        every: when a checkpoint is due; None to write none.
        resume: "auto" to go on if there is a checkpoint, a path to go on from that one, None to start anew.

    Raises:
        UsageError: the checkpoint is of another fit; all differences are named, with both values.
        MissingFileError, CorruptFileError, UnsafeFileError: as `read_checkpoint`.
    """
    if every is None and resume is None:
        return None
    interval = Interval() if every is None else Interval.of(every)
    folders = state.folder / "checkpoints"
    saved, where = _found(folders / f"fit-{learn.n_fits}", resume)
    if saved is not None and learn.seed_is_drawn:
        state.seed = saved["learner"]["seed"]
    about = {
        "identity": identity(learn.dls, state, callbacks, {**given, "seed": state.seed}),
        "surroundings": surroundings(state, callbacks),
        "learner": {"seed": state.seed, "epoch": learn.epoch, "fit": learn.n_fits},
    }
    if saved is not None:
        _compare(saved, about, where)
        _begin_again(learn, state, saved)
        about["learner"] = saved["learner"]
        if state.is_done:
            with state.compute.preserve_rng():
                restore(state, callbacks, saved)
            return None
    elif every is not None:
        for folder in folders.glob("fit-*"):
            if folder.name[4:].isdigit() and int(folder.name[4:]) >= learn.n_fits:
                remove_checkpoints(folder)
    writer = None if every is None else CheckpointWriter(folders / f"fit-{learn.n_fits}")
    if writer is not None and saved is not None and where == writer.folder:
        writer.spare(saved["file"])
    return Checkpoints(writer, interval, about, saved)


def _found(folder: Path, resume: Resume) -> tuple[dict[str, Any] | None, Path]:
    """The checkpoint to go on from, and where it was looked for."""
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
    """Refuse a checkpoint of another fit; warn of one made in other surroundings."""
    if differing := differences(saved["identity"], about["identity"]):
        more = f"; and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
        raise UsageError(
            f"resume: the checkpoint in {where} is of another fit: {'; '.join(differing[:SHOWN])}{more}",
            fix="Give the same data, model and arguments, or leave resume out to start anew.",
        )
    if differing := differences(saved["surroundings"], about["surroundings"]):
        warn(f"resume: {'; '.join(differing)}; it is not promised that the result is the same to the last bit")


def _begin_again(learn: "Trainer", state: TrainState, saved: dict[str, Any]) -> None:
    """Put the learner to the beginning of the fit, and the state to the place where it was left."""
    at = saved["at"]
    if at["batch"] and not _can_go_on(state.train_dl):
        warn(
            f"resume: train_dl cannot tell where it was after {at['batch']} batches, so epoch {at['epoch']} starts "
            "again; the result is not that of a fit without a break"
        )
        at |= {"batch": 0, "epochs_begun": at["epochs_begun"] - 1}
    of_learner = saved["learner"]
    learn.seed, learn.epoch, learn.n_fits = of_learner["seed"], of_learner["epoch"], of_learner["fit"]
    state.epoch_offset = learn.epoch - state.start_epoch
    seek(state, saved)


def _can_go_on(loader: Any) -> bool:
    """Whether a place within an epoch of this loader can be found again."""
    if isinstance(loader, StatefulLoader):
        return True
    is_stream = isinstance(getattr(loader, "dataset", None), IterableDataset)
    return not is_stream and loader_length(loader) is not None
