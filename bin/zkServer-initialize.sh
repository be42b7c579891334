#!/usr/bin/env bash
# Prepares the data directories of a new server, with the options, messages and exit codes of Apache ZooKeeper's script.

ZOOBINDIR="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$ZOOBINDIR/zkEnv.sh"

usage() {
  cat <<TEXT
usage: $0 <parameters>
  Optional parameters:
     -h, --help            Display this message
     --configfile=<file>   ZooKeeper config file, $ZOOCFG if not given
     --myid=<number>       Set the myid to be used, if any (1-255)
     --force               Force creation of the data/txnlog dirs: what is in them is deleted
TEXT
  exit 1
}

force=
while [ -n "$1" ]; do
  case "$1" in
    --configfile | --myid)
      name="$1" value="$2"
      shift 2 || usage
      ;;
    --configfile=?* | --myid=?*)
      name="${1%%=*}" value="${1#*=}"
      shift
      ;;
    --force)
      force=1 name=
      shift
      ;;
    -h | --help) usage ;;
    *)
      echo "Unknown option: $1"
      usage
      ;;
  esac
  case "$name" in
    --configfile) ZOOCFG="$value" ;;
    --myid) myid="$value" ;;
  esac
done

if [ ! -e "$ZOOCFG" ]; then
  echo "Unable to find config file at $ZOOCFG"
  exit 1
fi
data_dir="$(setting "$ZOOCFG" dataDir)"
log_dir="$(setting "$ZOOCFG" dataLogDir)"
if [ -z "$data_dir" ]; then
  echo "Unable to determine dataDir from $ZOOCFG"
  exit 1
fi

# Files and directories of a server's data, ours and ZooKeeper's.
DATA_NAMES="log tree.redb tree.unfinished version-2"

# Succeeds if a directory has a server's data: `has_data DIR`.
has_data() {
  local name
  for name in $DATA_NAMES; do
    if [ -e "$1/$name" ]; then
      return 0
    fi
  done
  return 1
}

# Empties a directory of a server's data: `clear_data DIR`.
clear_data() {
  local name
  rm -f "$1/myid"
  for name in $DATA_NAMES; do
    rm -rf "${1:?}/$name"
  done
  mkdir -p "$1"
}

if [ -n "$force" ]; then
  echo "Force enabled, data/txnlog directories will be re-initialized"
elif has_data "$data_dir"; then
  echo "ZooKeeper data directory already exists at $data_dir (or use --force to force re-initialization)"
  exit 1
elif [ -n "$log_dir" ] && has_data "$log_dir"; then
  echo "ZooKeeper txnlog directory already exists at $log_dir (or use --force to force re-initialization)"
  exit 1
fi
clear_data "$data_dir"
[ -z "$log_dir" ] || clear_data "$log_dir"
if [ -n "$myid" ]; then
  echo "Using myid of $myid"
  echo "$myid" >"$data_dir/myid"
else
  echo "No myid provided, be sure to specify it in $data_dir/myid if using non-standalone"
fi
touch "$data_dir/initialize"
