"""What of a model is gathered together, and tensors that are not shared out; the matrix has the rest."""

import torch
from torch import Tensor, nn

from learnkit.distributed.sharded import Sharded, is_shared_out, placed, spread_buffers, units, whole


class Block(nn.Module):
    """A residual block: what is inside of its Sequential is gathered with it."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(n, n), nn.ReLU(), nn.Linear(n, n))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.layers(x)
        return out


def test_the_units_are_the_repeated_blocks() -> None:
    stem, head, blocks = nn.Linear(8, 8), nn.Linear(8, 2), [Block(8) for _ in range(5)]
    model = nn.Sequential(nn.Sequential(stem, nn.Sequential(*blocks)), head)
    # Of 810 parameters: the stem 72, the head 18, each block 144; both containers hold more than a quarter.
    assert units(model) == [stem, *blocks, head]


def test_blocks_in_a_list_are_units_and_the_list_is_none() -> None:
    model = nn.Module()
    model.first, model.blocks = nn.Linear(4, 4), nn.ModuleList([Block(4) for _ in range(4)])
    assert units(model) == list(model.blocks)  # not `first`: its owner may use its weight without calling it


def test_small_layers_are_gathered_with_the_rest() -> None:
    small, large = nn.LayerNorm(2), nn.Linear(30, 30)
    assert units(nn.Sequential(small, large)) == [large]


def test_a_layer_of_most_of_the_parameters_is_a_unit_if_nothing_in_it_is() -> None:
    large = nn.Linear(200, 200)
    assert units(nn.Sequential(large, nn.Linear(200, 1))) == [large]


def test_layers_that_share_a_weight_are_no_units() -> None:
    one, other, free = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
    other.weight = one.weight
    assert units(nn.Sequential(one, other, free)) == [free]
    assert units(nn.Sequential(nn.Sequential(one, other), free))[0][0] is one  # both are inside


def test_a_layer_without_parameters_or_with_numbers_alone_is_no_unit() -> None:
    number = nn.Module()
    number.scale = nn.Parameter(torch.ones(()))
    assert units(nn.Sequential(nn.ReLU(), number)) == []


def test_what_is_not_shared_out_stays_as_it_is() -> None:
    tensor = torch.arange(3.0)
    assert not is_shared_out(tensor)
    assert whole(tensor) is tensor
    assert placed(tensor, torch.zeros(3)) is tensor


def test_alone_the_model_runs_as_it_is() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    running, x = Sharded(model, []), torch.randn(3, 2)
    model.eval()
    with running.averaging(is_last=True):
        torch.testing.assert_close(running(x), model(x))
    running.finish()
    running.refresh()
    before = [buffer.clone() for buffer in model.buffers()]
    spread_buffers(model)
    torch.testing.assert_close(list(model.buffers()), before)
