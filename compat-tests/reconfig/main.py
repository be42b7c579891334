"""Runs the cases of reconfig."""

import sys

import errors  # noqa: F401, I001
import alone  # noqa: F401
import changes  # noqa: F401
import clients  # noqa: F401
import files  # noqa: F401
import harness

if __name__ == "__main__":
    sys.exit(harness.run(sys.argv[1:]))
