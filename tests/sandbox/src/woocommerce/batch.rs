//! Batches: create, then update, then delete, one after another (facts: systems A9, mapping-woocommerce 7).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::product::Context;
use super::refusal::Refusal;
use super::resource::{Deletion, Resource, batch_error};
use super::shop::{Actor, Shop};
use super::stock;
use crate::server::{Course, Reply};

const LIMIT: usize = 100;

/// Runs a batch. Items are done one by one and each is visible at once; nothing is undone.
pub(super) async fn run(
    shop: &Arc<Mutex<Shop>>,
    resource: Resource,
    body: &Map<String, Value>,
    request: u64,
    course: Course,
) -> Reply {
    let part = |name: &str| {
        body.get(name)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let parts = [
        ("create", part("create")),
        ("update", part("update")),
        ("delete", part("delete")),
    ];
    let total: usize = parts.iter().map(|(_, items)| items.len()).sum();
    if total > LIMIT {
        let message = format!("Unable to accept more than {LIMIT} items for this request.");
        return Refusal::new(413, "woocommerce_rest_request_entity_too_large", &message).reply();
    }
    let pause = course.runs_on / u32::try_from(total.max(1)).unwrap_or(u32::MAX);
    let mut done = 0;
    let mut answer = Map::new();
    for (name, items) in parts {
        let mut results = Vec::new();
        for item in items {
            if course.dies_after.is_some_and(|limit| done >= limit) {
                return Refusal::critical().reply();
            }
            if pause > Duration::ZERO {
                tokio::time::sleep(pause).await;
            }
            let id = item.get("id").and_then(Value::as_u64).unwrap_or_default();
            let item = match item.as_object().filter(|_| name == "update") {
                Some(body) => stock::with_delta_read(shop, resource, id, body)
                    .await
                    .map_or(item, Value::Object),
                None => item,
            };
            let result = {
                let mut shop = shop.lock().expect("no holder of the shop panics");
                shop.actor = Actor::Api(request);
                one(&mut shop, resource, name, &item)
            };
            match result {
                Some(result) => results.push(result),
                None => return Refusal::critical().reply(),
            }
            done += 1;
        }
        if !results.is_empty() {
            answer.insert(name.to_owned(), Value::Array(results));
        }
    }
    if course.dies_after.is_some() {
        return Refusal::critical().reply();
    }
    let answer = if answer.is_empty() {
        json!([])
    } else {
        Value::Object(answer)
    };
    Reply::json(200, &answer)
}

/// Does one item; `None` is a fatal error of PHP.
fn one(shop: &mut Shop, resource: Resource, part: &str, item: &Value) -> Option<Value> {
    let now = super::now();
    if part == "delete" {
        let id = item
            .as_u64()
            .or_else(|| item.as_str()?.parse().ok())
            .unwrap_or_default();
        let deleted = resource.delete(shop, id, Deletion::Forced, now);
        return Some(deleted.unwrap_or_else(|refusal| batch_error(&json!(id), &refusal)));
    }
    let body = item.as_object()?;
    let (id, result) = if part == "create" {
        let created = resource.create(shop, body, now);
        if created.as_ref().is_err_and(|refusal| refusal.status == 500) {
            return None;
        }
        (json!(0), created)
    } else {
        let id = body.get("id").cloned().unwrap_or_default();
        let number = id
            .as_u64()
            .or_else(|| id.as_str()?.parse().ok())
            .unwrap_or_default();
        if let Resource::Variations { parent } = resource
            && shop.product(parent).is_none()
        {
            return None;
        }
        let updated = resource.update(shop, number, body, now);
        if updated.as_ref().is_err_and(|refusal| refusal.status == 500) {
            return None;
        }
        (id, updated.map(|()| number))
    };
    let shown = result.and_then(|number| resource.render(shop, number, Context::Edit));
    Some(shown.unwrap_or_else(|refusal| batch_error(&id, &refusal)))
}
