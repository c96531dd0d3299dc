//! What a call causes besides its effect: messages, activities, followers, pickings (facts: mapping-odoo 3, 7).

use serde_json::{Map, Value, json};

use super::database::{Database, Row};
use super::model::Kind::{Char, Html, Integer};
use super::model::Model;
use super::schema::{field, indexed, to};
use super::session::{Session, Touched};
use crate::ledger::Origin;

/// How many records of each kind the API caused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Noise {
    pub messages: usize,
    pub activities: usize,
    pub followers: usize,
    pub mails: usize,
    pub pickings: usize,
    pub moves: usize,
}

/// What a context asks to leave out.
#[derive(Debug, Clone, Copy, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a key of a context of its own"
)]
pub(super) struct Quiet {
    pub(super) no_tracking: bool,
    pub(super) no_log: bool,
    pub(super) no_followers: bool,
    pub(super) skips_sms: bool,
    pub(super) skips_backorder: bool,
}

impl Quiet {
    pub(super) fn of(context: &Map<String, Value>) -> Self {
        let is_set = |key: &str| {
            let value = context.get(key);
            value
                .is_some_and(|value| !matches!(value, Value::Bool(false) | Value::Null) && *value != json!(0))
        };
        Self {
            no_tracking: is_set("tracking_disable") || is_set("mail_notrack"),
            no_log: is_set("mail_create_nolog"),
            no_followers: is_set("mail_create_nosubscribe"),
            skips_sms: is_set("skip_sms"),
            skips_backorder: is_set("skip_backorder"),
        }
    }
}

const MESSAGE: &str = "mail.message";
const ACTIVITY: &str = "mail.activity";
const FOLLOWER: &str = "mail.followers";
const MAIL: &str = "mail.mail";

/// Builds the models of the chatter.
pub(super) fn models() -> Vec<Model> {
    let about = |model: &str, label: &str| {
        [
            indexed(model, label, Char),
            indexed("res_id", "Related Document ID", Integer),
        ]
    };
    let mut message = vec![
        field("body", "Contents", Html),
        to("author_id", "Author", "res.partner"),
    ];
    message.extend(about("model", "Related Document Model"));
    let mut activity = vec![
        field("summary", "Summary", Char),
        field("note", "Note", Html),
        to("user_id", "Assigned to", "res.users"),
    ];
    activity.extend(about("res_model", "Related Document Model"));
    let mut follower = vec![to("partner_id", "Related Partner", "res.partner")];
    follower.extend(about("res_model", "Related Document Model Name"));
    vec![
        Model::new(MESSAGE, "Message", "id desc", message),
        Model::new(ACTIVITY, "Activity", "id", activity),
        Model::new(FOLLOWER, "Document Followers", "id", follower),
        Model::new(
            MAIL,
            "Outgoing Mails",
            "id desc",
            vec![field("subject", "Subject", Char)],
        ),
    ]
}

/// The models with a chatter, where a new record is logged.
const THREADS: &[&str] = &["res.partner", "product.template", "product.product", "sale.order"];

/// The partner of every user here.
const USER_PARTNER: i64 = 3;

impl Database {
    /// Counts what a transaction of the API made.
    pub(super) fn count_noise(&mut self, touched: &Touched) {
        for ((model, id), before) in touched {
            if before.is_some() || self.row(model, *id).is_none() {
                continue;
            }
            match model.as_str() {
                MESSAGE => self.noise.messages += 1,
                ACTIVITY => self.noise.activities += 1,
                FOLLOWER => self.noise.followers += 1,
                MAIL => self.noise.mails += 1,
                "stock.picking" => self.noise.pickings += 1,
                "stock.move" => self.noise.moves += 1,
                _ => {}
            }
        }
    }
}

impl Session<'_> {
    /// A new record is logged and followed by who made it, unless the context says otherwise.
    pub(super) fn note_creation(&mut self, model: &str, id: i64) {
        if !THREADS.contains(&model) {
            return;
        }
        if !self.quiet.no_log {
            let label = self.db.table(model).model.label.clone();
            self.post(model, id, &format!("{label} created"));
        }
        if !self.quiet.no_followers {
            self.follow(model, id);
        }
    }

    /// Posts a message on a record; people's own are not kept here.
    pub(super) fn post(&mut self, model: &str, id: i64, body: &str) {
        let values = [
            ("model", json!(model)),
            ("res_id", json!(id)),
            ("body", json!(format!("<p>{body}</p>"))),
            ("author_id", json!(USER_PARTNER)),
        ];
        self.make_noise(MESSAGE, &values);
    }

    /// Reminds somebody of a record.
    pub(super) fn remind(&mut self, model: &str, id: i64, summary: &str) {
        let values = [
            ("res_model", json!(model)),
            ("res_id", json!(id)),
            ("summary", json!(summary)),
            ("user_id", json!(self.user)),
        ];
        self.make_noise(ACTIVITY, &values);
    }

    /// Makes the user a follower of a record, once.
    pub(super) fn follow(&mut self, model: &str, id: i64) {
        let follows = self.db.with(FOLLOWER, "res_id", id);
        if follows
            .into_iter()
            .any(|row| self.db.text(FOLLOWER, row, "res_model") == model)
        {
            return;
        }
        let values = [
            ("res_model", json!(model)),
            ("res_id", json!(id)),
            ("partner_id", json!(USER_PARTNER)),
        ];
        self.make_noise(FOLLOWER, &values);
    }

    fn make_noise(&mut self, model: &str, values: &[(&str, Value)]) {
        if self.origin == Origin::People {
            return;
        }
        let id = self.db.next_id(model);
        let row: Row = self.blank(model);
        self.db.put(model, id, row);
        self.set(model, id, values);
    }
}
