"""The ``mschedx`` command, installed as a script or not (``python -m mschedx``)."""

import signal


def command() -> None:
    """Be the command; Ctrl-C ends it without a traceback before it is imported, too."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    from mschedx.cli import command as run

    run()


if __name__ == "__main__":
    command()
