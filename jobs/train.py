"""`reactdist train` as a Ray job; same arguments, same exit codes."""

import sys

from reactdist.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
