package golden;

import java.lang.reflect.Field;
import java.lang.reflect.Modifier;
import org.apache.rocketmq.common.BoundaryType;
import org.apache.rocketmq.remoting.CommandCustomHeader;
import org.apache.rocketmq.remoting.annotation.CFNotNull;

/** Fills the fields of a header with values that follow from their names and order alone. */
final class Fill {
    /** Sets every field that the class itself declares; with onlyRequired, those marked as not null. */
    static <T extends CommandCustomHeader> T header(Class<T> type, boolean onlyRequired) throws Exception {
        T header = type.getDeclaredConstructor().newInstance();
        int number = 0;
        for (Field field : type.getDeclaredFields()) {
            if (Modifier.isStatic(field.getModifiers())) {
                continue;
            }
            number++;
            if (onlyRequired && field.getAnnotation(CFNotNull.class) == null) {
                continue;
            }
            field.setAccessible(true);
            field.set(header, value(field, number));
        }
        return header;
    }

    private static Object value(Field field, int number) {
        Class<?> type = field.getType();
        if (type == String.class) {
            return field.getName() + "-" + number;
        } else if (type == Integer.class || type == int.class) {
            return 100 + number;
        } else if (type == Long.class || type == long.class) {
            return 5_000_000_000L + number;
        } else if (type == Boolean.class || type == boolean.class) {
            return true;
        } else if (type == Double.class || type == double.class) {
            return number + 0.5;
        } else if (type == BoundaryType.class) {
            return BoundaryType.UPPER;
        }
        throw new IllegalArgumentException("no value for " + field);
    }

    private Fill() {
    }
}
