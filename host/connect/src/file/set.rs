use crate::Error;
use millstream_engine::ports::SourceError;
use millstream_model::commit::TopicIdentity;
use millstream_model::key_group::murmur2;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The files of a source, each a partition.
///
/// A file is known by the last part of its path, and its partition's number is a hash of that: it stays the same when other files come and go, and when the
/// directory is moved. A source whose only path names a file has that file as partition 0, whatever its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSet {
    pattern: String,
    /// Sorted by name.
    files: Vec<(i32, PathBuf)>,
}

impl FileSet {
    /// Finds the files that `paths` stand for: a file; a directory, for the files directly in it; or a pattern, `*` and `?` in its last part.
    /// Names that begin with a dot have to be named with it.
    ///
    /// # Errors
    /// When there is no file, a file cannot be opened, or two cannot be told apart.
    pub fn find(source_id: &str, paths: &[String]) -> Result<Self, SourceError> {
        Self::of_paths(paths).map_err(|error| error.of_source(source_id))
    }

    fn of_paths(paths: &[String]) -> Result<Self, Error> {
        let pattern = paths.join(", ");
        let mut found = BTreeMap::new();
        for path in paths {
            for file in expand(path)? {
                let name = file.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default();
                check(&file)?;
                if let Some(one) = found.insert(name, file.clone()).filter(|one| *one != file) {
                    return Err(Error::Ambiguous { one, other: file });
                }
            }
        }
        if let ([path], Some(file)) = (paths, found.values().next())
            && Path::new(path) == file
        {
            return Ok(Self { pattern, files: vec![(0, file.clone())] });
        }
        if found.is_empty() {
            return Err(Error::NoFile { pattern });
        }
        let mut numbers = BTreeMap::new();
        let files: Vec<_> = found.into_iter().map(|(name, path)| ((murmur2(&name) >> 1) as i32, path)).collect();
        for (number, path) in &files {
            if let Some(one) = numbers.insert(*number, path) {
                return Err(Error::Ambiguous { one: one.clone(), other: path.clone() });
            }
        }
        Ok(Self { pattern, files })
    }

    /// How many files there are; as many indexes the source takes among the partitions of the pipeline.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Never: a set has a file at least.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Numbers and paths in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (i32, &Path)> {
        self.files.iter().map(|(number, path)| (*number, path.as_path()))
    }

    /// The paths as given.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    pub(crate) fn get(&self, place: usize) -> Option<(i32, &Path)> {
        self.files.get(place).map(|(number, path)| (*number, path.as_path()))
    }

    /// What the `open` record says of the source. The number of files is left out: they may come and go, and each is checked against its position when the source
    /// goes there.
    #[must_use]
    pub fn identity(&self) -> TopicIdentity {
        TopicIdentity { name: "files".to_owned(), id: String::new(), partitions: 0 }
    }
}

/// A file that is there and may be read, so that a start does not fail half-way.
fn check(path: &Path) -> Result<(), Error> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let metadata = file.metadata().map_err(Error::io("look at", path))?;
    if metadata.is_file() { Ok(()) } else { Err(Error::NotAFile { path: path.to_owned() }) }
}

fn expand(pattern: &str) -> Result<Vec<PathBuf>, Error> {
    let path = Path::new(pattern);
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return matching(path, "*", pattern),
        // Opening a pipe would wait for its writer.
        Ok(metadata) if !metadata.is_file() => return Err(Error::NotAFile { path: path.to_owned() }),
        Ok(_) => return Ok(vec![path.to_owned()]),
        Err(reason) if !is_pattern(pattern) => return Err(Error::io("find", path)(reason)),
        Err(_) => {}
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(Error::NoFile { pattern: pattern.to_owned() });
    };
    if is_pattern(&folder.to_string_lossy()) {
        return Err(Error::Pattern { pattern: pattern.to_owned() });
    }
    matching(if folder.as_os_str().is_empty() { Path::new(".") } else { folder }, name, pattern)
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// The files of a folder whose names match; a dot at the beginning has to be in the pattern.
fn matching(folder: &Path, name: &str, pattern: &str) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("read the directory", folder))? {
        let entry = entry.map_err(Error::io("read the directory", folder))?;
        let file_name = entry.file_name();
        let bytes = file_name.as_encoded_bytes();
        let is_hidden = bytes.starts_with(b".") && !name.starts_with('.');
        if is_hidden || !matches(name.as_bytes(), bytes) {
            continue;
        }
        let path = entry.path();
        if fs::metadata(&path).map_err(Error::io("look at", &path))?.is_file() {
            found.push(path);
        }
    }
    if found.is_empty() { Err(Error::NoFile { pattern: pattern.to_owned() }) } else { Ok(found) }
}

/// `*` stands for any bytes, `?` for one. Goes back to the last `*` only, so its work is the product of the lengths at most.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut of, mut star) = (0, 0, None);
    while let Some(&byte) = name.get(of) {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, of));
                at += 1;
            }
            Some(&wanted) if wanted == b'?' || wanted == byte => {
                at += 1;
                of += 1;
            }
            _ => {
                let Some((star_at, star_of)) = star else { return false };
                star = Some((star_at, star_of + 1));
                at = star_at + 1;
                of = star_of + 1;
            }
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|&wanted| wanted == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_bytes_and_question_marks_for_one() {
        for (pattern, name, expected) in [
            ("*", "a.log", true),
            ("*.log", "a.log", true),
            ("*.log", "a.log.gz", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("**", "", true),
            ("", "", true),
            ("", "a", false),
            ("a", "", false),
            ("*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
