package compat.java;

import static compat.harness.Check.code;
import static compat.harness.Check.eq;
import static compat.java.Znodes.bytes;
import static compat.java.Znodes.create;
import static compat.java.Znodes.stat;

import compat.harness.Case;
import compat.harness.Check;
import compat.harness.Feature;
import compat.harness.Scene;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.data.ClientInfo;
import org.apache.zookeeper.data.Stat;

/** exists, getData, setData, sync, whoAmI, getConfig. Source: FinalRequestProcessor, DataTree, DataNode.copyStat. */
@Feature("data")
final class Data {
    @Case("setData returns the new Stat")
    static void setStat(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        Stat before = stat(s.zk(), s.p("/a"));
        Stat after = s.zk().setData(s.p("/a"), bytes("longer"), 0);
        Check.that(after.getMzxid() > before.getMzxid(), "mzxid to move on");
        Check.that(after.getMtime() >= before.getMtime(), "mtime not to go back");
        before.setVersion(1);
        before.setDataLength(6);
        before.setMzxid(after.getMzxid());
        before.setMtime(after.getMtime());
        eq(before, after);
        eq(after, stat(s.zk(), s.p("/a")));
    }

    @Case("each setData adds 1 to the version")
    static void versions(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        for (int version = 0; version < 5; version++) {
            eq(version + 1, s.zk().setData(s.p("/a"), bytes("same"), version).getVersion());
        }
    }

    @Case("setData: BadVersion changes nothing")
    static void badVersion(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        Stat before = stat(s.zk(), s.p("/a"));
        code(Code.BADVERSION, () -> s.zk().setData(s.p("/a"), bytes("x"), 1));
        code(Code.BADVERSION, () -> s.zk().setData(s.p("/a"), bytes("x"), -2));
        eq(before, stat(s.zk(), s.p("/a")));
    }

    @Case("setData to null and to empty")
    static void setNull(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        s.zk().setData(s.p("/a"), null, -1);
        eq(null, s.zk().getData(s.p("/a"), false, null));
        eq(0, s.zk().setData(s.p("/a"), new byte[0], -1).getDataLength());
        eq(new byte[0], s.zk().getData(s.p("/a"), false, null));
    }

    @Case("setData on an ephemeral znode, by another session")
    static void setEphemeral(Scene s) throws Exception {
        create(s.zk(), s.p("/e"), CreateMode.EPHEMERAL);
        eq(s.zk().getSessionId(), s.connect().setData(s.p("/e"), bytes("x"), 0).getEphemeralOwner());
    }

    @Case("NoNode, with the path in the exception")
    static void noNode(Scene s) throws Exception {
        String path = s.p("/no");
        eq(path, code(Code.NONODE, () -> s.zk().getData(path, false, null)).getPath());
        eq(path, code(Code.NONODE, () -> s.zk().setData(path, null, -1)).getPath());
        eq(null, s.zk().exists(path, false));
    }

    @Case("getData returns data and Stat")
    static void getStat(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        Stat read = new Stat();
        eq(bytes("data"), s.zk().getData(s.p("/a"), false, read));
        eq(stat(s.zk(), s.p("/a")), read);
    }

    @Case("a second session reads what the first wrote")
    static void otherSession(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        var other = s.connect();
        other.sync(s.p("/a"));
        eq(bytes("data"), other.getData(s.p("/a"), false, null));
    }

    @Case(value = "returns the path, also of a missing znode", feature = "sync")
    static void sync(Scene s) throws Exception {
        s.zk().sync(s.root());
        s.zk().sync(s.p("/no/such"));
        AtomicReference<String> seen = new AtomicReference<>();
        s.zk().sync(s.p("/no"), (rc, path, ctx) -> seen.set(rc + path + ctx), "ctx");
        s.zk().fence();
        eq("0" + s.p("/no") + "ctx", seen.get());
    }

    @Case(value = "a new connection is its address", feature = "whoAmI")
    static void whoAmIp(Scene s) throws Exception {
        List<ClientInfo> infos = s.zk().whoAmI();
        eq(List.of(new ClientInfo("ip", "127.0.0.1")), infos);
    }

    @Case(value = "digest users are listed by name", feature = "whoAmI")
    static void whoAmDigest(Scene s) throws Exception {
        s.zk().addAuthInfo("digest", bytes("ann:pw"));
        s.zk().addAuthInfo("digest", bytes("bob:pw"));
        List<String> infos = s.zk().whoAmI().stream().map(i -> i.getAuthScheme() + ":" + i.getUser()).sorted().toList();
        eq(List.of("digest:ann", "digest:bob", "ip:127.0.0.1"), infos);
    }

    @Case(value = "super has no name of its own", feature = "whoAmI")
    static void whoAmSuper(Scene s) throws Exception {
        s.zk().addAuthInfo("digest", bytes("super:admin"));
        List<String> infos = s.zk().whoAmI().stream().map(i -> i.getAuthScheme() + ":" + i.getUser()).sorted().toList();
        eq(List.of("digest:super", "ip:127.0.0.1", "super:"), infos);
    }

    @Case(value = "readable by all, writable by none", feature = "getConfig")
    static void config(Scene s) throws Exception {
        Stat read = new Stat();
        s.zk().getConfig(false, read);
        eq(-1, read.getAversion());
        eq(0, read.getCzxid());
        eq(0, read.getNumChildren());
        code(Code.NOAUTH, () -> s.zk().setData("/zookeeper/config", null, -1));
    }

    @Case(value = "the Stats of the system znodes", feature = "system znodes")
    static void systemStats(Scene s) throws Exception {
        Stat zookeeper = stat(s.zk(), "/zookeeper");
        eq(-2, zookeeper.getCversion());
        eq(2, zookeeper.getNumChildren());
        eq(0, zookeeper.getCzxid() + zookeeper.getCtime() + zookeeper.getPzxid() + zookeeper.getVersion());
        Stat root = stat(s.zk(), "/");
        eq(0, root.getCzxid() + root.getCtime() + root.getMzxid() + root.getVersion());
    }
}
