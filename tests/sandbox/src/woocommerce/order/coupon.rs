//! Coupons on an order.
//!
//! How a discount spreads over the lines follows the source of WooCommerce (`WC_Discounts`); of the conditions of a
//! coupon only its status is looked at.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;
use serde_json::{Map, Value, json};

use super::super::amount;
use super::super::meta::Meta;
use super::super::product::as_text;
use super::super::refusal::Refusal;
use super::super::shop::Shop;
use super::super::text;
use super::{Coupon, Order, total};

/// What a coupon promises.
#[derive(Debug, Clone)]
struct Promise {
    id: u64,
    code: String,
    kind: String,
    amount: Decimal,
    is_shipping_free: bool,
}

/// Applies the coupons of a body in place of those that the order had.
pub(super) fn apply(shop: &mut Shop, order: &mut Order, body: &Map<String, Value>) -> Result<(), Refusal> {
    let Some(rows) = body.get("coupon_lines").and_then(Value::as_array) else {
        return Ok(());
    };
    let mut promises = Vec::new();
    for row in rows {
        promises.push(promise(shop, row)?);
    }
    if promises.is_empty() && order.coupons.is_empty() {
        return Ok(());
    }
    for line in &mut order.lines {
        line.total = line.subtotal;
    }
    total::calculate(shop, order);
    let before = std::mem::take(&mut order.coupons);
    for promise in promises {
        let id = before
            .iter()
            .find(|coupon| coupon.code == promise.code)
            .map(|coupon| coupon.id);
        discount(shop, order, promise, id);
    }
    total::calculate(shop, order);
    Ok(())
}

fn promise(shop: &Shop, row: &Value) -> Result<Promise, Refusal> {
    if row.get("id").and_then(Value::as_u64).is_some_and(|id| id > 0) {
        let message = "Coupon item ID is readonly.";
        return Err(Refusal::new(
            400,
            "woocommerce_rest_coupon_item_id_readonly",
            message,
        ));
    }
    let code = text::clean(&row.get("code").map(as_text).unwrap_or_default()).to_lowercase();
    if code.is_empty() {
        return Err(Refusal::new(
            400,
            "woocommerce_rest_invalid_coupon",
            "Coupon code is required.",
        ));
    }
    let coupons = shop.recorded.get("coupons").into_iter().flatten();
    let found = coupons
        .map(|(_, coupon)| coupon)
        .find(|coupon| {
            coupon["code"]
                .as_str()
                .is_some_and(|own| own.to_lowercase() == code)
        })
        .filter(|coupon| coupon["status"] == "publish");
    let Some(coupon) = found else {
        let message = format!("Coupon &quot;{code}&quot; cannot be applied because it does not exist.");
        return Err(Refusal::new(400, "woocommerce_rest_invalid_coupon", &message));
    };
    Ok(Promise {
        id: coupon["id"].as_u64().unwrap_or_default(),
        code,
        kind: as_text(&coupon["discount_type"]),
        amount: amount::read(&coupon["amount"]),
        is_shipping_free: coupon["free_shipping"].as_bool().unwrap_or_default(),
    })
}

fn discount(shop: &mut Shop, order: &mut Order, promise: Promise, known_id: Option<u64>) {
    let digits = shop.settings.decimals();
    let unit = Decimal::from(10_i64.pow(digits));
    let cents = |amount: Decimal| (amount * unit).round().to_i64().unwrap_or_default();
    let open: Vec<i64> = order.lines.iter().map(|line| cents(line.total).max(0)).collect();
    let quantities: Vec<i64> = order.lines.iter().map(|line| line.quantity.max(0)).collect();
    let cuts = match promise.kind.as_str() {
        "percent" => by_percent(&open, promise.amount),
        "fixed_product" => per_piece(&open, &quantities, cents(promise.amount)),
        _ => over_cart(&open, &quantities, cents(promise.amount)),
    };
    let before: Vec<Decimal> = order
        .lines
        .iter()
        .flat_map(|line| &line.taxes)
        .map(|tax| tax.total)
        .collect();
    for (line, cut) in order.lines.iter_mut().zip(&cuts) {
        line.total -= Decimal::from(*cut) / unit;
    }
    total::calculate(shop, order);
    let after: Decimal = order
        .lines
        .iter()
        .flat_map(|line| &line.taxes)
        .map(|tax| tax.total)
        .sum();
    let discount = Decimal::from(cuts.iter().sum::<i64>()) / unit;
    let tax = shop.rounded_tax(before.into_iter().sum::<Decimal>() - after);
    let mut info = json!([
        promise.id,
        promise.code,
        promise.kind,
        amount::number(promise.amount)
    ]);
    if promise.is_shipping_free
        && let Some(info) = info.as_array_mut()
    {
        info.push(json!(true));
    }
    let meta = Meta {
        id: shop.book.next_item_meta,
        key: "coupon_info".to_owned(),
        value: json!(info.to_string()),
    };
    shop.book.next_item_meta += 1;
    let id = known_id.unwrap_or_else(|| shop.book.new_item());
    order.coupons.push(Coupon {
        id,
        code: promise.code,
        discount: discount.normalize(),
        discount_tax: tax.normalize(),
        kind: promise.kind,
        nominal: promise.amount,
        is_shipping_free: promise.is_shipping_free,
        meta: vec![meta],
    });
}

/// Cuts each line down to the cent, and then hands out the cents that are still owed.
fn by_percent(open: &[i64], percent: Decimal) -> Vec<i64> {
    let share = |cents: i64| Decimal::from(cents) * percent / Decimal::from(100);
    let mut cuts: Vec<i64> = open
        .iter()
        .map(|cents| share(*cents).floor().to_i64().unwrap_or_default().min(*cents))
        .collect();
    let owed = amount::rounded(share(open.iter().sum()), 0)
        .to_i64()
        .unwrap_or_default();
    hand_out(&mut cuts, open, owed);
    cuts
}

fn per_piece(open: &[i64], quantities: &[i64], cents: i64) -> Vec<i64> {
    let each = open.iter().zip(quantities);
    each.map(|(open, quantity)| (cents * quantity).min(*open))
        .collect()
}

/// Spreads an amount evenly over all pieces until it is used up.
fn over_cart(open: &[i64], quantities: &[i64], cents: i64) -> Vec<i64> {
    let mut cuts = vec![0; open.len()];
    let mut left = cents.min(open.iter().sum());
    loop {
        let pieces: i64 = quantities
            .iter()
            .zip(open.iter().zip(&cuts))
            .filter(|(_, (open, cut))| open > cut)
            .map(|(quantity, _)| *quantity)
            .sum();
        if pieces == 0 || left / pieces == 0 {
            break;
        }
        let each = left / pieces;
        for ((cut, open), quantity) in cuts.iter_mut().zip(open).zip(quantities) {
            let more = (each * quantity).min(open - *cut);
            *cut += more;
            left -= more;
        }
    }
    let owed = cuts.iter().sum::<i64>() + left;
    hand_out(&mut cuts, open, owed);
    cuts
}

/// Hands out single cents, line by line, until the cuts come to what is owed.
fn hand_out(cuts: &mut [i64], open: &[i64], owed: i64) {
    let mut left = owed - cuts.iter().sum::<i64>();
    while left > 0 {
        let mut is_full = true;
        for (cut, open) in cuts.iter_mut().zip(open) {
            if left > 0 && *cut < *open {
                *cut += 1;
                left -= 1;
                is_full = false;
            }
        }
        if is_full {
            return;
        }
    }
}
