//! Reading a record back from `events.ndjson`.

use std::io::BufRead;

use serde::Deserialize;

use super::{Event, Record, RunStarted};

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file broke off with an error of the system.
    #[error("line {line} cannot be read: {error}")]
    Io {
        /// The line, from 1.
        line: usize,
        /// What the system says.
        error: std::io::Error,
    },
    /// A line before the last is not an event.
    #[error("line {line} is not an event ({error}); the file was changed after the run, or is not the events of a run")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// A newer harness wrote it.
    #[error(
        "the record has schema version {found}, this harness reads up to {known}: use the harness that wrote it, or a newer one"
    )]
    Version {
        /// The record's version.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
}

impl Record {
    /// Reads the events of a run. A last line that was cut off in the middle does not count: a run that was killed, or
    /// whose disk was full, is read up to there.
    pub fn read(events: impl BufRead) -> Result<Self, ReadError> {
        let mut record = Self::default();
        let mut cut: Option<ReadError> = None;
        for (index, line) in events.split(b'\n').enumerate() {
            let number = index + 1;
            let line = line.map_err(|error| ReadError::Io { line: number, error })?;
            if line.trim_ascii().is_empty() {
                continue;
            }
            if let Some(error) = cut {
                return Err(error);
            }
            if record.run().is_none() {
                check_version(&line)?;
            }
            match serde_json::from_slice::<Event>(&line) {
                Ok(event) => record.apply(&event),
                Err(error) => cut = Some(ReadError::Syntax { line: number, error }),
            }
        }
        // A file whose only line is no event is not a record at all.
        match cut {
            Some(error) if record.run().is_none() => Err(error),
            _ => Ok(record),
        }
    }
}

/// A newer version may not even parse, so that the version is looked at first.
fn check_version(line: &[u8]) -> Result<(), ReadError> {
    #[derive(Deserialize)]
    struct Head {
        schema_version: u32,
    }
    match serde_json::from_slice::<Head>(line) {
        Ok(head) if head.schema_version > RunStarted::SCHEMA_VERSION => {
            Err(ReadError::Version { found: head.schema_version, known: RunStarted::SCHEMA_VERSION })
        }
        _ => Ok(()),
    }
}
