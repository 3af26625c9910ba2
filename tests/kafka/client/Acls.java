import java.util.ArrayList;
import java.util.List;

import com.fasterxml.jackson.databind.JsonNode;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

/** What users may do, on a broker that asks. */
final class Acls {
    private final Admin admin;

    Acls(Admin admin) {
        this.admin = admin;
    }

    /** Allows a user some operations on a resource, or on all whose names begin alike. */
    void allow(JsonNode request) throws Exception {
        PatternType pattern = request.get("prefixed").asBoolean() ? PatternType.PREFIXED : PatternType.LITERAL;
        ResourceType type = ResourceType.fromString(request.get("type").asText());
        ResourcePattern resource = new ResourcePattern(type, request.get("name").asText(), pattern);
        List<AclBinding> bindings = new ArrayList<>();
        for (JsonNode operation : request.get("operations")) {
            bindings.add(new AclBinding(resource, new AccessControlEntry("User:" + request.get("user").asText(), "*",
                    AclOperation.fromString(operation.asText()), AclPermissionType.ALLOW)));
        }
        admin.createAcls(bindings).all().get();
    }
}
