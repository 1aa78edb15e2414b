"""Memory of a device: on the CPU nothing is tracked, and errors of running out are recognized."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from learnkit import device_memory
from learnkit.device_memory import empty_cache, free_memory, is_out_of_memory, peak_memory, reset_peak_memory
from learnkit.errors import ProcessError

CPU, ACCELERATOR = torch.device("cpu"), torch.device("cuda", 1)


def module_of(monkeypatch: pytest.MonkeyPatch, **functions: Any) -> None:
    """Let an accelerator's module of torch have these functions only."""
    monkeypatch.setattr(torch, "get_device_module", lambda device: SimpleNamespace(**functions))


def test_the_cpu_does_not_track_its_memory() -> None:
    assert peak_memory(CPU) is None
    reset_peak_memory(CPU)
    empty_cache(CPU)


def test_an_accelerator_reports_its_own_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    module_of(
        monkeypatch,
        max_memory_allocated=lambda device: 1000 + device.index,
        reset_peak_memory_stats=calls.append,
        empty_cache=lambda: calls.append("emptied"),
    )
    assert peak_memory(ACCELERATOR) == 1001
    reset_peak_memory(ACCELERATOR)
    empty_cache(ACCELERATOR)
    assert calls == [ACCELERATOR, "emptied"]


def test_an_accelerator_that_does_not_track_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    module_of(monkeypatch)
    assert peak_memory(ACCELERATOR) is None
    reset_peak_memory(ACCELERATOR)
    empty_cache(ACCELERATOR)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 15.78 GiB total capacity)"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA driver error: out of memory"),
        RuntimeError("HIP out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1.00 GB)"),
        RuntimeError("XPU out of memory, please use `empty_cache` to release all unoccupied cached memory."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`"),
        RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"),
        RuntimeError("level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"),
    ],
)
def test_running_out_of_memory_is_recognized(error: BaseException) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("shape"),
        RuntimeError("this batch would be out of memory"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"),
        ValueError("CUDA out of memory"),
        ProcessError("process 1 failed: CUDA out of memory. Tried to allocate 2.00 GiB"),
        KeyboardInterrupt(),
    ],
)
def test_other_errors_are_not_mistaken_for_it(error: BaseException) -> None:
    assert not is_out_of_memory(error)


def test_an_allocation_too_large_for_the_machine_is_recognized() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="only Linux says how much memory is free")
def test_free_memory_is_less_than_the_machine_has() -> None:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for device in (None, torch.device("cpu")):
        assert 1_000_000 < free_memory(device) < total


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="only Linux says how much memory is free")
@pytest.mark.parametrize("files", ["inactive_file", "total_inactive_file"])
def test_free_memory_is_within_the_limit_of_a_container(
    files: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit, used, parts = (tmp_path / name for name in ("limit", "used", "parts"))
    monkeypatch.setattr(device_memory, "GROUPS", [tuple(map(str, (limit, used, parts)))])
    outside = free_memory()
    used.write_text("700000\n")
    parts.write_text(f"anon 1\ninactive_file 0\n{files} 100000\n")
    for text, expected in (("1000000\n", 400_000), ("650000\n", 50_000), ("500000\n", 0)):
        limit.write_text(text)
        assert free_memory() == expected
    limit.write_text("max\n")
    assert free_memory() > outside / 2


def test_free_memory_is_that_of_the_machine_or_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 2**20 < free_memory(CPU) <= 2**62
    asked = []

    def mem_get_info(device: torch.device) -> tuple[int, int]:
        asked.append(device)
        return 300, 500

    monkeypatch.setattr(getattr(torch, ACCELERATOR.type), "mem_get_info", mem_get_info)
    assert free_memory(ACCELERATOR) == 300
    assert asked == [ACCELERATOR]
    assert free_memory(torch.device("meta")) == 2**62  # a backend that does not say
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "MemTotal: 9 kB\nMemAvailable:    7 kB\n")
    assert free_memory(CPU) == 7 * 1024
