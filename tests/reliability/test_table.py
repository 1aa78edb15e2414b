"""The table of bad inputs in docs/reliability.md names existing tests."""

import ast
import re
from pathlib import Path

FOLDER = Path(__file__).parent
PAGE = FOLDER.parents[1] / "docs" / "reliability.md"


def documented() -> list[str]:
    """The names in the first column of the table."""
    table = PAGE.read_text(encoding="utf-8").partition("## Forty bad inputs")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)


def names_of_tests() -> list[str]:
    """The names of the tests in this folder, without test_."""
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in sorted(FOLDER.glob("test_*.py"))]
    functions = [node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [function.name.removeprefix("test_") for function in functions if function.name.startswith("test_")]


def test_every_bad_input_of_the_table_has_a_test() -> None:
    names, tests = documented(), names_of_tests()
    assert len(names) == len(set(names)) == 40
    assert [name for name in names if not any(test.startswith(name) for test in tests)] == []
