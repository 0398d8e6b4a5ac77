//! ISO date of a record → its day, for columns that hold days only.

use std::ops::RangeInclusive;

use jiff::civil::Date;
use jiff::fmt::strtime;

/// Years whose days every reader of tables takes: the Gregorian calendar's, up to the last with four digits.
const YEARS: RangeInclusive<i16> = 1583..=9999;

/// The day that `date` begins with, as its sender counts days; `None` for what is no date or outside 1583 to 9999.
pub(super) fn day(date: &str) -> Option<Date> {
    let (day, time) = date.split_at_checked("2022-05-09".len())?;
    let alone = time.is_empty() || time.starts_with(['T', 't', ' ']);
    let day = strtime::parse("%Y-%m-%d", day).ok()?.to_date().ok()?;
    (alone && YEARS.contains(&day.year())).then_some(day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_day_of_a_date() {
        let cases = [
            ("2022-05-09", Some("2022-05-09")),
            ("2022-05-09T23:30:00Z", Some("2022-05-09")),
            ("2022-05-09t23:30:00-08:00", Some("2022-05-09")),
            ("2022-05-09 10:00", Some("2022-05-09")),
            ("2024-02-29", Some("2024-02-29")),
            ("1583-01-01", Some("1583-01-01")),
            ("9999-12-31T23:59:59Z", Some("9999-12-31")),
            ("1582-12-31", None),
            ("0000-01-01", None),
            ("-002022-05-09", None),
            ("+12022-05-09", None),
            ("12022-05-09", None),
            ("2023-02-29", None),
            ("2022-05-091", None),
            ("2022-05", None),
            ("yesterday at noon", None),
            ("２０２２-05-09", None),
            ("", None),
        ];
        for (date, expected) in cases {
            assert_eq!(day(date).map(|d| d.to_string()).as_deref(), expected, "{date}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_day_only_if_it_begins_with_it(text in "\\PC{0,12}|[0-9]{4}-[0-9]{2}-[0-9]{2}.{0,3}") {
            if let Some(day) = day(&text) {
                prop_assert!(text.starts_with(&day.to_string()));
            }
        }
    }
}
