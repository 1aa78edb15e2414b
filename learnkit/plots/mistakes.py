"""Where a predicted mask is wrong, laid over its picture."""

import numpy as np
import numpy.typing as npt

__all__ = ["mistakes_over"]

WRONG = (213, 94, 0)  # vermilion of Okabe and Ito, told from gray by colour-blind readers too
IGNORED = (128, 128, 128)
FAINT = 0.55  # share of white in what is right
OPACITY = 0.8  # of the colour over what is wrong


def mistakes_over(
    picture: npt.NDArray[np.uint8],
    predicted: npt.NDArray[np.integer],
    target: npt.NDArray[np.integer],
    ignored: int | None = None,
) -> npt.NDArray[np.uint8]:
    """A picture, uint8 (H, W, 3), faint and gray where its class numbers (H, W) are right, vermilion where wrong.

    Pixels whose target is `ignored` are all of one gray.
    """
    gray = picture.mean(2, keepdims=True)
    faint = gray * (1 - FAINT) + 255 * FAINT
    strong = gray * (1 - OPACITY) + np.array(WRONG) * OPACITY
    mixed = np.where((predicted != target)[..., None], strong, faint)
    if ignored is not None:
        mixed = np.where((target == ignored)[..., None], IGNORED, mixed)
    drawn: npt.NDArray[np.uint8] = np.rint(mixed).astype(np.uint8)
    return drawn
