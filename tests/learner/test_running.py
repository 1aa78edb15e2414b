"""A running fit is left as it is by answers, from its own callbacks and from other threads."""

import copy
import pickle
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from learnkit import Callback, DataBunch, Learner
from learnkit.callbacks import MixUp
from learnkit.errors import UsageError
from learnkit.learner.running import Running, apart, twin
from tests.doubles import Blobs, acting, linear_learner

HOOKS = [
    "before_fit", "before_epoch", "before_batch", "after_pred", "after_loss", "after_backward", "after_step",
    "after_batch", "before_validate", "after_validate_batch", "after_validate", "after_epoch",
]  # fmt: skip

Act = Callable[[Learner, Tensor], Any]
ACTS: dict[str, Act] = {
    "save": lambda learn, x: learn.save("within"),
    "validate": lambda learn, x: learn.validate(),
    "validate train": lambda learn, x: learn.validate("train", metrics="error_rate"),
    "show_training": lambda learn, x: learn.show_training(),
    "get_preds": lambda learn, x: learn.get_preds(with_loss=True),
    "get_preds train": lambda learn, x: learn.get_preds("train"),
    "predict": lambda learn, x: learn.predict(x),
    "predict_iter": lambda learn, x: list(learn.predict_iter()),
    "predict_iter, left": lambda learn, x: next(learn.predict_iter()),
    "pred_batch": lambda learn, x: learn.pred_batch(),
    "predictor": lambda learn, x: learn.predictor().predict(x),
    "mc_dropout": lambda learn, x: learn.mc_dropout(n=2),
    "summary": lambda learn, x: learn.summary(),
    "interpret": lambda learn, x: learn.interpret().top_losses(3),
    "export": lambda learn, x: learn.export("within.lk"),
    "write_preds": lambda learn, x: learn.write_preds("within.csv"),
    "repr": lambda learn, x: repr(learn),
}


class InTheMiddle(nn.Module):
    """Acts in the middle of a forward pass in training, once per pass."""

    act: Callable[[], None] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.act is not None:
            self.act()
        return x


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), InTheMiddle(), nn.Dropout(0.5), nn.Linear(8, 2)
    )


def fitted(blobs: Blobs, *callbacks: Callback, prepare: Callable[[Learner], None] | None = None) -> Learner:
    learn = linear_learner(blobs, network(), metrics=["accuracy", "f1"])
    if prepare is not None:
        prepare(learn)
    learn.fit_one_cycle(2, 1e-2, callbacks=[MixUp(), *callbacks])
    return learn


def trace(learn: Learner) -> list[Any]:
    """All that a fit leaves: weights, the optimizer's state and rates, the history, modes, the generator."""
    assert learn.opt is not None
    state = [value for part in learn.opt.state_dict()["state"].values() for value in part.values()]
    groups = [{k: v for k, v in group.items() if k != "params"} for group in learn.opt.param_groups]
    rows = [{k: v for k, v in row.items() if k != "time"} for row in learn.recorder.rows]
    modes = [module.training for module in learn.model.modules()]
    tensors = [*learn.model.state_dict().values(), *state, torch.get_rng_state()]
    return [[t.tolist() for t in tensors], groups, rows, learn.recorder.losses, learn.recorder.lrs, modes, learn.epoch]


QUIET: list[Any] = []  # the trace of a fit that nobody asks, made once


def quiet_trace(blobs: Blobs) -> list[Any]:
    if not QUIET:
        QUIET.append(trace(fitted(blobs)))
    return QUIET[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ACTS)
def test_what_a_callback_asks_at_any_hook_leaves_the_fit_bit_equal(name: str, blobs: Blobs) -> None:
    learns: list[Learner] = []
    times: Counter[str] = Counter()

    def act(hook: str, state: Any) -> None:
        if times[hook] < 2:
            ACTS[name](learns[0], blobs[2][0])
        times[hook] += 1

    asks = acting(order=99, **{hook: partial(act, hook) for hook in HOOKS})
    asked = fitted(blobs, asks, prepare=learns.append)
    assert trace(asked) == quiet_trace(blobs)
    assert all(times[hook] for hook in HOOKS)


def test_weights_loaded_by_a_callback_go_on_at_the_rate_of_the_fit(blobs: Blobs) -> None:
    learn = linear_learner(blobs, network())
    learn.fit(1, 0.5)
    learn.save("half")
    rates: list[float] = []
    loads = acting(
        after_epoch=lambda state: learn.load("half"),
        after_batch=lambda state: rates.append(state.optimizer.param_groups[0]["lr"]),
    )
    learn.fit(2, 0.125, callbacks=loads)
    assert set(rates) == {0.125}
    saved = torch.load(learn.path / "models" / "half.pth", weights_only=True)["model"]
    assert all(torch.equal(saved[name], value) for name, value in learn.model.state_dict().items())


def in_a_thread(act: Callable[[], Any], found: list[Any]) -> None:
    """Run it in another thread to its end, and keep what it returns or raises."""

    def run() -> None:
        try:
            found.append(act())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "it waits for the fit, which waits for it"


@pytest.mark.parametrize("name", ACTS)
def test_answers_of_another_thread_in_the_middle_of_a_pass_leave_the_fit_bit_equal(name: str, blobs: Blobs) -> None:
    found: list[Any] = []

    def prepare(learn: Learner) -> None:
        ask = lambda: in_a_thread(lambda: ACTS[name](learn, blobs[2][0]), found)  # noqa: E731
        learn.model[3].act = lambda: ask() if len(found) < 2 else None  # type: ignore[index]

    asked = fitted(blobs, prepare=prepare)
    assert trace(asked) == quiet_trace(blobs)
    if name == "mc_dropout":  # it needs the generators
        assert all(isinstance(one, UsageError) and "Wait for the fit" in str(one) for one in found)
    else:
        assert [one for one in found if isinstance(one, Exception)] == []
    assert len(found) == 2


