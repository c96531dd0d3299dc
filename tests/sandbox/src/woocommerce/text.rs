//! What WordPress does to texts: encoding, slugs, cleaning, paragraphs, dates.

use chrono::{DateTime, NaiveDateTime};

/// Encodes a name the way it is stored: `A & B` becomes `A &amp; B` (facts: mapping-woocommerce 1).
pub(super) fn encoded(name: &str) -> String {
    let clean = without_tags(name);
    let mut out = String::with_capacity(clean.len());
    for (at, character) in clean.char_indices() {
        match character {
            '&' if !is_entity(&clean[at..]) => out.push_str("&amp;"),
            other => out.push(other),
        }
    }
    out.trim().to_owned()
}

fn is_entity(rest: &str) -> bool {
    let Some(end) = rest.find(';') else { return false };
    let inner = &rest[1..end];
    !inner.is_empty() && inner.len() <= 8 && inner.chars().all(|c| c.is_ascii_alphanumeric() || c == '#')
}

/// Undoes [`encoded`].
pub(super) fn decoded(name: &str) -> String {
    name.replace("&amp;", "&")
}

/// Drops tags; the text inside them stays.
pub(super) fn without_tags(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        let is_tag = rest[start + 1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '!');
        let end = rest[start..].find('>');
        if let (true, Some(end)) = (is_tag, end) {
            out.push_str(&rest[..start]);
            rest = &rest[start + end + 1..];
        } else {
            out.push_str(&rest[..=start]);
            rest = &rest[start + 1..];
        }
    }
    out.push_str(rest);
    out
}

/// Drops script tags and event handlers from a description; the text inside a script stays.
pub(super) fn safe_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        let Some(end) = rest[start..].find('>') else { break };
        let tag = &rest[start..=start + end];
        out.push_str(&rest[..start]);
        let name = tag.trim_start_matches(['<', '/']).to_ascii_lowercase();
        if !name.starts_with("script") && !name.starts_with("iframe") {
            out.push_str(&without_handlers(tag));
        }
        rest = &rest[start + end + 1..];
    }
    out.push_str(rest);
    out
}

/// Drops `on…="…"` attributes from one tag.
pub(crate) fn without_handlers(tag: &str) -> String {
    let mut out = tag.to_owned();
    while let Some(start) = out.to_ascii_lowercase().find(" on") {
        let Some(equals) = out[start..].find('=') else {
            break;
        };
        let value = start + equals + 1;
        let end = match out[value..].chars().next() {
            Some(quote @ ('"' | '\'')) => out[value + 1..].find(quote).map(|end| value + 1 + end + 1),
            _ => out[value..].find([' ', '>']).map(|end| value + end),
        };
        let Some(end) = end else { break };
        out.replace_range(start..end, "");
    }
    out
}

/// Wraps loose text in paragraphs, as `context=view` does with descriptions.
pub(super) fn in_paragraphs(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() {
        return String::new();
    }
    let blocks = text.replace("\r\n", "\n");
    let mut out = String::new();
    for block in blocks
        .split("\n\n")
        .map(str::trim)
        .filter(|block| !block.is_empty())
    {
        let is_block = ["<p", "<div", "<ul", "<ol", "<h", "<table", "<blockquote", "<pre"];
        if is_block.iter().any(|tag| block.starts_with(tag)) {
            out.push_str(block);
        } else {
            out.push_str("<p>");
            out.push_str(&block.replace("<br>", "<br />").replace('\n', "<br />\n"));
            out.push_str("</p>");
        }
        out.push('\n');
    }
    out
}

/// Makes a slug.
pub(super) fn slug(name: &str) -> String {
    let mut out = String::new();
    for character in without_tags(&decoded(name)).to_lowercase().chars() {
        match character {
            'a'..='z' | '0'..='9' | '_' => out.push(character),
            'à'..='å' => out.push('a'),
            'æ' => out.push_str("ae"),
            'è'..='ë' => out.push('e'),
            'ì'..='ï' => out.push('i'),
            'ò'..='ö' | 'ø' => out.push('o'),
            'ù'..='ü' => out.push('u'),
            'ç' => out.push('c'),
            'ñ' => out.push('n'),
            'ß' => out.push('s'),
            ' ' | '-' | '/' | '.' if !out.ends_with('-') => out.push('-'),
            other if other.is_alphanumeric() => out.push(other),
            _ => {}
        }
    }
    out.trim_matches('-').to_owned()
}

/// Cleans a one-line text: no tags, no `%20`, no double blanks, trimmed (facts: mapping-woocommerce 1, SKU).
pub(super) fn clean(text: &str) -> String {
    let mut text = without_tags(text);
    while let Some(at) = text
        .char_indices()
        .map(|(at, _)| at)
        .find(|at| is_octet(text.as_bytes(), *at))
    {
        text.replace_range(at..at + 3, "");
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_octet(bytes: &[u8], at: usize) -> bool {
    bytes[at] == b'%'
        && bytes.get(at + 1).is_some_and(u8::is_ascii_hexdigit)
        && bytes.get(at + 2).is_some_and(u8::is_ascii_hexdigit)
}

/// Keeps what looks like a number: `1,50` becomes `150`, `1e3` becomes `13`, `abc` nothing.
pub(super) fn decimal(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_ascii_digit() || matches!(c, '.' | '-'))
        .collect()
}

/// Formats seconds since 1970 without a zone.
pub(super) fn iso(secs: i64) -> String {
    DateTime::from_timestamp(secs, 0)
        .map(|at| at.format("%Y-%m-%dT%H:%M:%S").to_string())
        .unwrap_or_default()
}

/// Reads a time without a zone.
pub(super) fn seconds(text: &str) -> Option<i64> {
    let formats = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"];
    formats
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .map(|at| at.and_utc().timestamp())
}

/// Reads a date parameter into seconds of the site's clock as written, together with whether it named a zone.
pub(super) fn date_parameter(text: &str) -> Option<(i64, Option<i64>)> {
    if let Some(plain) = seconds(text) {
        return Some((plain, None));
    }
    let zoned = DateTime::parse_from_rfc3339(text).ok()?;
    Some((zoned.timestamp(), Some(zoned.timestamp())))
}
