//! Times in text: RFC 3339, and the shorter forms of ISO 8601 that data files often have.

use std::fmt;

/// A time: microseconds since 1970-01-01 00:00 UTC, without leap seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// Microseconds of a second.
const SECOND: i64 = 1_000_000;
/// Microseconds of a day.
const DAY: i64 = 86_400 * SECOND;
/// Maximum digits of a fraction of a second.
const MAX_FRACTION: usize = 9;

impl Timestamp {
    /// Parses a time of the years 0000 to 9999; `None` for any other text.
    ///
    /// ```text
    /// YYYY-MM-DD [ (T | t | space) hh:mm [ :ss [ .f ] ] [ Z | z | +hh:mm | -hh:mm ] ]
    /// ```
    ///
    /// A date alone is its midnight. Without an offset, the time is UTC. The fraction has 1 to 9 digits, of which the
    /// first 6 count. The second 60 is the first of the next minute.
    ///
    /// ```
    /// use nearness_core::api::Timestamp;
    ///
    /// assert_eq!(Timestamp::parse("2024-05-01T12:00:00+02:00"), Timestamp::parse("2024-05-01 10:00"));
    /// assert_eq!(Timestamp::parse("1970-01-02").map(Timestamp::micros), Some(86_400_000_000));
    /// assert_eq!(Timestamp::parse("2023-02-29"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = Cursor(text.as_bytes());
        let year = rest.number(4)?;
        rest.byte(b"-")?;
        let month = rest.number(2)?;
        rest.byte(b"-")?;
        let day = rest.number(2)?;
        if !(1..=12).contains(&month) || !(1..=days_of_month(year, month)).contains(&day) {
            return None;
        }
        let mut micros = days(year, month, day) * DAY;
        if !rest.is_empty() {
            rest.byte(b"Tt ")?;
            micros += rest.time()? - rest.offset()?;
        }
        rest.is_empty().then_some(Self(micros))
    }

    /// Returns the microseconds since 1970-01-01 00:00 UTC.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Returns the time of these microseconds since 1970-01-01 00:00 UTC.
    pub fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Returns the date in UTC some days later, as `YYYY-MM-DD`, at least 0000-01-01 and at most 9999-12-31.
    pub(crate) fn date(self, later: i64) -> String {
        let day = (self.0.div_euclid(DAY) + later).clamp(days(0, 1, 1), days(9_999, 12, 31));
        let (year, month, day) = civil(day);
        format!("{year:04}-{month:02}-{day:02}")
    }
}

/// `YYYY-MM-DDThh:mm:ss.ffffffZ`, as in RFC 3339 for the years 0000 to 9999.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (day, time) = (self.0.div_euclid(DAY), self.0.rem_euclid(DAY));
        let (year, month, day) = civil(day);
        let (seconds, micros) = (time / SECOND, time % SECOND);
        let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

