package compat.java;

import static compat.harness.Check.code;
import static compat.harness.Check.eq;
import static compat.java.Acls.acl;
import static compat.java.Acls.acls;
import static compat.java.Acls.authenticated;
import static compat.java.Acls.digest;
import static compat.java.Znodes.OPEN;
import static compat.java.Znodes.bytes;
import static compat.java.Znodes.codes;
import static compat.java.Znodes.create;
import static compat.java.Znodes.createOp;

import compat.harness.Case;
import compat.harness.Check;
import compat.harness.Ctl;
import compat.harness.Feature;
import compat.harness.Scene;
import compat.harness.Zk;
import java.util.List;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.data.ACL;

/** The permission that each operation needs, and on which znode. Source: ZooKeeperServer.checkACL and the request processors. */
@Feature("acl checks")
final class AclChecks {
    private static final String OWNER = "ann:pw";

    /** Creates a znode that grants these permissions to the world and all permissions to its owner. */
    private static String guarded(Scene s, int worldPerms) throws Exception {
        String path = s.p("/g");
        s.zk().create(path, bytes("data"), acls(digest(Perms.ALL, OWNER), acl(worldPerms, "world", "anyone")), CreateMode.PERSISTENT);
        return path;
    }

    /** Checks which of the single permissions allow an operation. */
    private static void needs(Scene s, int needed, Check.Action action) throws Exception {
        String path = guarded(s, Perms.ALL);
        Zk owner = authenticated(s, OWNER);
        for (int perm : new int[] {Perms.READ, Perms.WRITE, Perms.CREATE, Perms.DELETE, Perms.ADMIN}) {
            owner.setACL(path, acls(digest(Perms.ALL, OWNER), acl(perm, "world", "anyone")), -1);
            Ctl.settle();
            if ((perm & needed) != 0) {
                action.run();
            } else {
                eq("path", path, pathOf(code(Code.NOAUTH, action), path));
            }
        }
    }

    /** Some operations report their own path rather than that of the znode whose ACL denied them. */
    private static String pathOf(KeeperException e, String guarded) {
        return e.getPath().startsWith(guarded) ? guarded : e.getPath();
    }

    @Case("getData needs READ")
    static void getData(Scene s) throws Exception {
        needs(s, Perms.READ, () -> s.zk().getData(s.p("/g"), false, null));
    }

    @Case("exists needs READ on a znode that is there")
    static void exists(Scene s) throws Exception {
        needs(s, Perms.READ, () -> s.zk().exists(s.p("/g"), false));
        eq(null, s.zk().exists(s.p("/g/no"), false));
    }

    @Case("getChildren and getAllChildrenNumber need READ")
    static void getChildren(Scene s) throws Exception {
        needs(s, Perms.READ, () -> s.zk().getChildren(s.p("/g"), false));
        code(Code.NOAUTH, () -> s.zk().getAllChildrenNumber(s.p("/g")));
    }

    @Case("setData needs WRITE")
    static void setData(Scene s) throws Exception {
        needs(s, Perms.WRITE, () -> s.zk().setData(s.p("/g"), bytes("x"), -1));
    }

    @Case("create needs CREATE on the parent")
    static void createChild(Scene s) throws Exception {
        needs(s, Perms.CREATE, () -> create(s.zk(), s.p("/g/c-"), CreateMode.PERSISTENT_SEQUENTIAL));
    }

    @Case("delete needs DELETE on the parent")
    static void deleteChild(Scene s) throws Exception {
        needs(s, Perms.DELETE, () -> {
            try {
                s.zk().delete(s.p("/g/no"), -1);
            } catch (KeeperException.NoNodeException e) {
                return;
            }
        });
    }

    @Case("the znode's own ACL does not protect it from delete")
    static void deleteSelf(Scene s) throws Exception {
        guarded(s, 0);
        s.zk().delete(s.p("/g"), -1);
    }

    @Case("setACL needs ADMIN")
    static void setAcl(Scene s) throws Exception {
        String path = guarded(s, Perms.ALL & ~Perms.ADMIN);
        code(Code.NOAUTH, () -> s.zk().setACL(path, OPEN, -1));
        Zk owner = authenticated(s, OWNER);
        owner.setACL(path, acls(digest(Perms.ALL, OWNER), acl(Perms.ADMIN, "world", "anyone")), -1);
        Ctl.settle();
        eq(2, s.zk().setACL(path, OPEN, 1).getAversion());
    }

    @Case("getACL needs READ or ADMIN")
    static void getAcl(Scene s) throws Exception {
        needs(s, Perms.READ | Perms.ADMIN, () -> s.zk().getACL(s.p("/g"), null));
    }

    @Case("NoAuth on the parent comes before NodeExists and NoNode")
    static void parentFirst(Scene s) throws Exception {
        String path = guarded(s, Perms.READ);
        Zk owner = authenticated(s, OWNER);
        create(owner, path + "/a");
        code(Code.NOAUTH, () -> create(s.zk(), path + "/a"));
        code(Code.NOAUTH, () -> s.zk().delete(path + "/no", -1));
    }

