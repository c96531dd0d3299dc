//! Records for tests: valid, small, and told apart by what is passed in.

use lockstep_shared::entity::{
    Content, Currency, Customer, Inventory, Money, Order, OrderLine, OrderStatus, PartKey, Payment,
    PaymentKind, Product, ProductKind, ProductStatus, Reference, Variant,
};
use lockstep_shared::id::RecordId;
use rust_decimal::Decimal;

pub fn product(sku: &str, price_cents: i64) -> Content {
    Content::Product(Product {
        name: format!("Product {sku}"),
        status: ProductStatus::Published,
        kind: ProductKind::Goods,
        tracks_stock: false,
        description: None,
        summary: Some(format!("About {sku}")),
        variants: vec![Variant {
            sku: Some(sku.to_owned()),
            price: Some(Money::new(Decimal::new(price_cents, 2), Currency::USD)),
            ..Variant::default()
        }],
        categories: Vec::new(),
        images: Vec::new(),
        tags: Vec::new(),
        tax_class: None,
    })
}

pub fn customer(email: &str) -> Content {
    Content::Customer(Customer {
        name: format!("Customer {}", email.split('@').next().unwrap_or_default()),
        email: Some(email.to_owned()),
        phone: None,
        company: None,
        tax_number: None,
        billing: None,
        shipping: None,
        is_active: true,
        language: None,
    })
}

/// An order of one piece for 10 dollars.
pub fn order(number: &str, customer: RecordId, product: RecordId) -> Content {
    let ten = Decimal::from(10);
    Content::Order(Order {
        number: number.to_owned(),
        origin: None,
        status: OrderStatus::Processing,
        currency: Currency::USD,
        placed_at: "2026-03-01T10:00:00Z".parse().expect("a time"),
        customer: Some(Reference::record(customer, PartKey::default())),
        billing: None,
        shipping: None,
        note: None,
        coupons: Vec::new(),
        lines: vec![OrderLine {
            key: PartKey::named("1"),
            product: Some(Reference::record(product, PartKey::default())),
            name: Some("Lamp".to_owned()),
            quantity: Decimal::ONE,
            subtotal: ten,
            total: ten,
            ..OrderLine::default()
        }],
        total_tax: Decimal::ZERO,
        total: ten,
    })
}

/// The 10 dollars of such an order.
pub fn payment(order: RecordId, transaction: &str) -> Content {
    Content::Payment(Payment {
        order: Reference::record(order, PartKey::default()),
        kind: PaymentKind::Received,
        amount: Money::new(Decimal::from(10), Currency::USD),
        made_at: "2026-03-01T10:05:00Z".parse().expect("a time"),
        method: Some("bacs".to_owned()),
        transaction_id: Some(transaction.to_owned()),
        reason: None,
        lines: Vec::new(),
    })
}

/// What there is of a product without variants.
pub fn level(product: RecordId, quantity: i64) -> Content {
    Content::Inventory(Inventory {
        product: Reference::record(product, PartKey::default()),
        quantity: Decimal::from(quantity),
    })
}
