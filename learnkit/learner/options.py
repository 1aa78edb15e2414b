"""The options of a learner, each checked by itself when it is set: callbacks, optimizer, decay, folders."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from learnkit.arguments import OTHER_NAMES, check_partial
from learnkit.callbacks.recorder import Recorder
from learnkit.checks import check_kind, check_number
from learnkit.errors import UsageError, WrongTypeError
from learnkit.learner.defaults import chosen_decay
from learnkit.learner.running import Running
from learnkit.losses.outputs import OneOutput, OutputKey
from learnkit.optim.optimizers import OptimizerFactory, factory_of
from learnkit.training.callback import Callback, CallbackList
from learnkit.types import Activation, PathLike

__all__ = ["Options", "as_list"]

# Arguments and attributes of other objects, which a learner would store and never read.
OF_FITS = {"lr", "max_lr", "lr_max", "base_lr", "epochs", "n_epoch", "moms", "lr_mult", "freeze_epochs", "resume"}
OF_DATA = {"bs", "batch_size", "device", "classes", "train_dl", "valid_dl", "test_dl", "task", "input_shape"}


class Options(ABC):
    """Options of a learner; `Learner` describes the arguments."""

    _model: nn.Module
    _recorder: Recorder
    _running: Running
    _callbacks: list[Callback]
    _checked_callbacks: tuple[Callback, ...] = ()
    _opt: Optimizer | None = None
    _opt_func: str | OptimizerFactory = "adamw"
    _output: OneOutput | None = None
    _wd: float | None = None
    _temperature = 1.0
    _activation: Activation | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse names of other libraries and objects, which would be stored and never read.

        Raises:
            WrongTypeError: with our name.
        """
        if not hasattr(type(self), name):
            ours = [other for other in OTHER_NAMES.get(name, ()) if hasattr(type(self), other)]
            if ours:
                raise WrongTypeError(f"a learner has no {name}", fix=f"Set learn.{ours[0]}.")
            if name in OF_FITS:
                raise WrongTypeError(f"a learner has no {name}", fix="Pass it to the fit, see help(learn.fit).")
            if name in OF_DATA:
                raise WrongTypeError(f"a learner has no {name}", fix="Make the data with it, and set learn.dls.")
        super().__setattr__(name, value)

    @property
    def recorder(self) -> Recorder:
        """The history of all fits; a new one begins another."""
        return self._recorder

    @recorder.setter
    def recorder(self, recorder: Recorder) -> None:
        self._running.refuse("recorder")
        check_kind("recorder", recorder, Recorder, "a learnkit.callbacks.Recorder")
        self._recorder = recorder

    @property
    def output(self) -> OneOutput | None:
        """Picks the output that is the prediction; None for a model with a single one."""
        return self._output

    @output.setter
    def output(self, output: OutputKey | None) -> None:
        self._running.refuse("output")
        self._output = None if output is None else OneOutput(output)

    @property
    def opt(self) -> Optimizer | None:
        """The optimizer with its state; None before the first fit. Set to None, the next fit starts without state."""
        self._running.check_whole()
        return self._opt

    @opt.setter
    def opt(self, optimizer: None) -> None:
        if optimizer is not None:
            raise UsageError(
                "opt", got=type(optimizer).__name__, expected="None, which drops the optimizer's state",
                fix="For another optimizer set learn.opt_func, for example to partial(torch.optim.SGD, momentum=0.9).",
            )  # fmt: skip
        self._opt = None

    @property
    def callbacks(self) -> list[Callback]:
        """Run in every fit."""
        return self._callbacks

    @callbacks.setter
    def callbacks(self, callbacks: Callback | Sequence[Callback] | None) -> None:
        chosen = as_list(callbacks)
        try:
            CallbackList([self.recorder, *chosen])  # refuses callbacks that cannot run together
        except UsageError:
            if callbacks is self._callbacks:  # `learn.callbacks += ...` has changed it
                self._callbacks[:] = self._checked_callbacks
            raise
        self._callbacks, self._checked_callbacks = chosen, tuple(chosen)

    @property
    def opt_func(self) -> str | OptimizerFactory:
        """The optimizer's name or factory; another one starts without state."""
        return self._opt_func

    @opt_func.setter
    def opt_func(self, opt_func: str | OptimizerFactory) -> None:
        self._running.refuse("opt_func")
        check_partial("opt_func", factory_of(opt_func))
        if any(True for _ in self._model.parameters()):
            self._made_by(opt_func)  # refuses one that could not train
        self._opt_func, self._opt = opt_func, None

    @property
    def wd(self) -> float | None:
        """The weight decay of a fit without its own; None for that of a custom `opt_func`."""
        return chosen_decay(self._opt_func, self._wd)

    @wd.setter
    def wd(self, wd: float | None) -> None:
        self._wd = None if wd is None else check_number("wd", wd, "[0, inf)", expected="a finite decay of 0 or more")

    @property
    def wd_bn_bias(self) -> bool:
        """Whether biases and norm layers decay too; another setting resets the optimizer."""
        return self._wd_bn_bias

    @wd_bn_bias.setter
    def wd_bn_bias(self, decays: bool) -> None:
        self._running.refuse("wd_bn_bias")
        self._wd_bn_bias, self._opt = _flag("wd_bn_bias", decays), None

    @property
    def train_bn(self) -> bool:
        """Whether norm layers of frozen groups train; the next freeze, freeze_to or unfreeze asks."""
        return self._train_bn

    @train_bn.setter
    def train_bn(self, trains: bool) -> None:
        self._train_bn = _flag("train_bn", trains)

    @property
    def path(self) -> Path:
        """The parent of `model_dir`; None sets the working directory."""
        return self._path

    @path.setter
    def path(self, path: PathLike | None) -> None:
        self._path = _folder("path", "." if path is None else path)

    @property
    def model_dir(self) -> Path:
        """The folder for weights, relative to `path`."""
        return self._model_dir

    @model_dir.setter
    def model_dir(self, folder: PathLike) -> None:
        self._model_dir = _folder("model_dir", folder)

    @property
    def temperature(self) -> float:
        """Divides raw outputs before the activation: above 1 for less confident predictions. Losses ignore it.

        Guo et al., On calibration of modern neural networks, 2017.
        """
        return self._temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        check_number("temperature", value, "(0, inf)", expected="a finite number above 0")
        if value != 1 and self._activation is torch.exp:
            raise UsageError(
                "temperature: this loss takes logarithms, which are those of probabilities at 1 alone", got=value,
                expected="1", fix="Let the model return raw outputs, and train it with nn.CrossEntropyLoss().",
            )  # fmt: skip
        self._temperature = value

    @abstractmethod
    def _made_by(self, opt_func: str | OptimizerFactory) -> Any:
        """What this makes for the model as it is now."""


def as_list(callbacks: Callback | Sequence[Callback] | None) -> list[Callback]:
    """One callback, several or none, as a list."""
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, Sequence) else [callbacks]


def _flag(what: str, value: bool) -> bool:
    check_kind(what, value, bool, "True or False")
    return value


def _folder(what: str, path: PathLike) -> Path:
    check_kind(what, path, str | os.PathLike, "the path of a folder")
    return Path(path)
