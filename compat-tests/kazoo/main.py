"""Runs Kazoo's cases."""

import logging

import cases
import acl_cases  # noqa: F401
import operation_cases  # noqa: F401
import recipe_cases  # noqa: F401
import session_cases  # noqa: F401
import watch_cases  # noqa: F401
from scope import with_scope

logging.disable(logging.CRITICAL)
cases.run_all(with_scope)
