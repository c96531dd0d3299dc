//! Request bodies: JSON of a limited size, read strictly. Unknown fields, `null` for a field that may only be left out,
//! and numbers for texts are refused, each by its name. The framework's own reader does neither, and shows the names of
//! our types and the values it was given, secrets included.

use std::fmt::Display;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use lockstep_shared::entity::Invalid;
use poem::error::ReadBodyError;
use poem::http::header;
use poem::{Request, RequestBody};
use poem_openapi::payload::{ParsePayload, Payload};
use poem_openapi::registry::{MetaSchemaRef, Registry};
use poem_openapi::types::{ParseFromJSON, ParseResult, ToJSON, Type};
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Expected, IntoDeserializer, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use uuid::Uuid;

use crate::exchange::Exchange;
use crate::problem::{Refused, WrongField};

const MIB: usize = 1 << 20;
/// Longest text of one line that is taken, in characters.
///
/// The schemas do not say it, because they are those of answers too: a pulled record may have longer ones, and a generated
/// client would refuse to read it.
const LINE_LIMIT: usize = 250;
const ARRIVAL_LIMIT: Duration = Duration::from_secs(30);

/// Most bytes of a body that is too large which are read before it is refused.
const DISCARD_LIMIT: u64 = 16 << 20;

/// A JSON body of at most so many bytes.
pub(crate) struct Body<T, const LIMIT_BYTES: usize = MIB>(pub(crate) T);

/// A JSON body with many records.
pub(crate) type Bulk<T> = Body<T, { 8 * MIB }>;

/// What can be read from a body.
pub(crate) trait FromBody: Type {
    fn from_body(json: Value) -> Result<Self, Vec<WrongField>>
    where
        Self: Sized;
}

impl<T: FromBody, const LIMIT_BYTES: usize> Payload for Body<T, LIMIT_BYTES> {
    const CONTENT_TYPE: &'static str = "application/json";

