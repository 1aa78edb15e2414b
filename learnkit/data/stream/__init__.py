"""Streams of images: written by `pack`, read by number on the same path as files."""

__all__: list[str] = []
