"""The same training in other libraries, as their documentation shows it, without progress bars."""

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

__all__ = ["PEERS", "Fit"]

# (model, (x_train, y_train, x_valid, y_valid), batch size, learning rate, epochs) -> work that returns the accuracy
Fit = Callable[[nn.Module, Sequence[Tensor], int, float, int], Callable[[], float]]


def with_fastai(model: nn.Module, data: Sequence[Tensor], bs: int, lr: float, n_epochs: int) -> Callable[[], float]:
    import fastai.callback.progress  # noqa: F401  gives the learner its no_bar
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.metrics import accuracy
    from fastai.optimizer import SGD

    train, valid = TensorDataset(*data[:2]), TensorDataset(*data[2:])
    dls = DataLoaders.from_dsets(train, valid, bs=bs, num_workers=0, device="cpu")
    learn = Learner(dls, model, loss_func=nn.CrossEntropyLoss(), opt_func=SGD, metrics=accuracy)

    def run() -> float:
        with learn.no_bar(), learn.no_logging():
            learn.fit(n_epochs, lr, wd=0.0)
        return float(learn.recorder.values[-1][-1])

    return run


def with_lightning(model: nn.Module, data: Sequence[Tensor], bs: int, lr: float, n_epochs: int) -> Callable[[], float]:
    import lightning

    class Digits(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: Any, _: int) -> Tensor:
            loss = F.cross_entropy(self.model(batch[0]), batch[1])
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch: Any, _: int) -> None:
            preds = self.model(batch[0])
            self.log("valid_loss", F.cross_entropy(preds, batch[1]))
            self.log("accuracy", (preds.argmax(1) == batch[1]).float().mean())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr)

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    off = ["enable_progress_bar", "logger", "enable_checkpointing", "enable_model_summary"]
    trainer = lightning.Trainer(
        max_epochs=n_epochs, accelerator="cpu", num_sanity_val_steps=0, **dict.fromkeys(off, False)
    )
    train = DataLoader(TensorDataset(*data[:2]), bs, shuffle=True, drop_last=True)
    valid = DataLoader(TensorDataset(*data[2:]), bs)

    def run() -> float:
        trainer.fit(Digits(), train, valid)
        return float(trainer.callback_metrics["accuracy"])

    return run


def with_skorch(model: nn.Module, data: Sequence[Tensor], bs: int, lr: float, n_epochs: int) -> Callable[[], float]:
    from skorch import NeuralNetClassifier
    from skorch.helper import predefined_split

    net = NeuralNetClassifier(
        model, criterion=nn.CrossEntropyLoss, optimizer=torch.optim.SGD, lr=lr, batch_size=bs, max_epochs=n_epochs,
        iterator_train__shuffle=True, iterator_train__drop_last=True, verbose=0, callbacks__print_log=None,
        train_split=predefined_split(TensorDataset(*data[2:])),
    )  # fmt: skip

    def run() -> float:
        net.fit(data[0].numpy(), data[1].numpy())
        return float(net.history[-1, "valid_acc"])

    return run


def with_keras(model: nn.Module, data: Sequence[Tensor], bs: int, lr: float, n_epochs: int) -> Callable[[], float]:
    """Keras's own layers, as many and as wide as those of the model, on its torch backend."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    linear = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    hidden = [keras.layers.Dense(layer.out_features, activation="relu") for layer in linear[:-1]]
    net = keras.Sequential(
        [keras.Input((linear[0].in_features,)), *hidden, keras.layers.Dense(linear[-1].out_features)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    net.compile(keras.optimizers.SGD(lr), loss, metrics=["accuracy"])
    x, y, *valid = (part.numpy() for part in data)

    def run() -> float:
        fitted = net.fit(x, y, batch_size=bs, epochs=n_epochs, validation_data=tuple(valid), verbose=0)
        return float(fitted.history["val_accuracy"][-1])

    return run


def with_ignite(model: nn.Module, data: Sequence[Tensor], bs: int, lr: float, n_epochs: int) -> Callable[[], float]:
    from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
    from ignite.metrics import Accuracy, Loss

    loss_func = nn.CrossEntropyLoss()
    trainer = create_supervised_trainer(model, torch.optim.SGD(model.parameters(), lr), loss_func)
    evaluator = create_supervised_evaluator(model, metrics={"accuracy": Accuracy(), "loss": Loss(loss_func)})
    train = DataLoader(TensorDataset(*data[:2]), bs, shuffle=True, drop_last=True)
    valid = DataLoader(TensorDataset(*data[2:]), bs)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(valid))

    def run() -> float:
        trainer.run(train, max_epochs=n_epochs)
        return float(evaluator.state.metrics["accuracy"])

    return run


PEERS: dict[str, Fit] = {
    "fastai": with_fastai,
    "lightning": with_lightning,
    "skorch": with_skorch,
    "keras": with_keras,
    "ignite": with_ignite,
}
