"""The architecture: the floors, and what no file may contain. Every check is itself checked."""

import ast
import functools
from collections.abc import Callable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "learnkit"
FILES = sorted(ROOT.rglob("*.py"))

# From the ground up. A module imports from lower floors and from its own package, never from a neighbor.
FLOORS = [
    {"text"},
    {"errors"},
    {"checks", "gradients", "modes", "seeds", "tree", "types"},
    {"arguments", "json_fields"},
    {"atomic_files", "device_memory", "distributed", "plots", "safe_load"},
    {"accelerators"},
    {"device"},
    {"losses", "metrics", "models", "neighbors", "optim"},
    {"certainty"},
    {"data"},
    {"training"},
    {"persistence"},
    {"callbacks", "inference"},
    {"interpretation"},
    {"learner"},
    {"cli"},
]
FLOOR_OF = {unit: number for number, units in enumerate(FLOORS) for unit in units}
# Of learnkit itself: above every floor, imported by none.
ENTRANCES = {"__init__", "__main__", "schedules", "splits", "transforms"}

VAGUE = {"basics", "common", "core", "helpers", "imports", "misc", "tools", "util", "utils"}
KNOW_DEVICES = {"device", "distributed"}
DEVICE_WORDS = {"autocast", "GradScaler", "cuda", "bf16", "fp16"}
UNSAFE_MODULES = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
RUNS_CODE = {"code.InteractiveConsole", "os.popen", "os.system", "runpy.run_module", "runpy.run_path", "torch.hub.load"}
RUNS_CODE |= {"torch.export.load", "torch.jit.load", "torch.package.PackageImporter"}
MAY_UNPICKLE = "cli/unpickle.py"  # a separate process, for a file that the user trusts
MAY_NOT_WAIT = {"device.py", "training/snapshot.py"}  # for a copy; the second waits once for those of a checkpoint

# One class each: the facade, and every way to images.
MAX_LINES = {"learnkit.learner.learner": 650, "learnkit.data.image_bunch": 430}
MAX_BODY = 15  # lines of a method of the facade, its docstring left out

Rule = Callable[[ast.AST], bool]


@functools.cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def offenders(rule: Rule, files: list[Path]) -> list[str]:
    """file:line of every piece of syntax the rule holds for."""
    return [f"{file.relative_to(ROOT)}:{line}" for file in files for line in offences(rule, parsed(file))]


def offences(rule: Rule, tree: ast.Module) -> list[int]:
    return [node.lineno for node in ast.walk(tree) if hasattr(node, "lineno") and rule(node)]


def imports(tree: ast.Module) -> Iterator[str]:
    """What is imported anywhere in the file, a name from a module as `module.name`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


def dotted(node: ast.AST) -> str:
    """`torch.amp.autocast` for that expression; a part that is not a name is left out."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def keyword(node: ast.Call, name: str) -> object:
    """The literal passed for a keyword; None without one."""
    return next((k.value.value for k in node.keywords if k.arg == name and isinstance(k.value, ast.Constant)), None)


def climbs(unit: str, imported: str) -> bool:
    """Whether a module of this unit (`data`, `learner`) may not import that: it is not on a lower floor."""
    if imported.startswith("."):
        return True  # not about floors
    package, *names = imported.split(".")
    if package != "learnkit" or unit in ENTRANCES or (unit == "cli" and not names):
        return False
    other = names[0] if names else ""
    if unit == "plots":
        return other not in {"checks", "errors", "plots", "text"}
    return other != unit and not FLOOR_OF.get(other, len(FLOORS)) < FLOOR_OF[unit]


def asks_its_package(module: str, imported: str, modules: set[str]) -> bool:
    """Whether `learnkit.data.image.read` imports a name from `learnkit.data`, not from the module that owns it."""
    package = imported.rpartition(".")[0]
    return module.startswith(f"{package}.") and imported not in modules


def is_star_import(node: ast.AST) -> bool:
    return isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)


