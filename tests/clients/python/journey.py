"""The journey with the client of openapi-python-client."""

import json
import os
import time
import urllib.request
from uuid import UUID, uuid4

from lockstep_client import AuthenticatedClient
from lockstep_client.api.conflicts import get_conflict, list_conflicts, resolve_conflict
from lockstep_client.api.connections import list_connections, put_connection_ownership
from lockstep_client.api.records import get_product, put_customers, put_product
from lockstep_client.api.syncs import get_sync, pause_sync, resume_sync, start_sync, watch_sync
from lockstep_client.models import (
    ConflictState,
    ConflictType,
    Customer,
    EntityType,
    FieldOwners,
    Money,
    Owner,
    Ownership,
    Problem,
    Product,
    PutOutcome,
    PutRecordCustomer,
    PutRecordsRequestCustomer,
    Resolution,
    ResolveConflictRequest,
    ResolveWhen,
    StartSyncRequest,
    SyncConfig,
    SyncEvent,
    SyncEventKind,
    SyncStatus,
    SystemName,
    Variant,
)

OVER = {SyncStatus.DONE, SyncStatus.PARTIAL, SyncStatus.FAILED, SyncStatus.CANCELLED}

client = AuthenticatedClient(base_url=os.environ["LOCKSTEP_URL"], token=os.environ["LOCKSTEP_TOKEN"])
client = client.with_timeout(120)


def taken(answer):
    """Takes the answer, or says what the problem is."""
    assert answer is not None and not isinstance(answer, Problem), answer
    return answer


def until(what, ask, is_so):
    """Asks until the answer is what is waited for."""
    deadline = time.monotonic() + 120
    while not is_so(answer := ask()):
        assert time.monotonic() < deadline, f"waited too long for {what}: {answer}"
        time.sleep(0.25)
    return answer


def erp_products(method: str, body: dict):
    request = urllib.request.Request(f"{os.environ['ERP_URL']}/json/2/product.template/{method}")
    request.add_header("Authorization", "bearer sandbox-api-key")
    request.add_header("Content-Type", "application/json")
    request.data = json.dumps(body).encode()
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def find_in_erp(sku: str) -> dict:
    return erp_products("search_read", {"domain": [["default_code", "=", sku]], "fields": ["name"]})[0]


def rename_in_erp(sku: str, name: str) -> None:
    """Has the ERP call a product by another name, as its people might."""
    erp_products("write", {"ids": [find_in_erp(sku)["id"]], "vals": {"name": name}})


def get(sync_id: UUID):
    return taken(get_sync.sync(sync_id, client=client))


def start(config: SyncConfig, *entity_types: EntityType) -> UUID:
    request = StartSyncRequest(entity_types=list(entity_types), sync_config=config)
    return taken(start_sync.sync(client=client, body=request)).sync_id


def finish(sync_id: UUID):
    return until("a sync's end", lambda: get(sync_id), lambda sync: sync.status in OVER)


sku = f"PY-{uuid4().hex[:8]}"
record_id = uuid4()
at_once = SyncConfig(batch_delay_ms=0)


def put(name: str):
    variant = Variant(sku=sku, price=Money(amount="19.90", currency="USD"))
    return put_product.sync_detailed(record_id, client=client, body=Product(name=name, variants=[variant]))


# Records.
connections = taken(list_connections.sync(client=client)).items
erp = next(one for one in connections if one.system == SystemName.ODOO).connection_id
manual = Ownership(products=FieldOwners(all_=Owner.MANUAL))
taken(put_connection_ownership.sync(erp, client=client, body=manual))
made = put("Lamp")
assert made.status_code == 201 and taken(made.parsed).content.name == "Lamp"
customer = PutRecordCustomer(record_id=uuid4(), content=Customer(name="Ada", email=f"{sku}@example.com"))
customers = taken(put_customers.sync(client=client, body=PutRecordsRequestCustomer(records=[customer])))
assert customers.results[0].outcome == PutOutcome.CREATED

# A sync, watched until it is done.
first = start(at_once, EntityType.CUSTOMERS, EntityType.PRODUCTS)
lines = taken(watch_sync.sync(first, client=client)).splitlines()
events = [SyncEvent.from_dict(json.loads(line[5:])) for line in lines if line.startswith("data:")]
assert events[-1].kind == SyncEventKind.END and events[-1].sync_id == first
assert finish(first).status == SyncStatus.DONE
record = taken(get_product.sync(record_id, client=client))
external_id = next(seen.external_id for seen in record.connections if seen.connection_id == erp)
assert isinstance(external_id, str)

# Paused, and resumed.
second = start(SyncConfig(batch_size=1), EntityType.PRODUCTS)
taken(pause_sync.sync(second, client=client))
until("the pause", lambda: get(second), lambda sync: sync.status == SyncStatus.PAUSED)
taken(resume_sync.sync(second, client=client))
assert finish(second).status == SyncStatus.DONE

# A conflict, seen and resolved.
rename_in_erp(sku, "Lamp of the office")
taken(put("Reading lamp").parsed)
third = finish(start(at_once, EntityType.PRODUCTS))
assert third.status == SyncStatus.PARTIAL, third
open_ones = taken(list_conflicts.sync(client=client, state=ConflictState.OPEN, connection_id=erp)).items
conflict = next(one for one in open_ones if one.record_id == record_id)
assert conflict.type_ == ConflictType.DATAMISMATCH and "name" in conflict.fields
answer = ResolveConflictRequest(resolution=Resolution.ACCEPT, when=ResolveWhen.NOW)
seen = f'"{conflict.version}"'
taken(resolve_conflict.sync(conflict.conflict_id, client=client, body=answer, if_match=seen))
resolved = until(
    "the answer's end",
    lambda: taken(get_conflict.sync(conflict.conflict_id, client=client)),
    lambda conflict: conflict.state == ConflictState.RESOLVED,
)
assert resolved.closed_by == "accept"
until("the name in the ERP", lambda: find_in_erp(sku), lambda found: found["name"] == "Reading lamp")

# Errors arrive typed.
unknown = get_sync.sync(uuid4(), client=client)
assert isinstance(unknown, Problem) and unknown.status == 404 and unknown.type_.endswith("/not-found")
wrong = start_sync.sync(client=client, body=StartSyncRequest(sync_config=SyncConfig(batch_size=500)))
assert isinstance(wrong, Problem) and wrong.errors[0].field == "syncConfig/batchSize"
late = pause_sync.sync(first, client=client)
assert isinstance(late, Problem) and late.sync_status == SyncStatus.DONE and late.possible_commands == []

print(f"{sku}: the journey is over")
