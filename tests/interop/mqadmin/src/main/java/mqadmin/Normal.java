package mqadmin;

import java.util.ArrayList;
import java.util.List;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/** Output without what differs from run to run: names, addresses, times, and what a command says varies. */
final class Normal {
    private record Mask(Pattern pattern, String replacement) {
        String apply(String text) {
            return pattern.matcher(text).replaceAll(replacement);
        }
    }

    private static final List<Mask> ALWAYS = List.of(
        every("(?m)^(\\s+at .*|\\s*\\.\\.\\. \\d+ (more|common frames omitted)|RocketMQLog:.*|SLF4J.*)$", ""),
        every("\\b\\d{4}-\\d\\d-\\d\\d[ T]\\d\\d:\\d\\d:\\d\\d([.,:]\\d{1,3})?", "TIME"),
        every("\\b20\\d{15}\\b", "TIME"),
        every("\\b1[6-9]\\d{11}\\b", "MILLIS"),
        every("(?<![0-9A-F])[0-9A-F]{32,64}(?![0-9A-F])", "MESSAGE_ID"),
        every("(CommitLog Offset:\\s*|(physicOffset|physicSize|storeSize|commitLogOffset)=)\\d+", "$1N"),
        every("MESSAGE_ID@\\d+", "MESSAGE_ID@N"),
        every("\\b\\d{1,3}(\\.\\d{1,3}){3}\\b", "IP"),
        every("IP:\\d+", "IP:PORT"),
        every("@\\d+#\\d+", "@PID"),
        every("\\bV\\d_\\d+_\\d+\\b", "VERSION"),
        every("\\b\\d+\\.\\d+(E-?\\d+)?\\b", "N.N"),
        every("\\b\\d+ ?ms\\b", "N ms"));

    private final List<Mask> masks = new ArrayList<>();
    private boolean sorted;

    private static Mask every(String pattern, String replacement) {
        return new Mask(Pattern.compile(pattern), replacement);
    }

    void mask(String pattern, String replacement) {
        masks.add(every(pattern, replacement));
    }

    void sort() {
        sorted = true;
    }

    /** Lines without the spaces of columns, none of them empty. */
    List<String> lines(Fixture fixture, String text) {
        String named = text.replace(fixture.folder.toString(), "FOLDER")
            .replace(fixture.folder.getParent().toString(), "HOME").replace(fixture.run, "RUN")
            .replace(fixture.address, "BROKER").replace(fixture.namesrv, "NAMESRV");
        for (Mask mask : ALWAYS) {
            named = mask.apply(named);
        }
        String spaced = named.lines().map(line -> line.replaceAll("\\s+", " ").strip()).filter(line -> !line.isEmpty())
            .reduce("", (all, line) -> all + line + "\n");
        for (Mask mask : masks) {
            spaced = mask.apply(spaced);
        }
        Stream<String> lines = spaced.lines().map(String::strip).filter(line -> !line.isEmpty());
        return (sorted ? lines.sorted() : lines).toList();
    }
}
