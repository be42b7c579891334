//! Formats values like Java: doubles, rounded averages, socket addresses, dates.
//!
//! Source: `Double#toString`, `Inet6Address#getHostAddress`, `Date#toString`,
//! `AvgMinMaxCounter#getAvg`.

use std::net::{IpAddr, SocketAddr};

/// Formats a double like `Double.toString`: at least one decimal, scientific notation outside 10⁻³
/// … 10⁷.
pub fn double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let magnitude = value.abs();
    if value == 0.0 || (1e-3..1e7).contains(&magnitude) {
        return format!("{value:?}");
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("the format has an exponent");
    let point = if mantissa.contains('.') { "" } else { ".0" };
    format!("{mantissa}{point}E{exponent}")
}

/// Returns `total / count` rounded half up to four decimals, or 0 if `count` is 0.
pub fn average(total: i64, count: i64) -> f64 {
    if count <= 0 {
        return 0.0;
    }
    round_half_up(total as f64 / count as f64)
}

/// Rounds the exact decimal expansion of a double. Only the fifth decimal decides.
fn round_half_up(value: f64) -> f64 {
    let expansion = format!("{:.60}", value.abs());
    let point = expansion.find('.').expect("the format has a point");
    let (kept, rest) = expansion.split_at(point + 5);
    let down: f64 = kept.parse().expect("digits");
    let rounded = if rest.as_bytes()[0] >= b'5' { next_ten_thousandth(kept) } else { down };
    rounded.copysign(value)
}

/// Returns the number one unit in the last place above a decimal with four places.
fn next_ten_thousandth(digits: &str) -> f64 {
    let (whole, fraction) = digits.split_once('.').expect("four places");
    let joined: u128 = format!("{whole}{fraction}").parse().expect("digits of a 64-bit quotient fit in 128 bits");
    let joined = joined + 1;
    format!("{}.{:04}", joined / 10_000, joined % 10_000).parse().expect("digits")
}

/// Formats a socket address like the part after the slash in `InetSocketAddress`: IPv6 in brackets,
/// without `::`.
pub fn socket_address(address: SocketAddr) -> String {
    let port = address.port();
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => format!("{ip}:{port}"),
        IpAddr::V6(ip) => {
            let groups: Vec<_> = ip.segments().iter().map(|group| format!("{group:x}")).collect();
            format!("[{}]:{port}", groups.join(":"))
        }
    }
}

/// Formats a time like `Date.toString` in UTC: `Mon Nov 23 03:00:11 UTC 2026`.
pub fn date(epoch_ms: i64) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = epoch_ms.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_date(days);
    let weekday = WEEKDAYS[usize::try_from(days.rem_euclid(7)).expect("below 7")];
    let month = MONTHS[month - 1];
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday} {month} {day:02} {hour:02}:{minute:02}:{second:02} UTC {year}")
}

/// Formats a time like logback's `%d{ISO8601}` in UTC: `2026-11-23 03:00:11,042`.
pub fn log_time(epoch_ms: i64) -> String {
    let (seconds, ms) = (epoch_ms.div_euclid(1000), epoch_ms.rem_euclid(1000));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02},{ms:03}")
}

/// Returns year, month (1–12) and day for a day counted from 1970-01-01, in the Gregorian calendar.
fn civil_date(days: i64) -> (i64, usize, i64) {
    // Years begin in March here, so that the leap day is the last day of a year; 400 years have
    // 146,097 days.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, usize::try_from(month).expect("1 to 12"), day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Expectations recorded from Java 17.
    #[test]
    fn doubles() {
        for (value, expected) in [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (-2.5, "-2.5"),
            (1.0435, "1.0435"),
            (0.001, "0.001"),
            (0.0001, "1.0E-4"),
            (0.00012, "1.2E-4"),
            (9_999_999.0, "9999999.0"),
            (10_000_000.0, "1.0E7"),
            (12_345_678.9, "1.23456789E7"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(double(value), expected);
        }
    }

    #[test]
    fn averages_are_rounded_half_up() {
        for (total, count, expected) in [
            (0, 0, 0.0),
            (142, 265, 0.5358),
            (41, 270, 0.1519),
            (218, 3, 72.6667),
            (1, 32, 0.0313), // 0.03125 exactly: half to even would give 0.0312
            (3, 32, 0.0938), // 0.09375 exactly
            (-1, 32, -0.0313),
            (i64::MAX, 1, 9.223372036854776e18),
            (99_999_999, 100_000, 1000.0),
        ] {
            assert_eq!(average(total, count), expected, "{total}/{count}");
        }
    }

    #[test]
    fn addresses() {
        for (address, expected) in [
            ("127.0.0.1:2181", "127.0.0.1:2181"),
            ("[::1]:2181", "[0:0:0:0:0:0:0:1]:2181"),
            ("[2001:db8::ff00:42]:1", "[2001:db8:0:0:0:0:ff00:42]:1"),
            ("[::ffff:10.0.0.1]:1", "10.0.0.1:1"),
        ] {
            assert_eq!(socket_address(address.parse().expect(address)), expected);
        }
    }

    #[test]
    fn log_times() {
        assert_eq!(log_time(1_795_402_811_042), "2026-11-23 03:00:11,042");
        assert_eq!(log_time(-1), "1969-12-31 23:59:59,999");
    }

    #[test]
    fn dates() {
        for (epoch_ms, expected) in [
            (0, "Thu Jan 01 00:00:00 UTC 1970"),
            (-1, "Wed Dec 31 23:59:59 UTC 1969"),
            (951_782_400_000, "Tue Feb 29 00:00:00 UTC 2000"),
            (1_795_418_422_999, "Mon Nov 23 07:20:22 UTC 2026"),
            (4_107_542_399_000, "Sun Feb 28 23:59:59 UTC 2100"),
            (4_107_542_400_000, "Mon Mar 01 00:00:00 UTC 2100"),
        ] {
            assert_eq!(date(epoch_ms), expected);
        }
    }

    proptest! {
        #[test]
        fn no_number_panics(value in any::<f64>(), total in any::<i64>(), count in any::<i64>()) {
            double(value);
            let average = average(total, count);
            prop_assert!((average - total as f64 / count.max(1) as f64).abs() <= 0.00006 * 1f64.max(average.abs()) || count <= 0);
        }

        #[test]
        fn days_follow_each_other(day in -1_000_000i64..1_000_000) {
            let ((y1, m1, d1), (y2, m2, d2)) = (civil_date(day), civil_date(day + 1));
            prop_assert!((y2, m2, d2) == (y1, m1, d1 + 1) || (d2 == 1 && d1 >= 28 && (y1, m1) < (y2, m2)));
        }
    }
}
