"""What a learner puts into an export besides its weights."""

import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from learnkit.atomic_files import named_file, write_atomically
from learnkit.data.bunch import DataBunch
from learnkit.data.image.read import full_depth
from learnkit.errors import CorruptFileError, UsageError, warn
from learnkit.losses.activations import identity
from learnkit.persistence.deploy.formats import FORMATS
from learnkit.persistence.lk.file import write_export
from learnkit.persistence.lk.hub import upload, write_folder
from learnkit.persistence.lk.manifest import Manifest, started, versions
from learnkit.persistence.lk.recipes import Recipe, read_recipe, same_build, written_recipe
from learnkit.persistence.lk.schema import (
    Inputs,
    activation_name,
    read_activation,
    read_inputs,
    read_task,
    written_inputs,
    written_task,
)
from learnkit.persistence.lk.tensors import table_of
from learnkit.persistence.weights import plain_model
from learnkit.types import PathLike

if TYPE_CHECKING:
    from learnkit.learner.learner import Learner

__all__ = ["check_options", "export_learner", "manifest_of", "push_learner"]

MAX_CARD = 100_000  # characters
LOSSES = {
    "CrossEntropyLoss": "cross_entropy",
    "BCEWithLogitsLoss": "bce_with_logits",
    "MSELoss": "mse",
    "MSELossFlat": "mse",
}


def check_options(to: str, *, card: str, preprocessing: bool, activation: bool) -> None:
    """Refuse options of `Learner.export` that say something of another format.

    Raises:
        UsageError: naming the option, and the formats it belongs to.
    """
    if to == "lk" and (preprocessing or not activation):
        strange = "preprocessing=True" if preprocessing else "activation=False"
        raise UsageError(
            f'export: {strange} belongs to to="onnx" and to="pt2"',
            fix='Leave it out: a file for load_learner (to="lk") holds the preprocessing and the activation anyway.',
        )
    if to in FORMATS and card:
        raise UsageError('export: card= belongs to to="lk"', fix=f"Leave it out: a file for {to} has no place for it.")


def export_learner(learn: "Learner", file: PathLike, *, card: str = "") -> Path:
    """Write one file with all that `load_learner` needs; .lk is added to a name without a suffix.

    The learner is left as it is. The same learner gives the same bytes.

    Args:
        learn: trained.
        file: where to.
        card: what a reader should know, in the user's words.

    Raises:
        UsageError: a task of the user's own, a state dict with more than tensors, the ending of another
            format, or a file without a name.

    Warns:
        LearnkitWarning: the model was changed since cnn_learner built it, so `load_learner` will need it.
    """
    path = named_file("file", file)
    if path.suffix in (".onnx", ".pt2"):
        raise UsageError(
            f"export: learnkit's own format under the name {path.name}",
            fix=f'For {path.suffix[1:].upper()} add to="{path.suffix[1:]}"; otherwise let the name end in .lk.',
        )
    path = path if path.suffix else path.with_name(f"{path.name}.lk")
    model, manifest = plain_model(learn.model), manifest_of(learn, card=card)
    write_atomically(path, lambda opened: write_export(opened, manifest, model))
    return path


def push_learner(learn: "Learner", folder: PathLike, repo_id: str | None = None, *, card: str = "") -> Path:
    """Write the same into a folder as the Hugging Face hub wants it; upload it only if `repo_id` is given.

    Raises:
        UsageError: as `export_learner`; to upload, the package huggingface_hub is not installed.
        DownloadError: the hub cannot be reached, or refuses.
    """
    write_folder(Path(folder), manifest_of(learn, card=card), plain_model(learn.model))
    if repo_id is not None:
        upload(Path(folder), repo_id)
    return Path(folder)


def manifest_of(learn: "Learner", *, card: str = "") -> Manifest:
    """All of the manifest but `weights`."""
    if not isinstance(card, str) or len(card) > MAX_CARD:
        raise UsageError("card", got=type(card).__name__, expected=f"a text of at most {MAX_CARD:,} characters")
    dls, model = learn.dls, plain_model(learn.model)
    recipe = _recipe(learn, model)
    inputs = Inputs(None, dls.input_shape) if dls.preprocess is None else Inputs(dls.preprocess, None)
    n_out = dls.c
    manifest = {
        **started(),
        **written_task(dls.task),
        **written_recipe(recipe, type(model).__name__[:100], n_out),
        "transforms": written_inputs(inputs),
        "loss": {"name": _loss_name(learn), "activation": activation_name(learn.activation, n_out)},
        "temperature": float(learn.temperature),
        "versions": versions(*(["timm"] if recipe is not None and recipe.source == "timm" else [])),
        "training": _training(learn),
        "card": card,
    }
    _check_readable(manifest)
    return manifest


def _check_readable(manifest: Manifest) -> None:
    """Nothing is written that would be refused when it is read."""
    try:
        read_task(manifest, "export")
        read_inputs(manifest, "export", full_depth)
        read_recipe(manifest, "export")
        read_activation(manifest, "export", identity)
    except CorruptFileError as error:
        raise UsageError(f"this learner is beyond what an export can say: {error.message}") from error


def _recipe(learn: "Learner", model: nn.Module) -> Recipe | None:
    """How the model was built, if that gives this very network."""
    recipe = learn.recipe
    if recipe is None:
        return None
    sketch = recipe.sketch()
    shapes, others = ([shape for shape, _ in table_of(net.state_dict()).values()] for net in (sketch, model))
    if same_build(sketch, model) and shapes == others:
        return recipe
    warn(
        f"the model is no longer the {recipe.name} that was built: its layers were changed. The export holds its "
        "weights; load_learner will need the model itself: load_learner(file, model=...)"
    )
    return None


def _loss_name(learn: "Learner") -> str:
    """The name of a loss that its task has anyway; of another one the name of its class, as a label."""
    loss, usual = learn.loss_func, learn.dls.task.loss() if learn.dls.task else None
    names = ("reduction", "label_smoothing", "ignore_index", "weight", "pos_weight")
    is_usual = isinstance(usual, type(loss)) and all(  # the usual one may be a subclass of torch's
        getattr(loss, name, None) is getattr(usual, name, None) or getattr(loss, name) == getattr(usual, name)
        for name in names
    )
    own = getattr(loss, "__name__", type(loss).__name__)[:100]
    return LOSSES.get(own, own) if is_usual else f"own:{own}"


def _training(learn: "Learner") -> dict[str, Any]:
    rows = learn.recorder.rows
    last = rows[-1] if rows else {}
    numbers = {str(name): float(value) for name, value in last.items() if isinstance(value, int | float)}
    metrics = {name: value for name, value in numbers.items() if math.isfinite(value) and name not in ("epoch", "time")}
    content: dict[str, Any] = {"epochs": learn.epoch, "metrics": metrics}
    if learn.dls.preprocess is not None and len(learn.dls.samples):
        content["data_sha256"] = _samples_digest(learn.dls)
    return content


def _samples_digest(dls: DataBunch) -> str:
    """The SHA-256 of the names of the files, as below the data's folder, with their targets and splits."""
    digest = hashlib.sha256()
    for item, target, split in dls.samples[["input", "target", "split"]].itertuples(index=False):
        path = Path(item)
        name = path.relative_to(dls.path) if path.is_relative_to(dls.path) else Path(path.name)
        digest.update(f"{name.as_posix()}\t{_plain(target, dls.path)}\t{split}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _plain(target: Any, folder: Path) -> str:
    is_below = isinstance(target, str | Path) and Path(target).is_relative_to(folder)
    return Path(target).relative_to(folder).as_posix() if is_below else str(target)
