//! Who has the last word on which field: what is set for a connection, and the usual rules where nothing is.

use std::collections::BTreeMap;

use lockstep_shared::decide;
use lockstep_shared::entity::Content;
use lockstep_shared::system::EntityType;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object};
use serde::Deserialize;
use serde_json::Value;

use crate::body::{self, FromBody, present};
use crate::customers::Customer;
use crate::inventory::InventoryLevel;
use crate::orders::Order;
use crate::payments::Payment;
use crate::problem::{WrongField, camel_case};
use crate::products::Product;
use crate::records::Shown;

/// Who has the last word. `application`: what you put through this API. `origin`: the system in which an order was
/// placed, or your application; for orders only, with the usual owners of their fields. `shared`: whichever side changed
/// it; both at once is a conflict. `newest`: whichever side changed it; of both, the one that changed the whole thing later,
/// by the remote system's own clock and to the second. Where that can't be told (the same second, or an Odoo stock level,
/// which has no such time), both at once is a conflict. `manual`: a person decides whenever both sides changed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, Deserialize)]
#[oai(rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub(crate) enum Owner {
    Woocommerce,
    Odoo,
    Application,
    Origin,
    Shared,
    Newest,
    Manual,
}

impl Owner {
    /// Returns the owner as a rule names it; none for the origin, which is told from each order.
    const fn canonical(self) -> Option<decide::Owner> {
        match self {
            Self::Woocommerce => Some(decide::Owner::Woocommerce),
            Self::Odoo => Some(decide::Owner::Odoo),
            Self::Application => Some(decide::Owner::Application),
            Self::Origin => None,
            Self::Shared => Some(decide::Owner::Shared),
            Self::Newest => Some(decide::Owner::Newest),
            Self::Manual => Some(decide::Owner::Manual),
        }
    }
}

impl From<decide::Owner> for Owner {
    fn from(owner: decide::Owner) -> Self {
        match owner {
            decide::Owner::Woocommerce => Self::Woocommerce,
            decide::Owner::Odoo => Self::Odoo,
            decide::Owner::Application => Self::Application,
            decide::Owner::Shared => Self::Shared,
            decide::Owner::Newest => Self::Newest,
            decide::Owner::Manual => Self::Manual,
        }
    }
}

/// The owners of the fields of one type of record.
#[derive(Clone, Debug, PartialEq, Eq, Object, Deserialize)]
#[oai(rename_all = "camelCase", deny_unknown_fields)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct FieldOwners {
    /// Owner of every field that has no owner of its own.
    all: Owner,
    /// Owners of single fields, by the names that the fields have in the type's content. The fields of a product's
    /// variants stand beside the product's own, and hold for all variants; an address, and the lines of an order, have
    /// one owner each.
    #[oai(default)]
    #[serde(default)]
    fields: BTreeMap<String, Owner>,
}

/// Who has the last word on what, by type of record. The owner's change is taken; another system's change of the same is
/// put back. For a type that is left out the usual rules hold: Odoo owns products and inventory, WooCommerce customers and
/// payments, and an order is owned by the system in which it was placed, but for its status, which is shared.
#[derive(Clone, Debug, PartialEq, Eq, Object, Deserialize)]
#[oai(
    rename_all = "camelCase",
    deny_unknown_fields,
    skip_serializing_if_is_none,
    example
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Ownership {
    /// Of customers.
    #[serde(default, deserialize_with = "present")]
    customers: Option<FieldOwners>,
    /// Of products.
    #[serde(default, deserialize_with = "present")]
    products: Option<FieldOwners>,
    /// Of orders.
    #[serde(default, deserialize_with = "present")]
    orders: Option<FieldOwners>,
    /// Of inventory levels.
    #[serde(default, deserialize_with = "present")]
    inventory: Option<FieldOwners>,
    /// Of payments.
    #[serde(default, deserialize_with = "present")]
    payments: Option<FieldOwners>,
}

/// What is set, in canonical form: types that have the usual rules are not in it.
pub(crate) type Set = BTreeMap<EntityType, decide::Ownership>;

impl FromBody for Ownership {
    fn from_body(json: Value) -> Result<Self, Vec<WrongField>> {
        body::read(json)
    }
}

impl Default for Ownership {
    /// The usual rules.
    fn default() -> Self {
        Self::of(&Set::new())
    }
}

