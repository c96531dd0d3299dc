//! Text as WooCommerce stores it, and back.

use lockstep_shared::entity::clean_text;

/// Entities that editors and WordPress write, beside the numeric ones.
const ENTITIES: &[(&str, char)] = &[
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("nbsp", '\u{a0}'),
    ("ndash", '–'),
    ("mdash", '—'),
    ("lsquo", '‘'),
    ("rsquo", '’'),
    ("ldquo", '“'),
    ("rdquo", '”'),
    ("hellip", '…'),
    ("bull", '•'),
    ("middot", '·'),
    ("deg", '°'),
    ("times", '×'),
    ("euro", '€'),
    ("pound", '£'),
    ("copy", '©'),
    ("reg", '®'),
    ("trade", '™'),
    ("auml", 'ä'),
    ("ouml", 'ö'),
    ("uuml", 'ü'),
    ("Auml", 'Ä'),
    ("Ouml", 'Ö'),
    ("Uuml", 'Ü'),
    ("szlig", 'ß'),
    ("eacute", 'é'),
    ("egrave", 'è'),
    ("agrave", 'à'),
    ("ccedil", 'ç'),
    ("ntilde", 'ñ'),
];

/// Longest entity that is looked for, in bytes.
const ENTITY_LIMIT: usize = 10;

/// Replaces entities by what they stand for, once.
pub(super) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let (length, meaning) = entity(rest).unwrap_or((1, '&'));
        out.push(meaning);
        rest = &rest[length..];
    }
    out.push_str(rest);
    out
}

/// Reads the entity at the start of a text: its length with `&` and `;`, and what it stands for.
fn entity(text: &str) -> Option<(usize, char)> {
    let end = text.bytes().take(ENTITY_LIMIT).position(|b| b == b';')?;
    let name = text.get(1..end)?;
    let meaning = match name.strip_prefix('#') {
        Some(number) => {
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code).filter(|c| !c.is_control())?
        }
        None => ENTITIES.iter().find(|(known, _)| *known == name)?.1,
    };
    Some((end + 1, meaning))
}

/// Returns a line as it comes back after WooCommerce stored it: tags are dropped, and `A & B` is stored as
/// `A &amp; B`, while a text that holds an entity already keeps it (facts/mapping-woocommerce.md §1, «Text»). So a line
/// can't hold an entity as such, only what it stands for.
pub(super) fn settled(text: &str) -> String {
    let mut line = text.to_owned();
    loop {
        let next = unescape(&without_tags(&line));
        if next == line {
            return line;
        }
        line = next;
    }
}

/// Returns a variation's option as it comes back: encoded bytes are dropped as well, as from an SKU
/// (facts/mapping-woocommerce.md §1, «SKU»).
pub(super) fn settled_option(text: &str) -> String {
    let mut option = settled(text);
    while let Some(at) = encoded_byte(&option) {
        option.replace_range(at..at + 3, "");
        option = settled(&option);
    }
    option
}

/// Finds the first `%` that two hexadecimal digits follow.
pub(super) fn encoded_byte(text: &str) -> Option<usize> {
    text.as_bytes()
        .windows(3)
        .position(|bytes| bytes[0] == b'%' && bytes[1].is_ascii_hexdigit() && bytes[2].is_ascii_hexdigit())
}

fn without_tags(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some((before, _, after)) = next_tag(rest) {
        out.push_str(before);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Returns HTML as WooCommerce stores it: no tags of scripts and frames (their text stays) and no handlers, and no `&` that starts no
/// entity (facts/mapping-woocommerce.md §1, «Text»).
pub(super) fn stored_html(html: &str) -> String {
    with_entities(&without_scripts(html))
}

fn with_entities(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(start) = rest.find('&') {
        out.push_str(&rest[..start]);
        rest = &rest[start + 1..];
        out.push_str(if starts_with_entity(rest) { "&" } else { "&amp;" });
    }
    out.push_str(rest);
    out
}

/// Says whether a text goes on as an entity does after its `&`, known or not.
fn starts_with_entity(text: &str) -> bool {
    let Some((name, _)) = text.split_once(';') else {
        return false;
    };
    match name.strip_prefix('#') {
        Some(number) => match number.strip_prefix(['x', 'X']) {
            Some(hex) => !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit()),
            None => !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()),
        },
        None => {
            name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name.bytes().all(|b| b.is_ascii_alphanumeric())
        }
    }
}

fn without_scripts(html: &str) -> String {
    let mut current = html.to_owned();
    loop {
        let next = strip_scripts(&current);
        if next == current {
            return current;
        }
        current = next;
    }
}

