//! Which addresses places may be at: those of the public internet, and those that the operator lists.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde::Deserialize;
use thiserror::Error;
use url::{Host, Url};

pub(super) const NOT_PUBLIC: &str = "its address is none of the public internet";

/// Hosts with their ports that an operator trusts although they are in its own network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Private(HashSet<(String, u16)>);

impl TryFrom<Vec<String>> for Private {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Self, String> {
        let parse = |text: String| {
            let url = format!("http://{text}/").parse().ok();
            let place = url.as_ref().and_then(host_and_port);
            place
                .filter(|(host, port)| format!("{host}:{port}") == text)
                .ok_or_else(|| format!("'{text}' is no host with a port, as storage.lan:9000"))
        };
        texts
            .into_iter()
            .map(parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Private {
    pub(super) fn lists(&self, url: &Url) -> bool {
        host_and_port(url).is_some_and(|place| self.0.contains(&place))
    }

    /// Whether the address in a URL, if it is one, may be spoken to; a name is looked at once it is resolved.
    pub(super) fn allows(&self, url: &Url) -> bool {
        let address = match url.host() {
            None => return false,
            _ if self.lists(url) => return true,
            // Its addresses pass, and so the listed ports alone may.
            Some(Host::Domain(name)) => return !self.has_host(name),
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
        };
        is_public(address)
    }

    fn has_host(&self, name: &str) -> bool {
        self.0.iter().any(|(host, _)| host == name)
    }
}

fn host_and_port(url: &Url) -> Option<(String, u16)> {
    Some((url.host_str()?.to_owned(), url.port_or_known_default()?))
}

/// A name leads to addresses of which none is public.
#[derive(Debug, Error)]
#[error("{NOT_PUBLIC}")]
pub(super) struct NotPublic;

/// Resolves names to addresses that may be connected to: the same ones are then connected to, so a name that leads elsewhere a
/// moment later gains nothing.
pub(super) struct Resolver(pub(super) Arc<Private>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let is_listed = self.0.has_host(name.as_str());
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed = found.filter(|found| is_listed || is_public(found.ip()));
            let allowed: Vec<_> = allowed.collect();
            if allowed.is_empty() {
                return Err(NotPublic.into());
            }
            let addresses: Addrs = Box::new(allowed.into_iter());
            Ok(addresses)
        })
    }
}

/// Whether an address is of the public internet: of what IANA's registries of special-purpose addresses list, nothing is.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    // This network; shared (CGNAT); protocol assignments; 6to4 relays; benchmarks; multicast, reserved and broadcast.
    let special = matches!(
        address.octets(),
        [0, ..]
            | [100, 64..=127, ..]
            | [192, 0, 0, _]
            | [192, 88, 99, _]
            | [198, 18 | 19, ..]
            | [224..=255, ..]
    );
    let local = address.is_private() || address.is_loopback() || address.is_link_local();
    !(special || local || address.is_documentation())
}

/// Global unicast (2000::/3) without protocol assignments (Teredo and the like), documentation and 6to4: everything else, IPv4
/// in other clothes included, is left out with it.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let special = matches!(
        address.segments(),
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..]
    );
    (0x2000..0x4000).contains(&address.segments()[0]) && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_public_internet_is_public() {
        let addresses = |text: &str| -> Vec<IpAddr> {
            let each = text.split_whitespace();
            each.map(|it| it.parse().expect("an address")).collect()
        };
        let inside = "0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.127.255.255 127.0.0.1 127.9.9.9 169.254.169.254 172.16.0.1
            172.31.255.255 192.0.0.8 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.9
            224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
            :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 64:ff9b::7f00:1 64:ff9b:1::1 100::1 2001::1 2001:2::1
            2001:1ff::1 2001:db8::1 2002:7f00:1::1 3fff::1 5f00::1 fc00::1 fd12::1 fe80::1 fec0::1 ff02::1 4000::1";
        for address in addresses(inside) {
            assert!(!is_public(address), "{address}");
        }
        let outside = "1.1.1.1 8.8.8.8 100.63.0.1 100.128.0.1 172.32.0.1 192.0.1.1 198.20.0.1 223.255.255.255 2001:200::1
            2001:4860:4860::8888 2003::1 2606:4700::1111 2a00::1";
        for address in addresses(outside) {
            assert!(is_public(address), "{address}");
        }
    }
}
