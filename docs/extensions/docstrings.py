"""Docstrings as this project writes them: `x` in single backticks is a name that has a page, linked, or code.

Names are linked whatever path they are written with: annotations hold the module that defines a class, and pages are
those of its public name.
"""

import importlib
import re
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxRole

import learnkit
from learnkit.training.callback import HOOKS

NAME = re.compile(r"([A-Za-z_][\w.]*)(\(\))?")


class NameOrCode(SphinxRole):
    """The role of text in single backticks."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """A reference to the page of a name, or code."""
        code = nodes.literal(self.rawtext, self.text, classes=["code"])
        found = NAME.fullmatch(self.text)
        target = found and self.page_of(found[1])
        if not target:
            return [code], []
        options = {"refdomain": "py", "reftype": "obj", "reftarget": target, "refwarn": True, "refexplicit": True}
        return [pending_xref("", code, refdoc=self.env.docname, **options)], []

    def page_of(self, name: str) -> str | None:
        """The public path of a name in a docstring: a method of its class, a public name, or a method of one."""
        context = self.env.ref_context
        owner = ".".join(filter(None, (context.get("py:module"), context.get("py:class"))))
        if owner and is_method(f"{owner}.{name}"):
            return f"{definer(owner, name)}.{name}"
        first, _, rest = name.removeprefix("learnkit.").partition(".")
        path = SHORT.get(first)
        if path is None or (rest and not is_method(f"{path}.{rest}")):
            return None
        return f"{path}.{rest}" if rest else path


def is_method(path: str) -> bool:
    """Whether a public path is that of a documented method."""
    owner, _, name = path.rpartition(".")
    space, _, found = owner.rpartition(".")
    value = getattr(getattr(importlib.import_module(space), found, None), name, None) if space in SPACES else None
    return value is not None and not name.startswith("_") and bool(getattr(value, "__doc__", "")) and callable(value)


def definer(owner: str, name: str) -> str:
    """The public class whose page a method is on: the owner, or the one that it has the method of."""
    space, _, found = owner.rpartition(".")
    value = getattr(importlib.import_module(space), found) if space in SPACES else None
    documented = (base for base in getattr(value, "__mro__", ()) if getattr(vars(base).get(name), "__doc__", None))
    return PUBLIC.get(path_of(next(documented, value)), owner) if isinstance(value, type) else owner


def path_of(value: Any) -> str:
    """The path that defines a class."""
    return f"{value.__module__}.{value.__qualname__}"


def public_names() -> dict[str, str]:
    """The path that defines a name of ours, and the public path."""
    found = {}
    for space in (learnkit, *learnkit._NAMESPACES):
        for name in space.__all__:
            value = getattr(space, name)
            if hasattr(value, "__qualname__"):
                found.setdefault(path_of(value), f"{space.__name__}.{name}")
    return found


PUBLIC = public_names()
SHORT = {path.rpartition(".")[2]: path for path in PUBLIC.values()}
SPACES = {space.__name__ for space in (learnkit, *learnkit._NAMESPACES)}


def shortest(path: str) -> str:
    """The shortest path of the same object: torch.nn.Module for torch.nn.modules.module.Module."""
    if path in PUBLIC:
        return PUBLIC[path]
    module, _, name = path.rpartition(".")
    try:
        value = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        return path
    parts = module.split(".")
    for n in range(1, len(parts)):
        shorter = ".".join(parts[:n])
        if getattr(importlib.import_module(shorter), name, None) is value:
            return f"{shorter}.{name}"
    return path


def resolve(app: Sphinx, env: Any, node: pending_xref, content: nodes.TextElement) -> nodes.Node | None:
    """A reference to a name by another path than that of its page."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or "." not in target or shortest(target) == target:
        return None
    node["reftarget"] = shortest(target)
    domain = env.get_domain("py")
    found = domain.resolve_xref(env, node["refdoc"], app.builder, "obj", node["reftarget"], node, content)
    if found is not None:
        return found
    from sphinx.ext.intersphinx import missing_reference

    return missing_reference(app, env, node, content)


def public_bases(value: type) -> list[type]:
    """The bases of a class that a reader can look up."""
    found = [base for base in value.__bases__ if base is not object]
    return [base for base in found if not base.__module__.startswith("learnkit.") or path_of(base) in PUBLIC]


def name_bases(app: Sphinx, name: str, value: type, options: Any, bases: list[Any]) -> None:
    """Name only these."""
    bases[:] = public_bases(value)


def without_signature(app: Sphinx, what: str, name: str, value: Any, *rest: Any) -> tuple[str, str] | None:
    """A protocol is not called."""
    return ("", "") if getattr(value, "_is_protocol", False) else None


def without_hooks(app: Sphinx, what: str, name: str, value: Any, skip: bool, options: Any) -> bool | None:
    """The hooks of a callback are described once, by `Callback`."""
    return True if name in HOOKS and not value.__doc__ else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the role, and what finds names by other paths."""
    app.add_role("name_or_code", NameOrCode())
    app.connect("autodoc-process-bases", name_bases)
    app.connect("autodoc-skip-member", without_hooks)
    app.connect("autodoc-process-signature", without_signature)
    app.connect("missing-reference", resolve, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
