"""Loaders: every item once, in an order that depends on (seed, epoch) alone."""

import copy
import pickle
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import TensorDataset

from learnkit import DataBunch, ImageDataBunch, Learner, Points
from learnkit.data.augment.others import OnItem
from learnkit.data.loading.loaders import DatasetLoader, ImageLoader, TensorLoader, default_workers
from learnkit.data.loading.sampler import BatchOrder
from learnkit.errors import DataError
from learnkit.transforms import (
    Brightness,
    Contrast,
    Dihedral,
    Flip,
    Hue,
    Presize,
    RandomErasing,
    Rotate,
    Saturation,
    Warp,
    Zoom,
)  # fmt: skip
from learnkit.tree import leaves
from tests.doubles import refused

CPU = torch.device("cpu")


def numbers(loader: Any) -> list[int]:
    return [int(i) for x, *_ in loader for i in x]


def tensor_loader(n: int = 10, bs: int = 4, *, shuffle: bool = True) -> TensorLoader:
    return TensorLoader((torch.arange(n), torch.arange(n) * 10), BatchOrder(n, bs, shuffle=shuffle, seed=1))


def dataset_loader(n: int = 10, bs: int = 4, *, shuffle: bool = True, workers: int = 0) -> DatasetLoader:
    dataset = TensorDataset(torch.arange(n), torch.arange(n) * 10)
    return DatasetLoader(dataset, BatchOrder(n, bs, shuffle=shuffle, seed=1), CPU, workers)


LOADERS = [tensor_loader, dataset_loader]


@pytest.mark.parametrize("make", LOADERS)
def test_without_shuffling_everything_comes_in_order(make: Any) -> None:
    loader = make(shuffle=False)
    batches = list(loader)
    assert numbers(loader) == list(range(10))
    assert [len(x) for x, _ in batches] == [4, 4, 2]
    assert len(loader) == 3
    assert all(torch.equal(y, x * 10) for x, y in batches)


@pytest.mark.parametrize("make", LOADERS)
def test_shuffling_leaves_out_the_last_short_batch_and_repeats_nothing(make: Any) -> None:
    loader = make()
    batches = list(loader)
    assert [len(x) for x, _ in batches] == [4, 4]
    assert len(loader) == 2
    assert len(set(numbers(batches))) == 8
    assert all(torch.equal(y, x * 10) for x, y in batches)


@pytest.mark.parametrize("make", LOADERS)
def test_the_order_is_a_function_of_seed_and_epoch(make: Any) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        loader = make(n=40)
        torch.rand(epoch + 1)
        loader.seed_epoch(seed, epoch)
        return numbers(loader)

    assert order(5, 3) == order(5, 3)
    assert order(5, 3) != order(5, 4)
    assert order(5, 3) != order(6, 3)


def test_all_loaders_agree_on_the_order() -> None:
    tensors, dataset, workers = tensor_loader(40), dataset_loader(40), dataset_loader(40, workers=2)
    for loader in (tensors, dataset, workers):
        loader.seed_epoch(3, 2)
    assert numbers(tensors) == numbers(dataset) == numbers(workers)
    for loader in (tensors, dataset, workers):
        loader.seed_epoch(3, 3)
    assert numbers(tensors) == numbers(dataset) == numbers(workers)


@pytest.mark.parametrize("make", LOADERS)
def test_each_iteration_without_a_learner_is_the_next_epoch(make: Any) -> None:
    loader = make(n=40)
    first, second = numbers(loader), numbers(loader)
    assert first != second
    again = make(n=40)
    assert (numbers(again), numbers(again)) == (first, second)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("options", [{}, {"augment": False}, {"cache": "memory"}, {"augment": [Presize(24), Flip()]}])
