"""Every kind of optimizer in every way a learner uses one; and layers that change between fits."""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from learnkit import DataBunch, Learner, LearnkitWarning
from learnkit.callbacks import GeneralScheduler, TerminateOnNaN, TrainingPhase
from learnkit.errors import NonFiniteLossError, UsageError
from learnkit.models import replace_layer
from tests.doubles import Blobs, acting, raising

SGD, AdamW = torch.optim.SGD, torch.optim.AdamW


class ScheduleFree(SGD):
    """SGD without a schedule (Defazio et al., 2024): weights are y in train mode and the average x in eval mode."""

    def train(self) -> None:
        self._switch(is_training=True)

    def eval(self) -> None:
        self._switch(is_training=False)

    @torch.no_grad()
    def _switch(self, *, is_training: bool) -> None:
        for group in self.param_groups:
            if group.get("train_mode", False) != is_training:
                for p in group["params"]:
                    if "z" in self.state[p]:
                        p.lerp_(self.state[p]["z"], weight=0.1 if is_training else 1 - 1 / 0.9)
                group["train_mode"] = is_training

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            if not group.get("train_mode", False):
                raise RuntimeError("Optimizer was not in train mode when step is called")
            group["k"] = group.get("k", 0) + 1
            for p in (p for p in group["params"] if p.grad is not None):
                z = self.state[p].setdefault("z", p.clone())
                p.lerp_(z, 1 / group["k"])
                p.sub_(p.grad, alpha=group["lr"] * (0.9 * (1 - 1 / group["k"])))
                z.sub_(p.grad, alpha=group["lr"])


def layer_wise(model: nn.Sequential) -> Any:
    """Rates that grow toward the head, in groups of the user's own."""
    layers = [layer for layer in model if list(layer.parameters())]
    groups = [{"params": list(layer.parameters()), "lr": 1e-3 * 2.0**depth} for depth, layer in enumerate(layers)]
    return lambda _: SGD(groups, momentum=0.9)


def of_timm(name: str) -> Any:
    optim = pytest.importorskip("timm.optim")
    return lambda model: lambda _, lr: optim.create_optimizer_v2(model, name, lr=lr, weight_decay=0.05)


def always(opt_func: Any) -> Any:
    return lambda model: opt_func


of_torch = torch.optim
CLASSES = [
    *(of_torch.Adadelta, of_torch.Adafactor, of_torch.Adagrad, of_torch.Adam, of_torch.Adamax, of_torch.AdamW),
    *(of_torch.ASGD, of_torch.NAdam, of_torch.RAdam, of_torch.RMSprop, of_torch.Rprop, of_torch.SGD),
]
OPTIMIZERS: dict[str, Callable[[nn.Sequential], Any]] = {
    "adamw": always("adamw"),
    **{kind.__name__: always(kind) for kind in CLASSES},
    "partial": always(partial(SGD, momentum=0.9, nesterov=True)),
    "partial with a rate": always(partial(AdamW, lr=1e-2, weight_decay=0.1)),
    "lambda": always(lambda groups, lr: SGD(groups, lr=lr, momentum=0.9)),
    "lambda without a rate": always(lambda groups: AdamW(groups, lr=1e-2)),
    "one list": always(lambda groups: SGD([p for group in groups for p in group["params"]], lr=1e-2)),
    "layer-wise": layer_wise,
    "timm": lambda model: of_timm("adamw")(model),
    "timm's muon": lambda model: of_timm("muon")(model),  # with AdamW for what is not a matrix
    "schedule-free": always(ScheduleFree),
}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))


def learner(blobs: Blobs, make: Any = None, model: nn.Module | None = None, **options: Any) -> Learner:
    model = network() if model is None else model
    opt_func = "adamw" if make is None else make(model)
    return Learner(DataBunch.from_tensors(*blobs, bs=16), model, opt_func=opt_func, seed=0, **options)


def weights(learn: Learner) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in learn.model.parameters()]


