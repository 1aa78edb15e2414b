"""Fields of a `BackboneSpec` in an untrusted file: the name of the network, dropout, the range of the outputs."""

import re
from typing import Any

from learnkit.checks import is_number
from learnkit.errors import MissingModelError
from learnkit.models.architectures import ARCHITECTURES
from learnkit.models.json_checks import check_json
from learnkit.models.timm import PREFIX, is_timm_model

__all__ = ["dropout", "known_name", "output_range"]


def known_name(arch: dict[str, Any]) -> str:
    """The name in a file as `base_arch`: one that learnkit's table or timm's register has."""
    name, source = arch.get("name"), arch.get("source")
    check_json("arch source", source, "one of registry, timm", is_right=source in ("registry", "timm"))
    is_text = isinstance(name, str) and len(name) <= 200
    name = str(check_json("arch name", name, "a string of at most 200 characters", is_right=is_text))
    is_name = re.fullmatch(r"[A-Za-z0-9_]{1,100}", name) is not None
    if source == "timm":
        if is_name and is_timm_model(name):
            return f"{PREFIX}{name}"
    elif is_name and name in ARCHITECTURES:
        return name
    package = "timm" if source == "timm" else "learnkit"
    raise MissingModelError("arch name", got=name, expected=f"a network that this {package} knows")


def dropout(got: Any, n_linear: int) -> float | tuple[float, ...]:
    shares = got if isinstance(got, list) else [got] * n_linear
    is_right = len(shares) == n_linear and all(is_number(p) and 0 <= p <= 1 for p in shares)
    check_json("head dropout", got, f"a number from 0 to 1, or a list of {n_linear}", is_right=is_right)
    return tuple(map(float, got)) if isinstance(got, list) else float(got)


def output_range(got: Any) -> tuple[float, float] | None:
    if got is None:
        return None
    is_right = isinstance(got, list) and len(got) == 2 and all(map(is_number, got)) and -1e30 < got[0] < got[1] < 1e30
    low, high = check_json("head y_range", got, "two numbers, the lower one first", is_right=is_right)
    return float(low), float(high)
