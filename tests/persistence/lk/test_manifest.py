"""The manifest: what it must say, what it must not, and forgeries whose checksums are right."""

import copy
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit.errors import CorruptFileError, LearnkitError, MissingModelError, VersionError
from learnkit.models import BackboneSpec
from learnkit.persistence.lk.file import built_model, network_on_meta, open_export, read_spec
from learnkit.persistence.lk.manifest import checked, parsed, sealed
from learnkit.persistence.lk.schema import read_activation, read_inputs, read_task

Change = Callable[[dict[str, Any]], Any]
Forge = Callable[..., Path]


def load(path: Path, model: nn.Module | None) -> nn.Module:
    """All that load_learner reads of a file."""
    with open_export(path) as export:
        read_task(export.manifest, path)
        read_inputs(export.manifest, path, None)
        read_activation(export.manifest, path, None)
        return built_model(export, model)


def sketch(content: dict[str, Any]) -> nn.Module | None:
    """The network that a manifest names, on the meta device."""
    spec = read_spec(content, "x")
    return None if spec is None else network_on_meta(spec, "x")


def sets(*keys: Any, to: Any) -> Change:
    """A change of one value, found by names and numbers."""

    def change(content: dict[str, Any]) -> None:
        inner: Any = content
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (sets("format", to="keras"), CorruptFileError, "format: got 'keras', expected 'learnkit'"),
        (sets("min_reader", to=2), VersionError, "for readers of 2 and up, this one is of 1.*pip install -U learnkit"),
        (sets("requires", to=["quantised"]), VersionError, "needs what this learnkit does not know: 'quantised'"),
        (sets("requires", to="quantised"), CorruptFileError, "requires: got 'quantised', expected at most 100 diff"),
        (sets("schema", to=True), CorruptFileError, "schema: got True"),
        (sets("task", to="os.system"), MissingModelError, "for the task 'os.system', which this learnkit does not"),
        (sets("classes", to=["a", "a", "b"]), CorruptFileError, "classes: got list, expected at most"),
        (sets("classes", to=None), CorruptFileError, "classes: got None"),
        (sets("decode", to="eval"), CorruptFileError, "decode: got 'eval', expected one of argmax"),
        (sets("transforms", 0, "name", to="subprocess:Popen"), MissingModelError, "names the transform 'subprocess:Po"),
        (sets("transforms", 0, "args", to={"shape": [1 << 40]}), CorruptFileError, "shape: got list"),
        (sets("transforms", to=[]), CorruptFileError, "transforms: expected a list of one to three"),
        (sets("loss", "activation", to="__import__"), CorruptFileError, "activation: got '__import__', expected"),
        (sets("loss", "activation", to="custom"), MissingModelError, "outputs go through a function of your own"),
        (sets("temperature", to=0), CorruptFileError, "temperature: got 0, expected a number"),
        (sets("temperature", to=10**400), CorruptFileError, "temperature: got 1000000"),
        (sets("weights", "file", to="../../../etc/passwd"), CorruptFileError, "file: got '../../../etc/passwd'"),
        (sets("weights", "bytes", to=7), CorruptFileError, "the manifest weights: 7 bytes, found"),
        (sets("weights", "sha256", to="0" * 64), CorruptFileError, "the checksum of its weights is wrong"),
        (sets("weights", "tensors", "0.weight", to=[[1 << 30, 4], "float32"]), CorruptFileError, "not those of its"),
        (sets("weights", "tensors", "0.weight", to=[[8, 4], "object"]), CorruptFileError, "table of tensors is none"),
        (sets("weights", "tensors", "a\nb", to=[[], "float32"]), CorruptFileError, "the table of tensors is none"),
        (sets("arch", "name", to="X" * 300), CorruptFileError, "arch name: got 'XXX"),
        (sets("arch", "module", to="os"), MissingModelError, "arch has fields that this learnkit does not"),
        (sets("arch", "source", to="pickle"), CorruptFileError, "arch source: got 'pickle'"),
    ],
)  # fmt: skip
def test_what_a_forged_manifest_says_is_refused_by_name(
    forge: Forge, change: Change, error: type[LearnkitError], text: str
) -> None:
    with pytest.raises(error, match=re.escape(text) if "*" not in text else text):
        load(forge(change), None)