def moved(before: list[Tensor], learn: Learner) -> bool:
    return all(not torch.equal(old, new) for old, new in zip(before, learn.model.parameters(), strict=True))


ways = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
pytestmark = pytest.mark.filterwarnings("ignore:lr. this fit trains at:learnkit.LearnkitWarning")


@ways
def test_every_optimizer_trains_schedules_finds_rates_validates_and_exports(make: Any, blobs: Blobs) -> None:
    learn = learner(blobs, make)
    before = weights(learn)
    learn.fit(1, 1e-2)
    assert moved(before, learn)
    learn.fit_one_cycle(1, 1e-2)
    learn.lr_find(num_it=8)
    learn.freeze_to(0)
    learn.fit(1)
    assert len(learn.validate()) == 1
    assert all(torch.isfinite(weight).all() for weight in weights(learn))
    learn.export("here.lk")


@ways
def test_every_optimizer_is_saved_loaded_and_resumed_to_the_bit(make: Any, blobs: Blobs, tmp_path: Path) -> None:
    whole, killed, resumed = (learner(blobs, make, path=tmp_path / name) for name in ("whole", "part", "part"))
    whole.fit(1, 1e-2)
    for each in (killed, resumed):
        each.load(whole.save("here").absolute(), with_opt=True)
        each.counter.epoch, each.counter.n_fits = whole.counter.epoch, 1
    whole.fit_one_cycle(2, 1e-2)
    crash = acting(before_batch=raising(ZeroDivisionError(), epoch=1, batch=2), order=99)
    with pytest.raises(ZeroDivisionError):
        killed.fit_one_cycle(2, 1e-2, callbacks=crash, checkpoint_every=1)
    resumed.fit_one_cycle(2, 1e-2, resume="auto")
    assert all(map(torch.equal, weights(whole), weights(resumed)))


# What changes between fits


def lora(learn: Learner) -> None:
    class LoRA(nn.Module):
        def __init__(self, base: nn.Linear) -> None:
            super().__init__()
            self.base = base.requires_grad_(False)
            self.a, self.b = nn.Parameter(torch.randn(1, 4)), nn.Parameter(torch.ones(4, 1))

        def forward(self, x: Tensor) -> Tensor:
            return self.base(x) + x @ self.a.T @ self.b.T  # type: ignore[no-any-return]

    learn.model[2] = LoRA(learn.model[2])  # type: ignore[index, arg-type, operator]


def assigned(learn: Learner) -> None:
    learn.model.load_state_dict({name: t.clone() for name, t in learn.model.state_dict().items()}, assign=True)


def other_model(learn: Learner) -> None:
    torch.manual_seed(1)
    learn.model = network()


CHANGES: dict[str, Callable[[Learner], Any]] = {
    "replace_layer": lambda learn: replace_layer(learn.model, "4", nn.Linear(4, 2)),
    "a new head": lambda learn: learn.model.__setitem__(4, nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))),  # type: ignore[operator]
    "a layer removed": lambda learn: learn.model.__setitem__(2, nn.Identity()),  # type: ignore[operator]
    "a layer added": lambda learn: learn.model.append(nn.Linear(2, 2)),  # type: ignore[operator]
    "weight_norm": lambda learn: parametrizations.weight_norm(learn.model[2]),  # type: ignore[index, arg-type]
    "assign": assigned,
    "tied": lambda learn: setattr(learn.model[0], "bias", learn.model[2].bias),  # type: ignore[index, union-attr]
    "another model": other_model,
    "LoRA": lora,
}


