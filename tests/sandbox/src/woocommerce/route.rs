//! From a request to an answer.

use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Map, Value, json};

use super::attribute::Taxonomy;
use super::auth::{Caller, Keys, Permission, decoded_query};
use super::list::{self, Listing, Query};
use super::refusal::Refusal;
use super::resource::{Deletion, Resource};
use super::shop::{Actor, Shop};
use super::{batch, media, now, order, stock};
use crate::fault::FaultPlan;
use crate::geography;
use crate::server::{Course, Reply, Request, System};

const ROOT: &str = "/wp-json/wc/v3";

/// The shop behind its sockets.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) shop: Arc<Mutex<Shop>>,
    pub(super) keys: Mutex<Keys>,
    pub(super) faults: FaultPlan,
    pub(super) is_https: bool,
}

/// What a path points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Collection(Resource),
    Item(Resource, u64),
    Batch(Resource),
    AllVariations,
    AllRefunds,
}

impl System for Site {
    async fn answer(self: Arc<Self>, request: Request, course: Course) -> Reply {
        self.dispatch(&request, course)
            .await
            .unwrap_or_else(|refusal| refusal.reply())
    }

    fn faults(&self) -> &FaultPlan {
        &self.faults
    }
}

impl Site {
    pub(super) fn lock(&self) -> MutexGuard<'_, Shop> {
        self.shop.lock().expect("no holder of the shop panics")
    }

    async fn dispatch(&self, request: &Request, course: Course) -> Result<Reply, Refusal> {
        if request.method == "GET" && request.path.starts_with(media::FOLDER) {
            // A file, which anybody may have.
            let file = self.lock().picture_file(&request.path);
            return Ok(file.map_or_else(|| Reply::html(404, ""), |file| Reply::file("image/gif", file)));
        }
        let caller = self.keys.lock().expect("no holder of the keys panics").identify(
            request,
            self.is_https,
            now() + self.faults.clock_ahead_secs(),
        )?;
        let reads = matches!(request.method.as_str(), "GET" | "HEAD");
        if caller == Caller::Key(Permission::Read) && !reads {
            let message = "The API key provided does not have write permissions.";
            return Err(Refusal::new(
                401,
                "woocommerce_rest_authentication_error",
                message,
            ));
        }
        if request.query.contains("rest_route=") {
            // Only pretty permalinks reach the keys (facts: mapping-woocommerce 8).
            return Err(cannot_list());
        }
        if matches!(request.path.as_str(), "/wp-json" | "/wp-json/") {
            return Ok(Reply::json(200, &index(&self.lock())));
        }
        let Some(rest) = request.path.strip_prefix(ROOT) else {
            return if request.path.starts_with("/wp-json") {
                Err(Refusal::no_route())
            } else {
                Ok(Reply::html(404, "<!DOCTYPE html><title>Page not found</title>"))
            };
        };
        let segments: Vec<&str> = rest.split('/').filter(|segment| !segment.is_empty()).collect();
        let query = decoded_query(&request.query);
        if reads && let Some(answer) = self.fixed(&segments, &query, caller) {
            return answer;
        }
        if !reads && let Some(answer) = self.write_named(&segments, request, caller, course).await {
            return answer;
        }
        let target = target(&segments).ok_or_else(Refusal::no_route)?;
        if reads {
            self.read(target, request, &query, caller)
        } else {
            self.write(target, request, &query, caller, course).await
        }
    }

    fn read(
        &self,
        target: Target,
        request: &Request,
        query: &Query,
        caller: Caller,
    ) -> Result<Reply, Refusal> {
        let shop = self.lock();
        match target {
            Target::Collection(resource) => {
                list::check(query, resource.listing())?;
                allowed(caller, cannot_list)?;
                resource.list(&shop, &request.path, query)
            }
            Target::AllVariations => {
                let page = list::check(query, Listing::Variations)?;
                allowed(caller, cannot_list)?;
                let context = list::context(query);
                let ids = list::products(&shop, query, Listing::Variations, None);
                let render = |id| {
                    shop.product(id)
                        .map(|variation| shop.render_variation(variation, context))
                };
                Ok(list::paged(&shop, &request.path, query, page, &ids, render))
            }
            Target::AllRefunds => {
                let page = list::check(query, Listing::Refunds)?;
                allowed(caller, cannot_list)?;
                let ids = order::refunds(&shop, query, None);
                let render = |id| {
                    shop.book
                        .refunds
                        .get(&id)
                        .map(|refund| shop.render_refund_of(refund))
                };
                Ok(list::paged(&shop, &request.path, query, page, &ids, render))
            }
            Target::Item(resource, id) => {
                let view = resource.render(&shop, id, list::context(query));
                allowed(caller, || cannot("view", "Sorry, you cannot view this resource."))?;
                Ok(Reply::json(200, &list::thinned(view?, query)))
            }
            Target::Batch(_) => Err(Refusal::no_route()),
        }
    }

    async fn write(
        &self,
        target: Target,
        request: &Request,
        query: &Query,
        caller: Caller,
        course: Course,
    ) -> Result<Reply, Refusal> {
        let method = request.method.as_str();
        let is_change = matches!(method, "PUT" | "PATCH" | "POST");
        match target {
            Target::Batch(resource) if is_change => {
                let body = body(request)?;
                allowed(caller, || {
                    cannot(
                        "batch",
                        "Sorry, you are not allowed to batch manipulate this resource.",
                    )
                })?;
                Ok(batch::run(&self.shop, resource, &body, request.index, course).await)
            }
            // A refund is made or deleted, never changed (facts: systems A8).
            Target::Item(Resource::Refunds { .. }, _) if is_change => Err(Refusal::no_route()),
            Target::Collection(resource) if method == "POST" => {
                let body = body(request)?;
                resource.check_create(&body)?;
                allowed(caller, || {
                    cannot("create", "Sorry, you are not allowed to create resources.")
                })?;
                self.take_time(course).await?;
                let mut shop = self.locked_for(request);
                let id = resource.create(&mut shop, &body, now())?;
                let view = resource.render(&shop, id, super::product::Context::Edit)?;
                let location = format!("{}{}/{id}", shop.base_url, request.path);
                Ok(Reply::json(201, &list::thinned(view, query)).with_header("location", location))
            }
            Target::Item(resource, id) if is_change => {
                let body = body(request)?;
                resource.check_update(&body)?;
                allowed(caller, || {
                    cannot("edit", "Sorry, you are not allowed to edit this resource.")
                })?;
                self.take_time(course).await?;
                let absolute = stock::with_delta_read(&self.shop, resource, id, &body).await;
                let body = absolute.unwrap_or(body);
                let mut shop = self.locked_for(request);
                resource.update(&mut shop, id, &body, now())?;
                let view = resource.render(&shop, id, super::product::Context::Edit)?;
                Ok(Reply::json(200, &list::thinned(view, query)))
            }
            Target::Item(resource, id) if method == "DELETE" => {
                allowed(caller, || {
                    cannot("delete", "Sorry, you are not allowed to delete this resource.")
                })?;
                self.take_time(course).await?;
                let is_forced = query
                    .get("force")
                    .is_some_and(|force| matches!(force.as_str(), "true" | "1"));
                let deletion = if is_forced {
                    Deletion::Forced
                } else {
                    Deletion::Trash
                };
                let mut shop = self.locked_for(request);
                Ok(Reply::json(
                    200,
                    &resource.delete(&mut shop, id, deletion, now())?,
                ))
            }
            _ => Err(Refusal::no_route()),
        }
    }

    /// Writes what has a name in place of a number: settings and tax classes.
    async fn write_named(
        &self,
        segments: &[&str],
        request: &Request,
        caller: Caller,
        course: Course,
    ) -> Option<Result<Reply, Refusal>> {
        let is_change = matches!(request.method.as_str(), "PUT" | "PATCH" | "POST");
        let is_known = match segments {
            ["settings", _, _] => is_change,
            ["taxes", "classes"] => request.method == "POST",
            ["taxes", "classes", _] => request.method == "DELETE",
            _ => false,
        };
        if !is_known {
            return None;
        }
        let written = async {
            let body = body(request)?;
            allowed(caller, || {
                cannot("edit", "Sorry, you are not allowed to edit this resource.")
            })?;
            self.take_time(course).await?;
            let mut shop = self.locked_for(request);
            match segments {
                ["settings", group, id] => shop
                    .update_setting(group, id, &body)
                    .map(|view| Reply::json(200, &view)),
                ["taxes", "classes"] if !body.contains_key("name") => Err(Refusal::missing(&["name"])),
                ["taxes", "classes"] => shop.create_class(&body).map(|view| Reply::json(201, &view)),
                ["taxes", "classes", slug] => shop.delete_class(slug).map(|view| Reply::json(200, &view)),
                _ => Err(Refusal::no_route()),
            }
        };
        Some(written.await)
    }

    /// Lets a slow call be slow; a process that dies in a single call dies before its effect.
    async fn take_time(&self, course: Course) -> Result<(), Refusal> {
        if course.dies_after.is_some() {
            return Err(Refusal::critical());
        }
        tokio::time::sleep(course.runs_on).await;
        Ok(())
    }

    fn locked_for(&self, request: &Request) -> MutexGuard<'_, Shop> {
        let mut shop = self.lock();
        shop.actor = Actor::Api(request.index);
        shop
    }

    /// Answers what can only be read.
    fn fixed(&self, segments: &[&str], query: &Query, caller: Caller) -> Option<Result<Reply, Refusal>> {
        let shop = self.lock();
        let answer = match segments {
            [] => return Some(Ok(Reply::json(200, &json!({"namespace": "wc/v3", "routes": {}})))),
            ["system_status"] => Ok(Reply::json(200, &system_status(&shop))),
            ["data", "countries"] => Ok(Reply::json(
                200,
                &geography::COUNTRIES.iter().map(country).collect::<Value>(),
            )),
            ["data", "countries", code] => match geography::country(&code.to_uppercase()) {
                Some(found) => Ok(Reply::json(200, &country(found))),
                None => Err(Refusal::new(
                    404,
                    "woocommerce_rest_data_invalid_location",
                    "There are no locations matching these parameters.",
                )),
            },
            ["settings", group] => shop.render_group(group).map(|rows| Reply::json(200, &rows)),
            ["settings", group, id] => shop.render_setting(group, id).map(|row| Reply::json(200, &row)),
            ["taxes", "classes"] => Ok(Reply::json(200, &shop.render_classes())),
            [name @ "coupons"] | ["products", name @ "brands"] => recorded_list(&shop, name, query),
            [name @ "coupons", id] if id.parse::<u64>().is_ok() => {
                recorded_item(&shop, name, id.parse().unwrap_or_default())
            }
            _ => return None,
        };
        Some(allowed(caller, cannot_list).and(answer))
    }
}

