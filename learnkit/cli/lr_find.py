"""Try learning rates on the data, and suggest some."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from learnkit.atomic_files import make_folder, write_atomically
from learnkit.cli.found import described
from learnkit.cli.models import make_learner, model_options
from learnkit.cli.options import Option, options_of
from learnkit.cli.output import check_new, print_line
from learnkit.cli.run_options import names_of_run
from learnkit.cli.sources import DATA_HELP, data_options, make_data
from learnkit.distributed.world import world
from learnkit.errors import UsageError
from learnkit.learner.learner import Learner

if TYPE_CHECKING:
    from learnkit.cli.typed_parser import TypedParser

__all__ = ["add_arguments", "run"]

OUT = Option("out", str | None, None, "a folder to write lr_find.png and lr_find.csv to")
FORCE = Option("force", bool, False, "overwrite the files of an earlier test in --out")
CURVE = ("lr_find.csv", "lr_find.png")
OF_TEST = ("start_lr", "end_lr", "num_it", "stop_div")


def add_arguments(parser: "TypedParser") -> None:
    """Define the arguments of `learnkit lr-find`."""
    parser.add_place("data", DATA_HELP)
    parser.add_options("test", [OUT, FORCE, *options_of(Learner.lr_find, OF_TEST)])
    parser.add_options("images", data_options())
    parser.add_options("model", model_options())
    parser.add_config()
    parser.pass_over(names_of_run())


def run(args: Any) -> int:
    """Print the suggestions, one per line; returns 0.

    Raises:
        LearnkitError: options or data that cannot work.
    """
    values: dict[str, Any] = vars(args)
    if values["data"] is None:
        raise UsageError("DATA is missing", fix="Pass the folder of the data: learnkit lr-find photos.")
    if values["force"] and values["out"] is None:
        raise UsageError("--force has no effect without --out")
    for name in CURVE if values["out"] is not None else ():
        check_new(Path(values["out"]) / name, force=values["force"])
    world.begin()
    dls = make_data(values)
    learn = make_learner(dls, values, Path("."))
    suggestions = learn.lr_find(**{name: values[name] for name in OF_TEST})
    if not world.is_first:
        return 0
    for line in described(dls, learn).split("\n"):
        print_line(line)
    for name, value in suggestions._asdict().items():
        print_line(f"{name} {value:.3g}")
    if values["out"] is not None:
        make_folder(Path(values["out"]))
        table, picture = (Path(values["out"]) / name for name in CURVE)
        curve = learn.recorder.lr_curve
        assert curve is not None
        rows = "".join(f"{rate!r},{loss!r}\n" for rate, loss in zip(curve.lrs, curve.losses, strict=True))
        write_atomically(table, lambda file: file.write(f"lr,loss\n{rows}".encode()))
        figure = learn.recorder.plot()
        write_atomically(picture, lambda file: figure.savefig(file, format="png"))
        print_line(f"curve: {picture}, {table}")
    return 0
