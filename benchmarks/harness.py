"""Times cases side by side: A B C A B C … in one process, medians, and the ratio to a base round by round."""

import argparse
import contextlib
import gc
import importlib
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Case", "Result", "Row", "compare", "measured", "options", "report", "result", "table"]

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


@dataclass(frozen=True)
class Result:
    """What a script found, a row of the table of `python -m benchmarks`.

    Attributes:
        task: what was measured.
        value: of learnkit, the median over the rounds.
        unit: of `value` and of `base`.
        goal: what the ratio of wall times should be at most, or `value` if there is no base; None without a goal.
        against: the name of the base.
        base: the median of the base.
        ratio: the medians over the rounds of learnkit's wall and CPU time over those of the base in the same round;
            other work on the machine changes CPU time less.
        control: the same ratios of the base to itself; how far they are from 1 is the noise.
        peers: the same ratios of others to the base.
    """

    task: str
    value: float
    unit: str
    goal: float | None = None
    against: str = ""
    base: float | None = None
    ratio: tuple[float, float] | None = None
    control: tuple[float, float] | None = None
    peers: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def is_reached(self) -> bool | None:
        """Whether the goal is; None without one."""
        found = self.value if self.ratio is None else self.ratio[0]
        return None if self.goal is None else found <= self.goal


def options(
    description: str | None, quick: Mapping[str, Any], arguments: Sequence[str] | None, **defaults: Any
) -> argparse.Namespace:
    """What the command line says of a script's numbers and names; all have a default.

    Args:
        description: of the script.
        quick: the defaults under `--quick`, with which a run takes a second and its figures mean nothing.
        arguments: the command line; None for that of this process.
        defaults: a number or a name each.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run?")
    for name, value in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, help="default: %(default)s")
    if parser.parse_known_args(arguments)[0].quick:
        parser.set_defaults(**quick)
    return parser.parse_args(arguments)


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


def result(
    task: str,
    rows: Sequence[Row],
    base: str,
    ours: str,
    control: str,
    *,
    unit: str,
    scale: float = 1.0,
    goal: float | None = None,
    peers: Mapping[str, str] | None = None,
) -> Result:
    """The row of the table for these cases; `base`, `ours`, `control` and the values of `peers` name cases."""
    named = {row.name: row for row in rows}
    its = named[base]
    present = {peer: case for peer, case in (peers or {}).items() if case in named and case != base}
    value, of_base = (statistics.median(named[case].wall) * scale for case in (ours, base))
    others = {peer: named[case].ratio(its) for peer, case in present.items()}
    return Result(task, value, unit, goal, base, of_base, named[ours].ratio(its), named[control].ratio(its), others)


def measured(script: str, arguments: Sequence[str]) -> list[Result]:
    """The rows of one script."""
    found: list[Result] = importlib.import_module(f"benchmarks.{script}").results(arguments)
    return found


def table(results: Sequence[Result]) -> str:
    """Results as a Markdown table; of two ratios the second is that of CPU times."""
    lines = [
        "| task | learnkit | base | ratio, CPU ratio | A/A control | goal | peers' ratios |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in results:
        base = "" if one.base is None else f"{one.base:.3g} {one.unit}: {one.against}"
        ratios = ["" if pair is None else f"{pair[0]:.3f}, {pair[1]:.3f}" for pair in (one.ratio, one.control)]
        unit = "" if one.ratio else f" {one.unit}"
        verdict = {None: "", True: " reached", False: " missed"}[one.is_reached]
        goal = "" if one.goal is None else f"≤ {one.goal:.3g}{unit}{verdict}"
        peers = "; ".join(f"{name} {wall:.2f}, {cpu:.2f}" for name, (wall, cpu) in one.peers.items())
        cells = [one.task, f"{one.value:.3g} {one.unit}", base, *ratios, goal, peers]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


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
        shown = f"{row.result:.4f}" if isinstance(row.result, float) else row.result
        lines.append(f"| {row.name} | {wall:.4g} | {cpu:.4g} | {wall_ratio:.3f} | {cpu_ratio:.3f} | {shown} |")
        medians = {"median_wall": wall, "median_cpu": cpu, "wall_ratio": wall_ratio, "cpu_ratio": cpu_ratio}
        summary.append({**asdict(row), **medians})
    RESULTS.mkdir(exist_ok=True)
    content = {"title": title, "base": base, "unit": unit, "scale": scale, "rows": summary}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")
    print("\n".join(lines), end="\n\n")
