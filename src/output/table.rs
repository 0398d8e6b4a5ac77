//! Records → a compact readable view, for a terminal.

use std::fmt::Write;

use anstyle::{AnsiColor, Effects, Style};
use textwrap::{Options, WordSplitter};
use unicode_width::UnicodeWidthStr;

use crate::document::ByteSpan;
use crate::output::{is_uncertain, status};
use crate::record::{CompanyStance, Evidence, Outcome, Record, Stance};

/// How the view is drawn.
#[derive(Clone, Copy, Debug)]
pub struct TableOptions {
    /// Columns of the terminal.
    pub width: usize,
    /// Whether to colour.
    pub colour: bool,
    /// Companies below it get a `?`.
    pub min_confidence: f64,
}

/// Evidence sentences shown of one company.
const MAX_EVIDENCE: usize = 2;
/// Longest sentence shown, in characters; of a longer one the part around the company's name.
const MAX_SENTENCE_CHARS: usize = 320;
/// Cells of a confidence bar.
const BAR_CELLS: usize = 8;
/// Widest column of names.
const MAX_NAME_WIDTH: usize = 32;
/// Stand for the beginning and the end of a highlight while a sentence is wrapped: characters without width that
/// [`plain`] has removed from the text.
const HIGHLIGHT: [char; 2] = ['\u{2068}', '\u{2069}'];

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const NAME: Style = Style::new().effects(Effects::BOLD.insert(Effects::UNDERLINE));

/// The view of one record, ending in a blank line.
#[must_use]
pub fn render(record: &Record, options: TableOptions) -> String {
    let document = &record.document;
    let paint = Painter { colour: options.colour };
    let mut out = String::new();
    let title = document.title.as_deref().map(plain);
    let id = plain(document.id.as_deref().unwrap_or(&document.source));
    let place = [Some(id), document.date.as_deref().map(plain)].into_iter().flatten().collect::<Vec<_>>().join("  ");
    match title {
        Some(title) => line(&mut out, &format!("{}  {}", paint.with(BOLD, &title), paint.with(DIM, &place))),
        None => line(&mut out, &paint.with(BOLD, &place)),
    }
    for warning in &document.warnings {
        line(&mut out, &paint.with(DIM, &format!("  warning: {}", plain(warning))));
    }
    match &record.outcome {
        Outcome::Ok(companies) if companies.is_empty() => line(&mut out, &paint.with(DIM, "  no companies")),
        Outcome::Ok(companies) => companies_block(&mut out, companies, &document.text, options, paint),
        Outcome::Empty => line(&mut out, &paint.with(DIM, "  empty")),
        Outcome::Error(error) => {
            let style = if error.skipped { DIM } else { AnsiColor::Red.on_default() };
            let text = format!("  {}: {}: {}", status(&record.outcome).name(), error.kind, plain(&error.message));
            line(&mut out, &paint.with(style, &text));
        }
    }
    out.push('\n');
    out
}

fn companies_block(out: &mut String, companies: &[CompanyStance], text: &str, options: TableOptions, paint: Painter) {
    let names: Vec<String> = companies.iter().map(|c| plain(&c.name)).collect();
    let width = names.iter().map(|n| n.width()).max().unwrap_or(0).min(MAX_NAME_WIDTH);
    for (company, name) in companies.iter().zip(&names) {
        let confidence = company.confidence();
        let doubt = if is_uncertain(company, options.min_confidence) { "?" } else { " " };
        let markets = company.markets.iter().map(|m| plain(m)).collect::<Vec<_>>().join(", ");
        let row = format!(
            "  {name}{}  {}{}  {} {:>3.0}%{doubt}  {}",
            " ".repeat(width.saturating_sub(name.width())),
            paint.with(colour_of(company.stance), company.stance.name()),
            " ".repeat("continuing".len() - company.stance.name().len()),
            bar(confidence),
            confidence * 100.0,
            paint.with(DIM, &markets),
        );
        line(out, row.trim_end());
        for evidence in company.evidence.iter().take(MAX_EVIDENCE) {
            sentence(out, evidence, company, text, options, paint);
        }
        let more = company.evidence.len().saturating_sub(MAX_EVIDENCE);
        if more > 0 {
            line(out, &paint.with(DIM, &format!("      and {more} more")));
        }
    }
}