    fn check_content_type(content_type: &str) -> bool {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case(Self::CONTENT_TYPE)
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: FromBody, const LIMIT_BYTES: usize> ParsePayload for Body<T, LIMIT_BYTES> {
    const IS_REQUIRED: bool = true;

    async fn from_request(request: &Request, body: &mut RequestBody) -> poem::Result<Self> {
        refuse_coded(request)?;
        let arriving = arrive(body.take()?, LIMIT_BYTES);
        let bytes = tokio::time::timeout(ARRIVAL_LIMIT, arriving)
            .await
            .map_err(|_| Refused::too_slow())?
            .map_err(ReadBodyError::from)?
            .ok_or_else(|| Refused::too_large(LIMIT_BYTES))?;
        if let Some(exchange) = request.data::<Arc<Exchange>>() {
            exchange.note_body(&bytes);
        }
        let json = serde_json::from_slice(&bytes)
            .map_err(|error| Refused::malformed(format!("the body is not JSON: {error}"), Vec::new()))?;
        if let Some(path) = path_of_nul(&json) {
            let wrong = WrongField::new(path, "must not contain the character U+0000");
            return Err(Refused::invalid(vec![wrong]).into());
        }
        Ok(T::from_body(json).map(Self).map_err(Refused::invalid)?)
    }
}

poem_openapi::impl_apirequest_for_payload!(Body<T, LIMIT_BYTES>, T: FromBody, const LIMIT_BYTES: usize);

/// Refuses a body that is compressed: how large it is would show only too late.
pub(crate) fn refuse_coded(request: &Request) -> Result<(), Refused> {
    let coding = request.headers().get(header::CONTENT_ENCODING);
    match coding.map(|coding| coding.as_bytes().to_ascii_lowercase()) {
        Some(coding) if coding != b"identity" => Err(Refused::unsupported(
            "send the body as it is, without the header `Content-Encoding`",
        )),
        Some(_) | None => Ok(()),
    }
}

/// Reads a body; `None` where it is larger than the limit. What is too much is read on for a while and thrown away: a client
/// that is still writing would not hear the answer, but that its connection broke.
pub(crate) async fn arrive(body: poem::Body, limit: usize) -> std::io::Result<Option<Vec<u8>>> {
    let mut arriving = body.into_async_read();
    let mut bytes = Vec::new();
    (&mut arriving).take(limit as u64).read_to_end(&mut bytes).await?;
    let beyond = tokio::io::copy(&mut arriving.take(DISCARD_LIMIT), &mut tokio::io::sink()).await?;
    Ok((beyond == 0).then_some(bytes))
}

/// Finds a text or a key with the one character that the database can't store.
pub(crate) fn path_of_nul(json: &Value) -> Option<String> {
    let below = |name: &str, inner: &Value| {
        path_of_nul(inner).map(|path| match path.as_str() {
            "" => name.to_owned(),
            path => format!("{name}/{path}"),
        })
    };
    match json {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(position, item)| below(&position.to_string(), item)),
        Value::Object(fields) => fields.iter().find_map(|(name, field)| {
            if name.contains('\0') {
                return Some(String::new());
            }
            below(name, field)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// Reads a value, and says by its path what is wrong with it.
pub(crate) fn read<T: DeserializeOwned>(json: Value) -> Result<T, Vec<WrongField>> {
    serde_path_to_error::deserialize(Strict(json)).map_err(|error| {
        let path = slashed(error.path());
        vec![wrong_field(&path, error.into_inner())]
    })
}

/// Why a value can't be read. It says what is expected and never what was given, which may be a misplaced secret (R49),
/// nor the name of a type of ours (R45).
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("`{0}` must be given")]
    Missing(&'static str),
    #[error("`{0}` is not a field here")]
    Unknown(String),
    /// Words that follow the field's name.
    #[error("{0}")]
    Wrong(String),
}

impl serde::de::Error for Unreadable {
    fn custom<T: Display>(message: T) -> Self {
        Self::Wrong(format!("is wrong: {message}"))
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::Wrong(format!("must be {}", in_words(&expected.to_string())))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        match in_words(&expected.to_string()) {
            WHOLE_NUMBER => Self::Wrong("is out of range".to_owned()),
            expected => Self::Wrong(format!("must be {expected}")),
        }
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        let names: Vec<String> = expected.iter().map(|name| format!("`{name}`")).collect();
        Self::Wrong(format!("must be {}", names.join(" or ")))
    }

    fn unknown_field(field: &str, _: &'static [&'static str]) -> Self {
        Self::Unknown(field.to_owned())
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }
}

const WHOLE_NUMBER: &str = "a whole number";

/// Puts what serde expects into words of JSON.
fn in_words(expected: &str) -> &str {
    match expected {
        "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" | "usize" | "isize" => WHOLE_NUMBER,
        "a sequence" => "a list",
        expected if expected.starts_with("struct ") => "an object",
        expected => expected,
    }
}

/// A JSON value that is read as an object where an object is asked for, and as a text where a name is. Serde's own also
/// takes a list there, with the fields by their position, and an object.
struct Strict(Value);

impl<'de> Deserializer<'de> for Strict {
    type Error = Unreadable;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(value), _, _) => visitor.visit_u64(value),
                (None, Some(value), _) => visitor.visit_i64(value),
                (None, None, value) => visitor.visit_f64(value.unwrap_or(f64::NAN)),
            },
            Value::String(text) => visitor.visit_string(text),
            Value::Array(items) => visitor.visit_seq(SeqDeserializer::new(items.into_iter().map(Strict))),
            Value::Object(fields) => {
                let fields = fields.into_iter().map(|(name, field)| (name, Strict(field)));
                visitor.visit_map(MapDeserializer::new(fields))
            }
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        match self.0 {
            Value::Array(_) => Err(serde::de::Error::invalid_type(Unexpected::Seq, &"an object")),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        match self.0 {
            Value::String(name) => visitor.visit_enum(name.into_deserializer()),
            _ => Err(serde::de::Error::unknown_variant("", variants)),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map identifier ignored_any
    }
}

impl IntoDeserializer<'_, Unreadable> for Strict {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

fn slashed(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;

    let segments = path.iter().filter_map(|segment| match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { variant } => Some(variant.clone()),
        Segment::Unknown => None,
    });
    segments.collect::<Vec<_>>().join("/")
}

/// Puts what is wrong under the path of the field that it is about: of one that is missing or unknown, serde gives the
/// path of what it would stand in, or its own.
fn wrong_field(path: &str, error: Unreadable) -> WrongField {
    let child = |name: &str| match path.rsplit_once('/').map_or(path, |(_, last)| last) {
        "" => name.to_owned(),
        last if last == name => path.to_owned(),
        _ => format!("{path}/{name}"),
    };
    match error {
        Unreadable::Missing(name) => WrongField::new(child(name), "must be given"),
        Unreadable::Unknown(name) => WrongField::new(child(&name), "is not a field here"),
        Unreadable::Wrong(message) => WrongField::new(path, message),
    }
}

/// Reads an optional field that is there: `#[serde(default, deserialize_with = "present")]`. Its schema does not allow
/// `null`, so neither does this.
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// Reads an optional whole number that is there, as [`present`] does, for a field whose range is checked afterwards: one
/// that is further out than can be kept is taken as the one that is just so, so that its range is named as well.
pub(crate) fn present_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i32>, D::Error> {
    struct WholeNumber;

    impl Visitor<'_> for WholeNumber {
        type Value = i32;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(WHOLE_NUMBER)
        }

        fn visit_u64<E>(self, number: u64) -> Result<i32, E> {
            Ok(i32::try_from(number).unwrap_or(i32::MAX))
        }

        fn visit_i64<E>(self, number: i64) -> Result<i32, E> {
            let furthest = if number < 0 { i32::MIN } else { i32::MAX };
            Ok(i32::try_from(number).unwrap_or(furthest))
        }
    }

    deserializer.deserialize_i32(WholeNumber).map(Some)
}