@pytest.mark.parametrize(("fitted", "split"), [(False, True), (True, True), (True, False)])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_comes_into_the_model_trains(change: Any, fitted: bool, split: bool, blobs: Blobs) -> None:
    model = network()
    learn = learner(blobs, model=model, groups=[model[:2], model[2:4], model[4]] if split else None)
    if fitted:
        learn.fit(1, 1e-2)
    change(learn)
    before = [(p, p.detach().clone()) for p in learn.model.parameters() if p.requires_grad]
    learn.fit(1, slice(1e-3, 1e-2))
    assert all(not torch.equal(parameter, old) for parameter, old in before)
    assert learn.opt is not None
    held = [id(parameter) for group in learn.opt.param_groups for parameter in group["params"]]
    assert sorted(held) == sorted(map(id, learn.model.parameters()))
    learn.lr_find(num_it=6)


def test_a_new_layer_joins_the_group_of_the_old_one(blobs: Blobs) -> None:
    model = network()
    learn = learner(blobs, model=model, groups=[model[:2], model[2:4], model[4]])
    learn.fit(1)
    body = learn.groups[0]
    learn.model[2] = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))  # type: ignore[index, operator]
    learn.fit(1, [1e-4, 1e-3, 1e-2])
    assert learn.opt is not None
    rates = {id(p): group["lr"] for group in learn.opt.param_groups for p in group["params"]}
    found = [rates[id(parameter)] for parameter in learn.model.parameters()]
    assert found == [1e-4] * 2 + [1e-3] * 4 + [1e-2] * 2
    assert learn.groups[0] is body
    learn.freeze_to(1)
    assert [parameter.requires_grad for parameter in learn.model.parameters()] == [False] * 2 + [True] * 6


def test_what_stays_keeps_its_moments(blobs: Blobs) -> None:
    learn = learner(blobs)
    learn.fit(1, 1e-2)
    assert learn.opt is not None
    steps = {id(p): int(state["step"]) for p, state in learn.opt.state.items()}
    learn.model[4] = nn.Linear(4, 2)  # type: ignore[operator]
    learn.fit(1, 1e-2)
    assert set(steps.values()) == {4}
    assert [int(learn.opt.state[parameter]["step"]) for parameter in learn.model.parameters()] == [8] * 4 + [4] * 2


def test_another_network_needs_groups_of_its_own(blobs: Blobs) -> None:
    model = network()
    learn = learner(blobs, model=model, groups=[model[:2], model[2:]])
    with pytest.warns(LearnkitWarning, match=r"the 2 layer groups were those of another model.*learn\.split"):
        learn.model = nn.Sequential(OrderedDict(other=nn.Linear(2, 2)))
    before = learn.model[0].weight.detach().clone()
    learn.fit(1)
    assert learn.groups == [learn.model]
    assert not torch.equal(learn.model[0].weight, before)


def test_a_network_whose_parameters_are_all_new_needs_groups_of_its_own(blobs: Blobs) -> None:
    model = network()
    learn = learner(blobs, model=model, groups=[model[:2], model[2:]])
    while len(model):
        del model[0]
    model.add_module("other", nn.Linear(2, 2))
    with pytest.raises(UsageError, match=r"none of the parameters that the 2 layer groups hold.*learn\.split"):
        learn.fit(1)
    learn.split([learn.model]).fit(1)


def test_a_function_splits_the_model(blobs: Blobs) -> None:
    learn = learner(blobs).split(lambda model: [model[2], model[4]])
    assert [len(list(group.parameters())) for group in learn.groups] == [2, 2, 2]


# Rates and decay of a factory


def test_a_rate_fixed_in_the_factory_is_the_default_and_another_is_told_of(blobs: Blobs) -> None:
    learn = learner(blobs, lambda model: partial(SGD, lr=0.05))
    learn.fit(1)
    learn.fit_one_cycle(1)
    assert learn.recorder.lrs[:4] == [0.05] * 4
    assert max(learn.recorder.lrs[4:]) == pytest.approx(0.05)
    assert learn.lr_range(0.1) == [0.1]
    with pytest.warns(LearnkitWarning, match=r"trains at 0.01, not at the rate that opt_func fixes \(0.05\)"):
        learn.fit(1, 0.01)


