package compat.harness;

import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.function.Supplier;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.KeeperException.Code;

/** Assertions. A failed assertion throws an {@link AssertionError} that names both values. */
public final class Check {
    private Check() {}

    /** A body that may throw anything. */
    public interface Action {
        void run() throws Exception;
    }

    public static void that(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError("expected " + what);
        }
    }

    public static void eq(Object expected, Object actual) {
        eq("value", expected, actual);
    }

    public static void eq(String what, Object expected, Object actual) {
        Object want = widened(expected);
        Object got = widened(actual);
        if (!Objects.equals(want, got)) {
            throw new AssertionError(what + ": expected " + want + ", got " + got);
        }
    }

    /** Checks that the action fails with exactly this code. */
    public static KeeperException code(Code expected, Action action) throws Exception {
        try {
            action.run();
        } catch (KeeperException e) {
            eq("code", expected, e.code());
            return e;
        }
        throw new AssertionError("expected " + expected + ", got success");
    }

    /** Checks that the action fails with an exception of exactly this class. */
    public static <E extends Exception> void fails(Class<E> expected, Action action) {
        Exception thrown = null;
        try {
            action.run();
        } catch (Exception e) {
            thrown = e;
        }
        eq("exception", expected, thrown == null ? null : thrown.getClass());
    }

    /** Waits until the condition holds. On timeout, fails with a description of the state at the end. */
    public static void eventually(long limitMs, Supplier<String> what, Callable<Boolean> condition) throws Exception {
        long deadline = System.nanoTime() + limitMs * 1_000_000;
        while (!condition.call()) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError("not within " + limitMs + " ms: " + what.get());
            }
            Thread.sleep(20);
        }
    }

    public static void eventually(long limitMs, String what, Callable<Boolean> condition) throws Exception {
        eventually(limitMs, () -> what, condition);
    }

    /** Lets {@code eq} compare integers of all widths, and byte arrays by content. */
    private static Object widened(Object value) {
        if (value instanceof Integer i) {
            return i.longValue();
        }
        if (value instanceof byte[] bytes) {
            return bytes.length > 64 ? Arrays.hashCode(bytes) + "#" + bytes.length : new String(bytes, java.nio.charset.StandardCharsets.ISO_8859_1);
        }
        if (value instanceof List<?> list) {
            return list.stream().map(Check::widened).toList();
        }
        return value;
    }
}
