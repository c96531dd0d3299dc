import com.fasterxml.jackson.databind.JsonNode;
import dev.lockstep.ApiClient;
import dev.lockstep.ApiException;
import dev.lockstep.JSON;
import dev.lockstep.api.ConflictsApi;
import dev.lockstep.api.ConnectionsApi;
import dev.lockstep.api.RecordsApi;
import dev.lockstep.api.SyncsApi;
import dev.lockstep.model.*;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.time.Instant;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.function.Predicate;

/** The journey with the client that openapi-generator writes for Java's own HTTP client. */
public final class Journey {
    private static final Set<SyncStatus> OVER =
            EnumSet.of(SyncStatus.DONE, SyncStatus.PARTIAL, SyncStatus.FAILED, SyncStatus.CANCELLED);

    private final ConflictsApi conflicts;
    private final ConnectionsApi connections;
    private final RecordsApi records;
    private final SyncsApi syncs;
    private final String sku = "JV-" + UUID.randomUUID().toString().substring(0, 8);
    private final UUID recordId = UUID.randomUUID();

    private Journey(ApiClient client) {
        conflicts = new ConflictsApi(client);
        connections = new ConnectionsApi(client);
        records = new RecordsApi(client);
        syncs = new SyncsApi(client);
    }

    public static void main(String[] arguments) throws Exception {
        ApiClient client = new ApiClient();
        client.updateBaseUri(System.getenv("LOCKSTEP_URL"));
        String bearer = "Bearer " + System.getenv("LOCKSTEP_TOKEN");
        client.setRequestInterceptor(request -> request.header("Authorization", bearer));
        new Journey(client).run();
    }

    private void run() throws Exception {
        // Records.
        UUID erp = connections.listConnections().getItems().stream()
                .filter(connection -> connection.getSystem() == SystemName.ODOO)
                .findFirst().orElseThrow().getConnectionId();
        connections.putConnectionOwnership(erp, new Ownership().products(new FieldOwners().all(Owner.MANUAL)), null);
        check(put("Lamp").getContent().getName().equals("Lamp"), "a product is new");
        Customer ada = new Customer().name("Ada").email(sku + "@example.com");
        PutRecordCustomer customer = new PutRecordCustomer().recordId(UUID.randomUUID()).content(ada);
        PutRecordsResponse customers =
                records.putCustomers(new PutRecordsRequestCustomer().records(List.of(customer)), null);
        check(customers.getResults().get(0).getOutcome() == PutOutcome.CREATED, "a customer is new");

        // A sync, watched until it is done.
        SyncConfig atOnce = new SyncConfig().batchDelayMs(0);
        UUID first = start(atOnce, EntityType.CUSTOMERS, EntityType.PRODUCTS);
        check(finish(first).getStatus() == SyncStatus.DONE, "it is done");
        String externalId = records.getProduct(recordId).getConnections().stream()
                .filter(seen -> seen.getConnectionId().equals(erp))
                .findFirst().orElseThrow().getExternalId();
        check(externalId != null, "the product is in the ERP");

        // Paused, and resumed.
        UUID second = start(new SyncConfig().batchSize(1), EntityType.PRODUCTS);
        syncs.pauseSync(second, null);
        until("the pause", () -> syncs.getSync(second), sync -> sync.getStatus() == SyncStatus.PAUSED);
        syncs.resumeSync(second, null);
        check(finish(second).getStatus() == SyncStatus.DONE, "it went on");

        // A conflict, seen and resolved.
        renameInErp("Lamp of the office");
        put("Reading lamp");
        check(finish(start(atOnce, EntityType.PRODUCTS)).getStatus() == SyncStatus.PARTIAL, "it met a conflict");
        ConflictPage open = conflicts.listConflicts(
                ConflictState.OPEN, null, null, null, erp, null, null, null, null);
        Conflict conflict = open.getItems().stream()
                .filter(one -> recordId.equals(one.getRecordId()))
                .findFirst().orElseThrow();
        check(conflict.getType() == ConflictType.DATA_MISMATCH, "both sides changed it");
        check(conflict.getFields().contains("name"), "it is about the name");
        ResolveConflictRequest answer =
                new ResolveConflictRequest().resolution(Resolution.ACCEPT).when(ResolveWhen.NOW);
        UUID conflictId = conflict.getConflictId();
        conflicts.resolveConflict(conflictId, answer, "\"" + conflict.getVersion() + "\"", null);
        Conflict resolved = until("the answer's end", () -> conflicts.getConflict(conflictId),
                one -> one.getState() == ConflictState.RESOLVED);
        check(resolved.getClosedBy() == ClosedBy.ACCEPT, "it was closed by the answer");
        until("the name in the ERP", this::inErp, found -> found.get("name").asText().equals("Reading lamp"));

        // Errors arrive typed.
        Problem unknown = refused(() -> syncs.getSync(UUID.randomUUID()));
        check(unknown.getStatus() == 404 && unknown.getType().endsWith("/not-found"), "an unknown sync is a problem");
        Problem wrong = refused(() -> start(new SyncConfig().batchSize(500), EntityType.PRODUCTS));
        check(wrong.getErrors().get(0).getField().equals("syncConfig/batchSize"), "a wrong field is named");
        Problem late = refused(() -> syncs.pauseSync(first, null));
        check(late.getSyncStatus() == SyncStatus.DONE, "it says where the sync stands");
        check(late.getPossibleCommands().isEmpty(), "a sync that is over can't be paused");
        System.out.println(sku + ": the journey is over");
    }

