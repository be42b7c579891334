package compat.harness;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.ArrayList;
import java.util.List;

/**
 * A TCP relay in front of the server, so that a case decides when a client is disconnected. Owns its
 * listener and the sockets of the connections that run through it.
 */
public final class Proxy implements AutoCloseable {
    private final InetSocketAddress server;
    private final ServerSocket listener;
    private final List<Socket> sockets = new ArrayList<>();
    private boolean open = true;

    /** @param servers a connection string; the relay leads to its first server */
    public Proxy(String servers) throws IOException {
        String[] parts = servers.split(",")[0].split(":");
        this.server = new InetSocketAddress(parts[0], Integer.parseInt(parts[1]));
        this.listener = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
        daemon(this::accept);
    }

    public String address() {
        return "127.0.0.1:" + listener.getLocalPort();
    }

    /** Cuts all connections, and every new one until {@link #restore}. */
    public synchronized void cut() {
        open = false;
        sockets.forEach(Proxy::shut);
        sockets.clear();
    }

    public synchronized void restore() {
        open = true;
    }

    @Override
    public void close() throws IOException {
        cut();
        listener.close();
    }

    private void accept() {
        while (!listener.isClosed()) {
            Socket client = null;
            try {
                client = listener.accept();
                relay(client);
            } catch (IOException e) {
                // The listener was closed, or the server is down. The client notices that its socket is closed.
                shut(client);
            }
        }
    }

    private synchronized void relay(Socket client) throws IOException {
        if (!open) {
            shut(client);
            return;
        }
        Socket upstream = new Socket();
        upstream.connect(server, 5_000);
        upstream.setTcpNoDelay(true);
        client.setTcpNoDelay(true);
        sockets.add(client);
        sockets.add(upstream);
        daemon(() -> copy(client, upstream));
        daemon(() -> copy(upstream, client));
    }

    private static void copy(Socket from, Socket to) {
        try (InputStream in = from.getInputStream(); OutputStream out = to.getOutputStream()) {
            in.transferTo(out);
        } catch (IOException e) {
            // One side has closed its socket, so the other is closed, too.
            shut(from);
        } finally {
            shut(from);
            shut(to);
        }
    }

    private static void shut(Socket socket) {
        try {
            if (socket != null) {
                socket.close();
            }
        } catch (IOException e) {
            throw new IllegalStateException("a socket that cannot be closed", e);
        }
    }

    private static void daemon(Runnable body) {
        Thread thread = new Thread(body, "proxy");
        thread.setDaemon(true);
        thread.start();
    }
}
