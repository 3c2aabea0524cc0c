//! Address prefixes, written as `192.168.1.0/24`.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A text that is not a prefix.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text:?} is not a prefix such as {example:?}: {reason}")]
pub struct PrefixError {
    text: String,
    example: &'static str,
    reason: &'static str,
}

macro_rules! prefix {
    ($(#[$docs:meta])* $name:ident, $address:ty, $bits:ty, $schema:literal, $example:literal) => {
        $(#[$docs])*
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub struct $name {
            address: $address,
            length: u8,
        }

        impl $name {
            /// The prefix of this length around an address; a longer length than the address has is cut to it.
            pub const fn new(address: $address, length: u8) -> Self {
                let length = if length as u32 > <$bits>::BITS { <$bits>::BITS as u8 } else { length };
                let mask = match <$bits>::BITS - length as u32 {
                    <$bits>::BITS => 0,
                    host => <$bits>::MAX << host,
                };
                Self { address: <$address>::from_bits(address.to_bits() & mask), length }
            }

            /// Its first address, which stands for the network itself.
            pub const fn network(self) -> $address {
                self.address
            }

            /// How many bits all its addresses share.
            pub const fn length(self) -> u8 {
                self.length
            }

            /// Its address with this number: 0 is the network itself, 1 by custom the router. Absent past its end.
            pub const fn address(self, number: u32) -> Option<$address> {
                let host = <$bits>::BITS - self.length as u32;
                if host < u32::BITS && number >> host != 0 {
                    return None;
                }
                Some(<$address>::from_bits(self.address.to_bits() | number as $bits))
            }

            /// Whether the address lies in it.
            pub const fn contains(self, address: $address) -> bool {
                Self::new(address, self.length).address.to_bits() == self.address.to_bits()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.address, self.length)
            }
        }

        impl FromStr for $name {
            type Err = PrefixError;

            fn from_str(text: &str) -> Result<Self, PrefixError> {
                let error = |reason| PrefixError { text: text.to_owned(), example: $example, reason };
                let (address, length) = text.split_once('/').ok_or_else(|| error("it has no '/'"))?;
                let address: $address = address.parse().map_err(|_| error("its address cannot be read"))?;
                let length = length.parse().map_err(|_| error("its length cannot be read"))?;
                if u32::from(length) > <$bits>::BITS {
                    return Err(error("its length is more than an address has"));
                }
                let prefix = Self::new(address, length);
                if prefix.address == address { Ok(prefix) } else { Err(error("bits past its length are set")) }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Cow::<'_, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $schema, "description": concat!("Such as ", $example, ".") })
            }
        }
    };
}

prefix!(
    /// IPv4 addresses that share their first bits.
    Ipv4Prefix,
    Ipv4Addr,
    u32,
    r"^[0-9.]+/[0-9]{1,2}$",
    "192.168.1.0/24"
);
prefix!(
    /// IPv6 addresses that share their first bits.
    Ipv6Prefix,
    Ipv6Addr,
    u128,
    r"^[0-9a-fA-F:.]+/[0-9]{1,3}$",
    "2a0f:1::/64"
);

/// Where the fake internet lies: 11.0.0.0/8, 198.18.0.0/15 and 2000::/3. Addresses of private networks are left out on
/// purpose, because ICE stacks treat them differently.
pub fn is_public(address: IpAddr) -> bool {
    const INTERNET: Ipv4Prefix = Ipv4Prefix::new(Ipv4Addr::new(11, 0, 0, 0), 8);
    const BENCHMARKING: Ipv4Prefix = Ipv4Prefix::new(Ipv4Addr::new(198, 18, 0, 0), 15);
    const GLOBAL: Ipv6Prefix = Ipv6Prefix::new(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
    match address {
        IpAddr::V4(address) => INTERNET.contains(address) || BENCHMARKING.contains(address),
        IpAddr::V6(address) => GLOBAL.contains(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_reads_back_what_it_writes() {
        for text in ["192.168.1.0/24", "0.0.0.0/0", "10.1.2.3/32"] {
            assert_eq!(text.parse::<Ipv4Prefix>().unwrap().to_string(), text);
        }
        assert_eq!("2a0f:1::/64".parse::<Ipv6Prefix>().unwrap().to_string(), "2a0f:1::/64");
    }

    #[test]
    fn bad_prefixes_say_why() {
        for (text, why) in
            [("10.0.0.0", "no '/'"), ("10.0.0.1/24", "past its length"), ("x/3", "address"), ("10.0.0.0/33", "more")]
        {
            let error = text.parse::<Ipv4Prefix>().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn numbered_addresses_stay_inside() {
        let lan: Ipv4Prefix = "192.168.7.0/24".parse().unwrap();
        assert_eq!(lan.address(1), Some(Ipv4Addr::new(192, 168, 7, 1)));
        assert_eq!(lan.address(256), None);
        assert!(lan.contains(Ipv4Addr::new(192, 168, 7, 255)) && !lan.contains(Ipv4Addr::new(192, 168, 8, 0)));
        let single: Ipv4Prefix = "10.0.0.1/32".parse().unwrap();
        assert_eq!((single.address(0), single.address(1)), (Some(Ipv4Addr::new(10, 0, 0, 1)), None));
    }

    #[test]
    fn private_addresses_are_not_public() {
        for (address, public) in [
            ("11.2.3.4", true),
            ("198.19.0.1", true),
            ("192.168.1.1", false),
            ("100.64.0.1", false),
            ("127.0.0.1", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
        }
        assert!(is_public("2a0f:1::1".parse().unwrap()) && !is_public("fd00::1".parse().unwrap()));
    }
}
