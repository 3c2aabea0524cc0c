//! `harness report`: render a record again.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};

use super::Exit;
use super::capacity::exit_of;
use crate::capacity::Capacity;
use crate::gate::{Judgement, judge};
use crate::record::{ReadError, Record, RunDirectory, WriteError, write_whole};
use crate::report::{Format, RenderError};

/// Render the record of a run or of a search for the capacity again: every file of its directory, or one format.
///
/// The exit code is the verdict's, as of the run or search itself.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Directory of a run, such as reports/lan/latest.
    dir: PathBuf,
    /// Render only this format; absent: write every file into the directory.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Where the one format goes; `-` is standard output.
    #[arg(long, value_name = "FILE", default_value = "-", requires = "format")]
    out: PathBuf,
}

pub(super) fn run(args: &Args) -> Exit {
    let exit = match args.dir.join(Capacity::FILE) {
        path if path.is_file() => render_capacity(args, &path),
        _ => render(args).map(|judgement| Exit::from(&judgement)),
    };
    match exit {
        Ok(exit) => exit,
        Err(error) => {
            eprintln!("error: {error}");
            error.exit()
        }
    }
}

/// Writes every file of a run's directory but its events; a file that cannot be written does not keep the others from
/// being written.
pub(super) fn write_files(directory: &RunDirectory, record: &Record, judgement: &Judgement) -> Result<(), Error> {
    let results: Vec<Result<(), Error>> = Format::FILES
        .iter()
        .map(|(format, file)| Ok(directory.write(file, &format.render(record, judgement)?)?))
        .collect();
    results.into_iter().collect()
}

/// Writes every file of a search's directory, whose runs have their own.
pub(super) fn write_capacity_files(directory: &RunDirectory, capacity: &Capacity) -> Result<(), Error> {
    let results: Vec<Result<(), Error>> = Format::CAPACITY_FILES
        .iter()
        .map(|(format, file)| Ok(directory.write(file, &format.render_capacity(capacity)?)?))
        .collect();
    results.into_iter().collect()
}

fn render_capacity(args: &Args, path: &Path) -> Result<Exit, Error> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::Open { path: path.to_owned(), error })?;
    let capacity: Capacity =
        serde_json::from_str(&text).map_err(|error| Error::NoCapacity { path: path.to_owned(), error })?;
    match args.format {
        None => write_capacity_files(&RunDirectory::open(&args.dir), &capacity)?,
        Some(format) => {
            let text = format.render_capacity(&capacity)?;
            if args.out == Path::new("-") { print(&text)? } else { write_whole(&args.out, &text)? }
        }
    }
    Ok(exit_of(&capacity))
}

/// The record in the directory of a run.
pub(super) fn read_record(directory: &Path) -> Result<Record, Error> {
    let path = directory.join(RunDirectory::EVENTS);
    let file = File::open(&path).map_err(|error| Error::Open { path: path.clone(), error })?;
    Record::read(BufReader::new(file)).map_err(|error| Error::Read { path, error })
}

fn render(args: &Args) -> Result<Judgement, Error> {
    let record = read_record(&args.dir)?;
    let judgement = judge(&record);
    match args.format {
        None => write_files(&RunDirectory::open(&args.dir), &record, &judgement)?,
        Some(format) => {
            let text = format.render(&record, &judgement)?;
            if args.out == Path::new("-") { print(&text)? } else { write_whole(&args.out, &text)? }
        }
    }
    Ok(judgement)
}

/// A reader that stops reading, such as `head`, is no error.
fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::Print(error)),
        _ => Ok(()),
    }
}

/// Why a record was not rendered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("cannot read {}: {error}; give the directory of a run, such as reports/lan/latest", path.display())]
    Open { path: PathBuf, error: io::Error },
    #[error("cannot read {}: {error}", path.display())]
    Read { path: PathBuf, error: ReadError },
    #[error("cannot read {}: {error}; it is not what this version of the harness writes", path.display())]
    NoCapacity { path: PathBuf, error: serde_json::Error },
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("cannot write to standard output: {0}")]
    Print(io::Error),
}

impl Error {
    fn exit(&self) -> Exit {
        match self {
            Self::Open { .. } | Self::Render(RenderError::OfRunsOnly) => Exit::Usage,
            Self::Read { .. } | Self::NoCapacity { .. } | Self::Render(_) | Self::Write(_) | Self::Print(_) => {
                Exit::Error
            }
        }
    }
}
