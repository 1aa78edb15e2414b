"""A model as a file, in learnkit's own format or for other programs."""

from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

from learnkit.atomic_files import named_file
from learnkit.checks import check_choice
from learnkit.distributed.world import world
from learnkit.errors import UsageError
from learnkit.persistence.deploy.network import Preprocessing
from learnkit.persistence.deploy.onnx import Quantize, export_onnx
from learnkit.persistence.deploy.pt2 import export_pt2
from learnkit.persistence.deploy.real_data import RealData
from learnkit.persistence.lk.file import write_export
from learnkit.persistence.merging import chosen_form, is_adapted
from learnkit.persistence.spec import ExportSpec
from learnkit.persistence.suffixes import with_suffix
from learnkit.types import PathLike

__all__ = ["ExportFormat", "export"]

ExportFormat: TypeAlias = Literal["lk", "onnx", "pt2"]
OTHERS = ("onnx", "pt2")  # for other programs, with a description next to the file


def export(
    file: PathLike, spec: ExportSpec, to: ExportFormat = "lk", *, preprocessing: Preprocessing = False,
    activation: bool = True, merge: bool | None = None, quantize: Quantize = None, data: RealData | None = None,
) -> Path:  # fmt: skip
    """Write a model as one file; see `Learner.export`.

    Args:
        file: the path; .lk, .onnx or .pt2 is appended unless the name ends so.
        spec: the model and its metadata.
        to: "lk" for `load_learner`, "onnx", or "pt2" for torch.export's format, which runs code when it is opened.
        preprocessing: for the others: True to take images (N, H, W, C) in uint8 at their size, and normalize them
            inside; "full" to take them at any size, and resize them inside too.
        activation: for the others: return predictions (probabilities, with the temperature), not raw outputs.
        merge: whether a model with adapters is written as one without, see `chosen_form`; the others always are.
        quantize: for "onnx": "int8" for weights of 8 bits.
        data: to calibrate "int8", and to check on.

    Raises:
        UsageError: another format, an option or the suffix of another format, a file without a name.
        ExportError: a model that cannot be exported to other programs; nothing is written.
    """
    path = named_file("file", file)
    check_choice("to", to, ("lk", *OTHERS))
    path = _suffixed(path, to)
    if quantize is not None and to != "onnx":
        raise UsageError(f'export: quantize={quantize!r} belongs to to="onnx"', fix="Leave it out, or export to ONNX.")
    if to == "lk":
        if preprocessing or not activation:
            option = f"preprocessing={preprocessing!r}" if preprocessing else "activation=False"
            raise UsageError(
                f'export: {option} belongs to to="onnx" and to="pt2"',
                fix='Leave it out: a file for load_learner (to="lk") always has the preprocessing and the activation.',
            )
        spec = chosen_form(spec, merge)
        if world.is_first:
            write_export(path, spec)
        return path
    if merge is False:
        raise UsageError('export: merge=False belongs to to="lk"', fix=f"Leave it out: {to} has no place for adapters.")
    if spec.card:
        raise UsageError('export: card= belongs to to="lk"', fix=f"Leave it out: a file for {to} has no place for it.")
    spec = chosen_form(spec, merge or (True if is_adapted(spec) else None))
    if world.is_first:
        spec = spec if activation else replace(spec, activation=None)
        if to == "onnx":
            export_onnx(path, spec, preprocessing=preprocessing, quantize=quantize, data=data)
        else:
            export_pt2(path, spec, preprocessing=preprocessing, data=data)
    return path


def _suffixed(path: Path, to: ExportFormat) -> Path:
    suffix = path.suffix.lower()
    if suffix in {".lk", *(f".{other}" for other in OTHERS)} - {f".{to}"}:
        raise UsageError(
            f"export: the format {to!r} under the name {path.name}",
            fix=f'For {suffix} add to="{suffix[1:]}"; otherwise let the name end in .{to}.',
        )
    return with_suffix(path, (f".{to}",))
