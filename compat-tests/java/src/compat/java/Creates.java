package compat.java;

import static compat.harness.Check.code;
import static compat.harness.Check.eq;
import static compat.java.Znodes.OPEN;
import static compat.java.Znodes.bytes;
import static compat.java.Znodes.create;
import static compat.java.Znodes.freshStat;
import static compat.java.Znodes.stat;

import compat.harness.Case;
import compat.harness.Feature;
import compat.harness.Scene;
import compat.harness.Zk;
import java.util.List;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.ZooDefs.OpCode;
import org.apache.zookeeper.data.Stat;
import org.apache.zookeeper.proto.Create2Response;
import org.apache.zookeeper.proto.CreateRequest;
import org.apache.zookeeper.proto.CreateResponse;
import org.apache.zookeeper.proto.CreateTTLRequest;

/** create in every mode. Source: PrepRequestProcessor (pRequest2TxnCreate), CreateMode, EphemeralType. */
@Feature("create")
final class Creates {
    private static final long DAY_MS = 86_400_000;

    @Case("persistent: path and data")
    static void persistent(Scene s) throws Exception {
        eq(s.p("/a"), create(s.zk(), s.p("/a")));
        eq(bytes("data"), s.zk().getData(s.p("/a"), false, null));
    }

    @Case("persistent: Stat of the new znode")
    static void persistentStat(Scene s) throws Exception {
        freshlyCreated(s, CreateMode.PERSISTENT, 0);
    }

    @Case("ephemeral: Stat names the session")
    static void ephemeralStat(Scene s) throws Exception {
        freshlyCreated(s, CreateMode.EPHEMERAL, s.zk().getSessionId());
    }

    @Case(value = "container: Stat, owner 0", feature = "container")
    static void containerStat(Scene s) throws Exception {
        freshlyCreated(s, CreateMode.CONTAINER, 0);
    }

    private static void freshlyCreated(Scene s, CreateMode mode, long owner) throws Exception {
        Stat made = new Stat();
        eq(s.p("/a"), s.zk().create(s.p("/a"), bytes("data"), OPEN, mode, made));
        freshStat(made, 4, owner);
        eq(made, stat(s.zk(), s.p("/a")));
    }

    @Case(value = "persistent with TTL: Stat, owner 0", feature = "ttl")
    static void ttlStat(Scene s) throws Exception {
        Stat made = new Stat();
        eq(s.p("/a"), s.zk().create(s.p("/a"), null, OPEN, CreateMode.PERSISTENT_WITH_TTL, made, DAY_MS));
        freshStat(made, 0, 0);
        eq(made, stat(s.zk(), s.p("/a")));
    }

    @Case(value = "sequential with TTL: name and Stat", feature = "ttl")
    static void ttlSequential(Scene s) throws Exception {
        Stat made = new Stat();
        String path = s.zk().create(s.p("/a-"), null, OPEN, CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL, made, DAY_MS);
        eq(s.p("/a-0000000000"), path);
        freshStat(made, 0, 0);
    }

    @Case(value = "TTL of 0 is refused by the server", feature = "ttl")
    static void ttlZero(Scene s) throws Exception {
        eq(Code.BADARGUMENTS, createTtl(s, CreateMode.PERSISTENT_WITH_TTL, 0));
    }

    @Case(value = "the longest TTL is accepted, one more is refused", feature = "ttl")
    static void ttlLimit(Scene s) throws Exception {
        eq(Code.BADARGUMENTS, createTtl(s, CreateMode.PERSISTENT_WITH_TTL, 0x100_0000_0000L));
        eq(Code.OK, createTtl(s, CreateMode.PERSISTENT_WITH_TTL, 0xFF_FFFF_FFFFL));
    }

    @Case(value = "a TTL with a mode that has none is refused", feature = "ttl")
    static void ttlWithoutMode(Scene s) throws Exception {
        eq(Code.BADARGUMENTS, createTtl(s, CreateMode.PERSISTENT, 1000));
    }

    private static Code createTtl(Scene s, CreateMode mode, long ttl) throws Exception {
        Zk zk = s.zk();
        CreateTTLRequest request = new CreateTTLRequest(s.p("/t"), null, OPEN, mode.toFlag(), ttl);
        return zk.raw(OpCode.createTTL, request, new Create2Response());
    }

    @Case("null data stays null")
    static void nullData(Scene s) throws Exception {
        s.zk().create(s.p("/a"), null, OPEN, CreateMode.PERSISTENT);
        Stat stat = new Stat();
        eq(null, s.zk().getData(s.p("/a"), false, stat));
        eq(0, stat.getDataLength());
    }

    @Case("empty data stays empty")
    static void emptyData(Scene s) throws Exception {
        s.zk().create(s.p("/a"), new byte[0], OPEN, CreateMode.PERSISTENT);
        eq(new byte[0], s.zk().getData(s.p("/a"), false, null));
    }

    @Case("data of every byte value comes back")
    static void binaryData(Scene s) throws Exception {
        byte[] data = new byte[256];
        for (int i = 0; i < data.length; i++) {
            data[i] = (byte) i;
        }
        s.zk().create(s.p("/a"), data, OPEN, CreateMode.PERSISTENT);
        eq(data, s.zk().getData(s.p("/a"), false, null));
    }

    @Case("names beyond ASCII")
    static void unicodeName(Scene s) throws Exception {
        String path = s.p("/\u00e4\u6c34\u20ac x");
        eq(path, create(s.zk(), path));
        eq(List.of("\u00e4\u6c34\u20ac x"), s.zk().getChildren(s.root(), false));
    }

