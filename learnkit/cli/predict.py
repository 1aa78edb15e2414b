"""Predict images: files, folders, patterns, or names from stdin."""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Generic, TypeVar

import torch

from learnkit.checks import check_int
from learnkit.cli.exit_codes import OK, PROBLEMS, at_work
from learnkit.cli.inputs import Input, inputs_of
from learnkit.cli.loaded import MODEL_HELP, images_of, load_model
from learnkit.cli.mask_files import MaskFiles
from learnkit.cli.output import check_new, check_place, print_error, print_line
from learnkit.cli.rows import FORMATS, Row, print_rows, print_set_rows, row_of, set_row_of
from learnkit.data.image_bunch import ImageDataBunch
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Task
from learnkit.device import usable_cpus
from learnkit.errors import ImageError, UsageError
from learnkit.inference.predictions import Predictions
from learnkit.inference.predictor import Prediction, Predictor
from learnkit.inference.tables import check_table, write_table
from learnkit.text import counted

__all__ = ["add_arguments", "run"]

T = TypeVar("T")
MOST_THREADS = 8
ROWS = 64  # of a table that are written at once


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of `learnkit predict`."""
    parser.add_argument("file", metavar="FILE", help=MODEL_HELP)
    parser.add_argument(
        "items", nargs="+", metavar="ITEM",
        help='an image; a folder, for all images below it; a pattern such as "photos/**/*.jpg"; - for names from stdin',
    )  # fmt: skip
    parser.add_argument("--format", choices=FORMATS, help="how to print predictions (table); json is one object a line")
    parser.add_argument(
        "--sets", action="store_true",
        help="answer with sets of labels, or intervals, that hold the truth with the probability that was fitted, and "
        "whether the image is familiar",
    )  # fmt: skip
    parser.add_argument("--top", type=int, metavar="K", help="add the K most probable classes")
    parser.add_argument(
        "--out", type=Path, metavar="OUT",
        help="write a table with all probabilities instead, OUT.csv or OUT.parquet; of masks, the folder for PNG files",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="overwrite OUT")
    parser.add_argument("--null", action="store_true", help="names from stdin end with a NUL: find -print0")
    parser.add_argument("--bs", type=int, default=64, metavar="N", help="images per batch (64)")
    parser.add_argument(
        "--num-workers", type=int, metavar="N", help="threads that read images (as many as cores, at most 8)"
    )
    parser.add_argument("--device", metavar="DEVICE", help="where to predict, such as cpu or cuda:1")


def run(args: argparse.Namespace) -> int:
    """Print or write the prediction of each image, in the order of the items; returns 1 if some cannot be read.

    Raises:
        LearnkitError: a file, items or options that cannot work, or a table that could not be written.
    """
    _check(args)
    inputs = inputs_of(args.items, null=args.null)
    learn = load_model(args.file, args.device)
    images = images_of(learn, "predict")
    task = learn.dls.task
    assert task is not None  # of images it is known
    _check_task(args, task)
    predictor = learn.predictor(args.bs)
    if args.sets:
        _check_sets(predictor)
    inputs = chain([next(inputs)], inputs)  # refuses a stdin without names
    masks = MaskFiles(args.out, task) if isinstance(task, Segmentation) else None
    with at_work():
        return _predict(args, predictor, inputs, images, masks)


def _predict(
    args: argparse.Namespace,
    predictor: Predictor,
    inputs: Iterator[Input],
    images: ImageDataBunch,
    masks: MaskFiles | None,
) -> int:
    task = images.task
    assert task is not None  # of images it is known
    threads = min(MOST_THREADS, usable_cpus()) if args.num_workers is None else args.num_workers
    if args.sets:
        sets = Answers(partial(predictor.predict_set_each, num_workers=threads), inputs)
        print_set_rows((set_row_of(one.path, found, task) for one, found in sets), args.format or "table")
        return PROBLEMS if sets.n_failed else OK
    answers = Answers(partial(predictor.predict_each, num_workers=threads), inputs)
    if masks is not None:
        rows = (Row(one.path, str(masks.write(one, found.label))) for one, found in answers)
        print_rows(rows, args.format or "table", has_top=False)
    elif args.out is not None:
        _write(args.out, answers, images, task)
    else:
        rows = (row_of(one.path, found, task, args.top) for one, found in answers)
        print_rows(rows, args.format or "table", has_top=args.top is not None)
    return PROBLEMS if answers.n_failed else OK


class Answers(Generic[T]):
    """The predictions of images, batch by batch; one that cannot be read is an error on stderr.

    Args:
        answer: from paths to a prediction of each, or the error.
        inputs: the images.

    Attributes:
        n_failed: how many could not be read so far.
    """

    def __init__(self, answer: Callable[[Iterator[str]], Iterator[T | ImageError]], inputs: Iterator[Input]) -> None:
        self.n_failed: int = 0
        self._answer, self._inputs = answer, inputs

    def __iter__(self) -> Iterator[tuple[Input, T]]:
        waiting: list[Input] = []  # as many as are read ahead

        def paths() -> Iterator[str]:
            for one in self._inputs:
                waiting.append(one)
                yield one.path

        for found in self._answer(paths()):
            one = waiting.pop(0)
            if isinstance(found, ImageError):
                self.n_failed += 1
                print_error(str(found))
            else:
                yield one, found


def _check(args: argparse.Namespace) -> None:
    for name in ("bs", "top", "num_workers"):
        if getattr(args, name) is not None:
            check_int(f"--{name.replace('_', '-')}", getattr(args, name), 1)
    if args.null and "-" not in args.items:
        raise UsageError("--null is about names from stdin", fix="Add the item -.")
    if args.force and args.out is None:
        raise UsageError("--force has no effect without --out")
    if args.out is not None:
        check_place(args.out.parent)
    if args.sets and (args.top is not None or args.out is not None):
        raise UsageError("--sets excludes --top and --out", fix="Print the sets, with --format csv or json for a file.")


def _check_task(args: argparse.Namespace, task: Task) -> None:
    """Refuse what the outputs of the model cannot be shown as, before anything is predicted."""
    if args.top is not None and (not task.classes or isinstance(task, Segmentation) or args.out is not None):
        raise UsageError("--top needs classes with probabilities, that are printed", fix="Leave it out.")
    if args.sets and isinstance(task, Segmentation):
        raise UsageError("--sets: a model of masks has no sets", fix="Leave it out.")
    if isinstance(task, Segmentation):
        if args.out is None or args.out.suffix or args.force:
            raise UsageError("masks are files", fix="Pass a new folder for them, without --force: --out FOLDER.")
    elif args.out is not None:
        if args.format is not None:
            raise UsageError("--format and --out exclude each other", fix="The name of --out chooses its format.")
        if args.out.suffix.lower() not in (".csv", ".parquet"):
            raise UsageError("--out", got=str(args.out), expected="a name that ends in .csv or .parquet")
        check_new(check_table(args.out, task), force=args.force)


def _check_sets(predictor: Predictor) -> None:
    if not predictor.has_sets:
        raise UsageError(
            "--sets: nothing in the file says how sure the model is",
            fix="Fit it at the end of a training, learnkit train DATA --conformal 0.1, or in Python, "
            "learn.fit_conformal(), and export again.",
        )


def _write(out: Path, answers: Answers[Prediction], images: ImageDataBunch, task: Task) -> None:
    """Write the table of `Learner.write_preds`; none if no image can be read."""
    names: list[str] = []

    def batches() -> Iterator[Predictions]:
        ahead = iter(answers)
        while batch := list(islice(ahead, ROWS)):
            names.extend(one.path for one, _ in batch)
            yield torch.stack([found.probs for _, found in batch]), None, None

    predictions = batches()
    first = next(predictions, None)
    if first is None:
        return
    write_table(
        out, chain([first], predictions), names, task, lambda row: images.preprocess.view(names[row]), safe=True
    )
    print_line(f"{out}: {counted(len(names), 'image')}")
