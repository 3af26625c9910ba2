/// Replaces `${NAME}` and `${NAME:-default}` by values of the environment; `$$` is a dollar sign. The text keeps its lines.
///
/// # Errors
/// When a variable is not set and has no default; tells its line.
pub(super) fn interpolate(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        if let Some(after) = from.strip_prefix("$$") {
            out.push('$');
            rest = after;
            continue;
        }
        let Some((inner, after)) = from.strip_prefix("${").and_then(|inner| inner.split_once('}')) else {
            out.push('$');
            rest = from.get(1..).unwrap_or_default();
            continue;
        };
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        match lookup(name).filter(|value| !value.is_empty() || default.is_none()).or(default.map(str::to_owned)) {
            Some(value) => out.push_str(&value),
            None => {
                let line = out.matches('\n').count() + 1;
                return Err(format!(
                    "line {line}: the environment variable {name} is not set; set it, or write ${{{name}:-default}}"
                ));
            }
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        interpolate(text, &|name| (name == "HOST").then(|| "here".to_owned()))
    }

    #[test]
    fn variables_defaults_and_dollars() {
        assert_eq!(read("a: ${HOST}:1").as_deref(), Ok("a: here:1"));
        assert_eq!(read("a: ${PORT:-9092}").as_deref(), Ok("a: 9092"));
        assert_eq!(read("a: ${HOST:-there}").as_deref(), Ok("a: here"));
        assert_eq!(read("cost: $$5, $6").as_deref(), Ok("cost: $5, $6"));
    }

    #[test]
    fn a_variable_that_is_not_set_is_named_with_its_line() {
        assert!(read("a: 1\nb: ${NOPE}").is_err_and(|error| error.contains("line 2") && error.contains("NOPE")));
    }
}
