"""Where pretrained weights come from, and how they are loaded into a body."""

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, ResNet50_Weights

from learnkit.errors import CorruptFileError, DownloadError, LearnkitWarning, MissingFileError, UsageError
from learnkit.models.cut import create_body
from learnkit.models.pretrained import find_weights, load_body, plain_names
from tests.doubles import Bomb, refused

FILE = "resnet18-f37072fd.pth"


class Tiny(nn.Module):
    """A network with a body of two layers, and a classifier."""

    def __init__(self, n_out: int = 10) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4, n_out)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No network; the folder in which torch keeps what it has fetched."""

    def fail(*args: object, **kwargs: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    return tmp_path / "torch" / "hub" / "checkpoints"


def cache(folder: Path, state: dict[str, Tensor]) -> None:
    folder.mkdir(parents=True)
    torch.save(state, folder / FILE)


def test_offline_the_error_names_the_file_and_the_alternatives(offline: Path) -> None:
    with pytest.raises(DownloadError) as error:
        find_weights("DEFAULT", "resnet18")
    text = str(error.value)
    assert "resnet18 could not be fetched from https://download.pytorch.org/models/resnet18-f37072fd.pth" in text
    assert "no route to host" in text
    assert f"no copy at {offline / FILE}" in text
    assert 'weights="path.pth"' in text
    assert "pretrained=False" in text


@pytest.mark.parametrize(
    "weights", ["DEFAULT", "IMAGENET1K_V1", "ResNet18_Weights.IMAGENET1K_V1", ResNet18_Weights.DEFAULT]
)
def test_weights_are_read_from_torchs_cache(offline: Path, weights: object) -> None:
    cache(offline, {"conv1.weight": torch.ones(2)})
    assert find_weights(weights, "resnet18")["conv1.weight"].tolist() == [1, 1]


def test_damaged_weights_in_the_cache_are_named(offline: Path) -> None:
    offline.mkdir(parents=True)
    (offline / FILE).write_bytes(b"half a file")
    with pytest.raises(CorruptFileError, match=rf"{FILE}: the cached weights of resnet18 cannot be read .*Delete it"):
        find_weights("DEFAULT", "resnet18")


def test_a_wrong_checksum_is_a_download_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError('invalid hash value (expected "f37072fd", got "00")')

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(DownloadError, match="invalid hash value"):
        find_weights("DEFAULT", "resnet18")


def test_the_checksum_in_the_name_is_compared_when_weights_are_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(url: str, file: str, hash_prefix: str | None = None, progress: bool = True) -> None:
        assert hash_prefix == "f37072fd"  # torch compares it with the SHA-256 of what it has fetched
        torch.save({"conv1.weight": torch.ones(2)}, file)

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    assert find_weights("DEFAULT", "resnet18")["conv1.weight"].tolist() == [1, 1]


def test_a_file_in_the_cache_that_would_run_code_is_not_run(offline: Path, tmp_path: Path) -> None:
    offline.mkdir(parents=True)
    torch.save({"conv1.weight": Bomb(tmp_path / "ran")}, offline / FILE)
    with pytest.raises(CorruptFileError, match=FILE):
        find_weights("DEFAULT", "resnet18")
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_torchvision_network_are_refused() -> None:
    with refused("weights", got="ResNet50_Weights.IMAGENET1K_V1", expected="weights for resnet18"):
        find_weights(ResNet50_Weights.IMAGENET1K_V1, "resnet18")


def test_a_name_that_is_not_weights_is_taken_for_a_file() -> None:
    with pytest.raises(MissingFileError, match="no file IMAGENET1K_V9"):
        find_weights("IMAGENET1K_V9", "resnet18")


@pytest.mark.parametrize("weights", [3, ["a"], True])
def test_weights_of_another_kind_are_refused(weights: object) -> None:
    with refused("weights", got=weights, expected="a path, a state dict or torchvision weights"):
        find_weights(weights, "resnet18")


def test_a_state_dict_of_more_than_tensors_is_refused() -> None:
    with pytest.raises(UsageError, match=r"\['model'\] are not tensors"):
        find_weights({"model": {"w": torch.zeros(1)}}, None)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_of_wrappers_are_removed_from_names(prefix: str) -> None:
    source, target = Tiny(), Tiny(n_out=3)
    state = plain_names({prefix + name: tensor for name, tensor in source.state_dict().items()}, target)
    load_body(target, create_body(target), state, "tiny")
    assert torch.equal(target.conv.weight, source.conv.weight)
    assert target.fc.out_features == 3


def test_a_child_really_called_module_keeps_its_name() -> None:
    net = nn.Sequential()
    net.module = nn.Linear(2, 2)
    assert set(plain_names(net.state_dict(), net)) == {"module.weight", "module.bias"}


def test_batch_norm_statistics_are_loaded_too() -> None:
    source, target = Tiny(), Tiny()
    source.norm.running_mean.fill_(5)  # type: ignore[union-attr]
    load_body(target, create_body(target), source.state_dict(), "tiny")
    assert target.norm.running_mean.tolist() == [5] * 4  # type: ignore[union-attr]


def test_files_without_batch_counts_are_loaded() -> None:
    source, target = Tiny(), Tiny()
    state = {name: t for name, t in source.state_dict().items() if "num_batches" not in name}
    load_body(target, create_body(target), state, "tiny")
    assert torch.equal(target.conv.weight, source.conv.weight)


def test_mismatched_and_missing_tensors_are_named_and_nothing_is_loaded() -> None:
    target = Tiny()
    before = target.conv.weight.clone()
    state = Tiny().state_dict()
    state["conv.bias"] = torch.zeros(9)
    del state["norm.weight"]
    with pytest.raises(UsageError) as error:
        load_body(target, create_body(target), state, "tiny")
    assert "2 tensors do not fit the body of tiny: conv.bias got (9,), expected (4,); norm.weight is missing" in str(
        error.value
    )
    assert torch.equal(target.conv.weight, before)


def test_only_the_first_five_mismatches_are_named() -> None:
    target = torchvision.models.resnet18()
    with pytest.raises(UsageError) as error:
        load_body(target, create_body(target), {"fc.weight": torch.zeros(1)}, "resnet18")
    assert str(error.value).count("is missing") == 5


def test_a_deeper_network_of_the_family_is_not_loaded_in_part() -> None:
    target = torchvision.models.resnet18()
    state = torchvision.models.resnet34().state_dict()
    with pytest.raises(UsageError, match=r"layer1\.2\.conv1\.weight is not in this network"):
        load_body(target, create_body(target), state, "resnet18")


def test_any_classifier_is_ignored() -> None:
    source, target = Tiny(), Tiny()
    state = dict(source.state_dict())
    state |= {"fc.weight": torch.zeros(7, 7), "fc.1.weight": torch.zeros(2)}
    load_body(target, create_body(target), state, "tiny")
    assert torch.equal(target.conv.weight, source.conv.weight)


def test_a_cut_that_copies_cannot_be_filled() -> None:
    target = Tiny()
    with pytest.raises(UsageError, match="cut: the function returned copies of the layers"):
        load_body(target, nn.Sequential(nn.Conv2d(3, 4, 3)), target.state_dict(), "tiny")


@pytest.mark.parametrize("name", ["conv.weight", "norm.running_var"])
def test_weights_that_are_nan_are_named(name: str) -> None:
    source, target = Tiny(), Tiny()
    state = source.state_dict()
    state[name].view(-1)[0] = torch.nan
    state["fc.weight"][:] = torch.nan  # which is not loaded
    with pytest.warns(LearnkitWarning, match=rf"^weights for tiny are nan or infinite: {name}\. "):
        load_body(target, create_body(target), state, "tiny")
