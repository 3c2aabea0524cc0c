//! What is wrong with a scenario: what, where, why, and what to do.

use std::fmt;

use super::source::Place;

/// One thing that is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ScenarioError {
    /// What is wrong, and why.
    pub message: String,
    /// Where; absent when it is the file itself that cannot be read.
    pub place: Option<Place>,
    /// What to do.
    pub help: Option<String>,
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

/// Everything that was found wrong with a scenario in one pass; never empty.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub struct ScenarioErrors(pub Vec<ScenarioError>);

impl fmt::Display for ScenarioErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.0.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

/// The name among `known` that `name` was probably meant to be.
pub(crate) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let known: Vec<&str> = known.into_iter().collect();
    let slip = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), *candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count() / 4)
        .min_by_key(|(distance, _)| *distance);
    // A long name that was shortened is many edits away, but begins alike.
    let shortened = || {
        let likeness = known.iter().map(|candidate| (strsim::jaro_winkler(&lower, candidate), *candidate));
        likeness
            .filter(|(likeness, _)| *likeness > 0.85)
            .max_by(|(one, _), (other, _)| one.total_cmp(other))
            .map(|(_, name)| name)
    };
    slip.map(|(_, candidate)| candidate).or_else(shortened)
}

/// "did you mean …? …": the probable name, then all names if they are few enough to read.
pub(crate) fn suggest<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let near = did_you_mean(name, known.iter().copied());
    let question = near.map(|near| format!("did you mean `{near}`?")).unwrap_or_default();
    let list = match known.len() {
        0 => format!("there are no {what}"),
        1..=16 => format!("{what}: {}", known.join(", ")),
        count if near.is_none() => format!("{count} {what} are listed by `harness schema`"),
        _ => String::new(),
    };
    [question, list].iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions_are_near_or_absent() {
        let keys = ["count", "engine", "optional", "connection_time_ms"];
        assert_eq!(did_you_mean("cuont", keys), Some("count"));
        assert_eq!(did_you_mean("Engine", keys), Some("engine"));
        assert_eq!(did_you_mean("conection_time", keys), Some("connection_time_ms"));
        assert_eq!(did_you_mean("conn_time", keys), Some("connection_time_ms"));
        assert_eq!(did_you_mean("opt", keys), Some("optional"));
        assert_eq!(did_you_mean("colour", keys), None);
    }
}
