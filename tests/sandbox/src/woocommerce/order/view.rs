//! How an order is answered.

use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use super::super::amount;
use super::super::customer::Address;
use super::super::meta::{self, Meta};
use super::super::schema;
use super::super::shop::Shop;
use super::super::text;
use super::{Coupon, Fee, Line, LineTax, Order, Shipping, TaxLine, currency, link};

impl Shop {
    pub(in super::super) fn render_order(&self, order: &Order) -> Value {
        let digits = self.settings.decimals();
        let money = |amount: Decimal| amount::shown(amount, digits);
        let totals = &order.totals;
        let base = format!("{}/wp-json/wc/v3/orders", self.base_url);
        let local = |at: i64| text::iso(at + self.offset_secs);
        let lines: Value = order.lines.iter().map(|line| self.render_line(line)).collect();
        let mut view = json!({
            "id": order.id, "parent_id": 0, "status": order.status, "currency": order.currency,
            "version": "11.0.1", "prices_include_tax": order.prices_include_tax,
            "date_created": local(order.created), "date_modified": local(order.modified),
            "discount_total": money(totals.discount), "discount_tax": money(totals.discount_tax),
            "shipping_total": money(totals.shipping), "shipping_tax": money(totals.shipping_tax),
            "cart_tax": money(totals.cart_tax), "total": money(totals.total),
            "total_tax": money(totals.cart_tax + totals.shipping_tax),
            "customer_id": order.customer, "order_key": order.secret,
            "billing": address(&order.billing, true), "shipping": address(&order.shipping, false),
            "payment_method": order.payment_method, "payment_method_title": order.payment_method_title,
            "transaction_id": order.transaction_id, "customer_ip_address": "", "customer_user_agent": "",
            "created_via": order.created_via, "customer_note": order.customer_note,
            "date_completed": order.completed.map(local), "date_paid": order.paid.map(local), "cart_hash": "",
            "number": order.id.to_string(), "meta_data": meta::render(&order.meta), "line_items": lines,
            "tax_lines": order.taxes.iter().map(|line| self.render_tax_line(line)).collect::<Value>(),
            "shipping_lines": order.shippings.iter().map(|line| self.render_shipping(line)).collect::<Value>(),
            "fee_lines": order.fees.iter().map(|line| self.render_fee(line)).collect::<Value>(),
            "coupon_lines": order.coupons.iter().map(render_coupon).collect::<Value>(),
            "refunds": self.render_refunds_in(order),
            "payment_url": format!(
                "{}/checkout/order-pay/{}/?pay_for_order=true&key={}", self.base_url, order.id, order.secret,
            ),
            "is_editable": matches!(order.status.as_str(), "pending" | "on-hold" | "auto-draft"),
            "needs_payment": order.needs_payment(), "needs_processing": self.needs_processing(order),
            "date_created_gmt": text::iso(order.created), "date_modified_gmt": text::iso(order.modified),
            "date_completed_gmt": order.completed.map(text::iso), "date_paid_gmt": order.paid.map(text::iso),
            "currency_symbol": currency::symbol(&order.currency),
            "_links": {"self": link(&base, order.id), "collection": [{"href": base}]},
        });
        if order.customer > 0 {
            let customers = format!("{}/wp-json/wc/v3/customers", self.base_url);
            view["_links"]["customer"] = link(&customers, order.customer);
        }
        view
    }

    /// Names the refunds the way an order does; one without an amount has the total «-» (facts: systems A8).
    fn render_refunds_in(&self, order: &Order) -> Value {
        let digits = self.settings.decimals();
        let mut refunds: Vec<_> = self.book.refunds_of(order.id).collect();
        refunds.sort_by_key(|refund| (-refund.created, refund.id));
        let each = refunds.into_iter();
        each.map(|refund| {
            let amount = refund.amount.map(|amount| amount::shown(amount, digits));
            json!({
                "id": refund.id, "reason": refund.reason, "total": format!("-{}", amount.unwrap_or_default()),
                "total_tax": amount::shown(refund.tax(), digits),
            })
        })
        .collect()
    }

    fn render_taxes(&self, taxes: &[LineTax]) -> Value {
        let digits = self.settings.decimals();
        let each = taxes.iter();
        each.map(|tax| {
            let subtotal = tax.subtotal.map(|amount| amount::stored(amount, digits));
            json!({
                "id": tax.rate, "total": amount::stored(tax.total, digits), "subtotal": subtotal.unwrap_or_default(),
            })
        })
        .collect()
    }

