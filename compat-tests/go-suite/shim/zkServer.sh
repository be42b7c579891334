#!/bin/sh
# Stands in for Apache ZooKeeper's script: only its jars are installed here, not its scripts.
here=$(cd "$(dirname "$0")" && pwd)
jars="$here/../../.work/zookeeper/lib/*"
# shellcheck disable=SC2086 # several words
exec java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx256m $SERVER_JVMFLAGS -cp "$jars" org.apache.zookeeper.server.quorum.QuorumPeerMain "$2"
