"""Tables of samples from trees of folders: one folder per class, or images next to their masks."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from learnkit.checks import check_kind
from learnkit.data.table.columns import with_column
from learnkit.data.table.files import existing_folder, image_names, images_by_folder, no_images, text_below
from learnkit.data.table.masks import masks_of
from learnkit.data.table.split_folders import held_out, split_folders, split_named
from learnkit.errors import DataError, warn
from learnkit.types import PathLike

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["folder_samples", "mask_samples"]

RANDOM = "Pass valid_pct=0.2 to take a fifth at random, or valid=None to train without a validation set."


def folder_samples(
    path: PathLike,
    train: str,
    valid: str | None,
    test: str | None,
    *,
    by_folder: bool,
    suffixes: Sequence[str] | None = None,
    classes: Iterable[str] = (),
    linked: set[str] | None = None,
) -> "pd.DataFrame":
    """Samples of a tree of class folders; the label is the first folder below the split's.

    Args:
        path: holds train/<class>/... and valid/<class>/..., or, not `by_folder`, <class>/... directly.
        train: the folder of the training images; "training" is used if there is no "train".
        valid: the folder of the validation images; "val" or "validation" is used if there is no "valid". None for no
            validation set.
        test: the folder of the test images, which are left out.
        by_folder: the folders define the splits; otherwise all images are used, in whatever folder.
        suffixes: as for `get_image_files`.
        classes: names that are classes, even if they are those of splits.
        linked: takes up the files that are links or are reached through one.

    Returns:
        columns input (str), target (str) and, `by_folder`, split; sorted by path within a split.

    Raises:
        MissingFileError: no such folder.
        DataError: no images, or no validation set.
    """
    import pandas as pd

    root = existing_folder(path)
    for what, name in (("train", train), ("valid", valid), ("test", test)):
        if name is not None or what == "train":
            check_kind(what, name, str | os.PathLike, "the name of a folder")
    if not by_folder:
        return _table(*_of_all_splits(root, train, valid, test, suffixes, classes, linked))
    folders = {"train": _folder_of(root, train)} | ({} if valid is None else {"valid": _folder_of(root, valid)})
    parts = {split: _labeled(root / name, suffixes, linked) for split, name in folders.items()}
    found = {split for split, (files, _) in parts.items() if files}
    if "train" not in found:
        fix = "Class folders directly below the path need valid_pct=0.2."
        raise no_images(root, suffixes, f"{folders['train']}/<class>", fix)
    if "valid" in folders and "valid" not in found:
        where = root / folders["valid"]
        raise DataError(f"no images under {where}", expected=f"{where}/<class>/...", fix=RANDOM)
    tables = {split: _table(*part) for split, part in parts.items()}
    whole = pd.concat(tables.values(), ignore_index=True)
    return with_column(whole, "split", [split for split, table in tables.items() for _ in range(len(table))])


def _table(files: list[str], labels: list[str]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame({"input": files, "target": labels}, dtype=object)  # names need not be valid UTF-8


def mask_samples(
    path: PathLike,
    images: str,
    masks: Callable[[Path], PathLike],
    valid: str | None,
    *,
    by_folder: bool,
    test: str | None = None,
    suffixes: Sequence[str] | None = None,
) -> "pd.DataFrame":
    """Samples of images and their masks; the target is the path of the mask.

    Args:
        path: holds the folder of the images.
        images: the folder of the images; `by_folder`, it has folders train and `valid` (or one of their other names),
            and may have test; a warning names any other. Otherwise all its images but those in test are used.
        masks: path of an image -> path of its mask, next to the image's or relative to `path`.
        valid: the folder of the validation images; None for no validation set.
        by_folder: the folders define the splits.
        test: another folder that is left out, if not `by_folder`.
        suffixes: as for `get_image_files`.

    Raises:
        MissingFileError: no such folder, or images without a mask.
        DataError: no images, or no training or validation folder.
    """
    import pandas as pd

    root = existing_folder(path)
    folder = existing_folder(root / images)
    names = image_names(folder, suffixes=suffixes)
    files = list(map(Path, text_below(folder, names)))
    tops = [top if slash else "." for top, slash, _ in (name.partition("/") for name in names)]
    if by_folder:
        split_at = _mask_splits(folder, set(tops), valid)
    else:
        out = held_out(set(tops) - {"."})
        split_at = {top: "all" for top in tops if top not in out and (folder / top) != root / (test or ".")}
    used = [(file, split_at[top]) for file, top in zip(files, tops, strict=True) if top in split_at]
    if not used:
        raise no_images(folder, suffixes)
    found = masks_of([file for file, _ in used], masks, root)
    rows = [(str(file), str(found[file]), split) for file, split in used if file in found]
    samples = pd.DataFrame(rows, columns=["input", "target", "split"], dtype=object)
    return samples if by_folder else samples.drop(columns="split")


def _mask_splits(folder: Path, tops: set[str], valid: str | None) -> dict[str, str]:
    """{folder of images: its split}; a warning names the others."""
    wanted = {"train": _folder_of(folder, "train")} | ({} if valid is None else {"valid": _folder_of(folder, valid)})
    for name in wanted.values():
        if name not in tops:
            raise DataError(
                f"no images under {folder / name}",
                expected=" and ".join(f"{folder / one}/..." for one in wanted.values()), fix=RANDOM,
            )  # fmt: skip
    splits = {name: split for split, name in wanted.items()}
    splits |= {top: "test" for top in tops if split_named(top) == "test" and top not in splits}
    if others := sorted(tops - splits.keys()):
        warn(f"images in {folder} that are in no folder of a split are left out: {', '.join(map(repr, others[:10]))}")
    return splits


def _folder_of(root: Path, name: str) -> str:
    """The folder of a split: the one named or, for a default name, one that is called so in another way."""
    if name not in ("train", "valid") or (root / name).is_dir():
        return name
    there = sorted(entry.name for entry in root.iterdir() if split_named(entry.name) == name and entry.is_dir())
    return there[0] if there else name


def _of_all_splits(
    root: Path,
    train: str,
    valid: str | None,
    test: str | None,
    suffixes: Sequence[str] | None,
    classes: Iterable[str],
    linked: set[str] | None,
) -> tuple[list[str], list[str]]:
    """The path and the label of every image that is not held out, whatever its split."""
    images = images_by_folder(root, suffixes=suffixes, linked=linked)
    places = {place: _parts(place) for place in images}
    own = {train: "train", valid or "valid": "valid", test or "test": "test"}
    named = {folder: split for folder, split in own.items() if split_named(folder) != split}
    named |= {} if test is None else {test: "test"}
    found = split_folders(((*folders, "") for folders in places.values()), named, classes=classes)
    found.explain(root)
    label_at: dict[str, str] = {}
    for place, folders in places.items():
        split = found.splits.get(folders[0]) if folders else None
        labels = folders[1:] if split else folders
        if labels and split != "test" and folders[0] not in found.left_out:
            label_at[place] = labels[0]
    items = _labeled_at(root, images, label_at)
    if not items[0]:
        fix = "Labels in file names or in a table are for from_name_re and from_csv."
        raise no_images(root, suffixes, "<class>", fix)
    return items


def _labeled(folder: Path, suffixes: Sequence[str] | None, linked: set[str] | None) -> tuple[list[str], list[str]]:
    """The path and the label of every image in a class folder below `folder`."""
    images = images_by_folder(folder, suffixes=suffixes, linked=linked) if folder.is_dir() else {}
    return _labeled_at(folder, images, {place: _parts(place)[0] for place in images if place})


def _parts(place: str) -> tuple[str, ...]:
    """The folders of a key of `images_by_folder`."""
    return tuple(place.split("/")[:-1])


def _labeled_at(
    root: Path, images: Mapping[str, Sequence[str]], label_at: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """The paths, sorted, of the images in folders that have a label, and these labels; equal labels are one object."""
    used = [(place, images[place]) for place in sorted(label_at)]
    paths: list[str] = []
    labels: list[str] = []
    for place, there in used:
        paths += text_below(root / place, there)
        labels += [label_at[place]] * len(there)
    are_sorted = all(place + there[-1] < after + then[0] for (place, there), (after, then) in pairwise(used))
    if not are_sorted:  # images beside folders: b.jpg, c/1.jpg, d.jpg
        names = [place + name for place, there in used for name in there]
        order = sorted(range(len(names)), key=names.__getitem__)
        paths, labels = [paths[i] for i in order], [labels[i] for i in order]
    return paths, labels
