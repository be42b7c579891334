#!/usr/bin/env bash
# Prints, repairs or cuts a transaction log, with the options, messages and exit codes of Apache ZooKeeper's script. Calls
# `oxkeeper txn-log`; for a log of oxkeeper itself, `oxkeeper dump`.

ZOOBINDIR="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$ZOOBINDIR/zkEnv.sh"

usage() {
  cat <<END
usage: TxnLogToolkit [-dhrvc] <txn_log_file_name> (-z <zxid>)
 -c,--chop         Chop mode. Chop txn file to a zxid.
 -d,--dump         Dump mode. Dump all entries of the log file with printing the content of a nodepath (default)
 -h,--help         Print help message
 -r,--recover      Recovery mode. Re-calculate CRC for broken entries.
 -v,--verbose      Be verbose in recovery mode: print all entries, not just fixed ones.
 -y,--yes          Non-interactive mode: repair all CRC errors without asking
 -z,--zxid <arg>   Used with chop. Zxid to which to chop.
END
}

options=() files=() chops=false zxid=
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help)
      usage
      exit 0
      ;;
    --chop) chops=true ;;
    -z | --zxid)
      zxid="$2"
      shift
      ;;
    --zxid=*) zxid="${1#--zxid=}" ;;
    --dump | --recover | --verbose | --yes) options+=("$1") ;;
    --*)
      printf 'Unrecognized option: %s\n\n' "$1"
      usage
      exit 1
      ;;
    -?*)
      # One word may hold several letters. The zxid is the rest of the word after z, or the next word.
      letters="${1#-}"
      while [ -n "$letters" ]; do
        letter="${letters:0:1}" letters="${letters:1}"
        case "$letter" in
          d | r | v | y) options+=("-$letter") ;;
          c) chops=true ;;
          h)
            usage
            exit 0
            ;;
          z)
            zxid="$letters" letters=
            if [ -z "$zxid" ]; then
              zxid="$2"
              shift
            fi
            ;;
          *)
            printf 'Unrecognized option: %s\n\n' "$1"
            usage
            exit 1
            ;;
        esac
      done
      ;;
    *) files+=("$1") ;;
  esac
  [ $# -eq 0 ] || shift
done
if [ ${#files[@]} -eq 0 ]; then
  usage
  exit 1
fi
# Without a zxid, --chop has no effect.
if [ "$chops" = true ] && [ -n "$zxid" ]; then
  options+=(--chop "--zxid=$zxid")
fi
if [ "$(head -c 8 "${files[0]}" 2>/dev/null | tr -d '\0')" = "oxkp.log" ]; then
  exec "$OXKEEPER" dump "${files[0]}"
fi
exec "$OXKEEPER" txn-log "${options[@]}" "${files[0]}"