/// Reads a text of one line: short enough for an index, and for any system that we know of.
pub(crate) fn line<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.chars().count() > LINE_LIMIT {
        let message = format!("it must have at most {LINE_LIMIT} characters");
        return Err(serde::de::Error::custom(message));
    }
    Ok(text)
}

/// Reads an optional text of one line that is there, as [`present`] does.
pub(crate) fn present_line<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    line(deserializer).map(Some)
}

/// Reads an identifier.
pub(crate) fn uuid<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
    // By hand, because the reasons of the type's own reader show what was given.
    let text = String::deserialize(deserializer)?;
    text.parse()
        .map_err(|_| serde::de::Error::custom("it must be a UUID"))
}

/// Reads a moment, whatever its offset from UTC.
pub(crate) fn instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let message = "it must be a date and time after RFC 3339, such as `2026-11-27T09:30:00Z`";
    DateTime::parse_from_rfc3339(&text)
        .map(|moment| moment.to_utc())
        .map_err(|_| serde::de::Error::custom(message))
}

/// Reads an optional moment that is there.
pub(crate) fn present_instant<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<DateTime<Utc>>, D::Error> {
    instant(deserializer).map(Some)
}

/// Reads a list of texts of one line each, as [`line`] does.
pub(crate) fn lines<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let lines = Vec::<Line>::deserialize(deserializer)?;
    Ok(lines.into_iter().map(|line| line.0).collect())
}

/// Reads a list of lists of texts of one line each, as [`lines`] does.
pub(crate) fn paths_of_lines<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Vec<String>>, D::Error> {
    let paths = Vec::<Vec<Line>>::deserialize(deserializer)?;
    let names = |path: Vec<Line>| path.into_iter().map(|line| line.0).collect();
    Ok(paths.into_iter().map(names).collect())
}

/// One text of a list, so that the reader knows its position.
#[derive(Deserialize)]
#[serde(transparent)]
struct Line(#[serde(deserialize_with = "line")] String);

/// Puts the reasons why a record is not valid under the names that the API uses.
pub(crate) fn wrong_fields(invalid: Invalid) -> Vec<WrongField> {
    invalid.0.into_iter().map(WrongField::from).collect()
}

/// A part of a body that is documented as a `T`, but read later: one wrong record must not refuse those beside it.
pub(crate) struct Unread<T>(pub(crate) Value, pub(crate) PhantomData<fn() -> T>);

impl<T: Type> FromBody for Unread<T> {
    fn from_body(json: Value) -> Result<Self, Vec<WrongField>> {
        Ok(Self(json, PhantomData))
    }
}

impl<'de, T> Deserialize<'de> for Unread<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|value| Self(value, PhantomData))
    }
}

impl<T: Type> Type for Unread<T> {
    const IS_REQUIRED: bool = true;

    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> std::borrow::Cow<'static, str> {
        T::name()
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl<T: Type> ParseFromJSON for Unread<T> {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        Ok(Self(value.unwrap_or_default(), PhantomData))
    }
}

impl<T: Type> ToJSON for Unread<T> {
    fn to_json(&self) -> Option<Value> {
        Some(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Order {
        #[serde(default, deserialize_with = "present")]
        note: Option<String>,
        lines: Vec<Line>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Line {
        sku: String,
    }

    #[test]
    fn what_is_wrong_is_named_by_its_path() {
        for (body, field, message) in [
            (json!({}), "lines", "must be given"),
            (json!({"lines": [], "x": 1}), "x", "is not a field here"),
            (json!({"lines": [{}]}), "lines/0/sku", "must be given"),
            (
                json!({"lines": [{"sku": "a", "b": 1}]}),
                "lines/0/b",
                "is not a field here",
            ),
            (json!({"lines": [{"sku": 5}]}), "lines/0/sku", "must be a string"),
            (json!({"lines": [["a"]]}), "lines/0", "must be an object"),
            (json!([null, []]), "", "must be an object"),
            (json!({"lines": [], "note": null}), "note", "must be a string"),
        ] {
            let wrong = read::<Order>(body).unwrap_err();

            assert_eq!(wrong, [WrongField::new(field, message)], "R45");
        }
    }

    #[test]
    fn what_was_given_is_not_said_again() {
        for body in [
            json!("s3cret"),
            json!({"lines": "s3cret"}),
            json!({"lines": ["s3cret"]}),
            json!({"lines": [{"sku": ["s3cret"]}]}),
            json!({"lines": [{"sku": {"is": "s3cret"}}]}),
        ] {
            let wrong = read::<Order>(body).unwrap_err();

            assert!(!wrong[0].message.contains("s3cret"), "R49: {wrong:?}");
            assert!(!wrong[0].message.contains("Order"), "R45: {wrong:?}");
        }
    }

    #[test]
    fn a_character_that_no_row_can_hold_is_found() {
        assert_eq!(
            path_of_nul(&json!({"a": [{"b": "x\0"}]})).as_deref(),
            Some("a/0/b")
        );
        assert_eq!(path_of_nul(&json!({"a": ["x", 1, null]})), None);
    }
}
