//! Records a line each (NDJSON): as many as 100,000 in one request, read and stored a bounded batch at a time, so that memory
//! stays flat however many come. A line that is wrong is told by its number, and the others are stored (R50).
//!
//! The answer begins when the last line has been read: a client that is still writing would not read it.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use poem::error::ReadBodyError;
use poem::{IntoResponse, Request, RequestBody, Response};
use poem_openapi::payload::{ParsePayload, Payload};
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::ToJSON;
use poem_openapi::{ApiResponse, Object};
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};
use uuid::Uuid;

use crate::auth::Session;
use crate::body;
use crate::problem::{Refused, WrongField};
use crate::records::{self, PutOutcome, PutRecord, PutRecordResult, Shown};

pub(crate) const MEDIA_TYPE: &str = "application/x-ndjson";
/// Most lines of a request.
const LIMIT: usize = 100_000;
/// Most lines that are stored together.
const BATCH_LINES: usize = 500;
/// Bytes of lines after which they are stored, however few they are.
const BATCH_BYTES: usize = 4 << 20;
/// Most bytes of a line.
const LINE_BYTES: usize = 1 << 20;
/// Longest wait for the next bytes.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(30);
/// Refused lines of which it is told what is wrong; of the others, that they were refused.
const EXPLAINED: usize = 1_000;

/// A body of lines, not read yet.
pub(crate) struct Lines(poem::Body);

fn schema() -> MetaSchemaRef {
    MetaSchemaRef::Inline(Box::new(MetaSchema {
        format: Some("binary"),
        ..MetaSchema::new("string")
    }))
}

/// Says whether a content type is that of lines.
pub(crate) fn is_lines(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(MEDIA_TYPE)
}

impl Payload for Lines {
    const CONTENT_TYPE: &'static str = MEDIA_TYPE;

    fn check_content_type(content_type: &str) -> bool {
        is_lines(content_type)
    }

    fn schema_ref() -> MetaSchemaRef {
        schema()
    }
}

impl ParsePayload for Lines {
    const IS_REQUIRED: bool = true;

    async fn from_request(request: &Request, body: &mut RequestBody) -> poem::Result<Self> {
        body::refuse_coded(request)?;
        Ok(Self(body.take()?))
    }
}

poem_openapi::impl_apirequest_for_payload!(Lines,);

/// What became of each line, a line each.
#[derive(Debug)]
pub(crate) struct Outcomes(Vec<LineResult>);

impl Payload for Outcomes {
    const CONTENT_TYPE: &'static str = MEDIA_TYPE;

    fn schema_ref() -> MetaSchemaRef {
        schema()
    }
}

impl IntoResponse for Outcomes {
    fn into_response(self) -> Response {
        let results = Arc::new(self.0);
        let chunks = futures::stream::iter((0..results.len()).step_by(BATCH_LINES)).map(move |from| {
            let chunk = &results[from..results.len().min(from + BATCH_LINES)];
            let mut text = String::new();
            for result in chunk {
                text.push_str(&result.to_json_string());
                text.push('\n');
            }
            Ok::<_, std::io::Error>(text)
        });
        Response::builder()
            .content_type(MEDIA_TYPE)
            .body(poem::Body::from_bytes_stream(chunks))
    }
}

/// What became of one line.
#[derive(Clone, Debug, PartialEq, Eq, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
struct LineResult {
    /// Number of the line, from 1.
    line: u32,
    /// Identifier of the record, where it could be read.
    record_id: Option<Uuid>,
    /// What became of it.
    outcome: PutOutcome,
    /// Every field that is wrong, where it was refused.
    errors: Option<Vec<WrongField>>,
}

#[derive(Debug, ApiResponse)]
pub(crate) enum LinesStored {
    /// What became of each line, in their order, a JSON object a line: `{"line": 1, "recordId": "…", "outcome": "created"}`.
    /// The outcome is `created`, `changed`, `unchanged` or `refused`; a refused line has `errors`, of the first 1,000 such
    /// lines. Empty lines are passed over.
    #[oai(status = 200, content_type = "application/x-ndjson")]
    Results(Outcomes),
}

/// Puts records, a line each.
pub(crate) async fn put<T: Shown>(session: &Session, lines: Lines) -> Result<LinesStored, Refused> {
    let mut reader = BufReader::new(lines.0.into_async_read());
    let mut put = Putting::<T>::new(session);
    for number in 1.. {
        let line = tokio::time::timeout(ARRIVAL_LIMIT, next_line(&mut reader))
            .await
            .map_err(|_| Refused::too_slow())?
            .map_err(broken_off)?;
        match line {
            Line::End => break,
            Line::Text(text) if text.iter().all(u8::is_ascii_whitespace) => {}
            _ if number as usize > LIMIT => {
                put.store().await?;
                return Err(Refused::too_many_lines(LIMIT));
            }
            Line::TooLong => put.refuse(
                number,
                None,
                vec![WrongField::new(
                    "",
                    format!("must have at most {LINE_BYTES} bytes"),
                )],
            ),
            Line::Text(text) => put.line(number, &text).await?,
        }
    }
    put.store().await?;
    put.results.sort_unstable_by_key(|result| result.line);
    Ok(LinesStored::Results(Outcomes(put.results)))
}

