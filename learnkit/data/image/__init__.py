"""One image: read, cropped, resized, normalized, cached and drawn."""

__all__: list[str] = []