fn allowed(caller: Caller, refuse: impl Fn() -> Refusal) -> Result<(), Refusal> {
    match caller {
        Caller::Key(_) => Ok(()),
        Caller::Nobody => Err(refuse()),
    }
}

fn cannot_list() -> Refusal {
    cannot("view", "Sorry, you cannot list resources.")
}

fn cannot(what: &str, message: &str) -> Refusal {
    Refusal::new(401, &format!("woocommerce_rest_cannot_{what}"), message)
}

/// Reads the body; one that does not claim to be JSON is not looked at (facts: systems A2).
fn body(request: &Request) -> Result<Map<String, Value>, Refusal> {
    if !request.claims_json() || request.body.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(&request.body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Ok(Map::new()),
        Err(_) => Err(
            Refusal::new(400, "rest_invalid_json", "Invalid JSON body passed.")
                .with("json_error_code", 4)
                .with("json_error_message", "Syntax error"),
        ),
    }
}

fn target(segments: &[&str]) -> Option<Target> {
    let id = |text: &str| text.parse::<u64>().ok();
    match segments {
        ["variations"] => Some(Target::AllVariations),
        ["products", "attributes", attribute, "terms", rest @ ..] => {
            within(Resource::Terms(Taxonomy::Attribute(id(attribute)?)), rest)
        }
        ["products", "attributes", rest @ ..] => within(Resource::Attributes, rest),
        ["products", "categories", rest @ ..] => within(Resource::Terms(Taxonomy::Categories), rest),
        ["products", "tags", rest @ ..] => within(Resource::Terms(Taxonomy::Tags), rest),
        ["products", parent, "variations", rest @ ..] => {
            within(Resource::Variations { parent: id(parent)? }, rest)
        }
        ["products", rest @ ..] => within(Resource::Products, rest),
        ["customers", rest @ ..] => within(Resource::Customers, rest),
        ["refunds"] => Some(Target::AllRefunds),
        ["orders", order, "refunds", rest @ ..] if *rest != ["batch"] => {
            within(Resource::Refunds { order: id(order)? }, rest)
        }
        ["orders", rest @ ..] => within(Resource::Orders, rest),
        ["taxes", rest @ ..] => within(Resource::Taxes, rest),
        ["webhooks", rest @ ..] if *rest != ["batch"] => within(Resource::Webhooks, rest),
        _ => None,
    }
}

