package compat.java;

import static java.nio.charset.StandardCharsets.UTF_8;

import compat.harness.Check;
import java.util.List;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Stat;

/** Short helpers for operations that nearly every case needs. */
final class Znodes {
    static final List<ACL> OPEN = Ids.OPEN_ACL_UNSAFE;

    private Znodes() {}

    static byte[] bytes(String text) {
        return text.getBytes(UTF_8);
    }

    static String create(ZooKeeper zk, String path) throws Exception {
        return create(zk, path, CreateMode.PERSISTENT);
    }

    static String create(ZooKeeper zk, String path, CreateMode mode) throws Exception {
        return zk.create(path, bytes("data"), OPEN, mode);
    }

    static Op createOp(String path) {
        return Op.create(path, bytes("data"), OPEN, CreateMode.PERSISTENT);
    }

    static Stat stat(ZooKeeper zk, String path) throws Exception {
        return zk.exists(path, false);
    }

    /** Returns the error codes of a multi's results, 0 for those that are not errors. */
    static List<Code> codes(List<OpResult> results) {
        return results.stream()
                .map(result -> result instanceof OpResult.ErrorResult error ? Code.get(error.getErr()) : Code.OK)
                .toList();
    }

    /** Checks the Stat of a znode that has not changed since it was created. */
    static void freshStat(Stat stat, int dataLength, long ephemeralOwner) {
        Check.that(stat.getCzxid() > 0, "a czxid above 0");
        Check.eq("mzxid", stat.getCzxid(), stat.getMzxid());
        Check.eq("pzxid", stat.getCzxid(), stat.getPzxid());
        Check.eq("mtime", stat.getCtime(), stat.getMtime());
        Check.that(Math.abs(System.currentTimeMillis() - stat.getCtime()) < 60_000, "ctime to be the current time");
        Check.eq("version", 0, stat.getVersion());
        Check.eq("cversion", 0, stat.getCversion());
        Check.eq("aversion", 0, stat.getAversion());
        Check.eq("ephemeralOwner", ephemeralOwner, stat.getEphemeralOwner());
        Check.eq("dataLength", dataLength, stat.getDataLength());
        Check.eq("numChildren", 0, stat.getNumChildren());
    }
}
