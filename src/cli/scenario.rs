//! The arguments that name a scenario, and how its errors are shown; shared by the subcommands that read one.

use std::fmt;
use std::io::IsTerminal;
use std::path::PathBuf;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};

use super::Exit;
use crate::scenario::{Loaded, Overrides, ScenarioError, ScenarioErrors, load_file};

/// Which scenario, and what to change in it.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct ScenarioArgs {
    /// A scenario, or the plan.toml of an earlier run
    #[arg(value_name = "SCENARIO")]
    pub(super) path: PathBuf,
    /// Replace a value, such as load.hold=10s or peers.native.count=4 (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
    /// Replace the seed [env: HARNESS_SEED]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub(super) seed: Option<u64>,
}

impl ScenarioArgs {
    /// Reads and checks the scenario. On errors these are on stderr when it returns.
    pub(super) fn load(&self) -> Result<Loaded, Exit> {
        let overrides = Overrides::with_environment(self.set.clone(), self.seed);
        load_file(&self.path, &overrides).map_err(|errors| {
            eprint!("{}", render(&errors, has_colour()));
            Exit::Usage
        })
    }
}

/// Whether stderr takes colour.
fn has_colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The errors for people, each with the lines that it is about.
fn render(errors: &ScenarioErrors, colour: bool) -> String {
    let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false).with_width(100);
    let mut text = String::new();
    for error in &errors.0 {
        if handler.render_report(&mut text, &Shown::new(error)).is_err() {
            text.push_str(&error.to_string());
        }
        text.push('\n');
    }
    match errors.0.len() {
        1 => text,
        count => format!("{text}{count} errors; nothing was run\n"),
    }
}

/// A [`ScenarioError`] as miette wants it.
#[derive(Debug, thiserror::Error)]
struct Shown<'a> {
    error: &'a ScenarioError,
    source_code: Option<NamedSource<String>>,
}

impl<'a> Shown<'a> {
    fn new(error: &'a ScenarioError) -> Self {
        let source_code = error.place.as_ref().map(|place| {
            let source = &place.source;
            NamedSource::new(source.name(), source.text().to_owned()).with_language("TOML")
        });
        Self { error, source_code }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error.message)
    }
}

impl Diagnostic for Shown<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.error.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source_code.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.error.place.as_ref()?.span.clone();
        Some(Box::new(std::iter::once(LabeledSpan::underline(span))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::load;

    #[test]
    fn errors_show_their_line_and_what_to_do() {
        let text = "name = \"lan\"\n[[peers]]\ncuont = 4\n";
        let errors = load("lan.toml", text, &Overrides::default()).unwrap_err();
        let shown = render(&errors, false);
        for part in ["unknown key `cuont`", "lan.toml:3:1", "cuont = 4", "did you mean `count`?"] {
            assert!(shown.contains(part), "{part} in:\n{shown}");
        }
        assert!(!shown.contains('\u{1b}'), "no colour was asked for");
        assert!(render(&errors, true).contains('\u{1b}'));
    }
}
