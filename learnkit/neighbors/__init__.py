"""Rows of features that are near each other: the nearest ones, near-duplicates, outliers."""

from learnkit.neighbors.cosine import nearest, nearest_others
from learnkit.neighbors.duplicates import near_duplicates
from learnkit.neighbors.outliers import find_outliers

__all__ = ["find_outliers", "near_duplicates", "nearest", "nearest_others"]
