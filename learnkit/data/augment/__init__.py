"""Augmentation: random changes of images and of whole batches."""

__all__: list[str] = []
