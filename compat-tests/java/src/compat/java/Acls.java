package compat.java;

import static compat.harness.Check.code;
import static compat.harness.Check.eq;
import static compat.java.Znodes.OPEN;
import static compat.java.Znodes.bytes;
import static compat.java.Znodes.create;
import static compat.java.Znodes.stat;

import compat.harness.Case;
import compat.harness.Feature;
import compat.harness.Scene;
import compat.harness.Zk;
import java.util.Arrays;
import java.util.List;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooDefs.OpCode;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.Stat;
import org.apache.zookeeper.proto.CreateRequest;
import org.apache.zookeeper.proto.CreateResponse;
import org.apache.zookeeper.server.auth.DigestAuthenticationProvider;

/** The stored form of an ACL, and the form that getACL returns. Source: PrepRequestProcessor.fixupACL, FinalRequestProcessor. */
@Feature("acl")
final class Acls {
    static ACL acl(int perms, String scheme, String id) {
        return new ACL(perms, new Id(scheme, id));
    }

    /** Returns a list that supports contains(null), which the client calls. */
    static List<ACL> acls(ACL... entries) {
        return Arrays.asList(entries);
    }

    static ACL digest(int perms, String userAndPassword) throws Exception {
        return acl(perms, "digest", DigestAuthenticationProvider.generateDigest(userAndPassword));
    }

    static Zk authenticated(Scene s, String userAndPassword) throws Exception {
        Zk zk = s.connect();
        zk.addAuthInfo("digest", bytes(userAndPassword));
        return zk;
    }

    @Case("getACL returns list and Stat")
    static void get(Scene s) throws Exception {
        Stat read = new Stat();
        create(s.zk(), s.p("/a"));
        eq(OPEN, s.zk().getACL(s.p("/a"), read));
        eq(stat(s.zk(), s.p("/a")), read);
    }

    @Case("setACL changes aversion only")
    static void set(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        Stat expected = stat(s.zk(), s.p("/a"));
        expected.setAversion(1);
        eq(expected, s.zk().setACL(s.p("/a"), OPEN, 0));
        eq(expected, stat(s.zk(), s.p("/a")));
    }

    @Case("setACL: BadVersion counts aversion")
    static void setBadVersion(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        s.zk().setData(s.p("/a"), null, -1);
        code(Code.BADVERSION, () -> s.zk().setACL(s.p("/a"), OPEN, 1));
        eq(1, s.zk().setACL(s.p("/a"), OPEN, 0).getAversion());
        eq(2, s.zk().setACL(s.p("/a"), OPEN, -1).getAversion());
    }

    @Case("NoNode")
    static void noNode(Scene s) throws Exception {
        code(Code.NONODE, () -> s.zk().getACL(s.p("/no"), null));
        code(Code.NONODE, () -> s.zk().setACL(s.p("/no"), OPEN, -1));
    }

    @Case("invalid lists are refused, whoever makes them")
    static void invalid(Scene s) throws Exception {
        for (List<ACL> list : Arrays.asList(null, List.<ACL>of(), acls(acl(31, "foo", "x")), acls(acl(31, "world", "bar")),
                Ids.CREATOR_ALL_ACL, acls(acl(31, "ip", "1.2.3")), acls(acl(31, "ip", "1.2.3.4/33")), acls(acl(31, "digest", "nocolon")),
                acls(acl(31, "digest", "a:b:c")), acls(acl(31, "super", "")))) {
            s.zk();
            CreateRequest request = new CreateRequest(s.p("/a"), null, list, 0);
            eq(String.valueOf(list), Code.INVALIDACL, s.zk().raw(OpCode.create, request, new CreateResponse()));
        }
    }

    @Case("InvalidACL comes before a missing parent")
    static void invalidPrecedence(Scene s) throws Exception {
        code(Code.INVALIDACL, () -> s.zk().create(s.p("/no/a"), null, Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT));
        code(Code.INVALIDACL, () -> s.zk().setACL(s.p("/no/a"), Ids.CREATOR_ALL_ACL, -1));
    }

    @Case("duplicates are dropped, order is kept")
    static void duplicates(Scene s) throws Exception {
        ACL ip = acl(Perms.READ, "ip", "10.0.0.1");
        ACL world = acl(Perms.ALL, "world", "anyone");
        s.zk().create(s.p("/a"), null, acls(ip, world, ip), CreateMode.PERSISTENT);
        eq(List.of(ip, world), s.zk().getACL(s.p("/a"), null));
    }

    @Case("permission bits are stored as given")
    static void oddPerms(Scene s) throws Exception {
        List<ACL> list = acls(acl(Perms.ALL, "world", "anyone"), acl(64, "ip", "10.0.0.0/8"), acl(0, "digest", ":x"));
        s.zk().create(s.p("/a"), null, list, CreateMode.PERSISTENT);
        eq(list, s.zk().getACL(s.p("/a"), null));
    }

    @Case("auth becomes the creator's digests")
    static void auth(Scene s) throws Exception {
        s.zk();
        Zk ann = authenticated(s, "ann:pw");
        ann.create(s.p("/a"), null, Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
        eq(acls(digest(Perms.ALL, "ann:pw")), ann.getACL(s.p("/a"), null));
    }

    @Case("auth with two identities becomes two entries")
    static void authTwice(Scene s) throws Exception {
        s.zk();
        Zk both = authenticated(s, "ann:pw");
        both.addAuthInfo("digest", bytes("bob:pw"));
        both.create(s.p("/a"), null, acls(acl(Perms.ALL, "auth", "ignored")), CreateMode.PERSISTENT);
        eq(java.util.Set.of(digest(Perms.ALL, "ann:pw"), digest(Perms.ALL, "bob:pw")), java.util.Set.copyOf(both.getACL(s.p("/a"), null)));
    }

    @Case("a reader who is no admin sees digests masked")
    static void masked(Scene s) throws Exception {
        List<ACL> list = acls(digest(Perms.ALL, "ann:pw"), acl(Perms.READ, "world", "anyone"));
        s.zk().create(s.p("/a"), null, list, CreateMode.PERSISTENT);
        eq(acls(acl(Perms.ALL, "digest", "ann:x"), acl(Perms.READ, "world", "anyone")), s.zk().getACL(s.p("/a"), null));
        eq(list, authenticated(s, "ann:pw").getACL(s.p("/a"), null));
    }

    @Case("the system znodes' ACLs")
    static void system(Scene s) throws Exception {
        eq(OPEN, s.zk().getACL("/zookeeper", null));
        eq(OPEN, s.zk().getACL("/zookeeper/quota", null));
        eq(Ids.READ_ACL_UNSAFE, s.zk().getACL("/zookeeper/config", null));
    }
}
