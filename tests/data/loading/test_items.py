"""Several items of a user, and one that is not taken for several."""

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from learnkit.data.loading.items import listed, several
from learnkit.errors import DataError, UsageError

SEVERAL: dict[str, Callable[[list[int]], Any]] = {
    "list": list, "tuple": tuple, "generator": iter, "deque": deque, "array": np.array, "tensor": torch.tensor,
    "Series": pd.Series, "Index": pd.Index, "table": lambda items: pd.DataFrame({"input": items, "other": 0}),
    "dict of keys": lambda items: dict.fromkeys(items).keys(),
}  # fmt: skip


@pytest.mark.parametrize("form", SEVERAL.values(), ids=SEVERAL)
def test_items_come_in_every_form(form: Callable[[list[int]], Any]) -> None:
    assert [int(one) for one in listed(form([3, 1, 2]))] == [3, 1, 2]
    with pytest.raises(DataError, match="the test set is empty"):
        listed(form([]))


ONE = {
    "text": "cat.jpg", "path": Path("cat.jpg"), "bytes": b"\xff\xd8", "dict": {"a": 1}, "number": 3, "None": None,
    "PIL": Image.new("RGB", (2, 2)), "0-dim": torch.tensor(3), "function": listed,
}  # fmt: skip


@pytest.mark.parametrize("one", ONE.values(), ids=ONE)
def test_one_item_is_not_taken_apart(one: Any) -> None:
    with pytest.raises(UsageError, match=r"items: got one .*: expected several items.*\[item\]"):
        several(one)


@pytest.mark.parametrize("image", [np.zeros((4, 4, 3)), np.zeros((4, 4)), torch.zeros(3, 4, 4)])
def test_one_image_is_not_taken_for_rows(image: Any) -> None:
    with pytest.raises(UsageError, match=r"items: got one .* of [23] axes"):
        several(image, are_images=True)
    assert len(list(several(image))) == len(image)  # vectors
    for pair in ([image, image], image[None][[0, 0]][:, :, None]):  # a list, or a stack of four axes or more
        assert len(listed(pair, are_images=True)) == 2


def test_a_folder_is_named_with_what_lists_it(tmp_path: Path) -> None:
    for folder in (tmp_path, str(tmp_path)):
        with pytest.raises(UsageError, match=r"got the folder '.*': expected .* Pass get_image_files\(folder\)"):
            several(folder)


def test_a_table_needs_the_column() -> None:
    with pytest.raises(UsageError, match=r"a table with the columns name, label: expected a column input. .*df"):
        several(pd.DataFrame({"name": ["a"], "label": [0]}))
