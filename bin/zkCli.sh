#!/usr/bin/env bash
# The client on the command line, by the options and commands of Apache ZooKeeper's: `oxkeeper shell`.

ZOOBINDIR="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$ZOOBINDIR/zkEnv.sh"
# zkCli runs a script to its end, whatever fails in it.
exec "$OXKEEPER" shell --keep-going "$@"
