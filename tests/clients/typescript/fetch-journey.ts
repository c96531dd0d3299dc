// The journey with the client that openapi-generator writes for `typescript-fetch`.

import { randomUUID } from "node:crypto";
import {
  ConflictsApi,
  Configuration,
  ConnectionsApi,
  type Problem,
  ProblemFromJSON,
  RecordsApi,
  ResponseError,
  type StartSyncRequest,
  SyncEventFromJSON,
  SyncsApi,
} from "./fetch/index.js";
import { assert, isOver, nameInErp, rename, token, until, url } from "./stage.js";

const configuration = new Configuration({ basePath: url, accessToken: token });
const connections = new ConnectionsApi(configuration);
const conflicts = new ConflictsApi(configuration);
const records = new RecordsApi(configuration);
const syncs = new SyncsApi(configuration);

const start = async (startSyncRequest: StartSyncRequest) => (await syncs.startSync({ startSyncRequest })).syncId;
const finish = (syncId: string) => until("a sync's end", () => syncs.getSync({ syncId }), ({ status }) => isOver(status));

async function refused(request: Promise<unknown>): Promise<Problem> {
  const error: unknown = await request.then(() => undefined, (error: unknown) => error);
  assert(error instanceof ResponseError, "it is refused");
  return ProblemFromJSON(await error.response.json());
}

const sku = `TF-${randomUUID().slice(0, 8)}`;
const recordId = randomUUID();
const put = (name: string) => {
  const product = { name, variants: [{ sku, price: { amount: "19.90", currency: "USD" } }] };
  return records.putProductRaw({ recordId, product });
};

// Records.
const erp = (await connections.listConnections()).items.find(({ system }) => system === "odoo");
assert(erp, "there is an ERP");
const { connectionId } = erp;
await connections.putConnectionOwnership({ connectionId, ownership: { products: { all: "manual" } } });
const made = await put("Lamp");
assert(made.raw.status === 201 && (await made.value()).content.name === "Lamp", "a product is new");
const customer = { recordId: randomUUID(), content: { name: "Ada", email: `${sku}@example.com` } };
const customers = await records.putCustomers({ putRecordsRequestCustomer: { records: [customer] } });
assert(customers.results[0]?.outcome === "created", "a customer is new");

// A sync, watched until it is done.
const first = await start({ entityTypes: ["customers", "products"], syncConfig: { batchDelayMs: 0 } });
const lines = (await syncs.watchSync({ syncId: first })).split("\n").filter((line) => line.startsWith("data:"));
const events = lines.map((line) => SyncEventFromJSON(JSON.parse(line.slice(5))));
assert(events.at(-1)?.kind === "end", "the stream tells of the end");
assert((await finish(first)).status === "done", "it is done");
const record = await records.getProduct({ recordId });
const externalId = record.connections.find((seen) => seen.connectionId === connectionId)?.externalId;
assert(externalId, "the product is in the ERP");

// Paused, and resumed.
const second = await start({ entityTypes: ["products"], syncConfig: { batchSize: 1 } });
await syncs.pauseSync({ syncId: second });
await until("the pause", () => syncs.getSync({ syncId: second }), ({ status }) => status === "paused");
await syncs.resumeSync({ syncId: second });
assert((await finish(second)).status === "done", "it went on");

// A conflict, seen and resolved.
await rename(sku, "Lamp of the office");
await put("Reading lamp");
const third = await finish(await start({ entityTypes: ["products"], syncConfig: { batchDelayMs: 0 } }));
assert(third.status === "partial", `it met a conflict: ${third.status}`);
const open = await conflicts.listConflicts({ state: "open", connectionId });
const conflict = open.items.find((one) => one.recordId === recordId);
assert(conflict?.type === "DataMismatch" && conflict.fields.includes("name"), "it is about the name");
const { conflictId } = conflict;
await conflicts.resolveConflict({
  conflictId,
  ifMatch: `"${conflict.version}"`,
  resolveConflictRequest: { resolution: "accept", when: "now" },
});
const shown = () => conflicts.getConflict({ conflictId });
const resolved = await until("the answer's end", shown, ({ state }) => state === "resolved");
assert(resolved.closedBy === "accept", "it was closed by the answer");
await until("the name in the ERP", () => nameInErp(sku), (name) => name === "Reading lamp");

// Errors arrive typed.
const unknown = await refused(syncs.getSync({ syncId: randomUUID() }));
assert(unknown.status === 404 && unknown.type.endsWith("/not-found"), "an unknown sync is a problem");
const wrong = await refused(start({ syncConfig: { batchSize: 500 } }));
assert(wrong.errors?.[0]?.field === "syncConfig/batchSize", "a wrong field is named");
const late = await refused(syncs.pauseSync({ syncId: first }));
assert(late.syncStatus === "done" && late.possibleCommands?.length === 0, "a sync that is over can't be paused");

console.log(`${sku}: the journey is over`);
