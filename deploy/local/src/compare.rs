//! Whether two stand-ins hold the same: by looking at what they hold, and not at what a sync says that it did. Pure.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_sandbox::odoo::Erp;
use lockstep_sandbox::woocommerce::Store;
use lockstep_shared::system::EntityType;
use rust_decimal::Decimal;
use serde_json::Value;

/// Types of addresses in the ERP that are somebody's, and nobody themselves.
const ADDRESSES: [&str; 3] = ["invoice", "delivery", "other"];
/// Domain of the addresses that accounts without one have in the store.
const NO_EMAIL: &str = "@no-email.invalid";
/// Digits in which prices are compared: the ERP keeps them as binary fractions.
const PRICE_DIGITS: u32 = 6;

/// How the codes of the products begin that stand for what is none, such as shipping.
pub(crate) const ACCESSORY: &str = "LOCKSTEP-";

/// A thing as one system holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Thing {
    /// What people know it by, for messages.
    name: String,
    /// Whether it has to be in the other system too: what was put away is not carried over.
    is_wanted: bool,
    /// What both systems must say alike, by the name of the field.
    fields: BTreeMap<String, String>,
}

/// The things of one type that one system holds, by their identifiers there.
pub(crate) type Things = BTreeMap<String, Thing>;

/// Finds what one stand-in holds without the other, and what they say differently, of all five types: a sentence for
/// each thing. `pairs` tells the identifiers, in the store and in the ERP, of what is taken for the same thing.
pub fn stand_ins(
    store: &Store,
    erp: &Erp,
    pairs: impl Fn(EntityType) -> Vec<(String, String)>,
) -> Vec<String> {
    let (products, orders) = (store.products(), store.orders());
    let tables = ErpProducts {
        templates: erp.records("product.template"),
        variants: erp.records("product.product"),
        values: erp.records("product.template.attribute.value"),
    };
    let lost_of = |entity| {
        let (ours, theirs) = match entity {
            EntityType::Customers => (
                store_customers(&store.customers()),
                erp_customers(&erp.records("res.partner")),
            ),
            EntityType::Products => (store_products(&products), erp_products(&tables)),
            EntityType::Orders => (store_orders(&orders), erp_orders(&erp.records("sale.order"))),
            EntityType::Inventory => (store_levels(&products), erp_levels(&tables.variants)),
            EntityType::Payments => (
                store_payments(&orders, &store.refunds()),
                erp_payments(&erp.records("account.payment")),
            ),
        };
        lost(&ours, &theirs, &pairs(entity))
    };
    EntityType::ALL.into_iter().flat_map(lost_of).collect()
}

/// Finds what stands in one system without a counterpart in the other, and what both say differently: a sentence for
/// each thing. `pairs` are the identifiers, in the store and in the ERP, of what is taken for the same thing.
pub(crate) fn lost(store: &Things, erp: &Things, pairs: &[(String, String)]) -> Vec<String> {
    let mut lost = Vec::new();
    let mut in_store = BTreeSet::new();
    let mut in_erp = BTreeSet::new();
    for (store_id, erp_id) in pairs {
        let (Some(ours), Some(theirs)) = (store.get(store_id), erp.get(erp_id)) else {
            continue;
        };
        let is_first = in_store.insert(store_id.as_str()) & in_erp.insert(erp_id.as_str());
        if !is_first {
            lost.push(format!(
                "`{}` ({store_id} in WooCommerce, {erp_id} in Odoo) stands for two things",
                ours.name
            ));
        } else if let Some(difference) = difference(ours, theirs) {
            let name = &ours.name;
            lost.push(format!(
                "`{name}` ({store_id} in WooCommerce, {erp_id} in Odoo) differs: {difference}"
            ));
        }
    }
    let alone = |things: &Things, met: &BTreeSet<&str>, here: &str, there: &str| -> Vec<String> {
        let unmet = things
            .iter()
            .filter(|(id, thing)| thing.is_wanted && !met.contains(id.as_str()));
        unmet
            .map(|(id, thing)| format!("`{}` ({id} in {here}) is not in {there}", thing.name))
            .collect()
    };
    lost.extend(alone(store, &in_store, "WooCommerce", "Odoo"));
    lost.extend(alone(erp, &in_erp, "Odoo", "WooCommerce"));
    lost
}

