//! Pages, and crawls of them → one document a page.
//!
//! Here a page is only decoded; [`find_text`] finds the text in it, which takes the time of many sentences.

use std::io::{BufRead, Read};
use std::ops::ControlFlow;

use serde_json::Value;

use super::charset::decode_html;
use super::date::iso_date;
use super::fields::with_title;
use super::http::{HttpError, http_response};
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
            let document = Document { source: name.to_owned(), ..Document::default() };
            page(document, &content, None, warning.map(str::to_owned))
        }
    };
    reading.emit(input)
}

/// Emits a document for every record of a crawl that holds a page or text. Responses that do not, such as pictures and
/// redirections, are skipped with the reason; requests and metadata are no documents.
pub(super) fn read_warc(reading: &mut Reading<'_>, name: &str, bytes: impl BufRead) -> ControlFlow<()> {
    let limit = reading.options.limit();
    let mut records = WarcReader::new(bytes, limit);
    let mut last = 0;
    loop {
        match records.next_record() {
            Ok(None) => return ControlFlow::Continue(()),
            Ok(Some(record)) => {
                last = record.number;
                if let Some(input) = crawled(name, record, limit) {
                    reading.emit(input)?;
                }
            }
            Err(error) => {
                last += 1;
                reading.emit(unreadable(format!("{name}#{last}"), &error))?;
            }
        }
    }
}

/// The document that a record of a crawl holds; `None` if it is of another kind.
fn crawled(name: &str, record: WarcRecord, limit: u64) -> Option<Input> {
    let mut document = Document { source: format!("{name}#{}", record.number), url: record.url, ..Document::default() };
    for (key, value) in [("warc_date", record.date), ("warc_record_id", record.id)] {
        document.meta.extend(value.map(|value| (key.to_owned(), Value::String(value))));
    }
    let block = match record.block {
        Block::Unread => return None,
        Block::TooLong => return Some(Input { document, ..too_large(String::new(), limit) }),
        Block::Whole(block) => block,
    };
    if record.kind != "response" {
        return Some(payload(document, record.content_type.as_deref(), &block, None));
    }
    let error = match http_response(&block, limit) {
        Ok(response) if !(200..300).contains(&response.status) => {
            DocumentError::skipped("http_status", format!("the server answered {}", response.status))
        }
        Ok(response) => {
            document.warnings.extend(response.damaged);
            return Some(payload(
                document,
                response.content_type.as_deref(),
                &response.body,
                response.charset.as_deref(),
            ));
        }
        Err(HttpError::TooLong) => return Some(Input { document, ..too_large(String::new(), limit) }),
        Err(HttpError::Bad(message)) => DocumentError::failed("bad_http", message),
    };
    Some(Input { error: Some(error), ..Input::text(document) })
}

fn payload(mut document: Document, content_type: Option<&str>, body: &[u8], charset: Option<&str>) -> Input {
    match content_type {
        Some("text/html" | "application/xhtml+xml") => page(document, body, charset, None),
        None if looks_like_a_page(body) => page(document, body, charset, None),
        Some("text/plain") => {
            let (text, warning) = decode_html(body, charset);
            document.text = text;
            document.warnings.extend(warning);
            Input::text(document)
        }
        other => {
            let message = format!("neither a page nor text: {}", other.unwrap_or("of no type"));
            Input { error: Some(DocumentError::skipped("not_text", message)), ..Input::text(document) }
        }
    }
}

fn looks_like_a_page(body: &[u8]) -> bool {
    let begins =
        |mark: &[u8]| body.trim_ascii_start().get(..mark.len()).is_some_and(|start| start.eq_ignore_ascii_case(mark));
    begins(b"<!doctype html") || begins(b"<html")
}

fn page(mut document: Document, body: &[u8], charset: Option<&str>, warning: Option<String>) -> Input {
    let (markup, guess) = decode_html(body, charset);
    document.text = markup;
    document.warnings.extend(warning.into_iter().chain(guess));
    Input { form: Form::Html, ..Input::text(document) }
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
