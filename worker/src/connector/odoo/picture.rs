//! Pictures: fetched from the addresses that records name, and sent whole.
//!
//! Odoo takes a picture as base64 and nothing else, an address least of all, and makes smaller what has more than 1,920
//! points on a side: what it holds can't be compared with what was sent (facts/mapping-odoo.md §1). So an address that was
//! sent once is not sent again until it changes; what people in Odoo do to the picture is theirs.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;

use super::super::http::FetchError;
use super::super::{CallError, Outcome, Refusal};
use super::Odoo;
use super::load::Load;

/// Most pictures of one request, so that few are in memory at a time.
pub(super) const REQUEST_LIMIT: usize = 5;

/// Largest picture that is carried, in bytes.
const BYTES_LIMIT: usize = 4 * 1024 * 1024;

/// Longest time that pictures may take to be fetched; the rest of the call's time is Odoo's, which takes 0.2 s for one
/// (facts/mapping-odoo.md §1).
const FETCH_TIMEOUT: Duration = Duration::from_secs(20);

impl Odoo {
    /// Fetches the pictures of a request and sends it without those that could not be had.
    pub(super) async fn send_pictures(
        &self,
        load: Load,
        deadline: Instant,
    ) -> Result<Vec<Outcome>, CallError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = FETCH_TIMEOUT.min(left / 2);
        let fetched = load
            .pictures()
            .map(|address| self.http.fetch(address, BYTES_LIMIT, timeout));
        let fetched = join_all(fetched).await;
        let (pictures, missing): (Vec<Option<String>>, Vec<Option<Outcome>>) = fetched
            .into_iter()
            .map(|file| match file {
                Ok(file) => (Some(STANDARD.encode(file)), None),
                Err(error) => (None, Some(outcome(&error))),
            })
            .unzip();
        let load = load.with_pictures(pictures);
        let mut sent = if load.rows.is_empty() {
            Vec::new()
        } else {
            match self.rpc.write(&load.call(&self.silence()), deadline).await {
                Ok(answer) => load.outcomes(answer)?,
                Err(failure) => load.failed(failure)?,
            }
        }
        .into_iter();
        Ok(missing
            .into_iter()
            .filter_map(|missing| missing.or_else(|| sent.next()))
            .collect())
    }
}

fn outcome(error: &FetchError) -> Outcome {
    let message = format!("its picture can't be fetched: {error}");
    let refusal = |code: &str| Refusal {
        code: code.to_owned(),
        message,
    };
    match error {
        FetchError::Refused(_) => Outcome::Rejected(refusal("picture_refused")),
        FetchError::Unavailable(_) => Outcome::Transient(refusal("picture_unavailable")),
    }
}
