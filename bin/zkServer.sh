#!/usr/bin/env bash
# Starts, stops and inspects a server, with the commands, variables, messages and exit codes of Apache ZooKeeper's script.
# `start` waits until clients can connect, and `stop` until the server has ended, instead of for a fixed second.

ZOOBINDIR="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$ZOOBINDIR/zkEnv.sh"

# Time that `start` waits for the server to report that it serves; afterwards the server continues to start.
START_WAIT_S=10
# Time that `stop` waits for the server to end.
STOP_WAIT_S=60

# A second word names another configuration file: in ZOOCFGDIR, or anywhere if it has a slash.
if [ -n "$2" ]; then
  case "$2" in
    */*) ZOOCFG="$2" ;;
    *) ZOOCFG="$ZOOCFGDIR/$2" ;;
  esac
fi
case "$1" in
  start | start-foreground | stop | restart | status | print-cmd) echo "Using config: $ZOOCFG" >&2 ;;
esac

data_dir="$(setting "$ZOOCFG" dataDir)"
log_dir="$(setting "$ZOOCFG" dataLogDir)"
ZOOPIDFILE="${ZOOPIDFILE:-$data_dir/zookeeper_server.pid}"
out="$ZOO_LOG_DIR/zookeeper-$USER-server-$HOSTNAME.out"

# Creates or checks the directories that a server needs before it starts.
prepare() {
  if [ -n "$ZOO_DATADIR_AUTOCREATE_DISABLE" ]; then
    require "$data_dir" "data"
    [ -z "$log_dir" ] || require "$log_dir" "txnlog"
  elif [ -n "$data_dir" ]; then
    mkdir -p "$data_dir"
  fi
  mkdir -p "$(dirname "$ZOOPIDFILE")" "$ZOO_LOG_DIR"
}

require() {
  if [ ! -d "$1" ]; then
    echo "ZooKeeper $2 directory is missing at $1 fix the path or run initialize"
    exit 1
  fi
}

is_running() {
  kill -0 "$1" 2>/dev/null && ! grep -qs "^State:[[:space:]]*Z" "/proc/$1/status"
}

start() {
  echo -n "Starting zookeeper ... "
  local pid
  if [ -f "$ZOOPIDFILE" ] && pid="$(cat "$ZOOPIDFILE")" && is_running "$pid"; then
    echo "already running as process $pid."
    exit 1
  fi
  nohup "$OXKEEPER" serve --config "$ZOOCFG" >"$out" 2>&1 </dev/null &
  pid=$!
  if ! echo -n "$pid" >"$ZOOPIDFILE"; then
    echo "FAILED TO WRITE PID"
    exit 1
  fi
  for ((waited = 0; waited < 20 * START_WAIT_S; waited++)); do
    if ! is_running "$pid"; then
      echo "FAILED TO START"
      tail -n 5 "$out" >&2
      exit 1
    fi
    # A member of an ensemble may have to wait for the others.
    grep -qs -e "^oxkeeper serves ZooKeeper clients on " -e "^oxkeeper listens on " "$out" && break
    sleep 0.05
  done
  echo STARTED
}

stop() {
  echo -n "Stopping zookeeper ... "
  if [ ! -f "$ZOOPIDFILE" ]; then
    echo "no zookeeper to stop (could not find file $ZOOPIDFILE)"
    return
  fi
  local pid
  pid="$(cat "$ZOOPIDFILE")"
  kill "$pid"
  rm "$ZOOPIDFILE"
  for ((waited = 0; waited < 20 * STOP_WAIT_S; waited++)); do
    is_running "$pid" || break
    sleep 0.05
  done
  echo STOPPED
}

# Sets `port` and `address` of the client port, and `secure` (true or false), or ends.
find_client_port() {
  secure=false
  port="$(setting "$ZOOCFG" clientPort)"
  address="$(setting "$ZOOCFG" clientPortAddress)"
  if [ -z "$port" ]; then
    local id line
    id="$(cat "$data_dir/myid" 2>/dev/null)"
    if [[ "$id" =~ ^[0-9]+$ ]]; then
      line="$(setting "$ZOOCFG" "server\.$id")"
      if [[ "$line" != *";"* ]]; then
        echo "Client port not found in static config file. Looking in dynamic config file."
        line="$(setting "$(setting "$ZOOCFG" dynamicConfigFile)" "server\.$id")"
      fi
      if [[ "$line" == *";"* ]]; then
        line="${line##*;}"
        port="${line##*:}"
        [[ "$line" != *:* ]] || address="${line%:*}"
      else
        echo "Client port not found in the server configs"
      fi
    else
      echo "myid could not be determined, will not able to locate clientPort in the server configs."
    fi
  fi
  if [ -z "$port" ]; then
    echo "Client port not found. Looking for secureClientPort in the static config."
    secure=true
    port="$(setting "$ZOOCFG" secureClientPort)"
    address="$(setting "$ZOOCFG" secureClientPortAddress)"
  fi
  if [ -z "$port" ]; then
    echo "Unable to find either secure or unsecure client port in any configs. Terminating."
    exit 1
  fi
  address="${address:-localhost}"
}

# Prints an address to connect to; a wildcard address becomes localhost.
reachable() {
  case "$1" in
    0.0.0.0 | "[::]" | ::) echo localhost ;;
    *) local bare="${1#[}" && echo "${bare%]}" ;;
  esac
}

# Prints an address as it is written before a port: IPv6 in brackets.
bracketed() {
  case "$1" in
    *:*) echo "[$1]" ;;
    *) echo "$1" ;;
  esac
}

status() {
  find_client_port
  echo "Client port found: $port. Client address: $address. Client SSL: $secure."
  local mode
  if [ "$secure" = true ]; then
    mode="$("$OXKEEPER" word srvr --server "$(bracketed "$(reachable "$address")"):$port" --tls | grep Mode)"
  else
    mode="$(
      exec 2>/dev/null
      exec 3<>"/dev/tcp/$(reachable "$address")/$port" && echo -n srvr >&3 && timeout 10 cat <&3 | grep Mode
    )"
  fi
  if [ -z "$mode" ]; then
    [ "$secure" = false ] || cat <<EOF

Note: We used secureClientPort ($port) to establish connection, but we failed. The 'status'
  command establishes a client connection to the server to execute diagnostic commands. Please make sure you
  provided all the Client SSL connection related parameters in the CLIENT_JVMFLAGS environment variable! E.g.:
  CLIENT_JVMFLAGS="-Dzookeeper.ssl.trustStore.location=/tmp/clienttrust.jks -Dzookeeper.ssl.trustStore.password=password
  -Dzookeeper.ssl.keyStore.location=/tmp/client.jks -Dzookeeper.ssl.keyStore.password=password" ./zkServer.sh status

EOF
    echo "Error contacting service. It is probably not running."
    exit 1
  fi
  echo "$mode"
}

# Prints the command line of `start` for a supervisor, which reads no environment files, so the line includes the flags.
print_command() {
  local line="" name
  for name in SERVER_JVMFLAGS JVMFLAGS; do
    [ -z "${!name}" ] || line+=" $(quoted "$name=${!name}")"
  done
  echo "${line:+env$line }\"$OXKEEPER\" serve --config \"$ZOOCFG\" > \"$out\" 2>&1 < /dev/null"
}

# Quotes a word for shells, and for programs that only split words as shells do.
quoted() {
  local word="${1//\'/\'\\\'\'}"
  echo "'$word'"
}

case "$1" in
  start)
    prepare
    start
    ;;
  start-foreground)
    prepare
    if [ -n "$ZOO_NOEXEC" ]; then
      "$OXKEEPER" serve --config "$ZOOCFG"
    else
      exec "$OXKEEPER" serve --config "$ZOOCFG"
    fi
    ;;
  print-cmd)
    print_command
    ;;
  stop)
    stop
    ;;
  restart)
    stop
    prepare
    start
    ;;
  status)
    status
    ;;
  version)
    # Rewrites "oxkeeper 0.1.0 (Apache ZooKeeper 3.9.5)" to the form of ZooKeeper's script.
    "$OXKEEPER" --version | sed 's/^\(oxkeeper .*\) (Apache ZooKeeper \(.*\))$/Apache ZooKeeper, version \2 as served by \1/'
    ;;
  *)
    echo "Usage: $0 [--config <conf-dir>] {start|start-foreground|stop|version|restart|status|print-cmd}" >&2
    ;;
esac
