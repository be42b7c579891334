"""A terminal with an interactive bash, like the one in which a reader follows a tutorial.

Owns the pseudo-terminal and every process that is started in it. The shell prints no prompt and the terminal echoes nothing,
so all output comes from the commands; the shell's reports on its jobs are dropped. After each block of commands the terminal
types one more, which prints a mark and the exit status: the mark shows that the block has ended.
"""

import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))

from server import process_fields  # noqa: E402

# Long enough for a busy machine.
LIMIT_S = 60
MARK = "\x1e"
TYPE_MARK = r"printf '\036%s\n' $?"
JOB_REPORT = re.compile(r"\[\d+\][-+]? +\S.*")
CTRL_C = b"\x03"
# `setsid --ctty` makes the pseudo-terminal the shell's own: without one there is no Ctrl-C.
SHELL = ["setsid", "--ctty", "bash", "--norc", "--noprofile", "--noediting", "-i"]
# Indexes in the lists of termios.tcgetattr and of server.process_fields.
OUTPUT_FLAGS, LOCAL_FLAGS = 1, 3
SESSION = 3


class Terminal:
    def __init__(self, name, directory, environment):
        self.name = name
        self.changed = threading.Condition()
        self.lines = []  # printed and not yet returned by next_line
        self.statuses = []  # of the blocks that have ended
        self.typed = 0
        self.file, shell_side = pty.openpty()
        silence(shell_side)
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), shell_side)
        self.shell = subprocess.Popen(SHELL, cwd=directory, env={**environment, "PS1": "", "PS2": "", "TERM": "dumb"}, **streams)
        os.close(shell_side)
        threading.Thread(target=self._read, daemon=True).start()

    def type(self, commands):
        """Types a block of commands. The block before it must have ended well."""
        self.end_block()
        self.typed += 1
        os.write(self.file, f"{commands}{TYPE_MARK}\n".encode())

    def end_block(self):
        """Waits until the last block has ended. Raises AssertionError if it failed or printed unexpected lines."""
        with self.changed:
            ended = self.changed.wait_for(lambda: len(self.statuses) == self.typed, LIMIT_S)
            if self.lines:
                raise AssertionError(f"terminal {self.name} also shows {self.lines}")
            if not ended:
                raise AssertionError(f"the commands in terminal {self.name} have not ended after {LIMIT_S} s")
            if any(self.statuses):
                raise AssertionError(f"the last command in terminal {self.name} exited with status {self.statuses[-1]}")

    def next_line(self):
        """Waits for the next line of output and returns it; returns None if there is none within LIMIT_S."""
        with self.changed:
            return self.lines.pop(0) if self.changed.wait_for(lambda: self.lines, LIMIT_S) else None

    def interrupt(self):
        os.write(self.file, CTRL_C)

    def close(self):
        """Kills the shell and everything that it started. Returns the command lines of those processes."""
        started = [pid for pid in session(self.shell.pid) if pid != self.shell.pid]
        commands = [command_line(pid) for pid in started]
        for pid in started:
            kill(pid)
        self.shell.kill()
        self.shell.wait()
        return commands

    def _read(self):
        unfinished = b""
        while chunk := self._read_some():
            *lines, unfinished = (unfinished + chunk).split(b"\n")
            with self.changed:
                for line in lines:
                    self._take(line.decode(errors="replace"))
                self.changed.notify_all()

    def _read_some(self):
        try:
            return os.read(self.file, 65536)
        except OSError:  # The last process that had the terminal open is gone.
            return b""

    def _take(self, line):
        if line.startswith(MARK):
            self.statuses.append(int(line.removeprefix(MARK)))
        elif not JOB_REPORT.fullmatch(line):
            self.lines.append(line)


def silence(file):
    """Turns off the echo and the conversion of line ends, and keeps input that was typed before a Ctrl-C."""
    attributes = termios.tcgetattr(file)
    attributes[OUTPUT_FLAGS] &= ~termios.OPOST
    attributes[LOCAL_FLAGS] = attributes[LOCAL_FLAGS] & ~termios.ECHO | termios.NOFLSH
    termios.tcsetattr(file, termios.TCSANOW, attributes)


def session(leader):
    """Returns the processes of a session that have not ended."""
    pids = (int(path.name) for path in Path("/proc").glob("[0-9]*"))
    fields = ((pid, process_fields(pid)) for pid in pids)
    return [pid for pid, known in fields if known and known[0] not in "ZX" and int(known[SESSION]) == leader]


def command_line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return f"process {pid}"


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
