"""Loading: which items make which batch, and the processes that read them."""

__all__: list[str] = []
