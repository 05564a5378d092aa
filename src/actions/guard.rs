//! Where a request may not go: the networks behind us, however their addresses are spelt.
//!
//! Two doors, because a resolver is never asked about an IP literal: literals are checked before sending, names when they
//! are resolved. The connection is made to the very addresses that passed, so a name that changes its mind gains nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// IPv4 networks that are not the public internet (IANA IPv4 Special-Purpose Address Registry).
const CLOSED_V4: [(Ipv4Net, &str); 15] = [
    (v4(0, 0, 0, 0, 8), "this host"),
    (v4(10, 0, 0, 0, 8), "private"),
    (v4(100, 64, 0, 0, 10), "carrier-grade NAT"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    (v4(169, 254, 0, 0, 16), "link-local, cloud metadata"),
    (v4(172, 16, 0, 0, 12), "private"),
    (v4(192, 0, 0, 0, 24), "protocol assignments"),
    (v4(192, 0, 2, 0, 24), "documentation"),
    (v4(192, 88, 99, 0, 24), "6to4 relay"),
    (v4(192, 168, 0, 0, 16), "private"),
    (v4(198, 18, 0, 0, 15), "benchmarking"),
    (v4(198, 51, 100, 0, 24), "documentation"),
    (v4(203, 0, 113, 0, 24), "documentation"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(240, 0, 0, 0, 4), "reserved"),
];

/// IPv6 networks that are not the public internet, or that carry an IPv4 address we would have to read out of them.
const CLOSED_V6: [(Ipv6Net, &str); 11] = [
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 96), "this host, loopback"),
    (v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96), "NAT64"),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), "NAT64"),
    (v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), "discard"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), "Teredo"),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "documentation"),
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "6to4"),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "private"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local"),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "site-local"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast"),
];

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(segments: [u16; 8], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::from_segments(segments), prefix)
}

/// What one action may reach.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    allowed: Arc<[IpNet]>,
}

/// A host that the guard keeps us from.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{host}` is or resolves to {address} ({kind}); list its network under `allow_private` if that is meant")]
pub(super) struct Denied {
    host: String,
    address: IpAddr,
    kind: &'static str,
}

impl Guard {
    pub(super) fn new(allowed: &[IpNet]) -> Self {
        Self {
            allowed: allowed.into(),
        }
    }

    /// Refuses a URL whose host is an address that is closed; names are left to the resolver.
    pub(super) fn check(&self, url: &Url) -> Result<(), Denied> {
        match url.host() {
            Some(Host::Ipv4(address)) => self.check_address(url.host_str().unwrap_or_default(), address.into()),
            Some(Host::Ipv6(address)) => self.check_address(url.host_str().unwrap_or_default(), address.into()),
            Some(Host::Domain(_)) | None => Ok(()),
        }
    }

    fn check_address(&self, host: &str, address: IpAddr) -> Result<(), Denied> {
        // `::ffff:127.0.0.1` is 127.0.0.1.
        let address = address.to_canonical();
        let kind = match address {
            IpAddr::V4(v4) => CLOSED_V4
                .iter()
                .find(|(net, _)| net.contains(&v4))
                .map(|&(_, kind)| kind),
            IpAddr::V6(v6) => CLOSED_V6
                .iter()
                .find(|(net, _)| net.contains(&v6))
                .map(|&(_, kind)| kind),
        };
        match kind {
            Some(kind) if !self.allowed.iter().any(|net| net.contains(&address)) => Err(Denied {
                host: host.to_owned(),
                address,
                kind,
            }),
            _ => Ok(()),
        }
    }

    /// The addresses of a name that may be connected to; denied if there are addresses and none may.
    pub(super) fn filter(
        &self,
        name: &str,
        found: impl Iterator<Item = SocketAddr>,
    ) -> Result<Vec<SocketAddr>, Denied> {
        let mut denied = None;
        let open = |address: &SocketAddr| match self.check_address(name, address.ip()) {
            Ok(()) => true,
            Err(reason) => {
                denied = Some(reason);
                false
            }
        };
        let open: Vec<SocketAddr> = found.filter(open).collect();
        match denied {
            Some(reason) if open.is_empty() => Err(reason),
            _ => Ok(open),
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let open = guard.filter(name.as_str(), found)?;
            Ok(Box::new(open.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(allowed: &[&str], url: &str) -> Result<(), Denied> {
        let allowed: Vec<IpNet> = allowed.iter().map(|net| net.parse().unwrap()).collect();
        Guard::new(&allowed).check(&url.parse().unwrap())
    }

    #[test]
    fn every_spelling_of_an_address_behind_us_is_refused() {
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0x7f000001",
            "017700000001",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "0.0.0.0",
            "0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "169.254.169.254",
            "[fe80::1]",
            "[fd00:ec2::254]",
            "[fc00::1]",
            "[ff02::1]",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.0.192",
            "198.18.0.1",
            "[64:ff9b::7f00:1]",
            "[64:ff9b:1::1]",
            "[2002:7f00:1::]",
            "[2001:0:1::1]",
            "[fec0::1]",
            "[2001:db8::1]",
            "127.0.0.1.",
            "①②⑦.0.0.1",
        ] {
            let refused = check(&[], &format!("https://{host}/x"));
            assert!(refused.is_err(), "{host} passed");
        }
    }

    #[test]
    fn public_addresses_and_names_pass() {
        for host in [
            "1.1.1.1",
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "[2606:4700::1111]",
            "crm.example.com",
            "localhost",
        ] {
            assert_eq!(check(&[], &format!("https://{host}/")), Ok(()));
        }
    }

    #[test]
    fn what_is_listed_may_be_reached_and_nothing_beside_it() {
        assert_eq!(check(&["10.1.0.0/16"], "http://10.1.2.3/"), Ok(()));
        assert_eq!(check(&["127.0.0.0/8"], "http://[::ffff:127.0.0.1]/"), Ok(()));
        assert!(check(&["10.1.0.0/16"], "http://10.2.0.1/").is_err());
        assert!(check(&["10.0.0.0/8"], "http://169.254.169.254/").is_err());
    }

    #[test]
    fn of_a_name_with_several_addresses_only_the_open_ones_are_kept() {
        let guard = Guard::new(&[]);
        let at = |address: &str| SocketAddr::new(address.parse().unwrap(), 0);
        let open = guard
            .filter("crm.example.com", [at("10.0.0.1"), at("1.1.1.1")].into_iter())
            .unwrap();
        assert_eq!(open, [at("1.1.1.1")]);
        let denied = guard
            .filter("crm.example.com", [at("10.0.0.1"), at("::1")].into_iter())
            .unwrap_err();
        assert!(
            denied
                .to_string()
                .starts_with("`crm.example.com` is or resolves to ::1 (this host, loopback); list")
        );
        assert_eq!(guard.filter("nowhere.example", std::iter::empty()).unwrap(), []);
    }
}