def test_without_a_model_the_weights_of_ones_own_network_are_refused(forge: Forge) -> None:
    path = forge(lambda content: None)
    with pytest.raises(MissingModelError) as error:
        load(path, None)
    assert str(error.value) == (
        f"{path}: this file holds weights for your own model 'MyNet'; "
        "pass load_learner('forged.lk', model=MyNet(...)). Nothing was imported."
    )


def test_a_label_cannot_write_into_the_message(forge: Forge) -> None:
    with pytest.raises(MissingModelError, match=r"your own model 'osx1b\.systemrmrf'; pass"):
        load(forge(sets("arch", "name", to="os\\x1b.system('rm -rf')\n")), None)


@pytest.mark.parametrize("name", ["os.system", "subprocess:Popen", "__import__", "ARCHITECTURES", "resnet18()", "../x"])
@pytest.mark.parametrize("source", ["registry", "timm"])
def test_architectures_are_looked_up_in_tables_alone(forge: Forge, name: str, source: str) -> None:
    if source == "timm":
        pytest.importorskip("timm")
    with pytest.raises(
        MissingModelError, match=r"expected a network that this (learnkit|timm) knows\. Nothing was imported"
    ):
        load(forge(lambda content: None, arch={"source": source, "name": name, "config": {"in_ch": 3}}), None)


@pytest.mark.parametrize("name", ["hf-hub:user/name", "hf_hub:user/name", "local-dir:/tmp", "vit_tiny.x", "a" * 150])
def test_no_name_makes_timm_fetch_or_read_anything(forge: Forge, name: str) -> None:
    pytest.importorskip("timm")
    with pytest.raises(MissingModelError):
        load(forge(lambda content: None, arch={"source": "timm", "name": name, "config": {}}), None)


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("head", "n_out", 10**9),
        ("head", "n_out", 0),
        ("head", "hidden", [10**9]),
        ("head", "hidden", [1] * 100),
        ("head", "dropout", [0.5, 0.5, 0.5]),
        ("head", "dropout", 1.0),
        ("head", "dropout", 2),
        ("head", "bn_final", 1),
        ("head", "kind", "lambda"),
        ("config", "in_ch", 10**9),
        ("config", "in_ch", "3"),
        ("config", "cut", 5000),
        ("config", "cut", 900),
        ("config", "cut", [1]),
        ("config", "image_size", [10**6, 10**6]),
        ("config", "image_size", [-1, 3]),
    ],
)
def test_numbers_out_of_bounds_build_nothing(
    manifest: dict[str, Any], squeeze: BackboneSpec, part: str, field: str, value: object
) -> None:
    parts = squeeze.to_json()
    (parts["head"] if part == "head" else parts["arch"]["config"])[field] = value
    began = time.process_time()
    with pytest.raises(CorruptFileError):
        sketch({**manifest, **parts})
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "text",
    [
        b'{"a": NaN}', b'{"a": 1, "a": 2}', b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe", b"", b"{", b'"\\ud800',
        b"1" * 10_000, b"-Infinity",
    ],
)  # fmt: skip
def test_json_that_hides_something_is_none(text: bytes) -> None:
    with pytest.raises(CorruptFileError, match="the manifest is no JSON"):
        parsed(text, "x")


@pytest.mark.parametrize("content", [None, [], 3, "x", {}, {"format": "learnkit"}, {"format": "learnkit", "schema": 1}])
def test_json_of_something_else_is_no_manifest(content: object) -> None:
    with pytest.raises(CorruptFileError):
        checked(content, "x")


def test_a_later_schema_that_old_readers_read_rightly_is_read(forge: Forge, net: nn.Module) -> None:
    def later(content: dict[str, Any]) -> None:
        content["schema"], content["colour"] = 2, "blue"

    load(forge(later), type(net)())


def test_the_checksum_covers_every_value(manifest: dict[str, Any]) -> None:
    content = json.loads(sealed(manifest))
    assert checked(copy.deepcopy(content), "x") == content
    content["card"] = "x"
    with pytest.raises(CorruptFileError, match="it was changed since it was written"):
        checked(content, "x")


# What a value may become: other types, limits, and what breaks readers.
STRANGE: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, "", "x", "os.system", "../../etc/passwd", "\0",
    "\ud800", "a" * 10_000, [], [[]], [None], [1, 2], ["a", "a"], {}, {"": None}, {"__class__": "os"}, [0] * 1000,
]  # fmt: skip


