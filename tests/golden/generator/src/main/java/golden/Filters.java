package golden;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.apache.rocketmq.broker.filter.MessageEvaluationContext;
import org.apache.rocketmq.common.filter.ExpressionType;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.filter.FilterFactory;
import org.apache.rocketmq.filter.expression.Expression;
import org.apache.rocketmq.filter.expression.MQFilterException;

/** What the filter library makes of SQL92 expressions: some made by hand, some at random from a fixed seed. */
final class Filters {
    private static final String[] NAMES = {"a", "b", "c", "d", "TAGS"};
    private static final String[] VALUES = {"1", "5", "-1", "+5", "007", "1.5", "1e3", "3000000000", "2147483647", "2147483648", "-2147483648",
        "9223372036854775807", "9223372036854775808", " 7", "7 ", "abc", "ABC", "true", "TRUE", "false", "NaN", "Infinity", "-Infinity", "-0.0",
        "0", "0.0", "0x10", "0x1p2", "1f", "1.d", ".5", "\u0663", "\uff15", "TagA", "it's", "'", "\u65e5\u672c", "a b", "1L", "--5"};
    private static final String[] LITERALS = {"0", "1", "5", "7", "10L", "16", "2147483647", "2147483648", "3000000000", "9223372036854775807",
        "1.5", "1e3", "5.", ".5", "4.0", "'1'", "'5'", "'abc'", "'a'", "''", "'it''s'", "'\u65e5\u672c'", "'TagA'", "'true'", "TRUE", "FALSE", "NULL"};
    private static final String[] SOUP = {"a", "b", "TAGS", "NOT", "AND", "OR", "BETWEEN", "IN", "IS", "NULL", "CONTAINS", "STARTSWITH", "ENDSWITH",
        "=", "<>", "<", "<=", ">", ">=", "(", ")", ",", "+", "-", "1", "5", "1.5", "'abc'", "'1'", "TRUE", "/* c */", "--", "\n"};

    private final Cases cases = new Cases();
    private final List<Map<String, String>> maps = new ArrayList<>();
    private final Random random = new Random(20_241_123);

    static Cases cases() {
        Filters filters = new Filters();
        filters.properties();
        filters.byHand();
        for (int i = 0; i < 600; i++) {
            filters.expression("random-" + i, filters.condition(3));
        }
        for (int i = 0; i < 300; i++) {
            filters.expression("soup-" + i, filters.soup());
        }
        return filters.cases;
    }

    private void properties() {
        map("none");
        map("usual", "UNIQ_KEY", "7F00000100002A9F000000000000A1B2", "WAIT", "true", "TAGS", "TagA", "KEYS", "order-1 order-2", "a", "5", "b", "1.5",
            "c", "abc", "d", "true");
        map("strings", "a", "abc", "b", "TagA", "c", "it's", "d", "\u65e5\u672c");
        map("integers", "a", "1", "b", "5", "c", "-1", "d", "16", "TAGS", "10");
        map("longs", "a", "2147483648", "b", "3000000000", "c", "9223372036854775807", "d", "-2147483648");
        map("doubles", "a", "1.5", "b", "1e3", "c", "0x1p2", "d", "4.0", "TAGS", "-Infinity");
        map("truths", "a", "true", "b", "false", "c", "TRUE", "d", "yes");
        map("odd", "a", " 7", "b", "NaN", "c", "-0.0", "d", "\u0663", "TAGS", "1f");
        for (int i = 0; i < 8; i++) {
            List<String> entries = new ArrayList<>();
            for (String name : NAMES) {
                if (random.nextInt(4) != 0) {
                    entries.add(name);
                    entries.add(pick(VALUES));
                }
            }
            map("random-map-" + i, entries.toArray(new String[0]));
        }
    }

    private void map(String name, String... entries) {
        Map<String, String> map = new LinkedHashMap<>();
        for (int i = 0; i < entries.length; i += 2) {
            map.put(entries[i], entries[i + 1]);
        }
        String text = MessageDecoder.messageProperties2String(map);
        Map<String, Object> made = cases.add(name);
        made.put("kind", "properties");
        made.put("hex", Cases.hex(text.getBytes(StandardCharsets.UTF_8)));
        made.put("value", map);
        maps.add(MessageDecoder.string2messageProperties(text));
    }

    private void byHand() {
        int number = 0;
        for (String text : HandMadeFilters.TEXTS) {
            expression("by-hand-" + number++, text);
        }
    }

    /** Adds a case: the letters of `results` are true, false, null and error, one for each map of properties. */
    private void expression(String name, String text) {
        Map<String, Object> made = cases.add(name);
        made.put("kind", "expression");
        made.put("expression", text);
        made.put("results", results(text));
    }

    private String results(String text) {
        Expression expression;
        try {
            expression = FilterFactory.INSTANCE.get(ExpressionType.SQL92).compile(text);
        } catch (MQFilterException refused) {
            return "refused";
        }
        StringBuilder results = new StringBuilder();
        for (Map<String, String> map : maps) {
            results.append(result(expression, map));
        }
        return results.toString();
    }

    private static char result(Expression expression, Map<String, String> map) {
        try {
            Object value = expression.evaluate(new MessageEvaluationContext(map));
            if (value == null) {
                return 'n';
            }
            return (Boolean) value ? 't' : 'f';
        } catch (Exception fault) {
            return 'e';
        }
    }

    private String condition(int depth) {
        if (depth == 0 || random.nextInt(5) == 0) {
            return test(0);
        }
        switch (random.nextInt(7)) {
            case 0:
            case 1:
                return condition(depth - 1) + " AND " + condition(depth - 1);
            case 2:
            case 3:
                return condition(depth - 1) + " OR " + condition(depth - 1);
            case 4:
                return "(" + condition(depth - 1) + ")";
            case 5:
                return "NOT (" + condition(depth - 1) + ")";
            default:
                return test(depth - 1);
        }
    }

    private String test(int depth) {
        String of = value(depth);
        String not = random.nextInt(3) == 0 ? " NOT " : " ";
        switch (random.nextInt(9)) {
            case 0:
            case 1:
                return of + " " + pick("=", "<>") + " " + value(depth);
            case 2:
            case 3:
                return of + pick(" > ", " >= ", " < ", " <= ") + value(depth);
            case 4:
                return of + not + "BETWEEN " + value(0) + " AND " + value(0);
            case 5:
                return pick(NAMES) + not + "IN ('" + pick("1", "abc", "TagA") + "', '" + pick("5", "true", "it''s") + "')";
            case 6:
                return of + pick(" IS NULL", " IS NOT NULL", " is null");
            case 7:
                return of + not + pick("CONTAINS", "STARTSWITH", "ENDSWITH") + " " + pick("'a'", "'c'", "'1'", "''", "'\u672c'");
            default:
                return pick(NAMES);
        }
    }

    private String value(int depth) {
        int kind = random.nextInt(12);
        if (depth > 0 && kind == 0) {
            return "(" + condition(depth - 1) + ")";
        }
        String sign = random.nextInt(8) == 0 ? pick("-", "+", "NOT ") : "";
        return sign + (kind < 7 ? pick(NAMES) : pick(LITERALS));
    }

    private String soup() {
        StringBuilder text = new StringBuilder();
        int words = 1 + random.nextInt(8);
        for (int i = 0; i < words; i++) {
            text.append(pick(SOUP)).append(random.nextInt(6) == 0 ? "" : " ");
        }
        return text.toString();
    }

    private String pick(String... from) {
        return from[random.nextInt(from.length)];
    }
}
