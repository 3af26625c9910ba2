import java.io.IOException;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Reading a topic up to its present end, in either isolation. */
final class Consumers {
    private static final int CHUNK_BYTES = 512 * 1024;

    /** Where a chunk of records goes. */
    interface Sink {
        void write(byte[] records) throws IOException;
    }

    private final String bootstrap;

    Consumers(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    /**
     * Reads from "from" (or the beginning) to the end there is now, which in read_committed is the last stable offset. If
     * that gives fewer than "min" records, goes on to read until there are as many or "timeout_ms" is over.
     */
    void consume(JsonNode request, ObjectNode answer, Sink sink) throws IOException {
        String topic = request.get("topic").asText();
        int min = request.path("min").asInt(0);
        long deadline = System.nanoTime() + request.path("timeout_ms").asLong(0) * 1_000_000;
        try (KafkaConsumer<byte[], byte[]> consumer = create(request.get("committed").asBoolean())) {
            Set<TopicPartition> partitions = consumer.partitionsFor(topic).stream()
                    .map(info -> new TopicPartition(topic, info.partition())).collect(Collectors.toSet());
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            request.path("from").properties().forEach(entry ->
                    consumer.seek(new TopicPartition(topic, Integer.parseInt(entry.getKey())), entry.getValue().asLong()));
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            Records records = new Records();
            long count = 0;
            while (!reached(consumer, ends) || (count < min && System.nanoTime() < deadline)) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(20))) {
                    records.add(record);
                    count++;
                    if (records.size() >= CHUNK_BYTES) {
                        sink.write(records.take());
                    }
                }
            }
            if (records.size() > 0) {
                sink.write(records.take());
            }
            ObjectNode next = answer.putObject("next");
            for (TopicPartition partition : partitions) {
                next.put(String.valueOf(partition.partition()), consumer.position(partition));
            }
        }
    }

    private static boolean reached(KafkaConsumer<byte[], byte[]> consumer, Map<TopicPartition, Long> ends) {
        for (Map.Entry<TopicPartition, Long> end : ends.entrySet()) {
            if (consumer.position(end.getKey()) < end.getValue()) {
                return false;
            }
        }
        return true;
    }

    private KafkaConsumer<byte[], byte[]> create(boolean committed) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("isolation.level", committed ? "read_committed" : "read_uncommitted");
        config.put("enable.auto.commit", false);
        config.put("auto.offset.reset", "earliest");
        config.put("max.poll.records", 20_000);
        config.put("max.partition.fetch.bytes", 8 * 1024 * 1024);
        return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }
}
