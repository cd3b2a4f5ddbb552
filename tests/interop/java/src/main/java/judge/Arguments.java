package judge;

import java.util.HashMap;
import java.util.Map;

/** Command line words of the form --name value; a name followed by another name, or by nothing, is a switch. */
public final class Arguments {
    private final Map<String, String> values = new HashMap<>();

    Arguments(String[] words, int from) {
        for (int i = from; i < words.length; i++) {
            if (!words[i].startsWith("--")) {
                throw new IllegalArgumentException("not an option: " + words[i]);
            }
            boolean isSwitch = i + 1 == words.length || words[i + 1].startsWith("--");
            values.put(words[i].substring(2), isSwitch ? "" : words[++i]);
        }
    }

    public String required(String name) {
        String value = values.get(name);
        if (value == null || value.isEmpty()) {
            throw new IllegalArgumentException("--" + name + " is missing");
        }
        return value;
    }

    public String optional(String name, String fallback) {
        return values.getOrDefault(name, fallback);
    }

    public int number(String name, int fallback) {
        String value = values.get(name);
        return value == null ? fallback : Integer.parseInt(value);
    }

    public boolean has(String name) {
        return values.containsKey(name);
    }
}
