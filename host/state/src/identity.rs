use crate::directory::sync_directory;
use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// The file, format 1: JSON.
const NAME: &str = "identity.json";

/// The newest format that is read, and the one that is written.
const FORMAT: u32 = 1;

/// Whom a state directory belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    format: u32,
    pipeline: String,
    /// Kafka's cluster id, once the pipeline has met it; never for a pipeline without Kafka.
    cluster_id: Option<String>,
}

impl Identity {
    pub(crate) fn new(pipeline: &str) -> Self {
        Self { format: FORMAT, pipeline: pipeline.to_owned(), cluster_id: None }
    }

    /// The directory is this pipeline's, or nobody's and is from now on.
    pub(crate) fn check_pipeline(directory: &Path, pipeline: &str) -> Result<(), Error> {
        match Self::read(directory)? {
            None => Self::write(directory, &Self::new(pipeline)),
            Some(found) if found.pipeline == pipeline => Ok(()),
            Some(found) => Err(Error::Foreign {
                path: directory.display().to_string(),
                owner: format!("pipeline `{}`", found.pipeline),
                asked: format!("pipeline `{pipeline}`"),
                remedy: format!("change `id` back to `{}`", found.pipeline),
            }),
        }
    }

    pub(crate) fn check_cluster(directory: &Path, pipeline: &str, cluster_id: &str) -> Result<(), Error> {
        let mut identity = Self::read(directory)?.unwrap_or_else(|| Self::new(pipeline));
        match &identity.cluster_id {
            Some(found) if found == cluster_id => Ok(()),
            Some(found) => Err(Error::Foreign {
                path: directory.display().to_string(),
                owner: format!("Kafka cluster `{found}`"),
                asked: format!("cluster `{cluster_id}`"),
                remedy: format!("run `millstream reset {pipeline}` to begin a new history on this cluster"),
            }),
            None => {
                identity.cluster_id = Some(cluster_id.to_owned());
                Self::write(directory, &identity)
            }
        }
    }

    fn read(directory: &Path) -> Result<Option<Self>, Error> {
        let path = directory.join(NAME);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(Error::disk("read", &path, &cause)),
        };
        let broken = |reason: String| Error::Path { path: directory.display().to_string(), reason };
        let identity: Self = serde_json::from_slice(&text).map_err(|cause| {
            broken(format!(
                "`{NAME}` cannot be read ({cause}), so it is not known whose state this is: remove that file if it is this pipeline's"
            ))
        })?;
        if identity.format > FORMAT {
            return Err(broken(format!(
                "`{NAME}` has format {}, this Millstream reads format {FORMAT}: use the version that wrote it or a newer one",
                identity.format
            )));
        }
        Ok(Some(identity))
    }

    /// Written beside, then renamed: a reader sees the old file or the new one.
    pub(crate) fn write(directory: &Path, identity: &Self) -> Result<(), Error> {
        let (path, fresh) = (directory.join(NAME), directory.join("identity.json.new"));
        let failed = |cause: std::io::Error| Error::disk("write", &path, &cause);
        let text = serde_json::to_vec(identity).map_err(|cause| failed(cause.into()))?;
        let written = File::create(&fresh).and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()));
        written.and_then(|()| std::fs::rename(&fresh, &path)).map_err(failed)?;
        sync_directory(directory)
    }
}