def test_an_epoch_does_not_notice_other_iterations(class_folder: Path, options: Any, workers: int) -> None:
    """Such as those of `show_batch` in a callback: they begin, end, or are left, while the epoch goes on."""

    def loader() -> Any:
        dls = ImageDataBunch.from_folder(class_folder, size=16, bs=4, **options)
        loader = ImageLoader(dls.train_ds, dls.train_dl.order, CPU, augmentation=dls.train_dl.augmentation,
                             num_workers=workers)  # fmt: skip
        loader.seed_epoch(5, 3)
        return loader

    alone, disturbed, others, seen = list(loader()), loader(), [], []
    for number, batch in enumerate(disturbed):
        seen.append(batch)
        if number == 1:
            next(iter(disturbed))
        if number == 2:
            disturbed.seed_epoch(7, 1)
            others.append(iter(disturbed))
            next(others[0])
        if number == 3:
            assert len(list(disturbed)) == len(alone)
    assert len(seen) == len(alone) == 6
    assert all(torch.equal(a, b) for one, two in zip(seen, alone, strict=True) for a, b in zip(one, two, strict=True))
    assert len(list(others[0])) == 5  # and goes on where it was


@pytest.mark.parametrize("make", LOADERS)
def test_each_thread_iterates_the_epoch_that_it_asked_for(make: Any) -> None:
    """Two learners on one bunch: what one thread is about to begin is no matter of the other."""

    def asked_for(seed: int) -> list[int]:
        loader = make()
        loader.seed_epoch(seed, 0)
        return numbers(loader)

    loader = make()
    loader.seed_epoch(1, 0)
    found: list[list[int]] = []

    def other() -> None:
        loader.seed_epoch(2, 0)
        found.append(numbers(loader))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert [numbers(loader), *found] == [asked_for(1), asked_for(2)]
    assert asked_for(1) != asked_for(2)


@pytest.mark.parametrize("make", LOADERS)
def test_the_callers_generators_do_not_change(make: Any) -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # type: ignore[index, union-attr]
    loader = make()
    loader.seed_epoch(0, 0)
    list(loader)
    list(make(shuffle=False))
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    assert (before[2] == np.random.get_state()[1]).all()  # type: ignore[index]


def test_a_model_that_writes_into_its_input_does_not_change_the_data() -> None:
    for shuffle in (True, False):
        loader = tensor_loader(shuffle=shuffle)
        for x, _ in loader:
            x.zero_()
        assert torch.equal(loader.tensors[0], torch.arange(10))


class Colliding(torch.utils.data.Dataset[tuple[Tensor, int]]):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index == 3:
            raise DataError("item 3 is bad")
        return torch.tensor(index), index


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_a_dataset_keeps_its_type_and_message(workers: int) -> None:
    loader = DatasetLoader(Colliding(), BatchOrder(6, 2, shuffle=False), CPU, workers)
    with pytest.raises(DataError, match="item 3 is bad"):
        list(loader)


def test_few_images_need_no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(16)), raising=False)
    assert default_workers(999, CPU) == 0
    assert default_workers(1000, CPU) == 8
    assert default_workers(1000, torch.device("meta")) == 8
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(6)), raising=False)
    assert (default_workers(1000, CPU), default_workers(1000, torch.device("meta"))) == (3, 6)


class Noisy(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Items augmented the way users do it: with whatever global generator is at hand."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        drawn = [random.random(), np.random.rand(), torch.rand(()).item()]
        return torch.tensor([*drawn, index], dtype=torch.float64), index


def test_what_a_dataset_draws_depends_on_seed_epoch_and_item_alone() -> None:
    def batches(workers: int, epoch: int = 2, start: int = 0) -> list[Any]:
        loader = DatasetLoader(Noisy(), BatchOrder(20, 4, shuffle=True), CPU, workers)
        loader.seed_epoch(7, epoch, start)
        return [x for x, _ in loader]

    whole = batches(0)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # type: ignore[index, union-attr]
    assert torch.equal(torch.cat(whole), torch.cat(batches(0)))
    assert torch.equal(torch.cat(whole), torch.cat(batches(2)))
    assert torch.equal(torch.cat(whole[3:]), torch.cat(batches(0, start=3)))
    assert torch.equal(torch.cat(whole[3:]), torch.cat(batches(1, start=3)))
    assert before[1] == random.getstate()
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[2] == np.random.get_state()[1]).all()  # type: ignore[index]
    drawn = torch.cat(whole)[:, :3]
    assert len(drawn.unique()) == drawn.numel()  # no two items draw the same
    assert not torch.isin(torch.cat(batches(0, epoch=3))[:, :3], drawn).any()


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("make", LOADERS)
def test_an_epoch_can_begin_at_any_batch(make: Any, shuffle: bool) -> None:
    def rest(start: int) -> list[int]:
        loader = make(n=40, shuffle=shuffle)
        loader.seed_epoch(3, 1, start)
        return numbers(loader)

    whole = rest(0)
    for start in (1, 5, 10):
        assert rest(start) == whole[4 * start :]


