"""Predicted masks as PNG files, one for each image."""

from pathlib import Path, PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from learnkit.atomic_files import make_folder, write_atomically
from learnkit.cli.inputs import Input
from learnkit.cli.output import check_place
from learnkit.data.segmentation import Segmentation
from learnkit.errors import UsageError

__all__ = ["MaskFiles"]


class MaskFiles:
    """A folder of masks, with the pixel values, numbers or colors, of those the model was trained on.

    Args:
        folder: it is created; existing masks are not overwritten.
        task: what the masks mean.

    Raises:
        UsageError: the folder holds something already.
        WriteError: it cannot be created.
    """

    def __init__(self, folder: Path, task: Segmentation) -> None:
        check_place(folder)
        if folder.exists() and any(folder.iterdir()):
            raise UsageError("--out", got=str(folder), expected="a folder for masks that is new or empty")
        make_folder(folder)
        self.folder = folder
        first = {name: value for value, name in reversed(task.codes.items())}  # of a class, the first of its values
        values: npt.NDArray[Any] = np.array([first[name] for name in task.classes])
        self._values = values.astype(np.uint8 if values.max() < 256 else np.uint16)
        self._written: set[PurePath] = set()

    def write(self, image: Input, mask: npt.NDArray[np.int64]) -> Path:
        """Write the mask of an image: that of below/photo.jpg in the folder's below/photo.png.

        Args:
            image: what it was predicted for.
            mask: the class of each pixel, (H, W).

        Raises:
            UsageError: there was an image of this name.
            WriteError: the disk is full, or writing is not allowed.
        """
        from PIL import Image

        name = PurePath(image.name).with_suffix(".png")
        if name in self._written:
            raise UsageError(f"{image.path}: another image has the mask {name} already", fix="Predict it on its own.")
        self._written.add(name)
        file = self.folder / name
        write_atomically(file, lambda opened: Image.fromarray(self._values[mask]).save(opened, "PNG"))
        return file
