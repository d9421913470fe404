//! IP networks: filters, trusted proxies, and which address a request really came from.
//! The only file that names ipnet. Must never resolve a name.
//! Invariant: an IPv4 address written as IPv6 (`::ffff:1.2.3.4`) counts as the IPv4 address, everywhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

use crate::base::error::{Error, Result};
use crate::base::text::cut;

/// Most hops of a forwarding header that are looked at.
const HOPS_MAX: usize = 32;

/// A list of networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Reads `1.2.3.4`, `10.0.0.0/8`, `::1`, `fd00::/8`. Errors: Invalid, `network`, naming the first bad entry.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self> {
        entries.iter().map(|entry| parse_network(entry.as_ref())).collect::<Result<Vec<_>>>().map(Networks)
    }

    /// Whether the address lies in one of them.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|network| network.contains(&ip))
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn parse_network(entry: &str) -> Result<IpNet> {
    let text = entry.trim();
    let network = match text.parse::<IpAddr>() {
        Ok(ip) => Some(IpNet::from(ip.to_canonical())),
        Err(_) => text.parse::<IpNet>().ok(),
    };
    let network = network.ok_or_else(|| {
        Error::invalid(format!("{:?} is no IP address or network", cut(entry, 80)))
            .code("network")
            .remedy("write 192.0.2.7, 10.0.0.0/8, ::1 or fd00::/8")
    })?;
    let mapped = match network {
        IpNet::V6(wide) if wide.prefix_len() >= 96 => {
            wide.network().to_ipv4_mapped().map(|ip| (ip, wide.prefix_len() - 96))
        }
        _ => None,
    };
    Ok(match mapped.and_then(|(ip, length)| Ipv4Net::new(ip, length).ok()) {
        Some(narrow) => IpNet::V4(narrow),
        None => network.trunc(),
    })
}

/// The address with the part that names one connection zeroed: IPv4 keeps 24 bits, IPv6 48.
pub fn truncate_ip(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & (u32::MAX << 8))),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 80))),
    }
}

/// The address a request came from. `forwarded_for` (X-Forwarded-For; several headers joined by `,`) is believed only from a
/// trusted peer, and read from the right, hop by hop, for as long as the hop that wrote it is trusted. An entry that is no
/// address ends the walk: what stands left of it could have been written by anyone.
pub fn client_ip(peer: IpAddr, forwarded_for: Option<&str>, trusted: &Networks) -> IpAddr {
    let mut client = peer.to_canonical();
    for entry in forwarded_for.unwrap_or_default().rsplit(',').take(HOPS_MAX) {
        if !trusted.contains(client) {
            break;
        }
        let Some(hop) = parse_hop(entry.trim()) else { break };
        client = hop;
    }
    client
}

/// `1.2.3.4`, `1.2.3.4:567`, `::1`, `[::1]`, `[::1]:567`.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let ip = match bracketed {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip())),
    };
    ip.map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_hold_their_addresses() {
        let networks =
            Networks::parse(&["192.0.2.7", " 10.1.2.3/8 ", "::1", "fd00::/8", "::ffff:172.16.0.0/108"]).unwrap();
        for inside in
            ["192.0.2.7", "10.255.0.1", "::1", "fdff::1", "172.31.255.255", "::ffff:10.0.0.1", "::ffff:192.0.2.7"]
        {
            assert!(networks.contains(ip(inside)), "{inside}");
        }
        for outside in ["192.0.2.8", "11.0.0.1", "::2", "fe80::1", "172.32.0.0", "::ffff:11.0.0.1"] {
            assert!(!networks.contains(ip(outside)), "{outside}");
        }
        let every_ipv4 = Networks::parse(&["0.0.0.0/0"]).unwrap();
        assert!(every_ipv4.contains(ip("8.8.8.8")) && !every_ipv4.contains(ip("2001:db8::1")));
        assert!(!Networks::default().contains(ip("127.0.0.1")));
    }

    #[test]
    fn a_bad_entry_is_named() {
        for bad in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/8/8",
            "10.0.0.0/-1",
            "10.0.0.0/8.0",
            "10.0.0",
            "localhost",
            "1.2.3.4:80",
            "[::1]",
            "fe80::1%eth0",
            "0x7f.1",
            "010.0.0.1",
        ] {
            let error = Networks::parse(&["10.0.0.0/8", bad]).unwrap_err();
            assert!(error.code == "network" && error.what.contains(&format!("{bad:?}")), "{bad}: {error}");
        }
    }

    #[test]
    fn truncated_addresses_name_a_network() {
        for (whole, part) in [
            ("203.0.113.77", "203.0.113.0"),
            ("::ffff:203.0.113.77", "203.0.113.0"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
            ("::1", "::"),
        ] {
            assert_eq!(truncate_ip(ip(whole)), ip(part), "{whole}");
        }
    }

    #[test]
    fn only_trusted_hops_are_believed() {
        let trusted = Networks::parse(&["127.0.0.1", "10.0.0.0/8", "fd00::/8"]).unwrap();
        for (peer, header, client) in [
            ("203.0.113.9", None, "203.0.113.9"),
            ("203.0.113.9", Some("198.51.100.1"), "203.0.113.9"),
            ("127.0.0.1", None, "127.0.0.1"),
            ("127.0.0.1", Some("198.51.100.1"), "198.51.100.1"),
            ("::ffff:127.0.0.1", Some("198.51.100.1"), "198.51.100.1"),
            ("127.0.0.1", Some("6.6.6.6, 198.51.100.1 , 10.0.0.2"), "198.51.100.1"),
            ("127.0.0.1", Some("10.0.0.3,10.0.0.2"), "10.0.0.3"),
            ("127.0.0.1", Some("6.6.6.6, unknown, 10.0.0.2"), "10.0.0.2"),
            ("127.0.0.1", Some("6.6.6.6, "), "127.0.0.1"),
            ("127.0.0.1", Some("<script>"), "127.0.0.1"),
            ("127.0.0.1", Some("198.51.100.1:5555"), "198.51.100.1"),
            ("fd00::1", Some("2001:db8::7, [fd00::2]:443"), "2001:db8::7"),
            ("fd00::1", Some("[2001:db8::7]"), "2001:db8::7"),
            ("10.0.0.1", Some("::ffff:198.51.100.1"), "198.51.100.1"),
        ] {
            assert_eq!(client_ip(ip(peer), header, &trusted), ip(client), "{peer} {header:?}");
        }
    }

    #[test]
    fn endless_forwarding_ends() {
        let trusted = Networks::parse(&["10.0.0.0/8"]).unwrap();
        let header = format!("6.6.6.6,{}", vec!["10.0.0.1"; 100_000].join(","));
        assert_eq!(client_ip(ip("10.0.0.9"), Some(&header), &trusted), ip("10.0.0.1"));
    }
}