    @Case("NoAuth comes before BadVersion, NoNode before NoAuth")
    static void precedence(Scene s) throws Exception {
        String path = guarded(s, Perms.READ);
        code(Code.NOAUTH, () -> s.zk().setData(path, null, 99));
        code(Code.NOAUTH, () -> s.zk().setACL(path, OPEN, 99));
        code(Code.NONODE, () -> s.zk().setData(path + "/no", null, 99));
    }

    @Case("multi checks every operation")
    static void multi(Scene s) throws Exception {
        String path = guarded(s, Perms.READ);
        KeeperException e = code(Code.NOAUTH, () -> s.zk().multi(List.of(createOp(s.p("/a")), Op.check(path, 0), Op.setData(path, null, -1))));
        eq(List.of(Code.OK, Code.OK, Code.NOAUTH), codes(e.getResults()));
        eq(null, s.zk().exists(s.p("/a"), false));
    }

    @Case("a check in a multi needs READ")
    static void multiCheck(Scene s) throws Exception {
        String path = guarded(s, Perms.WRITE);
        code(Code.NOAUTH, () -> s.zk().multi(List.of(Op.check(path, 0))));
    }

    @Case("an identity counts from its request on, and adds up")
    static void identities(Scene s) throws Exception {
        s.zk().create(s.p("/ann"), null, acls(digest(Perms.ALL, "ann:pw")), CreateMode.PERSISTENT);
        s.zk().create(s.p("/bob"), null, acls(digest(Perms.ALL, "bob:pw")), CreateMode.PERSISTENT);
        Zk zk = s.connect();
        code(Code.NOAUTH, () -> zk.getData(s.p("/ann"), false, null));
        zk.addAuthInfo("digest", bytes("ann:wrong"));
        code(Code.NOAUTH, () -> zk.getData(s.p("/ann"), false, null));
        zk.addAuthInfo("digest", bytes("ann:pw"));
        zk.addAuthInfo("digest", bytes("bob:pw"));
        zk.getData(s.p("/ann"), false, null);
        zk.getData(s.p("/bob"), false, null);
    }

    @Case("super may do everything")
    static void superUser(Scene s) throws Exception {
        String path = guarded(s, 0);
        Zk root = authenticated(s, "super:admin");
        root.getData(path, false, null);
        root.setData(path, bytes("x"), 0);
        create(root, path + "/a");
        root.setACL(path, OPEN, 0);
        eq(OPEN, s.zk().getACL(path, null));
    }

    @Case("super with a wrong password is nobody")
    static void notSuper(Scene s) throws Exception {
        String path = guarded(s, 0);
        Zk zk = authenticated(s, "super:wrong");
        code(Code.NOAUTH, () -> zk.getData(path, false, null));
    }

    @Case("ip entries, with and without prefix length")
    static void ip(Scene s) throws Exception {
        for (String id : List.of("127.0.0.1", "127.0.0.0/8", "127.0.0.1/32", "0.0.0.0/0", "127.255.0.0/9")) {
            boolean matches = !id.endsWith("/9");
            String path = s.p("/" + id.replace('/', '_'));
            s.zk().create(path, bytes("data"), acls(acl(Perms.READ, "ip", id)), CreateMode.PERSISTENT);
            if (matches) {
                eq(bytes("data"), s.zk().getData(path, false, null));
            } else {
                code(Code.NOAUTH, () -> s.zk().getData(path, false, null));
            }
        }
        s.zk().create(s.p("/other"), null, acls(acl(Perms.ALL, "ip", "10.1.2.3")), CreateMode.PERSISTENT);
        code(Code.NOAUTH, () -> s.zk().getData(s.p("/other"), false, null));
    }

    @Case("an unknown scheme ends the connection with AuthFailed")
    static void unknownScheme(Scene s) throws Exception {
        s.zk();
        Zk zk = s.connect();
        zk.addAuthInfo("nonsense", bytes("x"));
        zk.events().awaitState(KeeperState.AuthFailed, Zk.CONNECT_LIMIT_MS);
        code(Code.AUTHFAILED, () -> zk.getData(s.root(), false, null));
    }

    @Case("identities are sent again after a reconnect")
    static void reconnect(Scene s) throws Exception {
        String path = guarded(s, 0);
        Zk owner = authenticated(s, OWNER);
        owner.getData(path, false, null);
        owner.cutConnection();
        owner.awaitConnected();
        owner.getData(path, false, null);
    }

    @Case("an ephemeral znode's ACL does not keep it from going with its session")
    static void ephemeral(Scene s) throws Exception {
        String path = guarded(s, 0);
        Zk owner = authenticated(s, OWNER);
        List<ACL> nobody = acls(digest(Perms.ALL, "nobody:pw"));
        owner.create(path + "/e", null, nobody, CreateMode.EPHEMERAL);
        owner.setACL(path, nobody, -1);
        owner.close();
        Zk root = authenticated(s, "super:admin");
        eq(List.of(), root.getChildren(path, false));
    }
}