fn within(resource: Resource, rest: &[&str]) -> Option<Target> {
    match rest {
        [] => Some(Target::Collection(resource)),
        ["batch"] => Some(Target::Batch(resource)),
        [id] => id.parse().ok().map(|id| Target::Item(resource, id)),
        _ => None,
    }
}

fn recorded_list(shop: &Shop, name: &str, query: &Query) -> Result<Reply, Refusal> {
    let page = list::check(query, Listing::Other)?;
    let none = std::collections::BTreeMap::new();
    let rows = shop.recorded.get(name).unwrap_or(&none);
    let ids = list::recorded(shop, rows, query);
    let path = format!("{ROOT}/{name}");
    Ok(list::paged(shop, &path, query, page, &ids, |id| {
        rows.get(&id).cloned()
    }))
}

fn recorded_item(shop: &Shop, name: &str, id: u64) -> Result<Reply, Refusal> {
    let row = shop.recorded.get(name).and_then(|rows| rows.get(&id));
    let kind = name.trim_end_matches('s');
    let code = format!("woocommerce_rest_shop_{kind}_invalid_id");
    row.map(|row| Reply::json(200, row))
        .ok_or_else(|| Refusal::new(404, &code, "Invalid ID."))
}

fn country(country: &geography::Country) -> Value {
    let states: Vec<Value> = geography::shop_states(country.code)
        .map(|state| json!({"code": state.code, "name": state.name}))
        .collect();
    json!({"code": country.code, "name": country.name, "states": states})
}