/// Says in which fields two things differ. What lies in the store's trash is not kept up any more.
fn difference(ours: &Thing, theirs: &Thing) -> Option<String> {
    if !ours.is_wanted {
        return None;
    }
    let names: BTreeSet<&String> = ours.fields.keys().chain(theirs.fields.keys()).collect();
    let differing = names.into_iter().filter_map(|name| {
        let (ours, theirs) = (ours.fields.get(name), theirs.fields.get(name));
        let shown = |value: Option<&String>| value.map_or("nothing".to_owned(), |value| format!("`{value}`"));
        (ours != theirs).then(|| format!("{name} is {} and {}", shown(ours), shown(theirs)))
    });
    let differing: Vec<String> = differing.collect();
    (!differing.is_empty()).then(|| differing.join(", "))
}

/// Reads the accounts of the store.
pub(crate) fn store_customers(rows: &[Value]) -> Things {
    let things = rows.iter().filter_map(|row| {
        let own = [&row["first_name"], &row["last_name"]];
        let billing = [&row["billing"]["first_name"], &row["billing"]["last_name"]];
        let names = [
            joined(own),
            joined(billing),
            plain(&row["billing"]["company"]),
            plain(&row["username"]),
        ];
        let name = names
            .into_iter()
            .find(|name| !name.is_empty())
            .unwrap_or_default();
        let email = plain(&row["email"]).to_lowercase();
        let mut fields = BTreeMap::from([("name".to_owned(), name.clone())]);
        if !email.is_empty() && !email.ends_with(NO_EMAIL) {
            fields.insert("e-mail".to_owned(), email);
        }
        let thing = Thing {
            name,
            is_wanted: true,
            fields,
        };
        Some((identifier(row)?, thing))
    });
    things.collect()
}

/// Reads the partners of the ERP that are somebody.
pub(crate) fn erp_customers(rows: &[Value]) -> Things {
    let somebody = rows.iter().filter(|row| {
        let kind = row["type"].as_str().unwrap_or_default();
        !ADDRESSES.contains(&kind)
    });
    let things = somebody.filter_map(|row| {
        let name = plain(&row["name"]);
        let mut fields = BTreeMap::from([("name".to_owned(), name.clone())]);
        let email = plain(&row["email"]).to_lowercase();
        if is_email(&email) {
            fields.insert("e-mail".to_owned(), email);
        }
        let thing = Thing {
            name,
            is_wanted: is_active(row),
            fields,
        };
        Some((identifier(row)?, thing))
    });
    things.collect()
}

/// Partners have all sorts of texts for an address, several in one even; only a plain one is carried over.
fn is_email(text: &str) -> bool {
    let plain = !text.contains([' ', ',', ';', '<', '>']);
    plain
        && text
            .split_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && domain.contains('.'))
}

