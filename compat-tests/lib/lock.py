"""Holds Curator's lock while the servers restart, over connections that JVM flags make use TLS or SASL (compat.tls.Lock)."""

import subprocess
from pathlib import Path

JARS = Path(__file__).resolve().parent.parent / ".work" / "java"
LIMIT_S = 60
HELD = "reconnected: true\nsame session: true\nmine: x\ntold: true\ntaken from the holder: false\ntaken once it is free: true\n"


def outlives_a_restart(connect, flags, restart):
    """Returns the lock holder, and what the program prints after the restart: `HELD` if all is well."""
    quick_start = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m"]
    command = ["java", *quick_start, *flags, "-cp", f"{JARS}/classes:{JARS}/lib/*", "compat.tls.Lock", connect]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        try:
            holder = program.stdout.readline()
            restart()
            rest, _ = program.communicate("\n", timeout=LIMIT_S)
        finally:
            program.kill()
    return holder.removeprefix("held by ").strip(), rest
