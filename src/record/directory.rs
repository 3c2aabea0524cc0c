//! The directory of a run: `ROOT/NAME/UTC-TIME/`, and `latest` beside it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// Where the files of one run go.
#[derive(Clone, Debug)]
pub struct RunDirectory {
    path: PathBuf,
}

/// A file of a run could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {error}; {}", path.display(), advice(error))]
pub struct WriteError {
    /// The file or directory.
    pub path: PathBuf,
    /// What the system says.
    pub error: io::Error,
}

impl RunDirectory {
    /// The name of the event stream's file.
    pub const EVENTS: &'static str = "events.ndjson";

    /// Makes the directory of a run that starts `now`, and points `latest` at it.
    ///
    /// Two runs that start within a second get directories of their own: the later one's name ends in `-2`, `-3`, ….
    pub fn create(root: &Path, name: &str, now: Timestamp) -> Result<Self, WriteError> {
        let parent = root.join(name);
        fs::create_dir_all(&parent).map_err(|error| WriteError { path: parent.clone(), error })?;
        let time = now.strftime("%Y-%m-%dT%H-%M-%SZ").to_string();
        let mut attempt = 1_u32;
        loop {
            let leaf = if attempt == 1 { time.clone() } else { format!("{time}-{attempt}") };
            let path = parent.join(&leaf);
            match fs::create_dir(&path) {
                Ok(()) => {
                    point_latest(&parent, &leaf)?;
                    return Ok(Self { path });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => attempt += 1,
                Err(error) => return Err(WriteError { path, error }),
            }
        }
    }

    /// The directory of a run that is over.
    pub fn open(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Makes a directory for one of several runs inside this one.
    pub fn create_within(&self, name: &str) -> Result<Self, WriteError> {
        let path = self.path.join(name);
        fs::create_dir_all(&path).map_err(|error| WriteError { path: path.clone(), error })?;
        Ok(Self { path })
    }

    /// The directory's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Creates the file that the event stream goes to.
    pub fn create_events(&self) -> Result<File, WriteError> {
        let path = self.path.join(Self::EVENTS);
        File::create(&path).map_err(|error| WriteError { path, error })
    }

    /// Writes a file whole or not at all, in a folder of its own if its name has one.
    pub fn write(&self, file: &str, content: impl AsRef<[u8]>) -> Result<(), WriteError> {
        let path = self.path.join(file);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| WriteError { path: folder.to_owned(), error })?;
        }
        write_whole(&path, content)
    }
}

/// Writes a file whole or not at all: a reader sees the old text or the new, never a part.
pub fn write_whole(path: &Path, content: impl AsRef<[u8]>) -> Result<(), WriteError> {
    let fail = |error| WriteError { path: path.to_owned(), error };
    let name = path.file_name().ok_or_else(|| fail(io::ErrorKind::InvalidFilename.into()))?;
    let temporary = path.with_file_name(format!(".{}.{}", name.display(), std::process::id()));
    let written = (|| {
        let mut file = File::create(&temporary)?;
        file.write_all(content.as_ref())?;
        file.sync_data()?;
        fs::rename(&temporary, path)
    })();
    written.map_err(|error| {
        // The first error is the one to tell; a temporary file that cannot be removed either changes nothing.
        let _ = fs::remove_file(&temporary);
        fail(error)
    })
}

/// What to do about an error of the file system.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "choose a directory that you may write to with --out"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room on the disk, or choose another one with --out"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "a file stands where a directory is needed: move it, or choose another directory with --out"
        }
        _ => "check the path, or choose another directory with --out",
    }
}

/// Replaces the link in one step, so that it exists at any time.
#[cfg(unix)]
fn point_latest(parent: &Path, leaf: &str) -> Result<(), WriteError> {
    let temporary = parent.join(format!(".latest.{}.{leaf}", std::process::id()));
    let latest = parent.join("latest");
    std::os::unix::fs::symlink(leaf, &temporary).and_then(|()| fs::rename(&temporary, &latest)).map_err(|error| {
        let _ = fs::remove_file(&temporary);
        WriteError { path: latest, error }
    })
}

/// Links need privileges elsewhere; the newest directory's name is the greatest.
#[cfg(not(unix))]
fn point_latest(_parent: &Path, _leaf: &str) -> Result<(), WriteError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noon() -> Timestamp {
        "2026-11-21T12:00:00.4Z".parse().unwrap()
    }

    #[test]
    fn two_runs_of_one_second_have_directories_of_their_own_and_latest_is_the_second() {
        let root = tempfile::tempdir().unwrap();
        let first = RunDirectory::create(root.path(), "lan", noon()).unwrap();
        let second = RunDirectory::create(root.path(), "lan", noon()).unwrap();
        assert!(first.path().ends_with("lan/2026-11-21T12-00-00Z"));
        assert!(second.path().ends_with("lan/2026-11-21T12-00-00Z-2"));
        let latest = root.path().join("lan/latest");
        assert_eq!(latest.canonicalize().unwrap(), second.path().canonicalize().unwrap());
    }

    #[test]
    fn a_file_in_the_way_is_named_with_what_to_do() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("reports");
        fs::write(&file, "").unwrap();
        let error = RunDirectory::create(&file, "lan", noon()).unwrap_err().to_string();
        assert!(error.contains("reports") && error.contains("--out"), "{error}");
    }

    #[test]
    fn writing_replaces_the_file_and_leaves_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let directory = RunDirectory::create(root.path(), "lan", noon()).unwrap();
        directory.write("summary.md", "old").unwrap();
        directory.write("summary.md", "new").unwrap();
        assert_eq!(fs::read_to_string(directory.path().join("summary.md")).unwrap(), "new");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
