//! Statistics as a dump has them: of each reading, what the readings before it do not say already.
//!
//! The value of a `getStats` line is an object. Each member is a dictionary under its id, with those of its members that
//! are new or have changed, under their W3C webrtc-stats names; a dictionary that is gone is null. `t` is the time of the
//! reading in milliseconds since 1970: the `timestamp` of every dictionary that has none of its own. The format knows no
//! way to say that a member is gone from a dictionary that stays, which W3C webrtc-stats (section 4.1) all but rules out:
//! such a member becomes null.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// The member of a delta that is the time of the reading.
const TIME: &str = "t";

/// What a reader of the dump knows: the dictionaries by id, without `id` and `timestamp`.
#[derive(Debug, Default)]
pub(super) struct Known(BTreeMap<String, Map<String, Value>>);

impl Known {
    /// What the reader has to be told in order to know `stats`, a list of RTCStats dictionaries; it knows them from then on.
    ///
    /// `at_ms` is when they were read, in milliseconds since 1970, for stacks whose dictionaries have no `timestamp`. A
    /// dictionary without an `id` cannot be told.
    pub(super) fn learn(&mut self, stats: Vec<Value>, at_ms: u64) -> Value {
        let time = latest(&stats).unwrap_or_else(|| json!(at_ms));
        let mut delta = Map::new();
        let mut present = BTreeSet::new();
        for (id, members) in stats.into_iter().filter_map(identified) {
            let changes = changes(self.0.entry(id.clone()).or_default(), members, &time);
            if !changes.is_empty() {
                delta.insert(id.clone(), Value::Object(changes));
            }
            present.insert(id);
        }
        self.0.retain(|id, _| {
            let stays = present.contains(id);
            if !stays {
                delta.insert(id.clone(), Value::Null);
            }
            stays
        });
        delta.insert(TIME.into(), time);
        Value::Object(delta)
    }
}

/// The latest `timestamp` of all.
fn latest(stats: &[Value]) -> Option<Value> {
    let times = stats.iter().map(|entry| &entry["timestamp"]).filter(|time| time.is_number());
    times.max_by(|a, b| a.as_f64().unwrap_or(0.0).total_cmp(&b.as_f64().unwrap_or(0.0))).cloned()
}

/// A dictionary's id, and the rest of it.
fn identified(entry: Value) -> Option<(String, Map<String, Value>)> {
    let Value::Object(mut members) = entry else { return None };
    match members.remove("id") {
        Some(Value::String(id)) => Some((id, members)),
        _ => None,
    }
}

/// What is new in a dictionary, which is known from then on.
fn changes(known: &mut Map<String, Value>, mut members: Map<String, Value>, time: &Value) -> Map<String, Value> {
    let mut changes = Map::new();
    if let Some(own) = members.remove("timestamp").filter(|own| own != time) {
        changes.insert("timestamp".into(), own);
    }
    for name in known.keys() {
        members.entry(name.clone()).or_insert(Value::Null);
    }
    for (name, value) in members {
        let value = with_lost_keys(known.get(&name), value);
        if known.get(&name) != Some(&value) {
            known.insert(name.clone(), value.clone());
            changes.insert(name, value);
        }
    }
    changes
}

