"""A deadline that ends the process, for native code that neither returns nor lets Python run."""

import faulthandler
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["ends_after"]


@contextmanager
def ends_after(seconds: float) -> Iterator[None]:
    """End this process with exit code 1 and its stack on stderr if the body takes longer.

    Processes of gloo that have read old addresses each wait for the other one to connect, whatever their timeout. A
    launcher starts an ended process again; for one that hangs it waits forever. Without a stderr that is a file nothing
    is watched. A deadline that the user set by `faulthandler.dump_traceback_later` is lost.
    """
    if sys.__stderr__ is None:
        yield
        return
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
