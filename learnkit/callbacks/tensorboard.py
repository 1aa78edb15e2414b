"""TensorBoard: losses, rates, images, histograms and the graph of a fit, as event files."""

import gc
import os
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from learnkit.checks import check_int, check_kind, missing_extra
from learnkit.errors import WriteError, warn
from learnkit.modes import eval_mode
from learnkit.optim.optimizers import layered_groups
from learnkit.persistence.weights import check_name
from learnkit.training.callback import Callback, Order
from learnkit.training.state import TrainState
from learnkit.types import PathLike

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["TensorBoard"]

SUFFIX = ".fit"  # of the event files written here


class TensorBoard(Callback):
    """Write a run that `tensorboard --logdir logs` shows.

    Scalars: batch/loss and batch/lr_<group> (one per layer group) every few batches, epoch/<column> every epoch.
    Nothing is served or sent. The fits of one call, such as `fine_tune`, are one run; so are all fits of a callback
    with a name.

    Args:
        log_dir: the folder of the runs.
        name: the name of this run; None for the next free one of fit-000, fit-001, ...
        every_batches: number of batches between two points of the loss and the rates.
        graph: write the graph of the model, traced with the first batch.
        images: how many images of the first batch of each epoch to write, as the model gets them.
        histograms: write the values of every parameter after each epoch.
    """

    order = Order.REPORT
    is_for_one = True

    def __init__(
        self,
        log_dir: PathLike = "logs",
        name: str | None = None,
        every_batches: int = 25,
        *,
        graph: bool = True,
        images: int = 0,
        histograms: bool = False,
    ) -> None:
        check_kind("log_dir", log_dir, str | os.PathLike, "the path of a folder")
        self.log_dir: Path = Path(log_dir)
        self.name: str | None = None if name is None else check_name(name)
        self.every_batches: int = check_int("every_batches", every_batches, 1)
        self.graph: bool = graph
        self.histograms: bool = histograms
        self.images: int = check_int("images", images, 0)
        self.folder: Path | None = None  # of the last run
        self._writer: SummaryWriter | None = None
        self._n_batches = 0
        self._in_fit = False

    def before_fit(self, state: TrainState) -> None:
        _summary_writer()
        if self.folder is None or not (state.continues_call or self.name):
            self.folder = self.log_dir / (self.name or _next_name(self.log_dir))
            self._n_batches = 0
        self._in_fit = True
        if self.histograms and state.whole is not None:
            warn("TensorBoard: no histograms, as the weights of this fit are shared out over the processes")
        if not state.resumed:  # a resumed fit continues in its own folder, which `load_state_dict` gets
            self._writer = self._open

    def before_batch(self, state: TrainState) -> None:
        x = state.inputs[0] if state.inputs else None
        if state.batch == 0 and self.images and isinstance(x, Tensor) and x.ndim == 4:
            low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
            images = ((x - low) / (high - low).clamp(min=1e-8))[: self.images]
            self._open.add_images(
                "images", images[:, :3] if x.shape[1] >= 3 else images[:, :1], state.epoch_offset + state.epoch
            )
        if self.graph and not self._n_batches and not state.resumed:
            self._write_graph(state)

    def after_batch(self, state: TrainState) -> None:
        self._n_batches += 1
        if self._n_batches % self.every_batches and self._n_batches > 1:
            return
        self._open.add_scalar("batch/loss", state.loss.item(), self._n_batches)
        rates = {group["layer_group"]: group["lr"] for group in layered_groups(state.optimizer)}
        for group, rate in rates.items():
            self._open.add_scalar(f"batch/lr_{group}", rate, self._n_batches)

    def after_epoch(self, state: TrainState) -> None:
        for column, value in state.row.items():
            if column != "epoch":
                self._open.add_scalar(f"epoch/{column}", value, int(state.row["epoch"]))
        if self.histograms and state.whole is None:
            for name, parameter in state.model.named_parameters():
                self._open.add_histogram(name, parameter.detach(), int(state.row["epoch"]))

    def after_fit(self, state: TrainState) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._in_fit = False

    def state_dict(self) -> dict[str, Any]:
        """The name of the run, its number of batches and, in a fit, its files with their sizes."""
        if self.folder is None:
            return {}
        if not self._in_fit:
            return {"name": self.folder.name, "n_batches": self._n_batches}
        if self._writer is not None:
            self._writer.flush()
        sizes = {file.name: file.stat().st_size for file in self._files()}
        return {"name": self.folder.name, "n_batches": self._n_batches, "files": sizes}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Remove what was written after the checkpoint, so that nothing is shown twice."""
        self.folder = self.log_dir / check_name(saved["name"])
        self._n_batches = saved["n_batches"]
        for file in self._files() if "files" in saved else ():
            if file.name not in saved["files"]:
                file.unlink()
            elif file.stat().st_size > saved["files"][file.name]:
                os.truncate(file, saved["files"][file.name])

    def _files(self) -> list[Path]:
        """The event files of this run."""
        return [] if self.folder is None else sorted(self.folder.glob(f"events.out.tfevents.*{SUFFIX}"))

    @property
    def _open(self) -> "SummaryWriter":
        if self._writer is None:
            self._wait_for_a_later_name()
            try:
                self._writer = _summary_writer()(str(self.folder), filename_suffix=SUFFIX)
            except OSError as error:
                raise WriteError(f"TensorBoard: {self.folder} cannot be written ({error.strerror or error})") from error
        return self._writer

    def _wait_for_a_later_name(self) -> None:
        """Files are read in the order of their names, which begin with the second they were opened in."""
        newest = max((int(file.name.split(".")[3]) for file in self._files()), default=0)
        if newest >= int(time.time()):
            time.sleep(min(newest + 1 - time.time(), 1))

    def _write_graph(self, state: TrainState) -> None:
        """Write the graph; the model, its batch norm and the random generators do not change."""
        try:
            model = (state.whole or state).model
            device = next(model.parameters()).device
            inputs = tuple(x[:1].to(device) if isinstance(x, Tensor) else x for x in state.inputs)
            with eval_mode(model), state.compute.preserve_rng(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the tracer, about what it cannot trace
                self._open.add_graph(model, inputs)
        except Exception as error:  # arbitrary models may fail in arbitrary ways when traced
            what = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            warn(f"TensorBoard: this model cannot be traced, so its graph is not written ({what})")
        gc.collect()  # torch's tracer leaves cycles, which would keep the model when the learner is gone


def _summary_writer() -> "type[SummaryWriter]":
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise missing_extra("tensorboard", "tensorboard") from error
    return SummaryWriter


def _next_name(folder: Path) -> str:
    existing: set[Any] = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return next(name for number in range(10**6) if (name := f"fit-{number:03d}") not in existing)
