"""Forward hooks during a fit, and statistics of activations."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from learnkit.arguments import checks_keywords
from learnkit.checks import check_int, nearest
from learnkit.errors import UsageError
from learnkit.training.callback import Callback
from learnkit.training.state import TrainState

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from learnkit.plots.layout import FigSize

__all__ = ["NEAR_ZERO", "ActivationStats", "Hooks", "activation_stats"]

NEAR_ZERO = 0.05  # largest absolute value that counts as near zero
MAX_ACTIVATION = 10.0  # end of the histogram, which starts at 0

HookFunction = Callable[[nn.Module, Any, Any], Any]


class Hooks(Callback):
    """Calls a function with the outputs of modules, during a fit or inside `on`; then the hooks are removed.

    The function is called in every forward pass, also in validation (`module.training` distinguishes them). Its return
    value is stored in `values` and does not change the output.

    Args:
        modules: modules of the model, or their names; None for all with their own parameters.
        fn: `fn(module, inputs, output)`, with inputs a tuple; None stores the output itself, detached.

    Attributes:
        values: module name to the last return value.

    Raises:
        UsageError: in a fit, for a module that is not in the model.
    """

    def __init__(self, modules: Iterable[nn.Module | str] | None = None, fn: HookFunction | None = None) -> None:
        if isinstance(modules, nn.Module | str) or not isinstance(modules, Iterable | None):
            raise UsageError("modules", got=type(modules).__name__, expected="a list of modules or names")
        self.modules: list[nn.Module | str] | None = None if modules is None else list(modules)
        self.fn: HookFunction = fn or _detached
        self.values: dict[str, Any] = {}
        self._handles: list[RemovableHandle] = []

    @contextmanager
    def on(self, model: nn.Module) -> Iterator[Self]:
        """Call the function inside, without a fit: `with Hooks(["0"]).on(learn.model) as hooks: learn.get_preds()`.

        Raises:
            UsageError: a module that is not in the model.
        """
        self._attach(model)
        try:
            yield self
        finally:
            self._detach()

    def before_fit(self, state: TrainState) -> None:
        self._attach(state.model)

    def _attach(self, model: nn.Module) -> None:
        self.values = {}
        for name, module in _modules_by_name(model, self.modules).items():
            self._handles.append(module.register_forward_hook(self._hook(name)))

    def _hook(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        # A closure, not a method: copying the model (as EMA does) then does not copy the callback.
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            self._call(name, module, inputs, output)

        return hook

    def _call(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        self.values[name] = self.fn(module, inputs, output)

    def after_fit(self, state: TrainState) -> None:
        self._detach()

    def _detach(self) -> None:
        while self._handles:
            self._handles.pop().remove()


def _detached(module: nn.Module, inputs: Any, output: Any) -> Any:
    if isinstance(output, tuple | list):
        return [_detached(module, inputs, part) for part in output]
    return output.detach() if isinstance(output, Tensor) else output


def _modules_by_name(model: nn.Module, modules: list[nn.Module | str] | None) -> dict[str, nn.Module]:
    """The selected modules, by name."""
    by_name = dict(model.named_modules())
    if modules is None:
        return {
            name: module for name, module in by_name.items() if next(module.parameters(recurse=False), None) is not None
        }
    names = {module: name for name, module in by_name.items()}
    selected: dict[str, nn.Module] = {}
    for given in modules:
        name = given if isinstance(given, str) else names.get(given)
        if name is None or name not in by_name:
            raise UsageError("modules", got=given, expected=f"modules of this model: {nearest(str(given), by_name)}")
        selected[name] = by_name[name]
    return selected


def activation_stats(activations: Tensor, n_bins: int = 40) -> Tensor:
    """Mean, standard deviation, fraction near zero, and a histogram, float32 (3 + n_bins,), on the same device.

    The standard deviation is divided by n. Near zero is an absolute value of at most 0.05. The histogram has equal bins
    from 0 to 10, inclusive; values outside are not counted.

    >>> activation_stats(torch.tensor([0.0, 4.0]), n_bins=2).tolist()
    [2.0, 2.0, 0.5, 2.0, 0.0]
    """
    x = activations.detach().float()
    near_zero = (x.abs() <= NEAR_ZERO).float().mean()
    return torch.cat(
        [torch.stack([x.mean(), x.std(correction=0), near_zero]), torch.histc(x, n_bins, 0, MAX_ACTIVATION)]
    )


class ActivationStats(Hooks):
    """Statistics of the outputs of modules in training, batch by batch; see `activation_stats`.

    For a module with several outputs, the first counts; for one that is called several times per batch, the last call.
    The statistics are read from the device once per epoch. Each fit starts over.

    Args:
        modules: modules of the model, or their names; None for all with their own parameters.
        every_batches: 10 for batches 0, 10, 20, ... of the fit.
        n_bins: number of bins of the histogram.
    """

    def __init__(
        self, modules: Iterable[nn.Module | str] | None = None, every_batches: int = 1, n_bins: int = 40
    ) -> None:
        super().__init__(modules)
        self.every_batches: int = check_int("every_batches", every_batches, 1)
        self.n_bins: int = check_int("n_bins", n_bins, 1)
        self._reset()

    def on(self, model: nn.Module) -> NoReturn:
        """Batches are counted in a fit only.

        Raises:
            UsageError: always.
        """
        raise UsageError("ActivationStats counts the batches of a fit", fix="Pass it to fit, or use Hooks(...).on.")

    def _reset(self) -> None:
        self._is_recording = False
        self._n_batches = 0  # started in this fit
        self._rows: list[tuple[int, str, list[float]]] = []
        self._unread: list[tuple[int, str, Tensor]] = []

    def before_fit(self, state: TrainState) -> None:
        self._reset()
        super().before_fit(state)

    def before_batch(self, state: TrainState) -> None:
        self.values = {}
        self._is_recording = self._n_batches % self.every_batches == 0
        self._n_batches += 1

    def _call(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple | list) and output else output
        if self._is_recording and isinstance(first, Tensor):
            self.values[name] = activation_stats(first, self.n_bins)

    def after_pred(self, state: TrainState) -> None:
        self._is_recording = False
        self._unread += [(self._n_batches - 1, name, numbers) for name, numbers in self.values.items()]

    def after_epoch(self, state: TrainState) -> None:
        self._read()

    def after_fit(self, state: TrainState) -> None:
        self._is_recording = False
        super().after_fit(state)

    def state_dict(self) -> dict[str, Any]:
        return {"begun": self._n_batches, "rows": self._read()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self._n_batches, self._rows, self._unread = saved["begun"], [tuple(row) for row in saved["rows"]], []

    def _read(self) -> list[tuple[int, str, list[float]]]:
        if self._unread:
            numbers = torch.stack([row for _, _, row in self._unread]).tolist()
            self._rows += [(batch, name, row) for (batch, name, _), row in zip(self._unread, numbers, strict=True)]
            self._unread = []
        return self._rows

    @property
    def stats(self) -> "pd.DataFrame":
        """One row per batch and module: batch (from 0), module, mean, std, near_zero."""
        import pandas as pd

        rows = [(batch, name, *numbers[:3]) for batch, name, numbers in self._read()]
        return pd.DataFrame(rows, columns=["batch", "module", "mean", "std", "near_zero"])

    def histogram(self, module: str) -> tuple[list[int], Tensor]:
        """The recorded batches, and their histograms, float32 (batches, n_bins).

        Raises:
            UsageError: nothing was recorded for a module of this name.
        """
        rows = [(batch, numbers[3:]) for batch, name, numbers in self._read() if name == module]
        if not rows:
            known = nearest(str(module), {name for _, name, _ in self._rows}, n=10)
            raise UsageError("module", got=module, expected=f"one of: {known}" if known else "a fit before")
        return [batch for batch, _ in rows], torch.tensor([counts for _, counts in rows])

    @checks_keywords
    def plot_stats(self, *, figsize: "FigSize" = None) -> "Figure":
        """Mean, standard deviation and fraction near zero of every module, batch by batch.

        Raises:
            UsageError: nothing was recorded yet.
        """
        from learnkit.plots.activations import activation_curves

        of_modules: dict[str, list[tuple[int, float, float, float]]] = {}
        for batch, name, numbers in self._read():
            of_modules.setdefault(name, []).append((batch, numbers[0], numbers[1], numbers[2]))
        return activation_curves(of_modules, figsize)

    @checks_keywords
    def plot_histogram(self, module: str, *, figsize: "FigSize" = None) -> "Figure":
        """The histograms of one module, one column per batch; darker for higher counts, on a log scale.

        Raises:
            UsageError: nothing was recorded for a module of this name.
        """
        from learnkit.plots.activations import activation_histogram

        batches, counts = self.histogram(module)
        return activation_histogram(batches, counts.numpy(), MAX_ACTIVATION, figsize)
