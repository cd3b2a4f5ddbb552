package golden;

/** Expressions that show a rule each. */
final class HandMadeFilters {
    static final String[] TEXTS = {
        // Comparison of a property with each type of literal.
        "a = 5", "a = '5'", "a = 5.0", "a = 5L", "a = 3000000000", "a = TRUE", "a = FALSE", "a <> 5", "a <> '5'", "a <> TRUE",
        "5 = a", "'5' = a", "5.0 = a", "TRUE = a", "a > 1", "a >= 5", "a < 10", "a <= 1.5", "1 < a", "1.5 < a", "3000000000 > a",
        "a > 'x'", "'x' > a", "a > TRUE", "NULL < a", "a = NULL", "NULL = a", "a <> NULL",
        // Properties with each other.
        "a = b", "a <> b", "a > b", "a <= d", "missing = other", "missing <> other", "missing = a", "a = missing", "missing > a", "a > missing",
        // Constants.
        "1 = 1", "1 = 1.0", "1 = 2", "'a' = 'a'", "'a' = 1", "'1' = 1", "1 = '1'", "TRUE = TRUE", "TRUE = FALSE", "TRUE = 1", "1 = TRUE",
        "'true' = TRUE", "TRUE = 'true'", "1 < 2", "2 < 1", "'1' < '2'", "3000000000 > 1", "1.5 > 1", "TRUE", "FALSE", "NULL", "1", "'a'", "1.5",
        "TRUE AND TRUE", "TRUE AND NULL", "FALSE AND NULL", "NULL OR TRUE", "NULL OR FALSE", "NOT TRUE", "NOT NULL", "NOT 1", "NOT 'a'",
        // Conditions as values.
        "a", "NOT a", "a AND b", "a OR TRUE", "(a = 5) = TRUE", "(a = 5) = (b = 5)", "(a = 5) = b", "b = (a = 5)", "a = 5 = TRUE", "(a = 5) > 1",
        "NOT a = 5", "NOT (a = 5)", "NOT NOT (a = 5)", "NOT NOT a", "(a = 5) IS NULL", "(missing = 5) IS NULL", "(a) = 5", "((a)) > 1",
        // NULL.
        "a IS NULL", "a IS NOT NULL", "missing IS NULL", "missing IS NOT NULL", "NULL IS NULL", "1 IS NULL", "NOT a IS NULL", "a IS 5", "a IS NOT 5",
        "a IS", "IS NULL", "a IS NULL IS NULL", "a IS NULL = TRUE",
        // BETWEEN.
        "a BETWEEN 1 AND 5", "a NOT BETWEEN 1 AND 5", "a BETWEEN 5 AND 1", "a NOT BETWEEN 5 AND 1", "a BETWEEN -1 AND 5", "a BETWEEN -1 AND -5",
        "a BETWEEN 1 AND b", "a BETWEEN c AND b", "a BETWEEN 1 AND 5.5", "a BETWEEN 1.5 AND 1", "a BETWEEN '1' AND '5'", "a BETWEEN NULL AND 5",
        "a BETWEEN 1 AND TRUE", "1 BETWEEN 0 AND 2", "'1' BETWEEN 0 AND 2", "missing BETWEEN 1 AND 5", "missing NOT BETWEEN 1 AND 5",
        "a BETWEEN 1 5", "a BETWEEN 1", "a BETWEEN 1 AND", "a BETWEEN 1 AND 3000000000", "a BETWEEN 3000000000 AND 1",
        "a BETWEEN 1 AND 5 AND b = 5", "(a = 1) BETWEEN 1 AND 2", "NOT a BETWEEN 1 AND 2", "a BETWEEN 1 AND 5 = TRUE",
        // IN.
        "a IN ('5')", "a IN ('1', '5', 'abc')", "a NOT IN ('5')", "missing IN ('5')", "missing NOT IN ('5')", "a IN ('5', '5')", "a IN ()", "a IN (5)",
        "a IN ('5',)", "a IN '5'", "a IN ('5'", "'5' IN ('5')", "(a) IN ('5')", "+a IN ('5')", "-a IN ('5')", "NOT a IN ('5')", "a IN ('5') IN ('5')",
        "a IN ('it''s')", "c IN ('a', 'b', 'c', 'd', 'e', 'f', 'abc', 'g', 'it''s')", "TAGS IN ('TagA', 'TagB')",
        // CONTAINS and its like.
        "c CONTAINS 'b'", "c NOT CONTAINS 'b'", "c STARTSWITH 'a'", "c NOT STARTSWITH 'a'", "c ENDSWITH 'c'", "c NOT ENDSWITH 'c'",
        "c CONTAINS ''", "c NOT CONTAINS ''", "c STARTSWITH ''", "c NOT ENDSWITH ''", "missing CONTAINS 'b'", "missing NOT CONTAINS 'b'",
        "c CONTAINS b", "c CONTAINS 5", "c CONTAINS", "'abc' CONTAINS 'b'", "'abc' NOT ENDSWITH 'b'", "5 CONTAINS '5'", "(a = 5) CONTAINS 't'",
        "NOT c ENDSWITH 'c'", "NOT (c ENDSWITH 'c')", "c CONTAINS 'abcd'", "d CONTAINS '\u672c'", "d STARTSWITH '\u65e5'", "(a > 1) CONTAINS ''",
        "c CONTAINS 'b' CONTAINS 'b'", "c CONTAINS 'b' = TRUE", "c NOT NOT CONTAINS 'b'", "c NOT", "c NOT 5", "c NOT IS NULL", "c CONTAINS 'it''s'",
        // AND, OR, faults.
        "a = 5 AND b = '1.5'", "a = 5 OR b = '1.5'", "a = 5 OR c = 5", "c = 5 OR a = 5", "c = '5' OR a = 5", "c = 'abc' OR c = 5", "c = 'x' AND c = 5",
        "missing = 1 AND a = '5'", "missing = 1 OR a = '5'", "missing = 1 AND a = 'x'", "NOT (missing = 1)", "a = 'x' OR b = 'x' AND c = 'abc'",
        "(a = 'x' OR b = 'x') AND c = 'abc'", "a = 5 AND", "AND a = 5", "a = 5 OR", "a = 5 AND OR b = 5", "a = '1' OR a = '2' OR a = '5'",
        "c > 1 OR TRUE", "TRUE OR c > 1", "FALSE AND c > 1", "a = 1 OR a = '1' OR a = 5", "a AND 1", "1 OR a", "a = 5 AND 'x'",
        // Numbers.
        "a = 2147483647", "a = 2147483648", "a = 9223372036854775807", "a = 9223372036854775808", "a = -9223372036854775807",
        "a = -9223372036854775808", "a = -2147483648", "a = -5", "a = - 5", "a = --5", "a = - -5", "a = +5", "a = + + 5", "a > -1", "a > -1.5", "a = -0",
        "a = 0", "a = 00", "a = 05", "a = 0L", "a = 5l", "a = 5LL", "a = 0.0", "a = .0", "a = 0e0", "a = 5.", "a = .5", "a = 5e0", "a = 5E+0", "a = 5e-1",
        "a = 5e", "a = 1e308", "a = 1e309", "a = 1e-320", "a = 1e-400", "a = 1.7976931348623157e308", "a = 4.9e-324", "a = 2e-324", "a = 0x5", "a = 5f",
        "a = 1_000", "a = 5.5.5", "a > 1e3", "b > 1.0", "b < 1.0", "b = 1.0", "c >= 4.0", "d = 3", "d > 3.5", "c = -0.5", "c > -0.5", "c < 1", "c <= .5",
        "b = 1000.0", "a = 16.0", "1 = -(-1)", "-a = -b", "-a = 1", "1 = -a", "-a IS NULL", "-(a = 5) IS NULL", "-'5' IS NULL", "- 5 = -5", "-NULL IS NULL",
        "-a > 1", "-(b > 'x') = 1", "a > -b", "a > -(c > 1)", "-1 > a", "-5", "+a", "+5 = a", "+", "-", "+ NOT a", "NOT - a", "NOT + a", "- NOT a IS NULL",
        // Strings.
        "c = 'abc'", "c = 'ABC'", "c = \"abc\"", "c = 'it''s'", "c = 'it\\'s'", "c = ''", "c = ''''", "c = 'a", "c = 'a''", "c = '\n'", "d = '\u65e5\u672c'",
        "c = 'abc' 'x'", "c = 'abc''x'", "'abc' = c", "c > 'abb'", "c < 'abd'", "TAGS = 'TagA'", "KEYS CONTAINS 'order-1'", "WAIT = TRUE", "UNIQ_KEY IS NOT NULL",
        // Words.
        "A = 5", "$a = 5", "_a IS NULL", "a$b IS NULL", "a.b = 5", "a-b = 5", "a IS null", "a is Not Null", "a bETween 1 aND 5", "c contains 'b'",
        "in = 5", "not = 5", "true = TRUE", "contains CONTAINS 'x'", "inn IS NULL", "isnull IS NULL", "\u00e4 = 5", "a\u00e4 = 5", "1a = 5", "a1 IS NULL",
        "null IS NULL", "between BETWEEN 1 AND 2", "tags = 'TagA'",
        // What follows an expression.
        "a = 5 b", "a = 5 b = 6", "a = 5)", "a = 5 (", "a = 5 @", "a = 5 b @", "a = 5;", "a = 5 'x", "a = 5 NOT", "a = 5 NOT x", "a = 5 NOT @", "a = 5 TRUE",
        "a = 5 IS x", "a b", "a 5", "a = 5 ,", "a = 5 = ", "a == 5", "a != 5", "a => 5", "a =< 5", "a < > 5", "a <> 5 <> 6", "a ! 5", "a = 5 &", "a = 5 && b",
        // Comments and white space.
        "", " ", "\n", "()", "(a = 5", "((a = 5)", "a = /* five */ 5", "a = 5 /* five", "a = 5 /", "/* x */", "/**/a = 5", "/***/a = 5", "/* * / */ a = 5",
        "/* /* */ a = 5", "/* */ */ a = 5", "a = 5 -- five", "a = 5 -- five\n", "-- five\na = 5", "-- five\ra = 5", "-- five\r\na = 5", "-- five", "a = 5 --\nAND b = 5",
        "a = 5 --\rAND b = '1.5'", "a = 5 - 1", "a = 5 + 1", "a\t=\r\n5\f", "a\u00a0= 5", "a = 5\u0000", "a = 5 \u000b",
        // LIKE and arithmetic do not exist.
        "c LIKE 'a%'", "a + 1 = 6", "a * 2 = 10", "c REGEXP 'a'", "a IN (SELECT 1)", "a = 5 XOR b = 5",
    };

    private HandMadeFilters() {
    }
}
