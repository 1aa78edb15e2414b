"""Print versions, devices and settings: what a bug report needs."""

import argparse
import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import learnkit
from learnkit.cli.output import print_line
from learnkit.device import usable_cpus
from learnkit.device_memory import free_memory

__all__ = ["add_arguments", "run"]

PACKAGES = (
    "torchvision", "numpy", "pandas", "pillow", "safetensors", "fastprogress", "matplotlib", "jinja2", "timm",
    "jsonargparse", "pyyaml", "onnx", "onnxruntime", "onnxscript", "litdata", "pyarrow", "huggingface_hub",
    "torchmetrics", "transformers", "datasets", "tensorboard", "wandb", "mlflow-skinny", "optuna",
)  # fmt: skip
# Names are listed, never found by a pattern: many variables hold tokens.
VARIABLES = (
    "LEARNKIT_DEVICE", "LEARNKIT_HOME", "LEARNKIT_PROGRESS", "LEARNKIT_LOG", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS",
    "MKL_NUM_THREADS", "PYTORCH_ENABLE_MPS_FALLBACK", "PYTORCH_CUDA_ALLOC_CONF", "CUBLAS_WORKSPACE_CONFIG",
    "TORCH_HOME", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "XDG_CACHE_HOME", "MPLBACKEND", "TQDM_DISABLE",
    "NO_COLOR", "CI", "RANK", "LOCAL_RANK", "WORLD_SIZE", "PYTHONPATH",
)  # fmt: skip
GB = 1e9
MOST_BYTES = 1 << 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of `learnkit env`: none."""


def run(args: argparse.Namespace) -> int:
    """Print one fact a line; returns 0."""
    for name, fact in _facts():
        print_line(f"{name}: {fact}")
    return 0


def _facts() -> Iterator[tuple[str, str]]:
    yield "learnkit", f"{learnkit.__version__} in {Path(learnkit.__file__).parent}"
    yield "python", f"{platform.python_version()} ({sys.executable})"
    yield "system", f"{platform.platform()}, {platform.machine()}"
    free = free_memory()
    memory = f", {free / GB:.1f} GB free memory" if free < MOST_BYTES else ""  # known
    yield "cpu", f"{usable_cpus()} of {os.cpu_count()} cores{memory}"
    builds = [f"{name} {of}" for name, of in vars(torch.version).items() if name.isalpha() and isinstance(of, str)]
    yield "torch", f"{torch.__version__} ({', '.join(builds) or 'cpu'}), {torch.get_num_threads()} threads"
    yield from _devices()
    for package in PACKAGES:
        yield package, _version(package)
    for variable in VARIABLES:
        if variable in os.environ:
            yield variable, os.environ[variable]


def _devices() -> Iterator[tuple[str, str]]:
    found = torch.accelerator.current_accelerator(check_available=True)
    if found is None:
        yield "devices", "cpu"
        return
    of_kind = torch.get_device_module(found)
    for number in range(torch.accelerator.device_count()):
        try:
            properties = of_kind.get_device_properties(number)
            yield f"{found.type}:{number}", f"{properties.name}, {properties.total_memory / GB:.1f} GB"
        except (AttributeError, RuntimeError) as error:  # a kind that tells less, or a driver that fails
            yield f"{found.type}:{number}", f"properties are not known ({error})"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
