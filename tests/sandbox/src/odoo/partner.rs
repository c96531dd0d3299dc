//! Partners: contacts share their parent's address both ways (facts: mapping-odoo 2).

use serde_json::{Map, Value};

use super::session::Session;

const PARTNER: &str = "res.partner";
const ADDRESS: [&str; 6] = ["street", "street2", "zip", "city", "state_id", "country_id"];

impl Session<'_> {
    /// A new contact takes its parent's address, whatever it brought; the first one lends its own to a parent without.
    pub(super) fn settle_new_partner(&mut self, id: i64) {
        let Some(parent) = self.parent_of_contact(id) else {
            return;
        };
        let siblings = self.db.with(PARTNER, "parent_id", parent).len();
        if self.has_address(parent) {
            let address = self.address(parent);
            self.set(PARTNER, id, &address);
        } else if siblings == 1 && self.has_address(id) {
            let address = self.address(id);
            self.set(PARTNER, parent, &address);
        }
    }

    /// An address written to a contact goes to its parent, and from a parent to its contacts; so does a company's
    /// tax id.
    pub(super) fn spread_partner(&mut self, id: i64, vals: &Map<String, Value>) {
        let wrote_address = ADDRESS.iter().any(|field| vals.contains_key(*field));
        let became_contact = vals.contains_key("parent_id") || vals.contains_key("type");
        if became_contact && !wrote_address {
            self.settle_new_partner(id);
        }
        if wrote_address {
            let address = self.address(id);
            let mut top = id;
            while let Some(parent) = self.parent_of_contact(top) {
                self.set(PARTNER, parent, &address);
                top = parent;
            }
            self.spread_down(top, &address, id);
        }
        if vals.contains_key("vat") && self.db.flag(PARTNER, id, "is_company") {
            let vat = [("vat", self.db.value(PARTNER, id, "vat"))];
            for child in self.db.with(PARTNER, "parent_id", id) {
                if !self.db.flag(PARTNER, child, "is_company") {
                    self.set(PARTNER, child, &vat);
                }
            }
        }
    }

    fn spread_down(&mut self, id: i64, address: &[(&str, Value)], source: i64) {
        for child in self.db.with(PARTNER, "parent_id", id) {
            if self.parent_of_contact(child) == Some(id) {
                if child != source {
                    self.set(PARTNER, child, address);
                }
                self.spread_down(child, address, source);
            }
        }
    }

    fn parent_of_contact(&self, id: i64) -> Option<i64> {
        let parent = self.db.link(PARTNER, id, "parent_id")?;
        (self.db.text(PARTNER, id, "type") == "contact" && parent != id).then_some(parent)
    }

    fn address(&self, id: i64) -> [(&'static str, Value); 6] {
        ADDRESS.map(|field| (field, self.db.value(PARTNER, id, field)))
    }

    fn has_address(&self, id: i64) -> bool {
        self.address(id).iter().any(|(_, value)| match value {
            Value::String(text) => !text.is_empty(),
            Value::Number(_) => true,
            _ => false,
        })
    }
}
