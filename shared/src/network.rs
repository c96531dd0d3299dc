//! Which addresses requests of ours may go to, whoever named them: nothing of this computer, of private networks, or of
//! those networks that are no place to call (R72).
//!
//! There are two looks. [`Destinations::check`] refuses what an address says by itself, before anything is stored and before
//! each call. What a name stands for, only who connects can tell: [`Destinations::allows`] is asked about every address that
//! a look-up brings, at the moment when the connection is made to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Where requests may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Destinations {
    /// `https`, and no address but public ones.
    #[default]
    Public,
    /// `http` too, and any address: for a local run, never in production.
    Any,
}

/// Why nothing may be sent to an address. The words follow the name of what names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OffLimits {
    #[error("must begin with `https://`")]
    Scheme,
    #[error("must hold no user name or password")]
    UserInfo,
    #[error("must name a host")]
    NoHost,
    #[error("must not name this computer or a private network")]
    Private,
    /// The name was looked up.
    #[error("must not lead to this computer or a private network")]
    LeadsInside,
}

impl Destinations {
    /// Refuses what an address says by itself.
    pub fn check(self, url: &Url) -> Result<(), OffLimits> {
        match (url.scheme(), self) {
            ("https", _) | ("http", Self::Any) => self.check_host(url),
            _ => Err(OffLimits::Scheme),
        }
    }

    /// Refuses a host as [`check`](Self::check) does, whatever the scheme.
    pub fn check_host(self, url: &Url) -> Result<(), OffLimits> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err(OffLimits::UserInfo);
        }
        // Numbers have become addresses by now, however they were written: `127.1`, `0x7f000001`, `2130706433`.
        let is_allowed = match url.host().ok_or(OffLimits::NoHost)? {
            Host::Domain(name) => self == Self::Any || !is_inside(name),
            Host::Ipv4(address) => self.allows(address.into()),
            Host::Ipv6(address) => self.allows(address.into()),
        };
        if is_allowed {
            Ok(())
        } else {
            Err(OffLimits::Private)
        }
    }

    /// Says whether a connection may be made to an address.
    pub fn allows(self, address: IpAddr) -> bool {
        self == Self::Any || is_public(address)
    }
}

/// Says whether a name means something within a network, wherever it is looked up.
fn is_inside(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    // A name without a dot is looked up in the network's own domain.
    !name.contains('.')
        || [".localhost", ".local", ".internal", ".home.arpa"]
            .iter()
            .any(|end| name.ends_with(end))
}

/// Says whether an address is one computer's on the public network.
///
/// Source: IANA's registries of special-purpose addresses for IPv4 and IPv6 (RFC 6890), as of 2024-10.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    match address.octets() {
        // This network, private, loopback; multicast, reserved, broadcast.
        [0 | 10 | 127 | 224..=255, ..]
        // Behind a carrier's address translation; 100.100.100.200 tells a cloud's secrets.
        | [100, 64..=127, ..]
        // Link-local; 169.254.169.254 tells a cloud's secrets.
        | [169, 254, ..]
        // Private.
        | [172, 16..=31, ..] | [192, 168, ..]
        // Protocol assignments, documentation, what leads into 6to4.
        | [192, 0, 0 | 2, _] | [192, 88, 99, _]
        // Measurements within a network, documentation.
        | [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => false,
        _ => true,
    }
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // NAT64, by which networks without IPv4 reach it: as public as what it stands for (RFC 6052, section 3.1).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            is_public_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
        }
        // Protocol assignments, Teredo among them; documentation; 6to4; documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // Only these are given to computers of the public network; mapped and compatible, loopback, unique local, link-local
        // and multicast are elsewhere.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_public_network_are_called() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::808:808",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:0:7f00:1::",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            let parsed = address.parse().unwrap();
            assert!(!Destinations::Public.allows(parsed), "R72: {address}");
            assert!(Destinations::Any.allows(parsed), "R72: {address}");
        }
        for address in [
            "1.1.1.1",
            "93.184.216.34",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.254",
            "2606:2800:220:1::1",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2a00:1450:4001:81b::200e",
            "64:ff9b::808:808",
        ] {
            assert!(Destinations::Public.allows(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn an_address_is_refused_for_what_it_says_by_itself() {
        use OffLimits::{Private, Scheme, UserInfo};
        for (text, why) in [
            ("http://shop.example.com", Scheme),
            ("ftp://shop.example.com", Scheme),
            ("file:///etc/passwd", Scheme),
            ("gopher://127.0.0.1:6379/_x", Scheme),
            ("data:,x", Scheme),
            ("https://user:secret@shop.example.com", UserInfo),
            ("https://user@shop.example.com", UserInfo),
            ("https://:secret@shop.example.com", UserInfo),
            ("https://shop.example.com@127.0.0.1", UserInfo),
            ("https://localhost", Private),
            ("https://LOCALHOST.", Private),
            ("https://a.localhost", Private),
            ("https://intranet", Private),
            ("https://metadata.google.internal", Private),
            ("https://metadata.google.internal.", Private),
            ("https://printer.local", Private),
            ("https://nas.home.arpa", Private),
            ("https://127.0.0.1", Private),
            ("https://127.0.0.1.", Private),
            ("https://127.1", Private),
            ("https://127.0.1", Private),
            ("https://2130706433", Private),
            ("https://0x7f000001", Private),
            ("https://0x7f.1", Private),
            ("https://0177.0.0.1", Private),
            ("https://017700000001", Private),
            ("https://\u{ff11}27.0.0.1", Private),
            ("https://127\u{3002}0\u{3002}0\u{3002}1", Private),
            ("https://0251.0376.0251.0376", Private),
            ("https://2852039166", Private),
            ("https://0", Private),
            ("https://[::1]", Private),
            ("https://[::ffff:127.0.0.1]", Private),
            ("https://[::ffff:a00:1]", Private),
            ("https://[64:ff9b::a00:1]", Private),
            ("https://[2002:7f00:1::]", Private),
            ("https://[fd00:ec2::254]", Private),
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!(Destinations::Public.check(&url), Err(why), "R72: {text}");
        }
        for text in [
            "https://shop.example.com",
            "https://1.1.1.1:8443/de",
            "https://local.example.com",
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!(Destinations::Public.check(&url), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_local_run_may_call_any_host_by_http_and_nothing_by_other_means() {
        let check = |text: &str| Destinations::Any.check(&text.parse().unwrap());

        assert_eq!(check("http://127.0.0.1:4010/shop"), Ok(()));
        assert_eq!(check("http://localhost"), Ok(()));
        assert_eq!(check("file:///etc/passwd"), Err(OffLimits::Scheme));
        assert_eq!(check("http://a:b@localhost"), Err(OffLimits::UserInfo));
    }
}
