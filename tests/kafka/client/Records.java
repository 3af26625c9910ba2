import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;

/**
 * Records as bytes, big-endian: partition i32, offset i64, timestamp i64, key, value, number of headers i32, then name and
 * value of each. Keys, values and names are i32 length and bytes; length -1 is null. When producing, partition -1 leaves
 * the choice to the client, timestamp -1 is the present, and the offset means nothing.
 */
final class Records {
    private ByteBuffer buffer = ByteBuffer.allocate(1 << 20);

    int size() {
        return buffer.position();
    }

    byte[] take() {
        byte[] bytes = new byte[buffer.position()];
        buffer.flip().get(bytes);
        buffer.clear();
        return bytes;
    }

    void add(ConsumerRecord<byte[], byte[]> record) {
        int size = 28 + length(record.key()) + length(record.value());
        for (Header header : record.headers()) {
            size += 8 + header.key().length() * 3 + length(header.value());
        }
        if (buffer.remaining() < size) {
            buffer = ByteBuffer.allocate(Math.max(buffer.capacity() * 2, buffer.position() + size)).put(buffer.flip());
        }
        buffer.putInt(record.partition()).putLong(record.offset()).putLong(record.timestamp());
        put(record.key());
        put(record.value());
        Header[] headers = record.headers().toArray();
        buffer.putInt(headers.length);
        for (Header header : headers) {
            put(header.key().getBytes(StandardCharsets.UTF_8));
            put(header.value());
        }
    }

    static ProducerRecord<byte[], byte[]> read(String topic, ByteBuffer from) {
        int partition = from.getInt();
        from.getLong();
        long timestamp = from.getLong();
        byte[] key = bytes(from);
        byte[] value = bytes(from);
        int count = from.getInt();
        List<Header> headers = new ArrayList<>(count);
        for (int i = 0; i < count; i++) {
            headers.add(new RecordHeader(new String(bytes(from), StandardCharsets.UTF_8), bytes(from)));
        }
        return new ProducerRecord<>(topic, partition < 0 ? null : partition, timestamp < 0 ? null : timestamp, key, value, headers);
    }

    private static int length(byte[] bytes) {
        return 4 + (bytes == null ? 0 : bytes.length);
    }

    private void put(byte[] bytes) {
        if (bytes == null) {
            buffer.putInt(-1);
        } else {
            buffer.putInt(bytes.length).put(bytes);
        }
    }

    private static byte[] bytes(ByteBuffer from) {
        int length = from.getInt();
        if (length < 0) {
            return null;
        }
        byte[] bytes = new byte[length];
        from.get(bytes);
        return bytes;
    }
}
