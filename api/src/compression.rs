//! Smaller answers: gzip for who takes it, where it is worth it. Not for streams of events, which it would hold back, and
//! what is sent to us comes as it is.

use poem::http::{HeaderMap, HeaderValue, header};
use poem::web::{Compress, CompressionAlgo};
use poem::{IntoResponse, Response};

/// Fewest bytes that are worth it.
const WORTH_BYTES: usize = 1_024;

/// Compresses an answer that was asked for so.
pub(crate) async fn answer(asked: &HeaderMap, mut response: Response) -> Response {
    let kind = response.content_type().unwrap_or_default().to_owned();
    let is_text = kind.starts_with("application/") && kind.contains("json") || kind.starts_with("text/html");
    if !is_text || kind.contains("ndjson") {
        return response;
    }
    response
        .headers_mut()
        .append(header::VARY, HeaderValue::from_static("accept-encoding"));
    if !takes_gzip(asked) {
        return response;
    }
    let Ok(body) = response.take_body().into_bytes().await else {
        return response;
    };
    let is_worth_it = body.len() >= WORTH_BYTES;
    response.set_body(body);
    if is_worth_it {
        response.headers_mut().remove(header::CONTENT_LENGTH);
        return Compress::new(response, CompressionAlgo::GZIP).into_response();
    }
    response
}

/// Says whether the caller takes gzip, by RFC 9110, section 12.5.3.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let asked = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut codings = asked
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let is_refused = parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0)));
            (name, !is_refused)
        })
        .collect::<Vec<_>>();
    // What is named counts before `*`.
    codings.sort_by_key(|(name, _)| name == "*");
    codings
        .into_iter()
        .find(|(name, _)| name == "gzip" || name == "*")
        .is_some_and(|(_, is_taken)| is_taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_for_who_asks_for_it() {
        let asked = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, value.parse().unwrap());
            takes_gzip(&headers)
        };

        assert!(asked("gzip") && asked("br, GZIP;q=0.5") && asked("*"));
        assert!(!asked("br") && !asked("gzip;q=0") && !asked("*, gzip;q=0") && !asked("identity"));
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