POLICIES: dict[str, Callable[[Learner], object]] = {
    "fit": lambda learn: learn.fit(1),
    "fit_one_cycle": lambda learn: learn.fit_one_cycle(1),
    "fit_flat_cos": lambda learn: learn.fit_flat_cos(1),
    "fit_sgdr": lambda learn: learn.fit_sgdr(1, 1),
    "own rate": lambda learn: learn.fit(1, callbacks=GeneralScheduler([TrainingPhase()])),
    "phases": lambda learn: learn.fit(1, callbacks=GeneralScheduler([TrainingPhase(lr=(0.4, 0.2))])),
    "fine_tune": lambda learn: learn.fine_tune(1, freeze_epochs=1),
}


@pytest.mark.filterwarnings("error:lr:learnkit.LearnkitWarning")
@pytest.mark.parametrize("policy", POLICIES.values(), ids=list(POLICIES))
def test_a_last_group_fixed_at_a_rate_of_0_stays_there_in_every_policy(
    policy: Callable[[Learner], object], blobs: Blobs
) -> None:
    """The others train as they do beside a last group with the rate of theirs."""

    def rates(of_last: float) -> list[tuple[float, float]]:
        model, found = network(), list[tuple[float, float]]()
        groups = [
            {"params": list(model[:4].parameters()), "lr": 0.1},
            {"params": list(model[4].parameters()), "lr": of_last},
        ]
        learn = learner(blobs, lambda _: lambda _: SGD([dict(group) for group in groups]), model=model)
        learn.groups = [model[:4], model[4]]
        learn.add_cb(
            acting(after_step=lambda s: found.append(tuple(group["lr"] for group in s.optimizer.param_groups)))
        )
        policy(learn)
        return found

    fixed, alike = rates(0.0), rates(0.1)
    assert [first for first, _ in fixed] == pytest.approx([first for first, _ in alike])
    assert {last for _, last in fixed} == {0.0}


def test_another_rate_is_told_of_beside_a_last_group_fixed_at_0(blobs: Blobs) -> None:
    model = network()
    groups = [{"params": list(model[:4].parameters()), "lr": 0.1}, {"params": list(model[4].parameters()), "lr": 0.0}]
    learn = learner(blobs, lambda _: lambda _: SGD([dict(group) for group in groups]), model=model)
    with pytest.warns(LearnkitWarning, match=r"trains at 0.01, not at the rate that opt_func fixes \(0, 0.1\)"):
        learn.fit(1, 0.01)


@pytest.mark.filterwarnings("error:lr:learnkit.LearnkitWarning")
@pytest.mark.parametrize(("base_lr", "peaks"), [(None, [0.05, 0.025]), (0.2, [0.2, 0.1])])
def test_fine_tuning_starts_from_the_rate_that_a_factory_fixes(
    base_lr: float | None, peaks: list[float], blobs: Blobs
) -> None:
    model = network()
    learn = learner(blobs, lambda _: partial(SGD, lr=0.05), model=model, groups=[model[:4], model[4]])
    with nullcontext() if base_lr is None else pytest.warns(LearnkitWarning, match="trains at 0.2, not at") as told:
        learn.fine_tune(1, base_lr, freeze_epochs=1)
    assert base_lr is None or len(told) == 1  # type: ignore[arg-type]
    assert [max(learn.recorder.lrs[:4]), max(learn.recorder.lrs[4:])] == pytest.approx(
        peaks, rel=0.2
    )  # four points of a cycle


