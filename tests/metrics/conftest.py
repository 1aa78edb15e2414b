"""Shared by the tests of whole-set metrics."""

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from learnkit.metrics.metric import make_metrics

Check = Callable[[Any, Tensor, Tensor, float], None]


@pytest.fixture
def check() -> Check:
    """Asserts that a metric over a set is the expected number, for every size of batch, and again after a reset."""

    def check(spec: Any, preds: Tensor, targets: Tensor, expected: float) -> None:
        metric, *others = make_metrics(spec)
        assert others == []
        for bs in (1, 7, 32, len(preds)):
            metric.reset()
            for x, y in zip(preds.split(bs), targets.split(bs), strict=True):
                metric.update(x, y)
            value = metric.compute()
            assert type(value) is float
            assert value == pytest.approx(float(expected), abs=1e-6), bs

    return check
