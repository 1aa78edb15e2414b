"""Run the cells of tutorial.py one after the other, and write what they show as a page with pictures.

    python examples/render_tutorial.py --out docs

The cells are separated by `# %%`, texts begin with `# %% [markdown]`. As in a notebook, the value of a cell's last line
is shown: figures as pictures, tables as tables, anything else as text.
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
    """(is it a text?, its lines) for each cell."""
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
    """(what the cell printed, the value of its last line or None)."""
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(tree, "tutorial.py", "exec"), names)
        value = None if last is None else eval(compile(ast.Expression(last.value), "tutorial.py", "eval"), names)
    return printed.getvalue(), value


def shown(value: Any, picture: Path) -> str:
    """A value as Markdown; figures are saved at `picture`."""
    import pandas as pd
    from matplotlib.figure import Figure

    if isinstance(value, Figure):
        value.savefig(picture, dpi=80, bbox_inches="tight")
        return f"![{picture.stem}](images/tutorial/{picture.name})"
    if isinstance(value, pd.DataFrame):
        header = ["", *map(str, value.columns)]
        rows = [[str(cell) for cell in row] for row in value.itertuples()]
        return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows])
    return f"```text\n{value}\n```"


def main() -> None:
    """Write OUT/tutorial.md and the pictures beside it."""
    parser = argparse.ArgumentParser(description="Run the tutorial and write its page.")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs")
    args = parser.parse_args()
    pictures = args.out / "images" / "tutorial"
    pictures.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(HERE))
    names: dict[str, Any] = {}
    page = ["<!-- Written by examples/render_tutorial.py from examples/tutorial.py. -->"]
    for number, (is_text, body) in enumerate(cells((HERE / "tutorial.py").read_text(encoding="utf-8"))):
        if is_text:
            page.append(body)
            continue
        page.append(f"```python\n{body}\n```")
        printed, value = run(body, names)
        if printed.strip():
            page.append(f"```text\n{printed.strip()}\n```")
        if value is not None:
            page.append(shown(value, pictures / f"{number:02d}.png"))
    (args.out / "tutorial.md").write_text("\n\n".join(page) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
