//! The arithmetic of an order (facts: mapping-woocommerce 3, 3a, 3b).

#[cfg(test)]
mod tests;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::super::amount;
use super::super::meta::Meta;
use super::super::shop::Shop;
use super::super::tax::{self, Place};
use super::{Fee, LineTax, Order, TaxLine};

/// The sums of an order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct Totals {
    pub(in super::super) discount: Decimal,
    pub(in super::super) discount_tax: Decimal,
    pub(in super::super) shipping: Decimal,
    pub(in super::super) shipping_tax: Decimal,
    pub(in super::super) cart_tax: Decimal,
    pub(in super::super) total: Decimal,
}

/// The scale of money from which on lines are summed as they were sent.
const FINE_DIGITS: u32 = 2;

/// Calculates taxes and sums anew.
pub(super) fn calculate(shop: &mut Shop, order: &mut Order) {
    let digits = shop.settings.decimals();
    let summed = |value: Decimal| {
        // Lines are summed as sent; a shop with fewer digits rounds every line first (facts: mapping-woocommerce 3).
        if digits < FINE_DIGITS {
            amount::rounded(value, digits)
        } else {
            value
        }
    };
    let subtotal: Decimal = order.lines.iter().map(|line| summed(line.subtotal)).sum();
    let lines: Decimal = order.lines.iter().map(|line| summed(line.total)).sum();
    let shipping: Decimal = order
        .shippings
        .iter()
        .map(|shipping| amount::rounded(shipping.total, digits))
        .sum();
    let mut fees = Decimal::ZERO;
    for fee in &mut order.fees {
        // A negative fee takes away no more than what came before it.
        let least = -amount::rounded(lines + fees + shipping, digits);
        if fee.total < least && least < Decimal::ZERO {
            fee.total = least;
        }
        fees += fee.total;
    }
    tax(shop, order);
    let taxes = |pick: fn(&LineTax) -> Decimal| -> Decimal {
        order.lines.iter().flat_map(|line| &line.taxes).map(pick).sum()
    };
    let total_taxes = taxes(|tax| tax.total);
    let subtotal_taxes = taxes(|tax| tax.subtotal.unwrap_or_default());
    let cart_tax: Decimal = order.taxes.iter().map(|line| line.tax_total).sum();
    let shipping_tax: Decimal = order.taxes.iter().map(|line| line.shipping_tax_total).sum();
    order.totals = Totals {
        discount: amount::rounded(subtotal - lines, digits),
        discount_tax: shop.rounded_tax(subtotal_taxes - total_taxes),
        shipping,
        shipping_tax,
        cart_tax,
        total: amount::rounded(lines + fees + shipping + cart_tax + shipping_tax, digits),
    };
}

/// Calculates the taxes of every line, and sums them by rate.
fn tax(shop: &mut Shop, order: &mut Order) {
    let is_exempt = order
        .meta
        .iter()
        .any(|meta: &Meta| meta.key == "is_vat_exempt" && meta.value == "yes");
    let is_on = shop.settings.is_on("general/woocommerce_calc_taxes") && !is_exempt;
    let place = place(shop, order);
    let shipping_class = shipping_class(shop, order);
    let fee_taxes: Vec<Vec<LineTax>> = order
        .fees
        .iter()
        .map(|fee| {
            if is_on {
                of_fee(shop, order, fee, &place)
            } else {
                Vec::new()
            }
        })
        .collect();
    for line in &mut order.lines {
        let is_taxed = is_on && line.tax_class != "0" && shop.is_taxable(line.product, line.variation);
        line.taxes = if is_taxed {
            let rates = shop.taxes.owed(&place, &line.tax_class);
            let of_subtotal = tax::of(line.subtotal, &rates);
            let of_total = tax::of(line.total, &rates);
            let both = of_total.into_iter().zip(of_subtotal);
            both.map(|((rate, total), (_, subtotal))| LineTax {
                rate,
                total: shop.rounded_line_tax(total),
                subtotal: Some(shop.rounded_line_tax(subtotal)),
            })
            .collect()
        } else {
            Vec::new()
        };
    }
    for (fee, taxes) in order.fees.iter_mut().zip(fee_taxes) {
        fee.taxes = taxes;
    }
    for shipping in &mut order.shippings {
        let class = shipping_class
            .as_deref()
            .filter(|_| is_on && shipping.tax_status != "none");
        shipping.taxes = class.map_or_else(Vec::new, |class| {
            let mut rates = shop.taxes.owed(&place, class);
            rates.retain(|rate| rate.is_for_shipping);
            plain(shop, tax::of(shipping.total, &rates))
        });
    }
    sum_by_rate(shop, order);
}

