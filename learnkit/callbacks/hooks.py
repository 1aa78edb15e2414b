"""Looking into a model while it trains: what its modules put out, and the statistics of it."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from learnkit.checks import check_int, nearest
from learnkit.errors import UsageError
from learnkit.training.callback import Callback
from learnkit.training.state import TrainState

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["NEAR_ZERO", "ActivationStats", "Hooks", "activation_stats"]

NEAR_ZERO = 0.05  # the size up to which an activation counts as near zero
HIGHEST = 10.0  # where the histogram ends; it begins at 0

Look = Callable[[nn.Module, Any, Any], Any]


class Hooks(Callback):
    """Calls a function with what modules put out, during a fit; afterwards the model is as it was, whatever happened.

    The function is called in every forward pass, validation's too (`module.training` tells them apart). What it returns
    is kept in `values` and does not change the output.

    Args:
        modules: modules of the model, or their names; None for all that have parameters of their own.
        fn: `fn(module, inputs, output)`, inputs a tuple; None keeps the output itself, detached.

    Attributes:
        values: by module name, what the last call returned.

    Raises:
        UsageError: in a fit, for a module that is not in the model.
    """

    def __init__(self, modules: Iterable[nn.Module | str] | None = None, fn: Look | None = None) -> None:
        if isinstance(modules, nn.Module | str):
            raise UsageError("modules", got=type(modules).__name__, expected="a list of modules or names")
        self.modules = None if modules is None else list(modules)
        self.fn: Look = fn or _detached
        self.values: dict[str, Any] = {}
        self._handles: list[RemovableHandle] = []

    def before_fit(self, state: TrainState) -> None:
        self.values = {}
        for name, module in _chosen(state.model, self.modules).items():
            self._handles.append(module.register_forward_hook(self._hook(name)))

    def _hook(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        # A function and no method: a copy of the model, as an average of weights makes one, then copies no callback.
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            self._see(name, module, inputs, output)

        return hook

    def _see(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        self.values[name] = self.fn(module, inputs, output)

    def after_fit(self, state: TrainState) -> None:
        while self._handles:
            self._handles.pop().remove()


def _detached(module: nn.Module, inputs: Any, output: Any) -> Any:
    if isinstance(output, tuple | list):
        return [_detached(module, inputs, part) for part in output]
    return output.detach() if isinstance(output, Tensor) else output


def _chosen(model: nn.Module, modules: list[nn.Module | str] | None) -> dict[str, nn.Module]:
    """The modules meant, by name."""
    by_name = dict(model.named_modules())
    if modules is None:
        return {
            name: module for name, module in by_name.items() if next(module.parameters(recurse=False), None) is not None
        }
    names = {module: name for name, module in by_name.items()}
    chosen: dict[str, nn.Module] = {}
    for given in modules:
        name = given if isinstance(given, str) else names.get(given)
        if name is None or name not in by_name:
            raise UsageError("modules", got=given, expected=f"modules of this model: {nearest(str(given), by_name)}")
        chosen[name] = by_name[name]
    return chosen


def activation_stats(activations: Tensor, n_bins: int = 40) -> Tensor:
    """Mean, standard deviation, share near zero, and a histogram, float32 (3 + n_bins,), on the same device.

    The deviation is that of the numbers there are (divided by n). Near zero is a size of 0.05 or less. The histogram
    counts in even bins from 0 to 10, 10 included; numbers outside are not counted.

    >>> activation_stats(torch.tensor([0.0, 4.0]), n_bins=2).tolist()
    [2.0, 2.0, 0.5, 2.0, 0.0]
    """
    x = activations.detach().float()
    near_zero = (x.abs() <= NEAR_ZERO).float().mean()
    return torch.cat([torch.stack([x.mean(), x.std(correction=0), near_zero]), torch.histc(x, n_bins, 0, HIGHEST)])


class ActivationStats(Hooks):
    """Statistics of what modules put out in training, batch by batch; see `activation_stats`.

    Of a module that puts out several tensors, the first counts; of one that is called several times in a batch, the
    last call. The numbers are read off the device once an epoch. Each fit begins anew.

    Args:
        modules: modules of the model, or their names; None for all that have parameters of their own.
        every_batches: 10 for batches 0, 10, 20, ... of the fit.
        n_bins: of the histogram.
    """

    def __init__(self, modules: Iterable[nn.Module | str] | None = None, every_batches: int = 1, n_bins: int = 40) -> None:
        super().__init__(modules)
        self.every_batches = check_int("every_batches", every_batches, 1)
        self.n_bins = check_int("n_bins", n_bins, 1)
        self._forget()

    def _forget(self) -> None:
        self._looks = False
        self._begun = 0  # batches of this fit
        self._rows: list[tuple[int, str, list[float]]] = []
        self._unread: list[tuple[int, str, Tensor]] = []

    def before_fit(self, state: TrainState) -> None:
        self._forget()
        super().before_fit(state)

    def before_batch(self, state: TrainState) -> None:
        self.values = {}
        self._looks = self._begun % self.every_batches == 0
        self._begun += 1

    def _see(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple | list) and output else output
        if self._looks and isinstance(first, Tensor):
            self.values[name] = activation_stats(first, self.n_bins)

    def after_pred(self, state: TrainState) -> None:
        self._looks = False
        self._unread += [(self._begun - 1, name, numbers) for name, numbers in self.values.items()]

    def after_epoch(self, state: TrainState) -> None:
        self._read()

    def after_fit(self, state: TrainState) -> None:
        self._looks = False
        super().after_fit(state)

    def state_dict(self) -> dict[str, Any]:
        return {"begun": self._begun, "rows": self._read()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self._begun, self._rows, self._unread = saved["begun"], [tuple(row) for row in saved["rows"]], []

    def _read(self) -> list[tuple[int, str, list[float]]]:
        if self._unread:
            numbers = torch.stack([row for _, _, row in self._unread]).tolist()
            self._rows += [(batch, name, row) for (batch, name, _), row in zip(self._unread, numbers, strict=True)]
            self._unread = []
        return self._rows

    @property
    def stats(self) -> "pd.DataFrame":
        """One row for each batch and module: batch (from 0), module, mean, std, near_zero."""
        import pandas as pd

        rows = [(batch, name, *numbers[:3]) for batch, name, numbers in self._read()]
        return pd.DataFrame(rows, columns=["batch", "module", "mean", "std", "near_zero"])

    def histogram(self, module: str) -> tuple[list[int], Tensor]:
        """The batches looked at, and their histograms, float32 (batches, n_bins).

        Raises:
            UsageError: nothing was seen of a module of this name.
        """
        rows = [(batch, numbers[3:]) for batch, name, numbers in self._read() if name == module]
        if not rows:
            seen = nearest(str(module), {name for _, name, _ in self._rows}, n=10)
            raise UsageError("module", got=module, expected=f"one of: {seen}" if seen else "a fit before")
        return [batch for batch, _ in rows], torch.tensor([counts for _, counts in rows])

    def plot_stats(self) -> "Figure":
        """Mean, standard deviation and share near zero of every module, batch by batch.

        Raises:
            UsageError: nothing was seen yet.
        """
        from learnkit.plots.activations import activation_curves

        of_modules: dict[str, list[tuple[int, float, float, float]]] = {}
        for batch, name, numbers in self._read():
            of_modules.setdefault(name, []).append((batch, numbers[0], numbers[1], numbers[2]))
        return activation_curves(of_modules)

    def plot_histogram(self, module: str) -> "Figure":
        """The histograms of one module, a column a batch; the darker, the more numbers, on a log scale.

        Raises:
            UsageError: nothing was seen of a module of this name.
        """
        from learnkit.plots.activations import activation_histogram

        batches, counts = self.histogram(module)
        return activation_histogram(batches, counts.numpy(), HIGHEST)
