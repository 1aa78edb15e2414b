"""Reads of the device that grow with the batches, in each of several processes: `python tests/distributed/waits.py`.

By a launcher. What the hosts tell each other is on the CPU, and no device is waited for: reads of it do not count.
"""

import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from learnkit import Learner, losses
from learnkit.callbacks import GradientAccumulation, MicroBatches
from learnkit.distributed import exchange, world
from tests.training.test_device_waits import (
    CALLBACKS,
    TO_PYTHON,
    WAIT,
    WEIGHT,
    Reads,
    ToPython,
    learner,
    let_reads_wait,
)

FOLDER = Path()  # for files, and the results of each process
SENDS = ("all_reduce", "all_gather", "broadcast")


class DeviceReads(Reads):
    """Counts reads of tensors but those that the hosts have sent each other."""

    def __init__(self) -> None:
        super().__init__()
        self._on_hosts: dict[int, Tensor] = {}  # kept, so that no other tensor gets their memory

    def note(self, tensor: Tensor) -> None:
        self._on_hosts[tensor.untyped_storage().data_ptr()] = tensor

    def is_on_host(self, args: Any) -> bool:
        if not args or type(args[0]) is not Tensor:  # others have no memory of their own
            return False
        # Integers of 32 bits are in torch's wrapper alone, which keeps on the CPU which parameters were used.
        return args[0].dtype == torch.int32 or args[0].untyped_storage().data_ptr() in self._on_hosts

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket not in WAIT or not self.is_on_host(args):
            return super().__torch_dispatch__(func, types, args, kwargs)
        with self.paused():
            return super().__torch_dispatch__(func, types, args, kwargs)


class DeviceToPython(ToPython):
    reads: DeviceReads

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in TO_PYTHON or not self.reads.is_on_host(args):
            return super().__torch_function__(func, types, args, kwargs)
        with self.reads.paused():
            return super().__torch_function__(func, types, args, kwargs)


def noted(send: Callable[..., Any], reads: DeviceReads) -> Callable[..., Any]:
    """This collective; what it sends between hosts, by the group for that, is noted."""

    def sends(*args: Any, group: Any = None, **options: Any) -> Any:
        if group is world.group:
            for part in args[:2]:
                for tensor in part if isinstance(part, list) else [part]:
                    if isinstance(tensor, Tensor):
                        reads.note(tensor)
        return send(*args, group=group, **options)

    return sends


def largest(preds: Tensor, targets: Tensor) -> Tensor:
    return preds.max()


def fit(learn: Learner, strategy: Any = None) -> None:
    learn.fit(1, 1e-3, checkpoint_every=100, strategy=strategy)


Case = tuple[Callable[[int], Learner], Callable[[Learner], object]]


def cases() -> dict[str, Case]:
    """What makes a learner on n items, and what it does."""
    options = {"metrics": ["accuracy", largest], "path": FOLDER}
    made: dict[str, Callable[[int], Learner]] = {
        "plain": lambda n: learner("classes", n, **options),
        "without batch norm": lambda n: learner("classes", n, norm=False, **options),
        "ignoring": lambda n: learner("classes", n, loss_func=nn.CrossEntropyLoss(WEIGHT, ignore_index=1), **options),
        "of whole batches": lambda n: learner(
            "masks", n, loss_func=losses.DiceLoss(ignore_index=2, per_batch=True), path=FOLDER
        ),
    }
    found: dict[str, Case] = {}
    for name, make in made.items():
        found[f"fp32, {name}"] = make, fit
        found[f"bf16, {name}"] = lambda n, make=make: make(n).to_bf16(), fit
        found[f"validate, {name}"] = make, Learner.validate
    for name, callbacks in CALLBACKS.items():
        found[name] = partial(_with_callbacks, callbacks, options), fit
    ignoring = {**options, "norm": False, "loss_func": nn.CrossEntropyLoss(WEIGHT, ignore_index=1)}
    for callback in (MicroBatches(3), GradientAccumulation(16)):
        found[f"{type(callback).__name__}, ignoring"] = partial(_with_callbacks, lambda c=callback: [c], ignoring), fit
    for how in ("predictions", "losses"):
        found[how] = made["plain"], lambda learn, how=how: learn.get_preds(with_loss=how == "losses")
    for metric in ("f1", largest):  # f1 counts per class
        found[f"metric {metric}"] = partial(_with_callbacks, list, {**options, "metrics": metric}), Learner.validate
    # SGD, as the steps of Adam that are not fused count on the CPU.
    sharded = {**options, "norm": False, "opt_func": "sgd"}
    found["sharded"] = partial(_with_callbacks, list, sharded), partial(fit, strategy="fsdp")
    return found


def _with_callbacks(callbacks: Callable[[], Any], options: dict[str, Any], n: int) -> Learner:
    return learner("classes", n, callbacks=callbacks(), **options)


def counted(case: Case, n: int, reads: DeviceReads) -> dict[str, int]:
    make, run = case
    learn = make(n)
    reads.counts.clear()
    with reads, DeviceToPython(reads):
        run(learn)
    return dict(reads.counts)


def main() -> None:
    global FOLDER
    FOLDER = Path(sys.argv[1])
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    world.begin()
    assert world.size > 1
    reads, patch = DeviceReads(), pytest.MonkeyPatch()
    for name in SENDS:
        patch.setattr(dist, name, noted(getattr(dist, name), reads))
    let_reads_wait(reads, patch)
    patch.setattr(exchange, "_sends_rows", lambda device: True)  # as NCCL does
    reading = counted((lambda n: learner("classes", n), _reads_each), 40, reads)
    assert reading == {"aten._local_scalar_dense": 5}, "reads of the device are not counted"
    grown = []
    for name, case in cases().items():
        few, many = (counted(case, n, reads) for n in (16, 40))
        if few != many:
            grown.append(f"{name}: {few} with 2 batches, {many} with 5")
    (FOLDER / f"grown-{world.rank}").write_text("\n".join(grown))


def _reads_each(learn: Learner) -> None:
    for batch in learn.dls.train_dl:
        learn.model(batch[0]).sum().item()


if __name__ == "__main__":
    main()