fn plain(shop: &Shop, taxes: Vec<(u64, Decimal)>) -> Vec<LineTax> {
    let each = taxes.into_iter();
    each.map(|(rate, total)| LineTax {
        rate,
        total: shop.rounded_line_tax(total),
        subtotal: None,
    })
    .collect()
}

/// A fee is taxed by its class; a negative one by the classes of what it takes away from.
fn of_fee(shop: &Shop, order: &Order, fee: &Fee, place: &Place) -> Vec<LineTax> {
    if fee.tax_status != "taxable" || fee.tax_class == "0" {
        return Vec::new();
    }
    if fee.total >= Decimal::ZERO {
        return plain(shop, tax::of(fee.total, &shop.taxes.owed(place, &fee.tax_class)));
    }
    let goods = order
        .lines
        .iter()
        .filter(|line| line.tax_class != "0" && shop.is_taxable(line.product, line.variation));
    let costs: Vec<(&str, Decimal)> = goods.map(|line| (line.tax_class.as_str(), line.total)).collect();
    let all: Decimal = order.lines.iter().map(|line| line.total).sum();
    if all.is_zero() {
        return Vec::new();
    }
    let mut taxes: Vec<(u64, Decimal)> = Vec::new();
    for (class, cost) in costs {
        for (rate, tax) in tax::of(fee.total * cost / all, &shop.taxes.owed(place, class)) {
            match taxes.iter_mut().find(|(known, _)| *known == rate) {
                Some((_, sum)) => *sum += tax,
                None => taxes.push((rate, tax)),
            }
        }
    }
    plain(shop, taxes)
}

/// Keeps the row of a rate that was owed before, so that nothing changes when nothing changed.
fn sum_by_rate(shop: &mut Shop, order: &mut Order) {
    let mut sums: Vec<(u64, Decimal, Decimal)> = Vec::new();
    let mut add = |tax: &LineTax, is_shipping: bool| {
        let (cart, shipping) = if is_shipping {
            (Decimal::ZERO, tax.total)
        } else {
            (tax.total, Decimal::ZERO)
        };
        match sums.iter_mut().find(|(rate, _, _)| *rate == tax.rate) {
            Some(sum) => {
                sum.1 += cart;
                sum.2 += shipping;
            }
            None => sums.push((tax.rate, cart, shipping)),
        }
    };
    let of_lines = order.lines.iter().flat_map(|line| &line.taxes);
    for tax in of_lines.chain(order.fees.iter().flat_map(|fee| &fee.taxes)) {
        add(tax, false);
    }
    for tax in order.shippings.iter().flat_map(|shipping| &shipping.taxes) {
        add(tax, true);
    }
    let before = std::mem::take(&mut order.taxes);
    for (rate, tax_total, shipping_tax_total) in sums {
        let known = before.iter().find(|line| line.rate == rate);
        let id = known.map_or_else(|| shop.book.new_item(), |line| line.id);
        let Some(rate) = shop.taxes.rates.get(&rate) else {
            continue;
        };
        order.taxes.push(TaxLine {
            id,
            rate: rate.id,
            code: rate.code(),
            label: rate.label(),
            is_compound: rate.is_compound(),
            percent: rate.percent(),
            tax_total,
            shipping_tax_total,
        });
    }
}

/// Taxes are owed where the goods go, else where the bill goes, else where the shop is.
fn place(shop: &Shop, order: &Order) -> Place {
    let based_on = shop.settings.get("tax/woocommerce_tax_based_on");
    let has_shipping = !super::part(&order.shipping, "country").is_empty();
    let address = if based_on == "shipping" && has_shipping {
        &order.shipping
    } else {
        &order.billing
    };
    let part = |name: &str| super::part(address, name);
    if based_on == "base" || part("country").is_empty() {
        return shop.base_place();
    }
    Place {
        country: part("country"),
        state: part("state"),
        postcode: part("postcode"),
        city: part("city"),
    }
}

/// Returns the class that shipping is taxed by; none when no line has one to inherit.
fn shipping_class(shop: &Shop, order: &Order) -> Option<String> {
    let class = shop.settings.get("tax/woocommerce_shipping_tax_class");
    if class != "inherit" {
        return Some(class.to_owned());
    }
    let has = |class: &str| {
        order
            .lines
            .iter()
            .any(|line| line.tax_class == class && shop.is_taxable(line.product, line.variation))
    };
    let named = shop.taxes.classes.iter().map(|class| class.slug.as_str());
    std::iter::once("")
        .chain(named)
        .find(|class| has(class))
        .map(str::to_owned)
}
