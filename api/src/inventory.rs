//! Inventory levels, as the API shows and takes them.

use lockstep_shared::entity::{self, Content};
use lockstep_shared::system::EntityType;
use poem_openapi::Object;
use poem_openapi::types::Example;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::body::{self, FromBody};
use crate::money::decimal;
use crate::problem::WrongField;
use crate::records::{self, Shown};
use crate::references::{Named, ProductReference};

/// How many of one thing there are to sell. A product with variants has a level for each.
#[derive(Clone, Debug, PartialEq, Eq, Object, Deserialize)]
#[oai(rename_all = "camelCase", deny_unknown_fields, example)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct InventoryLevel {
    /// The product, and which of its variants. By it the level is known again in other systems.
    product: ProductReference,
    /// What can still be sold, as a decimal in a text: what is there without what was sold and not delivered yet. Less
    /// than nothing where more was sold than there is.
    #[serde(deserialize_with = "decimal")]
    quantity: Decimal,
}

impl From<entity::Inventory> for InventoryLevel {
    fn from(inventory: entity::Inventory) -> Self {
        Self {
            product: inventory.product.into(),
            quantity: inventory.quantity,
        }
    }
}

impl FromBody for InventoryLevel {
    fn from_body(json: Value) -> Result<Self, Vec<WrongField>> {
        body::read(json)
    }
}

impl Shown for InventoryLevel {
    const ENTITY: EntityType = EntityType::Inventory;
    const ADDRESS: &'static str = "/api/v1/records/inventory";

    fn named(&self) -> Vec<Named> {
        vec![Named::new("product", EntityType::Products, self.product.record)]
    }

    fn into_content(self) -> Content {
        Content::Inventory(entity::Inventory {
            product: self.product.into(),
            quantity: self.quantity,
        })
    }

    fn of_content(content: Content) -> Option<Self> {
        let Content::Inventory(inventory) = content else {
            return None;
        };
        Some(inventory.into())
    }
}

impl Example for InventoryLevel {
    fn example() -> Self {
        Self {
            product: ProductReference {
                record: Uuid::from_u128(0x0198_3f5e_7c00_7000_8000_0000_0000_0002),
                variant: Some("color=blue".to_owned()),
            },
            quantity: Decimal::from(12),
        }
    }
}

records::operations! {
    Inventory of InventoryLevel;
    put: "putInventoryLevel", "Put an inventory level";
    put_many: "putInventoryLevels", "Put many inventory levels";
    put_lines: "putInventoryLevelsLines", "Put many inventory levels, a line each";
    get: "getInventoryLevel", "Get an inventory level";
    list: "listInventoryLevels", "List inventory levels";
}
