import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.util.concurrent.ExecutionException;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;

/**
 * The outside client of the tests: Apache Kafka's own client behind a pipe, so that what Millstream reads was not written
 * by Millstream's Kafka library, and what it writes is not judged by it.
 *
 * <p>Requests come on standard input and answers leave on standard output, as frames: one byte of kind, four bytes of
 * length, then the bytes. 'J' is a JSON object, 'R' a run of records (see {@link Records}), 'E' ends a run of records.
 * A request is one 'J' (after "produce": 'R'..., 'E'); its answer is any number of 'R' and then one 'J', with "error" in it
 * if it failed. End of input ends the process.
 */
public final class OutsideClient {
    static final ObjectMapper JSON = new ObjectMapper();

    private final DataInputStream in = new DataInputStream(new BufferedInputStream(System.in, 1 << 20));
    private final DataOutputStream out = new DataOutputStream(new BufferedOutputStream(System.out, 1 << 20));
    private final Producers producers;
    private final Consumers consumers;
    private final Topics topics;
    private final Groups groups;
    private final Acls acls;

    private OutsideClient(String bootstrap) {
        producers = new Producers(bootstrap);
        consumers = new Consumers(bootstrap);
        topics = new Topics(bootstrap);
        groups = new Groups(topics.admin());
        acls = new Acls(topics.admin());
    }

    public static void main(String[] args) throws IOException {
        new OutsideClient(args[0]).serve();
        // Without waiting for producers that a test left in the middle of a transaction.
        Runtime.getRuntime().halt(0);
    }

    private void serve() throws IOException {
        while (true) {
            byte[] request;
            try {
                request = frame('J');
            } catch (EOFException end) {
                return;
            }
            ObjectNode answer = JSON.createObjectNode();
            try {
                answer(JSON.readTree(request), answer);
            } catch (ExecutionException e) {
                answer.put("error", String.valueOf(e.getCause()));
            } catch (EOFException e) {
                return;
            } catch (Exception e) {
                answer.put("error", e.toString());
            }
            write('J', JSON.writeValueAsBytes(answer));
            out.flush();
        }
    }

    private void answer(JsonNode request, ObjectNode answer) throws Exception {
        String op = request.get("op").asText();
        switch (op) {
            case "produce" -> produce(request, answer);
            case "begin" -> producers.begin(request);
            case "commit" -> producers.commit(request);
            case "abort" -> producers.abort(request);
            case "consume" -> consumers.consume(request, answer, records -> write('R', records));
            case "create_topic" -> topics.create(request);
            case "delete_topic" -> topics.delete(request);
            case "add_partitions" -> topics.addPartitions(request);
            case "alter_topic" -> topics.alter(request);
            case "describe_topic" -> topics.describe(request, answer);
            case "topics" -> topics.list(answer);
            case "offsets" -> topics.offsets(request, answer);
            case "delete_records" -> topics.deleteRecords(request);
            case "group_offsets" -> groups.offsets(request, answer);
            case "set_group_offsets" -> groups.setOffsets(request);
            case "transactions" -> groups.transactions(answer);
            case "allow" -> acls.allow(request);
            default -> throw new IllegalArgumentException("no such operation: " + op);
        }
    }

    /** Takes in the whole run of records even if producing fails half-way, so that the next request is found. */
    private void produce(JsonNode request, ObjectNode answer) throws Exception {
        Exception failure = null;
        Producers.Run run = null;
        try {
            run = producers.run(request);
        } catch (Exception e) {
            failure = e;
        }
        while (true) {
            int kind = in.readUnsignedByte();
            byte[] bytes = in.readNBytes(in.readInt());
            if (kind == 'E') {
                break;
            }
            if (kind != 'R') {
                throw new EOFException();
            }
            try {
                if (failure == null) {
                    run.send(bytes);
                }
            } catch (Exception e) {
                failure = e;
            }
        }
        if (failure != null) {
            throw failure;
        }
        answer.put("produced", run.finish());
    }

    private byte[] frame(int kind) throws IOException {
        int found = in.readUnsignedByte();
        byte[] bytes = in.readNBytes(in.readInt());
        if (found != kind) {
            throw new IOException("expected a frame '" + (char) kind + "', got '" + (char) found + "'");
        }
        return bytes;
    }

    private void write(int kind, byte[] bytes) throws IOException {
        out.writeByte(kind);
        out.writeInt(bytes.length);
        out.write(bytes);
    }
}
