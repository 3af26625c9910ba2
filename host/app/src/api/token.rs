use crate::error::{Failure, Outcome};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Characters of a token.
const LENGTH: usize = 64;

/// The token of a pipeline: what is in the file, or a new one that is written there. It stays the same over restarts.
pub(crate) fn token(path: &Path) -> Outcome<String> {
    let failed = |cause: io::Error| Failure::config(format!("{}: {cause}", path.display()));
    match fs::symlink_metadata(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
        Err(cause) => return Err(failed(cause)),
        Ok(metadata) => {
            let text = fs::read_to_string(path).unwrap_or_default();
            let is_whole = text.len() == LENGTH && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            if metadata.is_file() && metadata.mode() & 0o077 == 0 && is_whole {
                return Ok(text);
            }
            tracing::warn!(path = %path.display(), "the token could be read by others or is damaged: there is a new one");
            fs::remove_file(path).map_err(failed)?;
        }
    }
    let token: String = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()].map(|part| part.simple().to_string()).concat();
    private(path, &token).map_err(failed)?;
    Ok(token)
}

/// Writes a file that only the owner of this process can read.
pub(crate) fn private(path: &Path, text: &str) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let _ = fs::remove_file(&partial);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
    file.write_all(text.as_bytes())?;
    fs::rename(&partial, path)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn taken(path: &Path) -> String {
        token(path).map_err(|failure| failure.text).unwrap()
    }

    #[test]
    fn it_stays_the_same_and_is_nobody_elses_to_read() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("token");
        let first = taken(&path);
        assert_eq!(first.len(), LENGTH);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(taken(&path), first);
    }

    #[test]
    fn one_that_others_could_read_or_that_is_damaged_is_replaced() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("token");
        let first = taken(&path);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let second = taken(&path);
        assert_ne!(second, first);
        for damaged in ["", "short", &"x".repeat(LENGTH)] {
            private(&path, damaged).unwrap();
            let next = taken(&path);
            assert_eq!(next.len(), LENGTH);
            assert_ne!(next, damaged);
        }
    }
}