/// One evidence sentence, wrapped, the company's name in it set off.
fn sentence(
    out: &mut String,
    evidence: &Evidence,
    company: &CompanyStance,
    text: &str,
    options: TableOptions,
    paint: Painter,
) {
    let inside: Vec<ByteSpan> = company.mentions.iter().copied().filter(|m| evidence.sentence.contains(*m)).collect();
    let shown = excerpt(evidence.sentence, inside.first().copied(), text);
    let mut marked = String::new();
    let mut at = shown.start();
    for mention in inside.iter().filter(|m| shown.contains(**m) && !m.is_empty()) {
        let before = plain(ByteSpan::new(at, mention.start().max(at)).of(text));
        let name = plain(mention.of(text));
        let _ = write!(marked, "{before}{}{name}{}", HIGHLIGHT[0], HIGHLIGHT[1]);
        at = mention.end();
    }
    marked.push_str(&plain(ByteSpan::new(at, shown.end()).of(text)));
    let lead = if shown.start() > evidence.sentence.start() { "… " } else { "" };
    let tail = if shown.end() < evidence.sentence.end() { " …" } else { "" };
    let whole = format!("{lead}{}{tail}", marked.trim());
    let wrap = Options::new(options.width.max(20))
        .initial_indent("    │ ")
        .subsequent_indent("    │ ")
        .word_splitter(WordSplitter::NoHyphenation);
    let mut lit = false;
    for row in textwrap::wrap(&whole, wrap) {
        let (start, stop) = (NAME.render().to_string(), NAME.render_reset().to_string());
        let mut painted = String::new();
        for c in row.chars() {
            match (c == HIGHLIGHT[0], c == HIGHLIGHT[1]) {
                (true, _) => lit = true,
                (_, true) => lit = false,
                _ => painted.push(c),
            }
            if options.colour && HIGHLIGHT.contains(&c) {
                painted.push_str(if lit { &start } else { &stop });
            }
        }
        if options.colour && lit {
            // A name that goes on in the next row is lit again there.
            painted.push_str(&stop);
        }
        line(out, &dim_margin(&painted, if begins_unlit(&row) { "" } else { &start }, paint));
    }
}

/// True unless the row ends a highlight that an earlier row began.
fn begins_unlit(row: &str) -> bool {
    match (row.find(HIGHLIGHT[0]), row.find(HIGHLIGHT[1])) {
        (None, Some(_)) => false,
        (Some(begin), Some(end)) => begin < end,
        _ => true,
    }
}

fn dim_margin(row: &str, relit: &str, paint: Painter) -> String {
    let relit = if paint.colour { relit } else { "" };
    match row.strip_prefix("    │ ") {
        Some(rest) => format!("    {} {relit}{rest}", paint.with(DIM, "│")),
        None => row.to_owned(),
    }
}

/// The part of a long sentence around `mention`, on blanks where there are some.
fn excerpt(sentence: ByteSpan, mention: Option<ByteSpan>, text: &str) -> ByteSpan {
    let body = sentence.of(text);
    if body.chars().count() <= MAX_SENTENCE_CHARS {
        return sentence;
    }
    let centre = mention.map_or(0, |m| body[..m.start() - sentence.start()].chars().count());
    let from = centre.saturating_sub(MAX_SENTENCE_CHARS / 3);
    let byte = |chars: usize| body.char_indices().nth(chars).map_or(body.len(), |(at, _)| at);
    let (mut start, mut end) = (byte(from), byte(from + MAX_SENTENCE_CHARS));
    if start > 0 {
        start += body[start..end].find(char::is_whitespace).filter(|step| *step < 40).unwrap_or(0);
    }
    if end < body.len() {
        let cut = body[start..end].rfind(char::is_whitespace).filter(|cut| end - start - cut < 40);
        end = cut.map_or(end, |cut| start + cut);
    }
    ByteSpan::new(sentence.start() + start, sentence.start() + end)
}

fn colour_of(stance: Stance) -> Style {
    match stance {
        Stance::Halted => AnsiColor::Red.on_default().bold(),
        Stance::Suspended => AnsiColor::Yellow.on_default().bold(),
        Stance::Continuing => AnsiColor::Green.on_default().bold(),
        Stance::Silent => DIM,
    }
}

/// A bar of [`BAR_CELLS`] cells, filled to eighths of a cell.
fn bar(share: f32) -> String {
    let eighths = (share.clamp(0.0, 1.0) * (BAR_CELLS * 8) as f32).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        bar.push(['▏', '▎', '▍', '▌', '▋', '▊', '▉'][eighths % 8 - 1]);
    }
    bar + &" ".repeat(BAR_CELLS - eighths.div_ceil(8))
}

