//! Dates as news sources write them → ISO 8601.
//!
//! `jiff` does the parsing: its formats cover RFC 3339 and RFC 2822, and it knows which days exist.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::fmt::{rfc2822, strtime};
use serde_json::Value;

/// Day formats that news archives use; month names in English.
const DAYS: &[&str] = &["%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%Y.%m.%d", "%B %d, %Y", "%b %d, %Y", "%d %B %Y", "%d %b %Y"];

/// `value` in ISO form: a day, or the string itself if it is a day with a time. `None` for what is no date.
pub(super) fn iso_date(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => iso_from_text(text.trim()),
        Value::Number(seconds) => {
            let moment = Timestamp::from_second(seconds.as_i64()?).ok()?;
            Some(moment.to_string())
        }
        _ => None,
    }
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
    let mail = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(mail.to_string())
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
            ("2022-02-30", None),
            ("yesterday", None),
            ("", None),
        ];
        let iso = |text: &str| iso_date(&Value::from(text));
        let failures: Vec<_> = rows.iter().filter(|(text, want)| iso(text).as_deref() != *want).collect();
        assert!(failures.is_empty(), "{failures:?}, {:?}", failures.iter().map(|r| iso(r.0)).collect::<Vec<_>>());
        assert_eq!(iso_date(&Value::from(1_652_090_400)), Some("2022-05-09T10:00:00Z".to_owned()));
        assert_eq!(iso_date(&Value::Null), None);
    }
}
