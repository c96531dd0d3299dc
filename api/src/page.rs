//! Pages: lists a bit at a time, and the opaque cursors that say where they go on.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::problem::{Refused, WrongField};

/// Entries of a page where the caller does not say.
const DEFAULT_LIMIT: i32 = 50;

/// Writes a position as a cursor. What it says is not the caller's business, and may change.
pub(crate) fn encode<P: Serialize>(position: &P) -> String {
    let json = serde_json::to_vec(position).expect("a position is plain JSON");
    URL_SAFE_NO_PAD.encode(json)
}

/// Reads a cursor that a page of the same list gave.
pub(crate) fn decode<P: DeserializeOwned>(cursor: Option<&str>) -> Result<Option<P>, Refused> {
    let read = |cursor: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(cursor).ok()?).ok();
    let refused = || {
        let wrong = WrongField::new("cursor", "must be the `nextCursor` of a page of this list");
        Refused::malformed("the parameter `cursor` is wrong", vec![wrong])
    };
    cursor.map(|cursor| read(cursor).ok_or_else(refused)).transpose()
}

/// How many rows to ask for: one more than the page has, to know whether there is another.
pub(crate) fn rows_for(limit: Option<i32>) -> i64 {
    i64::from(limit.unwrap_or(DEFAULT_LIMIT)) + 1
}

/// Cuts the row too many off, and returns the cursor that goes on behind the last one left.
pub(crate) fn cut<R, P: Serialize>(
    rows: &mut Vec<R>,
    asked_for: i64,
    position: impl FnOnce(&R) -> P,
) -> Option<String> {
    if i64::try_from(rows.len()).is_ok_and(|count| count < asked_for) {
        return None;
    }
    rows.pop();
    rows.last().map(|last| encode(&position(last)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_reads_as_it_was_written(micros in any::<i64>(), id in any::<u128>()) {
            let position = (micros, Uuid::from_u128(id));

            let cursor = encode(&position);

            prop_assert_eq!(decode(Some(&cursor)).unwrap(), Some(position));
            prop_assert!(cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        }

        #[test]
        fn any_other_text_is_refused(cursor in ".{0,40}") {
            prop_assert!(decode::<(i64, Uuid)>(Some(&cursor)).is_err());
        }
    }

    #[test]
    fn the_row_too_many_becomes_a_cursor() {
        let mut rows = vec![1, 2, 3];

        let cursor = cut(&mut rows, 3, |last| *last);

        assert_eq!(rows, [1, 2], "R47");
        assert_eq!(decode(cursor.as_deref()).unwrap(), Some(2));
        assert_eq!(cut(&mut rows, 3, |last| *last), None);
    }
}
