"""The processes of one run: who this one is, and what they tell each other. One process alone tells nobody."""

from learnkit.distributed.world import world

__all__ = ["world"]
