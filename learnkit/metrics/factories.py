"""The metrics known by name that have settings, each a function that makes one."""

from collections.abc import Callable

from learnkit.metrics import classification, multilabel, regression, segmentation
from learnkit.metrics.accumulated import AccumulatedMetric

__all__ = ["FACTORIES"]

FACTORIES: dict[str, Callable[..., AccumulatedMetric]] = {
    factory.__name__: factory
    for factory in (
        classification.auroc,
        classification.average_precision,
        classification.balanced_accuracy,
        classification.f1,
        classification.f2,
        classification.hamming,
        classification.jaccard,
        classification.kappa,
        classification.mcc,
        classification.precision,
        classification.recall,
        multilabel.auroc_multi,
        multilabel.average_precision_multi,
        multilabel.f1_multi,
        multilabel.f2_multi,
        multilabel.hamming_multi,
        multilabel.jaccard_multi,
        multilabel.precision_multi,
        multilabel.recall_multi,
        regression.explained_variance,
        regression.msle,
        regression.pearson,
        regression.r2,
        regression.spearman,
        segmentation.dice,
        segmentation.foreground_accuracy,
        segmentation.iou,
    )
}
