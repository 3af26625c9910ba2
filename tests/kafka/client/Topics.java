import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeSet;
import java.util.stream.Collectors;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;

/** Topics: making, changing, looking at and cutting them. */
final class Topics {
    private final Admin admin;

    Topics(String bootstrap) {
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap, "default.api.timeout.ms", 30_000));
    }

    Admin admin() {
        return admin;
    }

    void create(JsonNode request) throws Exception {
        NewTopic topic = new NewTopic(name(request), request.get("partitions").asInt(), (short) 1).configs(configs(request));
        admin.createTopics(List.of(topic)).all().get();
    }

    void delete(JsonNode request) throws Exception {
        admin.deleteTopics(List.of(name(request))).all().get();
    }

    void addPartitions(JsonNode request) throws Exception {
        admin.createPartitions(Map.of(name(request), NewPartitions.increaseTo(request.get("partitions").asInt()))).all().get();
    }

    void alter(JsonNode request) throws Exception {
        List<AlterConfigOp> changes = configs(request).entrySet().stream()
                .map(entry -> new AlterConfigOp(new ConfigEntry(entry.getKey(), entry.getValue()), AlterConfigOp.OpType.SET))
                .collect(Collectors.toList());
        admin.incrementalAlterConfigs(Map.of(resource(request), changes)).all().get();
    }

    void describe(JsonNode request, ObjectNode answer) throws Exception {
        TopicDescription topic = description(name(request));
        answer.put("id", topic.topicId().toString());
        answer.put("partitions", topic.partitions().size());
        ObjectNode configs = answer.putObject("configs");
        for (ConfigEntry entry : admin.describeConfigs(List.of(resource(request))).all().get().get(resource(request)).entries()) {
            configs.put(entry.name(), entry.value());
        }
    }

    void list(ObjectNode answer) throws Exception {
        new TreeSet<>(admin.listTopics().names().get()).forEach(answer.putArray("topics")::add);
    }

    /** First and last offset of each partition; with "committed" the last one is the last stable offset. */
    void offsets(JsonNode request, ObjectNode answer) throws Exception {
        boolean committed = request.get("committed").asBoolean();
        ListOffsetsOptions options =
                new ListOffsetsOptions(committed ? IsolationLevel.READ_COMMITTED : IsolationLevel.READ_UNCOMMITTED);
        Map<TopicPartition, OffsetSpec> first = new HashMap<>();
        Map<TopicPartition, OffsetSpec> last = new HashMap<>();
        description(name(request)).partitions().forEach(info -> {
            first.put(new TopicPartition(name(request), info.partition()), OffsetSpec.earliest());
            last.put(new TopicPartition(name(request), info.partition()), OffsetSpec.latest());
        });
        ObjectNode starts = answer.putObject("first");
        admin.listOffsets(first, options).all().get().forEach((at, info) -> starts.put("" + at.partition(), info.offset()));
        ObjectNode ends = answer.putObject("last");
        admin.listOffsets(last, options).all().get().forEach((at, info) -> ends.put("" + at.partition(), info.offset()));
    }

    /** Moves the beginning of partitions forward, as retention does. */
    void deleteRecords(JsonNode request) throws Exception {
        Map<TopicPartition, RecordsToDelete> cuts = new HashMap<>();
        request.get("before").properties().forEach(entry -> cuts.put(
                new TopicPartition(name(request), Integer.parseInt(entry.getKey())),
                RecordsToDelete.beforeOffset(entry.getValue().asLong())));
        admin.deleteRecords(cuts).all().get();
    }

    private TopicDescription description(String topic) throws Exception {
        return Optional.of(admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic)).get();
    }

    private static String name(JsonNode request) {
        return request.get("topic").asText();
    }

    private static ConfigResource resource(JsonNode request) {
        return new ConfigResource(ConfigResource.Type.TOPIC, name(request));
    }

    private static Map<String, String> configs(JsonNode request) {
        Map<String, String> configs = new HashMap<>();
        request.path("configs").properties().forEach(entry -> configs.put(entry.getKey(), entry.getValue().asText()));
        return configs;
    }
}
