//! Which addresses a connection may have (R72). This is the first of two looks: it refuses what an address says by
//! itself. What a name resolves to, only who connects can tell, so the workers look again.

use lockstep_shared::network::Destinations;
use url::Url;

const LENGTH_LIMIT: usize = 2_000;

/// Reads a base URL and returns its one form: without a slash at its end. The error follows the field's name.
pub(crate) fn parse(text: &str, allowed: Destinations) -> Result<String, String> {
    let url = address(text, allowed)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must hold no query and no fragment".to_owned());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// Reads an address that requests of ours may go to. The error follows the field's name.
pub(crate) fn address(text: &str, allowed: Destinations) -> Result<Url, String> {
    if text.len() > LENGTH_LIMIT {
        return Err("must have at most 2,000 characters".to_owned());
    }
    let url: Url = text
        .trim()
        .parse()
        .map_err(|_| "must be a URL, such as `https://shop.example.com`")?;
    allowed.check(&url).map_err(|reason| reason.to_string())?;
    Ok(url)
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
            assert_eq!(parse(given, Destinations::Public).as_deref(), Ok(form));
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
            assert!(parse(text, Destinations::Public).is_err(), "R72: {text}");
        }
    }

    #[test]
    fn a_local_run_may_use_any_address() {
        assert_eq!(
            parse("http://127.0.0.1:4010/shop/", Destinations::Any).as_deref(),
            Ok("http://127.0.0.1:4010/shop")
        );
        assert!(parse("file:///etc/passwd", Destinations::Any).is_err());
    }
}
