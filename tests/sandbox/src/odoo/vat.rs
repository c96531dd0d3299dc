//! Tax ids, where the module `base_vat` is installed (facts: mapping-odoo 2).

use serde_json::json;

use super::exception::Exception;
use super::session::Session;

const PARTNER: &str = "res.partner";

/// The lengths that a tax id has after its country: those that a shop is likely to meet.
const LENGTHS: &[(&str, &[usize])] = &[
    ("AT", &[9]),
    ("BE", &[10]),
    ("CH", &[9, 12]),
    ("CZ", &[8, 9, 10]),
    ("DE", &[9]),
    ("DK", &[8]),
    ("ES", &[9]),
    ("FI", &[8]),
    ("FR", &[11]),
    ("GB", &[9, 12]),
    ("HU", &[8]),
    ("IE", &[8, 9]),
    ("IT", &[11]),
    ("LU", &[8]),
    ("NL", &[12]),
    ("NO", &[9, 12]),
    ("PL", &[10]),
    ("PT", &[9]),
    ("SE", &[12]),
];

impl Session<'_> {
    /// Writes a tax id the usual way and refuses one that cannot be; `/` says that there is none.
    pub(super) fn settle_vat(&mut self, partner: i64) -> Result<(), Exception> {
        let text = self.db.text(PARTNER, partner, "vat");
        if !self.db.has_base_vat || text.is_empty() || text == "/" || self.is_in_context("no_vat_validation")
        {
            return Ok(());
        }
        let plain: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
        let plain = plain.to_ascii_uppercase();
        let country = self.db.link(PARTNER, partner, "country_id");
        let country = country.map_or_else(String::new, |country| {
            self.db.text("res.country", country, "code")
        });
        if !is_valid(&plain, &country) {
            let name = self.db.text(PARTNER, partner, "name");
            return Err(Exception::validation(format!(
                "The VAT number [{text}] for partner [{name}] does not seem to be valid. \nNote: the expected format \
                 is BE0477472701"
            )));
        }
        self.set(PARTNER, partner, &[("vat", json!(plain))]);
        Ok(())
    }
}

/// Whether a tax id looks like one of the country it names, or of the country of its holder.
fn is_valid(plain: &str, country: &str) -> bool {
    let prefix = plain
        .get(..2)
        .filter(|two| two.chars().all(|one| one.is_ascii_alphabetic()));
    let (country, number) = match prefix {
        Some(prefix) => (prefix, &plain[2..]),
        None => (country, plain),
    };
    let lengths = LENGTHS.iter().find(|(known, _)| *known == country);
    match lengths {
        Some((_, lengths)) => lengths.contains(&number.len()) && (country != "ES" || is_spanish(number)),
        // Digits alone say nothing about whose they are.
        None => prefix.is_none(),
    }
}

/// People's numbers end with a letter that follows from the digits; those of companies begin with one.
fn is_spanish(number: &str) -> bool {
    const LETTERS: &[u8] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let Some((head, last)) = number.split_at_checked(8) else {
        return false;
    };
    let digits = match head.as_bytes()[0] {
        b'X' => format!("0{}", &head[1..]),
        b'Y' => format!("1{}", &head[1..]),
        b'Z' => format!("2{}", &head[1..]),
        first if first.is_ascii_digit() => head.to_owned(),
        _ => return head[1..].bytes().all(|byte| byte.is_ascii_digit()),
    };
    let rest = digits.parse::<usize>().map(|digits| digits % LETTERS.len());
    rest.is_ok_and(|rest| last.as_bytes() == [LETTERS[rest]])
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn tax_ids_are_judged_as_they_were_seen_to_be() {
        for good in ["DE123456788", "136695976", "BE0477472701", "ESX1234567L"] {
            assert!(is_valid(good, ""), "{good}");
        }
        for bad in ["XX1", "GB123", "ESX1234567X"] {
            assert!(!is_valid(bad, ""), "{bad}");
        }
        assert!(!is_valid("123", "DE"));
    }
}
