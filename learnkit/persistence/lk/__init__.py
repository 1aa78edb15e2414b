"""The .lk export: one file with everything that `load_learner` needs, and no code."""

__all__: list[str] = []
