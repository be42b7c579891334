package compat.java;

import static compat.harness.Check.eq;
import static compat.java.Znodes.OPEN;

import compat.harness.Case;
import compat.harness.Check;
import compat.harness.Feature;
import compat.harness.Scene;
import java.util.List;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.ZooDefs.OpCode;
import org.apache.zookeeper.proto.DeleteRequest;
import org.apache.zookeeper.proto.ExistsRequest;
import org.apache.zookeeper.proto.ExistsResponse;
import org.apache.zookeeper.proto.GetDataRequest;
import org.apache.zookeeper.proto.GetDataResponse;
import org.apache.zookeeper.proto.SetACLRequest;
import org.apache.zookeeper.proto.SetACLResponse;
import org.apache.zookeeper.proto.SetDataRequest;
import org.apache.zookeeper.proto.SetDataResponse;

/** Paths that the client would reject, sent without its checks. Source: PathUtils, PrepRequestProcessor. */
@Feature("path rules")
final class Paths {
    private static final List<String> INVALID_TAILS =
            List.of("/a/", "//a", "/./a", "/../a", "/.", "/..", "/a\u0001", "/a\u001f", "/a\u007f", "/a\u009f", "/\ue000", "/\ufff0");

    @Case("create validates the path")
    static void create(Scene s) throws Exception {
        Znodes.create(s.zk(), s.p("/a"));
        for (String tail : List.of("/a/", "/a\u0001", "/a\u007f", "/..", "/.", "/\ue000", "/\ufff0")) {
            eq(tail, Code.BADARGUMENTS, Creates.raw(s.zk(), s.p(tail), 0));
        }
        eq(Code.BADARGUMENTS, Creates.raw(s.zk(), "abc", 0));
        eq(Code.BADARGUMENTS, Creates.raw(s.zk(), "", 0));
        eq(Code.BADARGUMENTS, Creates.raw(s.zk(), s.p("/n\u0000l"), 0));
    }

    @Case("create: a missing parent comes before a bad name")
    static void createPrecedence(Scene s) throws Exception {
        s.zk();
        eq(Code.NONODE, Creates.raw(s.zk(), s.p("/no/a/"), 0));
        eq(Code.NONODE, Creates.raw(s.zk(), s.p("/no/\u0001"), 0));
    }

    @Case("names that only look odd are fine")
    static void odd(Scene s) throws Exception {
        for (String name : List.of("/...", "/.a", "/a.", "/ ", "/a:b", "/%00", "/\u00a0")) {
            eq(name, s.p(name), Znodes.create(s.zk(), s.p(name)));
        }
    }

    @Case("setData and setACL validate the path")
    static void setData(Scene s) throws Exception {
        s.zk();
        for (String tail : INVALID_TAILS) {
            SetDataRequest data = new SetDataRequest(s.p(tail), null, -1);
            eq(tail, Code.BADARGUMENTS, s.zk().raw(OpCode.setData, data, new SetDataResponse()));
            SetACLRequest acl = new SetACLRequest(s.p(tail), OPEN, -1);
            eq(tail, Code.BADARGUMENTS, s.zk().raw(OpCode.setACL, acl, new SetACLResponse()));
        }
    }

    @Case("reads do not: an odd path is a missing znode")
    static void reads(Scene s) throws Exception {
        for (String path : List.of(s.p("/"), "xyz", s.root() + "//a", s.p("/..") )) {
            s.zk();
            eq(path, Code.NONODE, s.zk().raw(OpCode.getData, new GetDataRequest(path, false), new GetDataResponse()));
            eq(path, Code.NONODE, s.zk().raw(OpCode.exists, new ExistsRequest(path, false), new ExistsResponse()));
        }
    }

    @Case("exists refuses U+0000")
    static void existsNul(Scene s) throws Exception {
        eq(Code.BADARGUMENTS, s.zk().raw(OpCode.exists, new ExistsRequest("/a\u0000", false), new ExistsResponse()));
    }

    @Case("the empty path reads the root")
    static void empty(Scene s) throws Exception {
        ExistsResponse read = new ExistsResponse();
        eq(Code.OK, s.zk().raw(OpCode.exists, new ExistsRequest("", false), read));
        Check.that(read.getStat().getNumChildren() >= 1, "the root's Stat");
    }

    @Case("delete does not validate, but needs a slash")
    static void delete(Scene s) throws Exception {
        s.zk();
        eq(Code.NONODE, s.zk().raw(OpCode.delete, new DeleteRequest(s.p("/a/"), -1), null));
        eq(Code.BADARGUMENTS, s.zk().raw(OpCode.delete, new DeleteRequest("abc", -1), null));
    }

    @Case("a null path is a marshalling error")
    static void nullPath(Scene s) throws Exception {
        eq(Code.MARSHALLINGERROR, Creates.raw(s.zk(), null, 0));
        eq(Code.MARSHALLINGERROR, s.zk().raw(OpCode.getData, new GetDataRequest(null, false), new GetDataResponse()));
    }
}