/// The value with null for each key of a known object that it lacks: readers merge objects, and would keep the key.
fn with_lost_keys(known: Option<&Value>, value: Value) -> Value {
    let Some(Value::Object(known)) = known else { return value };
    let mut object = match value {
        Value::Object(object) => object,
        Value::Null => Map::new(),
        other => return other,
    };
    for key in known.keys() {
        object.entry(key.clone()).or_insert(Value::Null);
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a reader makes of a delta, after what it has read before.
    fn read(before: &BTreeMap<String, Value>, delta: &Value) -> BTreeMap<String, Value> {
        let mut after = before.clone();
        let mut delta = delta.as_object().unwrap().clone();
        let time = delta.remove(TIME).unwrap();
        for (id, changes) in delta.iter().filter(|(_, changes)| changes.is_null()) {
            assert!(after.remove(id).is_some(), "{id} was never told: {changes}");
        }
        delta.retain(|_, changes| !changes.is_null());
        for id in delta.keys() {
            after.entry(id.clone()).or_insert_with(|| json!({}));
        }
        for (id, entry) in &mut after {
            entry["timestamp"] = time.clone();
            for (name, value) in delta.get(id).and_then(Value::as_object).into_iter().flatten() {
                match (&mut entry[name], value) {
                    (Value::Object(old), Value::Object(new)) => old.extend(new.clone()),
                    (old, new) => *old = new.clone(),
                }
            }
        }
        after
    }

    /// The dictionaries by id, as a reader should have them in the end. What is null is as if it were not there.
    fn plain(entries: impl IntoIterator<Item = (String, Value)>) -> BTreeMap<String, Value> {
        let mut entries: BTreeMap<_, _> = entries.into_iter().collect();
        for entry in entries.values_mut() {
            let members = entry.as_object_mut().unwrap();
            for value in members.values_mut() {
                if let Value::Object(object) = value {
                    object.retain(|_, value| !value.is_null());
                }
            }
            let is_nothing = |value: &Value| value.is_null() || value.as_object().is_some_and(Map::is_empty);
            members.retain(|name, value| name != "id" && !is_nothing(value));
        }
        entries
    }

    #[test]
    fn a_reading_says_only_what_has_changed() {
        let mut known = Known::default();
        let stats = |bytes: u64| vec![json!({"id": "T", "type": "transport", "bytesSent": bytes, "dtlsState": "new"})];
        let first = known.learn(stats(1), 1000);
        assert_eq!(first, json!({"T": {"type": "transport", "bytesSent": 1, "dtlsState": "new"}, "t": 1000}));
        assert_eq!(known.learn(stats(2), 2000), json!({"T": {"bytesSent": 2}, "t": 2000}));
        assert_eq!(known.learn(stats(2), 3000), json!({"t": 3000}));
        assert_eq!(known.learn(vec![], 4000), json!({"T": null, "t": 4000}));
        assert_eq!(known.learn(stats(2), 5000)["T"]["type"], "transport");
    }

    #[test]
    fn the_latest_time_stands_for_all_but_those_that_have_another() {
        let mut known = Known::default();
        let entry = |id: &str, time: f64| json!({"id": id, "type": "codec", "timestamp": time});
        let delta = known.learn(vec![entry("A", 10.5), entry("B", 20.25), entry("C", 20.25)], 7);
        let own = json!({"type": "codec", "timestamp": 10.5});
        assert_eq!(delta, json!({"A": own, "B": {"type": "codec"}, "C": {"type": "codec"}, "t": 20.25}));
    }

    #[test]
    fn a_member_that_is_gone_is_null_once_and_so_is_a_key() {
        let mut known = Known::default();
        let with = |rest: Value| {
            let mut entry = json!({"id": "V", "type": "outbound-rtp"});
            entry.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            vec![entry]
        };
        known.learn(with(json!({"rid": "h", "durations": {"cpu": 1, "none": 2}, "list": [1, 2]})), 1);
        let lost = known.learn(with(json!({"durations": {"none": 2}, "list": [1]})), 2);
        assert_eq!(lost, json!({"V": {"rid": null, "durations": {"cpu": null, "none": 2}, "list": [1]}, "t": 2}));
        assert_eq!(known.learn(with(json!({"durations": {"none": 2}, "list": [1]})), 3), json!({"t": 3}));
        let all = known.learn(with(json!({"rid": "h"})), 4);
        assert_eq!(all["V"], json!({"rid": "h", "durations": {"cpu": null, "none": null}, "list": null}));
    }

    fn entry() -> impl Strategy<Value = Value> {
        let value = prop_oneof![
            (0..3_u8).prop_map(|number| json!(number)),
            any::<bool>().prop_map(|yes| json!(yes)),
            prop::collection::btree_map("[ab]", 0..3_u8, 0..3).prop_map(|object| json!(object)),
            prop::collection::vec(0..3_u8, 0..3).prop_map(|list| json!(list)),
        ];
        prop::collection::btree_map("[a-d]", value, 0..5).prop_map(|members| json!(members))
    }

    proptest! {
        #[test]
        fn a_reader_knows_every_reading_as_it_was(
            readings in prop::collection::vec(prop::collection::btree_map("[x-z]", (entry(), 0..2_u8), 0..4), 1..8),
        ) {
            let (mut known, mut reader) = (Known::default(), BTreeMap::new());
            for (number, reading) in readings.into_iter().enumerate() {
                let mut stats = Vec::new();
                for (id, (mut entry, late)) in reading {
                    entry["id"] = json!(id);
                    entry["type"] = json!("codec");
                    entry["timestamp"] = json!(10 * number + usize::from(late));
                    stats.push(entry);
                }
                reader = read(&reader, &known.learn(stats.clone(), 0));
                let id = |entry: &Value| entry["id"].as_str().unwrap().to_owned();
                let wanted = plain(stats.into_iter().map(|entry| (id(&entry), entry)));
                prop_assert_eq!(plain(reader.clone()), wanted);
            }
        }
    }
}
