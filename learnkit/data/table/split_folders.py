"""Folders that are splits, not classes: one list of names and one rule, for every way of reading a tree."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from learnkit.errors import warn

__all__ = ["SPLIT_NAMES", "SplitFolders", "held_out", "split_folders", "split_named"]

SPLIT_NAMES = {"train": "train", "training": "train", "valid": "valid", "val": "valid", "validation": "valid",
               "test": "test"}  # fmt: skip


class SplitFolders(NamedTuple):
    """Which folders directly below a root are splits.

    Attributes:
        splits: folder: "train", "valid" or "test".
        left_out: other folders beside them.
        doubtful: folders that could as well have been the other, a split or a class.
    """

    splits: Mapping[str, str]
    left_out: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()

    def explain(self, root: Path) -> None:
        """Warn about folders that are left out, or could have been meant otherwise."""
        if self.left_out:
            names = ", ".join(map(repr, self.left_out))
            warn(f"folders beside {', '.join(self.splits)} in {root} are left out: {names}")
        for name in self.doubtful:
            if name in self.splits:
                text = "is taken as a test set and left out; classes= with it in the list makes it a class"
            else:
                text = "is taken as a class, as it is among other classes; move it away if it is a split"
            warn(f"the folder {name!r} of {root} {text}")


def split_named(name: str) -> str | None:
    """The split that a folder or a cell names, in any case; None for another name.

    >>> split_named("Validation"), split_named("cat")
    ('valid', None)
    """
    return SPLIT_NAMES.get(name.strip().lower())


def split_folders(
    files: Iterable[tuple[str, ...]], named: Mapping[str, str] | None = None, *, classes: Iterable[str] = ()
) -> SplitFolders:
    """The folders that are splits, found by what is directly below the root.

    Folders are splits where nothing but folders of such names stands there, or where they stand beside each other and
    hold class folders; the others are then left out. A folder test among classes is held out. Any other is a class: a
    train among vehicles.

    Args:
        files: the path of each image below the root, as its parts.
        named: folders that the caller named as splits, and which they are.
        classes: names that are classes, whatever else they look like.
    """
    known = set(map(str, classes))
    holds: dict[str, bool] = {}  # folder: whether images are in folders below it
    for *folders, _ in files:
        if folders:
            holds[folders[0]] = holds.get(folders[0], False) or len(folders) > 1
    own = {folder: split for folder, split in (named or {}).items() if folder in holds}
    likely = {folder: split for folder in holds if folder not in known and (split := split_named(folder))} | own
    others = tuple(sorted(holds.keys() - likely.keys()))
    sources = [folder for folder, split in likely.items() if split != "test"]
    are_beside = bool(sources) and len(set(likely.values())) > 1 and all(holds[folder] for folder in sources)
    if not others or are_beside:
        return SplitFolders(likely, others)
    splits = {folder: split for folder, split in likely.items() if split == "test" or folder in own}
    doubtful = [folder for folder in splits if not holds[folder] and folder not in own]
    doubtful += [folder for folder in likely if folder not in splits and holds[folder]]
    return SplitFolders(splits, (), tuple(sorted(doubtful)))


def held_out(folders: Iterable[str]) -> set[str]:
    """Those of the folders directly below a root that hold test images: test, in any case."""
    return {folder for folder in folders if split_named(folder) == "test"}
