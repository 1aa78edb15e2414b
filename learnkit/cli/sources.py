"""The data of a command: which factory reads DATA, chosen by the options, and the options it has."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from learnkit.checks import missing_extra
from learnkit.cli.options import Option, options_of, python_name, value_of
from learnkit.cli.values import AUGMENT, BS, CODES, COLUMNS, DEPTH, LIST, NORMALIZE, PAIRS, SEPARATOR, SIZE, SUFFIXES
from learnkit.data.image_bunch import ImageDataBunch
from learnkit.data.options import ImageSettings
from learnkit.errors import DataError, UsageError

__all__ = ["DATA_HELP", "NOT_TYPED", "data_options", "data_values", "make_data", "source_of"]

DATA_HELP = (
    "the folder of the data: a folder per class in train and valid, or with --valid-pct directly; or what --csv, "
    "--pattern, --masks, --stream or --hf says"
)

# Settings that are functions or objects, which a command line has no form for.
NOT_TYPED = ("split", "reader")
KINDS: dict[str, Any] = {
    "augment": AUGMENT, "bs": BS, "classes": LIST, "codes": CODES, "csv_labels": str | None, "depth": DEPTH,
    "device": str | None, "false_values": LIST, "fn_col": COLUMNS, "ignore_index": int | None, "label": COLUMNS,
    "image": COLUMNS, "splits": PAIRS, "label_col": COLUMNS, "normalize": NORMALIZE, "normalize_labels": bool,
    "sampler": str | None, "size": SIZE, "suffixes": SUFFIXES, "task": str | None,
    "test": str | None, "true_values": LIST, "valid_col": COLUMNS,
    "masks": str | None, "pat": str | None, "delimiter": SEPARATOR, "label_delim": SEPARATOR,
}  # fmt: skip
SPLIT_SEED = "split_seed"  # --seed is that of the training
WITHOUT_DEFAULT = ("csv", "image", "label", "masks", "pattern")  # the factory's is used, or another one was chosen
HEADER = Option("header", bool, True, "whether the first line of the CSV file has the names of the columns")
HELPS = {
    "csv": "the CSV file that names the images and their labels, relative to DATA",
    "pattern": "a regular expression searched in the path of every image below DATA; its group 1 is the class",
    "masks": "the mask of an image, relative to DATA or to the image's folder, where {stem}, {name}, {folder} and "
    "{suffix} are those of the image: masks/{stem}.png",
    "codes": "the classes of the masks: names from pixel value 0 on, or VALUE=NAME pairs, or a .txt file with one per "
    "line",
    "split_seed": "seed of the random split",
    "task": 'what the labels mean: "classification", "multilabel" or "regression"; none to infer it',
    "normalize_labels": "merge labels that differ by case, spaces or Unicode form, in lower case",
    "augment": "true for the default, light, strong, trivial, or false for none",
    "bs": "items per batch; auto for the largest that fits",
    "sampler": '"balanced" draws every class equally often; or the name of a column of weights',
    "hf": "DATA is a Hugging Face dataset: a folder that save_to_disk wrote, or a name for load_dataset",
    "image": "the images of a stream (a key, or a place in a tuple), or the column of a Hugging Face dataset; none for "
    "that of a packed stream, or image",
    "label": "the labels, likewise, also several columns of a Hugging Face dataset; none for those of a packed stream, "
    "or label",
    "splits": "which splits of a Hugging Face dataset are train, valid and test, if not by name: train=fit,valid=dev",
    "stream": "DATA is a stream that `learnkit pack` wrote, or one of litdata",
    "valid": 'the folder of the validation images; "val" or "validation" is used if there is no "valid"; none to train '
    "without a validation set",
    "ignore_index": "the pixel value of masks that is neither trained on nor measured",
    "binary": "one output for two classes of masks",
    "threshold": "for soft masks and JPEG: gray above this share of white is the second of two classes",
    "border": 'the class of masks that resize="pad" adds; none for that of --ignore-index',
    "suffixes": "what the names of images in a folder end with, such as .png,.ppm, in any case; nothing between two "
    "commas for no suffix; none for .jpg, .jpeg, .png, .webp, .bmp, .gif, .tif and .tiff",
    "folder": "below DATA, where the images of the CSV file are",
    "delimiter": r"the character that separates the columns of the CSV file, \t for a tab, \s+ for spaces; none for a "
    "comma (a tab in .tsv)",
    "label_delim": r"what separates several labels in a cell, \t for a tab; an empty cell is an item without labels",
}


@dataclass(frozen=True)
class Source:
    """A way to read data.

    Args:
        chosen_by: the option that chooses it; "" for the one without.
        factory: of ImageDataBunch.
        names: its parameters that are options.
        extra: options that are none of its parameters.
        refused: settings of every source that cannot be combined with it.
    """

    chosen_by: str
    factory: Callable[..., ImageDataBunch]
    names: tuple[str, ...]
    extra: tuple[Option, ...] = ()
    refused: tuple[str, ...] = ()

    @cached_property
    def options(self) -> tuple[Option, ...]:
        """Its own options."""
        made = options_of(self.factory, self.names, kinds=KINDS)
        return tuple(_explained(option) for option in (*made, *self.extra))


SOURCES = (
    Source("", ImageDataBunch.from_folder, ("train", "valid")),
    Source(
        "csv", ImageDataBunch.from_csv,
        ("csv_labels", "folder", "fn_col", "label_col", "valid_col", "label_delim", "suffix", "delimiter",
         "true_values", "false_values", "allow_outside"),
        (HEADER,),
    ),
    Source("pattern", ImageDataBunch.from_name_re, ("pat",)),
    Source(
        "masks", ImageDataBunch.from_folder_masks,
        ("images", "masks", "codes", "ignore_index", "valid", "binary", "threshold", "border"),
        refused=("classes", "task"),
    ),
    Source(
        "stream", ImageDataBunch.from_stream, ("image", "label"), (Option("stream", bool, False, ""),),
    ),
    Source(
        "hf", ImageDataBunch.from_hf, ("image", "label", "splits"),
        (Option("hf", bool, False, ""),),
    ),
)  # fmt: skip


def _explained(option: Option) -> Option:
    """The option with the command line's own help, where that of the factory is about Python."""
    option = replace(option, help=HELPS.get(option.name, option.help))
    return replace(option, default=None) if option.name in WITHOUT_DEFAULT else option