fn broken_off(_: ReadBodyError) -> Refused {
    Refused::malformed(
        "the body broke off; what came before may have been stored",
        Vec::new(),
    )
}

enum Line {
    Text(Vec<u8>),
    TooLong,
    End,
}

async fn next_line(reader: &mut (impl AsyncBufRead + Unpin + Send)) -> Result<Line, ReadBodyError> {
    let mut text = Vec::new();
    (&mut *reader)
        .take(LINE_BYTES as u64 + 1)
        .read_until(b'\n', &mut text)
        .await?;
    if text.last() == Some(&b'\n') {
        text.pop();
        return Ok(Line::Text(text));
    }
    if text.is_empty() {
        return Ok(Line::End);
    }
    if text.len() <= LINE_BYTES {
        return Ok(Line::Text(text));
    }
    skip_line(reader).await?;
    Ok(Line::TooLong)
}

/// Throws the rest of a line away, a piece at a time.
async fn skip_line(reader: &mut (impl AsyncBufRead + Unpin + Send)) -> std::io::Result<()> {
    loop {
        let piece = reader.fill_buf().await?;
        if piece.is_empty() {
            return Ok(());
        }
        if let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            reader.consume(end + 1);
            return Ok(());
        }
        let length = piece.len();
        reader.consume(length);
    }
}

/// A request that is under way.
struct Putting<'a, T: Shown> {
    session: &'a Session,
    /// Lines that are read and not stored, each with its number.
    waiting: Vec<(u32, PutRecord<T>)>,
    waiting_bytes: usize,
    results: Vec<LineResult>,
    refused: usize,
}

impl<'a, T: Shown> Putting<'a, T> {
    fn new(session: &'a Session) -> Self {
        Self {
            session,
            waiting: Vec::new(),
            waiting_bytes: 0,
            results: Vec::new(),
            refused: 0,
        }
    }

    async fn line(&mut self, number: u32, text: &[u8]) -> Result<(), Refused> {
        let record = match read::<T>(text) {
            Ok(record) => record,
            Err((id, wrong)) => {
                self.refuse(number, id, wrong);
                return Ok(());
            }
        };
        // What comes later goes on top of what came before, also of the same record.
        if self
            .waiting
            .iter()
            .any(|(_, waiting)| waiting.record_id == record.record_id)
        {
            self.store().await?;
        }
        self.waiting.push((number, record));
        self.waiting_bytes += text.len();
        if self.waiting.len() >= BATCH_LINES || self.waiting_bytes >= BATCH_BYTES {
            self.store().await?;
        }
        Ok(())
    }

    fn refuse(&mut self, line: u32, record_id: Option<Uuid>, wrong: Vec<WrongField>) {
        self.refused += 1;
        self.results.push(LineResult {
            line,
            record_id,
            outcome: PutOutcome::Refused,
            errors: (self.refused <= EXPLAINED).then_some(wrong),
        });
    }

    /// Stores what waits, in a transaction of its own.
    async fn store(&mut self) -> Result<(), Refused> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.waiting_bytes = 0;
        let (numbers, batch): (Vec<u32>, Vec<_>) = std::mem::take(&mut self.waiting).into_iter().unzip();
        let results = records::put_batch(self.session, batch).await?;
        for (line, result) in numbers.into_iter().zip(results) {
            let PutRecordResult {
                record_id,
                outcome,
                errors,
            } = result;
            match errors {
                Some(wrong) => self.refuse(line, Some(record_id), wrong),
                None => self.results.push(LineResult {
                    line,
                    record_id: Some(record_id),
                    outcome,
                    errors: None,
                }),
            }
        }
        Ok(())
    }
}

/// Reads a line; what is wrong with it comes with the record's identifier, where that can be read.
fn read<T: Shown>(text: &[u8]) -> Result<PutRecord<T>, (Option<Uuid>, Vec<WrongField>)> {
    let json: Value = serde_json::from_slice(text)
        .map_err(|error| (None, vec![WrongField::new("", format!("is not JSON: {error}"))]))?;
    let id = json
        .get("recordId")
        .and_then(Value::as_str)
        .and_then(|id| id.parse().ok());
    if let Some(path) = body::path_of_nul(&json) {
        let wrong = WrongField::new(path, "must not contain the character U+0000");
        return Err((id, vec![wrong]));
    }
    body::read(json).map_err(|wrong| (id, wrong))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(text: &[u8]) -> Vec<Option<usize>> {
        let mut reader = BufReader::with_capacity(16, text);
        let mut lines = Vec::new();
        loop {
            match next_line(&mut reader).await.unwrap() {
                Line::Text(text) => lines.push(Some(text.len())),
                Line::TooLong => lines.push(None),
                Line::End => return lines,
            }
        }
    }

    #[tokio::test]
    async fn lines_are_told_apart_and_one_that_is_too_long_is_passed_over() {
        let long = "x".repeat(LINE_BYTES + 1);
        let just = "x".repeat(LINE_BYTES);

        assert_eq!(lines(b"").await, []);
        assert_eq!(lines(b"a\n\nbc").await, [Some(1), Some(0), Some(2)]);
        assert_eq!(lines(b"a\n").await, [Some(1)]);
        assert_eq!(
            lines(format!("{just}\n{long}\na\n{long}").as_bytes()).await,
            [Some(LINE_BYTES), None, Some(1), None],
            "R73"
        );
    }
}
