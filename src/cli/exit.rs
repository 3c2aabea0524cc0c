//! The exit codes: the contract with every CI job.

use std::process::ExitCode;

use crate::gate::{Judgement, Verdict};

/// How the program ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// 0: every gate held.
    Pass,
    /// 1: the system under test fell short: a call, an expectation, a threshold, a regression.
    Fail,
    /// 2: usage or scenario error; nothing ran.
    Usage,
    /// 3: no trustworthy result: the generator was saturated, or something required was missing.
    Invalid,
    /// 4: the harness or the run broke before it could judge.
    Error,
    /// 130: SIGINT ended the run; a partial record was written.
    Interrupted,
    /// 143: SIGTERM ended the run; a partial record was written.
    Terminated,
}

impl Exit {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Fail => 1,
            Self::Usage => 2,
            Self::Invalid => 3,
            Self::Error => 4,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// What another harness ended with.
    pub(super) fn from_status(status: std::process::ExitStatus) -> Self {
        let known =
            [Self::Pass, Self::Fail, Self::Usage, Self::Invalid, Self::Error, Self::Interrupted, Self::Terminated];
        known.into_iter().find(|exit| status.code() == Some(exit.code().into())).unwrap_or(Self::Error)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl From<&Judgement> for Exit {
    fn from(judgement: &Judgement) -> Self {
        match judgement.verdict {
            Verdict::Pass => Self::Pass,
            Verdict::Fail => Self::Fail,
            Verdict::Invalid => Self::Invalid,
            Verdict::Error => Self::Error,
            Verdict::Interrupted if judgement.exit_code == Self::Terminated.code() => Self::Terminated,
            Verdict::Interrupted => Self::Interrupted,
        }
    }
}

/// The table of exit codes, as `--help` shows it.
pub(super) const HELP: &str = "\
Exit codes:
    0  pass     every gate held
    1  fail     the system under test fell short: a call, an expectation, a threshold
    2           usage or scenario error; nothing ran
    3  invalid  no trustworthy result: generator saturated, or something required was missing
    4  error    the harness or the run broke before it could judge
  130, 143      interrupted by SIGINT or SIGTERM; a partial record was written";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_lists_every_code() {
        for exit in
            [Exit::Pass, Exit::Fail, Exit::Usage, Exit::Invalid, Exit::Error, Exit::Interrupted, Exit::Terminated]
        {
            assert!(HELP.contains(&exit.code().to_string()), "{exit:?}");
        }
    }
}
