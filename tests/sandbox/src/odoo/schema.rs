//! The models of the stand-in.

use super::model::Kind::{
    Boolean, Char, Float, Html, Image, Integer, Many2many, Many2one, Measure, One2many, Selection, Text,
};
use super::model::Place::{Computed, Indexed, Inherited, Stored};
use super::model::{Field, Kind, Model, Place};

const PARTNER_TYPES: &[(&str, &str)] = &[
    ("contact", "Contact"),
    ("invoice", "Invoice"),
    ("delivery", "Delivery"),
    ("other", "Other"),
];
const PRODUCT_TYPES: &[(&str, &str)] = &[("consu", "Goods"), ("service", "Service"), ("combo", "Combo")];
/// Up to 17 one field says both what a product is and whether stock is kept (facts: mapping-odoo 6).
const DETAILED_TYPES: &[(&str, &str)] = &[
    ("consu", "Consumable"),
    ("service", "Service"),
    ("product", "Storable Product"),
];
const INVOICING: &[(&str, &str)] = &[
    ("order", "Ordered quantities"),
    ("delivery", "Delivered quantities"),
];
const VARIANTS: &[(&str, &str)] = &[
    ("always", "Instantly"),
    ("dynamic", "Dynamically"),
    ("no_variant", "Never"),
];
const DISPLAYS: &[(&str, &str)] = &[
    ("radio", "Radio"),
    ("pills", "Pills"),
    ("select", "Select"),
    ("color", "Color"),
];

pub(super) fn field(name: &str, label: &str, kind: Kind) -> Field {
    Field::new(name, label, kind, Stored)
}

pub(super) fn indexed(name: &str, label: &str, kind: Kind) -> Field {
    Field::new(name, label, kind, Indexed)
}

pub(super) fn computed(name: &str, label: &str, kind: Kind) -> Field {
    Field::new(name, label, kind, Computed)
}

pub(super) fn to(name: &str, label: &str, model: &str) -> Field {
    indexed(name, label, Many2one(model.to_owned()))
}

pub(super) fn many(name: &str, label: &str, model: &str) -> Field {
    field(name, label, Many2many(model.to_owned()))
}

pub(super) fn lines(name: &str, label: &str, model: &str, inverse: &'static str) -> Field {
    computed(name, label, One2many(model.to_owned(), inverse))
}

/// The fields that a product variant has from its template.
fn template_fields(place: Place, version: u32) -> Vec<Field> {
    let mut fields = vec![
        field("name", "Name", Char).required(),
        field("list_price", "Sales Price", Float).or(1.0),
        to("categ_id", "Product Category", "product.category"),
        many("taxes_id", "Sales Taxes", "account.tax").or(vec![1]),
        many("supplier_taxes_id", "Purchase Taxes", "account.tax"),
        field("description", "Description", Html),
        field("description_sale", "Sales Description", Text),
        field("description_purchase", "Purchase Description", Text),
        field("sale_ok", "Sales", Boolean).or(true),
        field("purchase_ok", "Purchase", Boolean).or(true),
        to("uom_id", "Unit", "uom.uom").or(1),
        field("invoice_policy", "Invoicing Policy", Selection(INVOICING)).or("order"),
        field("image_1920", "Image", Image),
        many("product_tag_ids", "Tags", "product.tag"),
        lines(
            "attribute_line_ids",
            "Product Attributes",
            "product.template.attribute.line",
            "product_tmpl_id",
        ),
        to("currency_id", "Currency", "res.currency").or(1),
    ];
    if version < 18 {
        fields.extend([
            field("detailed_type", "Product Type", Selection(DETAILED_TYPES)).or("consu"),
            computed("type", "Type", Selection(DETAILED_TYPES)),
        ]);
    } else {
        fields.extend([
            field("type", "Product Type", Selection(PRODUCT_TYPES)).or("consu"),
            field("is_storable", "Track Inventory", Boolean),
        ]);
    }
    let moved = |mut one: Field| {
        if place == Inherited {
            one.place = Inherited;
            one.is_required = false;
        }
        one
    };
    fields.into_iter().map(moved).collect()
}

