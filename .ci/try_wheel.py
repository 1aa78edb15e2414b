"""Train, report, export, load and predict with the installed package, in an empty folder."""

import contextlib
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from torch import nn

import learnkit
from learnkit.cli.main import main

package = Path(learnkit.__file__).parent
assert package.is_relative_to(sys.prefix), f"not the installed package: {package}"
assert (package / "py.typed").exists()

with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
    numbers = np.random.default_rng(0)
    for label, level in (("dark", 60), ("light", 190)):
        Path("images", label).mkdir(parents=True)
        for i in range(12):
            pixels = np.clip(numbers.normal(level, 20, (16, 16, 3)), 0, 255).astype("uint8")
            Image.fromarray(pixels).save(f"images/{label}/{i}.png")
    dls = learnkit.ImageDataBunch.from_folder("images", valid_pct=0.25, size=16, bs=6)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    learn = learnkit.Learner(dls, model, metrics="accuracy", seed=0)
    learn.fit(2, 1e-2)
    learn.report("report.html")
    learn.export("model.lk")
    answer = learn.predict("images/dark/0.png")
    assert learnkit.load_learner("model.lk", model=model).predict("images/dark/0.png").label == answer.label
    assert main(["env"]) == 0
print(f"learnkit {learnkit.__version__} works from {package}")
