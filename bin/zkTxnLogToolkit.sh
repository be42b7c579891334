#!/usr/bin/env bash
# Shows a file of Apache ZooKeeper's, or of ours: `oxkeeper dump`, which knows what it is.

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