    @Case("a child changes cversion, pzxid and numChildren of its parent, nothing else")
    static void parentStat(Scene s) throws Exception {
        Stat before = stat(s.zk(), parentOf(s));
        Stat child = new Stat();
        s.zk().create(s.p("/p/a"), null, OPEN, CreateMode.PERSISTENT, child);
        Stat after = stat(s.zk(), s.p("/p"));
        before.setCversion(1);
        before.setNumChildren(1);
        before.setPzxid(child.getCzxid());
        eq(before, after);
    }

    @Case("a grandchild does not change the Stat")
    static void grandparentStat(Scene s) throws Exception {
        create(s.zk(), parentOf(s) + "/a");
        Stat before = stat(s.zk(), s.p("/p"));
        create(s.zk(), s.p("/p/a/b"));
        eq(before, stat(s.zk(), s.p("/p")));
    }

    private static String parentOf(Scene s) throws Exception {
        return create(s.zk(), s.p("/p"));
    }

    @Case(value = "suffixes count up from 0", feature = "sequential")
    static void sequence(Scene s) throws Exception {
        for (int i = 0; i < 12; i++) {
            eq(String.format("%s%010d", s.p("/a-"), i), create(s.zk(), s.p("/a-"), CreateMode.PERSISTENT_SEQUENTIAL));
        }
    }

    @Case(value = "one counter for all prefixes and for plain children", feature = "sequential")
    static void sharedSequence(Scene s) throws Exception {
        create(s.zk(), s.p("/plain"));
        eq(s.p("/a-0000000001"), create(s.zk(), s.p("/a-"), CreateMode.PERSISTENT_SEQUENTIAL));
        eq(s.p("/b-0000000002"), create(s.zk(), s.p("/b-"), CreateMode.EPHEMERAL_SEQUENTIAL));
    }

    @Case(value = "a delete does not turn the counter back", feature = "sequential")
    static void sequenceAfterDelete(Scene s) throws Exception {
        String path = create(s.zk(), s.p("/a-"), CreateMode.PERSISTENT_SEQUENTIAL);
        s.zk().delete(path, -1);
        eq(s.p("/a-0000000001"), create(s.zk(), s.p("/a-"), CreateMode.PERSISTENT_SEQUENTIAL));
        eq(3, stat(s.zk(), s.root()).getCversion());
    }

    @Case(value = "a failed create does not use up a number", feature = "sequential")
    static void sequenceAfterFailure(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        code(Code.NODEEXISTS, () -> create(s.zk(), s.p("/a")));
        eq(s.p("/a-0000000001"), create(s.zk(), s.p("/a-"), CreateMode.PERSISTENT_SEQUENTIAL));
    }

    @Case(value = "a name that is only the suffix", feature = "sequential")
    static void bareSequence(Scene s) throws Exception {
        eq(s.p("/0000000000"), create(s.zk(), s.p("/"), CreateMode.PERSISTENT_SEQUENTIAL));
    }

    @Case(value = "ephemeral sequential: owner and name", feature = "sequential")
    static void ephemeralSequence(Scene s) throws Exception {
        Stat made = new Stat();
        eq(s.p("/a0000000000"), s.zk().create(s.p("/a"), null, OPEN, CreateMode.EPHEMERAL_SEQUENTIAL, made));
        freshStat(made, 0, s.zk().getSessionId());
    }

    @Case("NodeExists, with the path in the exception")
    static void exists(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        eq(s.p("/a"), code(Code.NODEEXISTS, () -> create(s.zk(), s.p("/a"))).getPath());
    }

    @Case("the root exists")
    static void rootExists(Scene s) throws Exception {
        code(Code.NODEEXISTS, () -> create(s.zk(), "/"));
    }

    @Case("NoNode without a parent")
    static void noParent(Scene s) throws Exception {
        code(Code.NONODE, () -> create(s.zk(), s.p("/no/a")));
        code(Code.NONODE, () -> create(s.zk(), s.p("/no/a-"), CreateMode.EPHEMERAL_SEQUENTIAL));
    }

    @Case("NoChildrenForEphemerals")
    static void underEphemeral(Scene s) throws Exception {
        create(s.zk(), s.p("/e"), CreateMode.EPHEMERAL);
        code(Code.NOCHILDRENFOREPHEMERALS, () -> create(s.zk(), s.p("/e/a")));
        code(Code.NOCHILDRENFOREPHEMERALS, () -> create(s.zk(), s.p("/e/a"), CreateMode.EPHEMERAL));
    }

    @Case("container and TTL znodes may have children")
    static void underContainer(Scene s) throws Exception {
        create(s.zk(), s.p("/c"), CreateMode.CONTAINER);
        create(s.zk(), s.p("/c/a"), CreateMode.EPHEMERAL);
        s.zk().create(s.p("/t"), null, OPEN, CreateMode.PERSISTENT_WITH_TTL, new Stat(), DAY_MS);
        create(s.zk(), s.p("/t/a"));
    }

    @Case("an unknown mode is refused")
    static void unknownFlags(Scene s) throws Exception {
        for (int flags : new int[] {7, 9, -1}) {
            eq(Code.BADARGUMENTS, raw(s.zk(), s.p("/a"), flags));
        }
    }

    static Code raw(Zk zk, String path, int flags) throws Exception {
        return zk.raw(OpCode.create, new CreateRequest(path, null, OPEN, flags), new CreateResponse());
    }
}
