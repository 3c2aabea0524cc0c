//! Names of presets, or tables in their place.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::nat::{FirewallTable, NatTable};
use crate::net::presets::{self, Name};

/// The name of a preset, or everything spelled out.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
pub enum NamedOr<T> {
    /// The name.
    Name(String),
    /// The table.
    Table(T),
}

/// The name of a kind of network.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct SiteKind(pub String);

/// The name of an access link.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct LinkName(pub String);

/// What has presets: the names go into the schema, so that editors complete them and a wrong one is found like any other
/// wrong value.
pub(super) trait Presets {
    fn names() -> Vec<&'static str>;
}

impl Presets for NatTable {
    fn names() -> Vec<&'static str> {
        words(presets::nats())
    }
}

impl Presets for FirewallTable {
    fn names() -> Vec<&'static str> {
        words(presets::firewalls())
    }
}

impl<T: JsonSchema + Presets> JsonSchema for NamedOr<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("NamedOr{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string", "enum": T::names() }, generator.subschema_for::<T>()] })
    }
}

macro_rules! names {
    ($($kind:ident: $names:expr),*) => {$(
        impl JsonSchema for $kind {
            fn schema_name() -> Cow<'static, str> {
                stringify!($kind).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "enum": words($names) })
            }
        }
    )*};
}

names!(SiteKind: presets::sites(), LinkName: presets::links());

/// All names and their aliases, the names first.
fn words(names: impl Iterator<Item = Name>) -> Vec<&'static str> {
    let names: Vec<Name> = names.collect();
    let aliases = names.iter().flat_map(|name| name.aliases.iter().copied());
    names.iter().map(|name| name.name).chain(aliases).collect()
}
