"""Read every image of a folder as training would, and list those that are damaged."""

import argparse
import csv
import io
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from learnkit.atomic_files import write_atomically
from learnkit.cli.output import say
from learnkit.data.image.read import REMEDY
from learnkit.data.table.files import existing_folder, get_image_files
from learnkit.data.table.verify import verify_images
from learnkit.errors import UsageError, WriteError
from learnkit.text import printable, spreadsheet_safe

__all__ = ["add_arguments", "run"]

Damaged = list[tuple[str, str]]  # path below the folder, what is wrong with the file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of `learnkit verify`."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder of images, with all folders below it")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write the list as a table: path, error")
    parser.add_argument(
        "--move-to", type=Path, metavar="FOLDER", help="say what would be moved to a folder outside DIR; see --yes"
    )
    parser.add_argument("--yes", action="store_true", help="with --move-to: do move the damaged files")


def run(args: argparse.Namespace) -> int:
    """List the damaged images; 1 if there are any.

    Raises:
        UsageError: --yes without --move-to, a folder to move to that lies inside or holds such files already, or a
            damaged file that only a link leads to.
        MissingFileError: no such folder.
        DataError: no images below it.
        WriteError: the table could not be written, or a file not be moved.
    """
    if args.yes and args.move_to is None:
        raise UsageError("--yes: there is nothing to agree to", fix="Add --move-to FOLDER.")
    root = existing_folder(args.folder)
    if args.move_to is not None and args.move_to.resolve().is_relative_to(root.resolve()):
        raise UsageError("--move-to", got=str(args.move_to), expected=f"a folder outside {root}")
    found = verify_images(root)
    unreadable = found[found["problem"] == "unreadable"]
    damaged = [(name, _reason(root / name, detail)) for name, _, detail in unreadable.to_numpy().tolist()]

    for name, reason in damaged:
        say(f"{name}: {reason}")
    say(f"{len(damaged)} of {len(get_image_files(root))} images are damaged")
    others = found.loc[found["problem"] != "unreadable", "problem"].value_counts()
    if len(others):
        counts = ", ".join(f"{count} {problem}" for problem, count in others.items())
        say(f"Readable, but worth a look ({counts}): learnkit.verify_images(folder) lists them")
    if args.csv is not None:
        write_atomically(args.csv, lambda file: _write_table(file, damaged))
    if args.move_to is not None and damaged:
        _move([name for name, _ in damaged], root, args.move_to, agreed=args.yes)
    return 1 if damaged else 0


def _reason(file: Path, detail: str) -> str:
    """The error without the path, which the line begins with, and without the advice to run this command."""
    return detail.removesuffix(REMEDY).removeprefix(printable(str(file))).strip(" .:")


def _write_table(file: IO[bytes], damaged: Damaged) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")  # a name need not be UTF-8
    writer = csv.writer(text)
    writer.writerow(["path", "error"])
    writer.writerows([spreadsheet_safe(name), spreadsheet_safe(reason)] for name, reason in damaged)
    text.detach()  # which flushes it and leaves the file open


def _move(names: Iterable[str], root: Path, target: Path, *, agreed: bool) -> None:
    """Move files to the same places below another folder, or say that it would be done; nothing is written over."""
    pairs = [(root / name, target / name) for name in names]
    outside = next((old for old, _ in pairs if not old.parent.resolve().is_relative_to(root.resolve())), None)
    if outside is not None:
        raise UsageError(f"--move-to: {outside} is reached by a link and lies outside {root}; nothing was moved")
    taken = next((new for _, new in pairs if os.path.lexists(new)), None)
    if taken is not None:
        raise UsageError(f"--move-to: there is a file {taken} already; nothing was moved", fix="Give an empty folder.")
    files = f"{len(pairs)} file{'s' if len(pairs) > 1 else ''}"
    if not agreed:
        say(f"Nothing was moved; add --yes to move {files} to {target}")
        return
    for old, new in pairs:
        try:
            new.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(old, new)  # of a link the link
        except OSError as error:
            raise WriteError(f"{old} could not be moved to {new} ({error.strerror or error})") from error
    say(f"Moved {files} to {target}")
