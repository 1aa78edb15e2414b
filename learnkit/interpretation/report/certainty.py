"""How sure a model is: coverage and size of conformal sets, what `fit_conformal` has fitted, unfamiliar items."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from learnkit.certainty.conformal import ClassSets, Conformal, Intervals, LabelSets, least_items
from learnkit.certainty.curve import ALPHAS
from learnkit.certainty.familiarity import KEPT, Familiarity
from learnkit.certainty.fitted import FittedCertainty
from learnkit.data.tasks import Classification, MultiLabel, Regression
from learnkit.errors import UsageError
from learnkit.interpretation.learners import Trained
from learnkit.interpretation.naming import TRAINING
from learnkit.interpretation.report.content import Certainty, Column, Coverage, Facts, Scored, Table
from learnkit.interpretation.report.formatting import class_text, number_text, percent_text, short_text
from learnkit.interpretation.report.predictions import item_of
from learnkit.interpretation.report.protocols import Reported, ReportedNumbers, ReportedScores
from learnkit.text import counted

__all__ = ["certainty_of"]

MIN_ITEMS = 40  # half of them fit a threshold for an alpha of 0.05
MAX_MEASURED, MAX_NUMBERS = 20_000, 2_000_000  # items, items times classes; of more, a random part is measured
MAX_THRESHOLDS = 2000  # of labels, over all splits; two of these are the least
MAX_SPLITS = 20
MAX_NAMES = 6  # numbers of a regression with a curve each
MAX_UNFAMILIAR = 24
ALPHA = 0.1  # that is put into words, where no other was fitted

SETS: dict[type, str] = {Classification: "classes in a set", MultiLabel: "labels in a set", Regression: "width"}
TRUTHS: dict[type, str] = {Classification: "true class", MultiLabel: "true label", Regression: "actual number"}
METHODS = {"lac": "LAC, the smallest sets on average", "raps": "RAPS, sets that are never empty"}
SIGNS = ("the energy of the outputs", "the distance of the features from those of the training items")
NOT_FITTED = (
    "No sets are fitted to the model as it is. After learn.fit_conformal() learn.predict_set answers with them, and "
    "this page shows the items that are unfamiliar."
)


def certainty_of(interp: Reported, learn: Trained | None) -> Certainty | None:
    """Curves of the items that are shown, and what the learner has fitted; it fits nothing itself.

    The curves are left out for few items, and for those the model was trained on. Unfamiliar items take a pass over the
    part, and are only looked for if `fit_conformal` has fitted what they are. None for masks and key points, and if
    there is nothing to show.
    """
    if interp.kind not in SETS:
        return None
    fitted = None if learn is None else learn.certainty
    alpha, method = ALPHA, "lac"
    if fitted is not None:
        alpha, method = fitted.conformal.alpha, getattr(fitted.conformal, "method", method)
    is_new = interp.source.part != TRAINING
    parts = list(_parts(interp)) if is_new else []
    curves = tuple(_coverage(name, part, alpha, method) for name, part in parts)
    strange = None if fitted is None else _unfamiliar(interp, fitted)
    if not curves and fitted is None:
        return None
    facts = None if fitted is None else Facts("Fitted by fit_conformal", tuple(_facts(interp, fitted, is_new=is_new)))
    return Certainty(
        notes=() if fitted is not None or learn is None else (NOT_FITTED,),
        how=_how(interp, parts, alpha, curves) if curves else "",
        size=SETS[interp.kind],
        coverage=curves,
        table=_table(curves, SETS[interp.kind]) if curves else None,
        fitted=facts,
        unfamiliar=() if strange is None else strange[0],
        n_unfamiliar=None if strange is None else strange[1],
        n_items=len(interp.losses),
    )


def _parts(interp: Any) -> Iterator[tuple[str, Any]]:
    """Interpretations small enough, one for each curve, by name: for numbers one for each of the first."""
    if interp.kind is Regression:
        for place, name in enumerate(interp.names[:MAX_NAMES]):
            known = interp.residuals[:, place].isfinite()
            if int(known.sum()) >= MIN_ITEMS:
                preds, targets = (part[known, place, None] for part in (interp.preds, interp.targets))
                made = replace(interp, preds=preds, targets=targets, losses=interp.losses[known], names=(str(name),))
                yield str(name), _sampled(made, "preds")
    elif len(interp.classes) > 1 and len(interp.losses) >= MIN_ITEMS and bool(interp.probs.isfinite().all()):
        is_slow = interp.kind is MultiLabel and len(interp.classes) > MAX_THRESHOLDS // 2
        yield from () if is_slow else [("", _sampled(interp, "probs"))]


def _sampled(interp: Any, outputs: str) -> Any:
    numbers = getattr(interp, outputs)
    n, most = len(numbers), max(MIN_ITEMS, min(MAX_MEASURED, MAX_NUMBERS // numbers.shape[1]))
    if n <= most:
        return interp
    chosen = torch.randperm(n, generator=torch.Generator().manual_seed(0))[:most].sort().values
    return replace(
        interp, **{name: getattr(interp, name)[chosen] for name in (outputs, "targets", "losses")}
    )  # in their order


def _n_splits(interp: Any) -> int:
    labels = len(interp.classes) if interp.kind is MultiLabel else 1
    return max(2, min(MAX_SPLITS, MAX_THRESHOLDS // labels))


def _coverage(name: str, part: Any, alpha: float, method: str) -> Coverage:
    options = {"method": method} if part.kind is Classification else {}
    rows = part.conformal_curve(sorted({*ALPHAS, alpha}), n_splits=_n_splits(part), **options)
    size = "width" if part.kind is Regression else "size"
    found = {str(column): tuple(map(float, rows[column])) for column in rows if column != "name"}
    return Coverage(name, found["alpha"], found["coverage"], found["deviation"], found[size], found.get("empty", ()))


def _how(interp: Reported, parts: list[tuple[str, Any]], alpha: float, curves: tuple[Coverage, ...]) -> str:
    """What the curves show, and one point of them in words."""
    first = parts[0][1]
    n, every = len(first.losses), len(interp.losses)
    items = f"a random {n:,} of the {every:,} items" if len(curves) == 1 and n < every else "the items"
    what = "Intervals" if interp.kind is Regression else "Sets"
    splits = _n_splits(first)
    band = "; the band is one standard deviation of a fit on half of the items" if len(curves) == 1 else ""
    text = (
        f"{what} that hold the {TRUTHS[interp.kind]} with a stated probability of 1 - alpha (split conformal "
        f"prediction). For each alpha they are fitted on a random half of {items} and measured on the other, "
        f"{2 * splits} times. The points should be on the dashed line{band}. It says nothing about items from another "
        "source."
    )
    names = len(interp.names) if interp.kind is Regression else 0  # type: ignore[attr-defined]
    if len(curves) < names:
        text += f" Shown are {len(curves)} of {names:,} numbers."
    if len(curves) == 1 and alpha in curves[0].alphas:
        at = curves[0].alphas.index(alpha)
        share, off, size = (column[at] for column in (curves[0].measured, curves[0].deviation, curves[0].sizes))
        text += f" At alpha {alpha:g}, {share:.1%} ± {off:.1%} are held, {_size(interp.kind, size)}."
    return text


def _size(kind: type, size: float) -> str:
    return f"with a width of {number_text(size)}" if kind is Regression else f"with {size:.2f} {SETS[kind]} on average"


def _table(curves: tuple[Coverage, ...], size: str) -> Table:
    columns = [Column("stated", 3), Column("measured", 3), Column("deviation", 3), Column(size, 3)]
    has_empty = all(curve.empty for curve in curves)
    columns += [Column("share of empty sets", 3)] if has_empty else []
    rows = []
    for curve in curves:
        sets = (curve.measured, curve.deviation, curve.sizes, *([curve.empty] if has_empty else []))
        for alpha, *values in zip(curve.alphas, *sets, strict=True):
            rows.append((f"{curve.name}, {alpha:g}" if curve.name else f"{alpha:g}", (1 - alpha, *values)))
    return Table("number, alpha" if curves[0].name else "alpha", tuple(columns), tuple(rows))


def _facts(interp: Reported, fitted: FittedCertainty, *, is_new: bool) -> Iterator[tuple[str, str]]:
    sets = fitted.conformal
    what = {ClassSets: "a set misses the true class", LabelSets: "a true label is missed",
            Intervals: "an interval misses its number"}[type(sets)]  # fmt: skip
    yield "alpha", f"{sets.alpha:g}: {what} with at most this probability"
    if isinstance(sets, ClassSets):
        yield "method", METHODS[sets.method]
        yield "threshold", f"{short_text(sets.threshold)}, of the scores"
        yield "fitted on", counted(sets.n, "item")
    elif isinstance(sets, LabelSets):
        few = sum(n < least_items(sets.alpha) for n in sets.counts)
        yield "thresholds", f"{short_text(min(sets.thresholds))} to {short_text(max(sets.thresholds))}, one per label"
        yield "fitted on", f"{min(sets.counts):,} to {max(sets.counts):,} items with each label"
        if few:
            yield "in every set", f"{counted(few, 'label')} with too few items"
    else:
        yield "fitted on", f"{max(sets.counts):,} items"
    if is_new and (text := _on_these(interp, sets)):
        yield "on these items", f"{text}; by construction, if they are those it was fitted on"
    yield "familiarity", _familiarity(fitted.familiarity)


def _familiarity(fitted: Familiarity | None) -> str:
    if fitted is None:
        return "nothing tells it: one layer group, and outputs that are numbers"
    signs = [sign for sign, scale in zip(SIGNS, (fitted.energy_scale, fitted.distance_scale), strict=True) if scale]
    return f"by {' and '.join(signs)}; {KEPT:.0%} of {counted(fitted.n, 'item')} are familiar"


def _on_these(interp: Any, sets: Conformal) -> str:
    """Coverage and size of the fitted sets; "" if they are for other outputs."""
    if isinstance(sets, Intervals):
        return _inside(interp, sets) if interp.kind is Regression and len(sets.radii) == len(interp.names) else ""
    scored: ReportedScores = interp
    is_theirs = interp.kind is (Classification if isinstance(sets, ClassSets) else MultiLabel)
    n = len(interp.classes) if is_theirs else 0
    if not n or (isinstance(sets, LabelSets) and len(sets.thresholds) != n) or not bool(scored.probs.isfinite().all()):
        return ""
    members = sets.members(scored.probs)
    is_class = isinstance(sets, ClassSets)
    held = members.gather(1, scored.targets[:, None]) if is_class else members[scored.targets > 0.5]
    if not held.numel():
        return ""
    size = float(members.sum(1).double().mean())
    empty = percent_text(int((~members.any(1)).sum()), len(members))
    return f"{percent_text(int(held.sum()), held.numel())} held, {size:.2f} {SETS[interp.kind]}, {empty} of them empty"


def _inside(interp: ReportedNumbers, sets: Intervals) -> str:
    """Of the first numbers: how many are in their interval, and its radius."""
    parts = []
    for place, name in enumerate(interp.names[:MAX_NAMES]):
        off = interp.residuals[:, place].abs()
        known = off[off.isfinite()]
        if len(known):
            held = percent_text(int((known <= sets.radii[place]).sum()), len(known))
            parts.append(f"{class_text(str(name))} ± {number_text(sets.radii[place])} holds {held}")
    more = len(interp.names) - MAX_NAMES
    return ", ".join([*parts, *([f"and {more} more"] if more > 0 else [])])


def _unfamiliar(interp: Reported, fitted: FittedCertainty) -> tuple[tuple[Scored, ...], int] | None:
    """The least familiar items, and how many are unfamiliar; None if nothing tells it."""
    if fitted.familiarity is None or interp.source.familiarity is None:
        return None
    try:
        table = interp.unfamiliar()
    except UsageError:  # predicted by another learner
        return None
    rows = table[:MAX_UNFAMILIAR].to_dict("records")
    return tuple(Scored(item_of(interp, row), float(row["score"])) for row in rows), len(table)
