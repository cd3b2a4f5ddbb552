package golden;

import java.lang.reflect.Array;
import java.lang.reflect.Field;
import java.lang.reflect.Modifier;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;

/**
 * Turns an object into plain JSON values by its fields, so that a reader in another language needs no Java quirks:
 * byte arrays are hex, socket addresses "ip:port", maps with string or number keys are objects, maps with object
 * keys are lists of {"key", "value"}, null fields are left out.
 */
final class Describe {
    static Object value(Object object) throws IllegalAccessException {
        if (object == null || object instanceof Boolean || object instanceof String) {
            return object;
        }
        if (object instanceof Number number) {
            return object instanceof Double ? object : (Object) number.longValue();
        }
        if (object instanceof Enum<?> constant) {
            return constant.name();
        }
        if (object instanceof byte[] bytes) {
            return Cases.hex(bytes);
        }
        if (object instanceof InetSocketAddress address) {
            return address.getAddress().getHostAddress() + ":" + address.getPort();
        }
        if (object instanceof BitSet bits) {
            return list(bits.stream().boxed().toList());
        }
        if (object instanceof Collection<?> collection) {
            return list(collection);
        }
        if (object instanceof Map<?, ?> map) {
            return map(map);
        }
        if (object.getClass().isArray()) {
            List<Object> elements = new ArrayList<>();
            for (int i = 0; i < Array.getLength(object); i++) {
                elements.add(value(Array.get(object, i)));
            }
            return elements;
        }
        return fields(object);
    }

    private static List<Object> list(Collection<?> collection) throws IllegalAccessException {
        List<Object> elements = new ArrayList<>();
        for (Object element : collection) {
            elements.add(value(element));
        }
        return elements;
    }

    private static Object map(Map<?, ?> map) throws IllegalAccessException {
        boolean plain = map.keySet().stream().allMatch(key -> key instanceof String || key instanceof Number);
        if (plain) {
            Map<String, Object> object = new TreeMap<>();
            for (Map.Entry<?, ?> entry : map.entrySet()) {
                object.put(entry.getKey().toString(), value(entry.getValue()));
            }
            return object;
        }
        List<Object> entries = new ArrayList<>();
        for (Map.Entry<?, ?> entry : map.entrySet()) {
            Map<String, Object> pair = new LinkedHashMap<>();
            pair.put("key", value(entry.getKey()));
            pair.put("value", value(entry.getValue()));
            entries.add(pair);
        }
        return entries;
    }

    private static Map<String, Object> fields(Object object) throws IllegalAccessException {
        Map<String, Object> described = new TreeMap<>();
        for (Class<?> type = object.getClass(); type != Object.class; type = type.getSuperclass()) {
            for (Field field : type.getDeclaredFields()) {
                if (Modifier.isStatic(field.getModifiers()) || Random.class.isAssignableFrom(field.getType())) {
                    continue;
                }
                field.setAccessible(true);
                Object held = field.get(object);
                if (held != null) {
                    described.put(field.getName(), value(held));
                }
            }
        }
        return described;
    }

    private Describe() {
    }
}
