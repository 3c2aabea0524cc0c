//! How large a scenario is, and which of its values make it larger: what a search for the capacity turns.

use toml::Value;

use super::format::{Scenario, TopologyKind};
use super::tree::Tree;
use super::units::Rate;
use crate::plan::Engine;

/// How a scenario's load can be changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Sizing {
    /// How many calls it makes as it stands.
    pub calls: u32,
    /// How often its calls start; absent: all at once.
    pub arrivals: Option<Rate>,
    /// Calls arrive for a time that is given, and how many there are follows from it.
    lasts: bool,
    /// Keys that hold a count, and how much each counts per call.
    counts: Vec<(String, u32)>,
}

/// Why a scenario's load cannot be changed by one number.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the size of this scenario cannot be searched: {reason}; {help}")]
pub struct FixedSize {
    reason: String,
    help: &'static str,
}

impl Sizing {
    /// The values to set, each as `--set` takes it, for this many calls. Absent where their number follows from how long they
    /// arrive.
    pub fn set_calls(&self, calls: u64) -> Option<Vec<String>> {
        let set = |(key, factor): &(String, u32)| format!("{key}={}", calls.saturating_mul((*factor).into()));
        (!self.lasts).then(|| self.counts.iter().map(set).collect())
    }

    /// The values to set, each as `--set` takes it, for this many thousandths of a call per second: as many calls as start
    /// in the time that those of the scenario take to start. Absent where the scenario starts all calls at once, so that
    /// there is no such time.
    pub fn set_arrivals(&self, milli_per_second: u64) -> Option<Vec<String>> {
        let lasts_us = u128::from(self.arrivals?.offset_us(self.calls.into()));
        let calls = u128::from(milli_per_second) * lasts_us / 1_000_000_000;
        let mut set = self.set_calls(u64::try_from(calls).unwrap_or(u64::MAX).max(1)).unwrap_or_default();
        set.push(format!("load.arrivals={}/s", milli_per_second as f64 / 1e3));
        Some(set)
    }

    /// That of a scenario that was checked and completed; `tree` is what was written.
    pub(super) fn of(scenario: &Scenario, tree: &Tree) -> Result<Self, FixedSize> {
        let fixed = |reason: String, help| Err(FixedSize { reason, help });
        if scenario.matrix.is_some() {
            return fixed("[matrix] decides how many calls there are".into(), "search with a scenario without it");
        }
        if scenario.peers.iter().any(|group| group.engine() == Engine::Human) {
            let reason = "people are invited to one run, and would have to come again for each".into();
            return fixed(reason, "search with simulated peers or browsers in their place");
        }
        if scenario.topology.kind != TopologyKind::Pairs {
            let reason = "in [topology] the rooms decide how many calls there are".into();
            return fixed(reason, "search with pairs, or run the rooms at a few sizes: --set topology.count=50");
        }
        if !scenario.load.stage.is_empty() {
            let reason = "[[load.stage]] decides how many calls there are, and how many at a time".into();
            return fixed(
                reason,
                "search with [load] arrivals, and a duration or a count of peers, in place of the stages",
            );
        }
        let [set] = scenario.topology.calls.as_slice() else {
            let sets = scenario.topology.calls.iter().enumerate();
            let sets: Vec<String> =
                sets.map(|(index, set)| format!("topology.calls.{index} `{}` ({})", set.name(), set.count)).collect();
            let reason = format!("{} sets of calls decide it together: {}", sets.len(), sets.join(", "));
            return fixed(reason, "leave one [[topology.calls]] in the scenario that is searched");
        };
        let listed = matches!(tree.get("topology.calls"), Some(Value::Array(sets)) if !sets.is_empty());
        let lasts = scenario.load.duration.is_some();
        let mut counts = Vec::new();
        if listed {
            counts.push(("topology.calls.0.count".to_owned(), 1));
        }
        for (index, group) in scenario.peers.iter().enumerate() {
            let key = format!("peers.{index}.count");
            let ends = [&set.offerer, &set.answerer].into_iter().filter(|end| *end == group.name()).count();
            // Where calls are listed, a count of peers that nobody wrote follows from them.
            if !listed || tree.get(&key).is_some() {
                counts.push((key, ends as u32));
            }
        }
        Ok(Self { calls: set.count, arrivals: scenario.load.arrivals, lasts, counts })
    }

