"""How sure answers are: sets that hold the truth with a stated probability, and whether an item is a familiar one."""

__all__: list[str] = []
