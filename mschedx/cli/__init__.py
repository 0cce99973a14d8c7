"""The ``mschedx`` command. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from mschedx.compat import IncompatibleVersion

from .arguments import make_parser
from .ending import leave, noticed_interrupts
from .status import BAD_REQUEST, INTERRUPTED, MACHINE
from .streams import abandon, about, complain, flush, open_streams


def command() -> NoReturn:
    """Be the ``mschedx`` command: run it, and end the process with its exit status."""
    leave(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns
    -------
    int
        The exit status: 0; 1 where nothing better than the function as it is was found, or nothing
        ran of a comparison or a data set; 2 for a bad request; 3 where the machine is to blame (a
        full disk, a dead helper process, a missing linker, a release of TVM that does not fit, an
        output that cannot be written); 4 for a network whose output is wrong; 130 after Ctrl-C.
    """
    open_streams()
    try:
        return _run(argv)
    except BrokenPipeError:  # the reader (head, less) has seen enough
        abandon(sys.stdout)
        return 0


def _run(argv: Sequence[str] | None) -> int:
    with noticed_interrupts() as interrupts:
        try:
            args = make_parser().parse_args(argv)
            subcommand: Callable[[argparse.Namespace], int] = args.command
            status = subcommand(args)
            flush(sys.stdout)
            return status
        except BrokenPipeError:
            raise
        except (Exception, KeyboardInterrupt) as error:
            # Libraries make other errors of a KeyboardInterrupt, NumPy an ImportError.
            if not interrupts and not isinstance(error, KeyboardInterrupt):
                return _status_of(error)
            complain("interrupted")
            return INTERRUPTED


def _status_of(error: Exception) -> int:
    """Say what is wrong, if that is no fault of ours; the exit status."""
    if isinstance(error, (ValueError, TypeError, FileNotFoundError)):
        complain(str(error))
        return BAD_REQUEST
    if isinstance(error, IncompatibleVersion):
        complain(str(error))
        return MACHINE
    if isinstance(error, OSError):
        complain(about(error))
        return MACHINE

    from mschedx.measure.failures import MachineTrouble

    if not isinstance(error, MachineTrouble):
        raise error
    complain(str(error))
    return MACHINE
