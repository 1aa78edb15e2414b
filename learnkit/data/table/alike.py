"""Files of a folder that look almost alike, or unlike all others, by features of their images."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from learnkit.neighbors.duplicates import near_duplicates
from learnkit.neighbors.outliers import find_outliers

__all__ = ["Problem", "alike_problems"]

Problem = tuple[str, str, str]  # path, problem, detail


def alike_problems(
    embed: Callable[[Sequence[Path]], Tensor],
    files: Mapping[str, tuple[Path, str]],
    split_of: Mapping[str, str],
    max_ratio: float,
) -> Iterator[Problem]:
    """The problems that features show, each a suspicion: look at the images.

    - near-duplicate: it looks almost like another file of its split, the one that it is most like. Detail: that file,
      which is before it by path, and the cosine distance of their features.
    - near leak: likewise, in another split.
    - outlier: it is unlike all others. Detail: its score, see `learnkit.neighbors.find_outliers`.

    Args:
        embed: returns features (N, D) of files.
        files: {relative path: (file, digest)} in order; a digest is "" for content that no other file has.
        split_of: the split of each.
        max_ratio: see `learnkit.neighbors.near_duplicates`.
    """
    names, digests = list(files), [digest for _, digest in files.values()]
    if not names:
        return
    features = embed([file for file, _ in files.values()])
    pairs = near_duplicates(features, max_ratio, [split_of[name] for name in names])
    for later, earlier, distance in zip(*(part.tolist() for part in pairs), strict=True):
        if digests[later] and digests[later] == digests[earlier]:
            continue  # a leak of the same content
        name, other = names[later], names[earlier]
        problem = "near-duplicate" if split_of[name] == split_of[other] else "near leak"
        yield name, problem, f"{other}, distance {distance:.4f}"
    outliers = find_outliers(features)
    for place, score in zip(*(part.tolist() for part in outliers), strict=True):
        yield names[place], "outlier", f"score {score:.1f}"
