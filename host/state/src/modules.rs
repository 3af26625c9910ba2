use crate::directory::sync_directory;
use crate::error::Error;
use millstream_model::ids::Digest;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The modules a pipeline has run, each in `<sha256 in hexadecimal>.wasm`. What is there is whole: files appear under their names when they are on disk.
#[derive(Debug, Clone)]
pub struct ModuleDirectory {
    path: PathBuf,
}

impl ModuleDirectory {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn file(&self, digest: Digest) -> PathBuf {
        self.path.join(format!("{}.wasm", digest.hex()))
    }

    /// Whether a module is kept.
    #[must_use]
    pub fn has(&self, digest: Digest) -> bool {
        self.file(digest).is_file()
    }

    /// Keeps a module; it is on disk when this returns.
    ///
    /// # Errors
    /// When it is not certain to be.
    pub fn put(&self, digest: Digest, module: &[u8]) -> Result<(), Error> {
        let file = self.file(digest);
        let partial = file.with_extension("partial");
        fs::create_dir_all(&self.path).map_err(|cause| Error::disk("make directory", &self.path, &cause))?;
        write(&partial, module).map_err(|cause| Error::disk("write", &partial, &cause))?;
        fs::rename(&partial, &file).map_err(|cause| Error::disk("rename", &file, &cause))?;
        sync_directory(&self.path)
    }

    /// A module that is kept. Whether the bytes are those of the digest is for the caller to see.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn get(&self, digest: Digest) -> Result<Option<Vec<u8>>, Error> {
        let file = self.file(digest);
        match fs::read(&file) {
            Ok(module) => Ok(Some(module)),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(Error::disk("read", &file, &cause)),
        }
    }

    /// Removes modules but for those that are needed and, of the others, the youngest. What cannot be removed stays.
    pub fn retain(&self, needed: &[Digest], others_max: usize) {
        let mut others: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.file_stem().and_then(|name| name.to_str()).and_then(Digest::parse);
            if name.is_some_and(|digest| needed.contains(&digest)) {
                continue;
            }
            let age = entry.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            others.push((age, path));
        }
        others.sort_by(|a, b| b.cmp(a));
        for (_, path) in others.iter().skip(others_max) {
            let _ = fs::remove_file(path);
        }
    }
}

fn write(path: &Path, module: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(module)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn digest(number: u8) -> Digest {
        Digest([number; 32])
    }

    #[test]
    fn what_was_put_is_there_and_nothing_else_is() {
        let place = tempfile::tempdir().unwrap();
        let modules = ModuleDirectory::new(place.path().join("modules"));
        assert_eq!(modules.get(digest(1)).unwrap(), None);
        modules.put(digest(1), b"one").unwrap();
        modules.put(digest(1), b"one").unwrap();
        assert_eq!(modules.get(digest(1)).unwrap().as_deref(), Some(b"one".as_slice()));
        assert!(modules.has(digest(1)) && !modules.has(digest(2)));
        // Half a module that a crash left is none.
        fs::write(place.path().join("modules").join(format!("{}.partial", digest(2).hex())), b"tw").unwrap();
        assert_eq!(modules.get(digest(2)).unwrap(), None);
    }

    #[test]
    fn the_needed_and_the_youngest_others_stay() {
        let place = tempfile::tempdir().unwrap();
        let modules = ModuleDirectory::new(place.path().to_owned());
        for number in 0..6 {
            modules.put(digest(number), &[number]).unwrap();
            let file = fs::File::open(modules.file(digest(number))).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(number))).unwrap();
        }
        modules.retain(&[digest(0), digest(9)], 2);
        let there: Vec<u8> = (0..6).filter(|number| modules.has(digest(*number))).collect();
        assert_eq!(there, [0, 4, 5]);
        ModuleDirectory::new(place.path().join("none")).retain(&[], 0);
    }
}
