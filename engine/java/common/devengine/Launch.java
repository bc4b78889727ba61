package devengine;

import java.io.IOException;
import java.lang.reflect.Method;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.KeyStoreWrapper;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginsLoader;

/**
 * Starts one Elasticsearch node: Launch HOME CONFIG [setting=value ...].
 *
 * The official launcher refuses to run as root and asks for the vector module. HOME (lib, modules, plugins) is only read
 * and shared by all nodes; CONFIG, and the folders that path.data, path.logs and path.repo name, are one node's own.
 */
public final class Launch {
    private static final int HALT_SECONDS = 10;

    private static Object bundles(String method, Path dir) throws Exception {
        for (Method m : PluginsLoader.class.getMethods()) {
            if (m.getName().equals(method)) {   // (Path) up to 9.1, (Path, boolean) later
                return m.getParameterCount() == 1 ? m.invoke(null, dir) : m.invoke(null, dir, false);
            }
        }
        throw new NoSuchMethodException(method);
    }

    /** End when the pipe on stdin closes, that is when the process at its other end is gone; also while still booting. */
    private static void endWithParent() {
        Thread watch = new Thread(() -> {
            try {
                while (System.in.read() >= 0) { }
            } catch (IOException closed) {
                System.err.println("stdin: " + closed);
            }
            Thread halt = new Thread(() -> {
                try {
                    TimeUnit.SECONDS.sleep(HALT_SECONDS);
                } catch (InterruptedException now) {
                    Thread.currentThread().interrupt();
                }
                Runtime.getRuntime().halt(1);
            }, "dev-engine-halt");
            halt.setDaemon(true);
            halt.start();
            System.exit(0);
        }, "dev-engine-parent-watch");
        watch.setDaemon(true);
        watch.start();
    }

    /** The password of the user "elastic" comes from a file, so that it is on no command line. */
    private static void addPassword(Settings.Builder settings, Path file) throws Exception {
        if (Files.exists(file) == false) return;
        KeyStoreWrapper keystore = KeyStoreWrapper.create();
        keystore.setString("bootstrap.password", Files.readString(file).strip().toCharArray());
        settings.setSecureSettings(keystore);
    }

    @SuppressWarnings({"unchecked", "rawtypes"})
    public static void main(String[] a) throws Exception {
        if (Boolean.getBoolean("devengine.exit.on.stdin.eof")) endWithParent();
        Path home = Path.of(a[0]).toAbsolutePath(), config = Path.of(a[1]).toAbsolutePath();
        System.setProperty("es.path.home", home.toString());
        System.setProperty("es.path.conf", config.toString());
        Settings.Builder b = Settings.builder().put("path.home", home.toString());
        for (int i = 2; i < a.length; i++) {
            String[] kv = a[i].split("=", 2);
            if (kv[1].contains(",")) b.putList(kv[0], kv[1].split(",")); else b.put(kv[0], kv[1]);
        }
        addPassword(b, config.resolve("bootstrap-password"));
        Environment env = new Environment(b.build(), config);
        LogConfigurator.registerErrorListener();
        LogConfigurator.setNodeName(Node.NODE_NAME_SETTING.get(env.settings()));
        LogConfigurator.configure(env, true);
        PluginsLoader loader = PluginsLoader.createPluginsLoader(
            (Set) bundles("loadModulesBundles", home.resolve("modules")),
            (Set) bundles("loadPluginsBundles", home.resolve("plugins")),
            Map.of(), false);
        Node node = new Node(env, loader);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                node.close();
                node.awaitClose(HALT_SECONDS, TimeUnit.SECONDS);
            } catch (Exception e) {
                e.printStackTrace();
            }
        }));
        node.start();
        System.out.println("STARTED pid=" + ProcessHandle.current().pid());
        Thread.currentThread().join();
    }
}
