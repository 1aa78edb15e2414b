"""The smoothed loss: an exponential average that starts unbiased."""

__all__ = ["Smoothed"]


class Smoothed:
    """An exponential moving average with bias correction (Kingma, Ba: Adam, 2015, section 3).

    >>> smoothed = Smoothed(0.98)
    >>> [round(smoothed.add(loss), 5) for loss in (1.0, 2.0, 3.0)]
    [1.0, 1.50505, 2.01347]
    """

    def __init__(self, beta: float = 0.98) -> None:
        self.beta = beta
        self.value = float("nan")
        self._mean = 0.0
        self._weight = 1.0

    def add(self, value: float) -> float:
        """Take one more value in and return the average so far."""
        self._mean = self.beta * self._mean + (1 - self.beta) * value
        self._weight *= self.beta
        self.value = self._mean / (1 - self._weight)
        return self.value

    def state_dict(self) -> dict[str, float]:
        return {"value": self.value, "mean": self._mean, "weight": self._weight}

    def load_state_dict(self, saved: dict[str, float]) -> None:
        self.value, self._mean, self._weight = saved["value"], saved["mean"], saved["weight"]
