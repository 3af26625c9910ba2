//! What a module reaches for beyond the contract of operators. Pure.
//!
//! The host gives nothing away: WASI is a closed world without files, sockets and environment. Still, what a module imports tells what it was written to do, and an
//! operator whose new version asks for files is worth a look before it runs. So a version may import what the one before it imported, and more of the contract; any other
//! interface has to be allowed by name.

use serde::Serialize;
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// Interfaces of the contract: an operator may use all of them.
const CONTRACT: &str = "millstream:";

/// An interface that a new version imports and the one before it does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Capability {
    /// Its name, without a version.
    pub(crate) interface: String,
    /// Whether it belongs to the contract of operators or was allowed.
    pub(crate) is_allowed: bool,
}

/// What a new version imports beyond the one before it; `allow` names interfaces, or packages of them.
pub(crate) fn growth(before: &BTreeSet<String>, after: &BTreeSet<String>, allow: &[String]) -> Vec<Capability> {
    let is_allowed = |interface: &str| {
        let package = interface.split('/').next().unwrap_or(interface);
        interface.starts_with(CONTRACT) || allow.iter().any(|allowed| allowed == interface || allowed == package)
    };
    let new = after.difference(before);
    new.map(|interface| Capability { interface: interface.clone(), is_allowed: is_allowed(interface) }).collect()
}

/// The interfaces that have to be allowed.
pub(crate) fn needed(growth: &[Capability]) -> Vec<&str> {
    growth.iter().filter(|capability| !capability.is_allowed).map(|capability| capability.interface.as_str()).collect()
}

/// Why a version may not take over, if it may not.
pub(crate) fn refusal(growth: &[Capability]) -> Option<String> {
    let needed = needed(growth);
    (!needed.is_empty()).then(|| format!("it imports what the version before did not: {}", needed.join(", ")))
}

/// Whether a text is the name of an interface or a package, like `wasi:filesystem/types` or `wasi:filesystem`.
pub(crate) fn is_name(text: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty()
            && word.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-')
    };
    let (package, interface) = match text.split_once('/') {
        Some((package, interface)) => (package, Some(interface)),
        None => (text, None),
    };
    package.split_once(':').is_some_and(|(namespace, name)| is_word(namespace) && is_word(name))
        && interface.is_none_or(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn asked(allow: &[&str]) -> Vec<String> {
        let before = set(&["millstream:operator/call", "wasi:cli/stdout"]);
        let after = set(&[
            "millstream:operator/call",
            "millstream:operator/state",
            "wasi:filesystem/types",
            "wasi:sockets/tcp",
        ]);
        let allow: Vec<String> = allow.iter().map(|name| (*name).to_owned()).collect();
        let growth = growth(&before, &after, &allow);
        assert_eq!(growth.len(), 3, "what was there before is none");
        needed(&growth).into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn what_is_beyond_the_contract_has_to_be_allowed_by_name() {
        assert_eq!(asked(&[]), ["wasi:filesystem/types", "wasi:sockets/tcp"]);
        assert_eq!(asked(&["wasi:filesystem", "wasi:sockets/udp"]), ["wasi:sockets/tcp"]);
        assert!(asked(&["wasi:filesystem/types", "wasi:sockets"]).is_empty());
    }

    #[test]
    fn a_version_that_asks_for_less_is_fine() {
        let growth = growth(&set(&["wasi:cli/stdout"]), &set(&[]), &[]);
        assert_eq!((growth.len(), refusal(&growth)), (0, None));
    }

    #[test]
    fn names_are_those_of_interfaces_and_packages() {
        for good in ["wasi:filesystem", "wasi:filesystem/types", "a-b:c1/d"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "wasi", "wasi:", ":x", "wasi:x/", "wasi:x@0.2.0", "*", "Wasi:x", "wasi:x/y/z"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