/// Reads the products of the store, each with its `variations_full`.
pub(crate) fn store_products(rows: &[Value]) -> Things {
    let things = rows.iter().filter_map(|row| {
        let name = plain(&row["name"]);
        let mut fields = BTreeMap::from([("name".to_owned(), name.clone())]);
        let parent_sku = plain(&row["sku"]).to_lowercase();
        if row["type"] == "variable" {
            let variations = row["variations_full"].as_array().into_iter().flatten();
            for variation in variations.filter(|variation| variation["status"] == "publish") {
                let key = variant_key(
                    variation["attributes"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .map(|one| (plain(&one["name"]), plain(&one["option"]))),
                );
                // What a variation has not itself, it shows of its product.
                let own_sku = plain(&variation["sku"]);
                let sku = Some(own_sku).filter(|sku| sku.to_lowercase() != parent_sku);
                put_variant(
                    &mut fields,
                    &key,
                    &sku.unwrap_or_default(),
                    price(&variation["regular_price"]),
                );
            }
        } else {
            put_variant(&mut fields, "", &plain(&row["sku"]), price(&row["regular_price"]));
        }
        let thing = Thing {
            name,
            is_wanted: row["status"] != "trash",
            fields,
        };
        Some((identifier(row)?, thing))
    });
    things.collect()
}

/// The tables of the ERP that make up its products.
#[derive(Debug, Default)]
pub(crate) struct ErpProducts {
    pub(crate) templates: Vec<Value>,
    pub(crate) variants: Vec<Value>,
    /// Options of attributes as templates have them, each with what it adds to the price.
    pub(crate) values: Vec<Value>,
}

/// Reads the products of the ERP.
pub(crate) fn erp_products(tables: &ErpProducts) -> Things {
    let values: BTreeMap<i64, &Value> = tables
        .values
        .iter()
        .filter_map(|row| Some((row["id"].as_i64()?, row)))
        .collect();
    let mut variants: BTreeMap<i64, Vec<&Value>> = BTreeMap::new();
    for row in &tables.variants {
        let template = row["product_tmpl_id"][0].as_i64().unwrap_or_default();
        variants.entry(template).or_default().push(row);
    }
    let things = tables.templates.iter().filter_map(|row| {
        let name = plain(&row["name"]);
        let mut fields = BTreeMap::from([("name".to_owned(), name.clone())]);
        let all = variants.get(&row["id"].as_i64()?).map_or(&[][..], Vec::as_slice);
        let is_accessory = all
            .iter()
            .any(|one| plain(&one["default_code"]).starts_with(ACCESSORY));
        let is_wanted = is_active(row) && !is_accessory;
        let live: Vec<&Value> = all
            .iter()
            .copied()
            .filter(|one| is_active(one) || !is_wanted)
            .collect();
        let has_choices = live.iter().any(|variant| !choices(variant).is_empty());
        // A variant without a choice beside others that have some is what a simple product left behind.
        for variant in live
            .into_iter()
            .filter(|one| !has_choices || !choices(one).is_empty())
        {
            let chosen: Vec<&Value> = choices(variant)
                .iter()
                .filter_map(|id| values.get(id).copied())
                .collect();
            let key = variant_key(
                chosen
                    .iter()
                    .map(|value| (plain(&value["attribute_id"][1]), plain(&value["name"]))),
            );
            let extras: Decimal = chosen.iter().map(|value| price(&value["price_extra"])).sum();
            let price = price(&row["list_price"]) + extras;
            put_variant(&mut fields, &key, &plain(&variant["default_code"]), price);
        }
        let thing = Thing {
            name,
            is_wanted,
            fields,
        };
        Some((identifier(row)?, thing))
    });
    things.collect()
}

/// How far an order has come, as both systems can tell.
fn stage_of(status: &str) -> &'static str {
    match status {
        "pending" | "on-hold" | "draft" | "sent" => "open",
        "processing" | "completed" | "refunded" | "sale" | "done" => "agreed",
        _ => "cancelled",
    }
}

fn order(row: &Value, name: &Value, total: &Value, status: &Value) -> Thing {
    let status = status.as_str().unwrap_or_default();
    Thing {
        name: plain(name),
        is_wanted: !matches!(status, "trash" | "checkout-draft" | "auto-draft") && row["id"].is_u64(),
        fields: BTreeMap::from([
            (
                "total".to_owned(),
                price(total).round_dp(2).normalize().to_string(),
            ),
            ("state".to_owned(), stage_of(status).to_owned()),
        ]),
    }
}

/// Reads the orders of the store.
pub(crate) fn store_orders(rows: &[Value]) -> Things {
    rows.iter()
        .filter_map(|row| {
            Some((
                identifier(row)?,
                order(row, &row["number"], &row["total"], &row["status"]),
            ))
        })
        .collect()
}

/// Reads the orders of the ERP.
pub(crate) fn erp_orders(rows: &[Value]) -> Things {
    rows.iter()
        .filter_map(|row| {
            Some((
                identifier(row)?,
                order(row, &row["name"], &row["amount_total"], &row["state"]),
            ))
        })
        .collect()
}

