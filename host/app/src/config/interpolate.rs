//! `${NAME}` in a pipeline file: replaced by the environment, and led back to where it stood when there is something to say about it.

use super::place::Mark;

/// Values shorter than this say nothing, and hiding them would garble messages.
const HIDDEN_CHARACTERS_MIN: usize = 4;

/// A text whose variables are replaced, line by line as long as the original.
#[derive(Debug, Clone, Default)]
pub(super) struct Interpolated {
    pub(super) text: String,
    replaced: Vec<Replaced>,
    /// Values that came from outside, with the variables that held them.
    values: Vec<(String, String)>,
}

/// A variable that was replaced; columns count from 1.
#[derive(Debug, Clone, Copy)]
struct Replaced {
    line: usize,
    /// Where it stood.
    from: usize,
    from_length: usize,
    /// Where its value is now.
    to: usize,
    to_length: usize,
}

/// A variable that cannot be replaced, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unset {
    pub(super) text: String,
    pub(super) mark: Mark,
}

/// Replaces `${NAME}` and `${NAME:-default}` by values of the environment; `$$` is a dollar sign. Lines of comments stay as they are.
///
/// # Errors
/// When a variable is not set and has no default, or has several lines.
pub(super) fn interpolate(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Interpolated, Unset> {
    let mut done = Interpolated::default();
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        if line.trim_start().starts_with('#') {
            done.text += line;
        } else {
            done.line(number, line, lookup)?;
        }
    }
    Ok(done)
}

impl Interpolated {
    fn line(&mut self, number: usize, line: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<(), Unset> {
        let (mut rest, mut from, mut to) = (line, 1, 1);
        while let Some(at) = rest.find('$') {
            let (before, found) = rest.split_at(at);
            self.text += before;
            from += before.chars().count();
            to += before.chars().count();
            let reference = Reference::at_start_of(found);
            let length = reference.written.chars().count();
            let value = match reference.name {
                None => reference.plain.to_owned(),
                Some(name) => {
                    let mark = Mark { line: number, column: from, length };
                    let value = value(name, reference.default, lookup).map_err(|text| Unset { text, mark })?;
                    if Some(value.as_str()) != reference.default {
                        self.values.push((name.to_owned(), value.clone()));
                    }
                    value
                }
            };
            let to_length = value.chars().count();
            self.replaced.push(Replaced { line: number, from, from_length: length, to, to_length });
            self.text += &value;
            from += length;
            to += to_length;
            rest = reference.rest;
        }
        self.text += rest;
        Ok(())
    }

    /// Where something of the replaced text stands in the original.
    pub(super) fn original(&self, mark: Mark) -> Mark {
        let (begin, _) = self.original_column(mark.line, mark.column);
        let (_, end) = self.original_column(mark.line, mark.column + mark.length.max(1) - 1);
        Mark { line: mark.line, column: begin, length: end.saturating_sub(begin).max(1) }
    }

    /// Beginning and end of what a column comes from: a character, or the whole reference to a variable.
    fn original_column(&self, line: usize, column: usize) -> (usize, usize) {
        let mut original = column;
        for replaced in self.replaced.iter().filter(|replaced| replaced.line == line && replaced.to <= column) {
            let from_end = replaced.from + replaced.from_length;
            let to_end = replaced.to + replaced.to_length;
            if column < to_end {
                return (replaced.from, from_end);
            }
            original = column - to_end + from_end;
        }
        (original, original + 1)
    }

    /// A message without values from outside, which may be secrets.
    pub(super) fn hide_values(&self, message: &str) -> String {
        let long = self.values.iter().filter(|(_, value)| value.chars().count() >= HIDDEN_CHARACTERS_MIN);
        long.fold(message.to_owned(), |message, (name, value)| message.replace(value, &format!("${{{name}}}")))
    }
}

/// What begins with a dollar sign.
struct Reference<'a> {
    /// All of it.
    written: &'a str,
    /// The variable, if it is one.
    name: Option<&'a str>,
    default: Option<&'a str>,
    /// What it stands for, if it is none.
    plain: &'a str,
    /// What comes after it.
    rest: &'a str,
}

impl<'a> Reference<'a> {
    fn at_start_of(text: &'a str) -> Self {
        if let Some(rest) = text.strip_prefix("$$") {
            return Self { written: "$$", name: None, default: None, plain: "$", rest };
        }
        let braced = text.strip_prefix("${").and_then(|inner| inner.split_once('}'));
        let Some((inner, rest)) = braced.filter(|(inner, _)| !inner.contains('\n')) else {
            let rest = text.strip_prefix('$').unwrap_or(text);
            return Self { written: "$", name: None, default: None, plain: "$", rest };
        };
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        let written = text.strip_suffix(rest).unwrap_or(text);
        Self { written, name: Some(name), default, plain: "", rest }
    }
}

fn value(name: &str, default: Option<&str>, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let found = lookup(name).filter(|value| !value.is_empty() || default.is_none());
    match found.or(default.map(str::to_owned)) {
        Some(value) if value.contains('\n') => Err(format!(
            "the environment variable {name} has more than one line; put its value into a file, and write file:PATH where a secret may stand"
        )),
        Some(value) => Ok(value),
        None => Err(format!("the environment variable {name} is not set; set it, or write ${{{name}:-default}}")),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn read(text: &str) -> Result<Interpolated, Unset> {
        let lookup = |name: &str| match name {
            "HOST" => Some("here".to_owned()),
            "LINES" => Some("a\nb".to_owned()),
            _ => None,
        };
        interpolate(text, &lookup)
    }

    fn text(text: &str) -> String {
        read(text).unwrap().text
    }

    #[test]
    fn variables_defaults_dollars_and_comments() {
        assert_eq!(text("a: ${HOST}:1"), "a: here:1");
        assert_eq!(text("a: ${PORT:-9092}\n"), "a: 9092\n");
        assert_eq!(text("a: ${HOST:-there}"), "a: here");
        assert_eq!(text("cost: $$5, $6, ${"), "cost: $5, $6, ${");
        assert_eq!(text("  # ${NOPE}\nb: 1"), "  # ${NOPE}\nb: 1");
    }

    #[test]
    fn a_variable_that_is_not_set_is_named_with_its_place() {
        let unset = read("a: 1\nbé: ${HOST} ${NOPE}").unwrap_err();
        assert_eq!(unset.mark, Mark { line: 2, column: 13, length: 7 });
        assert!(unset.text.contains("NOPE"));
        assert!(read("a: ${LINES}").unwrap_err().text.contains("more than one line"));
    }

    #[test]
    fn what_is_found_in_the_values_is_shown_where_the_variable_stands() {
        let read = read("a: ${HOST}, b: $$x, c: d").unwrap();
        assert_eq!(read.text, "a: here, b: $x, c: d");
        let original = |column, length| {
            let mark = read.original(Mark { line: 1, column, length });
            (mark.column, mark.length)
        };
        assert_eq!(original(1, 1), (1, 1));
        assert_eq!(original(4, 4), (4, 7));
        assert_eq!(original(5, 1), (4, 7));
        assert_eq!(original(10, 1), (13, 1));
        assert_eq!(original(13, 2), (16, 3));
        assert_eq!(original(20, 1), (24, 1));
    }

    #[test]
    fn values_from_outside_are_hidden_and_defaults_are_not() {
        let read = read("a: ${HOST}\nb: ${PORT:-9092}").unwrap();
        assert_eq!(read.hide_values("`here` and `9092`"), "`${HOST}` and `9092`");
    }
}
