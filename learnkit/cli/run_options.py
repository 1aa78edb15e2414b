"""The options that the config of a run holds: other commands pass over those that mean nothing to them."""

from learnkit.cli.models import model_options
from learnkit.cli.options import Option
from learnkit.cli.sources import data_options
from learnkit.cli.training import training_options

__all__ = ["NOT_KEPT", "RUN", "names_of_run", "run_options"]

RUN = (
    Option("out", str | None, None, "the run folder; none for runs/NAME of the data, or the next NAME-2, NAME-3"),
    Option("resume", bool, False, "go on with the run in --out where it was interrupted, with its options"),
    Option("overwrite", bool, False, "replace the run in --out"),
    Option("report", bool, True, "write report.html"),
    Option("duplicates", bool, False, "report.html also has near-duplicates and outliers: a pass over all images"),
    Option("print_config", bool, False, "print the configuration as TOML, and train nothing"),
)  # fmt: skip
NOT_KEPT = ("out", "resume", "overwrite", "print_config")


def run_options() -> dict[str, list[Option]]:
    """The options of a run by the section of its config."""
    of_run = [option for option in RUN if option.name not in NOT_KEPT]
    return {
        "run": of_run, "images": list(data_options()), "model": model_options(), "training": training_options(),
    }  # fmt: skip


def names_of_run() -> set[str]:
    """The names of all these options."""
    return {option.name for options in run_options().values() for option in options}
