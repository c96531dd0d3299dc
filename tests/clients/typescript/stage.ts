// What both journeys need beside a client: where everything is, the ERP's own API, and patience.

const named = (name: string): string => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
};

export const url = named("LOCKSTEP_URL");
export const token = named("LOCKSTEP_TOKEN");
const erp = named("ERP_URL");

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

async function products(method: string, body: object): Promise<unknown> {
  const headers = { authorization: "bearer sandbox-api-key", "content-type": "application/json" };
  const request = { method: "POST", headers, body: JSON.stringify(body) };
  const answer = await fetch(`${erp}/json/2/product.template/${method}`, request);
  assert(answer.ok, `the ERP answers ${answer.status}`);
  return answer.json();
}

async function find(sku: string): Promise<{ id: number; name: string } | undefined> {
  const found = await products("search_read", { domain: [["default_code", "=", sku]], fields: ["name"] });
  return (found as { id: number; name: string }[])[0];
}

export const nameInErp = async (sku: string): Promise<string | undefined> => (await find(sku))?.name;

/** Has the ERP call a product by another name, as its people might. */
export async function rename(sku: string, name: string): Promise<void> {
  await products("write", { ids: [(await find(sku))?.id], vals: { name } });
}
