//! The layers of simulcast (RFC 8853): the sizes in which a publisher sends its video at the same time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A layer of simulcast.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// A quarter of the width and of the height.
    Quarter,
    /// Half of the width and of the height.
    Half,
    /// The whole picture.
    Full,
}

impl Layer {
    /// Every layer, from the smallest.
    pub const ALL: [Self; 3] = [Self::Quarter, Self::Half, Self::Full];

    /// The name in scenarios.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quarter => "quarter",
            Self::Half => "half",
            Self::Full => "full",
        }
    }

    /// The RtpStreamId (RFC 8852).
    pub fn rid(self) -> &'static str {
        match self {
            Self::Quarter => "q",
            Self::Half => "h",
            Self::Full => "f",
        }
    }

    /// The name of the file with its video in a directory of fixtures: VP8 in each.
    pub fn fixture_file(self) -> &'static str {
        match self {
            Self::Quarter => "vp8-quarter.ivf",
            Self::Half => "vp8-half.ivf",
            Self::Full => "vp8.ivf",
        }
    }
}
