import java.nio.ByteBuffer;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.atomic.AtomicReference;

import com.fasterxml.jackson.databind.JsonNode;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Plain and transactional producers. A transactional one lives as long as the process, under its id; a plain one as long as its run: an idempotent producer
 * that is kept may stall for the sake of another topic, one that was made anew under it.
 */
final class Producers {
    private final String bootstrap;
    private final Map<String, KafkaProducer<byte[], byte[]>> transactional = new HashMap<>();

    Producers(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    /** One run of records on its way to a topic. */
    static final class Run {
        private final KafkaProducer<byte[], byte[]> producer;
        private final String topic;
        private final boolean isOwn;
        private final AtomicReference<Exception> failure = new AtomicReference<>();
        private long count;

        private Run(KafkaProducer<byte[], byte[]> producer, String topic, boolean isOwn) {
            this.producer = producer;
            this.topic = topic;
            this.isOwn = isOwn;
        }

        void send(byte[] records) throws Exception {
            ByteBuffer from = ByteBuffer.wrap(records);
            while (from.hasRemaining()) {
                producer.send(Records.read(topic, from), (metadata, error) -> {
                    if (error != null) {
                        failure.compareAndSet(null, error);
                    }
                });
                count++;
            }
            check();
        }

        /** Waits for every acknowledgement. */
        long finish() throws Exception {
            producer.flush();
            if (isOwn) {
                producer.close();
            }
            check();
            return count;
        }

        private void check() throws Exception {
            if (failure.get() != null) {
                throw failure.get();
            }
        }
    }

    Run run(JsonNode request) {
        boolean isOwn = !request.hasNonNull("transaction");
        return new Run(isOwn ? create(null) : named(request), request.get("topic").asText(), isOwn);
    }

    /** Begins a transaction; the first one of an id fences whoever had the id before. */
    void begin(JsonNode request) {
        String id = request.get("transaction").asText();
        KafkaProducer<byte[], byte[]> producer = transactional.get(id);
        if (producer == null) {
            producer = create(id);
            producer.initTransactions();
            transactional.put(id, producer);
        }
        producer.beginTransaction();
    }

    void commit(JsonNode request) {
        named(request).commitTransaction();
    }

    void abort(JsonNode request) {
        named(request).abortTransaction();
    }

    private KafkaProducer<byte[], byte[]> named(JsonNode request) {
        String id = request.get("transaction").asText();
        KafkaProducer<byte[], byte[]> producer = transactional.get(id);
        if (producer == null) {
            throw new IllegalStateException("no transaction was begun as " + id);
        }
        return producer;
    }

    private KafkaProducer<byte[], byte[]> create(String transactionalId) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("linger.ms", 5);
        config.put("batch.size", 256 * 1024);
        config.put("buffer.memory", 64 * 1024 * 1024);
        config.put("max.request.size", 32 * 1024 * 1024);
        config.put("acks", "all");
        if (transactionalId != null) {
            config.put("transactional.id", transactionalId);
            config.put("transaction.timeout.ms", 180_000);
        }
        return new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
    }
}
