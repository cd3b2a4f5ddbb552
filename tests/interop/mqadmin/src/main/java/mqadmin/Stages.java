package mqadmin;

import java.util.ArrayList;
import java.util.List;

/** The order of the commands. */
final class Stages {
    /** Of each stage its chains. */
    static List<List<List<Command>>> all(Fixture f) {
        return List.of(
            join(TopicCommands.made(f), ConsumerCommands.made(f)),
            ConsumerCommands.consumed(f),
            ExportCommands.all(f),
            join(TopicCommands.seen(f), ClusterCommands.seen(f), ConsumerCommands.seen(f)),
            // These make groups.
            join(MessageCommands.seen(f), ConsumerCommands.watched(f)),
            join(MessageCommands.sends(f), ConsumerCommands.moved(f), ClusterCommands.changed(f), TopicCommands.changed(f),
                NotMeantCommands.all(f)),
            TopicCommands.last(f));
    }

    @SafeVarargs
    private static List<List<Command>> join(List<List<Command>>... parts) {
        List<List<Command>> all = new ArrayList<>();
        List.of(parts).forEach(all::addAll);
        return all;
    }

    /** Commands that do not depend on each other: chains of one. */
    static List<List<Command>> each(Command... commands) {
        List<List<Command>> chains = new ArrayList<>();
        List.of(commands).forEach(command -> chains.add(List.of(command)));
        return chains;
    }

    private Stages() {
    }
}