/// `text` on one line, without anything that a terminal would obey: blanks and breaks become spaces, other control and
/// format characters go.
#[must_use]
pub fn plain(text: &str) -> String {
    let blank = |c: char| if c.is_whitespace() { ' ' } else { c };
    let text: String = text.chars().map(blank).filter(|&c| !crate::text::normalize::is_deleted(c)).collect();
    text.split(' ').filter(|w| !w.is_empty()).fold(String::new(), |mut line, word| {
        if !line.is_empty() || text.starts_with(' ') {
            line.push(' ');
        }
        line.push_str(word);
        line
    }) + if text.ends_with(' ') { " " } else { "" }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

#[derive(Clone, Copy)]
struct Painter {
    colour: bool,
}

impl Painter {
    fn with(self, style: Style, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Document, DocumentError};

    fn record() -> Record {
        let text = "Acme quits\n\nAcme Devices said that it has ended all of its sales in Freedonia, and that it will not be back. Globex is a rival.";
        let span = |part: &str| text.rfind(part).map(|at| ByteSpan::new(at, at + part.len())).expect("in the text");
        let company = |name: &str, stance, probabilities, evidence| CompanyStance {
            key: name.to_lowercase(),
            name: name.to_owned(),
            aliases: Vec::new(),
            stance,
            probabilities,
            markets: vec!["Freedonia".to_owned()],
            mentions: vec![span(name)],
            evidence,
        };
        let sentence =
            "Acme Devices said that it has ended all of its sales in Freedonia, and that it will not be back.";
        let evidence = Evidence { sentence: span(sentence), stance: Stance::Halted, confidence: 0.9 };
        let companies = vec![
            company("Acme Devices", Stance::Halted, [0.9, 0.05, 0.0, 0.05], vec![evidence]),
            company("Globex", Stance::Silent, [0.2, 0.2, 0.2, 0.4], Vec::new()),
        ];
        let document = Document {
            source: "a.txt".to_owned(),
            title: Some("Acme quits".to_owned()),
            date: Some("2022-05-09".to_owned()),
            text: text.to_owned(),
            ..Document::default()
        };
        Record { document, outcome: Outcome::Ok(companies), ..Record::default() }
    }

    #[test]
    fn shows_companies_with_their_evidence() {
        let options = TableOptions { width: 60, colour: false, min_confidence: 0.5 };
        insta::assert_snapshot!(render(&record(), options), @r"
        Acme quits  a.txt  2022-05-09
          Acme Devices  halted      ███████▎  90%   Freedonia
            │ Acme Devices said that it has ended all of its sales
            │ in Freedonia, and that it will not be back.
          Globex        silent      ███▎      40%?  Freedonia
        ");
    }

    #[test]
    fn colour_lights_the_company_in_its_evidence() {
        let options = TableOptions { width: 60, colour: true, min_confidence: 0.5 };
        let lit = render(&record(), options);
        let name = format!("{NAME}Acme Devices{NAME:#}");
        assert!(lit.contains(&name), "{lit:?}");
        let narrow = render(&record(), TableOptions { width: 16, ..options });
        assert!(!narrow.contains(HIGHLIGHT), "{narrow:?}");
    }

    #[test]
    fn a_text_cannot_command_the_terminal() {
        let mut record = record();
        record.document.title = Some("\u{1b}[31mRed\u{7}\r\nalert".to_owned());
        let options = TableOptions { width: 60, colour: false, min_confidence: 0.5 };
        assert!(render(&record, options).starts_with("[31mRed alert  a.txt"));
    }

    #[test]
    fn a_long_sentence_is_shown_around_the_name() {
        let text = format!("{}Acme{}", "far before it ".repeat(60), " and long after".repeat(60));
        let at = text.find("Acme").expect("named");
        let shown = excerpt(ByteSpan::new(0, text.len()), Some(ByteSpan::new(at, at + 4)), &text);
        assert!(shown.len() <= MAX_SENTENCE_CHARS && shown.of(&text).contains("Acme"));
        assert!(shown.of(&text).trim_start().starts_with(['f', 'b', 'i']) && !shown.of(&text).ends_with(' '));
    }

    #[test]
    fn failures_are_one_line() {
        let error = DocumentError { kind: "bad_json", message: "at column 3".to_owned(), skipped: false };
        let document = Document { source: "d.jsonl:2".to_owned(), ..Document::default() };
        let record = Record { document, outcome: Outcome::Error(error), ..Record::default() };
        let options = TableOptions { width: 60, colour: false, min_confidence: 0.5 };
        assert_eq!(render(&record, options), "d.jsonl:2\n  failed: bad_json: at column 3\n\n");
    }

    #[test]
    fn a_bar_is_filled_by_eighths() {
        assert_eq!((bar(0.0), bar(1.0), bar(0.5 + 1.0 / 64.0)), (" ".repeat(8), "█".repeat(8), "████▏   ".to_owned()));
    }
}
