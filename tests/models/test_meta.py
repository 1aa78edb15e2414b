"""Networks on the meta device."""

import pytest
import torch
from torch import nn

from learnkit.models import ARCHITECTURES, BackboneSpec
from learnkit.models.meta import built_on_meta


def test_on_meta_takes_no_memory_and_no_random_numbers() -> None:
    before = torch.get_rng_state()
    network = BackboneSpec("vgg19", 1000).on_meta()
    assert all(tensor.is_meta for tensor in network.state_dict().values())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_network_of_the_table_can_be_built_on_meta(name: str) -> None:
    network = BackboneSpec(name, 7).on_meta()
    assert sum(tensor.nbytes for tensor in network.state_dict().values() if not tensor.is_meta) < 1000


class ReadsNumbers(nn.Linear):
    """Computes its width from a tensor, which the meta device refuses."""

    def __init__(self) -> None:
        super().__init__(3, int(sum(torch.tensor([2.0, 4.0]).tolist())))
        self.register_buffer("scale", torch.full((6,), 2.0))
        self.register_buffer("one", torch.tensor([1.0]))


def test_a_network_that_reads_values_while_it_is_built_has_its_weights_on_meta() -> None:
    before = torch.get_rng_state()
    network = built_on_meta(ReadsNumbers)
    assert {name: tensor.is_meta for name, tensor in network.state_dict().items()} == {
        "weight": True,
        "bias": True,
        "scale": True,
        "one": False,  # computed, not made by a layer
    }
    assert network.weight.shape == (6, 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_error_while_building_is_not_hidden() -> None:
    def build() -> nn.Module:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        built_on_meta(build)