    private RecordProduct put(String name) throws ApiException {
        Variant variant = new Variant().sku(sku).price(new Money().amount("19.90").currency("USD"));
        return records.putProduct(recordId, new Product().name(name).variants(List.of(variant)));
    }

    private UUID start(SyncConfig config, EntityType... types) throws ApiException {
        StartSyncRequest request = new StartSyncRequest().entityTypes(List.of(types)).syncConfig(config);
        return syncs.startSync(request, null, null).getSyncId();
    }

    private SyncDetails finish(UUID syncId) throws Exception {
        return until("a sync's end", () -> syncs.getSync(syncId), sync -> OVER.contains(sync.getStatus()));
    }

    private static Problem refused(Callable<?> request) throws Exception {
        try {
            request.call();
        } catch (ApiException error) {
            return JSON.getDefault().getMapper().readValue(error.getResponseBody(), Problem.class);
        }
        throw new AssertionError("it was not refused");
    }

    /** Asks the ERP, as its own people might. */
    private static JsonNode erpProducts(String method, String body) throws Exception {
        String url = System.getenv("ERP_URL") + "/json/2/product.template/" + method;
        HttpRequest request = HttpRequest.newBuilder(URI.create(url))
                .header("Authorization", "bearer sandbox-api-key")
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body))
                .build();
        HttpResponse<String> answer =
                HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
        check(answer.statusCode() == 200, "the ERP answers " + answer.statusCode());
        return JSON.getDefault().getMapper().readTree(answer.body());
    }

    private JsonNode inErp() throws Exception {
        String which = "{\"domain\": [[\"default_code\", \"=\", \"" + sku + "\"]], \"fields\": [\"name\"]}";
        return erpProducts("search_read", which).get(0);
    }

    private void renameInErp(String name) throws Exception {
        erpProducts("write", "{\"ids\": [" + inErp().get("id") + "], \"vals\": {\"name\": \"" + name + "\"}}");
    }

    private static <T> T until(String what, Callable<T> ask, Predicate<T> is) throws Exception {
        Instant deadline = Instant.now().plus(Duration.ofMinutes(2));
        while (true) {
            T answer = ask.call();
            if (is.test(answer)) {
                return answer;
            }
            check(Instant.now().isBefore(deadline), "waited too long for " + what);
            Thread.sleep(250);
        }
    }

    private static void check(boolean condition, String what) {
        if (!condition) {
            throw new AssertionError("not so: " + what);
        }
    }
}
