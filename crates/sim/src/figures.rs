//! Formats numbers for people.

use std::fmt;

/// A count, displayed with a comma between its thousands: `12,345`.
#[derive(Clone, Copy, Debug)]
pub struct Count(pub u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let first = (digits.len() - 1) % 3 + 1;
        f.write_str(&digits[..first])?;
        digits.as_bytes()[first..].chunks(3).try_for_each(|group| write!(f, ",{}", String::from_utf8_lossy(group)))
    }
}

/// Writes `name count` for every figure, in the order given.
pub(crate) fn write_all(f: &mut fmt::Formatter<'_>, figures: &[(&str, u64)]) -> fmt::Result {
    for (at, (name, figure)) in figures.iter().enumerate() {
        let separator = if at == 0 { "" } else { ", " };
        write!(f, "{separator}{} {name}", Count(*figure))?;
    }
    Ok(())
}

/// Returns the count with its unit, such as `1,000 seeds`.
pub(crate) fn seeds(count: u64) -> String {
    if count == 1 { "1 seed".to_owned() } else { format!("{} seeds", Count(count)) }
}

#[cfg(test)]
mod tests {
    use super::Count;

    #[test]
    fn thousands_are_separated() {
        let shown: Vec<_> = [0, 7, 999, 1_000, 12_345, 1_234_567].map(|count| Count(count).to_string()).into();
        assert_eq!(shown, ["0", "7", "999", "1,000", "12,345", "1,234,567"]);
    }
}
