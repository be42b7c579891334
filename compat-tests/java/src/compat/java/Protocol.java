package compat.java;

import static compat.harness.Check.code;
import static compat.harness.Check.eq;
import static compat.java.Znodes.bytes;
import static compat.java.Znodes.create;

import compat.harness.Case;
import compat.harness.Feature;
import compat.harness.Scene;
import compat.harness.Zk;
import java.util.Arrays;
import java.util.List;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.OpCode;
import org.apache.zookeeper.admin.ZooKeeperAdmin;
import org.apache.zookeeper.proto.AddWatchRequest;
import org.apache.zookeeper.proto.CheckVersionRequest;
import org.apache.zookeeper.proto.ErrorResponse;
import org.apache.zookeeper.proto.GetChildrenRequest;
import org.apache.zookeeper.proto.GetChildrenResponse;
import org.apache.zookeeper.proto.SetWatches;
import org.apache.zookeeper.proto.SyncRequest;
import org.apache.zookeeper.proto.SyncResponse;

/** Requests that the client's API never sends. Source: ZooKeeperServer.processPacket, FinalRequestProcessor. */
@Feature("protocol")
final class Protocol {
    @Case("an unknown operation: Unimplemented, and the connection ends")
    static void unknownOperation(Scene s) throws Exception {
        endsConnection(s, 99);
    }

    @Case("a check outside a multi is refused the same way")
    static void loneCheck(Scene s) throws Exception {
        endsConnection(s, OpCode.check);
    }

    private static void endsConnection(Scene s, int opcode) throws Exception {
        Zk zk = s.zk();
        create(zk, s.p("/e"), CreateMode.EPHEMERAL);
        long id = zk.getSessionId();
        zk.events().forgetStates();
        eq(Code.UNIMPLEMENTED, zk.raw(opcode, new CheckVersionRequest(s.root(), 0), null));
        zk.events().awaitState(KeeperState.Disconnected, Zk.CONNECT_LIMIT_MS);
        zk.awaitConnected();
        eq(id, zk.getSessionId());
        eq(List.of(s.p("/e")), zk.getEphemerals());
    }

    @Case("an unknown addWatch mode is a marshalling error")
    static void addWatchMode(Scene s) throws Exception {
        eq(Code.MARSHALLINGERROR, s.zk().raw(OpCode.addWatch, new AddWatchRequest(s.root(), 7), new ErrorResponse()));
    }

    @Case("the older getChildren without Stat")
    static void getChildren(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        GetChildrenResponse response = new GetChildrenResponse();
        eq(Code.OK, s.zk().raw(OpCode.getChildren, new GetChildrenRequest(s.root(), false), response));
        eq(List.of("a"), response.getChildren());
    }

    @Case("sync echoes any path")
    static void sync(Scene s) throws Exception {
        for (String path : Arrays.asList("/no/such", "odd", "", null)) {
            SyncResponse response = new SyncResponse();
            eq(Code.OK, s.zk().raw(OpCode.sync, new SyncRequest(path), response));
            eq(path, response.getPath());
        }
    }

    @Case("setWatches: catch-up events come before its reply, by list")
    static void setWatches(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        List<String> a = List.of(s.p("/a"));
        List<String> no = List.of(s.p("/no"));
        eq(Code.OK, setWatches(s, 0, a, a, a));
        eq(List.of("NodeDataChanged /a", "NodeCreated /a", "NodeChildrenChanged /a"), s.zk().seen());
        eq(Code.OK, setWatches(s, Long.MAX_VALUE, a, no, a));
        eq(List.of(), s.zk().seen());
        eq(Code.OK, setWatches(s, Long.MAX_VALUE, no, List.of(), no));
        eq(List.of("NodeDeleted /no", "NodeDeleted /no"), s.zk().seen());
    }

    private static Code setWatches(Scene s, long zxid, List<String> data, List<String> exist, List<String> child) throws Exception {
        // The client delivers an event only to watchers that it has registered: these keep listening regardless of the server.
        for (String path : List.of("/a", "/no")) {
            s.zk().addWatch(s.p(path), org.apache.zookeeper.AddWatchMode.PERSISTENT);
        }
        return s.zk().raw(OpCode.setWatches, new SetWatches(zxid, data, exist, child), null);
    }

    @Case("a null list in setWatches is a marshalling error")
    static void setWatchesNull(Scene s) throws Exception {
        eq(Code.MARSHALLINGERROR, s.zk().raw(OpCode.setWatches, new SetWatches(0, null, null, null), null));
        s.zk().exists("/", false);
    }

    @Case("reconfig is disabled")
    static void reconfig(Scene s) throws Exception {
        var events = s.events();
        ZooKeeperAdmin admin = s.keep(new ZooKeeperAdmin(s.servers(), Scene.SESSION_MS, events));
        events.awaitState(KeeperState.SyncConnected, Zk.CONNECT_LIMIT_MS);
        admin.addAuthInfo("digest", bytes("super:admin"));
        code(Code.RECONFIGDISABLED, () -> admin.reconfigure(null, "1", null, -1, null));
    }
}
