"""Tables of samples from trees of folders: one folder per class, or images next to their masks."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from learnkit.data.image.read import EXTENSIONS
from learnkit.data.table.files import existing_folder, get_image_files
from learnkit.data.table.masks import masks_of
from learnkit.errors import DataError
from learnkit.types import PathLike

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["folder_samples", "held_out_samples", "mask_samples"]

SPLIT_NAMES = {"train", "valid", "val"}  # folders that name a split, never a class


def folder_samples(path: PathLike, train: str, valid: str, test: str | None, *, by_folder: bool) -> "pd.DataFrame":
    """Samples of a tree of class folders; the label is the first folder below the split's.

    Args:
        path: holds train/<class>/... and valid/<class>/..., or, not `by_folder`, <class>/... directly.
        train: the folder of the training images.
        valid: the folder of the validation images; "val" is used if there is no "valid".
        test: the folder of the test images, which are left out.
        by_folder: the folders define the splits; otherwise all images are used, in whatever folder.

    Returns:
        columns input (str), target (str) and, `by_folder`, split; sorted by path within a split.

    Raises:
        MissingFileError: no such folder.
        DataError: no images, or no validation set.
    """
    import pandas as pd

    root = existing_folder(path)
    if not by_folder:
        items = _labeled(root, {"test", test or "test"}, strip=SPLIT_NAMES | {train, valid})
        if not items:
            raise _nothing(root, "CLASS", "Labels in file names or in a table are for from_name_re and from_csv.")
        return pd.DataFrame(items, columns=["input", "target"], dtype=object)  # names need not be valid UTF-8
    valid = _valid_folder(root, valid)
    rows: list[tuple[str, str, str]] = []
    for name, folder in (("train", train), ("valid", valid)):
        rows += [(file, label, name) for file, label in _labeled(root / folder, set())]
    _require(root, {name for _, _, name in rows}, train, valid)
    return pd.DataFrame(rows, columns=["input", "target", "split"], dtype=object)


def held_out_samples(folder: PathLike, classes: Iterable[str] = ()) -> "pd.DataFrame":
    """The images of a test folder, labeled by their folders if each of these is a class."""
    import pandas as pd

    root = existing_folder(folder)
    files = get_image_files(root)
    if not files:
        raise _nothing(root, "", "Check the path.")
    tops = [file.relative_to(root).parts[0] for file in files]
    is_labeled = set(tops) <= set(classes)
    rows = [(str(file), top if is_labeled else None, "test") for file, top in zip(files, tops, strict=True)]
    return pd.DataFrame(rows, columns=["input", "target", "split"], dtype=object)


def mask_samples(
    path: PathLike, images: str, masks: Callable[[Path], PathLike], valid: str, *, by_folder: bool
) -> "pd.DataFrame":
    """Samples of images and their masks; the target is the path of the mask.

    Args:
        path: holds the folder of the images.
        images: the folder of the images; `by_folder`, it has folders train and `valid` (or val), and may have test.
        masks: path of an image -> path of its mask, next to the image's or relative to `path`.
        valid: the folder of the validation images.
        by_folder: the folders define the splits.

    Raises:
        MissingFileError: no such folder, or images without a mask.
        DataError: no images.
    """
    import pandas as pd

    root = existing_folder(path)
    folder = existing_folder(root / images)
    files = get_image_files(folder)
    if not files:
        raise _nothing(folder, "", "Check the path.")
    found = masks_of(files, masks, root)
    files = list(found)
    pairs = [(str(file), str(mask)) for file, mask in found.items()]
    samples = pd.DataFrame(pairs, columns=["input", "target"], dtype=object)
    if not by_folder:
        return samples
    valid = _valid_folder(folder, valid)
    tops = [file.relative_to(folder).parts[0] for file in files]
    if valid not in tops:
        raise DataError(
            f"no images under {folder / valid}", expected=f"{folder / 'train'}/... and {folder / valid}/...",
            fix="Pass valid_pct=0.2 to take a fifth at random.",
        )  # fmt: skip
    return samples.assign(split=["valid" if top == valid else "test" if top == "test" else "train" for top in tops])


def _valid_folder(root: Path, valid: str) -> str:
    return "val" if valid == "valid" and not (root / valid).is_dir() and (root / "val").is_dir() else valid


def _labeled(folder: Path, left_out: set[str], strip: Iterable[str] = ()) -> list[tuple[str, str]]:
    """(file, label) of every image in a class folder below `folder`."""
    items = []
    for file in get_image_files(folder) if folder.is_dir() else []:
        parts = file.relative_to(folder).parts[:-1]
        if parts and parts[0] in left_out:
            continue
        if parts and parts[0] in set(strip):
            parts = parts[1:]
        if parts:
            items.append((str(file), parts[0]))
    return items


def _require(root: Path, splits: set[str], train: str, valid: str) -> None:
    if "train" not in splits:
        raise _nothing(root, f"{train}/CLASS", "Class folders directly below the path need valid_pct=0.2.")
    if "valid" not in splits:
        raise DataError(
            f"no images under {root / valid}", expected=f"{root / valid}/<class>/...",
            fix="Pass valid_pct=0.2 to take a fifth at random.",
        )  # fmt: skip


def _nothing(root: Path, layout: str, fix: str) -> DataError:
    kinds = " ".join(sorted(EXTENSIONS))
    n_files = sum(1 for entry in root.rglob("*") if entry.is_file()) if root.is_dir() else 0
    where = "in a class folder" if layout else "of these kinds"
    return DataError(
        f"no images ({kinds}) under {root}: found {n_files} files, none of them an image {where}",
        expected=f"{root}/{layout.replace('CLASS', '<class>')}/..." if layout else f"images below {root}",
        fix=fix,
    )