impl Example for Ownership {
    fn example() -> Self {
        let mut example = Self::default();
        if let Some(products) = &mut example.products {
            products
                .fields
                .insert("description".to_owned(), Owner::Woocommerce);
            products.fields.insert("sale".to_owned(), Owner::Manual);
        }
        example
    }
}

impl Ownership {
    /// Shows what is set, and the usual rules where nothing is.
    pub(crate) fn of(set: &Set) -> Self {
        let shown = |entity| {
            let owners = set.get(&entity).map(FieldOwners::of);
            Some(owners.unwrap_or_else(|| usual(entity)))
        };
        Self {
            customers: shown(EntityType::Customers),
            products: shown(EntityType::Products),
            orders: shown(EntityType::Orders),
            inventory: shown(EntityType::Inventory),
            payments: shown(EntityType::Payments),
        }
    }

    /// Returns what is to be set, or every field that is wrong, each under the path at which the ownership stands.
    pub(crate) fn check(self, path: &str) -> Result<Set, Vec<WrongField>> {
        let mut set = Set::new();
        let mut wrong = Vec::new();
        for (entity, owners) in [
            (EntityType::Customers, self.customers),
            (EntityType::Products, self.products),
            (EntityType::Orders, self.orders),
            (EntityType::Inventory, self.inventory),
            (EntityType::Payments, self.payments),
        ] {
            let Some(owners) = owners.filter(|owners| *owners != usual(entity)) else {
                continue;
            };
            match owners.check(entity) {
                Ok(owners) => {
                    set.insert(entity, owners);
                }
                Err(errors) => wrong.extend(errors.into_iter().map(|error| {
                    let field = format!("{path}{}/{}", entity.name(), error.field);
                    WrongField::new(field, error.message)
                })),
            }
        }
        if wrong.is_empty() { Ok(set) } else { Err(wrong) }
    }
}

impl FieldOwners {
    fn of(ownership: &decide::Ownership) -> Self {
        let fields = ownership.fields.iter();
        Self {
            all: ownership.all.into(),
            fields: fields
                .map(|(name, owner)| (camel_case(name), Owner::from(*owner)))
                .collect(),
        }
    }

    fn check(self, entity: EntityType) -> Result<decide::Ownership, Vec<WrongField>> {
        let known = fields(entity);
        let mut wrong = Vec::new();
        let all = self.all.canonical();
        if all.is_none() {
            let message = match entity {
                EntityType::Orders => {
                    "must not be `origin` where the owners of the fields are not the usual ones: leave `orders` out, \
                     or name another owner"
                }
                EntityType::Customers
                | EntityType::Products
                | EntityType::Inventory
                | EntityType::Payments => "must not be `origin`: only orders have one",
            };
            wrong.push(WrongField::new("all", message));
        }
        let mut owners = BTreeMap::new();
        for (name, owner) in self.fields {
            let field = format!("fields/{name}");
            match owner.canonical() {
                _ if !known.contains(&name.as_str()) => {
                    let (entity, known) = (entity.name(), known.join("`, `"));
                    let message = format!("is not a field of {entity}; those are `{known}`");
                    wrong.push(WrongField::new(field, message));
                }
                None => {
                    let message = "must not be `origin`, which owns orders as a whole";
                    wrong.push(WrongField::new(field, message));
                }
                Some(owner) => {
                    owners.insert(snake_case(&name), owner);
                }
            }
        }
        match all {
            Some(all) if wrong.is_empty() => Ok(decide::Ownership { all, fields: owners }),
            _ => Err(wrong),
        }
    }
}

/// Returns the rules that hold where nothing is set.
fn usual(entity: EntityType) -> FieldOwners {
    let of = |content: Content| FieldOwners::of(&decide::Ownership::usual(&content));
    match entity {
        EntityType::Customers => of(Customer::example().into_content()),
        EntityType::Products => of(Product::example().into_content()),
        EntityType::Orders => FieldOwners {
            // Another one for each order, by where it was placed.
            all: Owner::Origin,
            ..of(Order::example().into_content())
        },
        EntityType::Inventory => of(InventoryLevel::example().into_content()),
        EntityType::Payments => of(Payment::example().into_content()),
    }
}

/// Returns the names of the fields that can have an owner.
fn fields(entity: EntityType) -> Vec<&'static str> {
    match entity {
        EntityType::Customers => Customer::owned_fields(),
        EntityType::Products => Product::owned_fields(),
        EntityType::Orders => Order::owned_fields(),
        EntityType::Inventory => InventoryLevel::owned_fields(),
        EntityType::Payments => Payment::owned_fields(),
    }
}