def places(content: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value in JSON."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [way for key, value in inner for way in [(*at, key), *places(value, (*at, key))]]


def mutated(content: dict[str, Any], random_: random.Random) -> None:
    """Change, drop, double or rename one value in place."""
    way = random_.choice(places(content))
    inner: Any = content
    for key in way[:-1]:
        inner = inner[key]
    what = random_.choice(["set", "set", "set", "drop", "rename", "swap"])
    if what == "set":
        inner[way[-1]] = copy.deepcopy(random_.choice(STRANGE))
    elif what == "swap":
        other = random_.choice(places(content))
        inner[way[-1]] = copy.deepcopy(_at(content, other))
    elif isinstance(inner, dict):
        value = inner.pop(way[-1])
        if what == "rename":
            inner[random_.choice(["x", "__reduce__", way[-1] + "s"])] = value
    else:
        del inner[way[-1]]


def _at(content: Any, way: tuple[Any, ...]) -> Any:
    for key in way:
        content = content[key]
    return content


def test_manifests_mutated_with_right_checksums_load_or_are_refused(forge: Forge, net: nn.Module) -> None:
    random_, x = random.Random(0), torch.randn(5, 4)
    n_loaded = n_refused = 0
    for number in range(400):
        path = forge(lambda content: [mutated(content, random_) for _ in range(1 + number % 3)])  # noqa: B023
        began = time.process_time()
        try:
            again = load(path, type(net)())
        except LearnkitError:
            n_refused += 1
        else:
            n_loaded += 1
            assert torch.equal(answer(again, x), answer(net, x))
        assert time.process_time() - began < 1
    assert n_loaded > 20
    assert n_refused > 200


def answer(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x)  # type: ignore[no-any-return]


def test_architectures_mutated_with_right_checksums_are_built_or_refused(
    manifest: dict[str, Any], squeeze: BackboneSpec
) -> None:
    random_, n_built = random.Random(0), 0
    own = squeeze.on_meta().state_dict()
    for _ in range(150):
        content = {name: manifest[name] for name in ("versions",)} | squeeze.to_json()
        mutated(content, random_)
        began = time.process_time()
        try:
            built = sketch(content)
            n_built += built is not None and built.state_dict().keys() == own.keys()
        except LearnkitError:
            pass
        assert time.process_time() - began < 1
    assert n_built > 10


BOMBS = """
import resource, sys, time
from pathlib import Path
from learnkit.errors import LearnkitError
from learnkit.persistence.lk.file import built_model, open_export
from learnkit.models import BackboneSpec
BackboneSpec("squeezenet1_1", 2).on_meta()  # so that no import is counted
folder = Path(sys.argv[1])
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name in sys.argv[2:]:
    before, began = peak(), time.process_time()
    try:
        with open_export(folder / name) as export:
            built_model(export)
    except LearnkitError as error:
        print(name, (peak() - before) // 1024, round(time.process_time() - began, 3))
"""


def test_bombs_are_refused_at_once_and_take_no_memory(
    tmp_path: Path, forge: Forge, manifest: dict[str, Any], squeeze: BackboneSpec
) -> None:
    parts = squeeze.to_json()
    wide = copy.deepcopy(parts)
    wide["head"]["n_out"] = 1_000_000
    wide["head"]["hidden"] = [1_000_000, 1_000_000]
    forge(lambda content: None, **wide).rename(tmp_path / "terabytes")
    wide["head"]["n_out"] = 10**9
    forge(lambda content: None, **wide).rename(tmp_path / "n_out")
    rows = {f"t{number}": [[1], "float32"] for number in range(100_000)}
    forge(sets("weights", "tensors", to=rows)).rename(tmp_path / "rows")
    forge(sets("card", to=[[]] * 1_000_000)).rename(tmp_path / "lists")
    forge(sets("weights", "tensors", "0.weight", to=[[1 << 20, 1 << 19], "float64"])).rename(tmp_path / "huge_tensor")
    big = bytearray(forge(lambda content: None).read_bytes()[:43])
    big[18:26] = (400_000_000).to_bytes(4, "little") * 2
    with (tmp_path / "big_manifest").open("wb") as file:
        file.write(big)
        file.truncate(400_000_500)
    names = ["terabytes", "n_out", "rows", "lists", "huge_tensor", "big_manifest"]
    run = subprocess.run([sys.executable, "-c", BOMBS, tmp_path, *names], capture_output=True, text=True, check=True)
    found = [line.split() for line in run.stdout.splitlines()]
    assert [line[0] for line in found] == names
    for _, megabytes, seconds in found:
        assert int(megabytes) < 200
        assert float(seconds) < 1
