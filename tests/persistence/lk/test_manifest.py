"""The manifest: what it must and must not contain, and forgeries with correct checksums."""

import copy
import hashlib
import json
import os
import platform
import random
import re
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import learnkit
from learnkit import Classification
from learnkit.errors import CorruptFileError, LearnkitError, MissingModelError, UsageError, VersionError
from learnkit.models import BackboneSpec
from learnkit.persistence.lk.file import write_export
from learnkit.persistence.lk.load import network_on_meta, read_export
from learnkit.persistence.lk.manifest import new_manifest, parse, seal, validate, versions
from learnkit.persistence.lk.schema import backbone_from_json
from learnkit.persistence.spec import ExportSpec
from tests.doubles import refused
from tests.persistence.conftest import forged

Change = Callable[[dict[str, Any]], Any]
Forge = Callable[..., Path]


def load(path: Path, model: nn.Module | None) -> nn.Module:
    return read_export(path, model).model


def on_meta(content: dict[str, Any]) -> nn.Module | None:
    """The network of a manifest, on the meta device."""
    spec = backbone_from_json(content, "x")
    return None if spec is None else network_on_meta(spec, Path("x"))


def sets(*keys: Any, to: Any) -> Change:
    """A change of one value, found by names and numbers."""

    def change(content: dict[str, Any]) -> None:
        inner: Any = content
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "error", "what", "got"),
    [
        (sets("format", to="keras"), CorruptFileError, "the manifest format", "keras"),
        (sets("requires", to="quantized"), CorruptFileError, "the manifest requires", "quantized"),
        (sets("schema", to=True), CorruptFileError, "the manifest schema", True),
        (sets("classes", to=["a", "a", "b"]), CorruptFileError, "the manifest classes", "list"),
        (sets("classes", to=None), CorruptFileError, "the manifest classes", None),
        (sets("decode", to="eval"), CorruptFileError, "the manifest decode", "eval"),
        (sets("transforms", 0, "args", to={"shape": [1 << 40]}), CorruptFileError, "args shape", "list"),
        (sets("transforms", 0, "args", "dtype", to="os.system"), CorruptFileError, "args dtype", "os.system"),
        (sets("transforms", to=[]), CorruptFileError, "the manifest transforms", "list"),
        (sets("loss", "activation", to="__import__"), CorruptFileError, "loss activation", "__import__"),
        (sets("temperature", to=0), CorruptFileError, "the manifest temperature", 0),
        (sets("temperature", to=10**400), CorruptFileError, "the manifest temperature", "an integer of 1329 bits"),
        (sets("arch", "name", to="X" * 300), CorruptFileError, "arch name", "X" * 97 + "..."),
        (sets("arch", "source", to="pickle"), CorruptFileError, "arch source", "pickle"),
        (sets("arch", to=3), CorruptFileError, "arch", 3),
        (lambda content: content.pop("task"), CorruptFileError, "the manifest has no task", None),
    ],
)
def test_a_forged_value_is_refused_by_name(
    forge: Forge, change: Change, error: type[LearnkitError], what: str, got: object
) -> None:
    path = forge(change)
    with refused(f"{path}: {what}", error, got=got):
        load(path, None)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (sets("task", to="os.system"), "for the task 'os.system', which this learnkit does not know. Update"),
        (sets("transforms", 0, "name", to="subprocess:Popen"), "has the transform 'subprocess:Popen', which this"),
        (sets("loss", "activation", to="custom"), "outputs go through a custom activation. Pass it"),
        (sets("arch", "module", to="os"), "arch has fields that this learnkit does not know: module. Nothing was imp"),
    ],
)
def test_unknown_values_are_refused(forge: Forge, change: Change, text: str) -> None:
    with pytest.raises(MissingModelError, match=re.escape(text)):
        load(forge(change), None)


@pytest.mark.parametrize("sha256", ["0" * 64, "", 3, None, "x" * 1000])
def test_a_forged_checksum_of_the_weights_is_refused(forge: Forge, net: nn.Module, sha256: object) -> None:
    with pytest.raises(CorruptFileError, match=r"forged\.lk.*(the checksum of its weights is wrong|weights sha256)"):
        load(forge(sets("weights", "sha256", to=sha256)), type(net)())


def test_a_file_for_later_versions_is_refused_with_the_version_to_install(forge: Forge) -> None:
    path = forge(lambda content: content.update(min_reader=2, versions={"learnkit": "9.9"}))
    with refused(f"{path} was written by learnkit 9.9; its min_reader", VersionError, got=2):
        load(path, None)
    path = forge(lambda content: content.update(requires=["quantized"], versions={"learnkit": "9.9"}))
    with pytest.raises(VersionError, match=r"features that this learnkit lacks: quantized\..*\(to 9\.9 or later\)"):
        load(path, None)


