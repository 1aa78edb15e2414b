"""Raw outputs as a list of tensors, and back."""

from typing import Any

import torch
from torch import Tensor, nn

from learnkit.persistence.deploy.flat_outputs import Flat, FlatOutputs, FromFlat


class Several(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Any]:
        return {"rows": x, "more": (x.sum(), [x.argmax(1), None]), "name": "a"}


def test_a_structure_is_flat_and_comes_back() -> None:
    x = torch.randn(5, 3)
    flat, tensors = Flat(Several(), x), FlatOutputs(Several())(x)
    assert flat.names == ["output0", "output1", "output2"]
    assert flat.free == [("batch",), (), ("batch",)]
    assert [example.shape for example in flat.examples] == [(2, 3), (), (2,)]
    back = flat.filled(tensors)
    assert torch.equal(back["rows"], x)
    assert torch.equal(back["more"][0], x.sum())
    assert torch.equal(back["more"][1][0], x.argmax(1))
    assert (back["more"][1][1], back["name"]) == (None, "a")


def test_a_single_output_is_named_as_ever() -> None:
    flat = Flat(lambda x: x, torch.zeros(5, 3))
    assert flat.names == ["output"]
    assert torch.equal(flat.filled(torch.ones(5, 3)), torch.ones(5, 3))


def test_a_constant_of_as_many_rows_as_a_batch_has_none_for_its_items() -> None:
    assert Flat(lambda x: (x, torch.ones(5, 2)), torch.zeros(5, 3)).free == [("batch",), ()]
    assert Flat(lambda x: (x, torch.ones(2, 2)), torch.zeros(5, 3)).free == [("batch",), ()]


def test_an_activation_takes_them_as_a_list() -> None:
    class Ratio(nn.Module):
        def forward(self, outputs: Any) -> Tensor:
            return outputs["rows"] / outputs["more"][0]

    x = torch.ones(4, 2)
    assert FromFlat(Ratio(), Flat(Several(), x))(FlatOutputs(Several())(x)).unique().tolist() == [0.125]
