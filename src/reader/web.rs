//! Pages, and crawls of them → one document a page.
//!
//! Here a page is only decoded; [`find_text`] finds the text in it, which takes the time of many sentences.

use std::io::{BufRead, Read};
use std::ops::ControlFlow;

use serde_json::Value;

use super::charset::decode_html;
use super::date::iso_date;
use super::fields::with_title;
use super::http::{HttpError, http_response, media_type};
use super::plain::headline;
use super::warc::{Block, WarcReader, WarcRecord};
use super::{Bytes, Reading, html, too_large, unreadable};
use crate::document::{Document, DocumentError, Form, Input};

/// Emits the page that `bytes` hold.
pub(super) fn read_page(
    reading: &mut Reading<'_>,
    name: &str,
    bytes: Bytes<'_>,
    warning: Option<&str>,
) -> ControlFlow<()> {
    let limit = reading.options.limit();
    let mut content = Vec::new();
    let input = match bytes.take(limit.saturating_add(1)).read_to_end(&mut content) {
        Err(error) => unreadable(name.to_owned(), &error),
        Ok(_) if content.len() as u64 > limit => too_large(name.to_owned(), limit),
        Ok(_) => {
            let warnings = warning.map(str::to_owned).into_iter().collect();
            let document = Document { source: name.to_owned(), warnings, ..Document::default() };
            decoded(document, &content, None, Form::Html, limit)
        }
    };
    reading.emit(input)
}

/// Emits a document for every record of a crawl that holds a page or text. Responses that do not, such as pictures and
/// redirections, are skipped with the reason. Requests, metadata, repetitions (`revisit`) and further parts of a record
/// (`continuation`) are no documents; of a record in parts the first is read, with a warning.
pub(super) fn read_warc(reading: &mut Reading<'_>, name: &str, bytes: impl BufRead) -> ControlFlow<()> {
    let limit = reading.options.limit();
    let mut records = WarcReader::new(bytes, limit);
    let (mut last, mut errors) = (0, 0);
    loop {
        match records.next_record() {
            Ok(None) => return ControlFlow::Continue(()),
            Ok(Some(record)) => {
                (last, errors) = (record.number, 0);
                if let Some(input) = crawled(name, record, limit) {
                    reading.emit(input)?;
                }
            }
            // It may be about a stretch that is no record, which has no number.
            Err(error) => {
                errors += 1;
                reading.emit(unreadable(format!("{name}#{last}+{errors}"), &error))?;
            }
        }
    }
}

/// The document that a record of a crawl holds; `None` if it is of another kind.
fn crawled(name: &str, record: WarcRecord, limit: u64) -> Option<Input> {
    let source = format!("{name}#{}", record.number);
    let mut document = Document { source, url: record.url, ..Document::default() };
    document.warnings.extend(record.cut);
    for (key, value) in [("warc_date", record.date), ("warc_record_id", record.id)] {
        document.meta.extend(value.map(|value| (key.to_owned(), Value::String(value))));
    }
    let block = match record.block {
        Block::Unread => return None,
        Block::TooLong => return Some(Input { document, ..too_large(String::new(), limit) }),
        Block::Whole(block) => block,
    };
    let (content_type, charset) = record.content_type.as_deref().map(media_type).unwrap_or_default();
    // Of what other protocols answer, such as names of hosts, no page comes either.
    let is_http = record.kind == "response" && content_type.as_deref().is_none_or(|kind| kind == "application/http");
    if !is_http {
        return Some(payload(document, content_type.as_deref(), &block, charset.as_deref(), limit));
    }
    let error = match http_response(&block, limit) {
        Ok(response) if !(200..300).contains(&response.status) => {
            DocumentError::skipped("http_status", format!("the server answered {}", response.status))
        }
        Ok(response) => {
            document.warnings.extend(response.damaged);
            let (content_type, charset) = (response.content_type.as_deref(), response.charset.as_deref());
            return Some(payload(document, content_type, &response.body, charset, limit));
        }
        Err(HttpError::TooLong) => return Some(Input { document, ..too_large(String::new(), limit) }),
        Err(HttpError::Bad(message)) => DocumentError::failed("bad_http", message),
    };
    Some(Input { error: Some(error), ..Input::text(document) })
}

fn payload(document: Document, content_type: Option<&str>, body: &[u8], charset: Option<&str>, limit: u64) -> Input {
    match content_type {
        Some("text/html" | "application/xhtml+xml") => decoded(document, body, charset, Form::Html, limit),
        None if looks_like_a_page(body) => decoded(document, body, charset, Form::Html, limit),
        Some("text/plain") => {
            let mut input = decoded(document, body, charset, Form::Text, limit);
            input.document.title = headline(&input.document.text).map(str::to_owned);
            input
        }
        other => {
            let message = format!("neither a page nor text: {}", other.unwrap_or("of no type"));
            Input { error: Some(DocumentError::skipped("not_text", message)), ..Input::text(document) }
        }
    }
}

/// Whether bytes begin as a page does.
pub(super) fn looks_like_a_page(body: &[u8]) -> bool {
    let start = body.trim_ascii_start();
    let begins = |mark: &[u8]| start.get(..mark.len()).is_some_and(|start| start.eq_ignore_ascii_case(mark));
    begins(b"<!doctype html") || begins(b"<html")
}

fn decoded(mut document: Document, body: &[u8], charset: Option<&str>, form: Form, limit: u64) -> Input {
    let (text, guess) = decode_html(body, charset);
    if text.len() as u64 > limit {
        return Input { document, ..too_large(String::new(), limit) };
    }
    document.text = text;
    document.warnings.extend(guess);
    Input { form, ..Input::text(document) }
}

/// Puts the main text of a page in the place of its markup, and what the page says about itself where nothing is known.
///
/// # Errors
///
/// If the page cannot be read; the document has no text then.
pub fn find_text(document: &mut Document) -> Result<(), DocumentError> {
    let markup = std::mem::take(&mut document.text);
    let page = html::read_page(&markup, document.url.as_deref())
        .map_err(|message| DocumentError::failed("bad_html", message))?;
    if let Some(raw) = page.date.map(Value::String) {
        document.date = iso_date(&raw);
        if document.date.as_ref().is_none_or(|iso| raw != *iso) {
            document.meta.insert("date".to_owned(), raw);
        }
    }
    document.url = document.url.take().or(page.url);
    document.language = page.language;
    document.title = page.title.filter(|title| !title.trim().is_empty());
    document.text = match &document.title {
        Some(title) if !page.text.is_empty() => with_title(title, page.text),
        _ => page.text,
    };
    Ok(())
}
