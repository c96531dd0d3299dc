//! Records for tests: valid, small, and told apart by what is passed in.

use lockstep_shared::entity::{
    Content, Currency, Customer, Money, Product, ProductKind, ProductStatus, Variant,
};
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
