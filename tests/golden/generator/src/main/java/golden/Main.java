package golden;

import com.alibaba.fastjson2.JSON;
import com.alibaba.fastjson2.JSONArray;
import com.alibaba.fastjson2.JSONObject;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Writes the golden documents into a folder, or compares a folder with what the classes produce now. */
public final class Main {
    private static final List<String> DEPENDS_ON_ZLIB = List.of("hex", "body", "storeSize", "bodyCrc", "crc32");

    public static void main(String[] args) {
        int status = 1;
        try {
            status = run(args);
        } catch (Exception e) {
            e.printStackTrace();
        }
        // The broker classes leave threads behind.
        System.exit(status);
    }

    private static int run(String[] args) throws Exception {
        if (args.length != 2 || !(args[0].equals("write") || args[0].equals("check"))) {
            System.err.println("usage: golden write|check FOLDER");
            return 2;
        }
        Path folder = Path.of(args[1]);
        boolean fresh = true;
        for (Map.Entry<String, Cases> document : documents().entrySet()) {
            Path file = folder.resolve(document.getKey());
            if (args[0].equals("write")) {
                Files.writeString(file, document.getValue().text());
                System.out.printf("%s: %d cases%n", file, document.getValue().size());
            } else {
                fresh &= isFresh(file, document.getValue());
            }
        }
        return fresh ? 0 : 1;
    }

    private static Map<String, Cases> documents() throws Exception {
        Map<String, Cases> documents = new LinkedHashMap<>();
        documents.put("frames.json", Frames.cases());
        documents.put("bodies.json", Bodies.cases());
        documents.put("records.json", Records.cases());
        documents.put("store-files.json", StoreFiles.cases());
        documents.put("config-files.json", ConfigFiles.cases());
        documents.put("filters.json", Filters.cases());
        return documents;
    }

    /** Deflated bytes depend on the zlib of the machine, so of those only the value is compared. */
    private static boolean isFresh(Path file, Cases now) throws Exception {
        JSONArray old = JSON.parseArray(Files.readString(file));
        JSONArray made = JSON.parseArray(now.text());
        if (old.size() != made.size()) {
            System.out.printf("STALE %s: %d cases, now %d%n", file, old.size(), made.size());
            return false;
        }
        boolean fresh = true;
        for (int i = 0; i < old.size(); i++) {
            JSONObject before = old.getJSONObject(i);
            JSONObject after = made.getJSONObject(i);
            if ("deflate".equals(after.getString("codec"))) {
                DEPENDS_ON_ZLIB.forEach(before::remove);
                DEPENDS_ON_ZLIB.forEach(after::remove);
            }
            if (!before.equals(after)) {
                System.out.printf("STALE %s: %s%n", file, after.getString("name"));
                fresh = false;
            }
        }
        return fresh;
    }

    private Main() {
    }
}