fn payment(name: String, amount: &Value, direction: &str) -> Thing {
    let amount = price(amount).abs().round_dp(2).normalize();
    Thing {
        name,
        is_wanted: true,
        fields: BTreeMap::from([
            ("amount".to_owned(), amount.to_string()),
            ("direction".to_owned(), direction.to_owned()),
        ]),
    }
}

/// Reads what was paid for the store's orders, and paid back.
pub(crate) fn store_payments(orders: &[Value], refunds: &[Value]) -> Things {
    let paid = orders.iter().filter_map(|row| {
        let id = identifier(row)?;
        // The store dates the payment of an order that we put in place by itself: nobody told of one.
        let is_told = row["created_via"] != "lockstep" || !plain(&row["payment_method"]).is_empty();
        let is_paid = is_told
            && row["date_paid"].is_string()
            && !price(&row["total"]).is_zero()
            && row["status"] != "trash";
        let name = format!("payment of {}", plain(&row["number"]));
        is_paid.then(|| (id, payment(name, &row["total"], "in")))
    });
    let back = refunds.iter().filter_map(|row| {
        let id = format!("{}/{}", row["parent_id"].as_u64()?, identifier(row)?);
        let name = format!("refund {id}");
        (!price(&row["amount"]).is_zero()).then(|| (id, payment(name, &row["amount"], "out")))
    });
    paid.chain(back).collect()
}

/// Reads the payments of the ERP that count.
pub(crate) fn erp_payments(rows: &[Value]) -> Things {
    let counted = rows
        .iter()
        .filter(|row| matches!(row["state"].as_str(), Some("in_process" | "paid")));
    counted
        .filter_map(|row| {
            let direction = if row["payment_type"] == "inbound" {
                "in"
            } else {
                "out"
            };
            Some((
                identifier(row)?,
                payment(plain(&row["memo"]), &row["amount"], direction),
            ))
        })
        .collect()
}

/// Reads the levels of the store: of products, and of variations by both their ids.
pub(crate) fn store_levels(products: &[Value]) -> Things {
    let level = |id: String, row: &Value, is_wanted: bool| {
        let quantity = row["stock_quantity"]
            .as_i64()
            .filter(|_| row["manage_stock"] == true)?;
        let thing = Thing {
            name: format!("stock of {}", plain(&row["name"])),
            is_wanted,
            fields: BTreeMap::from([("quantity".to_owned(), quantity.to_string())]),
        };
        Some((id, thing))
    };
    let mut levels = Things::new();
    for row in products {
        let Some(id) = identifier(row) else { continue };
        let is_wanted = row["status"] != "trash";
        if row["type"] == "variable" {
            let variations = row["variations_full"].as_array().into_iter().flatten();
            levels.extend(variations.filter_map(|variation| {
                level(format!("{id}/{}", identifier(variation)?), variation, is_wanted)
            }));
        } else {
            levels.extend(level(id, row, is_wanted));
        }
    }
    levels
}

/// Reads what of the ERP's variants can be sold, in whole units. Not every variant is counted, so none is missed.
pub(crate) fn erp_levels(variants: &[Value]) -> Things {
    let levels = variants.iter().filter_map(|row| {
        let quantity = (price(&row["qty_available"]) - price(&row["outgoing_qty"])).floor();
        let thing = Thing {
            name: format!("stock of {}", plain(&row["display_name"])),
            is_wanted: false,
            fields: BTreeMap::from([("quantity".to_owned(), quantity.normalize().to_string())]),
        };
        Some((identifier(row)?, thing))
    });
    levels.collect()
}

fn choices(variant: &Value) -> Vec<i64> {
    let ids = variant["product_template_attribute_value_ids"]
        .as_array()
        .into_iter()
        .flatten();
    ids.filter_map(Value::as_i64).collect()
}

