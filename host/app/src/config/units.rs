use super::raw::Scalar;

/// Reads a length of time: `500ms`, `2s`, `1m`, `6h`, `1d`; a bare number is milliseconds. In microseconds.
pub(super) fn time_us(value: &Scalar) -> Result<u64, String> {
    let units =
        [("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000), ("d", 86_400_000_000)];
    read(value, &units, 1_000)
        .ok_or_else(|| format!("`{}` is no length of time: write it like 500ms, 2s, 1m, 6h", value.text()))
}

/// Reads a size: `64MiB`, `1GB`, `10KiB`; a bare number is bytes.
pub(super) fn bytes(value: &Scalar) -> Result<u64, String> {
    let units = [
        ("B", 1),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
    ];
    read(value, &units, 1).ok_or_else(|| format!("`{}` is no size: write it like 64MiB, 10KiB, 1GB", value.text()))
}

fn read(value: &Scalar, units: &[(&str, u64)], bare: u64) -> Option<u64> {
    let text = value.text();
    let text = text.trim();
    let at = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let number: u64 = number.parse().ok()?;
    let unit = unit.trim();
    let factor = if unit.is_empty() { bare } else { units.iter().find(|(name, _)| *name == unit)?.1 };
    number.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Scalar {
        Scalar::Text(text.to_owned())
    }

    #[test]
    fn times_and_sizes_are_read_as_people_write_them() {
        assert_eq!(time_us(&text("500ms")), Ok(500_000));
        assert_eq!(time_us(&text("2 s")), Ok(2_000_000));
        assert_eq!(time_us(&Scalar::Number(50)), Ok(50_000));
        assert_eq!(bytes(&text("64MiB")), Ok(64 << 20));
        assert_eq!(bytes(&text("10KB")), Ok(10_000));
        assert_eq!(bytes(&Scalar::Number(7)), Ok(7));
    }

    #[test]
    fn what_is_neither_is_refused_with_an_example() {
        assert!(time_us(&text("soon")).is_err_and(|error| error.contains("500ms")));
        assert!(bytes(&text("64 megs")).is_err_and(|error| error.contains("64MiB")));
        assert!(bytes(&Scalar::Number(-1)).is_err());
        assert!(time_us(&text("99999999999999999999d")).is_err());
    }
}
