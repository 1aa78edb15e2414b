"""Weights on disk: complete or not at all, and only into a model they fit."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import LearnkitWarning
from learnkit.errors import DataError, MissingFileError, UnsafeFileError, UsageError, WrongTypeError
from learnkit.persistence.weights import (
    check_name,
    load_weights,
    plain_model,
    save_weights,
    weights_path,
)
from tests.doubles import refused


def model(n: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(2, n), nn.BatchNorm1d(n))


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_weights_come_back(tmp_path: Path) -> None:
    saved, other = model(), model()
    save_weights(tmp_path / "new" / "a.pth", saved)
    assert not equal(saved, other)
    assert load_weights(tmp_path / "new" / "a.pth", other) is None
    assert equal(saved, other)


def test_the_state_of_the_optimizer_is_kept_exactly(tmp_path: Path) -> None:
    def step(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        net(torch.ones(4, 2)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    first, second = model(), model()
    one, two = (torch.optim.AdamW(net.parameters(), 0.1) for net in (first, second))
    step(first, one)
    save_weights(tmp_path / "a.pth", first, one)
    state = load_weights(tmp_path / "a.pth", second)
    assert state is not None
    two.load_state_dict(state)
    step(first, one)
    step(second, two)
    assert equal(first, second)


def on_gpu(file: Path) -> Path:
    """A file of torch.save as a machine with a GPU writes it: its tensors are tagged cuda:0."""
    with zipfile.ZipFile(file) as old:
        members = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as new:
        for name, content in members.items():  # a string in a pickle: X, its length, its letters
            new.writestr(name, content.replace(b"X\x03\0\0\0cpu", b"X\x06\0\0\0cuda:0"))
    return file


def test_a_file_written_on_a_gpu_is_read_without_one(tmp_path: Path) -> None:
    saved, other = model(), model()
    first, second = (torch.optim.AdamW(net.parameters(), 0.1) for net in (saved, other))
    saved(torch.ones(4, 2)).sum().backward()
    first.step()
    save_weights(tmp_path / "a.pth", saved, first)
    file = on_gpu(tmp_path / "a.pth")
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match=r"deserialize object on a CUDA device"):
            torch.load(file, weights_only=True)
    state = load_weights(file, other)
    assert equal(saved, other)
    assert state is not None
    second.load_state_dict(state)
    assert torch.equal(second.state_dict()["state"][0]["exp_avg"], first.state_dict()["state"][0]["exp_avg"])


@pytest.mark.parametrize("with_opt", [False, True])
def test_what_is_saved_holds_only_plain_values(with_opt: bool, tmp_path: Path) -> None:
    net = model()
    save_weights(tmp_path / "a.pth", net, torch.optim.SGD(net.parameters(), 0.1, momentum=0.9) if with_opt else None)
    content = torch.load(tmp_path / "a.pth", weights_only=True)
    assert content.keys() == ({"model", "opt"} if with_opt else net.state_dict().keys())


@pytest.mark.parametrize("with_opt", [False, True])
def test_classes_are_saved_beside_the_weights_and_compared(with_opt: bool, tmp_path: Path) -> None:
    net, file = model(), tmp_path / "a.pth"
    save_weights(file, net, torch.optim.SGD(net.parameters(), 0.1) if with_opt else None, classes=("cat", "dog"))
    content = torch.load(file, weights_only=True)
    model().load_state_dict(content["model"] if with_opt else content)  # plain torch reads it
    other = model()
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    for classes, kind in ((("dog", "cat"), "in another order"), (("cat", "ant"), "others"), (("cat",), "others")):
        with pytest.raises(DataError, match=rf"a\.pth are {kind}: cat, dog; .* {', '.join(classes)}\."):
            load_weights(file, other, classes=classes)
    assert all(torch.equal(before[name], tensor) for name, tensor in other.state_dict().items()), "nothing is loaded"
    with pytest.raises(DataError, match="in another order"):
        load_weights(file, other, classes=("dog", "cat"), skip_mismatched=True)
    with pytest.warns(LearnkitWarning, match="head was trained for cat, dog, here for cat, ant: train it"):
        load_weights(file, other, classes=("cat", "ant"), skip_mismatched=True)
    for classes in (("cat", "dog"), ()):  # the same, or not known
        assert (load_weights(file, other, classes=classes) is not None) == with_opt
    assert equal(net, other)


@pytest.mark.parametrize("classes", [3, "cat", [3], [None], {"cat": 1}])
def test_classes_that_are_no_names_are_refused(classes: Any, tmp_path: Path) -> None:
    weights: Any = model().state_dict()
    weights._metadata[""]["classes"] = classes
    torch.save(weights, tmp_path / "a.pth")
    with pytest.raises(UsageError, match="its classes are not a list of names"):
        load_weights(tmp_path / "a.pth", model(), classes=["a"])


@pytest.mark.parametrize("wrapped", [False, True])
def test_files_of_plain_torch_are_read(wrapped: bool, tmp_path: Path) -> None:
    saved, other = model(), model()
    torch.save((nn.DataParallel(saved) if wrapped else saved).state_dict(), tmp_path / "a.pth")
    load_weights(tmp_path / "a.pth", other)
    assert equal(saved, other)


def test_a_whole_model_saved_by_torch_is_refused(tmp_path: Path) -> None:
    torch.save(model(), tmp_path / "a.pth")
    with pytest.raises(UnsafeFileError, match=r"holds objects other than tensors; .* `learnkit convert FILE OUT"):
        load_weights(tmp_path / "a.pth", model())


def test_weights_of_a_compiled_model_are_read(tmp_path: Path) -> None:
    saved, other = model(), model()
    torch.save(torch.compile(saved).state_dict(), tmp_path / "a.pth")
    load_weights(tmp_path / "a.pth", other)
    assert equal(saved, other)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_of_wrappers_are_removed(prefix: str, tmp_path: Path) -> None:
    saved, other = model(), model()
    torch.save({f"{prefix}{name}": value for name, value in saved.state_dict().items()}, tmp_path / "a.pth")
    load_weights(tmp_path / "a.pth", other)
    assert equal(saved, other)


def test_a_model_whose_own_names_begin_so_keeps_them(tmp_path: Path) -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Linear(2, 2)

    saved, other = Wrapped(), Wrapped()
    save_weights(tmp_path / "a.pth", saved)
    load_weights(tmp_path / "a.pth", other)
    assert equal(saved, other)


def test_other_shapes_are_listed_and_nothing_is_loaded(tmp_path: Path) -> None:
    save_weights(tmp_path / "a.pth", model(4))
    other = model(3)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(
        UsageError, match=r"0\.weight \(4, 2\) in the file, \(3, 2\) in the model; .*; and 1 more. Different cl"
    ):
        load_weights(tmp_path / "a.pth", other)
    assert all(torch.equal(before[name], value) for name, value in other.state_dict().items())


def test_other_names_are_refused_or_reported(tmp_path: Path) -> None:
    saved = model()
    torch.save({**saved.state_dict(), "extra": torch.ones(1)}, tmp_path / "more.pth")
    with pytest.raises(UsageError, match="extra not in the model"):
        load_weights(tmp_path / "more.pth", model())
    other = model()
    with pytest.warns(LearnkitWarning, match="extra not in the model"):
        load_weights(tmp_path / "more.pth", other, strict=False)
    assert equal(saved, other)
    torch.save({"0.weight": torch.ones(3, 2)}, tmp_path / "less.pth")
    with pytest.raises(UsageError, match=r"0\.bias not in the file"):
        load_weights(tmp_path / "less.pth", model())


def test_a_file_that_holds_no_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2, 3], tmp_path / "a.pth")
    with pytest.raises(UsageError, match="holds no state dict"):
        load_weights(tmp_path / "a.pth", model())


def test_where_a_file_is(tmp_path: Path) -> None:
    assert weights_path("a", tmp_path) == tmp_path / "a.pth"
    assert weights_path("a.pth", tmp_path) == tmp_path / "a.pth"
    assert weights_path("v1.2", tmp_path) == tmp_path / "v1.2.pth"
    assert weights_path("/elsewhere/a", tmp_path) == Path("/elsewhere/a.pth")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "a\0b", "a b", "x" * 101, "ä", None])
def test_names_that_are_not_plain_are_refused(name: object) -> None:
    with refused("file name", got=name):
        check_name(name)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "strange",
    [
        lambda tensor: tensor.to_sparse(),
        lambda tensor: tensor.to("meta"),
        lambda tensor: tensor + 1j,
        lambda tensor: tensor.int(),
        lambda tensor: tensor > 0,
    ],
    ids=["sparse", "meta", "complex", "int", "bool"],
)
@pytest.mark.filterwarnings("ignore:Validating sparse tensor:UserWarning")
def test_one_tensor_of_another_kind_changes_nothing(tmp_path: Path, strange: Callable[[Tensor], Tensor]) -> None:
    net, other = model(), model()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    torch.save(other.state_dict() | {"1.bias": strange(torch.ones(3))}, tmp_path / "a.pth")
    with pytest.raises(UsageError, match=r"1\.bias"):
        load_weights(tmp_path / "a.pth", net)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


NO_GROUPS: list[object] = [None, [1], [{}]]
NO_STATES: list[object] = [5, "x", [1], {}, *({"state": {}, "param_groups": groups} for groups in NO_GROUPS)]


@pytest.mark.parametrize("optimizer", [*NO_STATES, {"state": 1, "param_groups": []}])
def test_an_invalid_optimizer_state_changes_nothing(tmp_path: Path, optimizer: object) -> None:
    net, other = model(), model()
    before = net.state_dict()["0.weight"].clone()
    torch.save({"model": other.state_dict(), "opt": optimizer}, tmp_path / "a.pth")
    with pytest.raises(UsageError, match='its "opt" is not the state of an optimizer'):
        load_weights(tmp_path / "a.pth", net)
    assert torch.equal(net.state_dict()["0.weight"], before)


@pytest.mark.parametrize("name", [0, ("0.weight",)])
def test_names_that_are_not_strings_are_refused(tmp_path: Path, name: object) -> None:
    torch.save({name: torch.zeros(2)}, tmp_path / "a.pth")
    with pytest.raises(UsageError, match="tensors by name"):
        load_weights(tmp_path / "a.pth", model())


def test_a_duplicate_tensor_is_refused(tmp_path: Path) -> None:
    state = model().state_dict()
    torch.save({**state, "module.0.weight": state["0.weight"] + 1}, tmp_path / "a.pth")
    with pytest.raises(UsageError, match="there twice"):
        load_weights(tmp_path / "a.pth", model())


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile])
def test_wrappers_do_not_change_names(tmp_path: Path, wrap: Callable[[nn.Module], nn.Module]) -> None:
    net, other = model(), model()
    save_weights(tmp_path / "a.pth", wrap(net))
    assert torch.load(tmp_path / "a.pth", weights_only=True).keys() == net.state_dict().keys()
    load_weights(tmp_path / "a.pth", wrap(other))
    assert equal(net, other)


def test_a_path_that_is_too_long_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no file"):
        load_weights(weights_path(str(tmp_path / ("x" * 400)), tmp_path), model())
    with pytest.raises(MissingFileError, match="no file"):
        load_weights(Path("/" + "x" * 5000), model())


def test_the_model_inside_all_wrappers_is_the_plain_one() -> None:
    net = model()
    assert plain_model(torch.compile(nn.DataParallel(net))) is net  # type: ignore[arg-type]
    net.compile()
    assert plain_model(net) is net
    assert "0.weight" in net.state_dict()


def test_at_most_five_differences_are_listed(tmp_path: Path) -> None:
    names = [f"n{number}" for number in range(6)]
    torch.save({name: torch.zeros(1) for name in names[:5]}, tmp_path / "five.pth")
    torch.save({name: torch.zeros(1) for name in names}, tmp_path / "six.pth")
    with pytest.raises(UsageError, match=r"n4 not in the model\. Different classes"):
        load_weights(tmp_path / "five.pth", nn.Identity())
    with pytest.raises(UsageError, match=r"n4 not in the model; and 1 more\. Different classes"):
        load_weights(tmp_path / "six.pth", nn.Identity())


# What a model may hold besides plain tensors


class Counts(nn.Module):
    def __init__(self, calls: int = 0) -> None:
        super().__init__()
        self.layer, self.calls = nn.Linear(2, 2), calls

    def get_extra_state(self) -> dict[str, int]:
        return {"calls": self.calls}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.calls = state["calls"]


class Expanded(nn.Module):
    def __init__(self, value: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("position", torch.full((1, 2), value).expand(3, 2))


class TakesShape(nn.Module):
    """As an observer of quantization: its buffer has the shape that it sees, or that a file holds."""

    def __init__(self, n: int = 0) -> None:
        super().__init__()
        self.register_buffer("seen", torch.arange(float(n)))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        self.seen = torch.empty_like(state_dict[prefix + "seen"])
        super()._load_from_state_dict(state_dict, prefix, *rest)


def test_the_extra_state_of_modules_is_saved_and_loaded(tmp_path: Path) -> None:
    written, read = nn.Sequential(Counts(3)), nn.Sequential(Counts())
    save_weights(tmp_path / "a.pth", written, torch.optim.SGD(written.parameters()))
    load_weights(tmp_path / "a.pth", read)
    assert read[0].calls == 3
    assert equal(read[0].layer, written[0].layer)


def test_a_buffer_with_shared_memory_is_loaded(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        save_weights(tmp_path / "a.pth", nn.Sequential(nn.Linear(2, 2), Expanded(value)))
        read = nn.Sequential(nn.Linear(2, 2), Expanded())
        load_weights(tmp_path / "a.pth", read)
        assert torch.equal(read[1].position, torch.full((3, 2), value))


def test_a_layer_may_take_the_shape_of_what_it_loads(tmp_path: Path) -> None:
    save_weights(tmp_path / "a.pth", nn.Sequential(nn.Linear(2, 2), TakesShape(3)))
    read = nn.Sequential(nn.Linear(2, 2), TakesShape())
    load_weights(tmp_path / "a.pth", read)
    assert read[1].seen.tolist() == [0, 1, 2]


def test_lazy_layers_are_loaded(tmp_path: Path) -> None:
    written, read = nn.Sequential(nn.Linear(4, 3)), nn.Sequential(nn.LazyLinear(3))
    save_weights(tmp_path / "a.pth", written)
    load_weights(tmp_path / "a.pth", read)
    assert equal(written, read)


# What fits, and nothing else


def two(n: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, n))


@pytest.mark.parametrize("strict", [True, False])
def test_a_head_of_another_size_is_skipped_on_request(strict: bool, tmp_path: Path) -> None:
    written, read = two(5), two(2)
    save_weights(tmp_path / "a.pth", written)
    head = read[1].weight.detach().clone()
    with pytest.raises(UsageError, match=r"1.weight \(5, 3\) in the file.*learn.load\(..., skip_mismatched=True\)"):
        load_weights(tmp_path / "a.pth", read, strict=strict)
    with pytest.warns(LearnkitWarning, match=r"1.weight \(5, 3\) in the file, \(2, 3\) in the model; .* keep their"):
        load_weights(tmp_path / "a.pth", read, strict=strict, skip_mismatched=True)
    assert equal(read[0], written[0])
    assert torch.equal(read[1].weight, head)


@pytest.mark.parametrize("options", [{"strict": False}, {"skip_mismatched": True}])
@pytest.mark.parametrize("other", [nn.ModuleDict({"fc": nn.Linear(2, 3)}), nn.Sequential(nn.Linear(7, 7))])
def test_a_file_of_which_nothing_fits_is_refused(other: nn.Module, options: dict[str, bool], tmp_path: Path) -> None:
    save_weights(tmp_path / "a.pth", other)
    with pytest.raises(UsageError, match=r"does not fit this model.*another architecture"):
        load_weights(tmp_path / "a.pth", two(2), **options)


def test_a_buffer_that_has_grown_since_is_replaced_in_the_model_that_wrote_the_file(tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    net.register_buffer("seen", torch.ones(3))
    save_weights(tmp_path / "a.pth", net)
    net.seen = torch.zeros(5)
    with pytest.raises(UsageError, match=r"seen \(3,\) in the file, \(5,\) in the model"):
        load_weights(tmp_path / "a.pth", net)
    load_weights(tmp_path / "a.pth", net, is_own=True)
    assert net.seen.tolist() == [1.0] * 3


# The parameters of a loss, and the class of an optimizer


def test_the_parameters_of_a_loss_are_in_every_file(tmp_path: Path) -> None:
    model, loss, read = two(2), nn.Linear(1, 1), nn.Linear(1, 1)
    optimizer = torch.optim.SGD([*model.parameters(), *loss.parameters()])
    save_weights(tmp_path / "a.pth", model, optimizer, loss)
    content = torch.load(tmp_path / "a.pth", weights_only=True)
    assert content.keys() == {"model", "opt", "loss"}
    assert content["opt"]["class"] == "SGD"
    load_weights(tmp_path / "a.pth", two(2), loss=read)
    assert equal(loss, read)
    save_weights(tmp_path / "b.pth", model, None, loss)
    assert torch.load(tmp_path / "b.pth", weights_only=True).keys() == {"model", "loss"}
    again = nn.Linear(1, 1)
    assert load_weights(tmp_path / "b.pth", two(2), loss=again) is None
    assert equal(loss, again)
    save_weights(tmp_path / "c.pth", model, None, nn.MSELoss())
    assert torch.load(tmp_path / "c.pth", weights_only=True).keys() == model.state_dict().keys()
    with pytest.raises(UsageError, match=r"weight \(1, 1\) in the file, \(1, 1, 1\) in the model"):
        load_weights(tmp_path / "a.pth", two(2), loss=nn.Bilinear(1, 1, 1))


def test_a_model_without_tensors_is_saved_and_loaded(tmp_path: Path) -> None:
    save_weights(tmp_path / "a.pth", nn.Identity())
    assert load_weights(tmp_path / "a.pth", nn.Identity()) is None
    with pytest.raises(UsageError, match="weight not in the file"):
        load_weights(tmp_path / "a.pth", nn.Linear(2, 2))


def test_something_else_than_a_path_is_refused(tmp_path: Path) -> None:
    for wrong in (None, 3, b"a"):
        with refused("file", WrongTypeError, got=wrong, expected="a name, or a path"):
            weights_path(wrong, tmp_path)  # type: ignore[arg-type]
