//! Dates as news sources write them → ISO 8601.
//!
//! `jiff` does the parsing: its formats cover RFC 3339 and RFC 2822, and it knows which days exist.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::fmt::{rfc2822, strtime};
use jiff::tz::Offset;
use serde_json::Value;

/// Day formats that news archives use; month names in English.
const DAYS: &[&str] = &["%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%Y.%m.%d", "%B %d, %Y", "%b %d, %Y", "%d %B %Y", "%d %b %Y"];
/// Day formats after which a time of day may stand, in whatever way; only the day is read.
const TIMED_DAYS: &[&str] =
    &["%a %b %d, %Y", "%a, %b %d, %Y", "%A, %B %d, %Y", "%B %d, %Y", "%b %d, %Y", "%d %B %Y", "%d %b %Y", "%Y/%m/%d"];

/// `value` in ISO form: a day, or the string itself if it is a day with a time. `None` for what is no date.
pub(super) fn iso_date(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => iso_from_text(text.trim()),
        Value::Number(number) => iso_from_number(number.as_f64()?),
        _ => None,
    }
}

/// Seconds since 1970, or a day as in `20220509`, which as seconds would be a day of 1970.
fn iso_from_number(number: f64) -> Option<String> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "fractions of a second are dropped, what is too large is no date"
    )]
    let seconds = number.floor() as i64;
    if (19_000_101..=21_001_231).contains(&seconds) {
        return iso_from_text(&seconds.to_string());
    }
    Some(Timestamp::from_second(seconds).ok()?.to_string())
}

fn iso_from_text(text: &str) -> Option<String> {
    let day = |format: &&str| strtime::parse(format, text).ok()?.to_date().ok();
    if let Some(day) = DAYS.iter().find_map(day) {
        return Some(day.to_string());
    }
    if let Some((date, time)) = text.split_at_checked(10) {
        let timed = time.starts_with(['T', 't', ' ']) && time.len() >= 6;
        if timed
            && date.parse::<Date>().is_ok()
            && (text.parse::<Timestamp>().is_ok() || text.parse::<DateTime>().is_ok())
        {
            return Some(text.to_owned());
        }
    }
    // The sender's offset stays: the day of publication is the sender's.
    if let Ok(mail) = rfc2822::DateTimeParser::new().parse_zoned_datetime(text) {
        let (moment, offset) = (mail.timestamp(), mail.offset());
        let iso =
            if offset == Offset::UTC { moment.to_string() } else { moment.display_with_offset(offset).to_string() };
        return Some(iso);
    }
    let timed_day = |format: &&str| {
        let (parts, rest) = strtime::BrokenDownTime::parse_prefix(format, text).ok()?;
        let rest = text[rest..].trim_start_matches([' ', ',', '-', '|', '\u{2013}']);
        let time = rest.strip_prefix("at ").unwrap_or(rest);
        let is_time = rest.is_empty() || time.starts_with(|c: char| c.is_ascii_digit());
        is_time.then(|| parts.to_date().ok()).flatten()
    };
    Some(TIMED_DAYS.iter().find_map(timed_day)?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_news_sources_become_iso() {
        let rows = [
            ("2022-05-09", Some("2022-05-09")),
            ("2022-05-09T10:00:00Z", Some("2022-05-09T10:00:00Z")),
            ("2022-05-09T10:00:00+02:00", Some("2022-05-09T10:00:00+02:00")),
            ("2022-05-09 10:00:00", Some("2022-05-09 10:00:00")),
            ("20220509", Some("2022-05-09")),
            ("2022/05/09", Some("2022-05-09")),
            ("May 9, 2022", Some("2022-05-09")),
            ("9 May 2022", Some("2022-05-09")),
            ("Mon, 09 May 2022 10:00:00 GMT", Some("2022-05-09T10:00:00Z")),
            ("Mon, 09 May 2022 00:30:00 +0200", Some("2022-05-09T00:30:00+02:00")),
            ("Tue Jan 1, 2013 11:10am EST", Some("2013-01-01")),
            ("Sunday, May 8, 2022", Some("2022-05-08")),
            ("May 9, 2022 at 10:30 a.m.", Some("2022-05-09")),
            ("9 May 2022 - 10:30 GMT", Some("2022-05-09")),
            ("May 9, 2022 and after", None),
            ("2022-02-30", None),
            ("2022-05-09T25:00:00Z", None),
            ("yesterday", None),
            ("", None),
        ];
        let iso = |text: &str| iso_date(&Value::from(text));
        let failures: Vec<_> = rows.iter().filter(|(text, want)| iso(text).as_deref() != *want).collect();
        assert!(failures.is_empty(), "{failures:?}, {:?}", failures.iter().map(|r| iso(r.0)).collect::<Vec<_>>());
        assert_eq!(iso_date(&Value::from(1_652_090_400)), Some("2022-05-09T10:00:00Z".to_owned()));
        assert_eq!(iso_date(&Value::from(1_652_090_400.75)), Some("2022-05-09T10:00:00Z".to_owned()));
        assert_eq!(iso_date(&Value::from(20_220_509)), Some("2022-05-09".to_owned()));
        for no_date in [Value::Null, Value::from(1e300), Value::from(20_221_399), Value::from(true)] {
            assert_eq!(iso_date(&no_date), None, "{no_date}");
        }
    }
}
