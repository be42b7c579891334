#!/usr/bin/env bash
# Prints a file of Apache ZooKeeper or oxkeeper. Calls `oxkeeper dump`, which detects the kind of file.

ZOOBINDIR="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$ZOOBINDIR/zkEnv.sh"
arguments=()
for argument in "$@"; do
  case "$argument" in
    -json) arguments+=(--json) ;;
    *) arguments+=("$argument") ;;
  esac
done
exec "$OXKEEPER" dump "${arguments[@]}"
