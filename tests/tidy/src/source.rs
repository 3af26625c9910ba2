//! Enough of Rust's lexical grammar to find functions without being misled by text and comments.

/// A function with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// Line of `fn`, from 1.
    pub(crate) line: usize,
    /// Lines from `fn` to the closing brace.
    pub(crate) lines: usize,
    /// Arguments, `self` not counted.
    pub(crate) arguments: usize,
    /// Whether it makes its type: it takes no `self` and gives a `Self`.
    pub(crate) constructor: bool,
}

/// All functions of a file that is already [masked](mask).
pub(crate) fn functions(masked: &str) -> Vec<Function> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = masked.get(from..).and_then(|rest| rest.find("fn ")).map(|at| at + from) {
        from = at + 3;
        let before = masked.get(..at).and_then(|text| text.chars().next_back());
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = masked.get(from..).unwrap_or_default();
        let name: String = rest.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let Some((head, body)) = (!name.is_empty()).then(|| split_body(rest)).flatten() else {
            continue;
        };
        let line = 1 + newlines(masked.get(..at).unwrap_or_default());
        let (arguments, has_self) = arguments(head);
        let gives_self = head.rsplit_once("->").is_some_and(|(_, output)| output.contains("Self"));
        found.push(Function {
            name,
            line,
            lines: 1 + newlines(head) + newlines(body),
            arguments,
            constructor: gives_self && !has_self,
        });
    }
    found
}

fn newlines(text: &str) -> usize {
    text.bytes().filter(|&byte| byte == b'\n').count()
}

/// Splits at the body's braces: signature, and body with them. None for a declaration.
fn split_body(rest: &str) -> Option<(&str, &str)> {
    let mut nested = 0_i32;
    let mut body = None;
    let mut depth = 0_i32;
    for (at, c) in rest.char_indices() {
        match (c, body) {
            ('(' | '[', None) => nested += 1,
            (')' | ']', None) => nested -= 1,
            (';', None) if nested == 0 => return None,
            ('{', None) if nested == 0 => (body, depth) = (Some(at), 1),
            ('{', Some(_)) => depth += 1,
            ('}', Some(start)) => {
                depth -= 1;
                if depth == 0 {
                    return Some((rest.get(..start)?, rest.get(start..=at)?));
                }
            }
            _ => {}
        }
    }
    None
}

/// Number of arguments besides `self`, and whether there is a `self`.
fn arguments(head: &str) -> (usize, bool) {
    let mut nested = 0_i32;
    let mut list = Vec::new();
    let mut previous = ' ';
    for c in head.chars() {
        match c {
            // Generics come before the list; the arrow of a closure type is no bracket.
            '<' | '(' | '[' => nested += 1,
            '>' if previous == '-' => {}
            '>' | ')' | ']' => nested -= 1,
            _ => {}
        }
        match (c, nested) {
            ('(', 1) if list.is_empty() => list.push(String::new()),
            (')', 0) if !list.is_empty() => break,
            (',', 1) if !list.is_empty() => list.push(String::new()),
            _ => {
                if let Some(last) = list.last_mut() {
                    last.push(c);
                }
            }
        }
        previous = c;
    }
    let list: Vec<&str> = list.iter().map(|argument| argument.trim()).filter(|argument| !argument.is_empty()).collect();
    let is_self = |argument: &&&str| {
        let name = argument.split(':').next().unwrap_or_default();
        name.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "self")
    };
    let selves = list.iter().take(1).filter(is_self).count();
    (list.len() - selves, selves > 0)
}

/// The source with comments, strings and characters blanked; lines stay where they are.
pub(crate) fn mask(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut masked = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let rest = chars.get(at..).unwrap_or_default();
        let length = hidden(rest, masked.chars().next_back());
        for c in rest.iter().take(length) {
            masked.push(if *c == '\n' { '\n' } else { ' ' });
        }
        if length == 0 {
            masked.extend(rest.first());
        }
        at += length.max(1);
    }
    masked
}

