//! Instants, in milliseconds since 1970, and days since then, UTC.

pub(crate) const MINUTE_MS: i64 = 60_000;
pub(crate) const HOUR_MS: i64 = 60 * MINUTE_MS;
pub(crate) const DAY_MS: i64 = 24 * HOUR_MS;

/// The moment with which a day begins.
pub(crate) fn start_of(day: i64) -> i64 {
    day * DAY_MS
}

pub(crate) fn day_of(ms: i64) -> i64 {
    ms.div_euclid(DAY_MS)
}

/// RFC 3339 with `Z`; milliseconds only when there are any, without zeros at their end.
pub(crate) fn written(ms: i64) -> String {
    format!("{}Z", local(ms))
}

/// The same instant, as a clock two hours ahead of UTC shows it.
pub(crate) fn written_with_offset(ms: i64) -> String {
    format!("{}+02:00", local(ms + 2 * HOUR_MS))
}

fn local(ms: i64) -> String {
    let (year, month, day) = civil(day_of(ms));
    let of_day = ms.rem_euclid(DAY_MS);
    let (hour, minute) = (of_day / HOUR_MS, of_day / MINUTE_MS % 60);
    let (second, rest) = (of_day / 1000 % 60, of_day % 1000);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if rest > 0 {
        let digits = format!("{rest:03}");
        text.push('.');
        text.push_str(digits.trim_end_matches('0'));
    }
    text
}

/// Year, month and day of a day, counted up from 1970 year by year and month by month.
fn civil(mut day: i64) -> (i64, usize, i64) {
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1970;
    loop {
        let days = if is_leap(year) { 366 } else { 365 };
        if day < days {
            break;
        }
        day -= days;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    for (month, days) in months.into_iter().enumerate() {
        if day < days {
            return (year, month + 1, day + 1);
        }
        day -= days;
    }
    unreachable!("a year has no more days than its months")
}