@cache
def data_options() -> tuple[Option, ...]:
    """The options of all sources, then those that every source has."""
    own = {option.name: option for source in reversed(SOURCES) for option in source.options}
    shared = options_of(ImageSettings, without=NOT_TYPED, kinds=KINDS, renamed={"seed": SPLIT_SEED})
    return (*own.values(), *(_explained(option) for option in shared if option.name not in own))


def source_of(values: Mapping[str, Any]) -> Source:
    """The source that the options choose.

    Raises:
        UsageError: two that exclude each other, or an option of another source.
    """
    chosen = [source for source in SOURCES if source.chosen_by and values[source.chosen_by]]
    if len(chosen) > 1:
        first, second, *_ = [f"--{source.chosen_by}" for source in chosen]
        raise UsageError(f"{first} and {second} name different data", fix="Choose one of them.")
    source = chosen[0] if chosen else SOURCES[0]
    own = {option.name for option in source.options}
    for other in SOURCES:
        for option in other.options:
            if option.name not in own and values[option.name] != option.default:
                if other.chosen_by:
                    raise UsageError(f"{option.flag} needs --{other.chosen_by}")
                raise UsageError(
                    f"{option.flag} needs data in a folder per class, and --{source.chosen_by} names other data",
                    fix="Leave one of them out.",
                )
    return source


def data_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """The options that apply to the chosen source."""
    own = {option.name for option in source_of(values).options}
    others = {option.name for source in SOURCES for option in source.options} - own
    return {option.name: values[option.name] for option in data_options() if option.name not in others}


def make_data(values: Mapping[str, Any], **fixed: Any) -> ImageDataBunch:
    """The images that the options describe; `fixed` settings replace theirs.

    Raises:
        LearnkitError: as the factory.
    """
    source = source_of(values)
    options = {option.name: option for option in data_options()}
    applying = {python_name(name): value_of(options[name], value) for name, value in data_values(values).items()}
    applying["seed"] = applying.pop(SPLIT_SEED)
    path = Path(values["data"])
    for name in source.refused:
        if applying.pop(name, None) is not None:
            raise UsageError(f"--{name} cannot be combined with --{source.chosen_by}", fix="The codes are the classes.")
    applying |= fixed
    if "header" in applying:
        applying["header"] = "infer" if applying["header"] else None
    if "pat" in applying:
        return source.factory(path, None, applying.pop("pat"), **applying)
    if "masks" in applying:
        applying["masks"] = _Masks(applying["masks"])
    if applying.pop("stream", False):
        return source.factory(path if path.exists() else values["data"], **applying)
    if applying.pop("hf", False):
        given = {name: value for name, value in applying.items() if value is not None or name not in ("image", "label")}
        for name in ("image", "label"):  # whose columns have names alone, maybe numbers
            given |= {name: _as_names(given[name])} if name in given else {}
        return source.factory(_hugging_face(values["data"]), **given)
    return source.factory(path, **applying)


def _as_names(columns: Any) -> str | list[str]:
    return [str(column) for column in columns] if isinstance(columns, list) else str(columns)


def _hugging_face(data: str) -> Any:
    """A dataset that was saved to a folder, or one by name.

    Raises:
        UsageError: the package datasets is not installed.
        DataError: it cannot be loaded.
    """
    try:
        import datasets
    except ImportError as error:
        raise missing_extra("datasets", "hf") from error
    saved = ("dataset_dict.json", "dataset_info.json")
    try:
        if any((Path(data) / name).is_file() for name in saved):
            return datasets.load_from_disk(data)
        return datasets.load_dataset(data)
    except Exception as error:  # of files, of the network, and of its own
        reason = " ".join(str(error).split())
        raise DataError(
            f"--hf: {data} cannot be loaded as a Hugging Face dataset ({reason})",
            fix="Pass a folder that save_to_disk wrote, or the name of a dataset.",
        ) from error


class _Masks:
    """The path of an image's mask, from a pattern."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        try:
            self(Path("folder/name.png"))
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise UsageError(
                "--masks", got=pattern, expected="a path with {stem}, {name}, {folder} or {suffix} in braces",
                fix="Write it as masks/{stem}.png.",
            ) from error  # fmt: skip

    def __call__(self, image: Path) -> str:
        return self.pattern.format(
            stem=image.stem, name=image.name, suffix=image.suffix, folder=image.parent.name, split=image.parent.name
        )
