# shellcheck shell=bash
# Common part of all scripts in this directory, which source it. Removes `--config DIR` from their arguments. Sets ZOOCFGDIR,
# ZOOCFG, ZOO_LOG_DIR and OXKEEPER from the same files and variables as the scripts of Apache ZooKeeper.

ZOOBINDIR="${ZOOBINDIR:-/usr/bin}"
ZOOKEEPER_PREFIX="$ZOOBINDIR/.."

if [ $# -gt 1 ] && [ "$1" = "--config" ]; then
  ZOOCFGDIR="$2"
  shift 2
fi
if [ -z "$ZOOCFGDIR" ]; then
  if [ -e "$ZOOKEEPER_PREFIX/conf" ]; then
    ZOOCFGDIR="$ZOOKEEPER_PREFIX/conf"
  elif [ -e /etc/oxkeeper ]; then
    ZOOCFGDIR=/etc/oxkeeper
  else
    ZOOCFGDIR="$ZOOKEEPER_PREFIX/etc/zookeeper"
  fi
fi
if [ -f "$ZOOCFGDIR/zookeeper-env.sh" ]; then
  . "$ZOOCFGDIR/zookeeper-env.sh"
fi
if [ -f "$ZOOCFGDIR/java.env" ]; then
  . "$ZOOCFGDIR/java.env"
fi
ZOOCFG="$ZOOCFGDIR/${ZOOCFG:-zoo.cfg}"
ZOO_LOG_DIR="${ZOO_LOG_DIR:-$ZOOKEEPER_PREFIX/logs}"

# Finds the server: $OXKEEPER, beside these scripts, built in this tree, or on the PATH.
if [ -z "$OXKEEPER" ]; then
  for candidate in "$ZOOBINDIR/oxkeeper" "$ZOOBINDIR/../target/release/oxkeeper" "$ZOOBINDIR/../target/debug/oxkeeper"; do
    if [ -x "$candidate" ]; then
      OXKEEPER="$candidate"
      break
    fi
  done
  OXKEEPER="${OXKEEPER:-$(command -v oxkeeper)}"
fi
if [ -z "$OXKEEPER" ]; then
  echo "Error: OXKEEPER is not set and oxkeeper could not be found in PATH." >&2
  exit 1
fi

# The server reads -D properties and ignores flags that only a JVM understands (-Xmx…).
export JVMFLAGS SERVER_JVMFLAGS CLIENT_JVMFLAGS

# Prints the value of a key in a zoo.cfg: `setting FILE KEY`. The last line wins.
setting() {
  sed -n "s/^[[:space:]]*$2[[:space:]]*=[[:space:]]*\(.*[^[:space:]]\)[[:space:]]*$/\1/p" "$1" 2>/dev/null | tail -n 1
}
