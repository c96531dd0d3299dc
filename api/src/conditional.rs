//! Conditional requests after RFC 9110, section 13: every answer to a GET has an `ETag`, and who has it already is told so
//! with a 304; a PUT with `If-Match` changes only what its sender has seen.

use poem::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use poem::{IntoResponse, Response};
use poem_openapi::types::ToJSON;
use sha2::{Digest, Sha256};

use crate::problem::Refused;

/// Says which form a thing has, by a hash of its JSON.
pub(crate) fn etag(json: &[u8]) -> String {
    let hash: [u8; 32] = Sha256::digest(json).into();
    let number = u128::from_be_bytes(hash[..16].try_into().expect("16 of 32 bytes"));
    format!("\"{number:032x}\"")
}

/// Refuses a change unless its sender has seen what is there now. Without a header there is nothing to refuse.
pub(crate) fn require<T: ToJSON>(if_match: Option<&str>, now: &T) -> Result<(), Refused> {
    let Some(asked) = if_match else {
        return Ok(());
    };
    if is_met(asked, &etag(now.to_json_string().as_bytes())) {
        return Ok(());
    }
    Err(Refused::precondition_failed(
        "`If-Match` must be the `ETag` of what is there now: get it, look at it, and change that",
    ))
}

/// Says whether a condition of `If-Match` holds, by RFC 9110, section 13.1.1: weak tags never match.
pub(crate) fn is_met(if_match: &str, tag: &str) -> bool {
    if_match.trim() == "*" || tags(if_match).any(|asked| asked == tag)
}

/// Gives an answer its `ETag`, where the operation did not, or a 304 in its place.
pub(crate) async fn answer(method: &Method, asked: &HeaderMap, mut response: Response) -> Response {
    let is_json = response.content_type() == Some("application/json");
    if !matches!(*method, Method::GET | Method::HEAD) || response.status() != StatusCode::OK || !is_json {
        return response;
    }
    let body = match response.take_body().into_bytes().await {
        Ok(body) => body,
        Err(error) => return Refused::internal("an answer can't be read", &error).into_response(),
    };
    let own = response
        .headers()
        .get(header::ETAG)
        .and_then(|tag| tag.to_str().ok());
    let tag = own.map_or_else(|| etag(&body), str::to_owned);
    // A 304 has the headers that the answer would have had, but those of its body.
    if matches(asked, &tag) {
        response.set_status(StatusCode::NOT_MODIFIED);
        response.headers_mut().remove(header::CONTENT_TYPE);
        response.set_body(());
    } else {
        response.set_body(body);
    }
    let value = HeaderValue::from_str(&tag).expect("a tag is plain ASCII");
    response.headers_mut().insert(header::ETAG, value);
    response
}

fn matches(headers: &HeaderMap, tag: &str) -> bool {
    let asked = headers.get_all(header::IF_NONE_MATCH).iter();
    asked.filter_map(|value| value.to_str().ok()).any(|asked| {
        // Weak comparison, as for every GET.
        asked.trim() == "*" || tags(asked).any(|asked| asked.strip_prefix("W/").unwrap_or(asked) == tag)
    })
}

fn tags(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_matches_itself_in_any_list() {
        let tag = etag(b"{}");
        let asked = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, value.parse().unwrap());
            matches(&headers, &tag)
        };

        assert!(asked(&tag) && asked(&format!("\"a\", W/{tag}")) && asked("*"));
        assert!(!asked("\"a\"") && !asked(&etag(b"[]")));
    }
}
