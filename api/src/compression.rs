//! Smaller answers: Brotli or gzip for who takes it, where it is worth it. Not for streams of events, which it would hold back, and
//! what is sent to us comes as it is.

use poem::http::{HeaderMap, HeaderValue, header};
use poem::web::{Compress, CompressionAlgo, CompressionLevel};
use poem::{IntoResponse, Response};

/// Most of what can be won for little of the processor's time.
const LEVEL: CompressionLevel = CompressionLevel::Precise(4);

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
    let Some(coding) = coding(asked) else {
        return response;
    };
    let Ok(body) = response.take_body().into_bytes().await else {
        return response;
    };
    let is_worth_it = body.len() >= WORTH_BYTES;
    response.set_body(body);
    if is_worth_it {
        response.headers_mut().remove(header::CONTENT_LENGTH);
        return Compress::new(response, coding)
            .with_quality(LEVEL)
            .into_response();
    }
    response
}

/// Returns the coding that is smallest of those that the caller takes, by RFC 9110, section 12.5.3.
fn coding(headers: &HeaderMap) -> Option<CompressionAlgo> {
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
    let is_taken = |coding: &str| {
        let asked = codings.iter().find(|(name, _)| name == coding || name == "*");
        asked.is_some_and(|(_, is_taken)| *is_taken)
    };
    if is_taken("br") {
        Some(CompressionAlgo::BR)
    } else {
        is_taken("gzip").then_some(CompressionAlgo::GZIP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_coded_as_its_caller_takes_it() {
        let asked = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, value.parse().unwrap());
            coding(&headers).map(|coding| coding.to_string())
        };

        for value in ["gzip", "br;q=0, GZIP;q=0.5", "*, br;q=0"] {
            assert_eq!(asked(value).as_deref(), Some("gzip"), "{value}");
        }
        for value in ["br", "gzip, deflate, br", "*"] {
            assert_eq!(asked(value).as_deref(), Some("br"), "{value}");
        }
        for value in ["gzip;q=0", "*;q=0", "identity"] {
            assert_eq!(asked(value), None, "{value}");
        }
        assert!(coding(&HeaderMap::new()).is_none());
    }
}
