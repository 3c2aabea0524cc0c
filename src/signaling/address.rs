//! The names and addresses under which this machine can be reached.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, UdpSocket};

/// Unicast addresses of this machine's interfaces that are up, other than loopback and IPv6 link-local, sorted.
///
/// Link-local IPv6 addresses are left out because a URL cannot carry their zone (RFC 9844 gives it up for browsers).
/// A machine whose interfaces cannot be read has none.
pub(super) fn lan_addresses() -> Vec<IpAddr> {
    use nix::net::if_::InterfaceFlags;

    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let addresses: BTreeSet<IpAddr> = interfaces
        .filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP))
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        })
        .filter(|address| !address.is_loopback() && !address.is_unspecified() && !is_link_local(address))
        .collect();
    addresses.into_iter().collect()
}

/// The address that this machine has towards the rest of the world, if it has one. Nothing is sent.
pub(crate) fn outward_address() -> Option<IpAddr> {
    // Addresses for documentation (RFC 5737, RFC 3849): only a default route leads there.
    [("0.0.0.0:0", "192.0.2.255:9"), ("[::]:0", "[2001:db8::9]:9")].iter().find_map(|(local, remote)| {
        let socket = UdpSocket::bind(local).ok()?;
        socket.connect(remote).ok()?;
        Some(socket.local_addr().ok()?.ip())
    })
}

/// This machine's host name, if it has one that can stand in a certificate and a URL.
pub(super) fn host_name() -> Option<String> {
    let name = hostname::get().ok()?.into_string().ok()?.to_ascii_lowercase();
    is_dns_name(&name).then_some(name)
}

/// `address:port` as URLs write it: IPv6 addresses in brackets (RFC 3986, section 3.2.2).
pub(super) fn authority(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if Ipv6Addr::is_unicast_link_local(address))
}

/// Letters, digits and hyphens in labels of 1 to 63 (RFC 1123, section 2.1).
fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label) && name.parse::<IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lan_addresses_leave_out_what_others_cannot_use() {
        for address in lan_addresses() {
            assert!(!address.is_loopback() && !address.is_unspecified() && !is_link_local(&address), "{address}");
        }
    }

    #[test]
    fn only_names_that_fit_a_certificate_count_as_host_names() {
        for good in ["host", "host-1.lan", "a.b.example.com"] {
            assert!(is_dns_name(good), "{good}");
        }
        for bad in ["", "host_1", "-host", "host-", "a..b", "192.0.2.1", &"a".repeat(64)] {
            assert!(!is_dns_name(bad), "{bad}");
        }
    }

    #[test]
    fn an_ipv6_address_stands_in_brackets() {
        assert_eq!(authority("::1".parse().unwrap(), 8443), "[::1]:8443");
        assert_eq!(authority("127.0.0.1".parse().unwrap(), 8443), "127.0.0.1:8443");
    }
}