def test_the_epoch_after_one_that_started_late_is_complete() -> None:
    loader = tensor_loader(40)
    loader.seed_epoch(3, 1, 5)
    numbers(loader)
    assert len(numbers(loader)) == 40


@pytest.mark.parametrize("workers", [-1, 1.5, "2", True])
def test_a_number_of_workers_that_cannot_work_is_refused(workers: Any) -> None:
    with refused("num_workers", got=workers, expected="an integer, 0 or more"):
        dataset_loader(workers=workers)


@pytest.mark.parametrize("workers", [0, 2])
def test_after_an_epoch_bunch_and_learner_can_be_copied_and_pickled(workers: int) -> None:
    data = TensorDataset(torch.arange(24.0).view(12, 2), torch.arange(12) % 2)
    learn = Learner(DataBunch.from_datasets(data, data, bs=4, num_workers=workers, classes=["a", "b"]), nn.Linear(2, 2))
    learn.fit(1)
    for copied in (copy.deepcopy(learn), pickle.loads(pickle.dumps(learn))):
        for dls in (copied.dls, copy.deepcopy(learn.dls), pickle.loads(pickle.dumps(learn.dls))):
            assert torch.equal(torch.cat([x for x, _ in dls.fix_dl]), data.tensors[0])
        assert torch.equal(copied.get_preds()[0], learn.get_preds()[0])
    learn.fit(1)  # its workers are still alive


def image_bunch(folder: Path, **options: Any) -> ImageDataBunch:
    return ImageDataBunch.from_folder(folder, **{"size": 16, "bs": 5, "num_workers": 0, **options})


@pytest.mark.parametrize("augment", [[Flip(1.0)], [OnItem(lambda x: x.flip(-1))]], ids=["on batches", "on items"])
@pytest.mark.parametrize("cache", [None, "memory"])
def test_images_are_augmented_in_their_order_as_in_training(class_folder: Path, augment: Any, cache: Any) -> None:
    dls = image_bunch(class_folder, augment=augment, cache=cache, normalize=None)
    plain = dls.ordered_dl("valid")
    changed = plain.augmented_as(dls.train_dl)
    assert (len(changed), changed.batch_size, changed.n_items) == (3, 5, 12)
    changed.seed_epoch(0, 0)
    for (x, y), (x_plain, y_plain) in zip(changed, plain, strict=True):
        assert torch.equal(y, y_plain)
        torch.testing.assert_close(x, x_plain.flip(-1), atol=1e-6, rtol=0)
    assert changed.dataset.store is plain.dataset.store
    assert (plain.dataset.store is None) is (cache is None)


def test_each_draw_of_augmented_images_is_another(class_folder: Path) -> None:
    dls = image_bunch(class_folder, augment=[Flip(0.5)])
    loader = dls.augmented_dl("valid")
    drawn = []
    for epoch in (0, 1, 0):
        loader.seed_epoch(3, epoch)
        drawn.append(torch.cat([x for x, _ in loader]))
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])


def test_augmented_images_are_read_by_as_many_workers(class_folder: Path) -> None:
    assert image_bunch(class_folder, num_workers=2).augmented_dl("valid").num_workers == 2


def test_without_an_augmentation_there_is_nothing_to_repeat(class_folder: Path) -> None:
    dls = image_bunch(class_folder, augment=False)
    with refused("this bunch does not augment its images", fix="Make it with augment=True."):
        dls.augmented_dl("valid")


