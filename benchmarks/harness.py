"""Times cases side by side: A B C A B C … in one process, medians, and the ratio to a base round by round."""

import contextlib
import gc
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

__all__ = ["Case", "Row", "compare", "report"]

RESULTS = Path(__file__).parent / "results"

Case = Callable[[], Callable[[], object]]  # builds what it needs, untimed, and returns the work to be timed


@dataclass
class Row:
    """One case: seconds of every round, and what the last one returned."""

    name: str
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)  # user and system time, of children too
    result: object = None

    def ratio(self, base: "Row") -> tuple[float, float]:
        """Medians over the rounds of wall and CPU time against the base in the same round: drift cancels out."""
        pairs = [(self.wall, base.wall), (self.cpu, base.cpu)]
        wall, cpu = (statistics.median(a / b for a, b in zip(ours, its, strict=True)) for ours, its in pairs)
        return wall, cpu


def compare(cases: dict[str, Case], *, rounds: int = 7, warm_up: int = 1) -> list[Row]:
    """Run every case once per round. Each round starts at another one, so none always follows the same neighbor."""
    rows = {name: Row(name) for name in cases}
    names = list(cases)
    for i in range(-warm_up, rounds):
        start = i % len(names)
        for name in names[start:] + names[:start]:
            with output_discarded():
                wall, cpu, result = timed(cases[name])
            rows[name].result = result
            if i >= 0:
                rows[name].wall.append(wall)
                rows[name].cpu.append(cpu)
    return list(rows.values())


def timed(case: Case) -> tuple[float, float, object]:
    work = case()
    gc.collect()
    cpu, wall = cpu_seconds(), time.perf_counter()
    result = work()
    return time.perf_counter() - wall, cpu_seconds() - cpu, result


def cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


@contextlib.contextmanager
def output_discarded() -> Iterator[None]:
    """Send everything that is printed, by C code too, to the null device: it is formatted and written, not shown."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    with open(os.devnull, "w") as nowhere:
        try:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, number)
                os.close(copy)


def report(title: str, rows: list[Row], base: str, *, name: str, unit: str = "s", scale: float = 1.0) -> None:
    """Print a table, seconds times `scale` in `unit`, and write its numbers to results/{name}.json."""
    its = next(row for row in rows if row.name == base)
    load = ", ".join(f"{n:.1f}" for n in os.getloadavg())
    lines = [
        f"## {title}",
        f"{len(its.wall)} rounds; ratios to: {base}; load {load}",
        "",
        f"| case | wall {unit} | cpu {unit} | wall ratio | cpu ratio | result |",
        "|---|---|---|---|---|---|",
    ]
    summary = []
    for row in rows:
        wall, cpu = statistics.median(row.wall) * scale, statistics.median(row.cpu) * scale
        wall_ratio, cpu_ratio = row.ratio(its)
        result = f"{row.result:.4f}" if isinstance(row.result, float) else row.result
        lines.append(f"| {row.name} | {wall:.4g} | {cpu:.4g} | {wall_ratio:.3f} | {cpu_ratio:.3f} | {result} |")
        medians = {"median_wall": wall, "median_cpu": cpu, "wall_ratio": wall_ratio, "cpu_ratio": cpu_ratio}
        summary.append({**asdict(row), **medians})
    RESULTS.mkdir(exist_ok=True)
    content = {"title": title, "base": base, "unit": unit, "scale": scale, "rows": summary}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")
    print("\n".join(lines), end="\n\n")
