package compat.harness;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Phaser;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Collects cases, runs them, and prints one line for each. Runs ordinary cases first, on a few threads,
 * then those that must run alone, then the waves one after the other.
 */
public final class Suite {
    private static final int WORKERS = 8;
    private static final long CASE_LIMIT_MS = 45_000;

    private record Entry(String feature, String name, Method body) {
        String label() {
            return feature + " / " + name;
        }
    }

    private final String servers = System.getenv().getOrDefault("ZK_CONNECT", "127.0.0.1:2181");
    private final String prefix;
    private final String only;
    private final List<Entry> parallel = new ArrayList<>();
    private final List<Entry> alone = new ArrayList<>();
    private final Map<String, List<Entry>> waves = new LinkedHashMap<>();
    private final AtomicInteger started = new AtomicInteger();
    private final AtomicBoolean failed = new AtomicBoolean();

    /** @param only runs only the cases whose label contains it; empty for all (a convenience for developers) */
    public Suite(String client, String only) {
        this.prefix = "/" + client + "-" + Long.toString(System.nanoTime(), 36) + "-";
        this.only = only;
    }

    public Suite add(Class<?>... classes) {
        for (Class<?> type : classes) {
            for (Method method : type.getDeclaredMethods()) {
                if (method.isAnnotationPresent(Case.class)) {
                    add(type, method);
                }
            }
        }
        return this;
    }

    private void add(Class<?> type, Method method) {
        Case declared = method.getAnnotation(Case.class);
        String feature = declared.feature().isEmpty() ? type.getAnnotation(Feature.class).value() : declared.feature();
        Entry entry = new Entry(feature, declared.value(), method);
        if (!entry.label().contains(only)) {
            return;
        }
        method.setAccessible(true);
        Wave wave = method.getAnnotation(Wave.class);
        if (wave != null) {
            waves.computeIfAbsent(wave.value(), action -> new ArrayList<>()).add(entry);
        } else if (method.isAnnotationPresent(Alone.class)) {
            alone.add(entry);
        } else {
            parallel.add(entry);
        }
    }

    /** Runs all cases and ends the process, with exit code 0 if and only if there were cases and all passed. */
    public void runAndExit() throws InterruptedException {
        all(WORKERS, parallel, null);
        all(1, alone, null);
        for (Map.Entry<String, List<Entry>> wave : waves.entrySet()) {
            all(wave.getValue().size(), wave.getValue(), phaser(wave.getKey(), wave.getValue().size()));
        }
        System.out.flush();
        System.exit(failed.get() || started.get() == 0 ? 1 : 0);
    }

    private void all(int threads, List<Entry> entries, Phaser wave) throws InterruptedException {
        ExecutorService workers = Executors.newFixedThreadPool(Math.max(1, threads));
        entries.forEach(entry -> workers.submit(() -> report(entry, run(entry, wave))));
        workers.shutdown();
        workers.awaitTermination(1, TimeUnit.HOURS);
    }

    /** Advances when every case of the wave has arrived or ended, after carrying out the action on the server. */
    private static Phaser phaser(String action, int parties) {
        return new Phaser(parties) {
            @Override
            protected boolean onAdvance(int phase, int registered) {
                // The phase also advances when the last case leaves; then no case waits for the server.
                if (registered > 0) {
                    List.of(action.split(" ")).forEach(Ctl::run);
                }
                return registered == 0;
            }
        };
    }

    /** Runs one case on a thread of its own, so that a case that hangs does not hang the suite. */
    private Throwable run(Entry entry, Phaser wave) {
        Throwable[] outcome = new Throwable[1];
        Scene scene = new Scene(servers, prefix + started.incrementAndGet(), wave);
        Thread thread = new Thread(() -> outcome[0] = attempt(entry, scene), entry.label());
        thread.setDaemon(true);
        thread.start();
        try {
            thread.join(CASE_LIMIT_MS);
        } catch (InterruptedException e) {
            return e;
        }
        StackTraceElement[] where = thread.getStackTrace();
        if (wave != null) {
            wave.arriveAndDeregister();
        }
        if (thread.isAlive()) {
            thread.interrupt();
            return new AssertionError("still running after " + CASE_LIMIT_MS + " ms" + at(where));
        }
        return outcome[0];
    }

    private static Throwable attempt(Entry entry, Scene scene) {
        try (scene) {
            entry.body().invoke(null, scene);
            return null;
        } catch (InvocationTargetException e) {
            return e.getCause();
        } catch (IllegalAccessException e) {
            return e;
        }
    }

    private void report(Entry entry, Throwable failure) {
        String line = "ok " + entry.label();
        if (failure != null) {
            failed.set(true);
            String reason = failure instanceof AssertionError ? failure.getMessage() : failure.toString();
            line = "not " + line + " # " + (reason + at(failure.getStackTrace())).replaceAll("\\s+", " ");
        }
        synchronized (System.out) {
            System.out.println(line);
            System.out.flush();
        }
    }

    /** Returns the innermost stack frame in the case itself. */
    private static String at(StackTraceElement[] trace) {
        for (StackTraceElement frame : trace) {
            if (frame.getClassName().startsWith("compat.") && !frame.getClassName().startsWith("compat.harness.")) {
                return " (" + frame.getFileName() + ":" + frame.getLineNumber() + ")";
            }
        }
        return "";
    }
}
