//! Which addresses a connection may have (R72). This is the first of two looks: it refuses what an address says by
//! itself. What a name resolves to, only who connects can tell, so the workers look again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

use crate::config::BaseUrls;

const LENGTH_LIMIT: usize = 2_000;

/// Reads a base URL and returns its one form: without a slash at its end. The error follows the field's name.
pub(crate) fn parse(text: &str, allowed: BaseUrls) -> Result<String, &'static str> {
    if text.len() > LENGTH_LIMIT {
        return Err("must have at most 2,000 characters");
    }
    let url: Url = text
        .trim()
        .parse()
        .map_err(|_| "must be a URL, such as `https://shop.example.com`")?;
    match (url.scheme(), allowed) {
        ("https", _) | ("http", BaseUrls::Any) => {}
        _ => return Err("must begin with `https://`"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must hold no user name or password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must hold no query and no fragment");
    }
    let Some(host) = url.host() else {
        return Err("must name a host");
    };
    if allowed == BaseUrls::Public && is_private(&host) {
        return Err("must not name this computer or a private network");
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn is_private(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            // A name without a dot is looked up in the network's own domain.
            !name.contains('.')
                || [".localhost", ".local", ".internal"]
                    .iter()
                    .any(|end| name.ends_with(end))
        }
        Host::Ipv4(address) => is_private_ip(IpAddr::V4(*address)),
        Host::Ipv6(address) => is_private_ip(IpAddr::V6(*address)),
    }
}

fn is_private_ip(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => {
            let segments = address.segments();
            address.is_loopback()
                || address.is_unspecified()
                || address.is_multicast()
                || address.is_unique_local()
                || address.is_unicast_link_local()
                || embedded_v4(address).is_some_and(is_private_v4)
                // fec0::/10, site-local: deprecated, still routed in places
                || segments[0] & 0xffc0 == 0xfec0
        }
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_multicast()
        || first == 0
        // 100.64.0.0/10, behind a carrier's address translation
        || (first == 100 && second & 0xc0 == 64)
        // 198.18.0.0/15, for measurements within a network
        || (first == 198 && second & 0xfe == 18)
        // 240.0.0.0/4, reserved
        || first >= 240
}

/// Returns the IPv4 address that an IPv6 address stands for: mapped, compatible, through NAT64 or through 6to4.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(join(high, low))
        }
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_address_is_taken_in_its_one_form() {
        for (given, form) in [
            ("https://shop.example.com", "https://shop.example.com"),
            ("https://Shop.Example.com/", "https://shop.example.com"),
            (
                "https://shop.example.com:8443/de/",
                "https://shop.example.com:8443/de",
            ),
            ("https://93.184.216.34", "https://93.184.216.34"),
            ("https://[2606:2800:220:1::1]", "https://[2606:2800:220:1::1]"),
        ] {
            assert_eq!(parse(given, BaseUrls::Public).as_deref(), Ok(form));
        }
    }

    #[test]
    fn an_address_that_could_reach_our_own_network_is_refused() {
        for text in [
            "http://shop.example.com",
            "ftp://shop.example.com",
            "shop.example.com",
            "https://",
            "https://user:secret@shop.example.com",
            "https://shop.example.com?x=1",
            "https://shop.example.com#x",
            "https://localhost",
            "https://localhost.",
            "https://a.localhost",
            "https://intranet",
            "https://metadata.google.internal",
            "https://printer.local",
            "https://127.0.0.1",
            "https://127.1",
            "https://2130706433",
            "https://0x7f000001",
            "https://0.0.0.0",
            "https://10.1.2.3",
            "https://172.16.0.1",
            "https://192.168.1.1",
            "https://169.254.169.254",
            "https://100.64.0.1",
            "https://255.255.255.255",
            "https://[::1]",
            "https://[::]",
            "https://[fd00::1]",
            "https://[fe80::1]",
            "https://[::ffff:127.0.0.1]",
            "https://[::ffff:10.0.0.1]",
            "https://[64:ff9b::a00:1]",
            "https://[2002:7f00:1::]",
        ] {
            assert!(parse(text, BaseUrls::Public).is_err(), "R72: {text}");
        }
    }

    #[test]
    fn a_local_run_may_use_any_address() {
        assert_eq!(
            parse("http://127.0.0.1:4010/shop/", BaseUrls::Any).as_deref(),
            Ok("http://127.0.0.1:4010/shop")
        );
        assert!(parse("file:///etc/passwd", BaseUrls::Any).is_err());
    }
}
