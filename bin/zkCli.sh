#!/usr/bin/env bash
# Runs `oxkeeper shell`, a command-line client with the options and commands of Apache ZooKeeper's.

ZOOBINDIR="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$ZOOBINDIR/zkEnv.sh"
# zkCli runs a script to its end even if commands in it fail.
exec "$OXKEEPER" shell --keep-going "$@"
