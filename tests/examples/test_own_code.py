"""The examples of code of one's own do their jobs: callbacks, a second optimizer, pairs, masks, points."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from learnkit import Callback, TrainState
from tests.doubles import script_module
from tests.examples.test_lessons import EXAMPLES, run

pytestmark = pytest.mark.slow


def test_own_callback(tmp_path: Path) -> None:
    said = run("own_callback", tmp_path)
    assert re.search(r"after_backward +GradientNorms\n", said)
    assert int(re.search(r"^(\d+) of 30 epochs$", said, re.MULTILINE)[1]) < 30  # type: ignore[index]
    assert re.search(r"^interrupted after step \d+\nepoch 1 ", said, re.MULTILINE)  # not from the start again
    assert re.search(r"items seen after the interruption and without one: (\d{3}) \1\n", said)
    assert "the same of each class: True\nthe same weights: True\n" in said
    assert (tmp_path / "gradients.png").stat().st_size > 5000


def test_two_optimizers(tmp_path: Path) -> None:
    said = run("two_optimizers", tmp_path)
    first, second = (float(loss) for loss in re.findall(r"loss_d ([\d.]+)", said))
    assert second < first  # the discriminator learns
    before, after = (np.asarray(Image.open(tmp_path / f"{name}.png")).astype(float) for name in ("before", "after"))
    assert abs(after - before).mean() > 5  # and so does the generator


def test_both_optimizers_go_on_after_a_break(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    gan = script_module(EXAMPLES / "two_optimizers.py")
    images = torch.rand(64 + 4 * 64, 1, 28, 28) * 2 - 1

    class Break(Callback):
        def after_step(self, state: TrainState) -> None:
            if state.step == 6 and not state.resumed:
                raise KeyboardInterrupt

    whole, callbacks = gan.make_learner(tmp_path / "whole", images)
    whole.fit(2, 5e-4, callbacks=callbacks)
    broken, own = gan.make_learner(tmp_path, images)
    with pytest.raises(KeyboardInterrupt):
        broken.fit(2, 5e-4, callbacks=[*own, Break()], checkpoint_every=1)
    again, own = gan.make_learner(tmp_path, images)
    again.fit(2, 5e-4, callbacks=[*own, Break()], checkpoint_every=1, resume="auto")

    for one, other in ((whole.model, again.model), (callbacks[0].network, own[0].network)):
        for name, tensor in one.state_dict().items():
            torch.testing.assert_close(tensor, other.state_dict()[name], rtol=0, atol=0, msg=name)
    pairs = zip(callbacks[0].optimizer.state.values(), own[0].optimizer.state.values(), strict=True)
    assert all(torch.equal(one["exp_avg_sq"], other["exp_avg_sq"]) for one, other in pairs)


def test_siamese(tmp_path: Path) -> None:
    said = run("siamese", tmp_path)
    losses = [float(loss) for loss in re.findall(r"train_loss ([\d.]+)", said)[:4]]
    assert losses[-1] < losses[0]
    assert re.search(r"^a new pair: (different|same), and it is (different|same)$", said, re.MULTILINE)
    assert len(re.findall(r"never seen: \d+\.\d%$", said, re.MULTILINE)) == 2
    assert (tmp_path / "pairs.png").stat().st_size > 5000


def test_segmentation(tmp_path: Path) -> None:
    said = run("segmentation", tmp_path)
    weights = dict(re.findall(r"'(\w+)': ([\d.]+)", said))
    assert max(weights, key=lambda name: float(weights[name])) == "car"  # the rarest
    assert float(re.search(r"right of its labeled pixels: ([\d.]+)%", said)[1]) > 65  # type: ignore[index]
    mask = np.asarray(Image.open(tmp_path / "mask.png"))
    assert mask.shape == (90, 120)  # that of the photo, not of what the model saw
    assert set(np.unique(mask)) <= {0, 1, 2, 3}


def test_key_points(tmp_path: Path) -> None:
    said = run("key_points", tmp_path)
    assert "left eye at the right, in augmented images: 100%\n" in said
    distances = [float(value) for value in re.findall(r"point_distance ([\d.]+)", said)]
    assert distances[-1] < 0.7 * distances[0]
    off = [float(value) for value in re.findall(r"([\d.]+) pixels of 384 x 288 off", said)]
    assert len(off) == 3
    assert max(off) < 130  # in pixels of the large image: in those of 64 x 64 all points were in its corner