def is_print(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and dotted(node.func) == "print"


def is_device_word(node: ast.AST) -> bool:
    match node:
        case ast.Constant(value=str(text)):
            return text.partition(":")[0] in DEVICE_WORDS
        case ast.Name(id="autocast" | "GradScaler" | "cuda") | ast.Attribute(attr="cuda"):
            return True
        case ast.Attribute(attr="autocast" | "GradScaler"):
            return dotted(node).startswith("torch.")  # compute.autocast() asks device.py
        case ast.ImportFrom(names=names) | ast.Import(names=names):
            return any(DEVICE_WORDS & set(alias.name.split(".")) for alias in names)
    return False


def copies_without_waiting(node: ast.AST) -> bool:
    """A copy between devices that may not have happened when the call returns."""
    return isinstance(node, ast.Call) and any(k.arg == "non_blocking" for k in node.keywords)


def is_unsafe(node: ast.AST) -> bool:
    match node:
        case ast.Import(names=names):  # under its own name it is found at its uses
            return any(alias.asname and alias.name in UNSAFE_MODULES for alias in names)
        case ast.ImportFrom(module=str(module), names=names):
            imported = [f"{module}.{alias.name}" for alias in names]
            return "torch.load" in imported or any(is_unsafe_name(name) for name in imported)
        case ast.Attribute():
            return is_unsafe_name(dotted(node))
        case ast.Name(id="eval" | "exec" | "compile"):
            return True
        case ast.Call():
            unchecked = dotted(node.func) == "torch.load" and keyword(node, "weights_only") is not True
            return unchecked or any(
                is_switched_on(node, name) for name in ("shell", "allow_pickle", "trust_remote_code")
            )
    return False


def is_switched_on(node: ast.Call, name: str) -> bool:
    """Whether a keyword is given as anything but a literal that is false: its value is unknown here."""
    given = [k.value for k in node.keywords if k.arg == name]
    return any(not isinstance(value, ast.Constant) or bool(value.value) for value in given)


def is_unsafe_name(name: str) -> bool:
    module, _, last = name.rpartition(".")
    return (
        (module in UNSAFE_MODULES and not last.endswith("Error"))
        or (module == "yaml" and last.endswith("load") and last != "safe_load")
        or name in RUNS_CODE
        or last in {"extractall", "unpack_archive"}
    )


def imports_by_name(node: ast.AST) -> bool:
    """A module found by a string: `import_module`, `__import__`, or a spec made of a path."""
    finders = {"__import__", "import_module", "spec_from_file_location", "module_from_spec", "exec_module"}
    match node:
        case ast.ImportFrom(names=names):
            return any(alias.name in finders for alias in names)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in finders
    return False


def sends_objects(node: ast.AST) -> bool:
    """A collective that pickles what it sends: `all_gather_object`, `broadcast_object_list` and the like."""
    match node:
        case ast.ImportFrom(module=str(module), names=names):
            return module.startswith("torch.distributed") and any(is_object_collective(alias.name) for alias in names)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return is_object_collective(name)
    return False


def is_object_collective(name: str) -> bool:
    return name.startswith(("all_gather", "broadcast", "gather", "recv", "scatter", "send")) and "_object" in name


def is_silent_except(node: ast.AST) -> bool:
    """A bare except, or a handler that catches everything and does nothing."""
    if isinstance(node, ast.Call):
        return dotted(node.func).endswith("suppress") and any(catches_all(error) for error in node.args)
    if not isinstance(node, ast.ExceptHandler):
        return False
    return node.type is None or (catches_all(node.type) and all(does_nothing(step) for step in node.body))


def catches_all(error: ast.AST) -> bool:
    errors = error.elts if isinstance(error, ast.Tuple) else [error]
    return any(dotted(one) in {"Exception", "BaseException"} for one in errors)


def does_nothing(step: ast.stmt) -> bool:
    return isinstance(step, ast.Pass | ast.Continue) or ast.unparse(step) == "..."


def unit_of(file: Path) -> str:
    return file.relative_to(ROOT).with_suffix("").parts[0]


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


def test_every_module_is_on_a_floor() -> None:
    assert FILES
    homeless = sorted({unit_of(file) for file in FILES} - FLOOR_OF.keys() - ENTRANCES)
    assert homeless == [], "put them into FLOORS, on the floor above the highest that they import"


def test_every_import_points_down_or_stays_in_its_package() -> None:
    found = [(file, name) for file in FILES for name in imports(parsed(file)) if climbs(unit_of(file), name)]
    assert [f"{file.relative_to(ROOT)} -> {name}" for file, name in found] == []


def test_names_are_imported_from_the_module_that_owns_them() -> None:
    modules = {module_of(file) for file in FILES}
    found = [(module_of(file), name) for file in FILES for name in imports(parsed(file))]
    assert [f"{module} -> {name}" for module, name in found if asks_its_package(module, name, modules)] == []


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    modules = {module_of(file) for file in FILES}
    assert circle({module_of(file): imported_modules(parsed(file), modules) for file in FILES}) == []


def imported_modules(tree: ast.Module, modules: set[str]) -> set[str]:
    """Which of these modules a file imports, or a name of, at its top, in a function or for its types alone."""
    return {name if name in modules else name.rpartition(".")[0] for name in imports(tree)} & modules


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of one circle of imports, the first of them again at the end; empty without a circle."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_modules_are_at_most_300_lines_long_except_for_two_classes() -> None:
    lines = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert [module_of(file) for file, n in lines.items() if n > MAX_LINES.get(module_of(file), 300)] == []


def test_the_facade_delegates() -> None:
    files = [ROOT / "learner" / name for name in ("learner.py", "answers.py")]
    methods = [node for file in files for node in ast.walk(parsed(file)) if isinstance(node, ast.FunctionDef)]
    assert methods
    assert [method.name for method in methods if method.name != "__init__" and body_lines(method) > MAX_BODY] == []


def body_lines(function: ast.FunctionDef) -> int:
    """The lines of a function below its docstring."""
    steps = function.body[1:] if ast.get_docstring(function) else function.body
    return (steps[-1].end_lineno or 0) - steps[0].lineno + 1 if steps else 0


def test_no_module_has_a_vague_name() -> None:
    assert [module_of(file) for file in FILES if VAGUE & set(module_of(file).split("."))] == []


def test_every_module_has_a_docstring() -> None:
    assert [module_of(file) for file in FILES if not ast.get_docstring(parsed(file))] == []


def test_every_module_lists_its_names() -> None:
    files = [file for file in FILES if file.name != "__main__.py"]
    assert [module_of(file) for file in files if not assigns_all(parsed(file))] == []


def assigns_all(tree: ast.Module) -> bool:
    targets = [t for node in tree.body if isinstance(node, ast.Assign) for t in node.targets]
    targets += [node.target for node in tree.body if isinstance(node, ast.AnnAssign)]
    return any(dotted(target) == "__all__" for target in targets)


def test_there_is_no_star_import() -> None:
    assert offenders(is_star_import, FILES) == []


def test_only_the_progress_display_prints() -> None:
    assert offenders(is_print, [file for file in FILES if file.stem != "progress"]) == []


def test_only_the_lowest_floors_know_devices_and_precisions() -> None:
    assert offenders(is_device_word, [file for file in FILES if unit_of(file) not in KNOW_DEVICES]) == []


def test_every_copy_that_is_not_waited_for_goes_through_to_device() -> None:
    asking = [file for file in FILES if file.relative_to(ROOT).as_posix() not in MAY_NOT_WAIT]
    assert offenders(copies_without_waiting, asking) == []


def test_nothing_runs_code_from_a_file() -> None:
    assert offenders(is_unsafe, [file for file in FILES if file != ROOT / MAY_UNPICKLE]) == []


def test_the_one_file_that_may_unpickle_does_and_is_imported_by_none() -> None:
    assert offenders(is_unsafe, [ROOT / MAY_UNPICKLE])
    assert [module_of(file) for file in FILES for name in imports(parsed(file)) if reaches(name, MAY_UNPICKLE)] == []


def reaches(imported: str, file: str) -> bool:
    """Whether an import is of that file of learnkit, or of a name in it."""
    module = "learnkit." + file.removesuffix(".py").replace("/", ".")
    return f"{imported}.".startswith(f"{module}.")


def test_nothing_imports_by_a_name() -> None:
    assert offenders(imports_by_name, FILES) == []


def test_nothing_sends_objects_between_processes() -> None:
    assert offenders(sends_objects, FILES) == []


def test_no_error_is_swallowed() -> None:
    assert offenders(is_silent_except, FILES) == []


CAUGHT: dict[Rule, list[str]] = {
    is_star_import: ["from torch import *"],
    is_print: ["print('epoch')", "def f():\n    print()"],
    copies_without_waiting: ["x.to(device, non_blocking=True)", "y.copy_(x, non_blocking=pinned)"],
    is_device_word: [
        "x.to('cuda')", "device = 'cuda:1'", "x.cuda()", "torch.cuda.empty_cache()", "precision == 'bf16'", "{'fp16'}",
        "torch.autocast('cpu')", "torch.amp.GradScaler()", "from torch.amp import autocast", "import torch.cuda",
    ],
    is_unsafe: [
        "torch.load(f)", "torch.load(f, weights_only=False)", "torch.load(f, weights_only=flag)",
        "pickle.load(f)", "pickle.Unpickler", "import pickle as p", "from pickle import loads", "joblib.load(f)",
        "from torch import load", "eval('1')", "exec(code)", "yaml.load(f)", "yaml.unsafe_load(f)", "t.extractall()",
        "subprocess.run('ls', shell=True)", "subprocess.run('ls', shell=flag)", "np.load(f, allow_pickle=True)",
        "os.system('ls')", "os.popen('ls')", "from os import system", "shutil.unpack_archive(f)", "pickle.loads(b)",
        "f = pickle.load", "torch.load(f, **options)", "f = eval", "from yaml import load", "torch.jit.load(f)",
        "yaml.load(f)", "torch.export.load(f)", "torch.hub.load(a, b)",
        "from_pretrained(n, trust_remote_code=True)",
    ],
    imports_by_name: [
        "importlib.import_module(name)", "from importlib import import_module", "__import__(name)", "f = __import__",
        "importlib.util.spec_from_file_location(a, b)", "spec.loader.exec_module(module)",
    ],
    sends_objects: [
        "torch.distributed.all_gather_object(a, b)", "dist.broadcast_object_list(a)", "gather_object(a)",
        "from torch.distributed import scatter_object_list", "dist.send_object_list(a)", "dist.recv_object_list(a)",
    ],
    is_silent_except: [
        "try:\n    f()\nexcept:\n    raise", "try:\n    f()\nexcept Exception:\n    pass",
        "for x in y:\n    try:\n        f()\n    except (OSError, Exception):\n        continue",
        "try:\n    f()\nexcept BaseException:\n    ...", "with contextlib.suppress(Exception):\n    f()",
    ],
}  # fmt: skip
LET_THROUGH: dict[Rule, list[str]] = {
    is_star_import: ["from torch import nn"],
    is_print: ["self.print()", "pprint(x)"],
    copies_without_waiting: ["x.to(device)", "to_device(x, device)"],
    is_device_word: ["'''Runs on cuda in bf16.'''", "compute.autocast()", "device.type == 'cpu'"],
    is_unsafe: ["torch.load(f, weights_only=True)", "model.eval()", "re.compile('a')", "json.load(f)",
        "yaml.safe_load(f)",
        "subprocess.run(['ls'], shell=False)", "np.load(f, allow_pickle=False)", "np.load(f)",
        "try:\n    f()\nexcept pickle.UnpicklingError:\n    raise"],
    imports_by_name: ["import importlib.util", "importlib.util.find_spec('timm')", "from learnkit import errors"],
    sends_objects: ["torch.distributed.all_reduce(x)", "dist.all_gather_into_tensor(x, y)", "is_object(x)"],
    is_silent_except: [
        "try:\n    f()\nexcept Exception as error:\n    error.add_note('here')\n    raise",
        "try:\n    f()\nexcept FileNotFoundError:\n    pass", "with contextlib.suppress(FileNotFoundError):\n    f()",
    ],
}  # fmt: skip


def pairs(table: dict[Rule, list[str]]) -> list[tuple[Rule, str]]:
    return [(rule, code) for rule, codes in table.items() for code in codes]


@pytest.mark.parametrize(("rule", "code"), pairs(CAUGHT))
def test_a_rule_catches_what_it_is_for(rule: Rule, code: str) -> None:
    assert offences(rule, ast.parse(code))


@pytest.mark.parametrize(("rule", "code"), pairs(LET_THROUGH))
def test_a_rule_lets_through_what_is_fine(rule: Rule, code: str) -> None:
    assert offences(rule, ast.parse(code)) == []


@pytest.mark.parametrize(
    ("unit", "code", "wrong"),
    [
        ("data", "from learnkit.errors import DataError", False),
        ("data", "from learnkit.data.tasks import Task", False),
        ("learner", "def f():\n    from learnkit.data.bunch import DataBunch", False),
        ("__init__", "from learnkit.learner import Learner", False),
        ("data", "from learnkit.training.loop import fit", True),
        ("data", "def f():\n    import learnkit.learner", True),
        ("data", "if TYPE_CHECKING:\n    from learnkit import learner", True),
        ("metrics", "from learnkit.losses import activation_of", True),
        ("learner", "from learnkit import DataBunch", True),
        ("learner", "import learnkit", True),
        ("data", "from .tasks import Task", True),
        ("plots", "from learnkit.types import PathLike", True),
        ("plots", "from learnkit.errors import UsageError", False),
    ],
)
def test_an_import_that_climbs_is_caught(unit: str, code: str, wrong: bool) -> None:
    assert any(climbs(unit, name) for name in imports(ast.parse(code))) is wrong


def test_an_import_of_the_file_that_may_unpickle_is_caught() -> None:
    for code in (
        "import learnkit.cli.unpickle",
        "from learnkit.cli import unpickle",
        "from learnkit.cli.unpickle import x",
    ):
        assert any(reaches(name, MAY_UNPICKLE) for name in imports(ast.parse(code)))
    assert not reaches("learnkit.cli.unpickled", MAY_UNPICKLE)


def test_a_name_taken_from_the_package_above_is_caught() -> None:
    modules = {"learnkit", "learnkit.data", "learnkit.data.tasks"}
    assert asks_its_package("learnkit.data.image.read", "learnkit.data.Task", modules)
    assert not asks_its_package("learnkit.data.image.read", "learnkit.data.tasks", modules)
    assert not asks_its_package("learnkit.data.image.read", "learnkit.data.tasks.Task", modules)
    assert not asks_its_package("learnkit.data", "learnkit.data.tasks.Task", modules)


def test_a_circle_is_caught_wherever_the_import_is() -> None:
    modules = {"learnkit", "learnkit.a", "learnkit.b", "learnkit.c"}
    codes = {
        "learnkit.a": "from learnkit.b import f",
        "learnkit.b": "if TYPE_CHECKING:\n    import learnkit.c",
        "learnkit.c": "def f():\n    from learnkit import a",
    }
    graph = {module: imported_modules(ast.parse(code), modules) for module, code in codes.items()}
    found = circle(graph)
    assert set(found) == {"learnkit.a", "learnkit.b", "learnkit.c"}
    assert circle({**graph, "learnkit.c": set()}) == []


def test_the_lines_of_a_method_are_counted_below_its_docstring() -> None:
    (method,) = ast.parse('def f(\n    a,\n):\n    """Doc."""\n    if a:\n        return 1\n    return 2').body
    assert isinstance(method, ast.FunctionDef)
    assert body_lines(method) == 3


def test_a_module_without_a_list_of_names_is_caught() -> None:
    assert not assigns_all(ast.parse("x = 1"))
    assert assigns_all(ast.parse("__all__ = ['x']"))
