//! Text of values, appended to bytes.

use castaway::match_type;
use std::fmt::{self, Display, Write};

/// Appends the text of a value. Numbers take a way of their own: `std`'s formatting costs an operator that emits counts more than all
/// else it does.
pub(crate) fn append(bytes: &mut Vec<u8>, value: impl Display) -> fmt::Result {
    match_type!(value, {
        i64 as number => integer(bytes, number),
        u64 as number => integer(bytes, number),
        i32 as number => integer(bytes, number),
        u32 as number => integer(bytes, number),
        usize as number => integer(bytes, number),
        other => write!(Text(bytes), "{other}"),
    })
}

fn integer(bytes: &mut Vec<u8>, number: impl itoa::Integer) -> fmt::Result {
    bytes.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    Ok(())
}

/// Bytes that take text.
struct Text<'a>(&'a mut Vec<u8>);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: impl Display) -> String {
        let mut bytes = b"before ".to_vec();
        assert!(append(&mut bytes, value).is_ok());
        let text = bytes.strip_prefix(b"before ").map(String::from_utf8_lossy);
        text.map(Into::into).unwrap_or_default()
    }

    proptest! {
        #[test]
        fn numbers_read_as_display_writes_them(signed in any::<i64>(), unsigned in any::<u64>()) {
            prop_assert_eq!(text(signed), signed.to_string());
            prop_assert_eq!(text(unsigned), unsigned.to_string());
            prop_assert_eq!(text(signed as i32), (signed as i32).to_string());
            prop_assert_eq!(text(unsigned as u32), (unsigned as u32).to_string());
            prop_assert_eq!(text(unsigned as usize), (unsigned as usize).to_string());
        }
    }

    #[test]
    fn the_ends_of_numbers_and_all_else_read_as_display_writes_them() {
        assert_eq!(text(i64::MIN), i64::MIN.to_string());
        assert_eq!(text(u64::MAX), u64::MAX.to_string());
        assert_eq!(text(-1.5), "-1.5");
        assert_eq!(text("a b"), "a b");
        let borrowed = String::from("kept");
        assert_eq!(text(&borrowed), "kept");
        assert_eq!(text(format_args!("{:>4}|", 7)), "   7|");
    }
}
