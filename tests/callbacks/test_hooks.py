"""Hooks and activation statistics against forward passes by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learnkit import Callback, Learner
from learnkit.callbacks.averaging import EMA, SWA
from learnkit.callbacks.hooks import ActivationStats, Hooks, activation_stats
from learnkit.errors import UsageError
from learnkit.plots.activations import activation_curves, activation_histogram
from tests.doubles import acting, linear_learner, raising, refused


def network(*, norm: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 6), nn.BatchNorm1d(6) if norm else nn.ReLU(), nn.Linear(6, 2))


def learner(blobs: tuple[Tensor, ...], **options: Any) -> Learner:
    return linear_learner(blobs, network(**options))


def hooks_in(learn: Learner) -> int:
    return sum(len(module._forward_hooks) for module in learn.model.modules())


class Inputs(Callback):
    """The training inputs of a fit, and the model's weights before each step."""

    def __init__(self) -> None:
        self.seen: list[tuple[Tensor, dict[str, Tensor]]] = []

    def after_pred(self, state: Any) -> None:
        weights = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
        self.seen.append((state.inputs[0].clone(), weights))


def outputs(inputs: Inputs) -> list[tuple[Tensor, Tensor]]:
    """Outputs of the first and the last layer in each training batch, by hand."""
    results = []
    for x, weights in inputs.seen:
        first = x @ weights["0.weight"].T + weights["0.bias"]
        results.append((first, first.clamp(min=0) @ weights["2.weight"].T + weights["2.bias"]))
    return results


# Hooks


def test_the_function_is_called_in_every_forward_pass_of_a_fit(blobs: tuple[Tensor, ...]) -> None:
    calls: list[tuple[nn.Module, bool, int]] = []

    def look(module: nn.Module, inputs: Any, output: Tensor) -> str:
        calls.append((module, module.training, len(output)))
        return "stored, not an output"

    learn = learner(blobs)
    hooks = Hooks([learn.model[0]], look)
    learn.fit(1, callbacks=hooks)
    validated = [len(x) for x, _ in learn.dls.valid_dl]
    assert calls == [(learn.model[0], True, 16)] * 4 + [(learn.model[0], False, n) for n in validated]
    assert hooks.values == {"0": "stored, not an output"}
    learn.validate()
    assert len(calls) == 4 + len(validated)