    pub(in super::super) fn render_line(&self, line: &Line) -> Value {
        let digits = self.settings.decimals();
        let money = |amount: Decimal| amount::shown(amount, digits);
        let product = self.product(line.stock_id());
        let is_variation = product.is_some_and(super::super::product::Product::is_variation);
        let parent = product
            .filter(|_| is_variation)
            .and_then(|product| self.product(product.parent));
        let image = match product {
            Some(_) if !is_variation => json!(""),
            _ => json!(0),
        };
        let price = if line.quantity == 0 {
            Decimal::ZERO
        } else {
            line.total / Decimal::from(line.quantity)
        };
        json!({
            "id": line.id, "name": line.name, "product_id": line.product, "variation_id": line.variation,
            "quantity": line.quantity, "tax_class": line.tax_class,
            "subtotal": money(line.subtotal),
            "subtotal_tax": money(line.taxes.iter().filter_map(|tax| tax.subtotal).sum()),
            "total": money(line.total), "total_tax": money(sum(&line.taxes)), "taxes": self.render_taxes(&line.taxes),
            "meta_data": self.render_meta(&line.meta, line),
            "sku": product.map(|product| self.own_or_inherited_sku(product)),
            "global_unique_id": product.map(|product| product.global_unique_id.clone()),
            "price": amount::number(price.round_dp(14)), "image": {"id": image, "src": ""},
            "parent_name": parent.map(|parent| parent.name.clone()),
        })
    }

    pub(in super::super) fn render_shipping(&self, line: &Shipping) -> Value {
        let digits = self.settings.decimals();
        json!({
            "id": line.id, "method_title": line.title, "method_id": line.method, "instance_id": line.instance,
            "total": amount::shown(line.total, digits), "total_tax": amount::shown(sum(&line.taxes), digits),
            "taxes": self.render_taxes(&line.taxes), "tax_status": line.tax_status,
            "meta_data": plain_meta(&line.meta),
        })
    }

    pub(in super::super) fn render_fee(&self, line: &Fee) -> Value {
        let digits = self.settings.decimals();
        json!({
            "id": line.id, "name": line.name, "tax_class": line.tax_class, "tax_status": line.tax_status,
            "amount": line.amount, "total": amount::shown(line.total, digits),
            "total_tax": amount::shown(sum(&line.taxes), digits), "taxes": self.render_taxes(&line.taxes),
            "meta_data": plain_meta(&line.meta),
        })
    }

    pub(in super::super) fn render_tax_line(&self, line: &TaxLine) -> Value {
        let digits = self.settings.decimals();
        json!({
            "id": line.id, "rate_code": line.code, "rate_id": line.rate, "label": line.label,
            "compound": line.is_compound, "tax_total": amount::shown(line.tax_total, digits),
            "shipping_tax_total": amount::shown(line.shipping_tax_total, digits),
            "rate_percent": amount::number(line.percent), "meta_data": [],
        })
    }

    /// Attributes of a variation are shown by name; what is empty or hidden stays as it is.
    fn render_meta(&self, entries: &[Meta], line: &Line) -> Value {
        let each = entries.iter();
        each.map(|entry| {
            let value = entry.value.as_str().unwrap_or_default();
            let is_raw = value.is_empty() || entry.key.starts_with('_');
            let shown = (!is_raw).then(|| self.attribute_shown(line, &entry.key, value)).flatten();
            let (key, value) = shown.map_or_else(
                || (json!(entry.key), entry.value.clone()),
                |(name, option)| (json!(name), json!(option)),
            );
            json!({
                "id": entry.id, "key": entry.key, "value": entry.value, "display_key": key, "display_value": value,
            })
        })
        .collect()
    }
}

fn sum(taxes: &[LineTax]) -> Decimal {
    taxes.iter().map(|tax| tax.total).sum()
}

fn plain_meta(entries: &[Meta]) -> Value {
    let each = entries.iter();
    each.map(|entry| {
        json!({
            "id": entry.id, "key": entry.key, "value": entry.value,
            "display_key": entry.key, "display_value": entry.value,
        })
    })
    .collect()
}

fn render_coupon(coupon: &Coupon) -> Value {
    json!({
        "id": coupon.id, "code": coupon.code, "discount": amount::plain(coupon.discount),
        "discount_tax": amount::plain(coupon.discount_tax), "meta_data": plain_meta(&coupon.meta),
        "discount_type": coupon.kind, "nominal_amount": amount::number(coupon.nominal),
        "free_shipping": coupon.is_shipping_free,
    })
}

fn address(parts: &Address, with_email: bool) -> Value {
    let named = schema::ADDRESS.iter().zip(parts);
    let shown = named.filter(|(part, _)| with_email || **part != "email");
    Value::Object(
        shown
            .map(|(part, value)| ((*part).to_owned(), json!(value)))
            .collect::<Map<_, _>>(),
    )
}
