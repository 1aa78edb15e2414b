"""How far off a model of numbers is: errors by name, the items of the largest losses, residuals."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self, Unpack

import torch
from torch import Tensor

from learnkit.arguments import checks_keywords
from learnkit.certainty.curve import ALPHAS, conformal_curve
from learnkit.data.tasks import Regression
from learnkit.errors import UsageError
from learnkit.interpretation.item_source import ItemSource
from learnkit.interpretation.items import Interpretation
from learnkit.interpretation.learners import Predicts
from learnkit.plots.layout import Panels
from learnkit.types import DatasetType

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


__all__ = ["RegressionInterpretation"]


@dataclass(frozen=True, eq=False)  # tensors have no single truth value
class RegressionInterpretation(Interpretation):
    """Predictions of numbers, made once, with methods to analyze them.

    Attributes:
        preds: (N, n).
        targets: (N, n).
        losses: (N,).
        names: n names.
        source: images, names and inputs of the items, and the model; any may be missing.

    Raises:
        UsageError: the shapes and the names do not fit each other.
    """

    kind: ClassVar[type] = Regression
    caption: ClassVar[str] = "actual / predicted, loss"

    preds: Tensor
    targets: Tensor
    losses: Tensor
    names: tuple[str, ...] = ("value",)
    source: ItemSource = field(default=ItemSource(), repr=False)

    def __post_init__(self) -> None:
        self._check_kinds()
        n = len(self.losses)
        self._check_losses(n)
        for name, part in (("preds", self.preds), ("targets", self.targets)):
            if part.shape != (n, len(self.names)):
                expected = f"{(n, len(self.names))}: {n} items, {len(self.names)} names"
                raise UsageError(f"{name}: the shape", got=tuple(part.shape), expected=expected)

    @classmethod
    def from_learner(cls, learn: Predicts, ds_type: DatasetType = DatasetType.Valid) -> Self:
        """Predict a part of the learner's data.

        Raises:
            WrongTypeError: the data's task is not a regression.
            UsageError: the part has no labels, or the data does not specify what its targets are.
        """
        task = cls._task(learn)
        preds, targets, losses = cls._predicted(learn, ds_type)
        n = len(losses)  # (N,) of one number is (N, 1)
        preds, targets = preds.reshape(n, -1), targets.reshape(n, -1)
        return cls(preds, targets, losses, tuple(task.names), ItemSource.from_learner(learn, ds_type))

    def main_numbers(self) -> dict[str, object]:
        """The errors of each name."""
        rows = zip(self.names, self.regression_report().to_dict("records"), strict=True)
        texts = {
            name: f"MAE {row['mae']:.4g}, RMSE {row['rmse']:.4g}, R2 {row['r2']:.4f}, bias {row['bias']:.4g}"
            for name, row in rows
        }
        return {"task": f"numbers: {', '.join(self.names)}", "mean loss": f"{self.losses.double().mean():.4g}", **texts}

    def regression_report(self) -> "pd.DataFrame":
        """One row per name, columns mae, rmse, r2, bias (mean of prediction minus target), n (items).

        A target that is nan, such as a missing key point, is left out, and not counted in n.

        r2, the share of the targets' variance that is explained, is nan if the targets are all the same.
        """
        import pandas as pd

        errors, targets = self.residuals, self.targets.double()
        spread = (targets - targets.nanmean(0)).square().nansum(0)
        explained = 1 - errors.square().nansum(0) / spread
        columns = {
            "mae": errors.abs().nanmean(0),
            "rmse": errors.square().nanmean(0).sqrt(),
            "r2": torch.where(spread > 0, explained, torch.nan),
            "bias": errors.nanmean(0),
            "n": (~targets.isnan()).sum(0),
        }
        return pd.DataFrame({name: values.numpy() for name, values in columns.items()}, list(self.names))

    @property
    def residuals(self) -> Tensor:
        """Predictions minus targets, float64 (N, n)."""
        return self.preds.double() - self.targets.double()

    def conformal_curve(
        self, alphas: Sequence[float] = ALPHAS, *, n_splits: int = 20, seed: int = 0
    ) -> "pd.DataFrame":  # fmt: skip
        """Coverage and width of intervals for each alpha, fitted on one half of the items, measured on the other.

        One row per number and alpha.

        Columns: name, alpha, coverage (mean over the splits), deviation (of the coverage of one fit), width (of the
        interval, in the units of the targets).

        Args:
            alphas: shares of truths that may be missed; those that half of the items are too few for are left out.
            n_splits: random splits into halves.
            seed: of the splits.
        """
        import pandas as pd

        residuals = self.residuals.abs()
        rows: list[dict[str, Any]] = []
        for place, name in enumerate(self.names):
            own = residuals[~residuals[:, place].isnan(), place, None]
            for point in conformal_curve(own, torch.ones_like(own).bool(), alphas, n_splits=n_splits, seed=seed):
                rows.append({"name": name, "alpha": point.alpha, "coverage": point.coverage,
                             "deviation": point.deviation, "width": 2 * point.threshold})  # fmt: skip
        return pd.DataFrame(rows)

    @checks_keywords
    def plot_predictions(self, **layout: Unpack[Panels]) -> "Figure":
        """Predicted against actual, one panel per name, with a line where they are equal.

        `layout`: figsize, nrows, ncols.
        """
        from learnkit.plots.evaluation import predicted_against_actual

        return predicted_against_actual(
            self.targets.double().numpy(), self.preds.double().numpy(), self.names, **layout
        )

    @checks_keywords
    def plot_residuals(self, **layout: Unpack[Panels]) -> "Figure":
        """How often the prediction is off by how much, one panel per name; figsize, nrows, ncols in `layout`."""
        from learnkit.plots.evaluation import residual_histograms

        return residual_histograms(self.residuals.numpy(), self.names, **layout)

    def _prediction_columns(self, indices: Tensor) -> dict[str, Any]:
        """One number per item, or a tuple for several names."""
        parts = {"prediction": self.preds[indices], "target": self.targets[indices]}
        if len(self.names) == 1:
            return {name: part[:, 0].double().numpy() for name, part in parts.items()}
        return {name: list(map(tuple, part.tolist())) for name, part in parts.items()}

    def _details(self, indices: Tensor) -> dict[str, Any]:
        """For several names, columns for each: prediction_x, target_x, prediction_y, ..."""
        columns = {}
        for place, name in enumerate(self.names if len(self.names) > 1 else ()):
            columns[f"prediction_{name}"] = self.preds[indices, place].double().numpy()
            columns[f"target_{name}"] = self.targets[indices, place].double().numpy()
        return columns

    def _title(self, i: int, loss: float) -> tuple[str, None]:
        pairs = zip(self.names, self.preds[i].tolist(), self.targets[i].tolist(), strict=True)
        is_one = len(self.names) == 1
        lines = [f"{'' if is_one else f'{name} '}{actual:.4g} / {predicted:.4g}" for name, predicted, actual in pairs]
        return "\n".join([*lines, f"loss {loss:.2g}"]), None
