package judge;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.regex.Pattern;
import judge.check.AdminChecks;
import judge.check.ConsumeStartChecks;
import judge.check.DelayChecks;
import judge.check.FilterChecks;
import judge.check.LimitChecks;
import judge.check.LitePullChecks;
import judge.check.OffsetChecks;
import judge.check.OrderChecks;
import judge.check.PullChecks;
import judge.check.PushChecks;
import judge.check.QueryChecks;
import judge.check.RetryChecks;
import judge.check.SendChecks;
import judge.check.TopicChecks;
import judge.check.TraceChecks;
import judge.check.TransactionChecks;

/** Runs checks side by side, each with topics, groups and clients of its own, and counts. */
final class Runner {
    private static final int CHECK_SECONDS = 150;

    static int run(Arguments arguments) throws Exception {
        Pattern only = Pattern.compile(arguments.optional("only", ""));
        List<Check> checks = all().stream().filter(check -> only.matcher(check.name()).find()).toList();
        if (arguments.has("list")) {
            checks.forEach(check -> System.out.println(check.name()));
            return 0;
        }
        if (checks.isEmpty()) {
            throw new IllegalArgumentException("no check matches " + only);
        }
        int failed = 0;
        ExecutorService threads = Executors.newFixedThreadPool(arguments.number("parallel", 8));
        ExecutorService bodies = Executors.newCachedThreadPool();
        try (Cluster cluster = new Cluster(arguments.required("namesrv"))) {
            List<Future<Boolean>> results = new ArrayList<>();
            for (Check check : checks) {
                results.add(threads.submit(() -> judge(check, cluster, bodies)));
            }
            for (Future<Boolean> result : results) {
                failed += result.get() ? 0 : 1;
            }
        } finally {
            threads.shutdownNow();
            bodies.shutdownNow();
        }
        System.out.printf("%d passed, %d failed%n", checks.size() - failed, failed);
        return failed == 0 ? 0 : 1;
    }

    private static List<Check> all() {
        List<Check> checks = new ArrayList<>();
        // The slow ones first, so that the end does not wait for them.
        checks.addAll(RetryChecks.all());
        checks.addAll(TransactionChecks.all());
        checks.addAll(OrderChecks.all());
        checks.addAll(PushChecks.all());
        checks.addAll(FilterChecks.all());
        checks.addAll(DelayChecks.all());
        checks.addAll(TraceChecks.all());
        checks.addAll(ConsumeStartChecks.all());
        checks.addAll(OffsetChecks.all());
        checks.addAll(LitePullChecks.all());
        checks.addAll(PullChecks.all());
        checks.addAll(QueryChecks.all());
        checks.addAll(AdminChecks.all());
        checks.addAll(TopicChecks.all());
        checks.addAll(LimitChecks.all());
        checks.addAll(SendChecks.all());
        return checks;
    }

    private static boolean judge(Check check, Cluster cluster, ExecutorService bodies) {
        long begin = System.nanoTime();
        Throwable why = null;
        try (Scene scene = new Scene(check.name(), cluster)) {
            Future<?> body = bodies.submit(() -> {
                check.body().run(scene);
                return null;
            });
            try {
                body.get(CHECK_SECONDS, TimeUnit.SECONDS);
            } catch (TimeoutException e) {
                body.cancel(true);
                why = new Failure("not done after " + CHECK_SECONDS + " s");
            }
        } catch (Exception e) {
            why = e.getCause() == null ? e : e.getCause();
        }
        double seconds = (System.nanoTime() - begin) / 1e9;
        if (why == null) {
            System.out.printf("PASS %s %.1fs%n", check.name(), seconds);
            return true;
        }
        System.out.printf("FAIL %s: %s%n", check.name(), reason(why));
        return false;
    }

    private static String reason(Throwable why) {
        StringBuilder reason = new StringBuilder(String.valueOf(why.getMessage()).replace('\n', ' '));
        if (why instanceof Failure) {
            return reason.toString();
        }
        reason.insert(0, why.getClass().getSimpleName() + " ");
        for (StackTraceElement frame : why.getStackTrace()) {
            if (frame.getClassName().startsWith("judge.check.")) {
                return reason.append(" at ").append(frame).toString();
            }
        }
        return reason.toString();
    }

    private Runner() {
    }
}
