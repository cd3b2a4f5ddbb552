package judge;

import java.nio.file.Files;
import judge.ledger.LedgerCompare;
import judge.ledger.LedgerConsumer;
import judge.ledger.LedgerProducer;

/** Commands of the judge. Everything is decided by what official clients see from outside. */
public final class Judge {
    private static final String USAGE = """
        usage: judge checks    --namesrv HOST:PORT [--only REGEX] [--parallel N] [--list]
               judge roundtrip --namesrv HOST:PORT [--count N] [--size BYTES] [--threads N] [--topic T]
               judge restart   --namesrv HOST:PORT --phase before|after --file F [--killed]
               judge handover  --namesrv HOST:PORT [--brokers N]
               judge ledger produce --namesrv HOST:PORT --topic T --file F [--keys N] [--rate N] [--size BYTES]
               judge ledger consume --namesrv HOST:PORT --topic T --file F --group G
                                    [--mode orderly|concurrent|broadcast]
               judge ledger compare --acked F[,F...] --delivered F[,F...] [--fifo] [--wait SECONDS]
        """;

    public static void main(String[] args) {
        int status;
        try {
            status = run(args);
        } catch (IllegalArgumentException e) {
            System.err.println("judge: " + e.getMessage());
            System.err.print(USAGE);
            status = 2;
        } catch (Exception e) {
            e.printStackTrace();
            status = 1;
        }
        // Clients leave threads behind.
        System.exit(status);
    }

    private static int run(String[] args) throws Exception {
        if (args.length == 0) {
            throw new IllegalArgumentException("no command");
        }
        keepFilesOutOfHome();
        boolean ledger = args[0].equals("ledger") && args.length > 1;
        Arguments arguments = new Arguments(args, ledger ? 2 : 1);
        return switch (ledger ? "ledger " + args[1] : args[0]) {
            case "checks" -> Runner.run(arguments);
            case "roundtrip" -> RoundTrip.run(arguments);
            case "restart" -> Restart.run(arguments);
            case "handover" -> Handover.run(arguments);
            case "ledger produce" -> LedgerProducer.run(arguments);
            case "ledger consume" -> LedgerConsumer.run(arguments);
            case "ledger compare" -> LedgerCompare.run(arguments);
            default -> throw new IllegalArgumentException("unknown command " + String.join(" ", args));
        };
    }

    /** Broadcasting consumers keep their offsets in files; a fresh folder keeps runs apart. */
    private static void keepFilesOutOfHome() throws Exception {
        String property = "rocketmq.client.localOffsetStoreDir";
        if (System.getProperty(property) == null) {
            System.setProperty(property, Files.createTempDirectory("judge-offsets").toString());
        }
    }

    private Judge() {
    }
}
