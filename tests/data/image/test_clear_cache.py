"""Emptying the cache on disk, the least recently used first."""

import os
from typing import Any

import numpy as np
import pytest

from learnkit import clear_cache
from learnkit.data.home import home
from learnkit.data.image.cache import build_store
from tests.doubles import refused


def built(key: str) -> Any:
    return build_store("disk", 4, lambda i: (np.full((10, 10, 3), i, np.uint8),), key)


def in_cache() -> list[str]:
    return sorted(os.listdir(home() / "cache"))


def size() -> int:
    return sum(file.stat().st_size for file in (home() / "cache").iterdir())


def test_everything_is_deleted_and_built_again() -> None:
    store = built("a")
    built("b")
    before = size()
    (home() / "cache" / "orphan.u8").write_bytes(b"12")
    assert clear_cache() == before + 2
    assert in_cache() == []
    assert store[3][0].max() == 3  # what is open stays
    assert built("a")[3][0].max() == 3


def test_what_was_used_last_is_kept() -> None:
    for age, key in enumerate("abc"):
        built(key)
        os.utime(home() / "cache" / f"{key}.npz", (age, age))
    one = size() // 3
    built("a")  # used again, and so the last
    assert clear_cache(max_bytes=2 * one) == one
    assert in_cache() == ["a.npz", "a.u8", "c.npz", "c.u8"]
    assert clear_cache(max_bytes=10**12) == 0
    assert clear_cache(one) == one
    assert in_cache() == ["a.npz", "a.u8"]


def test_without_a_cache_there_is_nothing_to_do() -> None:
    assert clear_cache() == 0


@pytest.mark.parametrize("wrong", [-1, 0.5, "1 GB", True, None])
def test_what_is_no_size_is_refused(wrong: Any) -> None:
    with refused("max_bytes", got=wrong):
        clear_cache(wrong)
