"""The commands of `learnkit ...` and `python -m learnkit ...`: one module each, with `add_arguments` and `run`."""

__all__ = ()