/// Builds every model of a major version.
pub(super) fn models(version: u32) -> Vec<Model> {
    let mut models = core_models(version);
    models.extend(super::sale::models(version));
    models.extend(super::pricelist::models());
    models.push(super::tax::model(version));
    models.push(super::tax::group());
    models.extend(super::delivery::models(version));
    models.extend(super::noise::models());
    models.extend(super::stock::models());
    models.extend(super::payment::models());
    models.extend(super::credit_note::models());
    models.extend(super::company::models(version));
    models
}

fn core_models(version: u32) -> Vec<Model> {
    let mut template = template_fields(Stored, version);
    template.extend([
        field("active", "Active", Boolean).or(true),
        computed("default_code", "Internal Reference", Char),
        computed("barcode", "Barcode", Char),
        computed("weight", "Weight", Measure("Stock Weight")),
        computed("volume", "Volume", Measure("Volume")),
        computed("standard_price", "Cost", Float),
        lines(
            "product_variant_ids",
            "Products",
            "product.product",
            "product_tmpl_id",
        ),
        computed(
            "product_variant_id",
            "Product",
            Many2one("product.product".to_owned()),
        ),
        computed("product_variant_count", "# Product Variants", Integer),
    ]);
    template.extend(super::quantity::template_fields());
    let mut variant = template_fields(Inherited, version);
    variant.retain(|field| field.kind != Image);
    variant.extend(super::image::variant_fields());
    variant.extend([
        to("product_tmpl_id", "Product Template", "product.template").required(),
        field("active", "Active", Boolean).or(true),
        indexed("default_code", "Internal Reference", Char),
        indexed("barcode", "Barcode", Char),
        field("weight", "Weight", Measure("Stock Weight")),
        field("volume", "Volume", Measure("Volume")),
        field("standard_price", "Cost", Float),
        many(
            "product_template_attribute_value_ids",
            "Attribute Values",
            "product.template.attribute.value",
        ),
        field("combination_indices", "Combination Indices", Char).or(""),
        computed("lst_price", "Sales Price", Float),
        computed("price_extra", "Variant Price Extra", Float),
    ]);
    variant.extend(super::quantity::variant_fields());
    vec![
        Model::new(
            "res.partner",
            "Contact",
            "complete_name, id desc",
            partner_fields(),
        ),
        Model::new("product.template", "Product", "name, id", template),
        Model::new(
            "product.product",
            "Product Variant",
            "default_code, name, id",
            variant,
        ),
        Model::new(
            "product.attribute",
            "Product Attribute",
            "id",
            vec![
                field("name", "Attribute", Char).required(),
                field("create_variant", "Variant Creation", Selection(VARIANTS)).or("always"),
                field("display_type", "Display Type", Selection(DISPLAYS)).or("radio"),
                field("sequence", "Sequence", Integer).or(20),
                field("active", "Active", Boolean).or(true),
                lines("value_ids", "Values", "product.attribute.value", "attribute_id"),
            ],
        ),
        Model::new(
            "product.attribute.value",
            "Attribute Value",
            "attribute_id, id",
            vec![
                indexed("name", "Value", Char).required(),
                to("attribute_id", "Attribute", "product.attribute").required(),
                field("sequence", "Sequence", Integer),
                field("active", "Active", Boolean).or(true),
            ],
        ),
        Model::new(
            "product.template.attribute.line",
            "Product Template Attribute Line",
            "sequence, attribute_id, id",
            vec![
                to("product_tmpl_id", "Product Template", "product.template").required(),
                to("attribute_id", "Attribute", "product.attribute").required(),
                many("value_ids", "Values", "product.attribute.value"),
                field("sequence", "Sequence", Integer).or(10),
                field("active", "Active", Boolean).or(true),
                lines(
                    "product_template_value_ids",
                    "Product Attribute Values",
                    "product.template.attribute.value",
                    "attribute_line_id",
                ),
            ],
        ),
        Model::new(
            "product.template.attribute.value",
            "Product Template Attribute Value",
            "id",
            vec![
                to(
                    "attribute_line_id",
                    "Attribute Line",
                    "product.template.attribute.line",
                ),
                to(
                    "product_attribute_value_id",
                    "Attribute Value",
                    "product.attribute.value",
                ),
                to("attribute_id", "Attribute", "product.attribute"),
                to("product_tmpl_id", "Product Template", "product.template"),
                field("price_extra", "Extra Price", Float),
                field("ptav_active", "Active", Boolean).or(true),
                computed("name", "Value", Char),
            ],
        ),
        Model::new(
            "product.category",
            "Product Category",
            "complete_name",
            vec![
                field("name", "Name", Char).required(),
                to("parent_id", "Parent Category", "product.category"),
                computed("complete_name", "Complete Name", Char),
            ],
        ),
        Model::new(
            "product.tag",
            "Product Tag",
            "id",
            vec![field("name", "Name", Char).required()],
        ),
        Model::new(
            "res.country",
            "Country",
            "name",
            vec![
                field("name", "Country Name", Char).required(),
                indexed("code", "Country Code", Char),
                lines("state_ids", "States", "res.country.state", "country_id"),
            ],
        ),
        Model::new(
            "res.country.state",
            "Country state",
            "code",
            vec![
                field("name", "State Name", Char).required(),
                indexed("code", "State Code", Char),
                to("country_id", "Country", "res.country"),
            ],
        ),
        Model::new(
            "res.lang",
            "Languages",
            "name",
            vec![
                field("name", "Name", Char).required(),
                field("code", "Locale Code", Char),
                field("active", "Active", Boolean).or(true),
            ],
        ),
        Model::new(
            "res.currency",
            "Currency",
            "name",
            vec![
                field("name", "Currency", Char).required(),
                field("active", "Active", Boolean).or(true),
                field("rounding", "Rounding Factor", Float).or(0.01),
                field("decimal_places", "Decimal Places", Integer).or(2),
            ],
        ),
        Model::new(
            "uom.uom",
            "Product Unit of Measure",
            "id",
            vec![field("name", "Unit Name", Char).required()],
        ),
        Model::new(
            "ir.model.data",
            "Model Data",
            "module, model, name",
            vec![
                indexed("complete_name", "Complete ID", Char),
                indexed("target", "Target", Char),
                field("module", "Module", Char),
                field("name", "External Identifier", Char).required(),
                field("model", "Model Name", Char).required(),
                field("res_id", "Record ID", Integer),
                field("noupdate", "Non Updatable", Boolean),
            ],
        ),
        Model::new(
            "ir.config_parameter",
            "System Parameter",
            "key",
            vec![
                indexed("key", "Key", Char).required(),
                field("value", "Value", Text),
            ],
        ),
        Model::new(
            "decimal.precision",
            "Decimal Precision",
            "id",
            vec![
                indexed("name", "Usage", Char).required(),
                field("digits", "Digits", Integer),
            ],
        ),
        Model::new(
            "ir.sequence",
            "Sequence",
            "id",
            vec![
                field("name", "Name", Char).required(),
                indexed("code", "Sequence Code", Char),
                field("prefix", "Prefix", Char),
                field("padding", "Sequence Size", Integer).or(5),
                field("number_next", "Next Number", Integer).or(1),
            ],
        ),
        Model::new(
            "res.users",
            "User",
            "name",
            vec![
                field("name", "Name", Char),
                field("login", "Login", Char),
                field("active", "Active", Boolean).or(true),
            ],
        ),
    ]
}

