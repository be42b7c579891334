package compat.curator;

import static compat.curator.Clients.LIMIT_MS;
import static compat.curator.Clients.client;
import static compat.harness.Check.eq;
import static compat.harness.Check.that;

import compat.harness.Case;
import compat.harness.Check;
import compat.harness.Feature;
import compat.harness.Scene;
import java.util.List;
import java.util.Set;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.x.discovery.ServiceDiscovery;
import org.apache.curator.x.discovery.ServiceDiscoveryBuilder;
import org.apache.curator.x.discovery.ServiceInstance;
import org.apache.curator.x.discovery.ServiceProvider;

/** curator-x-discovery, a service registry. */
@Feature("ServiceDiscovery")
final class Discovery {
    private static ServiceDiscovery<Void> discovery(Scene s, CuratorFramework client) throws Exception {
        ServiceDiscovery<Void> discovery = s.keep(ServiceDiscoveryBuilder.builder(Void.class).client(client).basePath(s.root()).build());
        discovery.start();
        return discovery;
    }

    private static ServiceInstance<Void> instance(String id, int port) throws Exception {
        return ServiceInstance.<Void>builder().name("web").id(id).address("127.0.0.1").port(port).build();
    }

    @Case("register, query, unregister")
    static void registry(Scene s) throws Exception {
        ServiceDiscovery<Void> one = discovery(s, client(s));
        ServiceDiscovery<Void> two = discovery(s, client(s));
        one.registerService(instance("a", 1));
        two.registerService(instance("b", 2));
        eq(List.of("web"), List.copyOf(two.queryForNames()));
        eq(2, two.queryForInstances("web").size());
        eq(1, two.queryForInstance("web", "a").getPort());
        one.unregisterService(instance("a", 1));
        eq(List.of("b"), two.queryForInstances("web").stream().map(ServiceInstance::getId).toList());
    }

    @Case("a provider follows services as they come and go")
    static void provider(Scene s) throws Exception {
        ServiceProvider<Void> provider = s.keep(discovery(s, client(s)).serviceProviderBuilder().serviceName("web").build());
        provider.start();
        eq(null, provider.getInstance());
        CuratorFramework serving = client(s);
        discovery(s, serving).registerService(instance("a", 1));
        discovery(s, client(s)).registerService(instance("b", 2));
        Check.eventually(LIMIT_MS, "two instances", () -> provider.getAllInstances().size() == 2);
        that(Set.of(1, 2).contains(provider.getInstance().getPort()), "one of the two");
        serving.close();
        Check.eventually(LIMIT_MS, "one instance", () -> provider.getAllInstances().size() == 1);
        eq(2, provider.getInstance().getPort());
    }
}