def test_by_default_the_outputs_of_modules_with_parameters_are_stored(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    hooks = Hooks()
    learn.fit(1, callbacks=hooks)
    *_, (x, _) = learn.dls.valid_dl
    assert list(hooks.values) == ["0", "2"]
    assert torch.equal(hooks.values["0"], learn.model[0](x))
    assert not hooks.values["2"].requires_grad


def test_stored_outputs_are_detached_whatever_form_they_have(blobs: tuple[Tensor, ...]) -> None:
    class Several(nn.Linear):
        def forward(self, x: Tensor) -> Any:
            y = super().forward(x)
            return y, [y * 2, "text"]

    class First(nn.Module):
        def forward(self, outputs: Any) -> Any:
            return outputs[0]

    hooks, seen = Hooks(["0"]), list[Any]()
    watch = acting(after_pred=lambda state: seen.append((hooks.values["0"], state.preds)))
    linear_learner(blobs, nn.Sequential(Several(2, 2), First())).fit(1, callbacks=[hooks, watch])
    (first, (second, text)), preds = seen[0]
    assert torch.equal(first, preds)
    assert torch.equal(second, preds * 2)
    assert text == "text"
    assert (first.requires_grad, second.requires_grad, preds.requires_grad) == (False, False, True)


def test_modules_may_be_passed_by_name(blobs: tuple[Tensor, ...]) -> None:
    hooks = Hooks(["1", ""])
    learner(blobs).fit(1, callbacks=hooks)
    assert list(hooks.values) == ["1", ""]


@pytest.mark.parametrize("kind", [Hooks, ActivationStats])
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_the_model_is_as_it_was_after_an_error(kind: Any, error: Any, blobs: tuple[Tensor, ...]) -> None:
    learn, seen = learner(blobs), list[int]()
    watch = acting(before_batch=lambda state: seen.append(hooks_in(learn)), after_backward=raising(error()))
    with pytest.raises(error):
        learn.fit(1, callbacks=[kind(), watch])
    assert seen == [2]
    assert hooks_in(learn) == 0


@pytest.mark.parametrize("kind", [Hooks, ActivationStats])
def test_an_unknown_module_is_refused(kind: Any, blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    for unknown in ("3", nn.Linear(2, 6)):
        with refused("modules", got=unknown):
            learn.fit(1, callbacks=kind([learn.model[0], unknown]))
        assert hooks_in(learn) == 0
    with refused("modules", got="str", expected="a list of modules or names"):
        kind("0")


@pytest.mark.parametrize("average", [EMA, SWA])
@pytest.mark.parametrize("first", [True, False])
def test_weights_can_be_averaged_with_it(average: Any, first: bool, blobs: tuple[Tensor, ...]) -> None:
    learn, stats = learner(blobs, norm=True), ActivationStats()
    both = [stats, average(0.5)]
    learn.fit(2, callbacks=both if first else both[::-1])
    assert hooks_in(learn) == 0
    assert len(stats.stats) == 8 * 3  # batches of training alone, times modules


# Statistics


def test_statistics_by_hand() -> None:
    x = torch.tensor([[-2.0, 0.05, 0.0], [10.0, 3.0, 12.0]])
    mean, std, near_zero, *counts = activation_stats(x, n_bins=5).tolist()
    assert mean == pytest.approx(np.mean([-2, 0.05, 0, 10, 3, 12]), rel=1e-6)
    assert std == pytest.approx(np.std([-2, 0.05, 0, 10, 3, 12]), rel=1e-6)
    assert near_zero == pytest.approx(2 / 6)
    assert counts == [2, 1, 0, 0, 1]  # bins of 2; -2 and 12 are outside
    assert activation_stats(torch.ones(1, dtype=torch.float16)).tolist()[:3] == [1, 0, 0]


def test_statistics_of_a_fit_are_those_of_the_forward_passes(blobs: tuple[Tensor, ...]) -> None:
    learn, stats, inputs = learner(blobs), ActivationStats(n_bins=8), Inputs()
    learn.fit(2, 1e-2, callbacks=[stats, inputs])
    table = stats.stats
    assert list(table.columns) == ["batch", "module", "mean", "std", "near_zero"]
    assert table["batch"].tolist() == [batch for batch in range(8) for _ in range(2)]
    assert table["module"].tolist() == ["0", "2"] * 8
    arrays = [layer.numpy() for pair in outputs(inputs) for layer in pair]
    assert table["mean"].tolist() == pytest.approx([a.mean() for a in arrays], abs=1e-5)
    assert table["std"].tolist() == pytest.approx([a.std() for a in arrays], abs=1e-5)
    assert table["near_zero"].tolist() == pytest.approx([(abs(a) <= 0.05).mean() for a in arrays], abs=1e-5)
    batches, counts = stats.histogram("0")
    assert batches == list(range(8))
    for row, a in zip(counts, arrays[::2], strict=True):
        assert row.tolist() == np.histogram(a, bins=8, range=(0, 10))[0].tolist()


def test_every_n_batches_from_the_start_of_each_fit(blobs: tuple[Tensor, ...]) -> None:
    learn, stats = learner(blobs), ActivationStats(["2"], every_batches=3)
    learn.fit(2, callbacks=stats)
    assert stats.stats["batch"].tolist() == [0, 3, 6]
    learn.fit(1, callbacks=stats)
    assert stats.stats["batch"].tolist() == [0, 3]


def test_an_interrupted_fit_has_its_statistics(blobs: tuple[Tensor, ...]) -> None:
    learn, stats = learner(blobs), ActivationStats()
    with pytest.raises(KeyboardInterrupt):
        learn.fit(1, callbacks=[stats, acting(after_batch=raising(KeyboardInterrupt(), batch=1))])
    assert stats.stats["batch"].tolist() == [0, 0, 1, 1]


def test_the_first_of_several_outputs_of_a_module_counts(blobs: tuple[Tensor, ...]) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(2, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            output, _ = self.rnn(x[:, None])
            return output[:, 0]  # type: ignore[no-any-return]

    means, stats = list[float](), ActivationStats()
    watch = acting(after_pred=lambda state: means.append(state.preds.mean().item()))
    linear_learner(blobs, Net()).fit(1, callbacks=[stats, watch])
    assert stats.stats["mean"].tolist() == pytest.approx(means, abs=1e-6)


@pytest.mark.parametrize("value", [0, 1.5, True])
@pytest.mark.parametrize("name", ["every_batches", "n_bins"])
def test_invalid_arguments_are_refused(name: str, value: Any) -> None:
    with refused(name, got=value, expected="an integer, 1 or more"):
        ActivationStats(**{name: value})


# Plots


def test_plots_show_the_statistics(blobs: tuple[Tensor, ...]) -> None:
    learn, stats = learner(blobs), ActivationStats(every_batches=2, n_bins=10)
    learn.fit(2, callbacks=stats)
    axes = stats.plot_stats().axes
    assert [ax.get_ylabel() for ax in axes] == ["mean", "standard deviation", "share near zero"]
    of_last = stats.stats[stats.stats["module"] == "2"]
    for ax, column in zip(axes, ["mean", "std", "near_zero"], strict=True):
        assert list(ax.lines[1].get_xdata()) == [0, 2, 4, 6]
        assert list(ax.lines[1].get_ydata()) == of_last[column].tolist()
    (image,) = stats.plot_histogram("2").axes[0].get_images()
    np.testing.assert_allclose(image.get_array(), np.log1p(stats.histogram("2")[1].numpy()).T)
    assert list(image.get_extent()) == [-1, 7, 0, 10]


def test_before_a_fit_there_is_nothing_to_plot() -> None:
    with pytest.raises(UsageError, match="nothing to draw"):
        ActivationStats().plot_stats()
    with refused("module", got="2", expected="a fit before"):
        ActivationStats().plot_histogram("2")
    assert len(ActivationStats().stats) == 0


def test_one_batch_and_many_modules_can_be_drawn() -> None:
    figure = activation_curves({f"layer {n}": [(0, 0.0, 1.0, 0.5)] for n in range(40)})
    figure.canvas.draw()
    assert not figure.legends
    one = activation_histogram([0], np.ones((1, 4), dtype=np.float32), 10)
    one.canvas.draw()
    assert one.axes[0].get_images()[0].get_extent() == [-0.5, 0.5, 0, 10]


def test_hooks_for_passes_outside_a_fit(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    with Hooks(["0", learn.model[2]]).on(learn.model) as hooks:  # type: ignore[index]
        raw, _ = learn.get_preds(activ=nn.Identity(), n_batch=1)
        assert hooks_in(learn) == 2
    assert hooks_in(learn) == 0
    assert torch.equal(hooks.values["2"], raw)
    torch.testing.assert_close(hooks.values["0"], learn.model[0](blobs[2][: len(raw)]).detach())  # type: ignore[index]
    with pytest.raises(KeyError), hooks.on(learn.model):
        raise KeyError
    assert hooks_in(learn) == 0, "also after an error"
    with pytest.raises(UsageError, match="modules"), Hooks(["9"]).on(learn.model):
        pass
    learn.fit(1, callbacks=hooks)


def test_statistics_are_those_of_a_fit(blobs: tuple[Tensor, ...]) -> None:
    with pytest.raises(UsageError, match="use Hooks"), ActivationStats().on(learner(blobs).model):
        pass


@pytest.mark.parametrize("modules", [5, True, 0.5, nn.ReLU(), "0"])
@pytest.mark.parametrize("kind", [Hooks, ActivationStats])
def test_one_module_or_none_at_all_is_no_list(kind: Any, modules: Any) -> None:
    with refused("modules", got=type(modules).__name__, expected="a list of modules or names"):
        kind(modules)
