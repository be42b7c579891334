#!/bin/sh
# Stands in for Apache ZooKeeper's script: its jars are here, its scripts are not.
here=$(cd "$(dirname "$0")" && pwd)
jars="$here/../../.work/zookeeper/lib/*"
# shellcheck disable=SC2086 # several words
exec java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx256m $SERVER_JVMFLAGS -cp "$jars" org.apache.zookeeper.server.quorum.QuorumPeerMain "$2"
