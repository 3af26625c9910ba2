import java.util.HashMap;
import java.util.Map;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.TransactionListing;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;

/** Group offsets, and what the broker knows of transactions. */
final class Groups {
    private final Admin admin;

    Groups(Admin admin) {
        this.admin = admin;
    }

    void offsets(JsonNode request, ObjectNode answer) throws Exception {
        String topic = request.get("topic").asText();
        ObjectNode offsets = answer.putObject("offsets");
        admin.listConsumerGroupOffsets(request.get("group").asText()).partitionsToOffsetAndMetadata().get().forEach((at, offset) -> {
            if (at.topic().equals(topic) && offset != null) {
                offsets.put("" + at.partition(), offset.offset());
            }
        });
    }

    void setOffsets(JsonNode request) throws Exception {
        String topic = request.get("topic").asText();
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        request.get("offsets").properties().forEach(entry -> offsets.put(
                new TopicPartition(topic, Integer.parseInt(entry.getKey())), new OffsetAndMetadata(entry.getValue().asLong())));
        admin.alterConsumerGroupOffsets(request.get("group").asText(), offsets).all().get();
    }

    void transactions(ObjectNode answer) throws Exception {
        ArrayNode transactions = answer.putArray("transactions");
        for (TransactionListing listing : admin.listTransactions().all().get()) {
            ObjectNode one = transactions.addObject();
            one.put("id", listing.transactionalId());
            one.put("producer_id", listing.producerId());
            one.put("state", listing.state().toString());
        }
    }
}
