"""The 9 nearest of a million rows by cosine distance: learnkit's exact search against others, in turn: A B C A B C.

Each case runs in a process of its own, which makes the rows, and reports the seconds of its first answer and of the
next, and the memory that it took beyond the rows. `pip install faiss-cpu` for one of the cases.
"""

import importlib.util
import os
import resource
import statistics
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.harness import Result, options
from learnkit.neighbors import nearest

Search = Callable[[Tensor], list[int]]  # a query (1, D) -> its neighbors
OURS, TORCH = "learnkit", "torch: normalize, @, topk"


def by_learnkit(bank: Tensor, k: int) -> Search:
    return lambda query: nearest(query, bank, k)[1][0].tolist()  # type: ignore[no-any-return]


def by_torch(bank: Tensor, k: int) -> Search:
    return lambda query: (normalize(query) @ normalize(bank).T).topk(k).indices[0].tolist()  # type: ignore[no-any-return]


def by_scikit_learn(bank: Tensor, k: int) -> Search:
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(bank.numpy())
    return lambda query: index.kneighbors(query.numpy())[1][0].tolist()  # type: ignore[no-any-return]


def by_faiss(bank: Tensor, k: int) -> Search:
    import faiss

    index = faiss.IndexFlatIP(bank.shape[1])
    index.add(normalize(bank).numpy())
    return lambda query: index.search(normalize(query).numpy(), k)[1][0].tolist()  # type: ignore[no-any-return]


CASES = {OURS: by_learnkit, TORCH: by_torch, "scikit-learn, brute": by_scikit_learn, "faiss, IndexFlatIP": by_faiss}


def measured(name: str, n: int, d: int, k: int, threads: int) -> tuple[float, float, float, float, list[int]]:
    """Seconds of the first answer and of the next, its CPU seconds, megabytes beyond the rows, and the answer."""
    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    bank = torch.rand(n, d, generator=torch.Generator().manual_seed(0))
    query = torch.rand(1, d, generator=torch.Generator().manual_seed(1))
    CASES[name](bank[:1000], min(k, 1000))(query)  # imports
    before = resident()
    begin = time.perf_counter()
    search = CASES[name](bank, k)
    search(query)
    first, begin, cpu = time.perf_counter() - begin, time.perf_counter(), time.process_time()
    found = search(query)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return first, seconds, cpu, max(peak - before, 0) / 1e6, found


def resident() -> int:
    """Bytes of memory that this process has now."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def results(arguments: Sequence[str] | None = None) -> list[Result]:
    """Print what was found."""
    quick = {"rounds": 1, "n": 2000, "d": 16}
    args = options(__doc__, quick, arguments, rounds=3, n=1_000_000, d=512, k=9, threads=1)
    found = rows_of(args)
    print(f"the {args.k} nearest of {args.n:,} x {args.d} float32, {args.threads} threads, {args.rounds} rounds\n")
    print("| case | first answer, s | next answer, s | CPU, s | memory beyond the rows, MB | same answer |")
    print("|---|---|---|---|---|---|")
    expected = found[OURS][0][4]
    for name, rounds in found.items():
        first, seconds, cpu, megabytes = (statistics.median(one[i] for one in rounds) for i in range(4))  # type: ignore[misc]
        is_same = "yes" if all(one[4] == expected for one in rounds) else "no"
        print(f"| {name} | {first:.2f} | {seconds:.2f} | {cpu:.2f} | {megabytes:.0f} | {is_same} |")

    def ratio(name: str, base: str = TORCH) -> tuple[float, float]:
        pairs = list(zip(found[name], found[base], strict=True))
        wall, cpu = (statistics.median(a[i] / max(b[i], 1e-9) for a, b in pairs) for i in (1, 2))
        return float(wall), float(cpu)

    value, base = (float(np.median([one[1] for one in found[name]])) for name in (OURS, TORCH))
    task = f"the {args.k} nearest of {args.n:,} x {args.d}"
    peers = {name: ratio(name) for name in found if name not in (OURS, TORCH)}
    return [Result(task, value, "s", 1.0, TORCH, base, ratio(OURS), None, peers)]


def rows_of(args: Namespace) -> dict[str, list[tuple[float, float, float, float, list[int]]]]:
    """What each case measured in each round."""
    names = [name for name in CASES if "faiss" not in name or importlib.util.find_spec("faiss")]
    found: dict[str, list[tuple[float, float, float, float, list[int]]]] = {name: [] for name in names}
    for _ in range(args.rounds):
        for name in names:
            with ProcessPoolExecutor(1, get_context("spawn")) as process:
                job = process.submit(measured, name, args.n, args.d, args.k, args.threads)
                found[name].append(job.result())
    return found


if __name__ == "__main__":
    results()
