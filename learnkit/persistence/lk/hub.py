"""Exports as a folder of the Hugging Face hub: model.safetensors, config.json and README.md.

model.safetensors is the export itself; config.json has the keys that timm reads.
"""

import json
import re
from pathlib import Path
from typing import Any

from learnkit.atomic_files import write_atomically
from learnkit.checks import missing_extra
from learnkit.errors import DownloadError, UsageError
from learnkit.json_fields import JsonObject
from learnkit.persistence.lk.file import write_export
from learnkit.persistence.spec import ExportSpec
from learnkit.text import printable

__all__ = ["WEIGHTS", "download", "upload", "write_folder"]

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


def write_folder(folder: Path, spec: ExportSpec) -> None:
    """Write a model as `write_export` does, with its config and its card.

    Raises:
        UsageError, WriteError: as `write_export`.
    """
    manifest = write_export(folder / WEIGHTS, spec)
    write_atomically(folder / CARD, lambda file: file.write(_card(manifest).encode(errors="backslashreplace")))
    config = json.dumps(_timm_config(manifest), indent=1)
    write_atomically(folder / CONFIG, lambda file: file.write(config.encode()))


def download(repo_id: str) -> Path:
    """The folder "USER/NAME" or "USER/NAME@REVISION" of the hub, downloaded or from the hub's cache.

    Raises:
        UsageError: a name that no repository can have, or the package huggingface_hub is not installed.
        DownloadError: it could not be downloaded.
    """
    name, _, revision = repo_id.partition("@")
    hub = _hub(name)
    if not re.fullmatch(r"[A-Za-z0-9._/-]{0,200}", revision):
        raise UsageError("revision", got=revision, expected="a branch, tag or commit")
    try:
        return Path(hub.snapshot_download(name, revision=revision or None, allow_patterns=[CONFIG, WEIGHTS]))
    except Exception as error:  # no route, offline mode, no such repository, a wrong token
        raise DownloadError(
            f"hf-hub:{repo_id} could not be downloaded from the Hugging Face hub ({_first_line(error)})",
            fix="Check the name, or pass the path of a local copy of the folder.",
        ) from error


def upload(folder: Path, repo_id: str) -> None:
    """Create the repository "USER/NAME" if it does not exist, and upload the three files of the folder.

    Raises:
        UsageError: a name that no repository can have, or the package huggingface_hub is not installed.
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
        raise UsageError("repository", got=repo_id, expected='"USER/NAME"')
    try:
        import huggingface_hub
    except ImportError as error:
        raise missing_extra("huggingface_hub", "hub") from error
    return huggingface_hub


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _timm_config(manifest: JsonObject) -> dict[str, Any]:
    """The keys of a config that timm and the pages of the hub read."""
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


def _card(manifest: JsonObject) -> str:
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
        f"# {_escape(manifest['arch']['name'])}",
        "",
        f"A model for {manifest['task']}, trained for {manifest['training']['epochs']} epochs with learnkit.",
        "",
        *(["Classes: " + ", ".join(map(_escape, manifest["classes"])), ""] if manifest["classes"] else []),
        *([f"- {_escape(name)}: {value:.4g}" for name, value in metrics.items()] + [""] if metrics else []),
        "    from learnkit import load_learner",
        '    learn = load_learner("hf-hub:USER/NAME")  # or the path of this folder',
        "",
        manifest["card"],
    ]
    return "\n".join(lines).rstrip() + "\n"


def _escape(text: str) -> str:
    """Text that Markdown and HTML show unchanged, on one line."""
    from html import escape

    marked = re.sub(r"([\\`*_{}\[\]()#+!|~-])", r"\\\1", printable(" ".join(text.split())))
    return escape(marked)
