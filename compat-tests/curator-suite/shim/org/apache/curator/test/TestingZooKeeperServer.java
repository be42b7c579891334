package org.apache.curator.test;

import java.io.Closeable;
import java.io.File;
import java.io.FileWriter;
import java.io.IOException;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.file.Files;
import java.util.Collection;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.zookeeper.server.quorum.QuorumPeerConfig;

/** Replaces Curator's class of the same name: the server is a process of $OXKEEPER, with the same zoo.cfg. */
public class TestingZooKeeperServer implements Closeable {
    private static final long START_TIMEOUT_MS = 30_000;
    private static final long STOP_TIMEOUT_S = 10;

    private final QuorumConfigBuilder builder;
    private final int index;
    /** The client port; it stays the same after a restart. */
    private int port;
    private Process process;
    private boolean closed;

    public TestingZooKeeperServer(QuorumConfigBuilder builder) {
        this(builder, 0);
    }

    public TestingZooKeeperServer(QuorumConfigBuilder builder, int index) {
        this.builder = builder;
        this.index = index;
        // Stops the server even if a test does not.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> end(true)));
    }

    public Collection<InstanceSpec> getInstanceSpecs() {
        return builder.getInstanceSpecs();
    }

    public InstanceSpec getInstanceSpec() {
        return builder.getInstanceSpec(index);
    }

    public synchronized int getLocalPort() {
        if (port == 0) {
            int wanted = getInstanceSpec().getPort();
            port = wanted != 0 ? wanted : InstanceSpec.getRandomPort();
        }
        return port;
    }

    public synchronized void start() throws Exception {
        if (closed || process != null) {
            return;
        }
        File directory = getInstanceSpec().getDataDirectory();
        Files.createDirectories(directory.toPath());
        Properties properties = builder.buildConfigProperties(index);
        properties.setProperty("dataDir", directory.getPath());
        if (builder.size() > 1) {
            Files.writeString(new File(directory, "myid").toPath(), getInstanceSpec().getServerId() + "\n");
        } else {
            properties.setProperty("clientPort", Integer.toString(getLocalPort()));
        }
        properties.setProperty("admin.enableServer", "false");
        // A test sets this on the server's classes in its own JVM.
        properties.setProperty("reconfigEnabled", Boolean.toString(QuorumPeerConfig.isReconfigEnabled()));
        properties.setProperty("4lw.commands.whitelist", "*");
        File config = new File(directory, "zoo.cfg");
        try (FileWriter out = new FileWriter(config)) {
            for (String name : properties.stringPropertyNames()) {
                out.write(name + "=" + properties.getProperty(name) + "\n");
            }
        }
        ProcessBuilder command = new ProcessBuilder(System.getenv("OXKEEPER"), "serve", "--config", config.getPath());
        command.environment().put("SERVER_JVMFLAGS", flags());
        command.redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.appendTo(new File(directory, "server.log")));
        process = command.start();
        // A member of an ensemble does not serve before the others are running.
        if (builder.size() == 1) {
            awaitServing();
        }
    }

    /** Returns the properties that a test sets for a server in its own JVM. */
    private static String flags() {
        return System.getProperties().stringPropertyNames().stream()
                .filter(name -> name.startsWith("zookeeper.") || name.startsWith("znode."))
                .map(name -> "-D" + name + "=" + System.getProperty(name))
                .collect(Collectors.joining(" "));
    }

    private void awaitServing() throws Exception {
        long deadline = System.currentTimeMillis() + START_TIMEOUT_MS;
        while (!serves()) {
            if (System.currentTimeMillis() > deadline || !process.isAlive()) {
                throw new FailedServerStartException("oxkeeper does not serve: " + getInstanceSpec());
            }
            Thread.sleep(10);
        }
    }

    private boolean serves() {
        try (Socket socket = new Socket()) {
            socket.connect(new InetSocketAddress("127.0.0.1", getLocalPort()), 1000);
            OutputStream out = socket.getOutputStream();
            out.write("srvr".getBytes());
            return new String(socket.getInputStream().readAllBytes()).contains("Mode:");
        } catch (IOException e) {
            return false;
        }
    }

    private synchronized void end(boolean forcibly) {
        if (process == null) {
            return;
        }
        if (forcibly) {
            process.destroyForcibly();
        } else {
            process.destroy();
        }
        try {
            if (!process.waitFor(STOP_TIMEOUT_S, TimeUnit.SECONDS)) {
                process.destroyForcibly().waitFor();
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            process.destroyForcibly();
        }
        process = null;
    }

    public void kill() {
        end(true);
    }

    public void restart() throws Exception {
        if (closed) {
            throw new IllegalStateException("closed");
        }
        end(false);
        start();
    }

    public void stop() throws IOException {
        end(false);
    }

    @Override
    public synchronized void close() throws IOException {
        end(false);
        if (!closed && getInstanceSpec().deleteDataDirectoryOnClose()) {
            DirectoryUtils.deleteRecursively(getInstanceSpec().getDataDirectory());
        }
        closed = true;
    }
}
