"""Cases of the AdminServer and of Prometheus's metrics."""

import sys

import harness
import command_cases  # noqa: F401
import https_cases  # noqa: F401
import metric_cases  # noqa: F401
import restore_cases  # noqa: F401

if __name__ == "__main__":
    sys.exit(harness.run(sys.argv[1:]))
