"""Runs the suite's cases: main.py [WORD...] runs only those whose label contains every word."""

import logging
import sys

import harness
import exchange_cases  # noqa: F401
import right_cases  # noqa: F401
import client_cases  # noqa: F401
import demand_cases  # noqa: F401

logging.disable(logging.CRITICAL)
sys.exit(harness.run(sys.argv[1:]))
