package golden;

import com.alibaba.fastjson2.JSON;
import com.alibaba.fastjson2.JSONWriter;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** One golden document: a list of cases in the order in which they were added. */
final class Cases {
    private final List<Map<String, Object>> cases = new ArrayList<>();

    /** Starts a case; names are unique in a document. */
    Map<String, Object> add(String name) {
        if (cases.stream().anyMatch(c -> c.get("name").equals(name))) {
            throw new IllegalArgumentException("two cases named " + name);
        }
        Map<String, Object> made = new LinkedHashMap<>();
        made.put("name", name);
        cases.add(made);
        return made;
    }

    int size() {
        return cases.size();
    }

    String text() {
        StringBuilder text = new StringBuilder("[\n");
        for (int i = 0; i < cases.size(); i++) {
            text.append(JSON.toJSONString(cases.get(i), JSONWriter.Feature.WriteMapNullValue));
            text.append(i + 1 < cases.size() ? ",\n" : "\n");
        }
        return text.append("]\n").toString();
    }

    static String hex(byte[] bytes) {
        return HexFormat.of().formatHex(bytes);
    }
}
