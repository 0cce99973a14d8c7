"""``python -m mschedx``: the command line, also where no script was installed."""

import sys

from mschedx.cli import main

if __name__ == "__main__":
    sys.exit(main())
