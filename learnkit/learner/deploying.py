"""A learner as a file for other programs: ONNX, or an exported program of torch."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from learnkit.atomic_files import named_file
from learnkit.data.loading.peek import first_input
from learnkit.errors import UsageError
from learnkit.persistence.deploy.formats import deploy
from learnkit.persistence.deploy.network import Deployment
from learnkit.types import PathLike

if TYPE_CHECKING:
    from learnkit.learner.learner import Learner

__all__ = ["deploy_learner"]


def deploy_learner(
    learn: "Learner", file: PathLike, to: str, *, preprocessing: bool = False, activation: bool = True
) -> Path:
    """Write the model, as `learnkit.persistence.deploy.formats` does it, and a description beside it.

    Args:
        learn: trained; it is left as it is.
        file: where to.
        to: "onnx" or "pt2".
        preprocessing: take uint8 pictures (N, H, W, C) of the right size, and normalise them inside.
        activation: end in what a user reads (probabilities, with the temperature); otherwise in raw outputs.

    Raises:
        UsageError: the data does not tell the shape of an input, another kind of file, or one without a name.
        ExportError: a model that cannot be exported, or whose export gives other numbers.
    """
    path, dls, shape = named_file("file", file), learn.dls, learn.dls.input_shape
    if shape is None:
        raise UsageError(
            "export: the data does not tell the shape of an input", fix="Make it from tensors, datasets or images."
        )
    first = first_input(dls.train_dl) if dls.preprocess is None else None
    deployment = Deployment(
        learn.model,
        shape,
        dls.task,
        preprocess=dls.preprocess,
        activation=learn.activation if activation else None,
        temperature=learn.temperature,
        preprocessing=preprocessing,
        dtype=first.dtype if isinstance(first, torch.Tensor) else torch.float32,
    )
    return deploy(path, deployment, to)
