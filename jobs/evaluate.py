"""`reactdist evaluate` as a Ray job; same arguments, same exit codes."""

import sys

from reactdist.cli import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])
