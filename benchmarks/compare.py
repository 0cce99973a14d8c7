"""mschedx against TVM on the whole suite, with the vendor libraries and the machine's peak.

    python benchmarks/compare.py --seeds 3 --trials 64

The same as ``mschedx compare``, whose options it takes; TVM's default search with mschedx's
builder and runner is the reference. Add ``--tuners heron,stock --reference stock`` for the pipeline
as TVM installs it. The folder ``comparison`` resumes.
"""

import sys

from mschedx.cli import main

if __name__ == "__main__":
    sys.exit(main(["compare", *sys.argv[1:]]))