    /// That of a plan.
    pub(super) fn of_plan() -> Result<Self, FixedSize> {
        let help = "search with the scenario that it was made from";
        Err(FixedSize { reason: "a plan spells out every call".into(), help })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Overrides, load};

    /// Whether the scenario has as many calls as are set, for some numbers of calls.
    fn resize(text: &str) {
        let text = format!("name = 'x'\n{text}");
        let sizing = load("a.toml", &text, &Overrides::default()).unwrap().sizing.unwrap();
        for calls in [1, 7, 300] {
            let overrides = Overrides { set: sizing.set_calls(calls).unwrap(), ..Overrides::default() };
            let loaded = load("a.toml", &text, &overrides).unwrap_or_else(|errors| panic!("{errors}"));
            assert_eq!(loaded.plan.calls.len() as u64, calls, "{text}");
            assert_eq!(u64::from(loaded.sizing.unwrap().calls), calls);
        }
    }

    #[test]
    fn every_form_of_one_set_of_calls_takes_any_size() {
        resize("[[peers]]");
        resize("[[peers]]\ncount = 8");
        resize("[[peers]]\n[[peers]]\nengine = 'chromium'");
        resize("[[peers]]\ncount = 2\n[[peers]]\nname = 'far'\ncount = 2");
        resize("[[peers]]\n[[topology.calls]]\nofferer = 'native'\nanswerer = 'native'\ncount = 5");
        resize("[[peers]]\ncount = 10\n[[topology.calls]]\nofferer = 'native'\nanswerer = 'native'\ncount = 5");
    }

    #[test]
    fn arrivals_last_as_long_as_those_of_the_scenario() {
        let text = "name = 'x'\n[load]\narrivals = '20/s'\n[[peers]]\ncount = 400\n";
        let sizing = load("a.toml", text, &Overrides::default()).unwrap().sizing.unwrap();
        for (milli, calls, last_us) in [(5_000, 50, 9_800_000), (12_500, 125, 9_920_000), (50, 1, 0)] {
            let overrides = Overrides { set: sizing.set_arrivals(milli).unwrap(), ..Overrides::default() };
            let plan = load("a.toml", text, &overrides).unwrap_or_else(|errors| panic!("{errors}")).plan;
            assert_eq!((plan.calls.len(), plan.calls.last().unwrap().start_us), (calls, last_us), "{milli}");
        }
        let text = "name = 'x'\n[load]\narrivals = '20/s'\nduration = '10s'\n[[peers]]\n";
        let sizing = load("a.toml", text, &Overrides::default()).unwrap().sizing.unwrap();
        assert_eq!(sizing.set_calls(5), None);
        let overrides = Overrides { set: sizing.set_arrivals(5_000).unwrap(), ..Overrides::default() };
        assert_eq!(load("a.toml", text, &overrides).unwrap_or_else(|errors| panic!("{errors}")).plan.calls.len(), 50);

        let at_once = load("a.toml", "name = 'x'\n[[peers]]\n", &Overrides::default()).unwrap().sizing.unwrap();
        assert_eq!(at_once.set_arrivals(5_000), None);
    }

    #[test]
    fn what_decides_a_fixed_size_is_named() {
        let fixed = |text: &str| {
            let loaded = load("a.toml", &format!("name = 'x'\n{text}"), &Overrides::default());
            loaded.unwrap_or_else(|errors| panic!("{errors}")).sizing.unwrap_err().to_string()
        };
        let two = "[[peers]]\n[[topology.calls]]\nofferer = 'native'\nanswerer = 'native'\ncount = 5\n\
                   [[topology.calls]]\nname = 'more'\nofferer = 'native'\nanswerer = 'native'";
        let said = fixed(two);
        assert!(said.contains("topology.calls.0 `native-native` (5), topology.calls.1 `more` (1)"), "{said}");
        let said = fixed("[topology]\nkind = 'rooms'\nsize = 3\n[[peers]]\n");
        assert!(said.contains("the rooms decide"), "{said}");
        let said = fixed("[[load.stage]]\nduration = '5s'\ntarget = '4/s'\n[[peers]]\n");
        assert!(said.contains("[[load.stage]]"), "{said}");
    }
}
