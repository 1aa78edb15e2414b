"""Learner.label_issues: wrong labels of the training set, from the features of a body that has not seen them."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from learnkit import DataBunch, ImageDataBunch, Learner, Regression
from learnkit.errors import DataError, UsageError, WrongTypeError
from tests.doubles import Blobs

COLORS = ["blue", "green", "red"]


def learner(dls: DataBunch, **options: Any) -> Learner:
    """The mean colors go into the head."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Learner(dls, nn.Sequential(body, nn.Linear(8, 3)), groups=lambda m: [m[0], m[1]], seed=0, **options)


def planted(folder: Path, split: str = "train") -> tuple[ImageDataBunch, pd.DataFrame]:
    """Images of three colors, some of them with the label of another, and these with their right labels."""
    dls = ImageDataBunch.from_folder(folder, size=8, bs=4, num_workers=0)
    rows = dls.samples[dls.samples["split"] == split]
    right = rows.groupby("target").head(1)
    wrong = right.assign(target=[COLORS[COLORS.index(label) - 1] for label in right["target"]])
    return dls.relabel(wrong), right


@pytest.mark.parametrize("split", ["train", "valid"])
def test_exactly_the_wrong_labels_are_issues_and_the_circle_closes(class_folder: Path, split: str) -> None:
    dls, right = planted(class_folder, split)
    issues = learner(dls).label_issues(split, folds=4)
    assert list(issues) == ["item", "path", "label", "suggestion", "score", "is_issue"]
    assert len(issues) == (dls.samples["split"] == split).sum()
    found = issues[issues["is_issue"]]
    assert set(found["path"]) == set(right["input"])
    again = dls.relabel(found.assign(label=found["suggestion"]))  # as docs/data.md has it
    first = ImageDataBunch.from_folder(class_folder, bs=4).samples
    pd.testing.assert_series_equal(again.samples["target"], first["target"])
    left = dls.drop(found["path"]).samples
    assert len(left) == len(dls.samples) - 3
    assert not set(left["input"]) & set(right["input"])


def test_the_circle_through_a_file_that_is_edited(class_folder: Path, tmp_path: Path) -> None:
    dls, right = planted(class_folder)
    issues = learner(dls).label_issues(folds=4)
    file = tmp_path / "issues.csv"
    issues[issues["is_issue"]].to_csv(file, index=False)
    text = file.read_text()
    one = right["input"].iloc[0]
    line = next(line for line in text.splitlines() if one in line)
    cells = line.split(",")
    cells[2] = cells[3]  # the suggestion becomes the label, by hand and in this row alone
    file.write_text(text.replace(line, ",".join(cells)))
    samples = dls.relabel(file).samples.set_index("input")["target"]
    assert samples[one] == Path(one).parent.name
    others = right["input"].iloc[1:]
    assert (samples[others] == dls.samples.set_index("input")["target"][others]).all()


@pytest.mark.slow
def test_the_training_set_is_the_default_and_items_are_judged_by_others(class_folder: Path) -> None:
    dls, right = planted(class_folder)
    learn = learner(dls, metrics="accuracy").freeze()
    pd.testing.assert_frame_equal(learn.label_issues(), learn.label_issues("train", 5))
    learn.fit_head(60, 0.1)  # until it repeats the wrong labels
    issues = learn.label_issues()
    assert set(issues["path"].head(3)) == set(right["input"])


def test_nothing_is_left_behind(class_folder: Path) -> None:
    learn = learner(planted(class_folder)[0])
    learn.model.train()
    before, random = {name: tensor.clone() for name, tensor in learn.model.state_dict().items()}, torch.get_rng_state()
    learn.label_issues()
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, before[name]) for name, tensor in learn.model.state_dict().items())
    assert all(module.training for module in learn.model.modules())
    assert all(parameter.grad is None for parameter in learn.model.parameters())
    assert not any(module._forward_pre_hooks for module in learn.model.modules())


@pytest.mark.slow
def test_a_body_that_may_have_seen_the_labels_is_warned_about(class_folder: Path, recwarn: Any) -> None:
    learn = learner(planted(class_folder)[0])
    learn.freeze().fit(1, 1e-3)  # batch norm, which is trained too, does not remember images
    learn.label_issues()
    assert not [one for one in recwarn if "may have been trained on these labels" in str(one.message)]
    learn.unfreeze()
    learn.fit(1, 1e-3)
    with pytest.warns(UserWarning, match="the body may have been trained on these labels"):
        learn.label_issues()
    recwarn.clear()
    learn.label_issues("valid")
    assert not [one for one in recwarn if "may have been trained on these labels" in str(one.message)]


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x)) + self.head(x)
        return out


def test_what_cannot_be_judged_is_refused(class_folder: Path, blobs: Blobs) -> None:
    x, y = torch.rand(20, 2), torch.rand(20, 1)
    layers = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 1))
    numbers = Learner(DataBunch.from_tensors(x, y, x, y, bs=4, task=Regression()), layers, groups=list, seed=0)
    with pytest.raises(WrongTypeError, match=r"label_issues: the task of the data: got .*Regression"):
        numbers.label_issues()
    twice = Learner(DataBunch.from_tensors(*blobs), Twice(), groups=lambda m: [m.body, m.head], seed=0)
    with pytest.raises(UsageError, match="its head is not called once"):
        twice.label_issues()
    learn = learner(planted(class_folder)[0])
    with pytest.raises(UsageError, match="has no test set"):
        learn.label_issues("test")
    with pytest.raises(DataError, match="30 folds: got '24 rows'"):
        learn.label_issues(folds=30)