fn strip_scripts(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some((before, tag, after)) = next_tag(rest) {
        out.push_str(before);
        if !matches!(
            tag_name(tag).as_str(),
            "script" | "/script" | "iframe" | "/iframe"
        ) {
            out.push_str(&without_handlers(tag));
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Splits at the first tag: what stands before it, the tag with its brackets, what follows.
fn next_tag(html: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let start = from + html[from..].find('<')?;
        let is_tag =
            html[start + 1..].starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!'));
        if is_tag {
            let end = start + html[start..].find('>')? + 1;
            return Some((&html[..start], &html[start..end], &html[end..]));
        }
        from = start + 1;
    }
}

/// Returns a tag's name in lower case, with the slash of a closing one.
fn tag_name(tag: &str) -> String {
    let inner = tag.trim_start_matches('<');
    let end = inner
        .char_indices()
        .find(|(at, c)| !(c.is_ascii_alphanumeric() || (*at == 0 && *c == '/')))
        .map_or(inner.len(), |(at, _)| at);
    inner[..end].to_ascii_lowercase()
}

/// Leaves the attributes out that start with `on`.
fn without_handlers(tag: &str) -> String {
    if !tag.to_ascii_lowercase().contains(" on") {
        return tag.to_owned();
    }
    let name_length = 1 + tag_name(tag).len();
    let (mut out, mut rest) = (tag[..name_length].to_owned(), &tag[name_length..]);
    while let Some((space, attribute, after)) = next_attribute(rest) {
        let is_handler = attribute.len() > 2 && attribute.is_char_boundary(2) && {
            attribute[..2].eq_ignore_ascii_case("on")
        };
        if !is_handler {
            out.push_str(space);
            out.push_str(attribute);
        }
        rest = after;
    }
    out.push_str(rest.trim_start());
    out
}

/// Splits an attribute off: the white space before it, the attribute with its value, what follows.
fn next_attribute(text: &str) -> Option<(&str, &str, &str)> {
    let start = text.find(|c: char| !c.is_whitespace())?;
    let body = &text[start..];
    if body.starts_with('>') || body == "/>" {
        return None;
    }
    let name_end = body
        .find(|c: char| c.is_whitespace() || matches!(c, '=' | '>'))
        .unwrap_or(body.len());
    let end = match body[name_end..].strip_prefix('=') {
        Some(value) => name_end + 1 + value_length(value),
        None => name_end.max(1),
    };
    Some((&text[..start], &body[..end], &body[end..]))
}

fn value_length(value: &str) -> usize {
    match value.chars().next() {
        Some(quote @ ('"' | '\'')) => value[1..].find(quote).map_or(value.len(), |at| at + 2),
        Some(_) | None => value
            .find(|c: char| c.is_whitespace() || c == '>')
            .unwrap_or(value.len()),
    }
}

/// Turns HTML into plain text: breaks and ends of blocks become line ends, every other tag goes.
pub(super) fn plain(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some((before, tag, after)) = next_tag(rest) {
        out.push_str(&unescape(before));
        rest = after;
        if matches!(
            tag_name(tag).as_str(),
            "br" | "/p" | "/div" | "/li" | "/h1" | "/h2" | "/h3" | "/h4" | "/h5" | "/h6"
        ) {
            out.push('\n');
            // An editor breaks its own lines there too.
            rest = rest
                .strip_prefix("\r\n")
                .or_else(|| rest.strip_prefix('\n'))
                .unwrap_or(rest);
        }
    }
    out.push_str(&unescape(rest));
    clean_text(&out)
}

/// Turns plain text into HTML that [`plain`] reads as the same text.
pub(super) fn html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\n', "<br>")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn entities_are_read_and_what_is_none_stays() {
        assert_eq!(
            unescape("A &amp; B &#8211; &#x41; &bogus; & &lt;"),
            "A & B – A &bogus; & <"
        );
    }

    #[test]
    fn a_line_holds_what_an_entity_stands_for() {
        assert_eq!(settled("A &amp;amp; B"), "A & B");
        assert_eq!(settled("A & B"), "A & B");
        assert_eq!(settled("<script>x</script> <i>y</i> <3"), "x y <3");
    }

    #[test]
    fn scripts_and_handlers_go_and_their_text_stays() {
        let html = r#"<p class="a" onclick="x('>')">A & B</p><SCRIPT src=x>alert(1)</SCRIPT><a onload=1 href="/on">c</a>"#;

        assert_eq!(
            stored_html(r#"<p class="a" onclick="x()">A & B</p><script src=x>alert(1)</script><br/>"#),
            r#"<p class="a">A &amp; B</p>alert(1)<br/>"#
        );
        assert!(stored_html(html).contains(r#"<a href="/on">"#));
    }

    #[test]
    fn a_summary_is_read_as_plain_text() {
        assert_eq!(
            plain("<p>This is a simple product.</p>\n"),
            "This is a simple product."
        );
        assert_eq!(
            plain("a<br />b<br>c &lt;b&gt; <strong>d</strong>"),
            "a\nb\nc <b> d"
        );
        assert_eq!(plain("1 < 2 and 3 > 2"), "1 < 2 and 3 > 2");
    }

    proptest! {
        #[test]
        fn plain_text_comes_back(text in "[ -~äß€\n]{0,60}") {
            let text = clean_text(&text);
            prop_assert_eq!(plain(&html(&text)), text);
        }

        #[test]
        fn storing_twice_is_storing_once(html in "[<>/a-z=\"' &;#0-9\n]{0,60}", name in ".{0,40}") {
            let stored = stored_html(&html);
            prop_assert_eq!(stored_html(&stored), stored);
            let line = settled(&name);
            prop_assert_eq!(settled(&line), line);
        }
    }
}
