package judge.ledger;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import judge.Arguments;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;

/** Records every delivery before it is confirmed, until told to stop. */
public final class LedgerConsumer {
    private final LedgerFile file;
    private final AtomicLong delivered = new AtomicLong();

    private LedgerConsumer(LedgerFile file) {
        this.file = file;
    }

    /** Runs until SIGTERM, then prints a line of totals. */
    public static int run(Arguments arguments) throws Exception {
        Stop stop = new Stop();
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(arguments.required("group"));
        consumer.setNamesrvAddr(arguments.required("namesrv"));
        consumer.setInstanceName("ledger-" + ProcessHandle.current().pid());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPollNameServerInterval(1_000);
        consumer.setPersistConsumerOffsetInterval(1_000);
        consumer.subscribe(arguments.required("topic"), "*");
        try (LedgerFile file = new LedgerFile(Path.of(arguments.required("file")))) {
            LedgerConsumer ledger = new LedgerConsumer(file);
            ledger.listen(consumer, arguments.optional("mode", "orderly"));
            consumer.start();
            stop.await();
            consumer.shutdown();
            System.out.printf("delivered=%d%n", ledger.delivered.get());
            System.out.flush();
        }
        stop.done();
        return 0;
    }

    private void listen(DefaultMQPushConsumer consumer, String mode) {
        switch (mode) {
            case "orderly" -> consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
                record(messages);
                return ConsumeOrderlyStatus.SUCCESS;
            });
            case "broadcast", "concurrent" -> {
                if (mode.equals("broadcast")) {
                    consumer.setMessageModel(
                        Enum.valueOf(consumer.getMessageModel().getDeclaringClass(), "BROADCASTING"));
                }
                consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                    record(messages);
                    return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
                });
            }
            default -> throw new IllegalArgumentException("unknown mode " + mode);
        }
    }

    private void record(List<MessageExt> messages) {
        for (MessageExt message : messages) {
            String key = message.getUserProperty(LedgerProducer.KEY);
            if (key == null) {
                continue;
            }
            try {
                file.record(key, Long.parseLong(message.getUserProperty(LedgerProducer.SEQUENCE)),
                    message.getMsgId() + " " + message.getBrokerName() + " " + message.getQueueId() + " "
                        + message.getQueueOffset() + " " + message.getReconsumeTimes());
            } catch (IOException e) {
                // Not confirmed: the message comes again.
                throw new UncheckedIOException(e);
            }
            delivered.incrementAndGet();
        }
    }
}