fn index(shop: &Shop) -> Value {
    json!({
        "name": "Sandbox", "description": "", "url": shop.base_url, "home": shop.base_url,
        "gmt_offset": shop.offset_secs / 3600, "timezone_string": "America/New_York",
        "namespaces": ["oembed/1.0", "wc/v1", "wc/v2", "wc/v3", "wp/v2"], "authentication": [], "routes": {},
    })
}

fn system_status(shop: &Shop) -> Value {
    let plugins: Vec<Value> = shop
        .plugins
        .iter()
        .map(|(file, name)| json!({"plugin": file, "name": name, "version": "1.0", "network_activated": false}))
        .collect();
    json!({
        "active_plugins": plugins,
        "environment": {
            "home_url": shop.base_url, "site_url": shop.base_url, "version": "11.0.1", "wp_version": "7.0.4",
            "php_version": "8.2.36", "mysql_version_string": "10.11.19-MariaDB-0+deb12u1",
            "default_timezone": "UTC",
        },
        "settings": {
            "api_enabled": false, "currency": shop.settings.get("general/woocommerce_currency"),
            "currency_symbol": "&#36;", "currency_position": "left", "thousand_separator": ",",
            "decimal_separator": ".", "number_of_decimals": shop.settings.decimals(), "HPOS_enabled": true,
        },
    })
}
