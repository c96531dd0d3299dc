// The journey with the types of openapi-typescript, and openapi-fetch.

import { randomUUID } from "node:crypto";
import createClient from "openapi-fetch";
import type { components, paths } from "./lockstep.js";
import { assert, isOver, nameInErp, rename, token, until, url } from "./stage.js";

type Schemas = components["schemas"];

const client = createClient<paths>({ baseUrl: url, headers: { authorization: `Bearer ${token}` } });

/** Takes the answer, or says what the problem is. */
function taken<T>({ data, error }: { data?: T; error?: Schemas["Problem"] }): T {
  if (error) throw new Error(`${error.type}: ${error.detail}`);
  assert(data !== undefined, "there is an answer");
  return data;
}

const get = async (syncId: string) => taken(await client.GET("/api/v1/syncs/{syncId}", { params: { path: { syncId } } }));

async function start(body: Schemas["StartSyncRequest"]): Promise<string> {
  return taken(await client.POST("/api/v1/syncs", { body })).syncId;
}

const finish = (syncId: string) => until("a sync's end", () => get(syncId), ({ status }) => isOver(status));

/** Reads the events of a sync until the stream ends. */
async function watch(syncId: string): Promise<string[]> {
  const { data } = await client.GET("/api/v1/syncs/{syncId}/events", {
    params: { path: { syncId } },
    headers: { accept: "text/event-stream" },
    parseAs: "text",
  });
  assert(data, "there are events");
  const lines = data.split("\n").filter((line) => line.startsWith("data:"));
  return lines.map((line) => (JSON.parse(line.slice(5)) as Schemas["SyncEvent"]).kind);
}

const sku = `TS-${randomUUID().slice(0, 8)}`;
const recordId = randomUUID();
const product = (name: string): Schemas["Product"] => ({
  name,
  variants: [{ sku, price: { amount: "19.90", currency: "USD" } }],
});
const put = (name: string) =>
  client.PUT("/api/v1/records/products/{recordId}", { params: { path: { recordId } }, body: product(name) });

// Records.
const { items: connections } = taken(await client.GET("/api/v1/connections"));
const erp = connections.find(({ system }) => system === "odoo");
assert(erp, "there is an ERP");
const connectionId = erp.connectionId;
taken(
  await client.PUT("/api/v1/connections/{connectionId}/ownership", {
    params: { path: { connectionId } },
    body: { products: { all: "manual", fields: {} } },
  }),
);
const made = await put("Lamp");
assert(made.response.status === 201 && made.data?.content.name === "Lamp", "a product is new");
const customers = taken(
  await client.POST("/api/v1/records/customers", {
    body: { records: [{ recordId: randomUUID(), content: { name: "Ada", email: `${sku}@example.com` } }] },
  }),
);
assert(customers.results[0]?.outcome === "created", "a customer is new");

// A sync, watched until it is done.
const first = await start({ entityTypes: ["customers", "products"], syncConfig: { batchDelayMs: 0 } });
const kinds = await watch(first);
assert(kinds.at(-1) === "end", "the stream tells of the end");
const done = await finish(first);
assert(done.status === "done", `it is done: ${JSON.stringify(done)}`);
const record = taken(await client.GET("/api/v1/records/products/{recordId}", { params: { path: { recordId } } }));
const externalId = record.connections.find((seen) => seen.connectionId === connectionId)?.externalId;
assert(externalId, "the product is in the ERP");

// Paused, and resumed.
const second = await start({ entityTypes: ["products"], syncConfig: { batchSize: 1 } });
const path = { params: { path: { syncId: second } } };
taken(await client.POST("/api/v1/syncs/{syncId}/pause", path));
await until("the pause", () => get(second), ({ status }) => status === "paused");
taken(await client.POST("/api/v1/syncs/{syncId}/resume", path));
assert((await finish(second)).status === "done", "it went on");

// A conflict, seen and resolved.
await rename(sku, "Lamp of the office");
taken(await put("Reading lamp"));
const third = await finish(await start({ entityTypes: ["products"], syncConfig: { batchDelayMs: 0 } }));
assert(third.status === "partial", `it met a conflict: ${third.status}`);
const open = taken(await client.GET("/api/v1/conflicts", { params: { query: { state: "open", connectionId } } }));
const conflict = open.items.find((one) => one.recordId === recordId);
assert(conflict, "there is a conflict");
assert(conflict.type === "DataMismatch" && conflict.fields.includes("name"), "it is about the name");
const conflictId = conflict.conflictId;
const shown = async () => taken(await client.GET("/api/v1/conflicts/{conflictId}", { params: { path: { conflictId } } }));
taken(
  await client.POST("/api/v1/conflicts/{conflictId}/resolve", {
    params: { path: { conflictId }, header: { "If-Match": `"${conflict.version}"` } },
    body: { resolution: "accept", when: "now" },
  }),
);
const resolved = await until("the answer's end", shown, ({ state }) => state === "resolved");
assert(resolved.closedBy === "accept", "it was closed by the answer");
await until("the name in the ERP", () => nameInErp(sku), (name) => name === "Reading lamp");

// Errors arrive typed.
const unknown = await client.GET("/api/v1/syncs/{syncId}", { params: { path: { syncId: randomUUID() } } });
const problem: Schemas["Problem"] | undefined = unknown.error;
assert(problem?.status === 404 && problem.type.endsWith("/not-found"), "an unknown sync is a problem");
const wrong = await client.POST("/api/v1/syncs", { body: { syncConfig: { batchSize: 500 } } });
assert(wrong.error?.errors?.[0]?.field === "syncConfig/batchSize", "a wrong field is named");
const late = await client.POST("/api/v1/syncs/{syncId}/pause", { params: { path: { syncId: first } } });
assert(late.error?.syncStatus === "done" && late.error.possibleCommands?.length === 0, "a sync that is over can't be paused");

console.log(`${sku}: the journey is over`);
