"""A model from a file, and data to measure it on, prepared as the file says."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from learnkit.checks import check_int
from learnkit.cli.options import Option
from learnkit.cli.run_folder import RunFolder
from learnkit.cli.run_options import names_of_run
from learnkit.cli.sources import DATA_HELP, data_options, make_data, source_of
from learnkit.data.image_bunch import ImageDataBunch, as_image_bunch
from learnkit.data.table.split_folders import split_named
from learnkit.errors import MissingFileError, UsageError
from learnkit.learner.learner import Learner
from learnkit.learner.load import load_learner
from learnkit.learner.preds import Part

if TYPE_CHECKING:
    from learnkit.cli.typed_parser import TypedParser

__all__ = ["MODEL_HELP", "Measured", "add_measured", "give_data", "images_of", "load_model", "measured"]

MODEL_HELP = "a .lk file, the folder of a run, or hf-hub:USER/NAME of the Hugging Face hub"

# Data options that the file decides, or that matter to training only.
OF_FILE = ("size", "resize", "interpolation", "channels", "depth", "full_decode", "normalize", "classes", "task",
           "codes", "ignore_index", "binary", "threshold", "border")  # fmt: skip
OF_TRAINING = ("augment", "sampler", "cache")
ON = Option(
    "on", Literal["valid", "train", "test", "all"], "valid", "the images that count: those for validation, for "
    "training or of --test; or all that are not in a folder test, such as a folder per class directly in DATA",
)  # fmt: skip
OPTIONS_FOR_UNSPLIT = "Measure all its images by --on all, or those left out of a training by its --valid-pct."
BS = 64  # where the training chose its own


class Measured(NamedTuple):
    """A learner with data.

    Attributes:
        learn: the learner.
        part: the part of its data that counts.
        n: how many images that are.
    """

    learn: Learner
    part: Part
    n: int


def load_model(name: str, device: str | None = None) -> Learner:
    """The learner of a file, of a run, or of the hub.

    Raises:
        MissingFileError: no such file, or a run whose training has not ended.
        LearnkitError: as `load_learner`.
    """
    folder = RunFolder(Path(name))
    if not folder.config.is_file():
        return load_learner(name, device=device)
    if not folder.model.is_file():
        raise MissingFileError(
            f"no {folder.model.name} in {folder.path}: the training has not ended",
            fix=f"Go on with it: {folder.resume}.",
        )
    return load_learner(folder.model, device=device)


def images_of(learn: Learner, command: str) -> ImageDataBunch:
    """The bunch of a learner of images.

    Raises:
        UsageError: its inputs are not images.
    """
    images = as_image_bunch(learn.dls)
    if images is None:
        raise UsageError(f"{command}: the model's inputs are not images", fix="Use it in Python: load_learner(file).")
    return images


def give_data(learn: Learner, folder: str) -> None:
    """Give a learner the images of a folder that has one for each split, prepared as its file says.

    Raises:
        LearnkitError: data that cannot be used, or labels that the model does not know.
    """
    fix = "Pass a folder that has one of each."
    learn.dls = _data({"data": folder, "on": "valid"}, images_of(learn, "export"), fix)


def measured_options() -> list[Option]:
    """The data options that the file leaves open."""
    return [option for option in data_options() if option.name not in (*OF_FILE, *OF_TRAINING)]


def add_measured(parser: "TypedParser", title: str, own: list[Option]) -> None:
    """Define FILE, DATA, `own` options, and those of the data; of the folder of a run, its own data is the default."""
    parser.add_place("file", MODEL_HELP, in_config=False)
    parser.add_place("data", f"{DATA_HELP}; by default that of the run, if FILE is one")
    parser.add_options(title, [ON, *own])
    parser.add_options("images", measured_options())
    parser.add_config()
    parser.pass_over(names_of_run())
    parser.repeats = _config_of_run


def _config_of_run(values: Any) -> Path | None:
    config = RunFolder(Path(values.file)).config
    return config if config.is_file() else None


def measured(values: Mapping[str, Any], command: str) -> Measured:
    """The learner of FILE with the images of DATA.

    Raises:
        UsageError: no DATA, or a part that it does not have.
        LearnkitError: a file or data that cannot be used, or labels that the model does not know.
    """
    if values["data"] is None:
        raise UsageError("DATA is missing", fix=f"Pass the folder of the data: learnkit {command} model.lk photos.")
    learn = load_model(values["file"], values["device"])
    learn.dls = dls = _data(values, images_of(learn, command))
    part: Literal["train", "valid", "test"] = "train" if values["on"] == "all" else values["on"]
    loader = {"train": dls.fix_dl, "valid": dls.valid_dl, "test": dls.test_dl}[part]
    if loader is None:
        fix = "Name its folder: --test FOLDER." if part == "test" else "Measure all images: --on all."
        raise UsageError(f"--on {part}: the data has no such images", fix=fix)
    loader.batch_size = BS if values["bs"] == "auto" else check_int("bs", int(values["bs"]), 1)
    return Measured(learn, part, len(loader.dataset))


def _data(values: Mapping[str, Any], empty: ImageDataBunch, fix: str = OPTIONS_FOR_UNSPLIT) -> ImageDataBunch:
    """The images, prepared as those of the empty bunch; `fix` is the advice for a folder without splits."""
    given = {option.name: option.default for option in data_options()} | dict(values)
    if given["on"] == "all" and source_of(given).chosen_by in ("stream", "hf"):
        raise UsageError(
            "--on all: the splits of this data are measured one by one", fix="Pass --on train, valid or test."
        )
    if given["on"] == "all":
        given |= {"valid_pct": 0, "valid_col": None}
    elif given.get("valid_pct") is None and not source_of(given).chosen_by:
        _check_folders(Path(given["data"]), given, fix)
    names = [name for name in OF_FILE if hasattr(empty.settings, name) and name not in ("classes", "task")]
    fixed = {name: getattr(empty.settings, name) for name in names}
    return make_data(given, **fixed, task=empty.task, augment=False, bs=1)  # of any number of images


def _check_folders(folder: Path, values: Mapping[str, Any], fix: str) -> None:
    """Refuse a folder without one for training or validation.

    Raises:
        UsageError: with the advice.
    """
    if not folder.is_dir():
        return  # said where it is read
    names = [entry.name for entry in folder.iterdir() if entry.is_dir()]
    if names and not any(split_named(name) or name in (values["train"], values["valid"]) for name in names):
        raise UsageError(
            f"{folder} has no folders {values['train']} and {values['valid']}",
            fix=fix,
        )
