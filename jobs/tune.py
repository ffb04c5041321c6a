"""`reactdist tune` as a Ray job; same arguments, same exit codes."""

import sys

from reactdist.cli import main

if __name__ == "__main__":
    main(["tune", *sys.argv[1:]])
