//! Which addresses are nobody's but ours: those of this computer and of private networks (R72).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Says whether an address leads into a private network, or to no single computer of the public one.
pub fn is_private(address: IpAddr) -> bool {
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
    fn what_stands_for_a_private_address_is_private() {
        let private = |text: &str| is_private(text.parse().unwrap());

        for text in [
            "127.0.0.1",
            "10.1.2.3",
            "169.254.169.254",
            "100.64.0.1",
            "::1",
            "fd00::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(private(text), "{text}");
        }
        for text in ["93.184.216.34", "2606:2800:220:1::1"] {
            assert!(!private(text), "{text}");
        }
    }
}
