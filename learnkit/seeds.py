"""Randomness as a function of coordinates (seed, stream, epoch, index), never of history.

Equal coordinates give equal numbers whatever ran before, so results do not depend on the number of workers,
and a fit is resumed from two integers. The mixer is SplitMix64 (Steele, Lea, Flood: Fast splittable
pseudorandom number generators, OOPSLA 2014).
"""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = [
    "CPU",
    "Stream",
    "derive",
    "device_rng_state",
    "generator",
    "preserve_all_rng",
    "preserve_rng",
    "rng_state",
    "seed_all",
    "seed_from_global_rng",
    "seed_generators",
    "set_device_rng_state",
    "set_rng_state",
    "uniforms",
]

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1, _MIX_2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
WITHOUT_GENERATORS = ("cpu", "meta")  # of their own: that of the CPU is torch.default_generator
CPU = torch.device("cpu")  # to compare with: `device.type` is a new text each time, which takes ten times as long


class Stream(IntEnum):
    """The purpose of a random number: equal coordinates in two streams give unrelated numbers."""

    ORDER = 1
    AUGMENT = 2
    STEP = 3
    INIT = 4
    SPLIT = 5
    LR_FIND = 6
    CROP = 7
    ITEM = 8
    VALID = 9


def derive(seed: int, stream: Stream, *coordinates: int) -> int:
    """A seed in [0, 2**63) for these coordinates.

    >>> derive(42, Stream.ORDER, 0) == derive(42, Stream.ORDER, 0) != derive(42, Stream.ORDER, 1)
    True
    """
    z = seed & _MASK
    for coordinate in (stream, *coordinates):
        z = (z + _GOLDEN * (2 * coordinate + 1)) & _MASK
        z = ((z ^ (z >> 30)) * _MIX_1) & _MASK
        z = ((z ^ (z >> 27)) * _MIX_2) & _MASK
        z ^= z >> 31
    return z >> 1


def uniforms(seed: int, stream: Stream, epoch: int, indices: npt.ArrayLike, n: int) -> npt.NDArray[np.float32]:
    """`n` numbers in [0, 1) per item, float32 (len(indices), n): a row depends only on its own index.

    >>> a, b = uniforms(0, Stream.AUGMENT, 3, [7, 5], 4), uniforms(0, Stream.AUGMENT, 3, [5], 4)
    >>> bool((a[1] == b[0]).all())
    True
    """
    base = np.uint64(derive(seed, stream, epoch))
    with np.errstate(over="ignore"):
        items = _mixed(base + np.asarray(indices, dtype=np.uint64) * np.uint64(_GOLDEN))
        numbers = _mixed(items[:, None] + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(_GOLDEN))
    return (numbers >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def _mixed(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_MIX_1)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_MIX_2)
    return z ^ (z >> np.uint64(31))


def generator(seed: int, stream: Stream, *coordinates: int) -> torch.Generator:
    """A private CPU generator at these coordinates."""
    return torch.Generator().manual_seed(derive(seed, stream, *coordinates))


def seed_from_global_rng() -> int:
    """The default seed, derived from torch's global generator without moving it.

    So `torch.manual_seed(0)` at the top of a script makes the whole run reproducible.
    """
    state = torch.get_rng_state().numpy().tobytes()
    return int.from_bytes(hashlib.sha256(state).digest()[:4], "big")


def seed_all(seed: int) -> None:
    """Seed the global generators of torch's CPU, NumPy and Python; `preserve_all_rng` restores them."""
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed torch's global generators of the CPU and of exactly this device; `torch.manual_seed` seeds all devices."""
    torch.default_generator.manual_seed(seed)
    if device == CPU or device.type in WITHOUT_GENERATORS:
        return
    module = torch.get_device_module(device)
    generators = getattr(module, "default_generators", None)
    if generators is None or device.index is None:
        module.manual_seed(seed)  # that of the current device
    else:
        generators[device.index].manual_seed(seed)


def device_rng_state(device: torch.device) -> Tensor | None:
    """The state of exactly this device's global generator; None for the CPU, whose state is in `rng_state`."""
    return None if device.type in WITHOUT_GENERATORS else torch.get_device_module(device).get_rng_state(device)


def set_device_rng_state(state: Tensor | None, device: torch.device) -> None:
    """Restore exactly this device's global generator to what `device_rng_state` returned; None changes nothing."""
    if state is not None:
        torch.get_device_module(device).set_rng_state(state, device)


def rng_state() -> dict[str, Any]:
    """The state of the global generators of torch's CPU, NumPy and Python, in plain values and tensors."""
    name, keys, *rest = np.random.get_state(legacy=True)
    version, numbers, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "numpy": (name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest),
        "python": (version, torch.tensor(numbers), gauss),
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Restore the global generators to what `rng_state` returned."""
    torch.set_rng_state(state["torch"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers.tolist()), gauss))


class preserve_rng:  # noqa: N801  # a context manager; as a generator it would take twice as long
    """Restore torch's global CPU generator afterwards, also after an error."""

    def __enter__(self) -> None:
        self._state = torch.default_generator.get_state()

    def __exit__(self, *error: object) -> None:
        torch.default_generator.set_state(self._state)


@contextmanager
def preserve_all_rng() -> Iterator[None]:
    """Restore the global generators of torch's CPU, NumPy and Python afterwards, also after an error."""
    of_numpy, of_python = np.random.get_state(), random.getstate()
    try:
        with preserve_rng():
            yield
    finally:
        np.random.set_state(of_numpy)
        random.setstate(of_python)