/// The rest of a text.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes one of these bytes.
    fn byte(&mut self, allowed: &[u8]) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        if !allowed.contains(&first) {
            return None;
        }
        self.0 = rest;
        Some(first)
    }

    /// Takes a number of exactly these digits.
    fn number(&mut self, digits: usize) -> Option<i64> {
        let (number, rest) = self.0.split_at_checked(digits)?;
        if !number.iter().all(u8::is_ascii_digit) {
            return None;
        }
        self.0 = rest;
        Some(number.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
    }

    /// Takes `hh:mm`, as minutes.
    fn minutes(&mut self) -> Option<i64> {
        let hours = self.number(2).filter(|hours| *hours < 24)?;
        self.byte(b":")?;
        let minutes = self.number(2).filter(|minutes| *minutes < 60)?;
        Some(hours * 60 + minutes)
    }

    /// Takes a time of day, as microseconds.
    fn time(&mut self) -> Option<i64> {
        let minutes = self.minutes()?;
        let (mut seconds, mut fraction) = (0, 0);
        if self.byte(b":").is_some() {
            seconds = self.number(2).filter(|seconds| *seconds <= 60)?;
            if self.byte(b".").is_some() {
                let digits = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
                if !(1..=MAX_FRACTION).contains(&digits) {
                    return None;
                }
                let nanos = self.number(digits)? * 10_i64.pow((MAX_FRACTION - digits) as u32);
                fraction = nanos / 1_000;
            }
        }
        Some((minutes * 60 + seconds) * SECOND + fraction)
    }

    /// Takes an offset from UTC, as microseconds; 0 at the end of the text.
    fn offset(&mut self) -> Option<i64> {
        if self.is_empty() {
            return Some(0);
        }
        Some(match self.byte(b"Zz+-")? {
            b'+' => self.minutes()? * 60 * SECOND,
            b'-' => -self.minutes()? * 60 * SECOND,
            _ => 0,
        })
    }
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Returns the days from 1970-01-01 to a date of the Gregorian calendar (`days_from_civil` in Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms").
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that a leap day is the last day.
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Returns the year, month and day, the inverse of [`days`] (`civil_from_days`, ibid.).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forms_of_one_time_are_equal() {
        let expected = Some(Timestamp(1_685_579_400_000_000));
        for text in [
            "2023-06-01T00:30:00Z",
            "2023-06-01t00:30:00z",
            "2023-06-01T02:30:00+02:00",
            "2023-05-31T19:30:00-05:00",
            "2023-06-01 00:30",
            "2023-06-01 00:30:00.000000999",
            "2023-06-01T00:29:60Z",
            "2023-06-01T00:30:00-00:00",
        ] {
            assert_eq!(Timestamp::parse(text), expected, "{text}");
        }
        let after = |text| Timestamp::parse(text).expect(text).micros() - 1_685_579_400_000_000;
        assert_eq!(after("2023-06-01T00:30:00.5Z"), 500_000);
        assert_eq!(after("2023-06-01T00:30:00.000001"), 1);
        assert_eq!(after("2023-06-01"), -1_800_000_000);
        assert_eq!(Timestamp::parse("1969-12-31T23:59:59.9999999Z"), Some(Timestamp(-1)));
    }

    #[test]
    fn other_texts_are_not_times() {
        for text in [
            "",
            "2023",
            "20230601",
            "2023-06",
            "2023-6-1",
            "+2023-06-01",
            " 2023-06-01",
            "2023-06-01 ",
            "2023-06-01Z",
            "2023-06-01T",
            "2023-06-01T00",
            "2023-06-01T0030",
            "2023-06-01X00:30",
            "2023-06-01  00:30",
            "2023-00-01",
            "2023-13-01",
            "2023-06-00",
            "2023-06-31",
            "2023-02-29",
            "1900-02-29",
            "2023-06-01T24:00",
            "2023-06-01T00:60",
            "2023-06-01T00:30:61",
            "2023-06-01T00:30:00.",
            "2023-06-01T00:30:00.1234567890",
            "2023-06-01T00:30:00,5",
            "2023-06-01T00:30:00+02",
            "2023-06-01T00:30:00+0200",
            "2023-06-01T00:30:00+24:00",
            "2023-06-01T00:30:00+02:60",
            "2023-06-01T00:30:00ZZ",
            "2023-06-01T00:30:00Z[Europe/Berlin]",
            "2023-06-01T00:30:00 Z",
            "２023-06-01",
            "2023-06-0é",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn every_date_is_its_day() {
        let mut expected = days(0, 1, 1);
        assert_eq!((expected, days(1970, 1, 1)), (-719_528, 0));
        for year in 0..10_000 {
            for month in 1..=12 {
                for day in 1..=days_of_month(year, month) {
                    assert_eq!((days(year, month, day), civil(expected)), (expected, (year, month, day)));
                    expected += 1;
                }
            }
        }
        assert_eq!(Timestamp(-1).date(0), "1969-12-31");
        assert_eq!(
            (Timestamp(i64::MIN).date(-1), Timestamp(i64::MAX).date(1)),
            ("0000-01-01".into(), "9999-12-31".into())
        );
    }

    proptest! {
        #[test]
        fn a_time_is_the_sum_of_its_parts(
            date in days(0, 1, 1)..=days(9_999, 12, 31), hour in 0..24_i64, minute in 0..60_i64, second in 0..61_i64,
            fraction in "[0-9]{1,9}", offset in -1_439..1_440_i64, form in 0..4_u8,
        ) {
            let (year, month, day) = civil(date);
            let mut text = format!("{year:04}-{month:02}-{day:02}");
            let mut micros = date * DAY;
            if form > 0 {
                text += &format!("T{hour:02}:{minute:02}");
                micros += (hour * 60 + minute) * 60 * SECOND;
            }
            if form > 1 {
                text += &format!(":{second:02}.{fraction}");
                micros += second * SECOND + format!("{fraction:0<9}")[..6].parse::<i64>().expect("digits");
            }
            if form > 2 {
                let sign = if offset < 0 { '-' } else { '+' };
                text += &format!("{sign}{:02}:{:02}", offset.abs() / 60, offset.abs() % 60);
                micros -= offset * 60 * SECOND;
            }
            prop_assert_eq!(Timestamp::parse(&text), Some(Timestamp(micros)), "{}", text);
            if (days(0, 1, 1) * DAY..days(10_000, 1, 1) * DAY).contains(&micros) {
                prop_assert_eq!(Timestamp::parse(&Timestamp(micros).to_string()), Some(Timestamp(micros)));
            }
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "[0-9TZtz:+. -]{0,40}|\\PC{0,30}") {
            if let Some(time) = Timestamp::parse(&text) {
                // The date in the text is at most a day from the date in UTC, as the payload index assumes.
                let near = [-1, 0, 1].map(|days| time.date(days));
                prop_assert!(near.iter().any(|date| text.starts_with(date.as_str())), "{}", text);
            }
        }
    }
}
