"""``python -m mschedx``: the command line, also where no script was installed."""

from mschedx.cli import command

if __name__ == "__main__":
    command()
