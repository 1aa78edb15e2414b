"""The mask of each image of a folder; masks among the images are left out."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from learnkit.errors import LearnkitError, MissingFileError, UsageError, warn
from learnkit.text import counted
from learnkit.types import PathLike

__all__ = ["masks_of"]


def masks_of(files: Sequence[Path], masks: Callable[[Path], PathLike], root: Path) -> dict[Path, Path]:
    """{image: its mask}, in order, without the images that are themselves masks of others: a warning counts them.

    Args:
        files: the images.
        masks: path of an image -> path of its mask, next to the image's or relative to `root`.
        root: the folder of the data set.

    Raises:
        MissingFileError: images without a mask.
        UsageError: `masks` fails, or returns something else than a path.
    """
    found: dict[Path, Path | LearnkitError] = {file: _mask_of(masks, file, root) for file in files}
    normal = {file: os.path.normpath(mask) for file, mask in found.items() if isinstance(mask, Path)}
    are_masks = {mask for file, mask in normal.items() if mask != os.path.normpath(file)}
    images = {file: mask for file, mask in found.items() if os.path.normpath(file) not in are_masks}
    if len(images) < len(files):
        first = next(file for file in files if file not in images)
        masks_among = counted(len(files) - len(images), "image is a mask of another", "images are masks of others")
        warn(f"{masks_among} and left out, first {first}")
    pairs: dict[Path, Path] = {}
    for file, mask in images.items():
        if isinstance(mask, LearnkitError):
            raise mask
        pairs[file] = mask
    without = [f"{file} -> {mask}" for file, mask in pairs.items() if not mask.is_file()]
    if without:
        raise MissingFileError(
            f"{len(without)} of {len(pairs)} images have no mask, first {', '.join(without[:3])}",
            fix="Correct what masks= returns.",
        )
    return pairs


def _mask_of(masks: Callable[[Path], PathLike], file: Path, root: Path) -> Path | LearnkitError:
    """The path of the mask, or the error: that of a file which is a mask itself does not matter."""
    try:
        found = masks(file)
    except Exception as error:
        failed = UsageError(f"masks: the function fails for {file} ({type(error).__name__}: {error})")
        failed.__cause__ = error
        return failed
    if not isinstance(found, str | Path):
        return UsageError(f"masks: for {file}", got=found, expected="the path of its mask")
    return Path(found) if Path(found).is_relative_to(root) else root / found  # as the image is, or relative to the root
