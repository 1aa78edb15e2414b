"""Draw docs/images/floors.svg: the packages of learnkit, each above everything it imports.

    python docs/draw_floors.py

The floors are read off the imports in the code. A line goes from a package to one it imports; a line that another
package already implies (a imports b, b imports c: a to c) is left out.
"""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1] / "learnkit"
DIAGRAM = Path(__file__).parent / "images" / "floors.svg"
WIDTH, ROW, BOX, GAP = 1160, 78, 40, 14  # pixels
COLORS = ["#e8eef7", "#e4f1ea", "#fbf3df", "#f8e8e4"]


def units() -> dict[str, list[Path]]:
    """The files of each package or module directly below learnkit; what only re-exports names is left out."""
    found: dict[str, list[Path]] = {}
    for file in sorted(ROOT.rglob("*.py")):
        name = file.relative_to(ROOT).with_suffix("").parts[0]
        if name not in {"__init__", "__main__", "schedules", "splits", "transforms"}:
            found.setdefault(name, []).append(file)
    return found


def imported_units(file: Path, names: set[str]) -> set[str]:
    """Which packages a file imports from, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("learnkit."):
            found.add(node.module.split(".")[1])
    return found & names


def graph() -> dict[str, set[str]]:
    """What each package imports."""
    files = units()
    names = set(files)
    return {name: set().union(*(imported_units(file, names) for file in own)) - {name} for name, own in files.items()}


def floors(imports: dict[str, set[str]]) -> list[list[str]]:
    """The packages from the ground up: each one floor above the highest of those it imports."""
    level: dict[str, int] = {}
    for name in TopologicalSorter(imports).static_order():
        level[name] = 1 + max((level[other] for other in imports[name]), default=-1)
    return [sorted(name for name in level if level[name] == n) for n in range(max(level.values()) + 1)]


def direct(imports: dict[str, set[str]]) -> dict[str, set[str]]:
    """The imports that no longer path implies."""
    below: dict[str, set[str]] = {}
    for name in TopologicalSorter(imports).static_order():
        below[name] = imports[name].union(*(below[other] for other in imports[name]))
    return {name: {a for a in own if not any(a in below[b] for b in own)} for name, own in imports.items()}


def drawing() -> str:
    """The diagram as SVG text."""
    imports, files = graph(), units()
    rows = floors(imports)
    height = ROW * len(rows) + 20
    center: dict[str, tuple[float, float]] = {}
    boxes = []
    for level, names in enumerate(rows):
        y = height - ROW * (level + 1)
        width = min(150.0, (WIDTH - 20) / len(names) - GAP)
        start = (WIDTH - len(names) * (width + GAP) + GAP) / 2
        for place, name in enumerate(names):
            x = start + place * (width + GAP)
            center[name] = (x + width / 2, y + BOX / 2)
            lines = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files[name])
            n = len(files[name])
            what = f"{n} file{'s' * (n > 1)}, {lines:,} lines" if width > 120 else f"{lines:,} lines"
            boxes.append(
                f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{BOX}" rx="6" '
                f'fill="{COLORS[level % len(COLORS)]}" stroke="#5b6470"/>'
                f'<text x="{x + width / 2:.0f}" y="{y + 17}" font-weight="600">{name}</text>'
                f'<text x="{x + width / 2:.0f}" y="{y + 32}" font-size="11" fill="#555">{what}</text>'
            )
    lines_drawn = [
        f'<line x1="{center[a][0]:.0f}" y1="{center[a][1] + BOX / 2:.0f}" '
        f'x2="{center[b][0]:.0f}" y2="{center[b][1] - BOX / 2:.0f}"/>'
        for a, others in sorted(direct(imports).items())
        for b in sorted(others)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
            'aria-label="The packages of learnkit, each above what it imports" '
            'font-family="system-ui, sans-serif" font-size="13" text-anchor="middle">',
            f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
            f'<g stroke="#9aa4b1" stroke-width="1">{"".join(lines_drawn)}</g>',
            *boxes,
            "</svg>",
        ]
    )


if __name__ == "__main__":
    DIAGRAM.write_text(drawing() + "\n", encoding="utf-8")