@pytest.mark.parametrize(
    ("opt_func", "wd", "decays"),
    [
        ("adamw", None, [0.01, 0.0]),
        ("adam", None, [0.0, 0.0]),
        ("sgd", None, [0.0, 0.0]),
        ("sgd", 0.25, [0.25, 0.0]),
        (AdamW, None, [0.01, 0.0]),
        (partial(AdamW, weight_decay=0.3), None, [0.3, 0.0]),
        (lambda groups, lr: AdamW(groups, lr=lr, weight_decay=0.3), None, [0.3, 0.0]),
    ],
)
def test_the_decay_is_that_of_the_optimizer_unless_one_is_passed(
    opt_func: Any, wd: float | None, decays: list[float], blobs: Blobs
) -> None:
    learn = learner(blobs, lambda model: opt_func, wd=wd)
    learn.fit(1, 1e-3)
    assert learn.opt is not None
    assert [group["weight_decay"] for group in learn.opt.param_groups] == decays
    learn.fit(1, 1e-3, wd=0.125)
    assert [group["weight_decay"] for group in learn.opt.param_groups] == [0.125, 0.0]
    learn.fit(1, 1e-3)
    assert [group["weight_decay"] for group in learn.opt.param_groups] == decays


def test_a_decay_that_is_not_used_is_told_of(blobs: Blobs) -> None:
    learn = learner(blobs, lambda model: lambda groups, lr: AdamW(groups, lr=lr, weight_decay=0.3), wd=0.1)
    with pytest.warns(LearnkitWarning, match=r"wd=0.1 is not used: opt_func fixes a weight decay of 0.3"):
        learn.fit(1, 1e-3)
    learn = learner(blobs, lambda model: torch.optim.Rprop)
    with pytest.warns(LearnkitWarning, match=r"wd=0.1 is not used: Rprop has no weight decay"):
        learn.fit(1, 1e-3, wd=0.1)


def test_groups_of_the_users_own_keep_rates_ratios_and_decay(blobs: Blobs) -> None:
    learn = learner(blobs, layer_wise)
    rates: list[list[float]] = []
    watch = acting(after_batch=lambda state: rates.append([group["lr"] for group in state.optimizer.param_groups]))
    learn.fit(1, callbacks=watch)
    assert rates[0] == [1e-3, 2e-3, 4e-3]
    learn.fit(1, 0.1, callbacks=watch)
    assert rates[-1] == pytest.approx([0.025, 0.05, 0.1])
    learn.fit_one_cycle(2, slice(1e-5, 0.1), callbacks=watch)
    assert all(row == pytest.approx([row[2] / 4, row[2] / 2, row[2]]) for row in rates)


def test_layer_decay_of_timm_scales_the_rates(blobs: Blobs) -> None:
    model = network()
    groups = [{"params": list(model[n].parameters()), "lr_scale": 0.5 ** (4 - n)} for n in (0, 2, 4)]  # as timm's are
    learn = learner(blobs, lambda _: lambda _, lr: SGD(groups, lr=lr), model=model)
    assert learn.lr_range(1.0) == [0.0625, 0.25, 1.0]
    learn.fit(1, 1e-2)
    assert learn.opt is not None
    assert [group["lr"] for group in learn.opt.param_groups] == pytest.approx([0.0625e-2, 0.25e-2, 1e-2])


# Schedule-free optimizers


def test_a_schedule_free_optimizer_trains_in_train_mode_and_is_evaluated_in_eval_mode(blobs: Blobs) -> None:
    modes: dict[str, set[bool]] = {}

    def note(name: str) -> Callable[[Any], None]:
        return lambda state: modes.setdefault(name, set()).add(state.optimizer.param_groups[0]["train_mode"])

    hooks = ("before_batch", "after_batch", "before_validate", "after_epoch", "after_fit")
    for valid in (True, False):
        learn = learner(blobs, lambda model: ScheduleFree)
        if not valid:
            learn.dls.valid_dl = None  # type: ignore[assignment]
        every = 3 if valid else None  # within epochs too
        learn.fit(2, 0.1, callbacks=acting(**{name: note(name) for name in hooks}), validate_every=every)
    assert modes == {name: {name in ("before_batch", "after_batch")} for name in hooks}


def test_a_schedule_free_optimizer_keeps_its_count_of_steps(blobs: Blobs) -> None:
    learn = learner(blobs, lambda model: ScheduleFree)
    for _ in range(2):
        learn.fit(1, 0.1)
    assert learn.opt is not None
    assert learn.opt.param_groups[0]["k"] == 8


