"""Registers and runs the cases of a suite written in Python; prints the lines of compat-tests/README.md.

A case is a function; its name, with underscores as spaces, names the case. Cases run side by side, except those that disturb the
whole server (`alone=True`), which run one at a time after the others. A case that hangs fails at its limit and is abandoned.
"""

import os
import sys
import threading
import time
import traceback
from concurrent.futures import Future, ThreadPoolExecutor

SIDE_BY_SIDE = 8
CASE_LIMIT_S = 45

_registered = []


def case(feature, alone=False):
    def register(function):
        _registered.append((feature, function, alone))
        return function

    return register


def eventually(condition, limit_s=15.0):
    """Polls until the condition is true and returns its value; fails when that takes longer than the limit."""
    deadline = time.monotonic() + limit_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError("did not happen: " + getattr(condition, "__name__", "condition"))
        time.sleep(0.01)
    return value


def equal(actual, expected):
    if actual != expected:
        raise AssertionError(f"{actual!r} instead of {expected!r}")


def raises(expected, function, *arguments, **named):
    """Calls the function and requires it to raise exactly this class."""
    try:
        value = function(*arguments, **named)
    except Exception as error:
        if type(error) is not expected:
            raise AssertionError(f"{error!r} instead of {expected.__name__}") from error
        return error
    raise AssertionError(f"returned {value!r} instead of raising {expected.__name__}")


def reason_of(error):
    """Returns one line that says what went wrong, and which line of the case it happened in."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if os.sep + ".work" + os.sep not in frame.filename and not frame.filename.endswith("lib/cases.py")]
    place = f" ({os.path.basename(own[-1].filename)}:{own[-1].lineno})" if own else ""
    return " ".join(f"{type(error).__name__}: {error}{place}".split())


def _in_thread(function):
    """Runs the function in a thread that the process does not wait for. Returns its Future."""
    future = Future()

    def run():
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def _say(line):
    """Prints each line with a single write, because cases end at the same time."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _run(feature, function, with_scope):
    name = function.__name__.replace("_", " ")
    try:
        _in_thread(lambda: with_scope(function)).result(CASE_LIMIT_S)
    except Exception as error:
        reason = f"no result after {CASE_LIMIT_S} s" if isinstance(error, TimeoutError) and not str(error) else reason_of(error)
        _say(f"not ok {feature} / {name} # {reason}")
        return False
    _say(f"ok {feature} / {name}")
    return True


def run_all(with_scope):
    """Runs every registered case as `with_scope(case)` and ends the process. The arguments select cases by a part of their name."""
    wanted = [
        (feature, function, alone)
        for feature, function, alone in _registered
        if not sys.argv[1:] or any(part in f"{feature}/{function.__name__}" for part in sys.argv[1:])
    ]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        results = list(pool.map(lambda entry: _run(*entry[:2], with_scope), [entry for entry in wanted if not entry[2]]))
    results += [_run(feature, function, with_scope) for feature, function, alone in wanted if alone]
    os._exit(0 if all(results) else 1)
