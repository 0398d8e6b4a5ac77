//! HTML tokens → the page's date, address and language.

use html5ever::tokenizer::{Tag, TagKind, Token};
use serde_json::Value;

/// JSON-LD beyond this many bytes is not read.
const MAX_JSON_LD: usize = 1 << 20;

/// `name` or `property` of `meta` elements that give when the page was published, in lower case.
const DATE_NAMES: [&str; 24] = [
    "article.published",
    "article:post_date",
    "article:published",
    "citation_date",
    "citation_publication_date",
    "cxenseparse:recs:publishtime",
    "date",
    "datepublished",
    "dc.date",
    "dc.date.created",
    "dc.date.issued",
    "dcterms.created",
    "dcterms.date",
    "dcterms.issued",
    "displaydate",
    "og:article:published_time",
    "og:published_time",
    "originalpublicationdate",
    "parsely-pub-date",
    "pubdate",
    "publish-date",
    "publish_date",
    "publishdate",
    "sailthru.date",
];

/// What the tags of a page say of it.
#[derive(Default)]
pub(super) struct Metadata {
    /// By how sure each source is, the first of each.
    dates: [Option<String>; 6],
    /// `link rel=canonical`, then `og:url`, as written.
    urls: [Option<String>; 2],
    /// `html lang`, then `meta` elements, as written.
    languages: [Option<String>; 2],
    /// Of the JSON-LD element that is being read.
    json_ld: Option<String>,
    has_tags: bool,
}

impl Metadata {
    /// When the page was published, as it writes it: JSON-LD, `article:published_time`, `itemprop`, other `meta`
    /// elements, `time pubdate`, any `time`.
    pub(super) fn date(&mut self) -> Option<String> {
        // Year 1 is what a page writes that has no date.
        self.dates.iter_mut().find_map(|date| date.take_if(|date| !date.starts_with("000")))
    }

    /// Addresses that the page gives as its own, the canonical one first; they may be relative.
    pub(super) fn urls(&self) -> impl Iterator<Item = &str> {
        self.urls.iter().flatten().map(String::as_str)
    }

    /// The primary subtag of the page's language in lower case.
    pub(super) fn language(&self) -> Option<String> {
        self.languages.iter().flatten().find_map(|tag| {
            let primary = tag.split(['-', '_', ',', ';', ' ']).next()?;
            let is_subtag = matches!(primary.len(), 2 | 3) && primary.bytes().all(|b| b.is_ascii_alphabetic());
            is_subtag.then(|| primary.to_ascii_lowercase())
        })
    }

    /// Whether there was any tag, comment or document type.
    pub(super) fn has_tags(&self) -> bool {
        self.has_tags
    }

    /// Takes what `token` says.
    pub(super) fn see(&mut self, token: &Token) {
        match token {
            Token::TagToken(tag) if tag.kind == TagKind::StartTag => self.see_start(tag),
            Token::TagToken(tag) => {
                self.has_tags = true;
                if &*tag.name == "script" {
                    self.end_json_ld();
                }
            }
            Token::CharacterTokens(text) => {
                if let Some(json) = self.json_ld.as_mut().filter(|json| json.len() <= MAX_JSON_LD) {
                    json.push_str(text);
                }
            }
            Token::CommentToken(_) | Token::DoctypeToken(_) => self.has_tags = true,
            Token::EOFToken => self.end_json_ld(),
            _ => {}
        }
    }

    fn see_start(&mut self, tag: &Tag) {
        self.has_tags = true;
        let attribute = |name: &str| {
            let value = tag.attrs.iter().find(|a| &*a.name.local == name).map(|a| a.value.trim());
            value.filter(|value| !value.is_empty())
        };
        let is = |name: &str, value: &str| attribute(name).is_some_and(|given| given.eq_ignore_ascii_case(value));
        match &*tag.name {
            "html" => keep(&mut self.languages[0], attribute("lang").or(attribute("xml:lang"))),
            "link" if is("rel", "canonical") => keep(&mut self.urls[0], attribute("href")),
            "script" if attribute("type").is_some_and(|kind| kind.to_ascii_lowercase().contains("ld+json")) => {
                self.json_ld = Some(String::new());
            }
            "meta" => {
                let content = attribute("content");
                for name in ["property", "name", "itemprop", "http-equiv"].iter().filter_map(|key| attribute(key)) {
                    match name.to_ascii_lowercase().as_str() {
                        "article:published_time" => keep(&mut self.dates[1], content),
                        "og:url" => keep(&mut self.urls[1], content),
                        "og:locale" | "content-language" | "language" | "dc.language" | "inlanguage" => {
                            keep(&mut self.languages[1], content);
                        }
                        name if DATE_NAMES.contains(&name) => keep(&mut self.dates[3], content),
                        _ => {}
                    }
                }
            }
            "time" => {
                let has_pubdate = tag.attrs.iter().any(|a| &*a.name.local == "pubdate");
                keep(&mut self.dates[if has_pubdate { 4 } else { 5 }], attribute("datetime"));
            }
            _ => {}
        }
        if attribute("itemprop").is_some_and(|names| names.split_whitespace().any(|name| name == "datePublished")) {
            keep(&mut self.dates[2], attribute("content").or(attribute("datetime")));
        }
    }

    fn end_json_ld(&mut self) {
        let Some(json) = self.json_ld.take().filter(|json| json.len() <= MAX_JSON_LD) else { return };
        // Line ends within strings are common and not JSON.
        let json = json.replace(|c: char| c.is_ascii_control(), " ");
        if let Ok(value) = serde_json::from_str(&json) {
            keep(&mut self.dates[0], published(&value));
        }
    }
}

/// The first `datePublished` in a JSON-LD value.
fn published(value: &Value) -> Option<&str> {
    match value {
        Value::Array(items) => items.iter().find_map(published),
        Value::Object(fields) => {
            let own = fields.get("datePublished").and_then(Value::as_str).map(str::trim);
            own.filter(|date| !date.is_empty()).or_else(|| fields.values().find_map(published))
        }
        _ => None,
    }
}

/// Puts `value` into `place` unless there is one.
fn keep(place: &mut Option<String>, value: Option<&str>) {
    if place.is_none() {
        *place = value.map(str::to_owned);
    }
}
