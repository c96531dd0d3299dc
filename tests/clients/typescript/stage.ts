// What both journeys need beside a client: where everything is, the store's own API, and patience.

const named = (name: string): string => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
};

export const url = named("LOCKSTEP_URL");
export const token = named("LOCKSTEP_TOKEN");
const store = named("STORE_URL");
const credentials = Buffer.from("ck_sandbox:cs_sandbox").toString("base64");

export function assert(condition: unknown, what: string): asserts condition {
  if (!condition) throw new Error(`not so: ${what}`);
}

/** Asks until the answer is what is waited for. */
export async function until<T>(what: string, ask: () => Promise<T>, is: (answer: T) => boolean): Promise<T> {
  const deadline = Date.now() + 120_000;
  for (;;) {
    const answer = await ask();
    if (is(answer)) return answer;
    if (Date.now() > deadline) throw new Error(`waited too long for ${what}: ${JSON.stringify(answer)}`);
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

export const isOver = (status: string): boolean => ["done", "partial", "failed", "cancelled"].includes(status);

async function product(id: string, init: RequestInit = {}): Promise<{ name: string }> {
  const headers = { authorization: `Basic ${credentials}`, "content-type": "application/json" };
  const answer = await fetch(`${store}/wp-json/wc/v3/products/${id}`, { ...init, headers });
  assert(answer.ok, `the store answers ${answer.status}`);
  return (await answer.json()) as { name: string };
}

/** Has the shop call a product by another name, as its people might. */
export const rename = (id: string, name: string) => product(id, { method: "PUT", body: JSON.stringify({ name }) });

export const nameInStore = async (id: string): Promise<string> => (await product(id)).name;