fn put_variant(fields: &mut BTreeMap<String, String>, key: &str, sku: &str, price: Decimal) {
    let name = |what: &str| {
        if key.is_empty() {
            what.to_owned()
        } else {
            format!("{what} of {key}")
        }
    };
    if !sku.is_empty() {
        fields.insert(name("SKU"), sku.to_owned());
    }
    fields.insert(
        name("price"),
        price.round_dp(PRICE_DIGITS).normalize().to_string(),
    );
}

/// Names a variant by its options. One without an option stands for any: it tells nothing apart.
fn variant_key(attributes: impl Iterator<Item = (String, String)>) -> String {
    let mut pairs: Vec<String> = attributes
        .filter(|(_, option)| !option.is_empty())
        .map(|(name, option)| format!("{}={}", name.to_lowercase(), option.to_lowercase()))
        .collect();
    pairs.sort();
    pairs.join(" ")
}

fn identifier(row: &Value) -> Option<String> {
    row["id"].as_u64().map(|id| id.to_string())
}

fn is_active(row: &Value) -> bool {
    row["active"].as_bool().unwrap_or(true)
}

/// Reads a price; none is 0, as the ERP has it.
fn price(value: &Value) -> Decimal {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    text.parse().unwrap_or_default()
}

fn joined(parts: [&Value; 2]) -> String {
    let [first, last] = parts.map(plain);
    format!("{first} {last}").trim().to_owned()
}

/// Reads a text as people see it: the store keeps names encoded, the ERP says false for none.
fn plain(value: &Value) -> String {
    let decoded = decoded(value.as_str().unwrap_or_default());
    decoded.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn decoded(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        plain.push_str(&rest[..start]);
        rest = &rest[start..];
        let entity = rest
            .find(';')
            .and_then(|end| Some((character(&rest[1..end])?, end)));
        if let Some((character, end)) = entity {
            plain.push(character);
            rest = &rest[end + 1..];
        } else {
            plain.push('&');
            rest = &rest[1..];
        }
    }
    plain.push_str(rest);
    plain
}

