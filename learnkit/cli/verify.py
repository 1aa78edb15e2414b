"""Read every image of a folder, and list the damaged ones."""

import argparse
import csv
import io
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from learnkit.atomic_files import write_atomically
from learnkit.cli.exit_codes import OK, PROBLEMS, at_work
from learnkit.cli.loaded import MODEL_HELP, load_model
from learnkit.cli.output import check_new, check_place, print_line
from learnkit.data.image.opening import REMEDY
from learnkit.data.table.files import existing_folder, get_image_files
from learnkit.errors import UsageError, WriteError
from learnkit.learner.verify import verify_images
from learnkit.text import printable, spreadsheet_safe

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["add_arguments", "run"]

BY_MODEL = ("near leak", "near-duplicate", "outlier")
Damaged = list[tuple[str, str]]  # path relative to the folder, problem of the file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of `learnkit verify`."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of images, with all its subfolders")
    parser.add_argument(
        "--model", metavar="FILE", help=f"also list what looks almost alike, or unlike all others, to {MODEL_HELP}"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write the list as a table: path, error")
    parser.add_argument("--force", action="store_true", help="with --csv: overwrite FILE")
    parser.add_argument(
        "--move-to", type=Path, metavar="FOLDER", help="report what would be moved to a folder outside DIR; see --yes"
    )
    parser.add_argument("--yes", action="store_true", help="with --move-to: actually move the damaged files")


def run(args: argparse.Namespace) -> int:
    """List the damaged images; returns 1 if there are any.

    Raises:
        UsageError: --yes without --move-to, --force without --csv, a target folder inside DIR or with files of these
            names, or a damaged file that is reached only through a link.
        MissingFileError: no such folder.
        DataError: no images in it.
        WriteError: the table could not be written, or a file could not be moved.
    """
    if args.force and args.csv is None:
        raise UsageError("--force has no effect without --csv")
    if args.yes and args.move_to is None:
        raise UsageError("--yes has no effect without --move-to", fix="Add --move-to FOLDER.")
    root = existing_folder(args.folder)
    if args.move_to is not None and args.move_to.resolve().is_relative_to(root.resolve()):
        raise UsageError("--move-to", got=str(args.move_to), expected=f"a folder outside {root}")
    if args.move_to is not None:
        check_place(args.move_to)
    if args.csv is not None:
        check_new(args.csv, force=args.force)
    found = verify_images(root, model=None if args.model is None else load_model(args.model))
    unreadable = found[found["problem"] == "unreadable"]
    damaged = [(name, _reason(root / name, detail)) for name, _, detail in unreadable.to_numpy().tolist()]
    with at_work():
        _tell(args, root, damaged, found)
    return PROBLEMS if damaged else OK


def _tell(args: argparse.Namespace, root: Path, damaged: Damaged, found: "pd.DataFrame") -> None:
    """Print what was found, write the table, and move the damaged files, as far as these are asked for."""
    for name, reason in damaged:
        print_line(f"{name}: {reason}")
    print_line(f"{len(damaged)} of {len(get_image_files(root))} images are damaged")
    for name, problem, detail in found[found["problem"].isin(BY_MODEL)].to_numpy().tolist():
        print_line(f"{name}: {problem} ({detail})")
    others = found.loc[found["problem"] != "unreadable", "problem"].value_counts()
    if len(others):
        counts = ", ".join(f"{count} {problem}" for problem, count in others.items())
        print_line(f"Readable, but suspicious ({counts}): learnkit.verify_images(folder) lists them")
    if args.csv is not None:
        write_atomically(args.csv, lambda file: _write_table(file, damaged))
    if args.move_to is not None and damaged:
        _move([name for name, _ in damaged], root, args.move_to, confirmed=args.yes)


def _reason(file: Path, detail: str) -> str:
    """The error without the path, which the line starts with, and without the advice to run this command."""
    return detail.removesuffix(REMEDY).removeprefix(printable(str(file))).strip(" .:")


def _write_table(file: IO[bytes], damaged: Damaged) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")  # a name need not be UTF-8
    writer = csv.writer(text)
    writer.writerow(["path", "error"])
    writer.writerows([spreadsheet_safe(name), spreadsheet_safe(reason)] for name, reason in damaged)
    text.detach()  # flushes it and leaves the file open


def _move(names: Iterable[str], root: Path, target: Path, *, confirmed: bool) -> None:
    """Move files to the same paths in another folder, or report that they would be; nothing is overwritten."""
    pairs = [(root / name, target / name) for name in names]
    outside = next((old for old, _ in pairs if not old.parent.resolve().is_relative_to(root.resolve())), None)
    if outside is not None:
        raise UsageError(f"--move-to: {outside} is reached through a link and is outside {root}; nothing was moved")
    taken = next((new for _, new in pairs if os.path.lexists(new)), None)
    if taken is not None:
        raise UsageError(f"--move-to: {taken} exists already; nothing was moved", fix="Choose an empty folder.")
    files = f"{len(pairs)} file{'s' if len(pairs) > 1 else ''}"
    if not confirmed:
        print_line(f"Nothing was moved; add --yes to move {files} to {target}")
        return
    for done, (old, new) in enumerate(pairs):
        try:
            new.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(old, new)  # moves a link itself
        except OSError as error:
            if os.path.lexists(old):
                with suppress(OSError):
                    new.unlink()  # the copy that a move across disks begins with
            raise WriteError(
                f"{old} could not be moved to {new} ({error.strerror or error}); {done} of {files} were moved",
                fix="Choose another folder, or allow writing there and in the folder of the file.",
            ) from error
    print_line(f"Moved {files} to {target}")