SPAWNED = """
import multiprocessing, sys, torch
from torchvision.transforms import v2
from learnkit import ImageDataBunch
from learnkit.errors import UsageError
from learnkit.data.augment.others import OnItem

def batches(workers, **options):
    dls = ImageDataBunch.from_name_func(
        sys.argv[1], None, lambda path: path.split("/")[-2], valid_pct=0.3, size=16, bs=8, num_workers=workers,
        **{"augment": [v2.RandAugment(), v2.RandomHorizontalFlip()], **options})
    dls.train_dl.seed_epoch(0, 1)
    return torch.cat([x for x, _ in dls.train_dl])

if __name__ == "__main__":
    expected = batches(0)
    multiprocessing.set_start_method("spawn")
    assert torch.equal(batches(1), expected)
    assert torch.equal(batches(1, cache="disk"), expected)
    try:
        batches(1, augment=[OnItem(lambda x: x)])
    except UsageError as error:
        print(error)
"""


@pytest.mark.slow
def test_restarted_workers_yield_the_same_batches(class_folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "spawned.py"
    script.write_text(SPAWNED)
    done = subprocess.run([sys.executable, script, class_folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "the data cannot be sent to a process" in done.stdout
    assert "num_workers=0" in done.stdout


class Copies(TorchDispatchMode):
    """Counts operations that bring numbers from the CPU to the device meta, which stands in for an accelerator."""

    n = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        devices = {leaf.device.type for leaf in leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        self.n += "cpu" in devices and any(one.device.type == "meta" for one in leaves(out) if isinstance(one, Tensor))
        return out


@pytest.mark.parametrize(
    "augment",
    [
        True, "light", "strong", "trivial", [Flip()], [Dihedral()], [Rotate()], [Zoom()], [Warp()], [Brightness()],
        [Contrast()], [Saturation()], [Hue()], [RandomErasing(1.0)], [RandomErasing(1.0, fill="gray")], [Presize(12)],
    ],
    ids=str,
)  # fmt: skip
def test_what_is_drawn_for_a_batch_goes_to_the_device_in_one_copy(class_folder: Path, augment: Any) -> None:
    """Nothing is read back: tensors of the device meta have no numbers to read."""
    dls = ImageDataBunch.from_folder(class_folder, size=8, bs=2, augment=augment, device="meta", num_workers=0)
    next(iter(dls.train_dl))  # the constants of normalization
    with Copies() as counted:
        batch = next(iter(dls.train_dl))
    assert {part.device.type for part in batch} == {"meta"}
    assert batch[0].shape == (2, 3, 8, 8)
    assert counted.n <= 3  # pixels, targets, and what was drawn


@pytest.mark.parametrize("part", ["train", "valid"])
def test_points_and_masks_move_on_the_device_without_more_copies(tmp_path: Path, part: str) -> None:
    names, points = [f"images/{i}.png" for i in range(4)], [[1, 2, 3, 4]] * 4
    for kind, mode in (("images", "RGB"), ("masks", "L")):
        (tmp_path / kind).mkdir()
        for i in range(4):
            Image.new(mode, (8, 8)).save(tmp_path / kind / f"{i}.png")
    options: dict[str, Any] = {"size": 8, "bs": 2, "device": "meta", "valid_pct": 0.5}
    task = Points(["left", "right"], swaps=[("left", "right")])
    for dls in (
        ImageDataBunch.from_lists(tmp_path, names, points, task=task, **options),
        ImageDataBunch.from_folder_masks(
            tmp_path, masks=lambda image: tmp_path / "masks" / image.name, codes=["a", "b"], **options
        ),
    ):
        loader = dls.train_dl if part == "train" else dls.valid_dl
        next(iter(loader))
        with Copies() as counted:
            next(iter(loader))
        assert counted.n <= 3


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("n", [8, 12])
@pytest.mark.parametrize("part", ["train", "valid"])
def test_a_dataset_that_grows_or_shrinks_is_refused(part: str, n: int, workers: int) -> None:
    items = {name: [(torch.zeros(2), 0)] * 10 for name in ("train", "valid")}
    dls = DataBunch.from_datasets(items["train"], items["valid"], bs=2, classes=["a", "b"], num_workers=workers)
    learn = Learner(dls, nn.Linear(2, 2))
    learn.fit(1)
    items[part][:] = items[part][:1] * n
    with refused(f"the dataset has {n} items, and had 10 when the bunch was made", DataError):
        learn.fit(1)