class Paused:
    """Two batches; between them it waits until the fit has gone on to the middle of its next batch."""

    def __init__(self, blobs: Blobs) -> None:
        self.batches = [(blobs[2][:16], blobs[3][:16]), (blobs[2][16:], blobs[3][16:])]
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __iter__(self) -> Any:
        yield self.batches[0]
        self.begun.set()
        assert self.go_on.wait(60)
        yield self.batches[1]


@pytest.mark.parametrize(
    "answer",
    [
        lambda learn, loader: learn.get_preds(loader), lambda learn, loader: learn.validate(loader),
        lambda learn, loader: list(learn.predict_iter(loader)),
    ],
)  # fmt: skip
def test_an_answer_that_lasts_while_a_fit_goes_on_leaves_it_bit_equal(answer: Any, blobs: Blobs) -> None:
    loader, found, threads = Paused(blobs), [], []

    def prepare(learn: Learner) -> None:
        def act() -> None:
            if not threads:
                threads.append(threading.Thread(target=lambda: found.append(answer(learn, loader))))
                threads[0].start()
                assert loader.begun.wait(60)
            elif not loader.go_on.is_set():
                loader.go_on.set()
                threads[0].join(60)

        learn.model[3].act = act  # type: ignore[index]

    asked = fitted(blobs, prepare=prepare)
    assert trace(asked) == quiet_trace(blobs)
    assert len(found) == 1


def test_an_answer_beside_a_fit_is_in_eval_mode(blobs: Blobs) -> None:
    found: list[Any] = []

    def prepare(learn: Learner) -> None:
        learn.model[3].act = lambda: in_a_thread(  # type: ignore[index]
            lambda: [learn.get_preds()[0], learn.get_preds()[0]], found
        )

    fitted(blobs, prepare=prepare)
    assert all(torch.equal(first, second) for first, second in found), "no dropout"


def test_predictions_of_several_threads_are_those_of_one(blobs: Blobs) -> None:
    learn = linear_learner(blobs, network())
    learn.fit(1)
    expected = learn.get_preds()[0]
    learn.model.train()
    found: list[Tensor] = []
    threads = [threading.Thread(target=lambda: found.extend(learn.get_preds()[0] for _ in range(20))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80
    assert all(torch.equal(expected, preds) for preds in found)
    assert learn.model.training


def test_an_iteration_begun_before_another_threads_fit_ends_with_an_error(blobs: Blobs) -> None:
    learn = linear_learner(blobs)
    begun, found = learn.predict_iter(), []
    next(begun)
    learn.fit(1, callbacks=acting(before_epoch=lambda state: in_a_thread(lambda: next(begun), found)))
    with pytest.raises(UsageError, match="Begin a new one"):
        raise found[0]


@pytest.mark.slow
@pytest.mark.parametrize("keeps", [True, False])
def test_a_callback_may_read_the_loader_that_the_fit_is_reading(blobs: Blobs, keeps: bool) -> None:
    def learner() -> Learner:
        train, valid = (TensorDataset(*blobs[at : at + 2]) for at in (0, 2))
        loaders = [DataLoader(one, 8, num_workers=1, persistent_workers=keeps) for one in (train, valid)]
        dls = DataBunch.from_loaders(*loaders, classes=["a", "b"], device="cpu")
        return Learner(dls, network(), seed=0)

    quiet, asked = learner(), learner()
    quiet.fit(1, 1e-2)

    def act(state: Any) -> None:
        if state.batch == 1:
            asked.get_preds("train"), asked.validate()

    asked.fit(1, 1e-2, callbacks=acting(after_batch=act, after_validate_batch=act))
    assert trace(quiet) == trace(asked)


def test_a_twin_shares_weights_and_has_its_own_modes() -> None:
    model = network().train()
    other = twin(model).eval()
    assert all(a is b for a, b in zip(model.parameters(), other.parameters(), strict=True))
    assert model.training
    assert model[1].training
    assert not other[1].training  # type: ignore[index]


def test_a_model_that_holds_tensors_of_a_pass_has_a_twin() -> None:
    model = nn.Linear(2, 2)
    model.kept = {"map": model(torch.ones(1, 2))}  # type: ignore[assignment]
    x = torch.randn(3, 2)
    assert torch.equal(twin(model)(x), model(x))


def test_a_model_that_cannot_be_copied_is_refused_beside_a_fit() -> None:
    class Locked(nn.Linear):
        def __deepcopy__(self, memo: Any) -> Any:
            raise RuntimeError("it is locked")

    with pytest.raises(UsageError, match=r"it is locked.*learn.predictor"):
        twin(Locked(2, 2))


def test_a_loader_apart_draws_nothing_from_the_global_generator(blobs: Blobs) -> None:
    loader = DataLoader(TensorDataset(*blobs[:2]), 8)
    state = torch.get_rng_state()
    assert sum(len(x) for x, _ in apart(loader)) == 64
    assert torch.equal(state, torch.get_rng_state())
    assert loader.generator is None
    batches = [blobs[0][:2]]
    assert apart(batches) is batches


def test_copies_of_a_learner_do_not_run(blobs: Blobs, tmp_path: Path) -> None:
    running, copies = Running(), []
    with running.only():
        copies += [copy.deepcopy(running), pickle.loads(pickle.dumps(running))]
        with running.only():  # a fit of a callback
            assert running.is_on
        assert running.is_on
    assert not any(one.is_on for one in [running, *copies])