/// How many characters from here on are no code; 0 if the first one is.
fn hidden(rest: &[char], before: Option<char>) -> usize {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    match rest {
        ['/', '/', ..] => rest.iter().take_while(|&&c| c != '\n').count(),
        ['/', '*', ..] => block_comment(rest),
        ['"', ..] => string(rest, 1),
        ['r', '"' | '#', ..] if !in_word => raw_string(rest, 1),
        ['b', 'r', '"' | '#', ..] if !in_word => raw_string(rest, 2),
        ['\'', '\\', ..] => 2 + rest.iter().skip(3).take_while(|&&c| c != '\'').count() + 2,
        // A character; a lifetime has no quote behind its first letter.
        ['\'', _, '\'', ..] => 3,
        _ => 0,
    }
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while let Some(pair) = rest.get(at..at + 2) {
        match pair {
            ['/', '*'] => (depth, at) = (depth + 1, at + 2),
            ['*', '/'] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn string(rest: &[char], from: usize) -> usize {
    let mut at = from;
    while let Some(c) = rest.get(at) {
        match c {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `r#"…"#`; a raw identifier (`r#type`) is none.
fn raw_string(rest: &[char], from: usize) -> usize {
    let fence = rest.iter().skip(from).take_while(|&&c| c == '#').count();
    if rest.get(from + fence) != Some(&'"') {
        return 0;
    }
    let mut at = from + fence + 1;
    while at < rest.len() {
        let closes =
            rest.get(at) == Some(&'"') && rest.iter().skip(at + 1).take(fence).filter(|&&c| c == '#').count() == fence;
        if closes {
            return at + 1 + fence;
        }
        at += 1;
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_comments_are_blanked_and_code_is_not() {
        let cases = [
            ("a // fn x() {\nb", "a b"),
            ("a /* { /* } */ \n */ b", "a b"),
            (r#"f("}\"}", x)"#, "f( , x)"),
            (r###"f(r#"a"}"#, x)"###, "f( , x)"),
            ("if c == '{' || c == '\\'' {", "if c == || c == {"),
            ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
            ("let r#type = br\"{\";", "let r#type = ;"),
        ];
        for (source, code) in cases {
            let masked = mask(source);
            assert_eq!(masked.split_whitespace().collect::<Vec<_>>().join(" "), code);
            assert_eq!((masked.len(), newlines(&masked)), (source.len(), newlines(source)));
        }
    }

    fn only(source: &str) -> Function {
        let mut found = functions(&mask(source));
        assert_eq!(found.len(), 1, "{source}: {found:?}");
        found.remove(0)
    }

    #[test]
    fn a_function_is_measured_from_its_name_to_its_last_brace() {
        let found = only("\n// fn no() {}\npub fn f(\n    a: [u8; 3],\n) -> u8 {\n    if a { \"}\" } else { 2 }\n}\n");
        assert_eq!((found.name.as_str(), found.line, found.lines), ("f", 3, 5));
    }

    #[test]
    fn a_declaration_and_a_function_type_are_no_functions() {
        assert_eq!(functions("trait T { fn f(&self, a: [u8; 2]); }\ntype F = fn (u8) -> u8;"), []);
    }

    #[test]
    fn arguments_are_counted_without_self_and_whatever_their_types() {
        let count = |head: &str| only(&format!("fn f{head} {{}}")).arguments;
        assert_eq!(count("()"), 0);
        assert_eq!(count("(&mut self, a: (u8, u8), b: Vec<(u8, u8)>,)"), 2);
        assert_eq!(count("<F: Fn(u8, u8) -> u8, const N: usize>(f: F, g: impl Fn(u8) -> u8, [a, b]: [u8; 2])"), 3);
        assert_eq!(count("(myself: u8)"), 1);
    }

    #[test]
    fn a_constructor_gives_self_and_takes_none() {
        assert!(only("fn new(a: u8) -> Result<Self, E> {}").constructor);
        assert!(!only("fn with(self, a: u8) -> Self {}").constructor);
        assert!(!only("fn of(a: Self) -> u8 {}").constructor);
    }
}