# A loss with parameters


class Scaled(nn.Module):
    """Cross-entropy of outputs times a learned number."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, preds: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(preds * self.scale, targets)


def test_the_parameters_of_a_loss_train_as_in_a_loop_by_hand(blobs: Blobs) -> None:
    learn = learner(blobs, lambda model: "sgd", loss_func=Scaled())
    model, loss = network(), Scaled()
    optimizer = SGD([*model.parameters(), *loss.parameters()], 0.1)
    learn.dls.train_dl.seed_epoch(learn.seed, 0)
    for x, y in learn.dls.train_dl:
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()
    learn.fit(1, 0.1)
    assert loss.scale.item() != 1
    torch.testing.assert_close(learn.loss_func.scale, loss.scale)  # type: ignore[attr-defined]
    torch.testing.assert_close(list(learn.model.parameters()), list(model.parameters()))


def test_the_parameters_of_a_loss_are_saved_loaded_and_left_alone_by_lr_find(blobs: Blobs) -> None:
    learn, again = (learner(blobs, loss_func=Scaled()) for _ in range(2))
    learn.fit(1, 0.1)
    scale = learn.loss_func.scale.item()  # type: ignore[attr-defined]
    learn.lr_find(num_it=8)
    learn.validate()
    assert learn.loss_func.scale.item() == scale  # type: ignore[attr-defined]
    again.load(learn.save("here").absolute())
    assert again.loss_func.scale.item() == scale  # type: ignore[attr-defined]
    for each in (learn, again):
        each.counter.epoch = 1
        each.fit(1, 0.1)
    assert all(map(torch.equal, weights(learn), weights(again)))
    with (
        pytest.warns(LearnkitWarning, match="different number of parameter groups"),
        pytest.warns(LearnkitWarning, match="no parameters of the loss; those of Scaled keep their values"),
    ):
        again.load(learner(blobs).save("plain").absolute())


def test_the_parameters_of_a_loss_are_resumed(blobs: Blobs, tmp_path: Path) -> None:
    whole = learner(blobs, loss_func=Scaled(), path=tmp_path / "whole")
    whole.fit(2, 0.1)
    crash = acting(before_batch=raising(ZeroDivisionError(), epoch=1, batch=2), order=99)
    with pytest.raises(ZeroDivisionError):
        learner(blobs, loss_func=Scaled(), path=tmp_path).fit(2, 0.1, callbacks=crash, checkpoint_every=1)
    resumed = learner(blobs, loss_func=Scaled(), path=tmp_path)
    resumed.fit(2, 0.1, resume="auto")
    assert torch.equal(resumed.loss_func.scale, whole.loss_func.scale)  # type: ignore[attr-defined]
    assert all(map(torch.equal, weights(whole), weights(resumed)))


# Files of other optimizers


@pytest.mark.parametrize(("written", "own"), [("sgd", "adamw"), ("adam", "adamw"), ("rmsprop", "sgd")])
def test_the_state_of_another_optimizer_is_refused_by_name(written: str, own: str, blobs: Blobs) -> None:
    saved = learner(blobs, lambda model: written)
    saved.fit(1)
    path = saved.save("here").absolute()
    names = {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD", "rmsprop": "RMSprop"}
    expected = f"it is that of {names[written]}, and the learner's is {names[own]}"
    learn = learner(blobs, lambda model: own)
    with pytest.raises(UsageError, match=expected):
        learn.load(path, with_opt=True)
    with pytest.warns(LearnkitWarning, match=expected):
        learn.load(path)
    assert all(map(torch.equal, weights(saved), weights(learn)))
    learn.fit(1)


def test_a_learner_trains_on_after_a_nan_with_an_optimizer_that_begins_with_a_state(blobs: Blobs) -> None:
    learn = learner(blobs, lambda model: torch.optim.Adagrad)
    poison = acting(after_backward=lambda state: state.model[0].weight.grad.fill_(float("nan")))
    with pytest.raises(ArithmeticError):
        learn.fit(1, callbacks=poison)
    learn.fit(1)


@pytest.mark.parametrize("same", [True, False])
def test_a_factory_that_returns_the_same_optimizer_again_is_refused(same: bool, blobs: Blobs) -> None:
    model = network()
    made = SGD(model.parameters(), 0.1)
    learn = learner(blobs, lambda _: lambda groups: made if same else SGD(groups, 0.1), model=model)
    learn.fit(1)
    if same:
        with pytest.raises(UsageError, match=r"the same optimizer again\. Make a new one in each call"):
            learn.lr_find(num_it=8)
    else:
        learn.lr_find(num_it=8)


# Adapters


def test_unfreezing_leaves_frozen_what_an_adapter_froze(blobs: Blobs) -> None:
    model = network()
    learn = learner(blobs, model=model, groups=[model[:4], model[4]])
    lora(learn)
    trains = [parameter.requires_grad for parameter in model.parameters()]
    learn.fine_tune(1)
    assert [parameter.requires_grad for parameter in model.parameters()] == trains
    assert not all(trains)
    base = learn.model[2].base.weight.detach().clone()  # type: ignore[index, union-attr]
    learn.unfreeze().fit(1, 0.1)
    assert torch.equal(base, learn.model[2].base.weight)  # type: ignore[index, union-attr]


def test_unfreezing_trains_what_was_frozen_by_hand(blobs: Blobs) -> None:
    learn = learner(blobs)
    learn.model[0].requires_grad_(False)  # type: ignore[index]
    learn.unfreeze()
    assert all(parameter.requires_grad for parameter in learn.model.parameters())


# Layers that take their shape from data


def quantizing() -> nn.Module:
    quantization = pytest.importorskip("torch.ao.quantization")
    model = nn.Sequential(quantization.QuantStub(), *network(), quantization.DeQuantStub()).train()
    model.qconfig = quantization.get_default_qat_qconfig("x86")
    return quantization.prepare_qat(model)  # type: ignore[no-any-return]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:.*:UserWarning")
@pytest.mark.parametrize("make", [lambda: nn.Sequential(nn.LazyLinear(4), nn.LazyLinear(2)), quantizing])
def test_layers_that_take_their_shape_are_found_trained_restored_and_saved(make: Any, blobs: Blobs) -> None:
    learn = learner(blobs, model=make())
    learn.lr_find(num_it=8)
    poison = acting(after_pred=lambda state: state.batch == 2 and setattr(state, "preds", state.preds * float("nan")))
    learn.fit(1, 1e-3, callbacks=[poison, TerminateOnNaN()])
    learn.fit(1, 1e-3)
    again = learner(blobs, model=make()).load(learn.save("here").absolute())
    assert again.validate() == pytest.approx(learn.validate())


# The last gradient of a fit


@pytest.mark.parametrize("valid", [True, False])
@pytest.mark.parametrize("quiet", [True, False])
def test_weights_that_the_last_gradient_made_nan_are_restored(quiet: bool, valid: bool, blobs: Blobs) -> None:
    learn, starts = learner(blobs), list[list[Tensor]]()
    if not valid:
        learn.dls.valid_dl = None  # type: ignore[assignment]

    def spoil(state: Any) -> None:
        if (state.epoch, state.batch) == (1, 3):
            state.model[0].weight.grad.fill_(float("nan"))

    watch = acting(before_epoch=lambda state: starts.append(weights(learn)), after_backward=spoil)
    if quiet:
        learn.fit(2, 1e-2, callbacks=[watch, TerminateOnNaN()])
    else:
        with pytest.raises(NonFiniteLossError, match="weights nan or infinite after epoch 1 batch 3"):
            learn.fit(2, 1e-2, callbacks=watch)
    assert all(map(torch.equal, weights(learn), starts[1]))
    assert len(learn.history) == 1
    learn.fit(1)
