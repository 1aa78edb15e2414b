"""Pack images with their labels into a stream of a few large files."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learnkit.cli.exit_codes import OK, PROBLEMS
from learnkit.cli.options import Option, options_of
from learnkit.cli.output import check_place, print_error, print_line
from learnkit.cli.run_options import names_of_run
from learnkit.cli.sources import DATA_HELP, data_options, make_data
from learnkit.data.stream.items import require_litdata
from learnkit.data.stream.pack import pack
from learnkit.errors import UsageError
from learnkit.text import counted

if TYPE_CHECKING:
    from learnkit.cli.typed_parser import TypedParser

__all__ = ["add_arguments", "run"]

OF_PACK = ("chunk_bytes", "seed", "on_error")
# Settings of how images are seen and batched, which their files do not depend on; and what is a stream already.
UNUSED = ("stream", "size", "resize", "interpolation", "full_decode", "augment", "normalize", "bs", "sampler",
          "num_workers", "cache", "device", "on_error")  # fmt: skip


def add_arguments(parser: "TypedParser") -> None:
    """Define the arguments of `learnkit pack`."""
    parser.add_place("data", DATA_HELP.replace(", --masks or --stream", " or --masks"), in_config=False)
    parser.add_place("out", "the folder to write, which must not exist yet", in_config=False)
    parser.add_options("stream", pack_options())
    parser.add_options("images", image_options())
    parser.add_config()
    parser.pass_over({"data", *names_of_run()} - {"stream"})  # that is packed already


def pack_options() -> list[Option]:
    """The options of `learnkit.pack`."""
    return options_of(pack, OF_PACK, kinds={"chunk_bytes": str})


def image_options() -> list[Option]:
    """The data options that say what the images and their labels are."""
    return [option for option in data_options() if option.name not in UNUSED]


def run(args: Any) -> int:
    """Write the stream, and print its sizes; returns 1 if images were left out.

    Raises:
        LearnkitError: data or options that cannot work, an image that cannot be read, or a full disk.
    """
    values: dict[str, Any] = vars(args)
    require_litdata()
    out = Path(values["out"])
    if os.path.lexists(out):  # said before the data is read
        raise UsageError(f"{out} exists already", fix="Remove it, or write elsewhere.")
    check_place(out.parent)
    given = {option.name: option.default for option in data_options()} | values
    fixed = {"augment": False, "normalize": None, "bs": 1, "on_error": "raise"}
    packed = pack(make_data(given, **fixed), values["out"], **{name: values[name] for name in OF_PACK})
    sizes = ", ".join(f"{split} {n:,}" for split, n in packed.sizes.items())
    n_bytes = sum(file.stat().st_size for file in packed.folder.rglob("*") if file.is_file())
    for error in packed.skipped["error"]:
        print_error(f"left out: {error}")
    print_line(f"{packed.folder}: {counted(sum(packed.sizes.values()), 'image')} ({sizes}), {n_bytes:,} bytes")
    return PROBLEMS if len(packed.skipped) else OK
