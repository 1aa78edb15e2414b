"""Caches: items equal what was decoded, files are written atomically, and a full disk or memory is not an error."""

import errno
import hashlib
import multiprocessing
import os
import pickle
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import set_spawning_popen
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from torch import Tensor

from learnkit.data.home import home
from learnkit.data.image import cache
from learnkit.data.image.cache import Kind, Store, build_store, content_key
from learnkit.errors import DataError, ImageError, LearnkitWarning
from tests.doubles import refused

Arrays = tuple[npt.NDArray[Any], ...]
KINDS: tuple[Kind, ...] = ("memory", "disk")
FORMS = ("alike", "sizes", "masks", "floats", "floats and masks")


def item(form: str, index: int) -> Arrays:
    numbers = np.random.default_rng(index)
    side = 5 if form == "alike" else 3 + index % 4
    image: npt.NDArray[Any] = numbers.integers(0, 256, (side, 7, 3), dtype=np.uint8)
    image = image.astype(np.float32) / 255 if "floats" in form else image
    return (image, numbers.integers(0, 9, (side, 7), dtype=np.uint8)) if "masks" in form else (image,)


class Counting:
    """Decodes and counts the calls."""

    def __init__(self, form: str = "sizes") -> None:
        self.form = form
        self.n = 0

    def __call__(self, index: int) -> Arrays:
        self.n += 1
        return item(self.form, index)


def built(kind: Kind, n: int, decode: Callable[[int], Arrays], key: str = "key") -> Store:
    store = build_store(kind, n, decode, key)
    assert store is not None
    return store


def assert_holds(store: Store, form: str, n: int) -> None:
    assert len(store) == n
    for index in range(n):
        expected = item(form, index)
        assert len(store[index]) == len(expected)
        for kept, fresh in zip(store[index], expected, strict=True):
            assert kept.dtype == fresh.dtype
            np.testing.assert_array_equal(kept, fresh)


def in_cache() -> list[str]:
    return sorted(os.listdir(home() / "cache"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n", [1, 300])
def test_a_store_holds_what_was_decoded(kind: Kind, form: str, n: int) -> None:
    decode = Counting(form)
    store = built(kind, n, decode)
    assert decode.n == n
    assert_holds(store, form, n)
    assert_holds(pickle.loads(ForkingPickler.dumps(store)), form, n)


def test_items_of_one_shape_are_available_as_one_array() -> None:
    for kind in KINDS:
        rows = built(kind, 9, Counting("alike"), "alike").rows([4, 0, 4])
        assert rows is not None
        np.testing.assert_array_equal(rows, np.stack([item("alike", index)[0] for index in (4, 0, 4)]))
        rows[:] = 0  # a batch may be overwritten; the cache may not
        assert_holds(built(kind, 9, Counting("alike"), "alike"), "alike", 9)
        for form in ("sizes", "masks"):
            assert built(kind, 9, Counting(form), form).rows([0]) is None


def test_on_disk_a_second_build_decodes_nothing() -> None:
    first, second, other = Counting(), Counting(), Counting()
    built("disk", 20, first)
    assert_holds(built("disk", 20, second), "sizes", 20)
    built("disk", 20, other, "other")
    assert (first.n, second.n, other.n) == (20, 0, 20)
    assert in_cache() == ["key.npz", "key.u8", "other.npz", "other.u8"]


@pytest.mark.parametrize("name", ["key.u8", "key.npz"])
@pytest.mark.parametrize("left", [None, 0, 3, 100, -1])
def test_a_truncated_file_is_built_again(name: str, left: int | None) -> None:
    built("disk", 20, Counting())
    file = home() / "cache" / name
    if left is None:
        file.unlink()
    else:
        os.truncate(file, left if left >= 0 else file.stat().st_size + left)
    decode = Counting()
    assert_holds(built("disk", 20, decode), "sizes", 20)
    assert decode.n == 20
    assert in_cache() == ["key.npz", "key.u8"]


def test_a_file_with_more_bytes_than_the_items_is_built_again() -> None:
    built("disk", 20, Counting())
    file = home() / "cache" / "key.u8"
    os.truncate(file, file.stat().st_size + 5)
    decode = Counting()
    assert_holds(built("disk", 20, decode), "sizes", 20)
    assert decode.n == 20


def test_a_store_on_disk_is_pickled_as_its_path() -> None:
    def big(index: int) -> Arrays:
        return (np.full((100, 100, 3), index, np.uint8),)

    store = built("disk", 50, big)
    content = bytes(ForkingPickler.dumps(store))
    assert len(content) < 1000
    assert pickle.loads(content)[7][0].max() == 7


def build_when_both_are_ready(ready: Any, digests: Any) -> None:
    def decode(index: int) -> Arrays:
        time.sleep(0.002)  # long enough for the two to overlap
        return (np.full((index % 5 + 1, 8, 3), index, np.uint8),)

    ready.wait(60)
    store = built("disk", 60, decode)
    digests.put(hashlib.sha256(b"".join(store[i][0].tobytes() for i in range(60))).hexdigest())


def test_two_processes_may_build_at_once() -> None:
    context = multiprocessing.get_context("fork")
    ready, digests = context.Barrier(2), context.SimpleQueue()
    running = [context.Process(target=build_when_both_are_ready, args=(ready, digests)) for _ in range(2)]
    for process in running:
        process.start()
    for process in running:
        process.join(60)
    assert [process.exitcode for process in running] == [0, 0]
    expected = b"".join(bytes([i]) * (24 * (i % 5 + 1)) for i in range(60))
    assert {digests.get(), digests.get()} == {hashlib.sha256(expected).hexdigest()}
    assert in_cache() == ["key.npz", "key.u8"]


def test_too_little_room_on_disk_is_reported_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.warns(LearnkitWarning, match=r"cannot hold it \(it needs .* are free\); files are read directly"):
        assert build_store("disk", 20, Counting(), "key") is None
    assert in_cache() == []


def test_too_little_room_is_noticed_before_everything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=500_000))
    monkeypatch.setattr(cache, "free_memory", lambda: 500_000)
    for kind in KINDS:
        decode = Counting("alike")  # 105 bytes each
        with pytest.warns(LearnkitWarning, match="files are read directly"):
            assert build_store(kind, 5000, decode, "key") is None
        assert decode.n <= 256