fn character(entity: &str) -> Option<char> {
    match entity {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => char::from_u32(entity.strip_prefix('#')?.parse().ok()?),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(store, erp): &(&str, &str)| ((*store).to_owned(), (*erp).to_owned());
        pairs.iter().map(owned).collect()
    }

    fn accounts() -> Things {
        store_customers(&[
            json!({"id": 1, "first_name": "Ann", "last_name": "O&#039;Neil", "email": "ANN@example.com"}),
            json!({"id": 2, "first_name": "", "last_name": "", "username": "bob", "email": "x@no-email.invalid"}),
        ])
    }

    fn partners() -> Things {
        erp_customers(&[
            json!({"id": 7, "name": "Ann O'Neil", "email": "ann@example.com", "type": "contact"}),
            json!({"id": 8, "name": "bob", "email": false, "type": "contact", "active": true}),
            json!({"id": 9, "name": "Home", "email": false, "type": "delivery"}),
            json!({"id": 10, "name": "Left", "email": false, "type": "contact", "active": false}),
        ])
    }

    #[test]
    fn what_both_hold_alike_is_not_lost() {
        assert!(lost(&accounts(), &partners(), &pairs(&[("1", "7"), ("2", "8")])).is_empty());
    }

    #[test]
    fn what_has_no_counterpart_is_lost_on_either_side() {
        let lost = lost(&accounts(), &partners(), &pairs(&[("1", "7"), ("2", "99")]));

        assert_eq!(
            lost,
            [
                "`bob` (2 in WooCommerce) is not in Odoo",
                "`bob` (8 in Odoo) is not in WooCommerce"
            ]
        );
    }

    #[test]
    fn a_difference_is_named() {
        let lost = lost(&accounts(), &partners(), &pairs(&[("2", "7"), ("1", "8")]));

        assert_eq!(lost.len(), 2);
        assert_eq!(
            lost[0],
            "`bob` (2 in WooCommerce, 7 in Odoo) differs: e-mail is nothing and `ann@example.com`, name is `bob` and \
             `Ann O'Neil`"
        );
    }

    #[test]
    fn nothing_stands_for_two_things() {
        let lost = lost(
            &accounts(),
            &partners(),
            &pairs(&[("1", "7"), ("2", "8"), ("1", "8")]),
        );

        assert_eq!(
            lost,
            ["`Ann O'Neil` (1 in WooCommerce, 8 in Odoo) stands for two things"]
        );
    }

    fn hoodie() -> Value {
        json!({
            "id": 5, "type": "variable", "status": "publish", "name": "Hoodie &amp; Cap", "sku": "woo",
            "variations_full": [
                {"status": "publish", "sku": "woo", "regular_price": "45",
                    "attributes": [{"name": "Color", "option": "Blue"}, {"name": "Logo", "option": ""}]},
                {"status": "publish", "sku": "woo-red", "regular_price": "47.50",
                    "attributes": [{"name": "Color", "option": "Red"}]},
                {"status": "private", "sku": "old", "regular_price": "1", "attributes": []},
            ],
        })
    }

    fn template(list_price: f64, extra: f64) -> ErpProducts {
        ErpProducts {
            templates: vec![
                json!({"id": 3, "name": "Hoodie & Cap", "list_price": list_price, "active": true}),
            ],
            variants: vec![
                json!({"product_tmpl_id": [3, "x"], "default_code": false, "active": true,
                    "product_template_attribute_value_ids": [1]}),
                json!({"product_tmpl_id": [3, "x"], "default_code": "woo-red", "active": true,
                    "product_template_attribute_value_ids": [2]}),
                json!({"product_tmpl_id": [3, "x"], "default_code": "gone", "active": false,
                    "product_template_attribute_value_ids": []}),
            ],
            values: vec![
                json!({"id": 1, "name": "Blue", "attribute_id": [1, "Color"], "price_extra": 0.0}),
                json!({"id": 2, "name": "Red", "attribute_id": [1, "Color"], "price_extra": extra}),
            ],
        }
    }

    #[test]
    fn variants_are_compared_by_their_options() {
        let pairs = pairs(&[("5", "3")]);
        let store = store_products(&[hoodie()]);

        assert!(lost(&store, &erp_products(&template(45.0, 2.5)), &pairs).is_empty());
        let lost = lost(&store, &erp_products(&template(45.0, 2.0)), &pairs);
        assert_eq!(
            lost,
            ["`Hoodie & Cap` (5 in WooCommerce, 3 in Odoo) differs: price of color=red is `47.5` and `47`"]
        );
    }

    #[test]
    fn what_was_put_away_is_not_missed() {
        let mut trashed = hoodie();
        trashed["status"] = json!("trash");
        let mut archived = template(45.0, 2.5);
        archived.templates[0]["active"] = json!(false);

        assert!(lost(&store_products(&[trashed]), &erp_products(&archived), &[]).is_empty());
    }

    #[test]
    fn a_price_that_is_not_set_is_nothing() {
        let store = store_products(&[
            json!({"id": 1, "type": "simple", "status": "draft", "name": "Gift", "sku": "", "regular_price": ""}),
        ]);
        let erp = erp_products(&ErpProducts {
            templates: vec![json!({"id": 2, "name": "Gift", "list_price": 0.0, "active": false})],
            variants: vec![
                json!({"product_tmpl_id": [2, "Gift"], "default_code": false, "active": false,
                "product_template_attribute_value_ids": []}),
            ],
            values: Vec::new(),
        });

        assert!(
            lost(&store, &erp, &pairs(&[("1", "2")])).is_empty(),
            "a draft is archived in the ERP"
        );
    }

    #[test]
    fn texts_are_read_as_people_see_them() {
        let texts = ["A &amp; B", "5 &#8211; 6", "a  b\u{a0}c", "Q&A", "&unknown;"];

        let read: Vec<String> = texts.iter().map(|text| plain(&json!(text))).collect();

        assert_eq!(read, ["A & B", "5 – 6", "a b c", "Q&A", "&unknown;"]);
    }
}
