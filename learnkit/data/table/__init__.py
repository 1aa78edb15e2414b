"""The table of samples: where its rows come from, what its labels mean, and how it is split and checked."""

__all__: list[str] = []
