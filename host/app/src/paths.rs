//! Where things of the user's are.

use std::path::PathBuf;

#[expect(clippy::disallowed_methods, reason = "one of the places of the user")]
fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").map(PathBuf::from)
}

#[expect(clippy::disallowed_methods, reason = "one of the places of the user")]
fn directory(variable: &str, below_home: &str) -> Option<PathBuf> {
    let given = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    given.or_else(|| home().map(|home| home.join(below_home))).map(|path| path.join("millstream"))
}

/// What can be made anew: compiled modules (XDG Base Directory Specification).
pub(crate) fn cache_dir() -> Option<PathBuf> {
    directory("XDG_CACHE_HOME", ".cache")
}

/// What the user keeps: the plugin store.
pub(crate) fn data_dir() -> Option<PathBuf> {
    directory("XDG_DATA_HOME", ".local/share")
}

/// Name of this machine, for people.
pub(crate) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "unknown".to_owned() } else { name.to_owned() }
}