def test_too_little_room_in_memory_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "free_memory", lambda: 1000)
    with pytest.warns(LearnkitWarning, match="memory cannot hold it .it needs"):
        assert build_store("memory", 20, Counting(), "key") is None


def test_a_tenth_is_left_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "free_memory", lambda: 2400)
    assert build_store("memory", 20, Counting("alike"), "key") is not None  # 2100 bytes
    monkeypatch.setattr(cache, "free_memory", lambda: 2300)
    with pytest.warns(LearnkitWarning):
        assert build_store("memory", 20, Counting("alike"), "key") is None


def test_a_full_disk_is_reported_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.warns(LearnkitWarning, match=r"cannot hold it \(.*No space left on device\); files are read directly"):
        assert build_store("disk", 20, Counting(), "key") is None
    assert in_cache() == []


def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LEARNKIT_HOME", str(tmp_path / "file"))
    with pytest.warns(LearnkitWarning, match=r"cache='disk': .*file/cache cannot hold it"):
        assert build_store("disk", 3, Counting(), "key") is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [ImageError("a.png cannot be read"), DataError("m.png: values"), OSError("decoder")])
def test_an_error_of_decoding_is_raised_unchanged(kind: Kind, error: Exception) -> None:
    def decode(index: int) -> Arrays:
        if index == 150:
            raise error
        return item("sizes", index)

    with pytest.raises(type(error)) as caught:
        build_store(kind, 200, decode, "key")
    assert caught.value is error
    if kind == "disk":
        assert in_cache() == []


@pytest.mark.parametrize("kind", KINDS)
def test_items_of_several_dtypes_are_refused(kind: Kind) -> None:
    with refused("dtypes of item 3", DataError, got=["|u1"], expected="['<f4'], as of the others"):
        build_store(kind, 5, lambda index: item("alike" if index == 3 else "floats", index), "key")


@pytest.mark.parametrize("kind", ["ram", None, True])
def test_an_unknown_kind_is_refused(kind: Any) -> None:
    with refused("cache", got=kind):
        build_store(kind, 1, Counting(), "key")


def test_a_key_depends_on_the_files_their_content_and_how_they_are_decoded(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1"), two.write_text("2")
    files = [str(one), str(two)]
    key = content_key(files, "how")
    assert content_key(["one", "two"], "how") == key  # from this folder
    others = {content_key(files, "else"), content_key(files[:1], "how"), content_key(files[::-1], "how")}
    os.utime(one, ns=(1, 1))
    others.add(content_key(files, "how"))
    one.write_text("longer")
    os.utime(one, ns=(1, 1))
    others.add(content_key(files, "how"))
    one.unlink()
    others.add(content_key(files, "how"))
    assert len(others - {key}) == 6


class Sent:
    """The number of an open file, as a spawned process gets it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def detach(self) -> int:
        return self.fd


SPAWNING = SimpleNamespace(duplicate_for_child=os.dup, DupFd=Sent)  # what multiprocessing asks while it spawns


@pytest.fixture
def spawning() -> Iterator[None]:
    set_spawning_popen(SPAWNING)
    yield
    set_spawning_popen(None)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere torch shares memory by another name")
def test_spawned_workers_map_the_same_memory(spawning: None) -> None:
    store = build_store("memory", 3, lambda i: (np.full((20, 20, 3), i, np.uint8),), "")
    assert store is not None
    expected = [store[i][0].copy() for i in range(3)]
    sent = ForkingPickler.dumps(store)
    assert len(sent) < 3 * 20 * 20 * 3  # a handle, not the pixels
    there = pickle.loads(sent)
    again = pickle.loads(ForkingPickler.dumps(store))
    for one in (store, there, again):
        assert all(np.array_equal(one[i][0], expected[i]) for i in range(3))
        assert np.array_equal(one.rows([2, 0]), [expected[2], expected[0]])
    there.data[0] = 99
    assert store.data[0] == again.data[0] == 99


def test_without_room_for_shared_memory_a_copy_is_sent(spawning: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Tensor) -> Tensor:
        raise RuntimeError("unable to allocate shared memory")

    monkeypatch.setattr(Tensor, "share_memory_", refuse)
    store = build_store("memory", 2, lambda i: (np.full((20, 20, 3), i, np.uint8),), "")
    there = pickle.loads(ForkingPickler.dumps(store))
    assert there[1][0].tolist() == np.full((20, 20, 3), 1).tolist()
