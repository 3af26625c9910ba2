//! Compiled modules on disk, so that a restart does not compile again.
//!
//! An entry is named by the sha256 of the module and a hash of everything that decides about its machine code (the runtime's version,
//! its settings, the processor). It is `MILLWASM` · one version byte · sha256 of the rest · the runtime's own format.

use sha2::{Digest as _, Sha256};
use std::fs;
use std::hash::Hash;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use wasmtime::component::Component;

const MAGIC: &[u8; 8] = b"MILLWASM";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 8 + 1 + 32;

/// See the module.
#[derive(Debug)]
pub(crate) struct CompileCache {
    directory: PathBuf,
    /// Who runs this process.
    owner: u32,
    engine: String,
}

impl CompileCache {
    /// Opens a directory of nobody else's, making it if need be.
    pub(crate) fn open(directory: &Path, engine: &wasmtime::Engine) -> io::Result<Self> {
        let owner = fs::metadata("/proc/self")?.uid();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let cache = Self { directory: directory.to_owned(), owner, engine: engine_hash(engine) };
        if !cache.is_private(&fs::metadata(directory)?) {
            let reason =
                "the directory must be owned by who runs this, with mode 0700: compiled code in it is run as it is";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
        }
        Ok(cache)
    }

    fn is_private(&self, metadata: &fs::Metadata) -> bool {
        metadata.uid() == self.owner && metadata.mode() & 0o077 == 0
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.directory.join(format!("{digest}-{}.bin", self.engine))
    }

    /// The compiled component, if there is a sound entry of ours.
    pub(crate) fn get(&self, engine: &wasmtime::Engine, digest: &str) -> Option<Component> {
        let path = self.path(digest);
        let metadata = fs::symlink_metadata(&path).ok()?;
        if !metadata.is_file() || !self.is_private(&metadata) {
            tracing::warn!(path = %path.display(), "a compiled module belongs to somebody else and is ignored");
            return None;
        }
        let entry = fs::read(&path).ok()?;
        let Some(code) = sound(&entry) else {
            tracing::warn!(path = %path.display(), "a compiled module is damaged and is compiled again");
            return None;
        };
        // SAFETY: the bytes must be what `Component::serialize` made. Only we write to this directory: it and the entry are owned by this
        // process's user and closed to everybody else, the checksum over the bytes in hand excludes damage and half a write, and the name
        // holds the hash of the engine. Users have no way to hand over such a file: `load` refuses them.
        #[expect(unsafe_code, reason = "loading compiled modules: see above")]
        let component = unsafe { Component::deserialize(engine, code) };
        component
            .inspect_err(|error| tracing::warn!(path = %path.display(), "a compiled module is not used: {error:#}"))
            .ok()
    }

    /// Keeps a compiled component. A reader sees the old entry or the new one, whole.
    pub(crate) fn put(&self, digest: &str, component: &Component) -> io::Result<()> {
        let code = component.serialize().map_err(io::Error::other)?;
        let path = self.path(digest);
        let temporary = self.directory.join(format!(".{digest}-{}.tmp", std::process::id()));
        let written = self.write(&temporary, &code).and_then(|()| fs::rename(&temporary, &path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn write(&self, path: &Path, code: &[u8]) -> io::Result<()> {
        let _ = fs::remove_file(path);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(MAGIC)?;
        file.write_all(&[VERSION])?;
        file.write_all(&Sha256::digest(code))?;
        file.write_all(code)
    }
}

/// The runtime's bytes of an entry whose checksum is right.
fn sound(entry: &[u8]) -> Option<&[u8]> {
    let (header, code) = entry.split_at_checked(HEADER_BYTES)?;
    let (magic, rest) = header.split_at_checked(MAGIC.len())?;
    let (version, checksum) = rest.split_first()?;
    (magic == MAGIC && *version == VERSION && checksum == Sha256::digest(code).as_slice()).then_some(code)
}

/// Everything that decides about machine code, in 16 hexadecimal digits.
fn engine_hash(engine: &wasmtime::Engine) -> String {
    struct Sink(Sha256);
    impl std::hash::Hasher for Sink {
        fn finish(&self) -> u64 {
            self.0.clone().finalize().iter().take(8).fold(0, |hash, &byte| hash << 8 | u64::from(byte))
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
    }
    let mut sink = Sink(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut sink);
    format!("{:016x}", std::hash::Hasher::finish(&sink))
}