fn partner_fields() -> Vec<Field> {
    vec![
        field("name", "Name", Char),
        indexed("email", "Email", Char),
        field("phone", "Phone", Char),
        field("street", "Street", Char),
        field("street2", "Street2", Char),
        field("city", "City", Char),
        field("zip", "Zip", Char),
        to("state_id", "State", "res.country.state"),
        to("country_id", "Country", "res.country"),
        field("vat", "Tax ID", Char),
        field("lang", "Language", Char),
        field("company_name", "Company Name", Char),
        field("is_company", "Is a Company", Boolean),
        to("parent_id", "Related Company", "res.partner"),
        lines("child_ids", "Contact", "res.partner", "parent_id"),
        field("type", "Address Type", Selection(PARTNER_TYPES)).or("contact"),
        indexed("ref", "Reference", Char),
        field("active", "Active", Boolean).or(true),
        field("comment", "Notes", Html),
        field("website", "Website Link", Char),
        field("customer_rank", "Customer Rank", Integer),
        many("category_id", "Tags", "res.partner.category"),
        computed("complete_name", "Complete Name", Char),
        computed("email_normalized", "Normalized Email", Char),
        computed(
            "commercial_partner_id",
            "Commercial Entity",
            Many2one("res.partner".to_owned()),
        ),
    ]
}