/// Turns a name of the API into the canonical one: `weightKg` → `weight_kg`.
fn snake_case(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 2);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use lockstep_shared::entity::fields_of;
    use poem_openapi::types::ToJSON;
    use serde_json::json;

    use super::*;

    fn set(json: Value) -> Result<Set, Vec<WrongField>> {
        Ownership::from_body(json)?.check("")
    }

    #[test]
    fn every_field_of_a_record_can_have_an_owner() {
        let contents = [
            Customer::example().into_content(),
            Product::example().into_content(),
            Order::example().into_content(),
            InventoryLevel::example().into_content(),
            Payment::example().into_content(),
        ];
        for content in contents {
            let names = fields(content.entity()).into_iter();
            let ownership = decide::Ownership {
                all: decide::Owner::Shared,
                fields: names
                    .map(|name| (snake_case(name), decide::Owner::Manual))
                    .collect(),
            };
            for path in fields_of(&content).0.keys() {
                assert_eq!(ownership.owner(path), decide::Owner::Manual, "{path}");
            }
        }
    }

    #[test]
    fn names_are_the_same_there_and_back() {
        for name in EntityType::ALL.into_iter().flat_map(fields) {
            assert_eq!(camel_case(&snake_case(name)), name);
        }
    }

    #[test]
    fn the_usual_rules_are_shown_and_not_stored() {
        let shown = Ownership::default().to_json().unwrap();

        insta::assert_json_snapshot!(shown, @r#"
        {
          "customers": {
            "all": "woocommerce",
            "fields": {
              "language": "odoo"
            }
          },
          "inventory": {
            "all": "odoo",
            "fields": {}
          },
          "orders": {
            "all": "origin",
            "fields": {
              "status": "shared"
            }
          },
          "payments": {
            "all": "woocommerce",
            "fields": {}
          },
          "products": {
            "all": "odoo",
            "fields": {
              "description": "woocommerce",
              "dimensions": "woocommerce",
              "images": "woocommerce",
              "sale": "woocommerce",
              "tags": "woocommerce",
              "taxClass": "woocommerce"
            }
          }
        }
        "#);
        assert_eq!(set(shown), Ok(Set::new()));
        assert_eq!(set(json!({})), Ok(Set::new()));
    }

    #[test]
    fn what_is_set_comes_back() {
        let json = json!({
            "products": { "all": "shared", "fields": { "name": "newest", "taxClass": "manual", "weightKg": "odoo" } },
            "orders": { "all": "application", "fields": {} },
        });

        let set = set(json.clone()).unwrap();

        let products = &set[&EntityType::Products];
        assert_eq!(
            products.owner("variants/color=blue/weight_kg"),
            decide::Owner::Odoo
        );
        assert_eq!(products.owner("tax_class"), decide::Owner::Manual);
        assert_eq!(products.owner("name"), decide::Owner::Newest);
        let shown = Ownership::of(&set).to_json().unwrap();
        assert_eq!(
            (&shown["products"], &shown["orders"]),
            (&json["products"], &json["orders"])
        );
    }

    #[test]
    fn what_can_own_nothing_is_named() {
        let wrong = [
            json!({ "invoices": { "all": "odoo" } }),
            json!({ "products": { "all": "latest" } }),
            json!({ "products": {} }),
            json!({ "products": { "all": "origin" } }),
            json!({ "products": { "all": "odoo", "fields": { "colour": "odoo" } } }),
            json!({ "products": { "all": "odoo", "fields": { "variants": "odoo" } } }),
            json!({ "orders": { "all": "origin" } }),
            json!({ "orders": { "all": "odoo", "fields": { "lines": "origin" } } }),
        ];

        let wrong: Vec<String> = wrong
            .into_iter()
            .map(|json| {
                let wrong = set(json).unwrap_err();
                let message = wrong[0].message.split(';').next().unwrap_or_default();
                format!("{} {message}", wrong[0].field)
            })
            .collect();

        insta::assert_snapshot!(wrong.join("\n"), @r"
        invoices is not a field here
        products/all must be `woocommerce` or `odoo` or `application` or `origin` or `shared` or `newest` or `manual`
        products/all must be given
        products/all must not be `origin`: only orders have one
        products/fields/colour is not a field of products
        products/fields/variants is not a field of products
        orders/all must not be `origin` where the owners of the fields are not the usual ones: leave `orders` out, or name another owner
        orders/fields/lines must not be `origin`, which owns orders as a whole
        ");
    }
}