def test_the_manifest_has_everything_except_the_weights(spec: ExportSpec) -> None:
    content = new_manifest(replace(spec, card="my words", temperature=2, training={"epochs": 3, "metrics": {}}))
    assert content == {
        "format": "learnkit", "schema": 1, "min_reader": 1, "requires": [],
        "task": "classification", "classes": ["ant", "bee", "cat"], "decode": "argmax",
        "arch": {"source": "custom", "name": "MyNet", "config": {}}, "head": {"kind": "none", "n_out": 3},
        "transforms": [{"name": "tensor", "args": {"shape": [4]}}],
        "loss": {"name": "cross_entropy", "activation": "softmax"}, "temperature": 2.0,
        "versions": versions(), "training": {"epochs": 3, "metrics": {}}, "card": "my words",
    }  # fmt: skip


def test_the_versions_are_those_installed() -> None:
    assert versions("pip", "no-such-package") == {
        "learnkit": learnkit.__version__, "torch": torch.__version__, "python": platform.python_version(),
        "pip": metadata.version("pip"), "no-such-package": "unknown",
    }  # fmt: skip


def test_timm_is_among_the_versions_of_its_networks(spec: ExportSpec) -> None:
    timm = pytest.importorskip("timm")
    backbone = BackboneSpec("timm/resnet10t", 3, lin_ftrs=(), image_size=(32, 32))
    content = new_manifest(replace(spec, model=backbone.build().model, backbone=backbone))
    assert content["versions"] == versions() | {"timm": timm.__version__}


def test_nothing_is_written_that_would_be_refused(spec: ExportSpec) -> None:
    classes = tuple(map(str, range(1_000_001)))
    with pytest.raises(UsageError, match=r"beyond what an export can hold: export: the manifest classes"):
        new_manifest(replace(spec, task=Classification(classes)))


@pytest.mark.parametrize("name", ["os.system", "subprocess:Popen", "__import__", "ARCHITECTURES", "resnet18()", "../x"])
@pytest.mark.parametrize("source", ["registry", "timm"])
def test_architectures_are_looked_up_in_tables_alone(forge: Forge, name: str, source: str) -> None:
    if source == "timm":
        pytest.importorskip("timm")
    with pytest.raises(
        MissingModelError, match=r"expected a network that this (learnkit|timm) knows\. Nothing was imported"
    ):
        load(forge(sets("arch", to={"source": source, "name": name, "config": {"in_ch": 3}})), None)


@pytest.mark.parametrize("name", ["hf-hub:user/name", "hf_hub:user/name", "local-dir:/tmp", "vit_tiny.x", "a" * 150])
def test_no_name_makes_timm_download_or_read_anything(forge: Forge, name: str) -> None:
    pytest.importorskip("timm")
    with pytest.raises(MissingModelError):
        load(forge(sets("arch", to={"source": "timm", "name": name, "config": {}})), None)


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
def test_numbers_out_of_bounds_build_nothing(squeeze: BackboneSpec, part: str, field: str, value: object) -> None:
    parts = squeeze.to_json()
    (parts["head"] if part == "head" else parts["arch"]["config"])[field] = value
    began = time.process_time()
    with pytest.raises(CorruptFileError):
        on_meta({"versions": {}, **parts})
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "text",
    [
        b'{"a": NaN}', b'{"a": 1, "a": 2}', b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe", b"", b"{", b'"\\ud800',
        b"1" * 10_000, b"-Infinity",
    ],
)  # fmt: skip
def test_json_that_hides_something_is_refused(text: bytes) -> None:
    with pytest.raises(CorruptFileError, match=r"^m\.lk: the manifest is not valid JSON"):
        parse(text, "m.lk: the manifest")


@pytest.mark.slow
def test_json_of_many_parts_is_not_read() -> None:
    at_most = ["x"] * 99_999
    assert parse(json.dumps([[x] for x in at_most]), "x") == [[x] for x in at_most]
    with pytest.raises(CorruptFileError, match="more than 100,000 lists and objects"):
        parse(json.dumps([[x] for x in [*at_most, "x"]]), "x")


@pytest.mark.parametrize("content", [None, [], 3, "x", {}, {"format": "learnkit"}, {"format": "learnkit", "schema": 1}])
def test_json_of_something_else_is_not_a_manifest(content: object) -> None:
    with pytest.raises(CorruptFileError, match=r"^x: (the manifest|versions)"):
        validate(content, "x")


