"""What was found is said before training."""

from pathlib import Path

from learnkit import ImageDataBunch, cnn_learner
from learnkit.cli.found import described, results_line


def test_task_classes_counts_and_model_are_named(photos: Path) -> None:
    dls = ImageDataBunch.from_folder(photos, size=(32, 48), bs=2, num_workers=0)
    learn = cnn_learner(dls, "shufflenet_v2_x0_5", pretrained=False, metrics="accuracy", lin_ftrs=[], concat_pool=False)
    learn.freeze()
    task, items, model = described(dls, learn).split("\n")
    assert task == "Classification, 2 classes: blue, red"
    assert items == "train 8, valid 4 images of 32 x 48, 3 channels, on cpu"
    body = sum(p.numel() for p in learn.model[0].parameters())
    head = 2 * 1024 + 1024 * 2 + 2  # batch norm and linear layer
    norms = sum(p.numel() for m in learn.model[0].modules() if "BatchNorm" in type(m).__name__ for p in m.parameters())
    assert model == f"Sequential of {body + head:,} weights, {head + norms:,} of them trained at first"
    loss, accuracy = learn.validate()
    assert results_line(learn) == f"loss {loss:.6f}  accuracy {accuracy:.6f}"
