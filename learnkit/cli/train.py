"""Train a model on images, and write a run folder."""

import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import learnkit
from learnkit.callbacks import Callback, CSVLogger, SaveModel
from learnkit.cli.config import to_toml
from learnkit.cli.exit_codes import OK, Unfinished, at_work
from learnkit.cli.found import described, results_line
from learnkit.cli.models import make_learner, model_options
from learnkit.cli.options import Option, value_of
from learnkit.cli.run_folder import RunFolder, RunLog, free_folder
from learnkit.cli.run_options import RUN, run_options
from learnkit.cli.sources import DATA_HELP, data_options, data_values, make_data
from learnkit.cli.training import chosen_monitor, fit, make_callbacks, settle, training_options
from learnkit.cli.values import CODES, as_text
from learnkit.data.bunch import DataBunch
from learnkit.data.segmentation import Segmentation
from learnkit.distributed.world import world
from learnkit.errors import DataError, UsageError, warn
from learnkit.learner.learner import Learner
from learnkit.text import counted

if TYPE_CHECKING:
    from learnkit.cli.typed_parser import TypedParser

__all__ = ["add_arguments", "run"]


def add_arguments(parser: "TypedParser") -> None:
    """Define the arguments of `learnkit train`."""
    parser.add_place("data", DATA_HELP)
    parser.add_options("run", RUN)
    parser.add_options("images", data_options())
    parser.add_options("model", model_options())
    parser.add_options("training", training_options())
    parser.add_config()
    parser.repeats = _config_of_run


def _config_of_run(values: Any) -> Path | None:
    """The config of the run to go on with."""
    if not values.resume:
        return None
    if values.out is None:
        raise UsageError("--resume needs --out", fix="Pass the run folder to go on with: --out runs/NAME --resume.")
    folder = RunFolder(Path(values.out))
    folder.check()
    return folder.config


def run(args: Any) -> int:
    """Train, and write the run folder; returns 0.

    Raises:
        LearnkitError: options or data that cannot work, and what `Learner.fit` raises.
    """
    values: dict[str, Any] = vars(args)
    if values["data"] is None:
        raise UsageError("DATA is missing", fix="Pass the folder of the data: learnkit train photos.")
    if values["resume"] and values["overwrite"]:
        raise UsageError("--resume and --overwrite exclude each other", fix="Choose one of them.")
    world.begin()
    if values["seed"] is None:
        values["seed"] = world.agreed(random.SystemRandom().getrandbits(31))
    if values["print_config"]:
        sys.stdout.write(_config(values))
        return OK
    folder = RunFolder(free_folder(values["data"]) if values["out"] is None else Path(values["out"]))
    if not values["resume"] and world.is_first:
        folder.check_free(overwrite=values["overwrite"])
    make_callbacks(values, folder.path)  # refuses values before anything is read
    with folder.warning():
        dls = make_data(values)
        _check_conformal(values, dls)
        learn = make_learner(dls, values, folder.path)
        values["monitor"] = chosen_monitor(learn, values["monitor"])
        callbacks = make_callbacks(values, folder.path)
        if values["resume"]:
            folder.go_on()
        else:
            folder.begin(_config(values), overwrite=values["overwrite"])
        with _taken_back(folder), at_work():
            world.wait()
            folder.tell(f"learnkit {learnkit.__version__}: {described(dls, learn)}")
            _train(learn, values, callbacks, folder)
            _finish(learn, values, folder)
    return OK


@contextmanager
def _taken_back(folder: RunFolder) -> Iterator[None]:
    """Inside, what fails before anything was trained leaves no run, and is a refusal of options or data."""
    try:
        yield
    except Unfinished as stopped:
        if folder.take_back():
            raise stopped.error from stopped.error.__cause__
        raise


def _train(learn: Learner, values: dict[str, Any], callbacks: list[Callback], folder: RunFolder) -> None:
    if not values["freeze"]:
        learn.unfreeze()
    if values["channels_last"]:
        learn.to_channels_last()
    if values["compile"]:
        learn.compile()
    found_lr = values["lr"] is None
    settle(values, learn)
    if not values["resume"]:  # the config of a run that refuses to go on stays as it is
        folder.write_config(_config(values))
    rate = "" if values["lr"] is None else f" at rate {values['lr']}{', the valley of a test of rates' * found_lr}"
    folder.tell(f"training in {folder.path}: {values['policy']} for {counted(values['epochs'], 'epoch')}{rate}")
    callbacks += [CSVLogger(folder.history.name), RunLog(folder)]
    if _has_valid(learn.dls):
        callbacks.append(SaveModel(values["monitor"], name=folder.best.name))
    try:
        fit(learn, values, callbacks, resume=values["resume"])
    except (KeyboardInterrupt, SystemExit):  # Ctrl-C, or a signal that asks to leave
        folder.tell(f"interrupted; go on with: {folder.resume}")
        raise


def _finish(learn: Learner, values: dict[str, Any], folder: RunFolder) -> None:
    values["bs"] = str(learn.dls.batch_size or values["bs"])  # that --bs auto has found
    folder.write_config(_config(values))
    if values["conformal"] is not None:
        try:
            learn.fit_conformal(values["conformal"])
        except DataError as error:  # what was trained is kept
            warn(f"--conformal: the model is written without sets. {error}")
    learn.export(folder.model)
    folder.tell(f"model: {folder.model}")
    if _has_valid(learn.dls):
        folder.tell(f"best weights: {results_line(learn)}")
        if values["report"]:
            learn.report(folder.report, duplicates=values["duplicates"])
            folder.tell(f"report: {folder.report}")
    folder.done()


def _check_conformal(values: Mapping[str, Any], dls: DataBunch) -> None:
    """Refuse to fit sets where there is nothing to fit them on."""
    if values["conformal"] is None:
        return
    if isinstance(dls.task, Segmentation) or not _has_valid(dls):
        why = "a model of masks has no sets" if isinstance(dls.task, Segmentation) else "there are no validation images"
        raise UsageError(f"--conformal: {why}", fix="Leave it out.")


def _has_valid(dls: DataBunch) -> bool:
    return dls.valid_dl is not None


def _config(values: Mapping[str, Any]) -> str:
    """The options that apply, as TOML: the config that repeats a run."""
    of_source = data_values(values)
    kept = {
        title: {one.name: _kept(one, values[one.name]) for one in options if title != "images" or one.name in of_source}
        for title, options in run_options().items()
    }
    comment = f"learnkit {learnkit.__version__}; again, in a new folder: learnkit train --config FILE"
    return to_toml({"data": _place(values)}, kept, comment)


def _place(values: Mapping[str, Any]) -> str:
    """DATA for a config that may be used in any folder: an absolute path, or the URL or the name on the hub."""
    data: str = values["data"]
    is_name = "://" in data or (values["hf"] and not Path(data).exists())
    return data if is_name else str(Path(data).absolute())


def _kept(option: Option, value: Any) -> Any:
    """A value as it is written: what a form reads, where TOML has it; none as a word where it is not the default."""
    if value is None:
        return None if option.default is None else "none"
    if option.name == "weights" and Path(value).is_file():
        return str(Path(value).absolute())  # the config may be used in any folder
    read = value_of(option, value)
    if option.kind is CODES:  # of a file that may have changed by then, unless a name in it has a comma
        names = read if isinstance(read, list) else list(read.values())
        return str(Path(value).absolute()) if any("," in name for name in names) else as_text(read)
    return read if isinstance(read, bool | int | float | str | list) else value
