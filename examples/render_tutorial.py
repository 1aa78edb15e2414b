"""Run the cells of a script one after another, and write their output as a page with figures.

    python examples/render_tutorial.py tutorial --out docs/tutorials

Cells are separated by `# %%`; text begins with `# %% [markdown]`. As in a notebook, the value of a cell's last line is
shown: figures as images, tables as tables, anything else as text.
"""

import argparse
import ast
import io
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def cells(source: str) -> list[tuple[bool, str]]:
    """(whether it is text, its lines) for each cell."""
    parts = re.split(r"^# %%", source, flags=re.MULTILINE)[1:]
    found = []
    for part in parts:
        head, _, body = part.partition("\n")
        is_text = "[markdown]" in head
        lines = body.strip("\n").split("\n")
        found.append(
            (is_text, "\n".join(line.removeprefix("#").removeprefix(" ") if is_text else line for line in lines))
        )
    return found


def run(code: str, names: dict[str, Any]) -> tuple[str, Any]:
    """(the cell's printed output, the value of its last line or None)."""
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(tree, "tutorial.py", "exec"), names)
        value = None if last is None else eval(compile(ast.Expression(last.value), "tutorial.py", "eval"), names)
    return printed.getvalue(), value


def shown(value: Any, figure: Path) -> str:
    """A value as Markdown; figures are saved at `figure`, in few colors."""
    import pandas as pd
    from matplotlib.figure import Figure
    from PIL import Image

    if isinstance(value, Figure):
        value.savefig(figure, dpi=80, bbox_inches="tight")
        with Image.open(figure) as image:
            few = image.convert("RGB").quantize(96, dither=Image.Dither.NONE)
        few.save(figure, optimize=True)
        return f"![{figure.stem}](images/{figure.parent.name}/{figure.name})"
    if isinstance(value, pd.DataFrame):
        header = ["", *map(str, value.columns)]
        rows = [[str(cell) for cell in row] for row in value.itertuples()]
        return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows])
    return f"```text\n{value}\n```"


HIDDEN = """<!-- hidden
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
-->"""


def main() -> None:
    """Write OUT/NAME.md and its figures."""
    parser = argparse.ArgumentParser(description="Run a tutorial and write its page.")
    parser.add_argument("name", choices=["tutorial", "better_model"], help="the script, without .py")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "tutorials")
    args = parser.parse_args()
    figures = args.out / "images" / args.name
    figures.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(HERE))
    names: dict[str, Any] = {}
    page = [f"<!-- Written by examples/render_tutorial.py from examples/{args.name}.py. -->", HIDDEN]
    for number, (is_text, body) in enumerate(cells((HERE / f"{args.name}.py").read_text(encoding="utf-8"))):
        if is_text:
            page.append(body)
            continue
        page.append(f"```python\n{body}\n```")
        printed, value = run(body, names)
        if printed.strip():
            page.append(f"```text\n{printed.strip()}\n```")
        if value is not None:
            page.append(shown(value, figures / f"{number:02d}.png"))
    (args.out / f"{args.name}.md").write_text("\n\n".join(page) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
