"""verify_images, with a model that tells which images look almost alike, and which unlike all others."""

import os
from typing import TYPE_CHECKING, Any

from learnkit.arguments import checks_keywords
from learnkit.checks import check_kind
from learnkit.data.image.depth import Depth
from learnkit.data.table import verify
from learnkit.learner.learner import Learner
from learnkit.learner.load import load_learner
from learnkit.neighbors.duplicates import MAX_RATIO
from learnkit.types import PathLike

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["verify_images"]


@checks_keywords
def verify_images(
    path: PathLike,
    *,
    model: Learner | PathLike | None = None,
    max_ratio: float = MAX_RATIO,
    min_side: int = 16,
    max_aspect: float = 5.0,
    channels: int = 3,
    num_threads: int | None = None,
    delete: bool = False,
    max_size: int | None = None,
    depth: Depth | None = None,
) -> "pd.DataFrame":
    """Every problem of the images below a folder. Nothing is changed or deleted unless `delete` or `max_size` asks.

    `learnkit.data.verify_images` lists the problems, and describes the other arguments. With a model, there are three
    more, each a suspicion to look at:

    - near-duplicate: it looks almost like another file of its split: saved again, resized, the next shot. Detail: the
      file it is most like, earlier by path, and the cosine distance of their features.
    - near leak: likewise, in another split.
    - outlier: it is unlike all others of the folder. Detail: its score, see `learnkit.neighbors.find_outliers`.

    Copies of the same content are not near-duplicates. Memory is linear in the number of files.

    Args:
        path: the folder.
        model: a learner, or the path of its export; its features decide what is alike. Its data may be other than that
            of the folder.
        max_ratio: how much nearer near-duplicates are than others, see `learnkit.neighbors.near_duplicates`.
        min_side, max_aspect, channels, num_threads, delete, max_size, depth: as of `learnkit.data.verify_images`.

    Returns:
        columns path (relative to the folder, with /), problem and detail, all str, sorted by path and problem.

    Raises:
        UsageError: an argument out of its range; a model whose head does not stand apart.
        MissingFileError: no such folder, or no such export.
        DataError: no images in the folder.
    """
    options: dict[str, Any] = {}
    if model is not None:
        check_kind("model", model, Learner | str | os.PathLike, "a learner, or the path of an export")
        learn = model if isinstance(model, Learner) else load_learner(model)
        options = {"embed": learn.embed, "max_ratio": max_ratio}
    return verify.verify_images(
        path, min_side=min_side, max_aspect=max_aspect, channels=channels, num_threads=num_threads, delete=delete,
        max_size=max_size, depth=depth, **options,
    )  # fmt: skip