def test_a_later_schema_that_old_readers_read_correctly_is_read(forge: Forge, net: nn.Module) -> None:
    def later(content: dict[str, Any]) -> None:
        content["schema"], content["color"] = 2, "blue"

    again = load(forge(later), type(net)())
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), net.parameters(), strict=True))


def test_the_checksum_covers_every_value(spec: ExportSpec) -> None:
    content = json.loads(seal(new_manifest(spec)))
    assert validate(copy.deepcopy(content), "x") == content
    bare = {name: value for name, value in content.items() if name != "self_sha256"}
    assert content["self_sha256"] == hashlib.sha256(json.dumps(bare, separators=(",", ":")).encode()).hexdigest()
    content["card"] = "x"
    with pytest.raises(CorruptFileError, match="it was changed since it was written"):
        validate(content, "x")


# What a value may become: other types, limits, and what breaks readers.
STRANGE: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, "", "x", "os.system", "../../etc/passwd", "\0",
    "\ud800", "a" * 10_000, [], [[]], [None], [1, 2], ["a", "a"], {}, {"": None}, {"__class__": "os"}, [0] * 1000,
]  # fmt: skip


def places(content: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path to every value in JSON."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [way for key, value in inner for way in [(*at, key), *places(value, (*at, key))]]


def mutated(content: dict[str, Any], random_: random.Random) -> None:
    """Change, drop, copy or rename one value in place."""
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
            assert torch.equal(outputs(again, x), outputs(net, x))
        assert time.process_time() - began < 1
    assert n_loaded > 20
    assert n_refused > 200


def outputs(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x)  # type: ignore[no-any-return]


@pytest.mark.slow
def test_architectures_mutated_with_right_checksums_are_built_or_refused(squeeze: BackboneSpec) -> None:
    random_, n_built = random.Random(0), 0
    own = squeeze.on_meta().state_dict()
    for _ in range(150):
        content = {"versions": versions()} | squeeze.to_json()
        mutated(content, random_)
        began = time.process_time()
        try:
            built = on_meta(content)
            n_built += built is not None and built.state_dict().keys() == own.keys()
        except LearnkitError:
            pass
        assert time.process_time() - began < 1
    assert n_built > 10


BOMBS = """
import resource, sys, time
from pathlib import Path
from learnkit.errors import LearnkitError
from learnkit.models import BackboneSpec
from learnkit.persistence.lk.load import read_export
folder = Path(sys.argv[1])
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
read_export(folder / "good")  # so that no import is counted
for name in sys.argv[2:]:
    before, began = peak(), time.process_time()
    try:
        read_export(folder / name)
    except LearnkitError as error:
        print(name, (peak() - before) // 1024, round(time.process_time() - began, 3))
"""


@pytest.mark.slow
def test_bombs_are_refused_immediately_without_using_memory(
    tmp_path: Path, spec: ExportSpec, squeeze: BackboneSpec
) -> None:
    good = tmp_path / "good"
    write_export(good, replace(spec, model=squeeze.build().model, backbone=squeeze))
    content = good.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]

    def bomb(name: str, change: Change) -> None:
        forged(good, change).rename(tmp_path / name)

    def header_bomb(name: str, **rows: Any) -> None:
        text = json.dumps({**header, **rows}).encode()
        (tmp_path / name).write_bytes(struct.pack("<Q", len(text)) + text + data)

    def wide(manifest: dict[str, Any]) -> None:
        manifest["head"].update(hidden=[1_000_000, 1_000_000])

    bomb("terabytes", wide)
    bomb("n_out", lambda manifest: manifest["head"].update(n_out=10**9))
    bomb("lists", sets("card", to=[[]] * 1_000_000))
    header_bomb("rows", **{f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(100_000)})
    header_bomb("huge_tensor", more={"dtype": "F64", "shape": [1 << 20, 1 << 19], "data_offsets": [0, 1 << 42]})
    with (tmp_path / "big_header").open("wb") as file:
        file.write(struct.pack("<Q", 400_000_000) + b"{")
        file.truncate(400_000_500)
    names = ["terabytes", "n_out", "lists", "rows", "huge_tensor", "big_header"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    run = subprocess.run(
        [sys.executable, "-c", BOMBS, tmp_path, *names], capture_output=True, text=True, check=True, env=environment
    )
    found = [line.split() for line in run.stdout.splitlines()]
    assert [line[0] for line in found] == names
    for _, megabytes, seconds in found:
        assert int(megabytes) < 200
        assert float(seconds) < 1
