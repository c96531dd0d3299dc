//! Pictures: base64 of an image, re-encoded when it is large (facts: mapping-odoo 1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::exception::Exception;
use super::model::{Field, Kind};
use super::schema::{computed, field};
use super::session::Session;

const VARIANT: &str = "product.product";
const OWN: &str = "image_variant_1920";

/// The most that `image_1920` keeps of either side.
const SIDE: u32 = 1920;

/// Takes base64 of a picture; anything else, an address too, is refused.
pub(super) fn accepted(value: &Value) -> Result<Value, Exception> {
    let refused = || Exception::user("This file could not be decoded as an image file.");
    let text = match value {
        Value::Null | Value::Bool(false) => return Ok(Value::Bool(false)),
        Value::String(text) if text.is_empty() => return Ok(Value::Bool(false)),
        Value::String(text) => text,
        _ => return Err(refused()),
    };
    let mut bytes = STANDARD.decode(text).map_err(|_| refused())?;
    let (width, height) = sides(&bytes).ok_or_else(refused)?;
    if width.max(height) > SIDE {
        // The real one scales it down; here it is enough that other bytes come back.
        bytes.extend_from_slice(b"resized");
        return Ok(json!(STANDARD.encode(bytes)));
    }
    Ok(value.clone())
}

/// Returns the size of a stored picture the way `bin_size` shows it.
pub(super) fn size(value: &Value) -> Value {
    let Some(text) = value.as_str() else {
        return value.clone();
    };
    let bytes = STANDARD.decode(text).map_or(0, |bytes| bytes.len());
    #[expect(clippy::cast_precision_loss, reason = "pictures are below 2^52 bytes")]
    let mut size = bytes as f64;
    for unit in ["bytes", "Kb", "Mb"] {
        if size < 1024.0 {
            return json!(format!("{size:.2} {unit}"));
        }
        size /= 1024.0;
    }
    json!(format!("{size:.2} Gb"))
}

/// Reads width and height from the head of a PNG, GIF, WebP or JPEG.
fn sides(bytes: &[u8]) -> Option<(u32, u32)> {
    let big = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Some((big(16)?, big(20)?));
    }
    let little = |at: usize| {
        Some(u32::from(u16::from_le_bytes(
            bytes.get(at..at + 2)?.try_into().ok()?,
        )))
    };
    if bytes.starts_with(b"GIF8") {
        return Some((little(6)?, little(8)?));
    }
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        return Some((0, 0));
    }
    if bytes.starts_with(&[0xff, 0xd8]) {
        return jpeg_sides(bytes);
    }
    None
}

/// Walks over the segments of a JPEG to the one that starts the frame.
fn jpeg_sides(bytes: &[u8]) -> Option<(u32, u32)> {
    let word = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let mut at = 2;
    loop {
        let marker = word(at)?;
        let is_frame = matches!(marker, 0xffc0..=0xffcf) && !matches!(marker, 0xffc4 | 0xffc8 | 0xffcc);
        if is_frame {
            return Some((u32::from(word(at + 7)?), u32::from(word(at + 5)?)));
        }
        if marker & 0xff00 != 0xff00 {
            return None;
        }
        at += 2 + usize::from(word(at + 2)?);
    }
}

/// The fields of a variant's picture: its own, and the one that is shown.
pub(super) fn variant_fields() -> Vec<Field> {
    vec![
        field(OWN, "Variant Image", Kind::Image),
        computed("image_1920", "Image", Kind::Image),
    ]
}

impl Session<'_> {
    /// Shows a variant's own picture, or else that of its template.
    pub(super) fn variant_image(&self, variant: i64) -> Value {
        let own = self.db.value(VARIANT, variant, OWN);
        if own.is_string() {
            return own;
        }
        let template = self.db.link(VARIANT, variant, "product_tmpl_id");
        self.db
            .value("product.template", template.unwrap_or_default(), "image_1920")
    }

    /// The first picture of a variant goes to a template without one, and so does that of an only variant.
    pub(super) fn write_variant_image(&mut self, variant: i64, image: &Value) -> Result<(), Exception> {
        let template = self
            .db
            .link(VARIANT, variant, "product_tmpl_id")
            .unwrap_or_default();
        let has_none = !self
            .db
            .value("product.template", template, "image_1920")
            .is_string();
        if has_none || self.only_variant(template) == Some(variant) {
            let vals = Map::from_iter([("image_1920".to_owned(), image.clone())]);
            self.write_one("product.template", template, &vals)?;
            let none = Map::from_iter([(OWN.to_owned(), Value::Bool(false))]);
            return self.write_one(VARIANT, variant, &none);
        }
        let vals = Map::from_iter([(OWN.to_owned(), image.clone())]);
        self.write_one(VARIANT, variant, &vals)
    }
}
