"""Exports as a folder of the Hugging Face hub: model.safetensors, config.json and README.md.

config.json has the keys that timm reads, and the whole manifest under "learnkit". Reading checks just what is checked
of a file of `learn.export`.
"""

import html
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from learnkit.atomic_files import write_atomically
from learnkit.checks import missing_extra
from learnkit.errors import CorruptFileError, DownloadError, UsageError
from learnkit.persistence.lk.archive import MAX_MANIFEST, not_complete
from learnkit.persistence.lk.file import Export, check_sha256, existing_file
from learnkit.persistence.lk.manifest import Manifest, checked, parsed, sealed, weights_of, weights_part
from learnkit.persistence.lk.tensors import chunks, digest, table_of, verify
from learnkit.text import printable

__all__ = ["fetched", "open_folder", "upload", "write_folder"]

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


def write_folder(folder: Path, manifest: Manifest, model: nn.Module) -> None:
    """Write a model and its manifest (all of it but `weights`); the config comes last, so a half is seen as one."""
    state = model.state_dict()
    table = table_of(state)
    part = weights_part(WEIGHTS, table, digest(chunks(state, table)))
    content = json.loads(sealed({**manifest, "weights": part}))
    write_atomically(folder / WEIGHTS, lambda file: file.writelines(chunks(state, table)))
    write_atomically(folder / CARD, lambda file: file.write(_card(content).encode(errors="backslashreplace")))
    config = json.dumps({**_for_timm(content), "learnkit": content}, indent=1)
    write_atomically(folder / CONFIG, lambda file: file.write(config.encode()))


@contextmanager
def open_folder(folder: Path, sha256: str | None = None) -> Iterator[Export]:
    """Read and verify a folder as `open_export` does a file; `sha256` is that of config.json, which has the weights'.

    Raises:
        MissingFileError, CorruptFileError, VersionError: as `open_export`.
    """
    config, weights = folder / CONFIG, folder / WEIGHTS
    existing_file(config)
    existing_file(weights)
    with config.open("rb") as file:
        check_sha256(file, config, sha256)
        file.seek(0)
        text = file.read(2 * MAX_MANIFEST + 1)
    if len(text) > 2 * MAX_MANIFEST:
        raise CorruptFileError(
            f"{config} is of more than {2 * MAX_MANIFEST:,} bytes", fix="learn.push_to_hub(folder) writes it smaller."
        )
    content = parsed(text, config)
    if not isinstance(content, dict) or "learnkit" not in content:
        raise CorruptFileError(f"{config} holds no learnkit manifest", fix="learn.push_to_hub(folder) writes one.")
    manifest = checked(content["learnkit"], config)
    table, expected = weights_of(manifest, WEIGHTS, config)
    with weights.open("rb") as file:
        if (size := file.seek(0, 2)) != expected.size:
            raise not_complete(weights, size, f"its config.json says {expected.size:,} bytes")
        verify(file, weights, 0, table, expected)
        yield Export(folder, manifest, table, file, 0)


def fetched(repo_id: str) -> Path:
    """The folder "USER/NAME" or "USER/NAME@REVISION" of the hub, fetched or out of the hub's cache.

    Raises:
        UsageError: no such name can be, or the package huggingface_hub is not installed.
        DownloadError: it could not be fetched.
    """
    name, _, revision = repo_id.partition("@")
    hub = _hub(name)
    if not re.fullmatch(r"[A-Za-z0-9._/-]{0,200}", revision):
        raise UsageError("the revision", got=revision, expected="a branch, tag or commit")
    try:
        return Path(hub.snapshot_download(name, revision=revision or None, allow_patterns=[CONFIG, WEIGHTS]))
    except Exception as error:  # no route, offline mode, no such repository, a wrong token
        raise DownloadError(
            f"hf-hub:{repo_id} could not be fetched from the Hugging Face hub ({_first_line(error)})",
            fix="Look for a typing mistake; or pass the path of a local copy of the folder.",
        ) from error


def upload(folder: Path, repo_id: str) -> None:
    """Create the repository "USER/NAME" if it is not there, and upload the three files of the folder.

    Raises:
        UsageError: no such name can be, or the package huggingface_hub is not installed.
        DownloadError: the hub cannot be reached, or refuses.
    """
    hub = _hub(repo_id)
    try:
        api = hub.HfApi()
        api.create_repo(repo_id, exist_ok=True)
        api.upload_folder(repo_id=repo_id, folder_path=str(folder), allow_patterns=[CONFIG, WEIGHTS, CARD])
    except Exception as error:
        raise DownloadError(
            f"{folder} could not be uploaded to {repo_id} ({_first_line(error)})", fix="Log in: hf auth login."
        ) from error


def _hub(repo_id: str) -> Any:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}", repo_id):
        raise UsageError("the repository", got=repo_id, expected='"USER/NAME"')
    try:
        import huggingface_hub
    except ImportError as error:
        raise missing_extra("huggingface_hub", "hub") from error
    return huggingface_hub


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _for_timm(manifest: Manifest) -> dict[str, Any]:
    """What timm and the hub's pages read of a config."""
    args = {step["name"]: step["args"] for step in manifest["transforms"]}
    config: dict[str, Any] = {
        "architecture": manifest["arch"]["name"],
        "num_classes": len(manifest["classes"]),
        "label_names": manifest["classes"],
        "pretrained_cfg": {"num_classes": len(manifest["classes"])},
    }
    if "resize" in args:
        channels = args["to_tensor"]["channels"]
        statistics = args.get("normalize", {"mean": [0.0] * channels, "std": [1.0] * channels})
        config["pretrained_cfg"] |= {
            "input_size": [channels, *args["resize"]["size"]],
            "interpolation": args["resize"]["interpolation"],
            "crop_mode": {"crop": "center", "squish": "squash", "pad": "border"}[args["resize"]["method"]],
            "crop_pct": 1.0,
            **statistics,
        }
    return config


def _card(manifest: Manifest) -> str:
    """A model card: front matter whose values are JSON, which is YAML too, then plain text."""
    tags = ["learnkit", manifest["task"]]
    metrics = manifest["training"]["metrics"]
    lines = [
        "---",
        "library_name: learnkit",
        f"tags: {json.dumps(tags)}",
        *(["pipeline_tag: image-classification"] if manifest["task"] == "classification" else []),
        *(["pipeline_tag: image-segmentation"] if manifest["task"] == "segmentation" else []),
        "---",
        "",
        f"# {_escaped(manifest['arch']['name'])}",
        "",
        f"A model for {manifest['task']}, trained for {manifest['training']['epochs']} epochs with learnkit.",
        "",
        *(["Classes: " + ", ".join(map(_escaped, manifest["classes"])), ""] if manifest["classes"] else []),
        *([f"- {_escaped(name)}: {value:.4g}" for name, value in metrics.items()] + [""] if metrics else []),
        "    from learnkit import load_learner",
        '    learn = load_learner("hf-hub:USER/NAME")  # or the path of this folder',
        "",
        manifest["card"],
    ]
    return "\n".join(lines).rstrip() + "\n"


def _escaped(text: str) -> str:
    """Text that Markdown and HTML show as it is, in one line."""
    marked = re.sub(r"([\\`*_{}\[\]()#+!|~-])", r"\\\1", printable(" ".join(text.split())))
    return html.escape(marked)
