"""Rows of features that are near each other: the nearest ones, near-duplicates, outliers."""

from learnkit.neighbors.cosine import nearest, nearest_others

__all__ = ["nearest", "nearest_others"]
