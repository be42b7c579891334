#!/usr/bin/env bash
# Does nothing. Apache ZooKeeper's script deletes old snapshots and logs, but oxkeeper keeps one tree and cuts its log itself.
# Exists for cron jobs that call it.

ZOOBINDIR="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$ZOOBINDIR/zkEnv.sh"

if [ "$1" != "-n" ] || [[ ! "$2" =~ ^[0-9]+$ ]] || [ "$2" -lt 3 ]; then
  echo "Usage: $0 -n count" >&2
  echo "	count -- the number of old snaps/logs you want to keep, value should be greater than or equal to 3" >&2
  exit 2
fi
echo "Nothing to remove: oxkeeper keeps one tree and cuts its log itself."
